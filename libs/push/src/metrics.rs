//! What can be seen of hand-overs. Labels are bounded: three transports, four outcomes.

use std::{sync::LazyLock, time::Duration};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use crate::Sent;

/// Counter: pushes that were offered to a provider. Labels: `transport` (`webpush`, `fcm`, `apns`) and `outcome`
/// (`handed_over`, `retry`, `endpoint_gone`, `refused`).
pub const SENT: &str = "porchlight_push_sent_total";
/// Histogram, seconds: how long one offer took, connection included. Label: `transport`.
pub const DURATION: &str = "porchlight_push_send_duration_seconds";

static SENT_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let counter = IntCounterVec::new(
        Opts::new(SENT, "Pushes offered to a provider, by transport and outcome."),
        &["transport", "outcome"],
    )
    .expect("name and labels are valid constants");
    prometheus::register(Box::new(counter.clone())).expect("the name is registered here only");
    counter
});

static SEND_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    let histogram = HistogramVec::new(
        HistogramOpts::new(DURATION, "Seconds that one offer to a provider took.").buckets(buckets),
        &["transport"],
    )
    .expect("name and labels are valid constants");
    prometheus::register(Box::new(histogram.clone())).expect("the name is registered here only");
    histogram
});

/// Counts one offer.
pub(crate) fn record(transport: &'static str, sent: &Sent, took: Duration) {
    SENT_TOTAL.with_label_values(&[transport, sent.as_str()]).inc();
    SEND_DURATION.with_label_values(&[transport]).observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alert rules know these names: a change here changes them too.
    #[test]
    fn names_are_pinned() {
        assert_eq!([SENT, DURATION], ["porchlight_push_sent_total", "porchlight_push_send_duration_seconds"]);
        record("webpush", &Sent::HandedOver, Duration::from_millis(3));
        let names: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(names.contains(&SENT.to_owned()) && names.contains(&DURATION.to_owned()), "{names:?}");
    }
}
