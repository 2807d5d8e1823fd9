//! Metrics of clips, in the default registry. Names are constants: a rename breaks dashboards.

use std::{sync::LazyLock, time::Duration};

use porchlight_domain::Timestamp;
use prometheus::{
    GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, register_gauge_vec, register_histogram_vec,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};

use crate::{VaultError, sweep::Reason};

/// Counter: requests to the store of objects, by `operation` ([`Operation::as_str`]) and `outcome` (`ok`, `unavailable`,
/// `refused`). An object that is not there is `ok`. What is only signed asks nobody and is not counted.
pub const REQUESTS: &str = "porchlight_clips_requests_total";
/// Histogram, seconds: how long a request took, its retry included, by `operation`. Failed ones too.
pub const REQUEST_DURATION: &str = "porchlight_clips_request_duration_seconds";
/// Gauge: 1 if the last probe found the bucket and could use it, else 0. Never a reason to be unready.
pub const UP: &str = "porchlight_clips_up";
/// Counter: objects that sweeps looked at.
pub const SWEEP_JUDGED: &str = "porchlight_clips_sweep_judged_total";
/// Counter: objects that sweeps removed, by `reason` (`ended`, `orphan`).
pub const SWEEP_REMOVED: &str = "porchlight_clips_sweep_removed_total";
/// Counter, bytes: what sweeps removed.
pub const SWEEP_REMOVED_BYTES: &str = "porchlight_clips_sweep_removed_bytes_total";
/// Gauge, Unix seconds: when this process last came to the end of a `shard` (`0` to `f`) and had removed all that had to
/// go. Compare by shard, over all processes.
pub const SWEEP_FINISHED: &str = "porchlight_clips_sweep_finished_timestamp_seconds";

/// What is asked of the store of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Length and checksum of an object.
    Stat,
    /// Removing an object.
    Remove,
    /// One page of a listing.
    List,
    /// Whether it is there.
    Ping,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Stat, Self::Remove, Self::List, Self::Ping];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Ping => "ping",
        }
    }
}

fn outcome(error: Option<&VaultError>) -> &'static str {
    match error {
        None => "ok",
        Some(VaultError::Unavailable(_)) => "unavailable",
        Some(VaultError::Refused(_)) => "refused",
    }
}

const ONCE: &str = "this name is registered here only";

static REQUESTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(REQUESTS, "Requests to the store of objects.", &["operation", "outcome"]).expect(ONCE)
});
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
    register_histogram_vec!(REQUEST_DURATION, "How long a request took, in seconds.", &["operation"], buckets)
        .expect(ONCE)
});
static ANSWERS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(UP, "Whether the store of objects answered the last probe.").expect(ONCE));
static JUDGED: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!(SWEEP_JUDGED, "Objects that sweeps looked at.").expect(ONCE));
static REMOVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(SWEEP_REMOVED, "Objects that sweeps removed.", &["reason"]).expect(ONCE)
});
static REMOVED_BYTES: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!(SWEEP_REMOVED_BYTES, "Bytes that sweeps removed.").expect(ONCE));
static FINISHED: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(SWEEP_FINISHED, "When a shard's sweep last came to its end, Unix seconds.", &["shard"])
        .expect(ONCE)
});

/// Counts one request.
pub(crate) fn requested(operation: Operation, error: Option<&VaultError>, took: Duration) {
    REQUESTED.with_label_values(&[operation.as_str(), outcome(error)]).inc();
    DURATION.with_label_values(&[operation.as_str()]).observe(took.as_secs_f64());
}

/// Notes what a probe found.
pub(crate) fn up(answers: bool) {
    ANSWERS.set(i64::from(answers));
}

/// Counts objects that were looked at.
pub(crate) fn judged(objects: u64) {
    JUDGED.inc_by(objects);
}

/// Counts one removal.
pub(crate) fn removed(reason: Reason, bytes: u64) {
    REMOVED.with_label_values(&[reason.as_str()]).inc();
    REMOVED_BYTES.inc_by(bytes);
}

/// Notes that a shard was walked to its end.
pub(crate) fn finished(shard: u8, now: Timestamp) {
    // Whole seconds up to the year 287000 fit a float exactly.
    #[allow(clippy::cast_precision_loss)]
    FINISHED.with_label_values(&[&format!("{shard:x}")]).set(now.0.div_euclid(1000) as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_pinned() {
        requested(Operation::Stat, None, Duration::from_millis(1));
        up(true);
        judged(1);
        removed(Reason::Orphan, 1);
        finished(15, Timestamp(0));
        let mut found: Vec<_> = prometheus::gather()
            .iter()
            .filter(|family| family.name().starts_with("porchlight_clips_"))
            .map(|family| {
                let labels: Vec<_> = family.get_metric()[0].get_label().iter().map(|l| l.name().to_owned()).collect();
                (family.name().to_owned(), labels.join(","))
            })
            .collect();
        found.sort();
        let expected = [
            (REQUEST_DURATION, "operation"),
            (REQUESTS, "operation,outcome"),
            (SWEEP_FINISHED, "shard"),
            (SWEEP_JUDGED, ""),
            (SWEEP_REMOVED_BYTES, ""),
            (SWEEP_REMOVED, "reason"),
            (UP, ""),
        ];
        assert_eq!(found, expected.map(|(name, labels)| (name.to_owned(), labels.to_owned())));
        assert_eq!(Operation::ALL.map(Operation::as_str), ["stat", "remove", "list", "ping"]);
        assert_eq!(Reason::ALL.map(Reason::as_str), ["ended", "orphan"]);
        let errors = [VaultError::Unavailable(String::new()), VaultError::Refused(String::new())];
        assert_eq!(errors.each_ref().map(|e| outcome(Some(e))), ["unavailable", "refused"]);
    }
}
