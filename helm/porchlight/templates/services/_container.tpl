{{/* A service's container: what every container has, and ports, probes, settings. */}}
{{- define "porchlight.service.container" -}}
- {{ include "porchlight.container" . | indent 2 | trim }}
  ports:
    {{- if .facts.http }}
    - {name: http, containerPort: {{ .facts.http }}}
    {{- end }}
    - {name: admin, containerPort: {{ .facts.admin }}}
  {{- with include "porchlight.service.env" . }}
  env:
    {{- . | trim | nindent 4 }}
  {{- end }}
  # Liveness asks no other server: a pod that waits for Kafka is not mended by killing it.
  startupProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 1
    failureThreshold: 30
  livenessProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    httpGet: {path: /readyz, port: admin}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 2
  {{- if .values.preStopSeconds }}
  lifecycle:
    preStop:
      sleep: {seconds: {{ .values.preStopSeconds }}}
  {{- end }}
  volumeMounts:
    {{- include "porchlight.service.mounts" . | trim | nindent 4 }}
{{- end -}}

{{/* What its settings leave to variables. */}}
{{- define "porchlight.service.env" -}}
{{- $auth := include "porchlight.kafkaAuth" . | fromYaml }}
{{- if hasPrefix "sasl" $auth.protocol }}
# Here and not in the file, for KEDA reads it from here.
- {name: PORCHLIGHT_KAFKA__USERNAME, value: {{ $auth.username | quote }}}
{{- end }}
{{- if .facts.s3 }}
- name: PORCHLIGHT_S3__ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ include "porchlight.s3Secret" .root }}, key: {{ .root.Values.s3.accessKeyIdKey }}}
{{- end }}
{{- end -}}

{{- define "porchlight.service.mounts" -}}
- {name: config, mountPath: /etc/porchlight/config, readOnly: true}
{{- if include "porchlight.secretSources" . }}
- {name: secrets, mountPath: /etc/porchlight/secrets, readOnly: true}
{{- end }}
{{- if .root.Values.snapshots.enabled }}
- {name: snapshot, mountPath: /var/lib/porchlight}
{{- end }}
{{- end -}}
