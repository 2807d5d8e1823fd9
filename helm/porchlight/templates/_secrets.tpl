{{/* Secrets are the operator's. A pod sees the keys that its program reads, as files, and no other. */}}

{{- define "porchlight.secretPath" -}}
/etc/porchlight/secrets/{{ . }}
{{- end -}}

{{/* One source of the volume with a program's secrets: (list secret key path). */}}
{{- define "porchlight.secretSource" -}}
- secret:
    name: {{ index . 0 }}
    items:
      - {key: {{ index . 1 | quote }}, path: {{ index . 2 }}}
{{ end -}}

{{- define "porchlight.secretSources" -}}
{{- $v := .root.Values -}}
{{- $auth := include "porchlight.kafkaAuth" . | fromYaml -}}
{{- if hasPrefix "sasl" $auth.protocol -}}
{{- $secret := required (printf "kafka.auth.existingSecret is not set: the Secret with the password of %s" .facts.name) $auth.secret -}}
{{- $_ := required (printf "kafka.auth.username is not set: who %s is to Kafka" .facts.name) $auth.username -}}
{{ include "porchlight.secretSource" (list $secret $auth.passwordKey "kafka-password") }}
{{- else if and (eq $auth.protocol "ssl") $auth.secret -}}
{{ include "porchlight.secretSource" (list $auth.secret $auth.certificateKey "kafka-client.crt") }}
{{- include "porchlight.secretSource" (list $auth.secret $auth.privateKeyKey "kafka-client.key") }}
{{- end -}}
{{- if and (hasSuffix "ssl" $auth.protocol) $auth.caSecret -}}
{{ include "porchlight.secretSource" (list $auth.caSecret $auth.caKey "kafka-ca.crt") }}
{{- end -}}
{{- if .facts.cql -}}
{{- if $v.cql.existingSecret -}}
{{ include "porchlight.secretSource" (list $v.cql.existingSecret $v.cql.passwordKey "cql-password") }}
{{- end -}}
{{- if $v.cql.tls.enabled -}}
{{- $ca := required "cql.tls.ca.existingSecret is not set: the Secret with the certificates of the authority of the nodes" $v.cql.tls.ca.existingSecret -}}
{{ include "porchlight.secretSource" (list $ca $v.cql.tls.ca.key "cql-ca.crt") }}
{{- with $v.cql.tls.client -}}
{{- if .existingSecret -}}
{{ include "porchlight.secretSource" (list .existingSecret .certificateKey "cql-client.crt") }}
{{- include "porchlight.secretSource" (list .existingSecret .privateKeyKey "cql-client.key") }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .facts.s3 -}}
{{ include "porchlight.secretSource" (list (include "porchlight.s3Secret" .root) $v.s3.secretAccessKeyKey "s3-secret-access-key") }}
{{- if $v.s3.ca.existingSecret -}}
{{ include "porchlight.secretSource" (list $v.s3.ca.existingSecret $v.s3.ca.key "s3-ca.crt") }}
{{- end -}}
{{- end -}}
{{- if .facts.grant -}}
{{ include "porchlight.secretSource" (list (include "porchlight.keysSecret" .root) $v.keys.grantKey "grant-key") }}
{{- end -}}
{{- if .facts.vapid -}}
{{ include "porchlight.secretSource" (list (include "porchlight.keysSecret" .root) $v.keys.vapidPrivateKey "vapid-private-key") }}
{{- end -}}
{{- end -}}

{{- define "porchlight.s3Secret" -}}
{{ required "s3.existingSecret is not set: the Secret with the credentials of S3 (keys access-key-id and secret-access-key)" .Values.s3.existingSecret }}
{{- end -}}

{{- define "porchlight.keysSecret" -}}
{{ required "keys.existingSecret is not set: the Secret with the keys grant-key (`porchlight grant-key new`) and vapid-private-key (`porchlight vapid new`)" .Values.keys.existingSecret }}
{{- end -}}
