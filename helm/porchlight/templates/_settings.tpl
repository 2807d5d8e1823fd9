{{/* What each program is told: settings by section and key, as a file for the services, as variables for the migration. */}}

{{- define "porchlight.bootstrap" -}}
{{- if .Values.strimzi.kafka.enabled -}}
{{ .Values.strimzi.clusterName }}-kafka-bootstrap.{{ .Release.Namespace }}.svc:9093
{{- else -}}
{{ required "kafka.bootstrapServers is not set: name your brokers as host:port, or let the chart make a cluster (strimzi.kafka.enabled)" .Values.kafka.bootstrapServers }}
{{- end -}}
{{- end -}}

{{- define "porchlight.contactPoints" -}}
{{- if .Values.scylla.cluster.enabled -}}
{{ list (printf "%s-client.%s.svc:9042" .Values.scylla.cluster.name .Release.Namespace) | toJson }}
{{- else -}}
{{ required "cql.contactPoints is not set: name some nodes as host:port, or let the chart make a cluster (scylla.cluster.enabled)" (.Values.cql.contactPoints | default "") | toJson }}
{{- end -}}
{{- end -}}

{{/*
Who a program is to Kafka, and what it trusts: {protocol, mechanism, username, secret, passwordKey, certificateKey,
privateKeyKey, caSecret, caKey}.
*/}}
{{- define "porchlight.kafkaAuth" -}}
{{- $v := .root.Values -}}
{{- $kafka := $v.kafka -}}
{{- $own := get $kafka.auth.perProgram .key | default dict -}}
{{- $made := $v.strimzi.kafka.enabled -}}
{{- $user := printf "%s-%s" (include "porchlight.fullname" .root) .facts.name -}}
protocol: {{ ternary "sasl_ssl" $kafka.securityProtocol $made }}
mechanism: {{ ternary "scram-sha-512" $kafka.saslMechanism $made }}
username: {{ ternary $user ($own.username | default $kafka.auth.username) $v.strimzi.users.enabled | quote }}
secret: {{ ternary $user ($own.existingSecret | default $kafka.auth.existingSecret) $v.strimzi.users.enabled | quote }}
passwordKey: {{ $kafka.auth.passwordKey }}
certificateKey: {{ $kafka.auth.certificateKey }}
privateKeyKey: {{ $kafka.auth.privateKeyKey }}
caSecret: {{ ternary (printf "%s-cluster-ca-cert" $v.strimzi.clusterName) $kafka.ca.existingSecret $made | quote }}
caKey: {{ ternary "ca.crt" $kafka.ca.key $made }}
{{- end -}}

{{/* The settings of a program, by section. Empty ones are left to the program's defaults. */}}
{{- define "porchlight.settings" -}}
{{- $v := .root.Values -}}
{{- $b := (.values | default dict).budgets | default dict -}}
{{- $auth := include "porchlight.kafkaAuth" . | fromYaml -}}
{{- $kafka := dict
  "bootstrap_servers" (include "porchlight.bootstrap" .root) "topic_prefix" $v.kafka.topicPrefix "group_prefix" $v.kafka.groupPrefix
  "message_timeout_ms" $b.messageTimeoutMs "produce_wait_ms" $b.produceWaitMs
  "drain_ms" $b.kafkaDrainMs "max_poll_interval_ms" $b.maxPollIntervalMs -}}
{{- if and (ne .key "migrate") .facts.groups -}}
{{- $_ := set $kafka "group_protocol" $v.kafka.groupProtocol -}}
{{- end -}}
{{- if ne $auth.protocol "plaintext" -}}
{{- $_ := set $kafka "security_protocol" $auth.protocol -}}
{{- end -}}
{{- if hasPrefix "sasl" $auth.protocol -}}
{{- $_ := set $kafka "sasl_mechanism" $auth.mechanism -}}
{{- if eq .key "migrate" -}}{{- $_ := set $kafka "username" $auth.username -}}{{- end -}}
{{- $_ := set $kafka "password_file" (include "porchlight.secretPath" "kafka-password") -}}
{{- end -}}
{{- if hasSuffix "ssl" $auth.protocol -}}
{{- if $auth.caSecret -}}{{- $_ := set $kafka "ca_file" (include "porchlight.secretPath" "kafka-ca.crt") -}}{{- end -}}
{{- if and $auth.secret (eq $auth.protocol "ssl") -}}
{{- $_ := set $kafka "cert_file" (include "porchlight.secretPath" "kafka-client.crt") -}}
{{- $_ := set $kafka "key_file" (include "porchlight.secretPath" "kafka-client.key") -}}
{{- end -}}
{{- end -}}
{{- $all := dict "kafka" $kafka -}}
{{- if .facts.cql -}}
{{- $cql := dict
  "contact_points" (include "porchlight.contactPoints" .root | fromJsonArray) "keyspace" $v.cql.keyspace
  "datacenter" $v.cql.datacenter "request_timeout_ms" $b.cqlTimeoutMs "username" $v.cql.username -}}
{{- if $v.cql.existingSecret -}}{{- $_ := set $cql "password_file" (include "porchlight.secretPath" "cql-password") -}}{{- end -}}
{{- if $v.cql.tls.enabled -}}
{{- $_ := set $cql "tls" true -}}
{{- $_ := set $cql "server_name" $v.cql.tls.serverName -}}
{{- $_ := set $cql "ca_file" (include "porchlight.secretPath" "cql-ca.crt") -}}
{{- if $v.cql.tls.client.existingSecret -}}
{{- $_ := set $cql "cert_file" (include "porchlight.secretPath" "cql-client.crt") -}}
{{- $_ := set $cql "key_file" (include "porchlight.secretPath" "cql-client.key") -}}
{{- end -}}
{{- end -}}
{{- $_ := set $all "cql" $cql -}}
{{- end -}}
{{- if ne .key "migrate" -}}
{{- $_ := set $all "log" (dict "format" $v.logFormat "filter" $v.logFilter) -}}
{{- $_ := set $all "lifecycle" (dict "drain_ms" $b.drainMs) -}}
{{- $_ := set $all "admin" (dict "listen" (printf "0.0.0.0:%v" .facts.admin)) -}}
{{- end -}}
{{- if .facts.http -}}
{{- $_ := set $all "http" (dict "listen" (printf "0.0.0.0:%v" .facts.http) "request_timeout_ms" $b.requestTimeoutMs) -}}
{{- end -}}
{{- if .facts.s3 -}}
{{- $s3 := dict
  "endpoint" (required "s3.endpoint is not set: where S3-compatible storage answers, as https://host[:port]" $v.s3.endpoint)
  "public_endpoint" $v.s3.publicEndpoint "region" $v.s3.region "bucket" $v.s3.bucket "prefix" $v.s3.prefix
  "path_style" $v.s3.pathStyle "timeout_ms" $b.s3TimeoutMs
  "secret_access_key_file" (include "porchlight.secretPath" "s3-secret-access-key") -}}
{{- if $v.s3.ca.existingSecret -}}{{- $_ := set $s3 "ca_file" (include "porchlight.secretPath" "s3-ca.crt") -}}{{- end -}}
{{- $_ := set $all "s3" $s3 -}}
{{- end -}}
{{- if .facts.grant -}}
{{- $_ := set $all "media" (dict "grant_key_file" (include "porchlight.secretPath" "grant-key")) -}}
{{- end -}}
{{- if .facts.vapid -}}
{{- $_ := set $all "push" (dict
  "vapid_private_key_file" (include "porchlight.secretPath" "vapid-private-key")
  "vapid_subject" (required "push.vapidSubject is not set: mailto: or https: of the operator, for push services that want to complain" $v.push.vapidSubject)
  "timeout_ms" $b.pushTimeoutMs) -}}
{{- end -}}
{{- if eq .key "gateway" -}}
{{- $_ := set $all "auth" (dict
  "issuer" (required "auth.issuer is not set: who issues the tokens of people, exactly as their iss claim has it" $v.auth.issuer)
  "jwks_url" $v.auth.jwksUrl "audience" $v.auth.audience) -}}
{{- end -}}
{{- if and .facts.snapshot $v.snapshots.enabled -}}
{{- $section := get $all .facts.snapshot.section | default dict -}}
{{- $_ := set $all .facts.snapshot.section (set $section .facts.snapshot.key "/var/lib/porchlight") -}}
{{- end -}}
{{- range $section, $keys := $all -}}
{{- range $key, $value := $keys -}}
{{- if or (kindIs "invalid" $value) (and (kindIs "string" $value) (not $value)) -}}{{- $_ := unset $keys $key -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toYaml -}}
{{- end -}}

{{/* What the operator adds to them: any key but those that the chart sets, and no secret. */}}
{{- define "porchlight.settingsWithOwn" -}}
{{- $all := include "porchlight.settings" . | fromYaml -}}
{{- $key := .key -}}
{{- range $section, $keys := (.values | default dict).config | default dict -}}
{{- $known := get $all $section | default dict -}}
{{- range $name, $value := $keys -}}
{{- if has $name (list "password" "secret_access_key" "grant_key" "vapid_private_key") -}}
{{- fail (printf "%s.config.%s.%s is a secret: it would stand in a ConfigMap. Put it into a Secret and name that in the values" $key $section $name) -}}
{{- end -}}
{{- if hasKey $known $name -}}
{{- fail (printf "%s.config.%s.%s is set by the chart from its own values: change it there" $key $section $name) -}}
{{- end -}}
{{- $_ := set $known $name $value -}}
{{- end -}}
{{- $_ := set $all $section $known -}}
{{- end -}}
{{- $all | toYaml -}}
{{- end -}}

{{/* One value as TOML, which reads JSON's strings and lists. Numbers come as floats. */}}
{{- define "porchlight.toml.value" -}}
{{- if kindIs "float64" . -}}
{{- if eq (float64 (int64 .)) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{- define "porchlight.toml" -}}
{{- range $section, $keys := include "porchlight.settingsWithOwn" . | fromYaml }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "porchlight.toml.value" $value }}
{{- end }}
{{ end -}}
{{- end -}}
