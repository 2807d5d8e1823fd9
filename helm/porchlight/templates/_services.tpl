{{/*
What the chart knows of the programs; .ci/helm compares it with the programs themselves.
  name      of the program (porchlight-NAME), the component and its objects
  admin     the port of /livez, /readyz and /metrics
  http      the port of its API
  snapshot  the setting that names the folder of its snapshot
  cql, s3, grant, vapid   whether it needs the database, the store of objects, the key of grants, the key of pushes
  web       whether it talks to servers on the internet: push services, the issuer of tokens
  topics    what it reads and writes; groups: the consumer groups of its stages
*/}}
{{- define "porchlight.services" -}}
ingest:
  name: ingest
  admin: 9101
  http: 8101
  snapshot: {section: devices, key: snapshot_dir}
  s3: true
  grant: true
  topics: {read: [devices.v1, events.v1], write: [events.v1]}
  groups: []
geoIndex:
  name: geo-index
  admin: 9102
  snapshot: {section: neighborhoods, key: snapshot_dir}
  cql: true
  s3: true
  topics: {read: [events.v1, neighborhoods.v1], write: [alerts.v1, dead-letters.v1]}
  groups: [{name: geo-index, topic: events.v1}]
notification:
  name: notification
  admin: 9103
  snapshot: {section: neighborhoods, key: snapshot_dir}
  cql: true
  vapid: true
  web: true
  topics: {read: [alerts.v1, pushes.v1, neighborhoods.v1], write: [pushes.v1, dead-letters.v1]}
  groups: [{name: notification-plan, topic: alerts.v1}, {name: notification-send, topic: pushes.v1}]
gateway:
  name: gateway
  admin: 9104
  http: 8104
  snapshot: {section: gateway, key: neighborhoods_snapshot_dir}
  cql: true
  s3: true
  vapid: true
  web: true
  topics: {read: [alerts.v1, devices.v1, neighborhoods.v1], write: [devices.v1, neighborhoods.v1]}
  groups: []
{{- end -}}

{{/* The migration is a program too, without a port. */}}
{{- define "porchlight.migrate" -}}
name: migrate
cql: true
{{- end -}}

{{/*
The topics with their shape: those of `porchlight topics apply`, which says how a topic differs from it. .ci/helm compares
the settings with the program's.
*/}}
{{- define "porchlight.topics" -}}
{{- $partitions := int .Values.kafka.partitions -}}
{{- $pushes := 1 -}}
{{- range list 2 4 8 16 32 64 -}}
{{- if le . $partitions -}}{{- $pushes = . -}}{{- end -}}
{{- end -}}
{{- $tables := max 1 (div $partitions 4) -}}
events.v1: {partitions: {{ $partitions }}, retention: 259200000}
alerts.v1: {partitions: {{ $partitions }}, retention: 259200000}
pushes.v1: {partitions: {{ $pushes }}, retention: 86400000}
dead-letters.v1: {partitions: {{ $partitions }}, retention: 1209600000, bytes: 1548576}
devices.v1: {partitions: {{ $tables }}}
neighborhoods.v1: {partitions: {{ $tables }}}
{{- end -}}
