{{/* Who may talk to a program, and whom it may talk to. Both directions are named: what is not listed is shut. */}}

{{/* (list from-or-to peers); no peers: everybody. */}}
{{- define "porchlight.peers" -}}
{{- with index . 1 }}
    {{ index $ 0 }}:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The ports that addresses name: `host:port` or a URL, with what a scheme means. */}}
{{- define "porchlight.ports" -}}
{{- $ports := list -}}
{{- range .addresses -}}
{{- $host := regexReplaceAll "^[a-z0-9+]+://" (trim .) "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- $ports = append $ports ($port | default (ternary "80" "443" (hasPrefix "http://" .)) | int) -}}
{{- end -}}
{{- range .more -}}{{- $ports = append $ports (int .) -}}{{- end -}}
ports:
{{- range $ports | uniq }}
  - {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{- define "porchlight.networkPolicy" -}}
{{- $v := .root.Values -}}
{{- $n := $v.networkPolicy -}}
podSelector:
  matchLabels:
    {{- include "porchlight.selector" . | nindent 4 }}
policyTypes: [Ingress, Egress]
ingress:
  {{- if .facts.http }}
  - ports:
      - {port: http, protocol: TCP}
    {{- include "porchlight.peers" (list "from" $n.clients) }}
  {{- end }}
  {{- if .facts.admin }}
  - ports:
      - {port: admin, protocol: TCP}
    {{- include "porchlight.peers" (list "from" ($n.monitoring | default (list (dict "namespaceSelector" dict)))) }}
  {{- end }}
  {{- if not (or .facts.http .facts.admin) }} []
  {{- end }}
egress:
  # Names are asked of whoever the cluster uses for that.
  - ports:
      - {port: 53, protocol: UDP}
      - {port: 53, protocol: TCP}
  - {{ include "porchlight.ports" (dict "addresses" (include "porchlight.bootstrap" .root | splitList ",") "more" $n.kafkaPorts) | indent 4 | trim }}
    {{- include "porchlight.peers" (list "to" $n.kafka) }}
  {{- if .facts.cql }}
  - {{ include "porchlight.ports" (dict "addresses" (include "porchlight.contactPoints" .root | fromJsonArray) "more" $n.cqlPorts) | indent 4 | trim }}
    {{- include "porchlight.peers" (list "to" $n.cql) }}
  {{- end }}
  {{- if .facts.s3 }}
  - {{ include "porchlight.ports" (dict "addresses" (list $v.s3.endpoint) "more" $n.s3Ports) | indent 4 | trim }}
    {{- include "porchlight.peers" (list "to" $n.s3) }}
  {{- end }}
  {{- if .facts.web }}
  # Push services and the issuer of tokens: anybody's, by the endpoints that phones bring. The program itself refuses
  # addresses that are not public.
  - {{ include "porchlight.ports" (dict "addresses" (concat (list "https://any") (ternary (list $v.auth.issuer) list (eq .key "gateway")) (ternary (list $v.auth.jwksUrl) list (and (eq .key "gateway") (ne $v.auth.jwksUrl ""))))) | indent 4 | trim }}
  {{- end }}
  {{- with $n.extraEgress }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
