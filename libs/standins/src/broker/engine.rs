//! The engine (SQLite, by tansu) behind a memory of what every request asks for: which topics there are, and where their
//! partitions end. A fetch that waits costs no SQL, and wakes when something was written; and what the engine answers
//! wrongly, or dies of, is put right here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use tansu_sans_io::{
    BatchAttribute, Compression, ConfigResource, ErrorCode, IsolationLevel, ListOffset, ScramMechanism,
    create_topics_request::CreatableTopic, delete_groups_response::DeletableGroupResult,
    delete_records_request::DeleteRecordsTopic, delete_records_response::DeleteRecordsTopicResult,
    describe_cluster_response::DescribeClusterBroker, describe_configs_response::DescribeConfigsResult,
    describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic,
    incremental_alter_configs_request::AlterConfigsResource,
    incremental_alter_configs_response::AlterConfigsResourceResponse, list_groups_response::ListedGroup,
    record::deflated::Batch, txn_offset_commit_response::TxnOffsetCommitResponseTopic,
};
use tansu_storage::{
    BrokerRegistrationRequest, Error, GroupDetail, ListOffsetResponse, MetadataResponse, NamedGroupDetail,
    OffsetCommitRequest, OffsetStage, ProducerIdResponse, Result, ScramCredential, Storage, StorageContainer, TopicId,
    Topition, TxnAddPartitionsRequest, TxnAddPartitionsResponse, TxnOffsetCommitRequest, UpdateError, Version,
};
use tokio::{
    sync::{RwLock, RwLockReadGuard, watch},
    time::sleep,
};
use url::Url;
use uuid::Uuid;

/// How long the data may be held by another until it is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// What the engine is opened with.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) cluster: String,
    pub(super) node: i32,
    pub(super) address: Url,
    pub(super) storage: Url,
}

impl Opening {
    /// Opens the data. An engine that has just ended may hold them for a moment longer.
    async fn open(&self) -> Result<StorageContainer> {
        let until = Instant::now() + OPEN_WITHIN;
        loop {
            match self.open_now().await {
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, "the embedded broker's engine is tried again");
                    sleep(Duration::from_millis(20)).await;
                }
                opened => return opened,
            }
        }
    }

    async fn open_now(&self) -> Result<StorageContainer> {
        let opened = StorageContainer::builder()
            .node_id(self.node)
            .cluster_id(self.cluster.clone())
            .advertised_listener(self.address.clone())
            .storage(self.storage.clone())
            .silent(true)
            .build()
            .await?;
        let registration = BrokerRegistrationRequest {
            broker_id: self.node,
            cluster_id: self.cluster.clone(),
            incarnation_id: Uuid::new_v4(),
            rack: None,
        };
        opened.register_broker(registration).await?;
        Ok(opened)
    }

    /// Removes a topic and all that belongs to it; its rows go with it. tansu's own way removes all topics of the
    /// cluster with each one that is deleted.
    async fn delete(&self, topic: &Topic) -> Result<()> {
        let path = self.storage.path().trim_start_matches('/');
        let data = libsql::Builder::new_local(format!("/{path}")).build().await?.connect()?;
        data.execute("pragma foreign_keys = on", ()).await?;
        data.execute("delete from topic where uuid = ?1", [topic.id.to_string()]).await?;
        Ok(())
    }
}

/// A topic that is there.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) name: String,
    partitions: i32,
}

impl Topic {
    pub(super) fn has(&self, partition: i32) -> bool {
        (0..self.partitions).contains(&partition)
    }
}

/// What is known of topics. An id is never used again: what is said of one holds for as long as it is there, whatever
/// else is called by its name later.
#[derive(Debug, Default)]
struct Memory {
    /// How often topics were made or deleted: what was asked before the last time may not be remembered after it.
    changes: u64,
    topics: HashMap<String, Topic>,
    /// The offset that the next record will get.
    ends: HashMap<(Uuid, i32), i64>,
    /// By which producer the engine knows a later epoch of one.
    producers: HashMap<(i64, i16), i64>,
}

impl Memory {
    /// Ends only grow; whoever read one before a record came may say so after it.
    fn reaches(&mut self, at: (Uuid, i32), end: i64) -> i64 {
        let known = self.ends.entry(at).or_insert(end);
        *known = (*known).max(end);
        *known
    }
}

/// The engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opening: Opening,
    /// Written to (in the sense of the lock) by who changes the data past it.
    opened: RwLock<StorageContainer>,
    memory: Mutex<Memory>,
    news: watch::Sender<()>,
}

impl Engine {
    /// Opens the data, and makes them if there are none.
    pub(super) async fn open(opening: Opening) -> Result<Self> {
        let opened = RwLock::new(opening.open().await?);
        Ok(Self(Arc::new(Inner { opening, opened, memory: Mutex::default(), news: watch::Sender::new(()) })))
    }

    async fn opened(&self) -> RwLockReadGuard<'_, StorageContainer> {
        self.0.opened.read().await
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever a record was written, or a topic made or deleted.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }

    /// All requests go through one task of the engine, and a panic in it (there are some in its code) would end it for
    /// good. Whoever finds it ended opens the data anew.
    pub(super) async fn mend(&self) {
        let Err(error) = self.ping().await else { return };
        let mut opened = self.0.opened.write().await;
        match self.0.opening.open().await {
            Ok(again) => {
                tracing::warn!(%error, "the embedded broker's engine had ended; it is open again");
                *opened = again;
                self.memory().ends.clear();
            }
            Err(error) => tracing::error!(%error, "the embedded broker's engine has ended, and cannot be opened"),
        }
    }

    /// The topic of this name or id, if there is one.
    pub(super) async fn topic(&self, asked: &TopicId) -> Result<Option<Topic>> {
        let changes = {
            let memory = self.memory();
            let known = match asked {
                TopicId::Name(name) => memory.topics.get(name),
                TopicId::Id(id) => memory.topics.values().find(|topic| topic.id == *id),
            };
            if let Some(known) = known {
                return Ok(Some(known.clone()));
            }
            memory.changes
        };
        let answer = self.opened().await.metadata(Some(std::slice::from_ref(asked))).await?;
        let found = answer.topics().iter().find(|topic| topic.error_code == i16::from(ErrorCode::None));
        let Some((name, id)) = found.and_then(|topic| topic.name.clone().zip(topic.topic_id)) else { return Ok(None) };
        let partitions = found.and_then(|topic| topic.partitions.as_ref()).map_or(0, Vec::len);
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let topic = Topic { id: Uuid::from_bytes(id), name, partitions };
        let mut memory = self.memory();
        if memory.changes == changes {
            memory.topics.insert(topic.name.clone(), topic.clone());
        }
        Ok(Some(topic))
    }

    /// The topic, if it has this partition: of one that is not there the engine's task would die.
    async fn holding(&self, at: &Topition) -> Result<Option<Topic>> {
        Ok(self.topic(&TopicId::from(at)).await?.filter(|topic| topic.has(at.partition())))
    }

    /// The engine knows the first epoch of a producer alone, and its task dies of any other. A client counts its epoch up by
    /// itself when it cannot know what became of a batch, and then counts its batches anew: to the engine that is another
    /// producer. After a restart it is yet another one; the client is told that its count is wrong, and counts anew.
    async fn by_known_producer(&self, mut batch: Batch) -> Result<Batch> {
        if batch.producer_epoch <= 0 {
            return Ok(batch);
        }
        let asked = (batch.producer_id, batch.producer_epoch);
        let known = self.memory().producers.get(&asked).copied();
        batch.producer_id = match known {
            Some(known) => known,
            None => {
                let made = self.opened().await.init_producer(None, 0, Some(-1), Some(-1)).await?;
                if made.error != ErrorCode::None {
                    return Err(Error::Api(made.error));
                }
                *self.memory().producers.entry(asked).or_insert(made.id)
            }
        };
        batch.producer_epoch = 0;
        Ok(batch)
    }

    /// The offset that the next record of a partition, which is there, will get.
    pub(super) async fn end(&self, topic: &Topic, partition: i32) -> Result<i64> {
        if let Some(end) = self.memory().ends.get(&(topic.id, partition)) {
            return Ok(*end);
        }
        let stage = self.opened().await.offset_stage(&Topition::new(topic.name.clone(), partition)).await?;
        Ok(self.memory().reaches((topic.id, partition), stage.high_watermark()))
    }

    /// The records of a partition, which is there, from an offset on: at most about `room` bytes of keys and values.
    pub(super) async fn read(&self, topic: &Topic, partition: i32, from: i64, room: u32) -> Result<Vec<Batch>> {
        let at = Topition::new(topic.name.clone(), partition);
        let mut batches = self.opened().await.fetch(&at, from, 0, room, IsolationLevel::ReadUncommitted).await?;
        // What has no record is one batch without any.
        batches.retain(|batch| batch.record_count > 0);
        Ok(batches)
    }

    /// A topic was made or deleted.
    fn changed(&self, forget: impl Fn(&Topic) -> bool) {
        let mut memory = self.memory();
        memory.changes += 1;
        let gone: Vec<Topic> = memory.topics.extract_if(|_, topic| forget(topic)).map(|(_, topic)| topic).collect();
        memory.ends.retain(|(id, _), _| gone.iter().all(|topic| topic.id != *id));
        drop(memory);
        self.0.news.send_replace(());
    }

    /// Where records begin, end, or are at or after a time. The engine says 0 where it has no record to look at, be it
    /// that all are past their retention, or none is so young.
    async fn offset(&self, at: &Topition, asked: ListOffset) -> Result<ListOffsetResponse> {
        let Some(topic) = self.holding(at).await? else {
            return Ok(ListOffsetResponse { error_code: ErrorCode::UnknownTopicOrPartition, ..Default::default() });
        };
        let end = self.end(&topic, at.partition()).await?;
        let nothing = match asked {
            ListOffset::Latest => return Ok(ListOffsetResponse { offset: Some(end), ..Default::default() }),
            ListOffset::Earliest => end,
            ListOffset::Timestamp(_) => -1,
        };
        let answers = self.opened().await.list_offsets(IsolationLevel::ReadUncommitted, &[(at.clone(), asked)]).await?;
        let found = answers.into_iter().map(|(_, answer)| answer).find(|answer| answer.timestamp.is_some());
        Ok(found.unwrap_or_else(|| ListOffsetResponse { offset: Some(nothing), ..Default::default() }))
    }
}

/// The storage that tansu's services ask: what is named is the engine's own answer, the rest is put right first.
macro_rules! storage {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* instead $($own:tt)*) => {
        #[async_trait]
        impl Storage for Engine {
            $(async fn $name(&self $(, $arg: $type)*) -> $out {
                self.opened().await.$name($($arg),*).await
            })*
            $($own)*
        }
    };
}

storage! {
    fn register_broker(registration: BrokerRegistrationRequest) -> Result<()>;
    fn incremental_alter_resource(resource: AlterConfigsResource) -> Result<AlterConfigsResourceResponse>;
    fn delete_records(topics: &[DeleteRecordsTopic]) -> Result<Vec<DeleteRecordsTopicResult>>;
    fn brokers() -> Result<Vec<DescribeClusterBroker>>;
    fn offset_stage(at: &Topition) -> Result<OffsetStage>;
    fn fetch(at: &'_ Topition, from: i64, least: u32, most: u32, isolation: IsolationLevel) -> Result<Vec<Batch>>;
    fn offset_commit(
        group: &str,
        retention: Option<Duration>,
        offsets: &[(Topition, OffsetCommitRequest)]
    ) -> Result<Vec<(Topition, ErrorCode)>>;
    fn offset_fetch(
        group: Option<&str>,
        at: &[Topition],
        require_stable: Option<bool>
    ) -> Result<BTreeMap<Topition, i64>>;
    fn committed_offset_topitions(group: &str) -> Result<BTreeMap<Topition, i64>>;
    fn metadata(topics: Option<&[TopicId]>) -> Result<MetadataResponse>;
    fn upsert_user_scram_credential(
        user: &str,
        mechanism: ScramMechanism,
        credential: ScramCredential
    ) -> Result<()>;
    fn delete_user_scram_credential(user: &str, mechanism: ScramMechanism) -> Result<()>;
    fn user_scram_credential(user: &str, mechanism: ScramMechanism) -> Result<Option<ScramCredential>>;
    fn describe_config(
        name: &str,
        resource: ConfigResource,
        keys: Option<&[String]>
    ) -> Result<DescribeConfigsResult>;
    fn list_groups(states: Option<&[String]>) -> Result<Vec<ListedGroup>>;
    fn delete_groups(groups: Option<&[String]>) -> Result<Vec<DeletableGroupResult>>;
    fn describe_groups(groups: Option<&[String]>, authorized: bool) -> Result<Vec<NamedGroupDetail>>;
    fn describe_topic_partitions(
        topics: Option<&[TopicId]>,
        limit: i32,
        cursor: Option<Topition>
    ) -> Result<Vec<DescribeTopicPartitionsResponseTopic>>;
    fn update_group(
        group: &str,
        detail: GroupDetail,
        version: Option<Version>
    ) -> Result<Version, UpdateError<GroupDetail>>;
    fn txn_add_offsets(transaction: &str, producer: i64, epoch: i16, group: &str) -> Result<ErrorCode>;
    fn txn_add_partitions(partitions: TxnAddPartitionsRequest) -> Result<TxnAddPartitionsResponse>;
    fn txn_offset_commit(offsets: TxnOffsetCommitRequest) -> Result<Vec<TxnOffsetCommitResponseTopic>>;
    fn txn_end(transaction: &str, producer: i64, epoch: i16, committed: bool) -> Result<ErrorCode>;
    fn maintain(now: SystemTime) -> Result<()>;
    fn cluster_id() -> Result<String>;
    fn node() -> Result<i32>;
    fn advertised_listener() -> Result<Url>;
    fn ping() -> Result<()>;

    instead

    async fn create_topic(&self, topic: CreatableTopic, validate_only: bool) -> Result<Uuid> {
        let made = self.opened().await.create_topic(topic, validate_only).await;
        self.changed(|_| false);
        made
    }

    async fn delete_topic(&self, asked: &TopicId) -> Result<ErrorCode> {
        let Some(topic) = self.topic(asked).await? else { return Ok(ErrorCode::UnknownTopicOrPartition) };
        let alone = self.0.opened.write().await;
        let deleted = self.0.opening.delete(&topic).await;
        drop(alone);
        self.changed(|known| known.id == topic.id);
        deleted.map(|()| ErrorCode::None)
    }

    async fn produce(&self, transaction: Option<&str>, at: &Topition, batch: Batch) -> Result<i64> {
        let Some(topic) = self.holding(at).await? else {
            return Err(Error::Api(ErrorCode::UnknownTopicOrPartition));
        };
        // The engine takes these, and never gives them back.
        if BatchAttribute::try_from(batch.attributes)?.compression == Compression::Snappy {
            return Err(Error::Api(ErrorCode::UnsupportedCompressionType));
        }
        let batch = self.by_known_producer(batch).await?;
        let (place, records) = ((topic.id, at.partition()), i64::from(batch.last_offset_delta) + 1);
        let produced = self.opened().await.produce(transaction, at, batch).await;
        match &produced {
            Ok(first) => drop(self.memory().reaches(place, first + records)),
            // Whether it was written is not known: the engine is asked.
            Err(_) => drop(self.memory().ends.remove(&place)),
        }
        self.0.news.send_replace(());
        produced
    }

    /// One without transactions is made anew, whoever it was before: that is what Kafka does, and of anything else the
    /// engine's task would die.
    async fn init_producer(
        &self,
        transaction: Option<&str>,
        timeout_ms: i32,
        _producer: Option<i64>,
        _epoch: Option<i16>,
    ) -> Result<ProducerIdResponse> {
        if transaction.is_some() {
            return Err(Error::Api(ErrorCode::UnsupportedVersion));
        }
        self.opened().await.init_producer(None, timeout_ms, Some(-1), Some(-1)).await
    }

    async fn list_offsets(
        &self,
        _isolation: IsolationLevel,
        asked: &[(Topition, ListOffset)],
    ) -> Result<Vec<(Topition, ListOffsetResponse)>> {
        let mut answers = Vec::with_capacity(asked.len());
        for (at, asked) in asked {
            answers.push((at.clone(), self.offset(at, *asked).await?));
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use tansu_sans_io::record::{Record, inflated};

    use super::*;

    fn batch(producer: i64, epoch: i16, sequence: i32) -> Batch {
        let record = Record::builder().value(Some(Bytes::from_static(b"x")));
        let batch = inflated::Batch::builder().record(record).attributes(0);
        let batch = batch.producer_id(producer).producer_epoch(epoch).base_sequence(sequence).build().unwrap();
        Batch::try_from(batch).unwrap()
    }

    /// A client does so on its own after a batch of which it does not know what became of it.
    #[tokio::test]
    async fn a_producer_that_counts_its_epoch_up_writes_on_and_the_engine_lives() {
        let folder = tempfile::tempdir().unwrap();
        let place = super::super::place::Place::take(folder.path()).unwrap();
        let address = Url::parse("tcp://127.0.0.1:1").unwrap();
        let opening = Opening { cluster: place.cluster.clone(), node: 1, address, storage: place.storage.clone() };
        let engine = Engine::open(opening).await.unwrap();
        let topic = CreatableTopic::default().name("t".into()).num_partitions(2).replication_factor(1);
        engine.create_topic(topic.assignments(Some([].into())).configs(Some([].into())), false).await.unwrap();

        let producer = engine.init_producer(None, 0, Some(-1), Some(-1)).await.unwrap().id;
        let [first, second] = [0, 1].map(|partition| Topition::new("t", partition));
        assert_eq!(engine.produce(None, &first, batch(producer, 0, 0)).await.unwrap(), 0);
        assert_eq!(engine.produce(None, &first, batch(producer, 1, 0)).await.unwrap(), 1);
        assert_eq!(engine.produce(None, &first, batch(producer, 1, 1)).await.unwrap(), 2);
        assert_eq!(engine.produce(None, &second, batch(producer, 1, 0)).await.unwrap(), 0, "one for all partitions");
        assert!(
            engine.produce(None, &first, batch(producer, 1, 5)).await.is_err(),
            "with a hole in its count it is not"
        );
        let again = engine.init_producer(None, 0, Some(producer), Some(1)).await.unwrap();
        assert!(again.id != producer && again.epoch == 0, "asked for a higher epoch, it gets another name");
        engine.ping().await.unwrap();
    }
}
