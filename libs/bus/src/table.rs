//! A compacted topic kept in memory, and how far it can be trusted.

mod entries;
mod freshness;

use std::{
    hash::Hash,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use porchlight_domain::{Device, DeviceId, NeighborhoodId};
use porchlight_wire::NeighborhoodRecord;
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    BusError, From, KafkaConfig, Record, Topic,
    client::Availability,
    follower::{Follower, Step},
    metrics::METRICS,
};
use entries::Entries;
use freshness::{Confirmed, Freshness};

/// How often the brokers are asked for the ends of the partitions, at most; a shorter bound on age asks more often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before the topic is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// A value that a table can keep: it knows its key and its version, and lower versions are ignored.
pub trait TableEntry: porchlight_wire::Wire + Send + Sync + 'static {
    /// The key.
    type Key: Copy + Eq + Hash + Send + Sync + 'static;
    /// The topic that feeds the table.
    const TOPIC: Topic;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// The key that a record's key means; `None` if it means none. A tombstone has nothing else to tell by.
    fn key_of(record_key: &[u8]) -> Option<Self::Key>;
    /// Its version.
    fn version(&self) -> u64;
}

impl TableEntry for Device {
    type Key = DeviceId;
    const TOPIC: Topic = Topic::Devices;
    fn key(&self) -> DeviceId {
        self.id
    }
    fn key_of(record_key: &[u8]) -> Option<DeviceId> {
        record_key.try_into().ok().map(uuid::Uuid::from_bytes).map(DeviceId)
    }
    fn version(&self) -> u64 {
        self.version.0
    }
}

impl TableEntry for NeighborhoodRecord {
    type Key = NeighborhoodId;
    const TOPIC: Topic = Topic::Neighborhoods;
    fn key(&self) -> NeighborhoodId {
        self.id
    }
    fn key_of(record_key: &[u8]) -> Option<NeighborhoodId> {
        record_key.try_into().ok().map(uuid::Uuid::from_bytes).map(NeighborhoodId)
    }
    fn version(&self) -> u64 {
        self.version.0
    }
}

/// What a table knows of a key.
#[derive(Debug)]
pub enum Lookup<V> {
    /// This is its value, confirmed caught up within the freshness bound.
    Found(Arc<V>),
    /// There is none, and every partition was confirmed.
    Absent,
    /// The table cannot tell: "no news" and "cut off" look alike (mechanism: high watermarks asked every second).
    Stale,
}

/// Cheap to clone. A reader never waits for the brokers, and for the writer at most while one entry is put in.
pub struct Table<V: TableEntry> {
    shared: Arc<Shared<V>>,
}

struct Shared<V: TableEntry> {
    entries: Entries<V::Key, V>,
    confirmed: ArcSwap<Confirmed>,
    max_age: Duration,
    availability: Arc<Availability>,
}

impl<V: TableEntry> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V: TableEntry> Table<V> {
    /// `on_change` is called on the table's task: once with all entries when the topic is loaded to its end, then with
    /// each accepted (higher-version) record as a slice of one. A tombstone is no change of an entry: it is preceded by
    /// a record that says `deleted`. `max_age` is the freshness bound (3 s for devices). The future runs the table until
    /// shutdown, through broker outages; it errs only if it can never work.
    ///
    /// # Errors
    /// [`BusError::Config`].
    pub fn start(
        config: &KafkaConfig,
        max_age: Duration,
        on_change: impl FnMut(&[Arc<V>]) + Send + 'static,
        shutdown: CancellationToken,
    ) -> Result<(Self, impl Future<Output = Result<(), BusError>> + Send + 'static), BusError> {
        config.check()?;
        config.reader_client().create_native_config().map_err(|error| BusError::Config(error.to_string()))?;
        let shared = Arc::new(Shared {
            entries: Entries::new(),
            confirmed: ArcSwap::default(),
            max_age,
            availability: Availability::of(format!("table of {}", V::TOPIC.name())),
        });
        let keeper = Keeper { config: config.clone(), shared: Arc::clone(&shared), on_change, loaded: false };
        let run = async move {
            shutdown.run_until_cancelled(keeper.keep()).await;
            Ok(())
        };
        Ok((Self { shared }, run))
    }

    /// Looks a key up.
    pub fn get(&self, key: &V::Key) -> Lookup<V> {
        let Shared { entries, confirmed, max_age, .. } = &*self.shared;
        // What was confirmed is read before the entries are: the entries may be newer than that, never older.
        let (confirmed, now) = (confirmed.load(), Instant::now());
        if !confirmed.is_complete() {
            return Lookup::Stale;
        }
        match entries.get(key) {
            Some((value, partition)) if confirmed.is_fresh(partition, now, *max_age) => Lookup::Found(value),
            None if confirmed.is_all_fresh(now, *max_age) => Lookup::Absent,
            Some(_) | None => Lookup::Stale,
        }
    }

    /// `Ok` once loaded to the end and fresh; else the reason, for `/readyz`.
    ///
    /// # Errors
    /// One sentence.
    pub fn ready(&self) -> Result<(), String> {
        let Shared { confirmed, max_age, availability, .. } = &*self.shared;
        let (confirmed, now, name) = (confirmed.load(), Instant::now(), V::TOPIC.name());
        if confirmed.is_all_fresh(now, *max_age) {
            return Ok(());
        }
        let why = availability.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        Err(match confirmed.age(now) {
            None => format!("the table of {name} is not loaded yet{why}"),
            Some(age) => format!("the table of {name} is not confirmed since {} ms{why}", age.as_millis()),
        })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.shared.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keeps a table: the only one who writes to it.
struct Keeper<V: TableEntry, F> {
    config: KafkaConfig,
    shared: Arc<Shared<V>>,
    on_change: F,
    loaded: bool,
}

impl<V: TableEntry, F: FnMut(&[Arc<V>])> Keeper<V, F> {
    async fn keep(mut self) {
        loop {
            let reason = self.follow().await;
            self.shared.availability.away(reason.to_string());
            tokio::time::sleep(REOPEN_AFTER).await;
        }
    }

    /// Follows the topic from its beginning until that cannot go on; why.
    async fn follow(&mut self) -> BusError {
        let opened = Instant::now();
        let availability = Arc::clone(&self.shared.availability);
        let follower = match Follower::open(&self.config, V::TOPIC, From::Beginning, availability).await {
            Ok(follower) => follower,
            Err(error) => return error,
        };
        let ends = follower.ends().to_vec();
        let mut freshness = Freshness::new(ends.len());
        freshness.ends(&ends, opened);
        self.publish(&freshness);
        let mut tick = tokio::time::interval(ASK_EVERY.min(self.shared.max_age / 3).max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking: Option<JoinHandle<Answer>> = None;
        loop {
            let confirmed = tokio::select! {
                step = follower.step() => match step {
                    Ok(Step::Record(record)) => self.accept(&record, &mut freshness),
                    Ok(Step::End(partition)) => {
                        let end = usize::try_from(partition).ok().and_then(|index| ends.get(index)).copied();
                        freshness.read_up_to(partition, end.unwrap_or_default())
                    }
                    Err(error) => return error,
                },
                _ = tick.tick() => {
                    self.measure();
                    asking.get_or_insert_with(|| {
                        let (asked, answer) = (Instant::now(), follower.ask());
                        tokio::spawn(async move { (asked, answer.await) })
                    });
                    false
                }
                (asked, answer) = answered(&mut asking) => {
                    asking = None;
                    match self.judge(answer, ends.len()) {
                        ControlFlow::Continue(Some(ends)) => freshness.ends(&ends, asked),
                        ControlFlow::Continue(None) => false,
                        ControlFlow::Break(error) => return error,
                    }
                }
            };
            if confirmed {
                self.publish(&freshness);
            }
        }
    }

    /// Takes a record in. Whether it confirmed anything.
    fn accept(&mut self, record: &Record, freshness: &mut Freshness) -> bool {
        let shared = &self.shared;
        match read::<V>(record) {
            Ok(Change::Put(value)) => {
                let value = Arc::new(value);
                if shared.entries.put(value.key(), value.version(), &value, record.partition) && self.loaded {
                    (self.on_change)(&[value]);
                }
            }
            Ok(Change::Remove(key)) => shared.entries.remove(&key),
            Err(reason) => {
                METRICS.table_undecodable.with_label_values(&[V::TOPIC.name()]).inc();
                let (topic, partition, offset) = (V::TOPIC.name(), record.partition, record.offset);
                tracing::error!(topic, partition, offset, reason, "a record is no entry of its table; left out");
            }
        }
        freshness.read_up_to(record.partition, record.offset.saturating_add(1))
    }

    /// What an answer means: the ends; or nothing, for the brokers are away; or that the topic is another one now.
    fn judge(&self, answer: Result<Vec<i64>, BusError>, partitions: usize) -> ControlFlow<BusError, Option<Vec<i64>>> {
        match answer {
            Ok(ends) if ends.len() == partitions => {
                self.shared.availability.back();
                ControlFlow::Continue(Some(ends))
            }
            // Keys have moved to other partitions: everything is read again.
            Ok(ends) => {
                let (topic, now) = (V::TOPIC.name(), ends.len());
                ControlFlow::Break(BusError::Kafka(format!("{topic} has {now} partitions, it had {partitions}")))
            }
            Err(error) => {
                self.shared.availability.away(error.to_string());
                ControlFlow::Continue(None)
            }
        }
    }

    fn publish(&mut self, freshness: &Freshness) {
        let confirmed = freshness.confirmed();
        if !self.loaded && confirmed.is_complete() {
            self.loaded = true;
            tracing::info!(topic = V::TOPIC.name(), entries = self.shared.entries.len(), "table loaded");
            (self.on_change)(&self.shared.entries.all());
        }
        self.shared.confirmed.store(Arc::new(confirmed));
    }

    fn measure(&self) {
        let name = [V::TOPIC.name()];
        let entries = i64::try_from(self.shared.entries.len()).unwrap_or(i64::MAX);
        METRICS.table_entries.with_label_values(&name).set(entries);
        if let Some(age) = self.shared.confirmed.load().age(Instant::now()) {
            METRICS.table_age.with_label_values(&name).set(age.as_secs_f64());
        }
    }
}

/// When a question was asked, and where the partitions end.
type Answer = (Instant, Result<Vec<i64>, BusError>);

/// The answer to the open question; never, if none is open.
async fn answered(asking: &mut Option<JoinHandle<Answer>>) -> Answer {
    match asking {
        Some(answer) => answer.await.unwrap_or_else(|error| (Instant::now(), Err(error.into()))),
        None => std::future::pending().await,
    }
}

enum Change<V: TableEntry> {
    Put(V),
    Remove(V::Key),
}

/// What a record of a table's topic says, or why it says nothing.
fn read<V: TableEntry>(record: &Record) -> Result<Change<V>, String> {
    let key = record.key.as_deref().and_then(V::key_of).ok_or("its key is none")?;
    if record.value.is_empty() {
        return Ok(Change::Remove(key));
    }
    let value = V::decode(&record.value).map_err(|error| error.to_string())?;
    // Compaction goes by the record's key: under another one the entry would outlive its successors.
    if value.key() == key { Ok(Change::Put(value)) } else { Err("its key is not the entry's".into()) }
}
