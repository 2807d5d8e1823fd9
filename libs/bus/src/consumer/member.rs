//! The client as the loop sees it: a member of a group, in our words. No call here waits for a broker.

use std::sync::Arc;

use rdkafka::{
    Offset,
    config::ClientConfig,
    consumer::{CommitMode, Consumer as _, StreamConsumer},
    error::{KafkaError, KafkaResult},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Record,
    context::{GroupContext, Rebalance},
    upkeep::{self, Answers},
};
use crate::{
    BusError, Topic,
    client::{Aside, Availability, Names},
    ledger::{Sent, TopicPartition},
};

/// What came off the client.
pub(super) enum Arrival {
    Record(Record),
    Rebalance(Rebalance),
}

/// A member of a group; it leaves when it is dropped.
pub(super) struct Member {
    client: Option<Aside<StreamConsumer<GroupContext>>>,
    config: ClientConfig,
    names: Names,
    topics: Vec<Topic>,
    availability: Arc<Availability>,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    /// The rebalance that was handed to the loop and not answered yet. The client allows one at a time, and its drop
    /// waits for the answer.
    open: Option<Rebalance>,
}

impl Member {
    /// Subscribes. Joining happens while records are awaited.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(super) fn join(
        config: &ClientConfig,
        topics: Vec<Topic>,
        names: Names,
        availability: Arc<Availability>,
    ) -> Result<Self, BusError> {
        let (context, rebalances) = GroupContext::new(names.clone(), Arc::clone(&availability));
        let client: StreamConsumer<GroupContext> = config.create_with_context(context)?;
        let full: Vec<String> = topics.iter().map(|topic| names.full(*topic)).collect();
        client.subscribe(&full.iter().map(String::as_str).collect::<Vec<_>>())?;
        let config = config.clone();
        Ok(Self { client: Some(Aside::new(client)), config, names, topics, availability, rebalances, open: None })
    }

    /// Another member, in the place of this one.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(super) fn anew(&self) -> Result<Self, BusError> {
        Self::join(&self.config, self.topics.clone(), self.names.clone(), Arc::clone(&self.availability))
    }

    /// The next record or rebalance. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> KafkaResult<Arrival> {
        let Self { client: Some(client), names, rebalances, open, .. } = self else {
            return Err(KafkaError::Canceled);
        };
        loop {
            tokio::select! {
                Some(rebalance) = rebalances.recv() => {
                    *open = Some(rebalance.clone());
                    return Ok(Arrival::Rebalance(rebalance));
                }
                message = client.recv() => {
                    if let Some(record) = names.record(&message?) {
                        return Ok(Arrival::Record(record));
                    }
                }
            }
        }
    }

    fn client(&self) -> KafkaResult<&Aside<StreamConsumer<GroupContext>>> {
        self.client.as_ref().ok_or(KafkaError::Canceled)
    }

    fn list(&self, partitions: &[TopicPartition]) -> KafkaResult<rdkafka::TopicPartitionList> {
        self.names.list(partitions.iter().map(|at| (*at, Offset::Invalid)))
    }

    /// Takes the partitions of a rebalance, each from where it is committed.
    pub(super) fn take(&mut self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        self.client()?.incremental_assign(&self.list(partitions)?)?;
        self.open = None;
        Ok(())
    }

    /// Gives the partitions of a rebalance back. What was committed before is sent before.
    pub(super) fn give_back(&mut self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        self.client()?.incremental_unassign(&self.list(partitions)?)?;
        self.open = None;
        Ok(())
    }

    /// Whether the partitions are lost already, so that nothing of them may be committed.
    pub(super) fn has_lost(&self) -> bool {
        self.client().is_ok_and(|client| client.assignment_lost())
    }

    /// Fetches no more of these for now.
    pub(super) fn pause(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        self.client()?.pause(&self.list(partitions)?)
    }

    /// Fetches these again.
    pub(super) fn resume(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        self.client()?.resume(&self.list(partitions)?)
    }

    /// Sends commits. Whether they stand is asked afterwards: [`Member::ask`].
    pub(super) fn commit(&self, due: &[Sent]) -> KafkaResult<()> {
        if due.is_empty() {
            return Ok(());
        }
        let list = self.names.list(due.iter().map(|sent| (sent.at, Offset::Offset(sent.next.raw()))))?;
        self.client()?.commit(&list, CommitMode::Async)
    }

    /// Asks out of band how `assigned` stand; `sent` are the commits sent before.
    pub(super) fn ask(
        &self,
        assigned: Vec<TopicPartition>,
        sent: Vec<Sent>,
    ) -> KafkaResult<JoinHandle<Result<Answers, BusError>>> {
        let (client, names, topics) = (self.client()?.share(), self.names.clone(), self.topics.clone());
        Ok(tokio::task::spawn_blocking(move || upkeep::ask(&client, &names, &topics, &assigned, sent)))
    }

    /// Leaves the group and waits until that is done.
    pub(super) async fn leave(mut self) {
        self.settle();
        if let Some(client) = self.client.take() {
            client.close().await;
        }
    }

    /// Answers what is open, and lets the client answer itself from now on.
    fn settle(&mut self) {
        let Some(client) = &self.client else { return };
        client.context().leave();
        let open = self.open.take().into_iter().chain(std::iter::from_fn(|| self.rebalances.try_recv().ok()));
        for rebalance in open {
            let list =
                |partitions: &[TopicPartition]| self.names.list(partitions.iter().map(|at| (*at, Offset::Invalid)));
            let answer = match &rebalance {
                Rebalance::Assign(partitions) => list(partitions).and_then(|l| client.incremental_assign(&l)),
                Rebalance::Revoke(partitions) | Rebalance::Lost(partitions) => {
                    list(partitions).and_then(|l| client.incremental_unassign(&l))
                }
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "a rebalance while leaving the group");
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.settle();
    }
}
