{{/* The Secret with the certificate of both hosts; empty: none. */}}
{{- define "porchlight.tlsSecret" -}}
{{- if .Values.expose.tls.certManager.enabled -}}
{{ include "porchlight.fullname" . }}-tls
{{- else -}}
{{ .Values.expose.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* What is exposed: [{service, host}]. */}}
{{- define "porchlight.exposed" -}}
{{- $fullname := include "porchlight.fullname" . -}}
{{- range $key := list "ingest" "gateway" }}
{{- $host := get $.Values.expose (printf "%sHost" $key) }}
{{- if $host }}
- {key: {{ $key }}, service: {{ $fullname }}-{{ $key }}, host: {{ $host }}, port: {{ (get $.Values $key).service.port }}}
{{- end }}
{{- end }}
{{- end -}}
