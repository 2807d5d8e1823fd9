//! The service's metrics; what providers answer is counted in `libs/push`. A dashboard names them: renaming one breaks it, so a test pins the list.

use std::sync::LazyLock;

use porchlight_domain::Lane;
use porchlight_store::DeliveryOutcome;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::wait::What;

/// Alerts that the planner is done with, by `outcome`: `planned`, `expired`, `stream_only` (never news for phones).
pub const ALERTS: &str = "porchlight_plan_alerts_total";
/// People planned, by `lane`. One person counts once for each alert and lane.
pub const RECIPIENTS: &str = "porchlight_plan_recipients_total";
/// Seconds from the receipt of an event by ingest until all the pushes of its alert are planned.
pub const ACCEPTANCE_TO_PLANNED: &str = "porchlight_plan_acceptance_to_planned_seconds";
/// Pushes decided, by `outcome` (the words of [`DeliveryOutcome::as_str`]) and `lane`.
pub const PUSHES: &str = "porchlight_push_outcomes_total";
/// Seconds from the receipt of an event by ingest until a provider has taken a push of it.
pub const ACCEPTANCE_TO_HANDOVER: &str = "porchlight_push_acceptance_to_handover_seconds";
/// Pushes that were decided before, and so not sent again.
pub const REPEATS: &str = "porchlight_push_repeats_skipped_total";
/// Endpoints removed because their provider said that they are gone.
pub const ENDPOINTS_REMOVED: &str = "porchlight_push_endpoints_removed_total";
/// Pushes to a neighbor that the gate allowed and a second look, by the index of polygons, did not: they were not sent.
/// Above 0, one of the two is broken.
pub const ISOLATION_VIOLATIONS: &str = "porchlight_push_isolation_violations_total";
/// Times that work had to wait, by `stage` (`plan`, `send`) and `reason` (the words of [`What::as_str`]).
pub const WAITS: &str = "porchlight_notification_waits_total";
/// Records that could not be read, by `stage`; each is a dead letter.
pub const UNREADABLE: &str = "porchlight_notification_unreadable_total";
/// Neighborhoods that are held in memory, deleted ones not among them.
pub const NEIGHBORHOODS: &str = "porchlight_notification_neighborhoods";

/// Seconds: a push within a second is good, one after ten minutes is news no more.
const SECONDS: [f64; 16] =
    [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const ONCE: &str = "the name is valid and registered once";

/// A part of this service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// From alerts to people.
    Plan,
    /// From people to phones.
    Send,
}

impl Stage {
    const ALL: [Self; 2] = [Self::Plan, Self::Send];

    fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Send => "send",
        }
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    prometheus::register_int_counter_vec!(name, help, labels).expect(ONCE)
}

fn counter(name: &str, help: &str) -> IntCounter {
    prometheus::register_int_counter!(name, help).expect(ONCE)
}

fn histogram(name: &str, help: &str) -> Histogram {
    prometheus::register_histogram!(name, help, SECONDS.to_vec()).expect(ONCE)
}

static ALERTS_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters(ALERTS, "Alerts that the planner is done with.", &["outcome"]));
static RECIPIENTS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| counters(RECIPIENTS, "People planned.", &["lane"]));
static PLANNED_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram(ACCEPTANCE_TO_PLANNED, "Seconds from acceptance to planned."));
static PUSHES_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters(PUSHES, "Pushes decided.", &["outcome", "lane"]));
static HANDOVER_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram(ACCEPTANCE_TO_HANDOVER, "Seconds from acceptance to hand-over."));
static REPEATS_TOTAL: LazyLock<IntCounter> =
    LazyLock::new(|| counter(REPEATS, "Pushes decided before and not sent again."));
static REMOVED_TOTAL: LazyLock<IntCounter> =
    LazyLock::new(|| counter(ENDPOINTS_REMOVED, "Endpoints removed because they are gone."));
static VIOLATIONS_TOTAL: LazyLock<IntCounter> =
    LazyLock::new(|| counter(ISOLATION_VIOLATIONS, "Pushes that the gate allowed and a second look did not."));
static WAITS_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters(WAITS, "Times that work had to wait.", &["stage", "reason"]));
static UNREADABLE_TOTAL: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters(UNREADABLE, "Records that could not be read.", &["stage"]));
static HELD: LazyLock<IntGauge> =
    LazyLock::new(|| prometheus::register_int_gauge!(NEIGHBORHOODS, "Neighborhoods held in memory.").expect(ONCE));

/// Registers every metric at zero, so that a dashboard shows what has not happened yet.
pub(crate) fn register() {
    for outcome in ["planned", "expired", "stream_only"] {
        ALERTS_TOTAL.with_label_values(&[outcome]);
    }
    for lane in Lane::ALL {
        RECIPIENTS_TOTAL.with_label_values(&[lane.as_str()]);
        for outcome in DeliveryOutcome::ALL {
            PUSHES_TOTAL.with_label_values(&[outcome.as_str(), lane.as_str()]);
        }
    }
    for stage in Stage::ALL {
        UNREADABLE_TOTAL.with_label_values(&[stage.as_str()]);
        for what in What::ALL {
            WAITS_TOTAL.with_label_values(&[stage.as_str(), what.as_str()]);
        }
    }
    for histogram in [&PLANNED_SECONDS, &HANDOVER_SECONDS] {
        LazyLock::force(histogram);
    }
    for counter in [&REPEATS_TOTAL, &REMOVED_TOTAL, &VIOLATIONS_TOTAL] {
        LazyLock::force(counter);
    }
    LazyLock::force(&HELD);
}

#[allow(clippy::cast_precision_loss)] // milliseconds of a few days are exact in f64
fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}

/// An alert was planned, so long after its event was received.
pub(crate) fn alert_planned(age_ms: i64) {
    ALERTS_TOTAL.with_label_values(&["planned"]).inc();
    PLANNED_SECONDS.observe(seconds(age_ms));
}

/// An alert was news no more when it was to be planned.
pub(crate) fn alert_expired() {
    ALERTS_TOTAL.with_label_values(&["expired"]).inc();
}

/// An alert was for open streams only.
pub(crate) fn alert_for_streams() {
    ALERTS_TOTAL.with_label_values(&["stream_only"]).inc();
}

/// People were planned.
pub(crate) fn recipients(lane: Lane, count: u64) {
    RECIPIENTS_TOTAL.with_label_values(&[lane.as_str()]).inc_by(count);
}

/// A push was decided.
pub(crate) fn push(outcome: DeliveryOutcome, lane: Lane) {
    PUSHES_TOTAL.with_label_values(&[outcome.as_str(), lane.as_str()]).inc();
}

/// A provider took a push, so long after its event was received.
pub(crate) fn handed_over(age_ms: i64) {
    HANDOVER_SECONDS.observe(seconds(age_ms));
}

/// A push was decided before.
pub(crate) fn repeat() {
    REPEATS_TOTAL.inc();
}

/// An endpoint that is gone was removed.
pub(crate) fn endpoint_removed() {
    REMOVED_TOTAL.inc();
}

/// The gate allowed what a second look did not.
pub(crate) fn isolation_violation() {
    VIOLATIONS_TOTAL.inc();
}

/// Work had to wait.
pub(crate) fn waited(stage: Stage, what: What) {
    WAITS_TOTAL.with_label_values(&[stage.as_str(), what.as_str()]).inc();
}

/// A record could not be read.
pub(crate) fn unreadable(stage: Stage) {
    UNREADABLE_TOTAL.with_label_values(&[stage.as_str()]).inc();
}

/// The table of neighborhoods changed.
pub(crate) fn neighborhoods(held: usize) {
    HELD.set(i64::try_from(held).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    /// Pinned: dashboards, alert rules and the city's screen name these.
    #[test]
    fn the_names_are_pinned() {
        super::register();
        let mut names: Vec<String> = prometheus::gather().iter().map(|f| f.name().to_owned()).collect();
        names.retain(|name| {
            ["porchlight_plan_", "porchlight_push_", "porchlight_notification_"].iter().any(|p| name.starts_with(p))
        });
        names.sort();
        assert_eq!(
            names,
            [
                "porchlight_notification_neighborhoods",
                "porchlight_notification_unreadable_total",
                "porchlight_notification_waits_total",
                "porchlight_plan_acceptance_to_planned_seconds",
                "porchlight_plan_alerts_total",
                "porchlight_plan_recipients_total",
                "porchlight_push_acceptance_to_handover_seconds",
                "porchlight_push_endpoints_removed_total",
                "porchlight_push_isolation_violations_total",
                "porchlight_push_outcomes_total",
                "porchlight_push_repeats_skipped_total",
            ]
        );
    }
}
