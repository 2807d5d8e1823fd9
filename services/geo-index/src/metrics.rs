//! The service's metrics. A dashboard names them: renaming one breaks it, so a test pins the list.

use std::sync::LazyLock;

use porchlight_domain::Outcome;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

/// Records of `events` decided about, by `outcome` (the words of [`Outcome::as_str`]). A record that comes again is not
/// counted again.
pub const EVENTS: &str = "porchlight_geo_index_events_total";
/// Records that met their own decision, for they had been handled before, wholly or in part.
pub const REDELIVERIES: &str = "porchlight_geo_index_redeliveries_total";
/// Records of media handled, by `outcome`: `linked` (a revision of its own), `waiting` (its event has not come, and will
/// take it along), `settled` (its event took it along, or it was done before), `again` (linked before, and told once
/// more), and those that are in no item: `gone` (the item's time or its own is over), `foreign` (the item is another
/// household's), `full` (the item names as many as it may). A record that comes again is counted again.
pub const MEDIA: &str = "porchlight_geo_index_media_total";
/// Walks over a shard of the stored objects, by `outcome`: `swept`, `held` (another process has the shard), `stopped`
/// (this process ends), `failed` (the store of objects or the rows are away: see the log; it is tried again). What the
/// walks removed is counted in `libs/clips`.
pub const SWEEPS: &str = "porchlight_geo_index_sweeps_total";
/// Records that were no valid event or media; each is a dead letter.
pub const UNREADABLE: &str = "porchlight_geo_index_unreadable_total";
/// Times that a record had to wait for something it needs, by `reason`: `neighborhoods`, `store`, `row` (a stored row
/// that cannot be read: see the log), `alerts`.
pub const WAITS: &str = "porchlight_geo_index_waits_total";
/// Seconds from the receipt of an event by ingest until all of its rows are durable and its alert is in the log.
pub const RECEIPT_TO_INDEXED: &str = "porchlight_geo_index_receipt_to_indexed_seconds";
/// Neighborhoods that are held in memory, deleted ones not among them.
pub const NEIGHBORHOODS: &str = "porchlight_geo_index_neighborhoods";

/// Points asked of the index together.
pub const LOCATE_BATCH: &str = "porchlight_geo_index_locate_batch_points";

static EVENTS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    prometheus::register_int_counter_vec!(EVENTS, "Records of events decided about, by outcome.", &["outcome"])
        .expect("registered once")
});
static REDELIVERIES_TOTAL: LazyLock<IntCounter> = LazyLock::new(|| {
    prometheus::register_int_counter!(REDELIVERIES, "Records that met their own decision.").expect("registered once")
});
static UNREADABLE_TOTAL: LazyLock<IntCounter> = LazyLock::new(|| {
    prometheus::register_int_counter!(UNREADABLE, "Records that were no valid event or media.")
        .expect("registered once")
});
static WAITS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    prometheus::register_int_counter_vec!(WAITS, "Times that a record had to wait, by reason.", &["reason"])
        .expect("registered once")
});
static MEDIA_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    prometheus::register_int_counter_vec!(MEDIA, "Records of media handled, by outcome.", &["outcome"])
        .expect("registered once")
});
static SWEEPS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    prometheus::register_int_counter_vec!(SWEEPS, "Walks over a shard of the stored objects.", &["outcome"])
        .expect("registered once")
});
static RECEIPT_TO_INDEXED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    prometheus::register_histogram!(
        RECEIPT_TO_INDEXED,
        "Seconds from receipt to indexed.",
        vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]
    )
    .expect("registered once")
});
static NEIGHBORHOODS_HELD: LazyLock<IntGauge> = LazyLock::new(|| {
    prometheus::register_int_gauge!(NEIGHBORHOODS, "Neighborhoods held in memory.").expect("registered once")
});

static LOCATE_BATCH_POINTS: LazyLock<Histogram> = LazyLock::new(|| {
    let bounds = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
    prometheus::register_histogram!(LOCATE_BATCH, "Points asked of the index together.", bounds)
        .expect("registered once")
});

/// Registers every metric at zero, so that a dashboard shows what has not happened yet.
pub(crate) fn register() {
    for outcome in Outcome::ALL {
        EVENTS_TOTAL.with_label_values(&[outcome.as_str()]);
    }
    for reason in ["neighborhoods", "store", "row", "alerts"] {
        WAITS_TOTAL.with_label_values(&[reason]);
    }
    for outcome in ["linked", "waiting", "settled", "again", "gone", "foreign", "full"] {
        MEDIA_TOTAL.with_label_values(&[outcome]);
    }
    for outcome in ["swept", "held", "stopped", "failed"] {
        SWEEPS_TOTAL.with_label_values(&[outcome]);
    }
    LazyLock::force(&REDELIVERIES_TOTAL);
    LazyLock::force(&UNREADABLE_TOTAL);
    LazyLock::force(&RECEIPT_TO_INDEXED_SECONDS);
    LazyLock::force(&NEIGHBORHOODS_HELD);
    LazyLock::force(&LOCATE_BATCH_POINTS);
}

/// A record was decided about and its work is durable; its event was received `age_ms` ago.
pub(crate) fn indexed(outcome: Outcome, age_ms: i64) {
    EVENTS_TOTAL.with_label_values(&[outcome.as_str()]).inc();
    #[allow(clippy::cast_precision_loss)] // milliseconds of a few days are exact in f64
    RECEIPT_TO_INDEXED_SECONDS.observe(age_ms.max(0) as f64 / 1000.0);
}

/// So many points were asked of the index together.
pub(crate) fn located(points: usize) {
    LOCATE_BATCH_POINTS.observe(f64::from(u32::try_from(points).unwrap_or(u32::MAX)));
}

/// A record met its own decision.
pub(crate) fn redelivered() {
    REDELIVERIES_TOTAL.inc();
}

/// A record was no valid event or media.
pub(crate) fn unreadable() {
    UNREADABLE_TOTAL.inc();
}

/// A record had to wait.
pub(crate) fn waited(reason: &'static str) {
    WAITS_TOTAL.with_label_values(&[reason]).inc();
}

/// A record of a media was handled.
pub(crate) fn media(outcome: &'static str) {
    MEDIA_TOTAL.with_label_values(&[outcome]).inc();
}

/// A walk over a shard ended.
pub(crate) fn swept(outcome: &'static str) {
    SWEEPS_TOTAL.with_label_values(&[outcome]).inc();
}

/// The table of neighborhoods changed.
pub(crate) fn neighborhoods(held: usize) {
    NEIGHBORHOODS_HELD.set(i64::try_from(held).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    /// Pinned: dashboards and alert rules name these.
    #[test]
    fn the_names_are_pinned() {
        super::register();
        let mut names: Vec<String> = prometheus::gather().iter().map(|f| f.name().to_owned()).collect();
        names.retain(|name| name.starts_with("porchlight_geo_index_"));
        names.sort();
        assert_eq!(
            names,
            [
                "porchlight_geo_index_events_total",
                "porchlight_geo_index_locate_batch_points",
                "porchlight_geo_index_media_total",
                "porchlight_geo_index_neighborhoods",
                "porchlight_geo_index_receipt_to_indexed_seconds",
                "porchlight_geo_index_redeliveries_total",
                "porchlight_geo_index_sweeps_total",
                "porchlight_geo_index_unreadable_total",
                "porchlight_geo_index_waits_total",
            ]
        );
    }
}
