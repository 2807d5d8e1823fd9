//! One event, from a device that is proven, to an answer.

use porchlight_chassis::http::Problem;
use porchlight_domain::{Device, EventId, Kind, Stamped, Timestamp};
use porchlight_wire::SentEvent;

use crate::{
    courtesy::{Courtesy, Kept, NotKept},
    log::{self, Log},
    metrics::{self, Outcome},
    shed::Level,
};

/// What a device is told of an event that is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Accepted {
    /// The event's id.
    pub(crate) id: EventId,
    /// When we received it (the first time), by our clock: the order of events.
    pub(crate) received_at: Timestamp,
    /// By how many milliseconds our clock is ahead of the device's, the way here included.
    pub(crate) skew_ms: i64,
}

/// Decides about one event. `Ok` means that it is in the log.
pub(crate) async fn accept(
    courtesy: &Courtesy,
    log: &dyn Log,
    device: &Device,
    sent: SentEvent,
    received_at: Timestamp,
    level: Level,
) -> Result<Accepted, Problem> {
    let (id, kind) = (sent.event.id, sent.event.kind);
    if !passes(kind, level) {
        metrics::event(Some(kind), Outcome::Shed);
        return Err(Problem::new(429, "shedding", "motion waits while dings go first; send it again").retry_after(2));
    }
    let stamped = stamp(device, sent, received_at);
    metrics::SKEW.observe(std::time::Duration::from_millis(stamped.skew_ms().unsigned_abs()).as_secs_f64());
    let (receipt, outcome) = match courtesy.keep(log, &stamped).await {
        Ok(Kept::Now(receipt)) => (receipt, Outcome::Accepted),
        Ok(Kept::Already(receipt)) => (receipt, Outcome::Duplicate),
        Err(not_kept) => {
            let (outcome, problem) = refuse(not_kept);
            metrics::event(Some(kind), outcome);
            tracing::info!(event_id = %id, device_id = %device.id, code = problem.code, "event not accepted");
            return Err(problem);
        }
    };
    metrics::event(Some(kind), outcome);
    match outcome {
        Outcome::Accepted => tracing::info!(event_id = %id, device_id = %device.id, "event accepted"),
        _ => tracing::debug!(event_id = %id, device_id = %device.id, "event known"),
    }
    Ok(Accepted { id, received_at: receipt.received_at, skew_ms: receipt.skew_ms })
}

fn passes(kind: Kind, level: Level) -> bool {
    match (level, kind) {
        (Level::Open, Kind::Motion | Kind::Ding) | (Level::DingsOnly, Kind::Ding) => true,
        (Level::DingsOnly, Kind::Motion) | (Level::Full, Kind::Motion | Kind::Ding) => false,
    }
}

/// With all that is true of the device now.
fn stamp(device: &Device, sent: SentEvent, received_at: Timestamp) -> Stamped {
    Stamped {
        digest: sent.event.digest(),
        event: sent.event,
        device: device.id,
        household: device.household,
        point: device.point,
        policy: device.policy,
        plan: device.plan,
        sent_at: sent.sent_at,
        received_at,
    }
}

fn refuse(not_kept: NotKept) -> (Outcome, Problem) {
    match not_kept {
        NotKept::Conflict => (
            Outcome::Conflict,
            Problem::new(409, "id_conflict", "another event has this id; give this one an id of its own").at("/id"),
        ),
        NotKept::Log(error) => log::refusal(error),
    }
}
