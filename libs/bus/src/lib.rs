//! Kafka, and the only crate that names its client: the producer, the consumer loop with its offset ledger, dead
//! letters, and tables kept in memory from compacted topics.
//!
//! Pure cores decide and are tested by properties: the offset ledger (what may be committed), the schedule (which record
//! may be handled now) and freshness (how far a table can be trusted). Thin shells talk. `DESIGN.md` says why.

mod admin;
mod client;
mod config;
mod consumer;
mod dead_letter;
mod follower;
mod ledger;
pub mod metrics;
mod producer;
mod reader;
mod table;
mod topic;

pub use admin::{TopicReport, apply_topics, drop_topics};
pub use config::KafkaConfig;
pub use consumer::{Consumer, ConsumerStatus, Handler, Outcome, Record};
pub use dead_letter::DeadLetter;
pub use producer::{Delivered, ProduceError, Producer};
pub use reader::{From, Reader};
pub use table::{Lookup, Table, TableEntry};
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
    /// The consumer stopped itself: too large a share of its records became dead letters.
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
