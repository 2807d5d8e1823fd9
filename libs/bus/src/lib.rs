//! Kafka, and the only crate that names its client: the producer, the consumer loop with its offset ledger, dead
//! letters, and tables kept in memory from compacted topics.
//!
//! Pure cores decide and are tested by properties: the offset ledger (what may be committed), the schedule (which record
//! may be handled now), the watch over dead letters (when there are too many) and freshness (how far a table can be
//! trusted). Thin shells talk. `DESIGN.md` says why.

mod admin;
mod client;
mod config;
mod consumer;
mod dead_letter;
mod follower;
mod group;
mod handshake;
mod ledger;
mod letters;
pub mod metrics;
mod producer;
mod progress;
mod reach;
mod reader;
mod replay;
mod security;
mod table;
mod topic;

pub use admin::{
    TopicFound, TopicReport, TopicSetting, TopicState, apply_topics, drop_topic, drop_topics, inspect_topics,
};
pub use config::{GroupProtocol, KafkaConfig};
pub use consumer::{Consumer, ConsumerStatus, Handler, Lease, Outcome, Record};
pub use dead_letter::DeadLetter;
pub use group::group_has_members;
pub use letters::{
    Contents, Letter, LetterName, LetterNameError, Letters, Origin, RedriveError, Redriven, Redriver, letters,
};
pub use producer::{Delivered, ProduceError, Producer};
pub use progress::{Stretch, committed};
pub use reach::{Trouble, Unreachable, reach};
pub use reader::{From, Reader};
pub use replay::{Replay, ReplayNews, Replayed, Span};
pub use security::{SaslMechanism, SecurityProtocol};
pub use table::{Lookup, Table, TableConfig, TableEntry};
pub use topic::Topic;

/// What can go wrong at start or for good. Whether a *record* may be tried again is a value: [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The client refused.
    #[error("kafka: {0}")]
    Kafka(String),
    /// A setting, or a pair of them, that cannot be.
    #[error("{0}")]
    Config(String),
    /// The consumer stopped itself: too many of its records became dead letters.
    #[error("{stage} stopped: {reason}")]
    Stopped {
        /// Which consumer.
        stage: String,
        /// Why, a sentence.
        reason: String,
    },
}

impl std::convert::From<rdkafka::error::KafkaError> for BusError {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self::Kafka(error.to_string())
    }
}

/// A call on a blocking thread that did not come back: the runtime is shutting down.
impl std::convert::From<tokio::task::JoinError> for BusError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Kafka(error.to_string())
    }
}
