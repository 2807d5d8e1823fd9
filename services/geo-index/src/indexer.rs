//! The handler of `events`: reads what [`crate::decide`] needs, and does what it says, each step durable before the next.
//! Events and media of a device come through here, in one order.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::{try_join_all, try_join3};
use porchlight_bus::{Handler, ProduceError, Producer, Record, Topic};
use porchlight_domain::{Alert, Clock, EventId, Logged, Media, MediaId, Stamped, item::GroupKey};
use porchlight_store::{MediaIndex, StoreError, Timeline};
use porchlight_wire::Wire as _;

use crate::{
    decide::{self, Course, LogPosition, MediaCourse, Unlinked, Work},
    locate::Locate,
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

/// Tells nobody: what is replayed was told when it was news.
#[derive(Clone, Copy, Debug)]
pub struct Untold;

impl Alerts for Untold {
    async fn tell(&self, _: &Alert) -> Result<(), ProduceError> {
        Ok(())
    }
}

/// Handles the records of `events`.
pub struct Indexer<A> {
    timeline: Arc<dyn Timeline>,
    media: Arc<dyn MediaIndex>,
    alerts: A,
    locate: Locate,
    clock: Arc<dyn Clock>,
    replays: bool,
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
    pub fn new(
        timeline: Arc<dyn Timeline>,
        media: Arc<dyn MediaIndex>,
        alerts: A,
        locate: Locate,
        clock: Arc<dyn Clock>,
    ) -> Self {
        metrics::register();
        Self { timeline, media, alerts, locate, clock, replays: false, failures: AtomicU32::new(0) }
    }

    async fn index(&self, at: LogPosition, logged: &Logged) -> Result<(), Wait> {
        match logged {
            Logged::Event(stamped) => self.index_event(at, stamped).await,
            Logged::Media(media) => self.index_media(at, media).await,
        }
    }

    async fn index_event(&self, at: LogPosition, stamped: &Stamped) -> Result<(), Wait> {
        let matched = (self.locate)(stamped.point).await.map_err(Wait::Neighborhoods)?;
        // Almost every event is new: the item it may join, and its media that came first, are looked up in the same breath.
        let (first, last, media) = try_join3(
            self.timeline.first_seen(stamped.device, stamped.event.id),
            self.timeline.last_item(GroupKey::of(stamped)),
            self.media.of_event(stamped.device, stamped.event.id),
        )
        .await?;
        let now = self.clock.now();
        let work = match Course::of(first.as_ref(), at, stamped) {
            Course::New => {
                let open = match last {
                    Some(id) => self.timeline.item(id).await?,
                    None => None,
                };
                decide::first_time(at, stamped, open, &matched, &media, now)
            }
            Course::Again(decided) => {
                metrics::redelivered();
                let stored = self.timeline.item(decided.item).await?;
                match decide::once_more(decided, stamped, stored, &matched, &media, now) {
                    Some(work) => work,
                    None => return Ok(()),
                }
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
            if self.replays && self.timeline.first_seen(decision.device, decision.event).await?.is_none() {
                return Ok(());
            }
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

    /// The rows first: whatever becomes of its item, its household can fetch it, and its end can be found.
    async fn index_media(&self, at: LogPosition, media: &Media) -> Result<(), Wait> {
        self.media.put(media).await?;
        let first = self.timeline.first_seen(media.device, media.event).await?;
        let item = match first.as_ref().and_then(|seen| seen.item) {
            Some((id, _)) => self.timeline.item(id).await?,
            None => None,
        };
        let course = decide::media(at, media, first.as_ref(), item, self.clock.now());
        if let MediaCourse::Linked { item, alert, .. } = &course {
            self.timeline.put_item(item).await?;
            // It is in its feeds already: a media does not change an item's place there.
            self.alerts.tell(alert).await.map_err(Wait::Alerts)?;
        }
        note_media(media, &course);
        Ok(())
    }

    fn note(&self, stamped: &Stamped, work: &Work) {
        if work.decision.is_some() {
            metrics::indexed(work.outcome, self.clock.now().since(stamped.received_at));
        }
        let item = work.item.as_ref();
        let joined = item.map_or(0, |i| i.media.iter().filter(|m| m.revision == i.revision).count());
        tracing::info!(
            event_id = %stamped.event.id,
            item_id = item.map(|i| tracing::field::display(i.id)),
            revision = item.map(|i| i.revision),
            alert_id = work.alert.as_ref().map(|a| tracing::field::display(a.id)),
            media = joined,
            outcome = work.outcome.as_str(),
            again = work.decision.is_none(),
            "event indexed"
        );
    }

    fn wait(&self, event: EventId, wait: Wait) -> porchlight_bus::Outcome {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let (label, reason) = match wait {
            Wait::Neighborhoods(reason) => ("neighborhoods", reason),
            Wait::Alerts(error) => ("alerts", error.to_string()),
            Wait::Store(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => ("store", error.to_string()),
            Wait::Store(error @ (StoreError::Corrupt { .. } | StoreError::Refused(_))) => {
                // Waiting will not mend it, but a row that cannot be read must not turn a topic into dead letters.
                tracing::error!(event_id = %event, %error, "a record waits until somebody mends the store");
                ("row", error.to_string())
            }
        };
        metrics::waited(label);
        porchlight_bus::Outcome::Retry { after: pause(failures), reason }
    }
}

impl Indexer<Untold> {
    /// Handles records that were handled before: same decisions, same rows, and nobody is told.
    ///
    /// What was erased since stays erased. A tombstone covers the rows that it names, and not an item that never was: the
    /// second event of an erased item would find neither the first nor its item, and open one under an id of its own. So a
    /// decision that does not stand after it was written was erased, and nothing follows from it.
    pub fn of_replays(
        timeline: Arc<dyn Timeline>,
        media: Arc<dyn MediaIndex>,
        locate: Locate,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { replays: true, ..Self::new(timeline, media, Untold, locate, clock) }
    }
}

impl<A: Alerts> Handler for Indexer<A> {
    async fn handle(&self, record: Arc<Record>) -> porchlight_bus::Outcome {
        let logged = match read(&record) {
            Ok(logged) => logged,
            Err(reason) => {
                metrics::unreadable();
                return porchlight_bus::Outcome::Fatal { reason };
            }
        };
        let at = LogPosition { partition: record.partition, offset: record.offset };
        match self.index(at, &logged).await {
            Ok(()) => {
                self.failures.store(0, Ordering::Relaxed);
                porchlight_bus::Outcome::Done
            }
            Err(wait) => self.wait(event_of(&logged), wait),
        }
    }
}

fn read(record: &Record) -> Result<Logged, String> {
    let logged = Logged::decode(&record.value).map_err(|e| e.to_string())?;
    let device = match &logged {
        Logged::Event(stamped) => stamped.device,
        Logged::Media(media) => media.device,
    };
    // Everything here rests on the order of a device's records, and that on their key.
    if record.key.as_deref() != Some(device.0.as_bytes()) {
        return Err("the record's key is not its device".into());
    }
    // A media under another's id would cover it.
    if let Logged::Media(media) = &logged
        && media.id != MediaId::of(media.device, media.event, media.kind, &media.sha256)
    {
        return Err("the media's id is not that of its content".into());
    }
    Ok(logged)
}

fn event_of(logged: &Logged) -> EventId {
    match logged {
        Logged::Event(stamped) => stamped.event.id,
        Logged::Media(media) => media.event,
    }
}

fn note_media(media: &Media, course: &MediaCourse) {
    let outcome = match course {
        MediaCourse::Waiting => "waiting",
        MediaCourse::Settled => "settled",
        MediaCourse::Linked { again: false, .. } => "linked",
        MediaCourse::Linked { again: true, .. } => "again",
        MediaCourse::Unlinked(Unlinked::Gone) => "gone",
        MediaCourse::Unlinked(Unlinked::Foreign) => "foreign",
        MediaCourse::Unlinked(Unlinked::Full) => "full",
    };
    metrics::media(outcome);
    let linked = match course {
        MediaCourse::Linked { item, alert, .. } => Some((item, alert)),
        MediaCourse::Waiting | MediaCourse::Settled | MediaCourse::Unlinked(_) => None,
    };
    tracing::info!(
        event_id = %media.event,
        media_id = %media.id,
        item_id = linked.map(|(item, _)| tracing::field::display(item.id)),
        revision = linked.map(|(item, _)| item.revision),
        alert_id = linked.map(|(_, alert)| tracing::field::display(alert.id)),
        outcome,
        "media indexed"
    );
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
