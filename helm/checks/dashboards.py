"""Makes the chart's Grafana dashboards from the lists below: dashboards.py FOLDER"""

import json
import pathlib
import sys

NS = 'namespace=~"$namespace"'


def rate(metric, by, match="", window="5m"):
    """A rate, summed by labels."""
    labels = ", ".join(part for part in (NS, match) if part)
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{window}]))"


def quantile(q, metric, by=""):
    grouped = ", ".join(part for part in (by, "le") if part)
    return f"histogram_quantile({q}, {rate(metric + '_bucket', grouped)})"


def top(metric, by, match=""):
    labels = ", ".join(part for part in (NS, match) if part)
    return f"max by ({by}) ({metric}{{{labels}}})"


def total(metric, by="", match=""):
    labels = ", ".join(part for part in (NS, match) if part)
    return f"sum{' by (' + by + ')' if by else ''} ({metric}{{{labels}}})"


# (title, unit, what it says, [(expression, legend)]); a string is a row.
EVENT = [
    "What came in is what came out",
    ("Accepted and decided", "ops", "Every accepted event gets one outcome; the distance between the lines is what waits.", [
        (rate("porchlight_ingest_events_total", "outcome", 'outcome="accepted"'), "accepted"),
        (rate("porchlight_geo_index_events_total", "namespace"), "decided")]),
    ("Outcomes of events", "ops", "", [(rate("porchlight_geo_index_events_total", "outcome"), "{{outcome}}")]),
    ("Accepted and neither decided nor waiting", "short", "Of the last hour. Metrics count roughly; porchlight audit counts exactly.", [
        (f'sum(increase(porchlight_ingest_events_total{{{NS}, outcome="accepted"}}[1h])) - sum(increase(porchlight_geo_index_events_total{{{NS}}}[1h])) - sum(porchlight_bus_consumer_lag_records{{{NS}, stage="geo-index"}})', "missing")]),
    ("Isolation violations", "short", "Pushes that a second look kept from a stranger. Above 0: docs/runbooks/isolation.md.", [
        (f"sum(increase(porchlight_push_isolation_violations_total{{{NS}}}[$__range]))", "violations")]),
    "How long it takes",
    ("Acceptance to hand-over", "s", "From the receipt of an event to the push service's yes.", [
        (quantile(q, "porchlight_push_acceptance_to_handover_seconds"), f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)]),
    ("By stage, 95th percentile", "s", "Each from the receipt (append: of itself).", [
        (quantile(0.95, "porchlight_ingest_append_duration_seconds"), "append"),
        (quantile(0.95, "porchlight_geo_index_receipt_to_indexed_seconds"), "indexed"),
        (quantile(0.95, "porchlight_plan_acceptance_to_planned_seconds"), "planned"),
        (quantile(0.95, "porchlight_push_acceptance_to_handover_seconds"), "handed over")]),
    ("Lag", "short", "Records that are not done.", [(total("porchlight_bus_consumer_lag_records", "stage"), "{{stage}}")]),
    ("Oldest record at work", "s", "", [(top("porchlight_bus_consumer_oldest_try_seconds", "stage"), "{{stage}}")]),
    "Ingest",
    ("Events by outcome", "ops", "", [(rate("porchlight_ingest_events_total", "kind, outcome"), "{{kind}} {{outcome}}")]),
    ("Refusals", "ops", "", [(rate("porchlight_ingest_refusals_total", "code"), "{{code}}")]),
    ("Requests in hand", "short", "Above ingest.shed_motion_above motion is sent away.", [
        (top("porchlight_ingest_requests_in_hand", "pod"), "{{pod}}")]),
    ("Clips", "ops", "", [
        (rate("porchlight_ingest_grants_total", "outcome"), "granted: {{outcome}}"),
        (rate("porchlight_ingest_completions_total", "outcome"), "completed: {{outcome}}"),
        (rate("porchlight_geo_index_media_total", "outcome"), "linked: {{outcome}}")]),
    "Pushes",
    ("Planned people", "ops", "", [(rate("porchlight_plan_recipients_total", "lane"), "{{lane}}")]),
    ("Decided pushes", "ops", "One outcome for each person who was to be told.", [
        (rate("porchlight_push_outcomes_total", "outcome"), "{{outcome}}")]),
    ("Offers by provider", "ops", "", [(rate("porchlight_push_sent_total", "transport, outcome"), "{{transport}} {{outcome}}")]),
    ("A provider's answer, 95th percentile", "s", "", [
        (quantile(0.95, "porchlight_push_send_duration_seconds", "transport"), "{{transport}}")]),
    ("Waits", "ops", "What a record had to wait for.", [
        (rate("porchlight_geo_index_waits_total", "reason"), "index: {{reason}}"),
        (rate("porchlight_notification_waits_total", "stage, reason"), "{{stage}}: {{reason}}")]),
    ("Dead letters", "short", "An hour.", [
        (f'sum by (stage) (increase(porchlight_bus_consumer_handled_total{{{NS}, outcome="dead_letter"}}[1h]))', "{{stage}}")]),
    "Streams",
    ("Open streams", "short", "", [(top("porchlight_gateway_streams", "pod"), "{{pod}}")]),
    ("Behind the log", "s", "", [(top("porchlight_gateway_stream_lag_seconds", "pod"), "{{pod}}")]),
]

GROUND = [
    "Processes",
    ("Ready", "short", "", [(total("porchlight_ready", "job"), "{{job}}")]),
    ("Requests", "reqps", "", [(rate("porchlight_http_requests_total", "job, status"), "{{job}} {{status}}")]),
    ("Requests, 99th percentile", "s", "", [(quantile(0.99, "porchlight_http_request_duration_seconds", "job"), "{{job}}")]),
    ("Connections", "short", "", [(top("porchlight_http_connections", "pod"), "{{pod}}")]),
    "Kafka",
    ("Records sent", "ops", "Everything but delivered is a budget that was not kept, or a refusal.", [
        (rate("porchlight_bus_produced_total", "topic, outcome"), "{{topic}} {{outcome}}")]),
    ("Delivery report, 99th percentile", "s", "Below message_timeout_ms, which is the budget.", [
        (quantile(0.99, "porchlight_bus_produce_seconds", "topic"), "{{topic}}")]),
    ("Commits", "ops", "As checked out of band.", [(rate("porchlight_bus_consumer_commits_total", "stage, outcome"), "{{stage}} {{outcome}}")]),
    ("Tries of records", "ops", "", [(rate("porchlight_bus_consumer_handled_total", "stage, outcome"), "{{stage}} {{outcome}}")]),
    ("One try, 95th percentile", "s", "", [(quantile(0.95, "porchlight_bus_consumer_handle_seconds", "stage"), "{{stage}}")]),
    ("In hand", "short", "", [(total("porchlight_bus_consumer_in_hand_records", "stage"), "{{stage}}")]),
    ("Partitions that moved", "short", "Ten minutes.", [
        (f"sum by (stage, change) (increase(porchlight_bus_consumer_rebalanced_partitions_total{{{NS}}}[10m]))", "{{stage}} {{change}}")]),
    ("Overslept", "short", "An hour.", [
        (f"sum by (stage) (increase(porchlight_bus_consumer_overslept_total{{{NS}}}[1h]))", "{{stage}}")]),
    ("Tables: entries", "short", "", [(top("porchlight_bus_table_entries", "topic, job"), "{{topic}} in {{job}}")]),
    ("Tables: last confirmed", "s", "", [(top("porchlight_bus_table_age_seconds", "topic, job"), "{{topic}} in {{job}}")]),
    "Database",
    ("Requests, 99th percentile", "s", "", [(quantile(0.99, "porchlight_store_request_duration_seconds", "operation"), "{{operation}}")]),
    ("Errors", "ops", "", [(rate("porchlight_store_errors_total", "operation, kind"), "{{operation}} {{kind}}")]),
    ("Registry writes", "ops", "", [(rate("porchlight_gateway_registry_writes_total", "kind, outcome"), "{{kind}} {{outcome}}")]),
    ("Registry drift", "short", "Rows that a topic was behind of at the last comparison.", [(top("porchlight_gateway_registry_drift_rows", "kind"), "{{kind}}")]),
    "Store of objects and retention",
    ("Requests", "ops", "", [(rate("porchlight_clips_requests_total", "operation, outcome"), "{{operation}} {{outcome}}")]),
    ("Reached", "short", "", [(top("porchlight_ingest_storage_up", "pod"), "{{pod}}"), (top("porchlight_clips_up", "pod"), "{{pod}}")]),
    ("Since the last walk over a shard", "s", "Due every hour.", [
        (f"time() - max by (shard) (porchlight_clips_sweep_finished_timestamp_seconds{{{NS}}})", "{{shard}}")]),
    ("Removed", "short", "An hour.", [
        (f"sum by (reason) (increase(porchlight_clips_sweep_removed_total{{{NS}}}[1h]))", "{{reason}}")]),
    "People",
    ("Tokens", "ops", "", [(rate("porchlight_gateway_tokens_total", "outcome"), "{{outcome}}")]),
    ("The gate's answers", "ops", "", [(rate("porchlight_gateway_gate_total", "answer"), "{{answer}}")]),
]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number, at, title, unit, says, queries):
    return {
        "id": number, "type": "timeseries", "title": title, "description": says, "datasource": DATASOURCE,
        "gridPos": {"h": 8, "w": 12, "x": at % 2 * 12, "y": at // 2 * 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull"]}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": chr(65 + n), "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
                    for n, (expr, legend) in enumerate(queries)],
    }


def dashboard(uid, title, items):
    panels, at = [], 0
    for number, item in enumerate(items, 1):
        at += at % 2 if isinstance(item, str) else 0
        if isinstance(item, str):
            panels.append({"id": number, "type": "row", "title": item, "collapsed": False,
                           "gridPos": {"h": 1, "w": 24, "x": 0, "y": at // 2 * 8}, "panels": []})
        else:
            panels.append(panel(number, at, *item))
            at += 1
    return {
        "uid": uid, "title": title, "tags": ["porchlight"], "schemaVersion": 39, "editable": True, "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"}, "panels": panels,
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
            {"name": "namespace", "type": "query", "label": "Namespace", "datasource": DATASOURCE, "includeAll": True, "multi": True,
             "query": "label_values(porchlight_ready, namespace)", "refresh": 2}]},
    }


for name, uid, title, items in [("event", "porchlight-event", "Porchlight: the way of an event", EVENT),
                                ("ground", "porchlight-ground", "Porchlight: the ground it stands on", GROUND)]:
    text = json.dumps(dashboard(uid, title, items), indent=1, ensure_ascii=False) + "\n"
    pathlib.Path(sys.argv[1], f"{name}.json").write_text(text)
