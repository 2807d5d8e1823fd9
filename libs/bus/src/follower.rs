//! Following every partition of a topic by assignment, without a group: below readers and tables.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

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
/// How long to wait before a partition without a leader is asked about again.
const LEADER_WAIT: Duration = Duration::from_millis(100);
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
    /// Opens it, to read from there.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub(crate) async fn open(
        config: &KafkaConfig,
        topic: Topic,
        from: From,
        availability: Arc<Availability>,
    ) -> Result<Self, BusError> {
        let mut follower = Self::connect(config, topic, availability).await?;
        let starts = match from {
            From::Beginning => vec![None; follower.ends.len()],
            From::End => follower.ends.iter().copied().map(Some).collect(),
            From::Time(ms) => follower.starts_at(ms).await?,
        };
        follower.begin(&starts)?;
        Ok(follower)
    }

    /// Asks for the ends, and reads nothing before [`Follower::begin`].
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub(crate) async fn connect(
        config: &KafkaConfig,
        topic: Topic,
        availability: Arc<Availability>,
    ) -> Result<Self, BusError> {
        let client: Client = config.reader_client()?.create_with_context(Quiet(availability))?;
        let (client, names) = (Aside::new(client), Names::of(config));
        let ends = blocking({
            let (client, names) = (client.share(), names.clone());
            move || ends_now(&client, &names, topic, OPEN_WITHIN)
        })
        .await?;
        Ok(Self { client, names, topic, ends, unread: BTreeSet::new() })
    }

    /// Begins to read each partition at its offset; where there is none, at the oldest record kept.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the client refuses.
    pub(crate) fn begin(&mut self, starts: &[Option<i64>]) -> Result<(), BusError> {
        let all = partitions(self.topic, self.ends.len());
        let offset = |start: &Option<i64>| start.map_or(Offset::Beginning, Offset::Offset);
        self.client.assign(&self.names.list(all.into_iter().zip(starts.iter().map(offset)))?)?;
        let unread = (0..).zip(starts.iter().zip(&self.ends)).filter(|(_, (start, end))| start.unwrap_or(0) < **end);
        self.unread = unread.map(|(partition, _)| partition).collect();
        Ok(())
    }

    /// Where the records at or after this time begin. Where there is none: only what comes from now on.
    async fn starts_at(&self, ms: i64) -> Result<Vec<Option<i64>>, BusError> {
        let (client, names) = (self.client.share(), self.names.clone());
        let all = partitions(self.topic, self.ends.len());
        let mut found = blocking(move || {
            let asked = names.list(all.iter().map(|at| (*at, Offset::Offset(ms.max(0)))))?;
            Ok(offsets(&names, &client.offsets_for_times(asked, OPEN_WITHIN)?)?)
        })
        .await?;
        found.sort_unstable();
        Ok(found.iter().zip(&self.ends).map(|((_, start), end)| Some(start.unwrap_or(*end))).collect())
    }

    /// Which cluster the brokers belong to; `None` if they do not say.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn cluster(&self) -> Result<Option<String>, BusError> {
        let client = self.client.share();
        blocking(move || Ok(client.client().fetch_cluster_id(ASK_WITHIN))).await
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
        blocking(move || ends_now(&client, &names, topic, ASK_WITHIN))
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

/// Where each partition ends now, as many as there are. Blocks.
fn ends_now(client: &Client, names: &Names, topic: Topic, within: Duration) -> Result<Vec<i64>, BusError> {
    let count = partition_count(client, &names.full(topic), within)?;
    let all = partitions(topic, usize::try_from(count).unwrap_or_default());
    let until = Instant::now() + within;
    let mut ends = loop {
        match edges(client, names, &all, Edge::High, within) {
            Err(error) if is_leader_moving(&error) && Instant::now() < until => std::thread::sleep(LEADER_WAIT),
            ends => break ends?,
        }
    };
    ends.sort_unstable();
    Ok(ends.into_iter().map(|(_, end)| end).collect())
}

/// A partition that changes its leader, or has none yet: another moment, another answer.
fn is_leader_moving(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    tokio::task::spawn_blocking(question).await?
}
