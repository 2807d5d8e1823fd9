//! Reading a topic without a group: tails, audits, tests.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    BusError, KafkaConfig, Record, Topic,
    client::Availability,
    follower::{Follower, Step},
};

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// The oldest record kept.
    Beginning,
    /// The first record at or after this time, ms since the Unix epoch.
    Time(i64),
    /// Only what comes from now on.
    End,
}

/// Reads every partition of a topic by assignment; commits nothing. The order is that of each partition.
pub struct Reader {
    follower: Follower,
    availability: Arc<Availability>,
    /// Partitions not yet read up to where their end was when the reader was opened.
    short_of_end: BTreeSet<i32>,
    /// Records beyond that end, met while other partitions were still short of theirs.
    ahead: VecDeque<Record>,
    paused: bool,
}

impl Reader {
    /// Opens a reader.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub async fn open(config: &KafkaConfig, topic: Topic, from: From) -> Result<Self, BusError> {
        config.check()?;
        let availability = Availability::of(format!("reader of {}", topic.name()));
        let follower = Follower::open(config, topic, from, Arc::clone(&availability)).await?;
        let short_of_end = follower.unread().clone();
        Ok(Self { follower, availability, short_of_end, ahead: VecDeque::new(), paused: false })
    }

    /// The next record, or `None` once every partition is read up to where its end was when the reader was opened.
    /// Brokers that are away are waited for.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic is gone or may not be read.
    pub async fn next_existing(&mut self) -> Result<Option<Record>, BusError> {
        while !self.short_of_end.is_empty() {
            match self.step().await? {
                Step::End(partition) => self.reached_end(partition)?,
                Step::Record(record) => {
                    let index = usize::try_from(record.partition).unwrap_or(usize::MAX);
                    let end = self.follower.ends().get(index).copied().unwrap_or_default();
                    if record.offset + 1 >= end {
                        self.reached_end(record.partition)?;
                    }
                    if record.offset < end {
                        return Ok(Some(record));
                    }
                    self.ahead.push_back(record);
                }
            }
        }
        Ok(None)
    }

    /// The next record, whenever it comes. Brokers that are away are waited for.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic is gone or may not be read.
    pub async fn next(&mut self) -> Result<Record, BusError> {
        if let Some(record) = self.ahead.pop_front() {
            return Ok(record);
        }
        if self.paused {
            self.follower.resume_all()?;
            self.paused = false;
        }
        loop {
            match self.step().await? {
                Step::Record(record) => return Ok(record),
                Step::End(partition) => {
                    self.short_of_end.remove(&partition);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Step, BusError> {
        let step = self.follower.step().await?;
        self.availability.back();
        Ok(step)
    }

    /// Reads no more of a partition: for whoever needs it up to before its end only.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the client refuses.
    pub(crate) fn leave(&mut self, partition: i32) -> Result<(), BusError> {
        self.reached_end(partition)
    }

    /// A partition is read to its end: paused, so that what comes after it does not pile up here.
    fn reached_end(&mut self, partition: i32) -> Result<(), BusError> {
        if self.short_of_end.remove(&partition) && !self.short_of_end.is_empty() {
            self.follower.pause(partition)?;
            self.paused = true;
        }
        Ok(())
    }
}
