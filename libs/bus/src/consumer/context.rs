//! What the client calls back: rebalances, errors, logs. Nothing here waits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc;

use crate::{
    client::{Availability, Names, log, note_error},
    ledger::TopicPartition,
};

/// A rebalance as the group decided it. It takes effect when the loop tells the client so: until then the client
/// fetches nothing and the group waits, which is what lets a partition be given back with its work committed.
#[derive(Clone, Debug)]
pub(super) enum Rebalance {
    /// These come.
    Assign(Vec<TopicPartition>),
    /// These go; their next owner starts where they are committed.
    Revoke(Vec<TopicPartition>),
    /// These are gone already: another member may be at them, and what is done may not be committed any more.
    Lost(Vec<TopicPartition>),
}

/// The context of a member of a group.
pub(super) struct GroupContext {
    names: Names,
    availability: Arc<Availability>,
    rebalances: mpsc::UnboundedSender<Rebalance>,
    leaving: AtomicBool,
}

impl GroupContext {
    pub(super) fn new(names: Names, availability: Arc<Availability>) -> (Self, mpsc::UnboundedReceiver<Rebalance>) {
        let (rebalances, receiver) = mpsc::unbounded_channel();
        (Self { names, availability, rebalances, leaving: AtomicBool::new(false) }, receiver)
    }

    /// From now on the loop does not answer: rebalances take effect at once. The client's drop waits for the last one.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note_error(&self.availability, &error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, client: &BaseConsumer<Self>, change: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let comes = change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let partitions = self.names.partitions(list);
        let told = !self.leaving.load(Ordering::Acquire)
            && self
                .rebalances
                .send(match (comes, client.assignment_lost()) {
                    (true, _) => Rebalance::Assign(partitions),
                    (false, false) => Rebalance::Revoke(partitions),
                    (false, true) => Rebalance::Lost(partitions),
                })
                .is_ok();
        if !told {
            let answer = if comes { client.incremental_assign(list) } else { client.incremental_unassign(list) };
            if let Err(error) = answer {
                tracing::debug!(%error, "a rebalance while leaving the group");
            }
        }
    }
}
