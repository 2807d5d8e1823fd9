//! What is kept: four repositories behind traits, and two adapters. `scylla` keeps it in ScyllaDB or Cassandra, with the CQL
//! schema and its migrations; `embedded` in a folder of this process, for a city without servers. Each is the only place
//! that names its engine, but for `rows`, which both share. [`CqlConfig::folder`] chooses.
//!
//! Invariants every adapter keeps: rows of events, items and media are written with the write time of their receipt and
//! the time to live that is left, so a replay neither revives nor lengthens anything; registry rows are written by
//! conditional write on their version, always, and so are sweeps on their holder; everything that is read past its expiry
//! is absent (a media's row expires [`GONE_KEPT_MS`] after the media itself).

mod config;
mod connection;
mod deliveries;
mod embedded;
mod media;
pub mod metrics;
mod registry;
mod rows;
mod schema;
mod scylla;
pub mod testing;
mod timeline;

pub use config::CqlConfig;
pub use connection::{Connection, keep_connecting};
pub use deliveries::{Deliveries, Delivery, DeliveryOutcome, LEDGER_MS, MAX_DELIVERIES_READ};
pub use media::{GONE_KEPT_MS, MediaIndex, MediaRow, Sweep};
pub use registry::{Household, Intent, IntentKind, MAX_INTENT_SPAN_MS, PlacedHome, Read, Registry, Written};
pub use timeline::{FeedEntry, FeedOwner, FeedPosition, SeenEvent, Timeline};

use std::sync::Arc;

/// Why the store could not answer. Never "not found": that is `None`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Away or overloaded: the same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A conditional write without an answer: it may or may not have been applied. Read again, serially.
    #[error("the store did not say whether the write was applied: {0}")]
    Unknown(String),
    /// A stored row means nothing to this version.
    #[error("a row of {table} cannot be read: {reason}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// What is wrong with it, without its contents.
        reason: String,
    },
    /// The request or schema is wrong: trying again cannot help.
    #[error("the store refused: {0}")]
    Refused(String),
}

/// The four repositories. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Accounts, homes, devices, neighborhoods.
    pub registry: Arc<dyn Registry>,
    /// Events, items, feeds.
    pub timeline: Arc<dyn Timeline>,
    /// Clips and thumbnails.
    pub media: Arc<dyn MediaIndex>,
    /// Pushes.
    pub deliveries: Arc<dyn Deliveries>,
}

impl Store {
    /// Connects to ScyllaDB or Cassandra and prepares every statement; or opens the embedded store, or joins those who have
    /// it open in this process. It is closed when the last `Store` of it is dropped.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while no node answers (call again), [`StoreError::Refused`] if the schema is missing
    /// or older than this version (the sentence says: run `porchlight schema apply`), or another process has the folder,
    /// or it is of a newer version.
    pub async fn connect(config: &CqlConfig) -> Result<Self, StoreError> {
        match config.embedded() {
            Some(folder) => embedded::connect(folder).await,
            None => scylla::connect(config).await,
        }
    }

    /// Asks one trivial question, for the readiness probe.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.registry.ping().await
    }
}

/// Applies the numbered files of `schema/` that are not applied yet, one at a time, under a conditional-write lock
/// (concurrent DDL breaks Cassandra). Creates the keyspace from a template first. Safe to run twice and at once.
/// Returns the names of the files applied just now.
///
/// The keyspace is created with `replication` copies in `config.datacenter` if there is none; one that exists is used as
/// it is. What a file holds is compared by checksum: an applied file whose statements changed since is refused.
///
/// Of an embedded store: makes the folder if there is none, and checks one that is there.
///
/// # Errors
/// [`StoreError::Unavailable`] while no node answers or another caller holds the lock (call again),
/// [`StoreError::Refused`] if an applied file was changed, or the database does not accept a statement; of a folder, as
/// [`Store::connect`] does.
pub async fn apply_schema(config: &CqlConfig, replication: u8) -> Result<Vec<String>, StoreError> {
    match config.embedded() {
        Some(folder) => embedded::apply_schema(folder).await,
        None => scylla::apply_schema(config, replication).await,
    }
}

/// What [`examine`] found.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Nodes of the data centre that is preferred.
    pub nodes: usize,
    /// How many copies of each row the keyspace keeps there; `None`: there is no such keyspace, and the rest says nothing.
    pub replication: Option<u32>,
    /// Whether the schema is that of this version; else a sentence that says what to do.
    pub schema: Result<(), String>,
    /// How long three conditional writes took that must be applied, refused and applied; else what went wrong.
    pub conditional_write: Result<std::time::Duration, String>,
}

/// Looks at ScyllaDB or Cassandra as an operator would. Of our tables it writes one row, which belongs to nobody and which
/// it removes again.
///
/// # Errors
/// [`StoreError::Unavailable`] while no node can be reached as the settings say (the sentence says why),
/// [`StoreError::Refused`] for settings that cannot be, and for an embedded store.
pub async fn examine(config: &CqlConfig) -> Result<Examination, StoreError> {
    match config.embedded() {
        Some(_) => Err(StoreError::Refused("cql.folder is set: the store is embedded, and there is no server".into())),
        None => scylla::examine(config).await,
    }
}
