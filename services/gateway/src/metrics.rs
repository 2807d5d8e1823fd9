//! What can be seen of the gateway. A name that changes breaks a dashboard: a test pins the list.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_gauge, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};

/// Counter: tokens looked at, by `outcome` (`accepted`, `refused`, `unavailable`).
pub const TOKENS: &str = "porchlight_gateway_tokens_total";
/// Counter: fetches of the issuer's keys, by `outcome` (`ok`, `failed`).
pub const JWKS_FETCHES: &str = "porchlight_gateway_jwks_fetches_total";
/// Counter: accounts made at first sight.
pub const ACCOUNTS: &str = "porchlight_gateway_accounts_created_total";
/// Counter: registry writes, by `kind` (`device`, `home`, `neighborhood`) and `outcome` (`done`, `conflict`,
/// `unpublished`, `failed`).
pub const WRITES: &str = "porchlight_gateway_registry_writes_total";
/// Histogram, seconds: from the intent to the last delivery report of a registry write that was done.
pub const WRITE_SECONDS: &str = "porchlight_gateway_registry_write_duration_seconds";
/// Counter: rows that the sweeper projected again, by `kind`.
pub const SWEPT: &str = "porchlight_gateway_registry_swept_total";
/// Gauge: intents of the last ten minutes that the sweeper watches.
pub const WATCHED: &str = "porchlight_gateway_registry_watched_intents";
/// Gauge: rows that a topic was behind of when they were compared last, by `kind`. Above 0: somebody should look.
pub const DRIFT: &str = "porchlight_gateway_registry_drift_rows";
/// Counter: items and media judged for a person, by `answer` (`shown`, `refused`, `undecided`).
pub const GATE: &str = "porchlight_gateway_gate_total";
/// Gauge: live streams that are open.
pub const STREAMS: &str = "porchlight_gateway_streams";
/// Counter: live streams that ended, by `reason` (`token_expired`, `slow_reader`, `going_away`, `client_gone`).
pub const STREAMS_ENDED: &str = "porchlight_gateway_streams_ended_total";
/// Counter: live streams that were refused, by `reason` (`gateway_full`, `resident_full`, `catching_up`).
pub const STREAMS_REFUSED: &str = "porchlight_gateway_streams_refused_total";
/// Counter: items that live streams looked at, by `outcome` (`sent`, `not_shown`, `repeated`).
pub const STREAM_ITEMS: &str = "porchlight_gateway_stream_items_total";
/// Gauge, seconds: how long after it was appended the latest alert was met; how long nothing is heard while the log
/// cannot be followed.
pub const STREAM_LAG: &str = "porchlight_gateway_stream_lag_seconds";
/// Gauge: alerts that are kept for streams that resume.
pub const STREAM_RING: &str = "porchlight_gateway_stream_ring_alerts";

/// Every name above.
pub const NAMES: [&str; 15] = [
    TOKENS,
    JWKS_FETCHES,
    ACCOUNTS,
    WRITES,
    WRITE_SECONDS,
    SWEPT,
    WATCHED,
    DRIFT,
    GATE,
    STREAMS,
    STREAMS_ENDED,
    STREAMS_REFUSED,
    STREAM_ITEMS,
    STREAM_LAG,
    STREAM_RING,
];

const ONCE: &str = "the name is valid and registered once";

static TOKENS_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(TOKENS, "Tokens looked at", &["outcome"]).expect(ONCE));
static JWKS_FETCHES_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(JWKS_FETCHES, "Fetches of the issuer's keys", &["outcome"]).expect(ONCE)
});
static ACCOUNTS_TOTAL: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!(ACCOUNTS, "Accounts made at first sight").expect(ONCE));
static WRITES_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(WRITES, "Registry writes", &["kind", "outcome"]).expect(ONCE));
static WRITE_DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    register_histogram!(WRITE_SECONDS, "Intent to last delivery report", buckets).expect(ONCE)
});
static SWEPT_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(SWEPT, "Rows projected again", &["kind"]).expect(ONCE));
static WATCHED_INTENTS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(WATCHED, "Intents that the sweeper watches").expect(ONCE));
static DRIFT_ROWS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| register_int_gauge_vec!(DRIFT, "Rows that a topic was behind of", &["kind"]).expect(ONCE));
static GATE_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(GATE, "Items and media judged for a person", &["answer"]).expect(ONCE));
static OPEN_STREAMS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(STREAMS, "Live streams that are open").expect(ONCE));
static STREAMS_ENDED_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(STREAMS_ENDED, "Live streams that ended", &["reason"]).expect(ONCE));
static STREAMS_REFUSED_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(STREAMS_REFUSED, "Live streams that were refused", &["reason"]).expect(ONCE)
});
static STREAM_ITEMS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(STREAM_ITEMS, "Items that live streams looked at", &["outcome"]).expect(ONCE)
});
static STREAM_LAG_SECONDS: LazyLock<Gauge> =
    LazyLock::new(|| register_gauge!(STREAM_LAG, "From the append of the latest alert to here").expect(ONCE));
static STREAM_RING_ALERTS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(STREAM_RING, "Alerts kept for streams that resume").expect(ONCE));

pub(crate) fn token(outcome: &'static str) {
    TOKENS_TOTAL.with_label_values(&[outcome]).inc();
}

pub(crate) fn jwks_fetch(well: bool) {
    JWKS_FETCHES_TOTAL.with_label_values(&[if well { "ok" } else { "failed" }]).inc();
}

pub(crate) fn account_created() {
    ACCOUNTS_TOTAL.inc();
}

pub(crate) fn write(kind: &'static str, outcome: &'static str) {
    WRITES_TOTAL.with_label_values(&[kind, outcome]).inc();
}

pub(crate) fn write_took(took: Duration) {
    WRITE_DURATION.observe(took.as_secs_f64());
}

pub(crate) fn swept(kind: &'static str) {
    SWEPT_TOTAL.with_label_values(&[kind]).inc();
}

pub(crate) fn watched(intents: usize) {
    WATCHED_INTENTS.set(i64::try_from(intents).unwrap_or(i64::MAX));
}

pub(crate) fn drift(kind: &'static str, rows: u64) {
    DRIFT_ROWS.with_label_values(&[kind]).set(i64::try_from(rows).unwrap_or(i64::MAX));
}

pub(crate) fn gate(answer: &'static str) {
    GATE_TOTAL.with_label_values(&[answer]).inc();
}

pub(crate) fn streams(open: usize) {
    OPEN_STREAMS.set(i64::try_from(open).unwrap_or(i64::MAX));
}

pub(crate) fn stream_ended(reason: &'static str) {
    STREAMS_ENDED_TOTAL.with_label_values(&[reason]).inc();
}

pub(crate) fn stream_refused(reason: &'static str) {
    STREAMS_REFUSED_TOTAL.with_label_values(&[reason]).inc();
}

pub(crate) fn stream_item(outcome: &'static str) {
    STREAM_ITEMS_TOTAL.with_label_values(&[outcome]).inc();
}

pub(crate) fn stream_lag(ms: i64) {
    STREAM_LAG_SECONDS.set(Duration::from_millis(ms.max(0).unsigned_abs()).as_secs_f64());
}

pub(crate) fn stream_ring(alerts: usize) {
    STREAM_RING_ALERTS.set(i64::try_from(alerts).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned() {
        assert_eq!(
            NAMES,
            [
                "porchlight_gateway_tokens_total",
                "porchlight_gateway_jwks_fetches_total",
                "porchlight_gateway_accounts_created_total",
                "porchlight_gateway_registry_writes_total",
                "porchlight_gateway_registry_write_duration_seconds",
                "porchlight_gateway_registry_swept_total",
                "porchlight_gateway_registry_watched_intents",
                "porchlight_gateway_registry_drift_rows",
                "porchlight_gateway_gate_total",
                "porchlight_gateway_streams",
                "porchlight_gateway_streams_ended_total",
                "porchlight_gateway_streams_refused_total",
                "porchlight_gateway_stream_items_total",
                "porchlight_gateway_stream_lag_seconds",
                "porchlight_gateway_stream_ring_alerts",
            ]
        );
    }

    #[test]
    fn every_name_is_registered() {
        token("accepted");
        jwks_fetch(true);
        account_created();
        write("device", "done");
        write_took(Duration::ZERO);
        swept("device");
        watched(0);
        drift("device", 0);
        gate("shown");
        streams(0);
        stream_ended("client_gone");
        stream_refused("gateway_full");
        stream_item("sent");
        stream_lag(0);
        stream_ring(0);
        let gathered: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(NAMES.iter().all(|name| gathered.iter().any(|g| g == name)), "{gathered:?}");
    }
}
