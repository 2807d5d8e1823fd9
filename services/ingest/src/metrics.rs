//! The metrics of this service. A name that changes breaks a dashboard: a test pins the list.

use std::sync::LazyLock;

use porchlight_domain::MediaKind;
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, register_histogram, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

/// Counter: events judged, by `kind` (`motion`, `ding`, or `unread`) and `outcome` (`accepted`, `duplicate`, `conflict`,
/// `refused`, `shed`, `unavailable`, `failed`).
pub const EVENTS: &str = "porchlight_ingest_events_total";
/// Counter: refusals of requests and of events, by stable `code`.
pub const REFUSALS: &str = "porchlight_ingest_refusals_total";
/// Histogram, seconds: from the append to the delivery report.
pub const APPEND_SECONDS: &str = "porchlight_ingest_append_duration_seconds";
/// Histogram, seconds: how far a device's clock is from ours, either way.
pub const SKEW_SECONDS: &str = "porchlight_ingest_skew_seconds";
/// Gauge: requests in hand; the thresholds of shedding are about it.
pub const REQUESTS_IN_HAND: &str = "porchlight_ingest_requests_in_hand";
/// Gauge: event ids known for the courtesy answer.
pub const RECENT_IDS: &str = "porchlight_ingest_recent_ids";
/// Counter: records of the log read for the courtesy answer.
pub const TAIL_RECORDS: &str = "porchlight_ingest_tail_records_total";
/// Counter: uploads asked for, by `kind` (`clip`, `thumbnail`, or `unread`) and `outcome` (`accepted`, `refused`, `shed`,
/// `unavailable`).
pub const GRANTS: &str = "porchlight_ingest_grants_total";
/// Counter, bytes: the lengths of the uploads that were granted, by `kind`.
pub const GRANTED_BYTES: &str = "porchlight_ingest_granted_bytes_total";
/// Counter: completions of uploads, by `kind` (`clip`, `thumbnail`, or `unread`) and `outcome` (`accepted`, `duplicate`,
/// `refused`, `shed`, `unavailable`, `failed`).
pub const COMPLETIONS: &str = "porchlight_ingest_completions_total";
/// Gauge: 1 if the store of objects answered when it was last asked, else 0.
pub const STORAGE: &str = "porchlight_ingest_storage_up";

/// Every name above.
pub const NAMES: [&str; 11] = [
    EVENTS,
    REFUSALS,
    APPEND_SECONDS,
    SKEW_SECONDS,
    REQUESTS_IN_HAND,
    RECENT_IDS,
    TAIL_RECORDS,
    GRANTS,
    GRANTED_BYTES,
    COMPLETIONS,
    STORAGE,
];

const ONCE: &str = "the name is valid and registered once";

/// What became of an event or an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Accepted,
    Duplicate,
    Conflict,
    Refused,
    Shed,
    Unavailable,
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Shed => "shed",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// Counts one event. `kind` is `None` if it could not be read.
pub(crate) fn event(kind: Option<porchlight_domain::Kind>, outcome: Outcome) {
    let kind = match kind {
        Some(porchlight_domain::Kind::Motion) => "motion",
        Some(porchlight_domain::Kind::Ding) => "ding",
        None => "unread",
    };
    EVENTS_TOTAL.with_label_values(&[kind, outcome.as_str()]).inc();
}

/// Counts one upload that was asked for. `kind` is `None` if it was not read.
pub(crate) fn grant(kind: Option<MediaKind>, outcome: Outcome) {
    GRANTS_TOTAL.with_label_values(&[media_kind(kind), outcome.as_str()]).inc();
}

/// Counts one completion. `kind` is `None` if it was not read.
pub(crate) fn completion(kind: Option<MediaKind>, outcome: Outcome) {
    COMPLETIONS_TOTAL.with_label_values(&[media_kind(kind), outcome.as_str()]).inc();
}

fn media_kind(kind: Option<MediaKind>) -> &'static str {
    kind.map_or("unread", MediaKind::as_str)
}

static EVENTS_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(EVENTS, "Events judged", &["kind", "outcome"]).expect(ONCE));
pub(crate) static REFUSED: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(REFUSALS, "Refusals by code", &["code"]).expect(ONCE));
pub(crate) static APPEND: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    register_histogram!(APPEND_SECONDS, "Append to delivery report", buckets).expect(ONCE)
});
pub(crate) static SKEW: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = vec![0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];
    register_histogram!(SKEW_SECONDS, "Device clock to ours", buckets).expect(ONCE)
});
pub(crate) static IN_HAND: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(REQUESTS_IN_HAND, "Requests in hand").expect(ONCE));
pub(crate) static RECENT: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(RECENT_IDS, "Event ids known for the courtesy answer").expect(ONCE));
pub(crate) static TAILED: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!(TAIL_RECORDS, "Records read for the courtesy answer").expect(ONCE));
static GRANTS_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(GRANTS, "Uploads asked for", &["kind", "outcome"]).expect(ONCE));
pub(crate) static GRANTED: LazyLock<IntCounterVec> =
    LazyLock::new(|| register_int_counter_vec!(GRANTED_BYTES, "Bytes of granted uploads", &["kind"]).expect(ONCE));
static COMPLETIONS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(COMPLETIONS, "Completions of uploads", &["kind", "outcome"]).expect(ONCE)
});
pub(crate) static STORAGE_UP: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(STORAGE, "Whether the store of objects answers").expect(ONCE));

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_pinned() {
        assert_eq!(
            super::NAMES,
            [
                "porchlight_ingest_events_total",
                "porchlight_ingest_refusals_total",
                "porchlight_ingest_append_duration_seconds",
                "porchlight_ingest_skew_seconds",
                "porchlight_ingest_requests_in_hand",
                "porchlight_ingest_recent_ids",
                "porchlight_ingest_tail_records_total",
                "porchlight_ingest_grants_total",
                "porchlight_ingest_granted_bytes_total",
                "porchlight_ingest_completions_total",
                "porchlight_ingest_storage_up",
            ]
        );
    }
}
