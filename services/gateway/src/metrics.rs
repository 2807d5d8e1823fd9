//! What can be seen of the gateway. A name that changes breaks a dashboard: a test pins the list.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_histogram, register_int_counter,
    register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
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
/// Counter: items judged for a person, by `answer` (`shown`, `refused`, `undecided`).
pub const GATE: &str = "porchlight_gateway_gate_total";

/// Every name above.
pub const NAMES: [&str; 9] = [TOKENS, JWKS_FETCHES, ACCOUNTS, WRITES, WRITE_SECONDS, SWEPT, WATCHED, DRIFT, GATE];

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
    LazyLock::new(|| register_int_counter_vec!(GATE, "Items judged for a person", &["answer"]).expect(ONCE));

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
        let gathered: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(NAMES.iter().all(|name| gathered.iter().any(|g| g == name)), "{gathered:?}");
    }
}
