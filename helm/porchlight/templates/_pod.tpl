{{/*
The one template of every pod: services, migration, test. Context: root, key, facts, values, and
  main   the name of the program's container
  containers, initContainers   YAML lists
  files  whether the ConfigMap of the settings is mounted
*/}}
{{- define "porchlight.pod" -}}
{{- $v := .root.Values -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if .serviceAccount }}
serviceAccountName: {{ .serviceAccount }}
{{- end }}
{{- with $v.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml $v.podSecurityContext | nindent 2 }}
{{- with .restartPolicy }}
restartPolicy: {{ . }}
{{- end }}
{{- with .grace }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- with .initContainers }}
initContainers:
  {{- . | nindent 2 }}
{{- end }}
containers:
  {{- .containers | nindent 2 }}
{{- $secrets := include "porchlight.secretSources" . }}
{{- if or .files $secrets }}
volumes:
  {{- if .files }}
  - name: config
    configMap:
      name: {{ .files }}
  {{- end }}
  {{- if $secrets }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- $secrets | trim | nindent 8 }}
  {{- end }}
  {{- if and .files .facts.snapshot $v.snapshots.enabled }}
  - name: snapshot
    emptyDir:
      sizeLimit: {{ $v.snapshots.sizeLimit }}
      {{- with $v.snapshots.medium }}
      medium: {{ . }}
      {{- end }}
  {{- end }}
{{- end }}
{{- if .spread }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "porchlight.selector" $ | nindent 8 }}
    # Of this revision alone: else the pods that go away count too.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get ($.values | default dict) $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What every container has. Context: that of the pod, and name, command, args. */}}
{{- define "porchlight.container" -}}
name: {{ .name }}
image: {{ include "porchlight.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ .command | toJson }}
args: {{ .args | toJson }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end -}}

{{/* preStop + drain + margin, in whole seconds. */}}
{{- define "porchlight.grace" -}}
{{- $drain := divf .values.budgets.drainMs 1000 | ceil -}}
{{- add .values.preStopSeconds $drain .root.Values.graceMarginSeconds -}}
{{- end -}}
