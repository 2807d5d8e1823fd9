//! A compacted topic kept in memory, and how far it can be trusted.

mod entries;
mod folder;
mod freshness;
mod keeper;
mod snapshot;
mod snapshots;

use std::{
    hash::Hash,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use porchlight_domain::{Device, DeviceId, NeighborhoodId};
use porchlight_wire::NeighborhoodRecord;
use tokio_util::sync::CancellationToken;

use crate::{BusError, KafkaConfig, Topic, client::Availability};
use entries::Entries;
use freshness::Confirmed;
use keeper::Keeper;
use snapshots::Snapshots;

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

/// How a table is kept.
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// How old the last word from the brokers may be before the table cannot tell.
    pub max_age: Duration,
    /// Where a snapshot is kept, for a fast start: a folder of this process alone, made if it is not there. Empty:
    /// none.
    pub snapshot_dir: PathBuf,
}

impl std::convert::From<Duration> for TableConfig {
    /// Without a snapshot.
    fn from(max_age: Duration) -> Self {
        Self { max_age, snapshot_dir: PathBuf::new() }
    }
}

/// Cheap to clone. A reader never waits for the brokers, and for the writer at most while one entry is put in.
pub struct Table<V: TableEntry> {
    shared: Arc<Shared<V>>,
}

struct Shared<V: TableEntry> {
    view: ArcSwap<View<V>>,
    records: AtomicU64,
    max_age: Duration,
    availability: Arc<Availability>,
}

/// The entries, and how far they can be trusted: swapped as one when the topic is opened again, so that nobody judges
/// new entries by what was known of the old ones.
struct View<V: TableEntry> {
    entries: Arc<Entries<V>>,
    confirmed: Confirmed,
}

impl<V: TableEntry> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V: TableEntry> Table<V> {
    /// `on_change` is called on the table's task: with all entries whenever the topic is loaded to its end (that is
    /// once, unless it is lost and opened again), then with each accepted (higher-version) record as a slice of one. A
    /// tombstone is no change of an entry: it is preceded by a record that says `deleted`. `config`: [`TableConfig`],
    /// or the freshness bound alone (3 s for devices). The future runs the table until shutdown, through broker
    /// outages; it errs only if it can never work.
    ///
    /// # Errors
    /// [`BusError::Config`].
    pub fn start(
        kafka: &KafkaConfig,
        config: impl Into<TableConfig>,
        on_change: impl FnMut(&[Arc<V>]) + Send + 'static,
        shutdown: CancellationToken,
    ) -> Result<(Self, impl Future<Output = Result<(), BusError>> + Send + 'static), BusError> {
        kafka.check()?;
        kafka.reader_client()?.create_native_config().map_err(|error| BusError::Config(error.to_string()))?;
        let TableConfig { max_age, snapshot_dir } = config.into();
        let view = View { entries: Arc::new(Entries::new()), confirmed: Confirmed::default() };
        let shared = Arc::new(Shared {
            view: ArcSwap::from_pointee(view),
            records: AtomicU64::new(0),
            max_age,
            availability: Availability::of(format!("table of {}", V::TOPIC.name())),
        });
        let snapshots = Snapshots::of::<V>(&snapshot_dir, kafka);
        let keeper = Keeper { config: kafka.clone(), shared: Arc::clone(&shared), on_change, snapshots };
        let run = async move {
            keeper.run(shutdown).await;
            Ok(())
        };
        Ok((Self { shared }, run))
    }

    /// Looks a key up.
    pub fn get(&self, key: &V::Key) -> Lookup<V> {
        let Shared { view, max_age, .. } = &*self.shared;
        // What was confirmed stands still in the view: its entries may be newer than that, never older.
        let (view, now) = (view.load(), Instant::now());
        let View { entries, confirmed } = &**view;
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
        let Shared { view, max_age, availability, .. } = &*self.shared;
        let (view, now, name) = (view.load(), Instant::now(), V::TOPIC.name());
        let confirmed = &view.confirmed;
        if confirmed.is_all_fresh(now, *max_age) {
            return Ok(());
        }
        let why = availability.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        Err(match confirmed.age(now) {
            None => format!("the table of {name} is not loaded yet{why}"),
            Some(age) => format!("the table of {name} is not confirmed since {} ms{why}", age.as_millis()),
        })
    }

    /// How many records of the topic were read since the start: a snapshot spares those that it holds.
    pub fn records_read(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.shared.view.load().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use porchlight_domain::{
        ChosenId, Device, DeviceId, HomeId, HouseholdId, Plan, Point, SharingPolicy, Timestamp, Version,
    };
    use uuid::Uuid;

    /// A device that differs from others by `n`.
    pub(super) fn device(n: u128, version: u64) -> Device {
        Device {
            id: DeviceId(Uuid::from_u128(n)),
            chosen: ChosenId(Uuid::from_u128(n)),
            household: HouseholdId(Uuid::from_u128(n)),
            home: HomeId(Uuid::from_u128(n)),
            name: "porch".into(),
            point: Point { lon_e7: 0, lat_e7: 0 },
            policy: SharingPolicy::default(),
            plan: Plan::default(),
            credential: None,
            deleted: false,
            version: Version(version),
            updated_at: Timestamp(0),
        }
    }
}
