//! Following every partition of a topic by assignment, without a group: below readers and tables.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rdkafka::{
    Offset,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use crate::{
    BusError, From, KafkaConfig, Record, Topic,
    client::{Aside, Availability, Edge, Names, Quiet, edges, offsets, partition_count},
    ledger::TopicPartition,
};

/// How long each question at opening may take.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long asking for the high watermarks may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);

type Client = StreamConsumer<Quiet>;

/// What a follower met.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record.
    Record(Record),
    /// The present end of a partition. The first of a partition proves that everything below [`Follower::ends`] was
    /// read, even if nothing is left of the last offsets (compaction, markers of transactions): the ends were asked
    /// before the first fetch.
    End(i32),
}

/// Follows a topic.
pub(crate) struct Follower {
    client: Aside<Client>,
    names: Names,
    topic: Topic,
    ends: Vec<i64>,
    unread: BTreeSet<i32>,
}

impl Follower {
    /// Opens it.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub(crate) async fn open(
        config: &KafkaConfig,
        topic: Topic,
        from: From,
        availability: Arc<Availability>,
    ) -> Result<Self, BusError> {
        let client: Client = config.reader_client().create_with_context(Quiet(availability))?;
        let (client, names) = (Aside::new(client), Names::of(config));
        let (ends, unread) = blocking({
            let (client, names) = (client.share(), names.clone());
            move || assign(&client, &names, topic, from)
        })
        .await?;
        Ok(Self { client, names, topic, ends, unread })
    }

    /// The end of each partition as it was before the first fetch: the offset that the next record would get.
    pub(crate) fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// The partitions of which anything below the end was left to read before the first fetch.
    pub(crate) fn unread(&self) -> &BTreeSet<i32> {
        &self.unread
    }

    /// What comes next. Dropping the future loses nothing. Brokers that are away are waited for.
    ///
    /// # Errors
    /// The topic is gone, or may not be read.
    pub(crate) async fn step(&self) -> Result<Step, BusError> {
        loop {
            match self.client.recv().await {
                Ok(message) => {
                    if let Some(record) = self.names.record(&message) {
                        return Ok(Step::Record(record));
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => return Ok(Step::End(partition)),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => tracing::debug!(topic = self.topic.name(), %error, "the client reports an error"),
            }
        }
    }

    /// Fetches no more of a partition for now.
    pub(crate) fn pause(&self, partition: i32) -> KafkaResult<()> {
        self.client.pause(&self.names.list([(self.at(partition), Offset::Invalid)])?)
    }

    /// Fetches all partitions again.
    pub(crate) fn resume_all(&self) -> KafkaResult<()> {
        let partitions = partitions(self.topic, self.ends.len());
        self.client.resume(&self.names.list(partitions.into_iter().map(|at| (at, Offset::Invalid)))?)
    }

    /// Asks for the high watermark of each partition, as many as there are now.
    pub(crate) fn ask(&self) -> impl Future<Output = Result<Vec<i64>, BusError>> + Send + 'static {
        let (client, names, topic) = (self.client.share(), self.names.clone(), self.topic);
        blocking(move || {
            let count = partition_count(&*client, &names.full(topic), ASK_WITHIN)?;
            highs(&client, &names, topic, count, ASK_WITHIN)
        })
    }

    fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.topic, partition }
    }
}

/// Errors after which no record will come, however long one waits.
fn is_final(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumptionFatal(_) => true,
        KafkaError::MessageConsumption(code) => matches!(
            code,
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        ),
        _ => false,
    }
}

fn partitions(topic: Topic, count: usize) -> Vec<TopicPartition> {
    (0..i32::try_from(count).unwrap_or(i32::MAX)).map(|partition| TopicPartition { topic, partition }).collect()
}

fn highs(client: &Client, names: &Names, topic: Topic, count: i32, within: Duration) -> Result<Vec<i64>, BusError> {
    let all = partitions(topic, usize::try_from(count).unwrap_or_default());
    let mut highs = edges(client, names, &all, Edge::High, within)?;
    highs.sort_unstable();
    Ok(highs.into_iter().map(|(_, high)| high).collect())
}

/// Asks for the ends first and assigns then: see [`Step::End`]. The ends, and the partitions with anything to read below.
fn assign(client: &Client, names: &Names, topic: Topic, from: From) -> Result<(Vec<i64>, BTreeSet<i32>), BusError> {
    let count = partition_count(client, &names.full(topic), OPEN_WITHIN)?;
    let ends = highs(client, names, topic, count, OPEN_WITHIN)?;
    let all = partitions(topic, ends.len());
    let starts: Vec<Offset> = match from {
        From::Beginning => vec![Offset::Beginning; ends.len()],
        From::End => ends.iter().copied().map(Offset::Offset).collect(),
        From::Time(ms) => {
            let asked = names.list(all.iter().map(|at| (*at, Offset::Offset(ms.max(0)))))?;
            let mut found = offsets(names, &client.offsets_for_times(asked, OPEN_WITHIN)?)?;
            found.sort_unstable();
            // No record at or after that time: only what comes from now on.
            found.iter().zip(&ends).map(|((_, start), end)| Offset::Offset(start.unwrap_or(*end))).collect()
        }
    };
    client.assign(&names.list(all.iter().copied().zip(starts.iter().copied()))?)?;
    let has_any = |start: &Offset, end: i64| match start {
        Offset::Offset(start) => *start < end,
        _ => end > 0,
    };
    let unread = all.iter().zip(&starts).zip(&ends).filter(|((_, start), end)| has_any(start, **end));
    let unread = unread.map(|((at, _), _)| at.partition).collect();
    Ok((ends, unread))
}

async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    tokio::task::spawn_blocking(question).await?
}
