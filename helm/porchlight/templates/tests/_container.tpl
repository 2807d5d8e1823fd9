{{- define "porchlight.test.container" -}}
- {{ include "porchlight.container" . | indent 2 | trim }}
  {{- with include "porchlight.service.env" . }}
  env:
    {{- . | trim | nindent 4 }}
  {{- end }}
  volumeMounts:
    {{- include "porchlight.service.mounts" . | trim | nindent 4 }}
{{- end -}}
