//! The metrics of this crate, in the default registry of the crate `prometheus`. A rename breaks dashboards: a test pins
//! the list. Labels are bounded: stages and topics are few and fixed, outcomes are enums.

use std::sync::LazyLock;

use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, exponential_buckets, register_gauge_vec,
    register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

/// Records of the assigned partitions that are not done, as last asked. Labels: `stage`.
pub const CONSUMER_LAG: &str = "porchlight_bus_consumer_lag_records";
/// Records delivered and not yet passed by the commit frontier. Labels: `stage`.
pub const CONSUMER_IN_HAND: &str = "porchlight_bus_consumer_in_hand_records";
/// Tries of records by outcome. Labels: `stage`, `outcome` (`done`, `retry`, `dead_letter`, `stalled`, `aborted`, `late`).
pub const CONSUMER_HANDLED: &str = "porchlight_bus_consumer_handled_total";
/// How long one try of a record took. Labels: `stage`.
pub const CONSUMER_HANDLE_SECONDS: &str = "porchlight_bus_consumer_handle_seconds";
/// How long the oldest running try of a record has been at work. Labels: `stage`.
pub const CONSUMER_OLDEST_TRY: &str = "porchlight_bus_consumer_oldest_try_seconds";
/// Times that a loop had not polled for longer than its session and began anew. Labels: `stage`.
pub const CONSUMER_OVERSLEPT: &str = "porchlight_bus_consumer_overslept_total";
/// Offset commits of partitions, as checked out of band. Labels: `stage`, `outcome` (`confirmed`, `failed`).
pub const CONSUMER_COMMITS: &str = "porchlight_bus_consumer_commits_total";
/// Partitions that came or went. Labels: `stage`, `change` (`assigned`, `given_back`, `lost`).
pub const CONSUMER_REBALANCED: &str = "porchlight_bus_consumer_rebalanced_partitions_total";
/// Records sent, by outcome. Labels: `topic`, `outcome` (`delivered`, `queue_full`, `timed_out`, `refused`,
/// `unavailable`).
pub const PRODUCED: &str = "porchlight_bus_produced_total";
/// From sending to the delivery report. Labels: `topic`.
pub const PRODUCE_SECONDS: &str = "porchlight_bus_produce_seconds";
/// Entries of a table. Labels: `topic`.
pub const TABLE_ENTRIES: &str = "porchlight_bus_table_entries";
/// Since when the partition confirmed longest ago is unconfirmed. Labels: `topic`.
pub const TABLE_AGE: &str = "porchlight_bus_table_age_seconds";
/// Records of a table's topic that are no entry of it. Labels: `topic`.
pub const TABLE_UNDECODABLE: &str = "porchlight_bus_table_undecodable_total";

/// The name of every metric of this crate.
pub const ALL: [&str; 13] = [
    CONSUMER_LAG,
    CONSUMER_IN_HAND,
    CONSUMER_HANDLED,
    CONSUMER_HANDLE_SECONDS,
    CONSUMER_OLDEST_TRY,
    CONSUMER_OVERSLEPT,
    CONSUMER_COMMITS,
    CONSUMER_REBALANCED,
    PRODUCED,
    PRODUCE_SECONDS,
    TABLE_ENTRIES,
    TABLE_AGE,
    TABLE_UNDECODABLE,
];

pub(crate) struct Metrics {
    pub(crate) lag: IntGaugeVec,
    pub(crate) in_hand: IntGaugeVec,
    pub(crate) handled: IntCounterVec,
    pub(crate) handle_seconds: HistogramVec,
    pub(crate) oldest_try: GaugeVec,
    pub(crate) overslept: IntCounterVec,
    pub(crate) commits: IntCounterVec,
    pub(crate) rebalanced: IntCounterVec,
    pub(crate) produced: IntCounterVec,
    pub(crate) produce_seconds: HistogramVec,
    pub(crate) table_entries: IntGaugeVec,
    pub(crate) table_age: GaugeVec,
    pub(crate) table_undecodable: IntCounterVec,
}

/// Registered on first use.
pub(crate) static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| register().expect("the names are well formed and registered here only"));

fn register() -> prometheus::Result<Metrics> {
    // 1 ms to 16 s.
    let seconds = exponential_buckets(0.001, 2.0, 15)?;
    Ok(Metrics {
        lag: register_int_gauge_vec!(CONSUMER_LAG, "Records of assigned partitions that are not done", &["stage"])?,
        in_hand: register_int_gauge_vec!(CONSUMER_IN_HAND, "Records not yet passed by the frontier", &["stage"])?,
        handled: register_int_counter_vec!(CONSUMER_HANDLED, "Tries of records by outcome", &["stage", "outcome"])?,
        handle_seconds: register_histogram_vec!(
            CONSUMER_HANDLE_SECONDS,
            "How long one try of a record took",
            &["stage"],
            seconds.clone()
        )?,
        oldest_try: register_gauge_vec!(
            CONSUMER_OLDEST_TRY,
            "How long the oldest running try of a record has been at work",
            &["stage"]
        )?,
        overslept: register_int_counter_vec!(
            CONSUMER_OVERSLEPT,
            "Times that a loop had not polled for longer than its session and began anew",
            &["stage"]
        )?,
        commits: register_int_counter_vec!(
            CONSUMER_COMMITS,
            "Offset commits of partitions as checked out of band",
            &["stage", "outcome"]
        )?,
        rebalanced: register_int_counter_vec!(
            CONSUMER_REBALANCED,
            "Partitions that came or went",
            &["stage", "change"]
        )?,
        produced: register_int_counter_vec!(PRODUCED, "Records sent, by outcome", &["topic", "outcome"])?,
        produce_seconds: register_histogram_vec!(
            PRODUCE_SECONDS,
            "From sending to the delivery report",
            &["topic"],
            seconds
        )?,
        table_entries: register_int_gauge_vec!(TABLE_ENTRIES, "Entries of a table", &["topic"])?,
        table_age: register_gauge_vec!(
            TABLE_AGE,
            "Since when the partition confirmed longest ago is unconfirmed",
            &["topic"]
        )?,
        table_undecodable: register_int_counter_vec!(
            TABLE_UNDECODABLE,
            "Records of a table's topic that are no entry of it",
            &["topic"]
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_pinned_and_registered() {
        assert_eq!(
            ALL,
            [
                "porchlight_bus_consumer_lag_records",
                "porchlight_bus_consumer_in_hand_records",
                "porchlight_bus_consumer_handled_total",
                "porchlight_bus_consumer_handle_seconds",
                "porchlight_bus_consumer_oldest_try_seconds",
                "porchlight_bus_consumer_overslept_total",
                "porchlight_bus_consumer_commits_total",
                "porchlight_bus_consumer_rebalanced_partitions_total",
                "porchlight_bus_produced_total",
                "porchlight_bus_produce_seconds",
                "porchlight_bus_table_entries",
                "porchlight_bus_table_age_seconds",
                "porchlight_bus_table_undecodable_total",
            ]
        );
        METRICS.lag.with_label_values(&["test"]).set(1);
        METRICS.in_hand.with_label_values(&["test"]).set(1);
        METRICS.handled.with_label_values(&["test", "done"]).inc();
        METRICS.handle_seconds.with_label_values(&["test"]).observe(0.1);
        METRICS.oldest_try.with_label_values(&["test"]).set(0.1);
        METRICS.overslept.with_label_values(&["test"]).inc();
        METRICS.commits.with_label_values(&["test", "confirmed"]).inc();
        METRICS.rebalanced.with_label_values(&["test", "assigned"]).inc();
        METRICS.produced.with_label_values(&["test", "delivered"]).inc();
        METRICS.produce_seconds.with_label_values(&["test"]).observe(0.1);
        METRICS.table_entries.with_label_values(&["test"]).set(1);
        METRICS.table_age.with_label_values(&["test"]).set(1.0);
        METRICS.table_undecodable.with_label_values(&["test"]).inc();
        let registered: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(ALL.iter().all(|name| registered.iter().any(|r| r == name)), "{registered:?}");
    }
}
