{{/* What cannot be is refused here, with a sentence that says what to do. */}}

{{- define "porchlight.autoscaled" -}}
{{- if or .values.autoscaling.enabled (.values.keda | default dict).enabled -}}true{{- end -}}
{{- end -}}

{{/* The fewest and the most that may run at once. */}}
{{- define "porchlight.fewest" -}}
{{- if .values.autoscaling.enabled -}}{{ .values.autoscaling.minReplicas }}
{{- else if (.values.keda | default dict).enabled -}}{{ .values.keda.minReplicas }}
{{- else -}}{{ .values.replicas }}{{- end -}}
{{- end -}}
{{- define "porchlight.most" -}}
{{- if .values.autoscaling.enabled -}}{{ .values.autoscaling.maxReplicas }}
{{- else if (.values.keda | default dict).enabled -}}{{ .values.keda.maxReplicas }}
{{- else -}}{{ .values.replicas }}{{- end -}}
{{- end -}}

{{/* Keys that people know from elsewhere or from before, and where it is said now. The schema lets them pass to here. */}}
{{- define "porchlight.moved" -}}
replicaCount: ingest.replicas, geoIndex.replicas, notification.replicas and gateway.replicas
cassandra: cql
kafka.brokers: kafka.bootstrapServers
ingress: expose.ingress
{{- end -}}

{{/* (list what-it-is apiVersion/Kind how-to-install root) */}}
{{- define "porchlight.crd" -}}
{{- if not ((index . 3).Capabilities.APIVersions.Has (index . 1)) -}}
{{- fail (printf "%s needs %s, which this cluster does not know: %s (without a cluster: helm template --api-versions %s)" (index . 0) (index . 1) (index . 2) (index . 1)) -}}
{{- end -}}
{{- end -}}

{{- define "porchlight.below" -}}
{{- $b := .values.budgets -}}
{{- range $pair := .pairs -}}
{{- $small := index $pair 0 -}}{{- $large := index $pair 1 -}}
{{- if and (hasKey $b $small) (hasKey $b $large) -}}
{{- if ge (int64 (get $b $small)) (int64 (get $b $large)) -}}
{{- fail (printf "%s.budgets.%s (%v) must be below %s.budgets.%s (%v): %s" $.key $small (get $b $small) $.key $large (get $b $large) (index $pair 2)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "porchlight.checks" -}}
{{- range $old, $new := include "porchlight.moved" . | fromYaml -}}
{{- $at := $.Values -}}
{{- range $part := splitList "." $old -}}
{{- $at = ternary (get $at $part) "" (and (kindIs "map" $at) (hasKey $at $part)) -}}
{{- end -}}
{{- if not (kindIs "string" $at | and (eq (toString $at) "")) -}}
{{- fail (printf "%s is now %s" $old $new) -}}
{{- end -}}
{{- end -}}
{{- $strimzi := "install Strimzi's operator 0.49 or newer (https://strimzi.io/quickstarts), or switch this off" -}}
{{- if .Values.strimzi.kafka.enabled -}}
{{- include "porchlight.crd" (list "strimzi.kafka.enabled" "kafka.strimzi.io/v1/Kafka" $strimzi .) -}}
{{- if gt (int .Values.kafka.replication) (int .Values.strimzi.kafka.replicas) -}}
{{- fail (printf "kafka.replication (%v) is above strimzi.kafka.replicas (%v): there are not so many brokers" .Values.kafka.replication .Values.strimzi.kafka.replicas) -}}
{{- end -}}
{{- if not .Values.strimzi.users.enabled -}}
{{- fail "strimzi.kafka.enabled needs strimzi.users.enabled: nobody else may talk to the cluster that the chart makes" -}}
{{- end -}}
{{- end -}}
{{- if .Values.strimzi.topics.enabled -}}
{{- include "porchlight.crd" (list "strimzi.topics.enabled" "kafka.strimzi.io/v1/KafkaTopic" $strimzi .) -}}
{{- end -}}
{{- if .Values.strimzi.users.enabled -}}
{{- include "porchlight.crd" (list "strimzi.users.enabled" "kafka.strimzi.io/v1/KafkaUser" $strimzi .) -}}
{{- if not (or .Values.strimzi.kafka.enabled (hasPrefix "sasl" .Values.kafka.securityProtocol)) -}}
{{- fail "strimzi.users.enabled makes users with passwords: set kafka.securityProtocol to sasl_ssl" -}}
{{- end -}}
{{- end -}}
{{- if .Values.scylla.cluster.enabled -}}
{{- include "porchlight.crd" (list "scylla.cluster.enabled" "scylla.scylladb.com/v1/ScyllaCluster" "install ScyllaDB's operator (https://operator.docs.scylladb.com), or switch this off" .) -}}
{{- end -}}
{{- if .Values.expose.httpRoute.enabled -}}
{{- include "porchlight.crd" (list "expose.httpRoute.enabled" "gateway.networking.k8s.io/v1/HTTPRoute" "install the CRDs of the Gateway API (https://gateway-api.sigs.k8s.io), or use expose.ingress" .) -}}
{{- if not .Values.expose.httpRoute.parentRefs -}}
{{- fail "expose.httpRoute.parentRefs is empty: name the Gateway that takes the routes" -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.expose.httpRoute.enabled .Values.expose.ingress.enabled) (not (or .Values.expose.ingestHost .Values.expose.gatewayHost)) -}}
{{- fail "expose.ingestHost and expose.gatewayHost are empty: name at least one host" -}}
{{- end -}}
{{- if .Values.expose.tls.certManager.enabled -}}
{{- include "porchlight.crd" (list "expose.tls.certManager.enabled" "cert-manager.io/v1/Certificate" "install cert-manager (https://cert-manager.io/docs/installation), or name a Secret in expose.tls.existingSecret" .) -}}
{{- if .Values.expose.tls.existingSecret -}}
{{- fail "expose.tls.existingSecret and expose.tls.certManager.enabled: only one of them can make the certificate" -}}
{{- end -}}
{{- $_ := required "expose.tls.certManager.issuerRef.name is not set: who issues the certificate" .Values.expose.tls.certManager.issuerRef.name -}}
{{- end -}}
{{- $prometheus := "install Prometheus' operator (https://prometheus-operator.dev), or switch this off" -}}
{{- if .Values.monitoring.serviceMonitor.enabled -}}
{{- include "porchlight.crd" (list "monitoring.serviceMonitor.enabled" "monitoring.coreos.com/v1/ServiceMonitor" $prometheus .) -}}
{{- end -}}
{{- if .Values.monitoring.rules.enabled -}}
{{- include "porchlight.crd" (list "monitoring.rules.enabled" "monitoring.coreos.com/v1/PrometheusRule" $prometheus .) -}}
{{- end -}}
{{- range $key, $facts := include "porchlight.services" . | fromYaml -}}
{{- $values := get $.Values $key -}}
{{- $c := dict "root" $ "key" $key "facts" $facts "values" $values -}}
{{- if (.values | default $values).autoscaling.enabled -}}
{{- if ($values.keda | default dict).enabled -}}
{{- fail (printf "%s.autoscaling.enabled and %s.keda.enabled: two autoscalers would undo each other's work, choose one" $key $key) -}}
{{- end -}}
{{- end -}}
{{- if ($values.keda | default dict).enabled -}}
{{- include "porchlight.crd" (list (printf "%s.keda.enabled" $key) "keda.sh/v1alpha1/ScaledObject" "install KEDA (https://keda.sh/docs/latest/deploy), or use autoscaling.enabled" $) -}}
{{- end -}}
{{- if gt (include "porchlight.fewest" $c | int) (include "porchlight.most" $c | int) -}}
{{- fail (printf "%s: minReplicas is above maxReplicas" $key) -}}
{{- end -}}
{{- if and $facts.groups (gt (include "porchlight.most" $c | int) (int $.Values.kafka.partitions)) -}}
{{- fail (printf "%s may have %s replicas, but topics have %v partitions (kafka.partitions): more of them would have nothing to do" $key (include "porchlight.most" $c) $.Values.kafka.partitions) -}}
{{- end -}}
{{- include "porchlight.below" (dict "key" $key "values" $values "pairs" (list
  (list "messageTimeoutMs" "produceWaitMs" "else a caller is told that a record was not delivered while it still may be")
  (list "produceWaitMs" "requestTimeoutMs" "else a request is given up while its record is still delivered")
  (list "cqlTimeoutMs" "requestTimeoutMs" "else a request is given up while the store still works on it")
  (list "requestTimeoutMs" "drainMs" "else a drain cuts requests in hand")
  (list "cqlTimeoutMs" "kafkaDrainMs" "else a record that waits for the store could not be finished in a drain")
  (list "pushTimeoutMs" "kafkaDrainMs" "else a push in hand could not be finished in a drain")
  (list "kafkaDrainMs" "drainMs" "what is finished must still be committed")
  (list "kafkaDrainMs" "maxPollIntervalMs" "else a draining consumer loses its partitions before it has committed"))) -}}
{{- end -}}
{{- with .Values.ingest.budgets -}}
{{- if ge (add .produceWaitMs .s3TimeoutMs) (int64 .requestTimeoutMs) -}}
{{- fail (printf "ingest.budgets.produceWaitMs (%v) and s3TimeoutMs (%v) together must be below requestTimeoutMs (%v): else a request times out before it knows whether its upload is completed" .produceWaitMs .s3TimeoutMs .requestTimeoutMs) -}}
{{- end -}}
{{- if ge (mul 2 .requestTimeoutMs) (int64 .drainMs) -}}
{{- fail (printf "ingest.budgets.drainMs (%v) must be more than twice requestTimeoutMs (%v): else a drain cuts requests that are in hand" .drainMs .requestTimeoutMs) -}}
{{- end -}}
{{- end -}}
{{- end -}}
