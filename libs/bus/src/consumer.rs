//! The consumer: a member of a group that handles each record until it is done.

mod context;
mod lease;
mod member;
mod run;
pub(crate) mod schedule;
mod status;
mod upkeep;

use std::{future::Future, sync::Arc, time::Duration};

use rdkafka::config::ClientConfig;
use tokio_util::sync::CancellationToken;

use crate::{BusError, KafkaConfig, Producer, Topic, client::Names, dead_letter::DeadLetters};

pub use lease::Lease;
pub use status::ConsumerStatus;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its work is durable: the offset may be committed.
    Done,
    /// Something it needs is away: its key waits, and with it what may be committed of the partition. Nothing is
    /// skipped; other keys go on.
    Retry {
        /// Try again then.
        after: Duration,
        /// Why, for the log.
        reason: String,
    },
    /// It can never be handled: to the dead letters, awaited, then on.
    Fatal {
        /// One sentence without personal data.
        reason: String,
    },
}

/// A record as polled.
#[derive(Debug)]
pub struct Record {
    /// Topic.
    pub topic: Topic,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; empty if there is none (a tombstone).
    pub value: Vec<u8>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Broker or producer timestamp, ms.
    pub timestamp_ms: i64,
    /// Whether it is still ours.
    pub lease: Lease,
}

impl Record {
    /// Whether no other member of the group can have got the record meanwhile. Ask right before an act on the outside world
    /// that cannot be taken back; what is written under an id of its own needs no such question.
    pub fn is_ours(&self) -> bool {
        self.lease.is_held()
    }

    /// What it weighs in the budget: key, value and headers.
    pub(crate) fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// Decides about records. Records of one key come in order, one at a time; different keys side by side. Records without
/// a key come in the order of their partition.
///
/// A handler that panics has decided [`Outcome::Fatal`]. One that takes longer than `stall_after_ms` is aborted where it
/// waits and called again; so is one whose partition went to another member. A handler must stand that as it stands a crash.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record; called again with the same record after `Retry` or an abort.
    fn handle(&self, record: Arc<Record>) -> impl Future<Output = Outcome> + Send;
}

/// A member of a consumer group.
pub struct Consumer<H> {
    config: KafkaConfig,
    client: ClientConfig,
    topics: Vec<Topic>,
    handler: Arc<H>,
    dead_letters: DeadLetters,
    status: ConsumerStatus,
}

impl<H: Handler> Consumer<H> {
    /// `stage` is the group's name (behind the configured prefix), and names the consumer in logs, metrics and dead
    /// letters (e.g. "geo-index").
    ///
    /// # Errors
    /// [`BusError::Config`].
    pub fn new(
        config: &KafkaConfig,
        stage: &'static str,
        topics: &[Topic],
        handler: H,
        dead_letters: Producer,
    ) -> Result<Self, BusError> {
        config.check()?;
        if topics.is_empty() {
            return Err(BusError::Config(format!("{stage} consumes no topic")));
        }
        let client = config.group_client(stage)?;
        client.create_native_config().map_err(|error| BusError::Config(error.to_string()))?;
        Ok(Self {
            config: config.clone(),
            client,
            topics: topics.to_vec(),
            handler: Arc::new(handler),
            dead_letters: DeadLetters { stage, producer: dead_letters, names: Names::of(config) },
            status: ConsumerStatus::of(stage, config.stall_after()),
        })
    }

    /// A handle that says whether the group is joined and polled lately, and the lag last seen: for readiness.
    pub fn status(&self) -> ConsumerStatus {
        self.status.clone()
    }

    /// Runs until `shutdown`, then drains within `drain_ms` and commits: no new record is begun, those in hand may
    /// finish, and one that waits for its next try is left for the partition's next owner. Brokers that are away are
    /// waited for.
    ///
    /// # Errors
    /// [`BusError::Stopped`], or [`BusError::Kafka`] if the client died.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BusError> {
        run::run(self, shutdown).await
    }
}
