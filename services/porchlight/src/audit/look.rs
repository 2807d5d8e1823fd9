//! One look at log and rows: reads what the cores compare, in the order that [`super`] explains.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use porchlight_bus::{From, KafkaConfig, Letters, Span, Stretch, Topic, committed, letters};
use porchlight_domain::{
    Alert, AlertId, Clock as _, HouseholdId, PushTask, SystemClock, Timestamp, item::ALERT_TTL_MS,
};
use porchlight_store::{Store, StoreError};
use porchlight_wire::Wire as _;

use super::{
    Frontier, Position,
    alerts::Alerts,
    events::{self, Events, Page},
    pushes::{self, Covered, Pushes},
    report::{Equation, Report},
};

/// The most records, alerts and people that are held in memory at once: about a gigabyte.
pub const MOST_HELD: usize = 16_000_000;

/// The consumers, by the names of their groups.
const INDEX: &str = "geo-index";
const PLAN: &str = "notification-plan";
const SEND: &str = "notification-send";

/// How far the clocks of two machines may lie apart: what explains a range is looked for so far beside it.
const CLOCKS_MS: i64 = 60_000;
/// An alert is planned while it is news, and its tasks are in the log soon after that or not at all.
const PLANNED_WITHIN_MS: i64 = ALERT_TTL_MS + 5 * 60_000;
/// How many reads are under way at once.
const READS_AT_ONCE: usize = 32;
/// Reading an alert makes four reads at once.
const ALERTS_AT_ONCE: usize = READS_AT_ONCE / 4;
/// How often a read is tried, and how long after its first failure it is tried again: doubling.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How many records or reads lie between two lines of progress.
const TELL_EVERY: u64 = 100_000;

struct Look<'a> {
    kafka: &'a KafkaConfig,
    store: &'a Store,
    from: Timestamp,
    to: Timestamp,
    progress: &'a (dyn Fn(&str) + Sync),
}

/// What was read of a topic, besides its records.
struct Read {
    spans: BTreeMap<i32, Span>,
    /// Since when all partitions hold all records, if older ones are gone.
    kept_since: Option<Timestamp>,
}

/// Looks once.
pub(super) async fn look(
    kafka: &KafkaConfig,
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, String> {
    let look = Look { kafka, store, from, to, progress };
    let events = look.events().await?;
    let (alerts, pushes, endpoints) = look.pushes().await?;
    Ok(Report { from, to, events, alerts, pushes, endpoints })
}

impl Look<'_> {
    async fn events(&self) -> Result<Equation, String> {
        let mut held = Events::default();
        let read = self.read(Topic::Events, self.from, self.to, |at, _, value| {
            held.note(at, value);
            usize::try_from(held.count).unwrap_or(usize::MAX)
        });
        let Read { spans, .. } = read.await?;
        let committed = self.committed(INDEX, Topic::Events).await?;
        let frontier = self.frontier(&self.letters().await?, INDEX, Topic::Events, committed);
        let mut sum = Equation { total: held.count, ..Equation::default() };
        let pages = stream::iter(held.pages()).map(|page| self.event_page(page, &spans, &frontier));
        let mut pages = pages.buffer_unordered(READS_AT_ONCE);
        let mut done = 0;
        while let Some(part) = pages.try_next().await? {
            sum.add(part);
            done += 1;
            self.tell(done, "days of devices compared");
        }
        Ok(sum)
    }

    async fn event_page(
        &self,
        page: Page,
        spans: &BTreeMap<i32, Span>,
        frontier: &Frontier,
    ) -> Result<Equation, String> {
        match page {
            Page::Day { device, day, records } => {
                let rows = patiently(|| self.store.timeline.seen_on(device, day)).await?;
                Ok(events::of_a_day((device, &records), &rows, spans, frontier, SystemClock.now()))
            }
            Page::Media(record) => {
                let row = patiently(|| self.store.media.get(record.media)).await?;
                Ok(events::of_media(&record, row.is_some(), frontier, SystemClock.now()))
            }
            Page::Unreadable(at) => Ok(events::of_unreadable(at, frontier)),
        }
    }

    /// Alerts and pushes, and the rows of the endpoints.
    async fn pushes(&self) -> Result<(Equation, Equation, BTreeMap<&'static str, u64>), String> {
        let planned = self.committed(PLAN, Topic::Alerts).await?;
        let (mut pushes, mut alerts) = (Pushes::default(), Alerts::default());
        let counts = |written: Timestamp| (self.from..self.to).contains(&written);
        let begin = self.from.plus_ms(-CLOCKS_MS);
        let read = self.read(Topic::Pushes, begin, self.to.plus_ms(PLANNED_WITHIN_MS), |at, written, value| {
            match PushTask::decode(value) {
                Ok(task) => pushes.note(at, written, &task, counts(written)),
                Err(_) => pushes.note_unreadable(at, counts(written)),
            }
            pushes.held()
        });
        let tasks_kept_since = read.await?.kept_since.unwrap_or(self.from).max(self.from);
        let read = self.read(Topic::Alerts, begin, self.to.plus_ms(CLOCKS_MS), |at, written, value| {
            match Alert::decode(value) {
                Ok(alert) => alerts.note(at, written, &alert, counts(written)),
                Err(_) => alerts.note_unreadable(at, counts(written)),
            }
            alerts.held() + pushes.held()
        });
        let alerts_kept_since = read.await?.kept_since.unwrap_or(self.from).max(self.from);
        let sent = self.committed(SEND, Topic::Pushes).await?;
        let letters = self.letters().await?;
        let planner = self.frontier(&letters, PLAN, Topic::Alerts, planned);
        let sender = self.frontier(&letters, SEND, Topic::Pushes, sent);

        let mut of_alerts = alerts.planned(pushes.tasks(), alerts_kept_since);
        let (mut of_pushes, mut endpoints) = (pushes.judge_unreadable(&sender), BTreeMap::new());
        let covered = Covered { since: tasks_kept_since, until: self.to };
        let ids: HashSet<AlertId> = alerts.ids().chain(pushes.ids()).collect();
        let deliveries = &self.store.deliveries;
        let mut rows = stream::iter(ids)
            .map(|alert| async move { Ok::<_, String>((alert, patiently(|| deliveries.of_alert(alert)).await?)) })
            .buffer_unordered(ALERTS_AT_ONCE);
        let mut done = 0;
        while let Some((alert, rows)) = rows.try_next().await? {
            let (part, outcomes) =
                pushes::of_alert(alert, pushes.of(alert), &rows, covered, &sender, SystemClock.now());
            of_pushes.add(part);
            outcomes.into_iter().for_each(|(outcome, n)| *endpoints.entry(outcome).or_default() += n);
            alerts.decided(&rows);
            done += 1;
            self.tell(done, "alerts compared");
        }
        let empty = self.without_people(alerts.unplanned()).await?;
        of_alerts.add(alerts.judge(&empty, &planner, SystemClock.now()));
        Ok((of_alerts, of_pushes, endpoints))
    }

    async fn without_people(&self, households: HashSet<HouseholdId>) -> Result<HashSet<HouseholdId>, String> {
        let registry = &self.store.registry;
        stream::iter(households)
            .map(|id| async move { Ok((id, patiently(|| registry.household(id)).await?.residents.is_empty())) })
            .buffer_unordered(READS_AT_ONCE)
            .try_filter_map(|(id, is_empty)| std::future::ready(Ok(is_empty.then_some(id))))
            .try_collect()
            .await
    }

    /// Hands every record of a stretch over; `note` says how much is held then.
    async fn read(
        &self,
        topic: Topic,
        from: Timestamp,
        to: Timestamp,
        mut note: impl FnMut(Position, Timestamp, &[u8]) -> usize,
    ) -> Result<Read, String> {
        let mut log = Stretch::open(self.kafka, topic, from.0, to.0).await.map_err(|e| e.to_string())?;
        // A partition that was cut and holds nothing more says nothing of what it held.
        let mut cut: BTreeMap<i32, Timestamp> = log.cut().iter().map(|partition| (*partition, to)).collect();
        let mut read = 0;
        while let Some(record) = log.next().await.map_err(|e| e.to_string())? {
            let (at, written) =
                (Position { topic, partition: record.partition, offset: record.offset }, record.timestamp_ms);
            if let Some(since) = cut.get_mut(&at.partition) {
                *since = Timestamp(written).min(*since);
            }
            if note(at, Timestamp(written), &record.value) > MOST_HELD {
                return Err(format!(
                    "the range holds more than {MOST_HELD} records or people: audit it in pieces, with --from and --to"
                ));
            }
            read += 1;
            self.tell(read, &format!("records of {}", topic.name()));
        }
        Ok(Read { spans: log.spans().clone(), kept_since: cut.into_values().max() })
    }

    async fn committed(&self, stage: &str, topic: Topic) -> Result<BTreeMap<i32, i64>, String> {
        committed(self.kafka, stage, topic).await.map_err(|e| e.to_string())
    }

    /// What was put aside since the range began: after it was asked what is committed, for it is put aside before.
    async fn letters(&self) -> Result<Letters, String> {
        let since = From::Time(self.from.plus_ms(-CLOCKS_MS).0);
        let tell = |read| (self.progress)(&format!("{read} dead letters"));
        letters(self.kafka, since, tell).await.map_err(|e| e.to_string())
    }

    fn frontier(&self, letters: &Letters, stage: &str, topic: Topic, committed: BTreeMap<i32, i64>) -> Frontier {
        let name = self.kafka.topic_name(topic);
        let origins = letters.letters.iter().map(|letter| &letter.origin);
        let ours = origins.filter(|origin| *origin.topic == *name && &*origin.stage == stage);
        let dead = ours.map(|origin| Position { topic, partition: origin.partition, offset: origin.offset });
        Frontier { committed, dead: dead.collect() }
    }

    fn tell(&self, done: u64, what: &str) {
        if done.is_multiple_of(TELL_EVERY) {
            (self.progress)(&format!("{done} {what}"));
        }
    }
}

/// A long audit meets a database that stumbles.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(mut read: impl FnMut() -> F) -> Result<T, String> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match read().await {
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => tokio::time::sleep(wait).await,
            answer => return answer.map_err(|e| e.to_string()),
        }
        wait *= 2;
    }
    read().await.map_err(|e| e.to_string())
}
