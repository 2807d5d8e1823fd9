{{/*
A hook before install and upgrade, so that tables and topics stand before the first pod that needs them; all it needs are
Secrets of yours. Where the release itself makes the servers or the users that it needs, a hook before the install would wait for
ever: there the first run is an ordinary job beside everything else, which tries until they are there, and the services
wait for it. Upgrades always have the hook.
*/}}
{{- define "porchlight.migrate.hook" -}}
{{- $v := .Values -}}
{{- if not (and .Release.IsInstall (or $v.strimzi.kafka.enabled $v.strimzi.users.enabled $v.scylla.cluster.enabled)) -}}true{{- end -}}
{{- end -}}

{{- define "porchlight.migrate.annotations" -}}
{{- if include "porchlight.migrate.hook" .root }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
{{- end }}
{{- end -}}

{{/* The settings as variables: a ConfigMap of the release is not there yet. */}}
{{- define "porchlight.env" -}}
{{- range $section, $keys := include "porchlight.settings" . | fromYaml }}
{{- range $key, $value := $keys }}
- name: PORCHLIGHT_{{ upper $section }}__{{ upper $key }}
  value: {{ ternary $value (include "porchlight.toml.value" $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "porchlight.migrate.container" -}}
- {{ include "porchlight.container" . | indent 2 | trim }}
  env:
    {{- include "porchlight.env" . | trim | nindent 4 }}
  {{- if include "porchlight.secretSources" . }}
  volumeMounts:
    - {name: secrets, mountPath: /etc/porchlight/secrets, readOnly: true}
  {{- end }}
{{- end -}}
