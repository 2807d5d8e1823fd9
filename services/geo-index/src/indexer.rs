//! The handler of `events`: reads what [`crate::decide`] needs, and does what it says, each step durable before the next.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::{try_join, try_join_all};
use porchlight_bus::{Handler, ProduceError, Producer, Record, Topic};
use porchlight_domain::{Alert, Clock, NeighborhoodRef, Point, Stamped, item::GroupKey};
use porchlight_store::{StoreError, Timeline};
use porchlight_wire::Wire as _;

use crate::{
    decide::{self, Course, LogPosition, Work},
    metrics,
};

/// The first wait after a failure; it doubles with each failure in a row.
const FIRST_WAIT_MS: u64 = 100;
/// The longest wait after a failure.
const LONGEST_WAIT_MS: u64 = 5_000;

/// Where alerts go.
pub trait Alerts: Send + Sync + 'static {
    /// Puts an alert into the log, under its household's key; `Ok` only once it is there for good.
    fn tell(&self, alert: &Alert) -> impl Future<Output = Result<(), ProduceError>> + Send;
}

impl Alerts for Producer {
    async fn tell(&self, alert: &Alert) -> Result<(), ProduceError> {
        self.send(Topic::Alerts, Some(alert.household.0.as_bytes()), &alert.encode(), &[]).await?;
        Ok(())
    }
}

/// Which neighborhoods hold a point now; a sentence while that cannot be told yet.
pub type Locate = Box<dyn Fn(Point) -> Result<Vec<NeighborhoodRef>, String> + Send + Sync>;

/// Handles the records of `events`.
pub struct Indexer<A> {
    timeline: Arc<dyn Timeline>,
    alerts: A,
    locate: Locate,
    clock: Arc<dyn Clock>,
    failures: AtomicU32,
}

/// Why a record cannot be finished now. Nothing here lets one be skipped.
#[derive(Debug)]
enum Wait {
    Neighborhoods(String),
    Store(StoreError),
    Alerts(ProduceError),
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<A: Alerts> Indexer<A> {
    /// `locate` says where a point lies, by polygons that are loaded and fresh.
    pub fn new(timeline: Arc<dyn Timeline>, alerts: A, locate: Locate, clock: Arc<dyn Clock>) -> Self {
        metrics::register();
        Self { timeline, alerts, locate, clock, failures: AtomicU32::new(0) }
    }

    async fn index(&self, at: LogPosition, stamped: &Stamped) -> Result<(), Wait> {
        let matched = (self.locate)(stamped.point).map_err(Wait::Neighborhoods)?;
        // Almost every event is new: the item it may join is looked up in the same breath.
        let (first, last) = try_join(
            self.timeline.first_seen(stamped.device, stamped.event.id),
            self.timeline.last_item(GroupKey::of(stamped)),
        )
        .await?;
        let now = self.clock.now();
        let work = match Course::of(first.as_ref(), at, stamped) {
            Course::New => {
                let open = match last {
                    Some(id) => self.timeline.item(id).await?,
                    None => None,
                };
                decide::first_time(at, stamped, open, &matched, now)
            }
            Course::Again(decided) => {
                metrics::redelivered();
                let stored = self.timeline.item(decided.item).await?;
                let Some(work) = decide::once_more(decided, stamped, stored, &matched, now) else { return Ok(()) };
                work
            }
            Course::Repeated(outcome) => decide::repeated(at, stamped, outcome),
            Course::Settled => return Ok(()),
        };
        self.carry_out(&work).await?;
        self.note(stamped, &work);
        Ok(())
    }

    /// The order is the promise: see [`crate::decide`].
    async fn carry_out(&self, work: &Work) -> Result<(), Wait> {
        if let Some(decision) = &work.decision {
            self.timeline.record_seen(decision).await?;
        }
        if let Some(item) = &work.item {
            self.timeline.put_item(item).await?;
            // After the item, for a feed names it; among each other in any order.
            try_join_all(work.feeds.iter().map(|owner| self.timeline.add_to_feed(*owner, item))).await?;
        }
        if let Some(alert) = &work.alert {
            self.alerts.tell(alert).await.map_err(Wait::Alerts)?;
        }
        Ok(())
    }

    fn note(&self, stamped: &Stamped, work: &Work) {
        if work.decision.is_some() {
            metrics::indexed(work.outcome, self.clock.now().since(stamped.received_at));
        }
        let item = work.item.as_ref();
        tracing::info!(
            event_id = %stamped.event.id,
            item_id = item.map(|i| tracing::field::display(i.id)),
            revision = item.map(|i| i.revision),
            alert_id = work.alert.as_ref().map(|a| tracing::field::display(a.id)),
            outcome = work.outcome.as_str(),
            again = work.decision.is_none(),
            "event indexed"
        );
    }

    fn wait(&self, stamped: &Stamped, wait: Wait) -> porchlight_bus::Outcome {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let (label, reason) = match wait {
            Wait::Neighborhoods(reason) => ("neighborhoods", reason),
            Wait::Alerts(error) => ("alerts", error.to_string()),
            Wait::Store(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => ("store", error.to_string()),
            Wait::Store(error @ (StoreError::Corrupt { .. } | StoreError::Refused(_))) => {
                // Waiting will not mend it, but a row that cannot be read must not turn a topic into dead letters.
                tracing::error!(event_id = %stamped.event.id, %error, "an event waits until somebody mends the store");
                ("row", error.to_string())
            }
        };
        metrics::waited(label);
        porchlight_bus::Outcome::Retry { after: pause(failures), reason }
    }
}

impl<A: Alerts> Handler for Indexer<A> {
    async fn handle(&self, record: Arc<Record>) -> porchlight_bus::Outcome {
        let stamped = match read(&record) {
            Ok(stamped) => stamped,
            Err(reason) => {
                metrics::unreadable();
                return porchlight_bus::Outcome::Fatal { reason };
            }
        };
        let at = LogPosition { partition: record.partition, offset: record.offset };
        match self.index(at, &stamped).await {
            Ok(()) => {
                self.failures.store(0, Ordering::Relaxed);
                porchlight_bus::Outcome::Done
            }
            Err(wait) => self.wait(&stamped, wait),
        }
    }
}

fn read(record: &Record) -> Result<Stamped, String> {
    let stamped = Stamped::decode(&record.value).map_err(|e| e.to_string())?;
    // Everything here rests on the order of a device's records, and that on their key.
    if record.key.as_deref() != Some(stamped.device.0.as_bytes()) {
        return Err("the record's key is not its device".into());
    }
    Ok(stamped)
}

/// How long to wait after so many failures in a row: doubling, jittered so that keys do not come back together.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_WAIT_MS.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT_MS);
    Duration::from_millis(rand::random_range(longest / 2..=longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for failures in 0..40 {
            let wait = pause(failures);
            assert!(wait >= Duration::from_millis(FIRST_WAIT_MS / 2) && wait <= Duration::from_millis(LONGEST_WAIT_MS));
        }
        assert!(pause(30) >= Duration::from_millis(LONGEST_WAIT_MS / 2));
    }
}
