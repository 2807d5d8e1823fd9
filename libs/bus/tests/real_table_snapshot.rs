//! Tables that start from a snapshot, against a real Kafka. Records that were read are counted, not time.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use porchlight_bus::{KafkaConfig, Lookup, Producer, Table, TableConfig, Topic, apply_topics, drop_topics};
use porchlight_domain::Device;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier},
    client::DefaultClientContext,
};
use sha2::{Digest as _, Sha256};
use support::{PATIENCE, bootstrap_servers, config, device, eventually, is_embedded, publish};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Of the topic of devices.
const PARTITIONS: u64 = 4;
const DEVICES: u128 = 100;

/// Topics of this test's own, and a folder for snapshots.
struct Deployment {
    config: KafkaConfig,
    producer: Producer,
    dir: tempfile::TempDir,
}

impl Deployment {
    async fn make() -> Self {
        let config = config(&bootstrap_servers());
        apply(&config).await;
        let producer = Producer::new(&config).unwrap();
        Self { config, producer, dir: tempfile::tempdir().unwrap() }
    }

    /// With devices 0 to 99 at version 2, of which one in ten is gone; 210 records.
    async fn filled() -> Self {
        let deployment = Self::make().await;
        deployment.fill(1).await;
        deployment.fill(2).await;
        for n in (0..DEVICES).step_by(10) {
            deployment.forget(n).await;
        }
        deployment
    }

    async fn fill(&self, version: u64) {
        for n in 0..DEVICES {
            publish(&self.producer, &device(n, version)).await;
        }
    }

    async fn forget(&self, n: u128) {
        self.producer.send(Topic::Devices, Some(device(n, 0).id.0.as_bytes()), b"", &[]).await.unwrap();
    }

    fn snapshot(&self) -> PathBuf {
        self.dir.path().join(format!("{}.snapshot", self.config.topic_name(Topic::Devices)))
    }

    /// Until it is ready.
    async fn open(&self) -> Opened {
        Opened::open(&self.config, self.dir.path()).await
    }

    /// What a table without a snapshot holds, and how many records that takes.
    async fn cold(&self) -> (BTreeMap<u128, Device>, u64) {
        let cold = Opened::open(&self.config, Path::new("")).await;
        let found = (cold.contents(), cold.table.records_read());
        cold.stop().await;
        found
    }

    async fn admin<T>(&self, ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions, &str) -> T) -> T {
        let client = ClientConfig::new().set("bootstrap.servers", &self.config.bootstrap_servers).create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        ask(&client, &options, &self.config.topic_name(Topic::Devices)).await
    }

    /// The topics, empty, and a producer that never wrote to those of before: the embedded broker does not let one go
    /// on in the midst of its sequence.
    async fn make_again(&mut self) {
        drop_topics(&self.config).await.unwrap();
        apply(&self.config).await;
        self.producer = Producer::new(&self.config).unwrap();
    }

    async fn drop(self) {
        drop_topics(&self.config).await.unwrap();
    }
}

async fn apply(config: &KafkaConfig) {
    apply_topics(config, i32::try_from(PARTITIONS).unwrap() * 4, 1).await.unwrap();
}

/// A table that runs.
struct Opened {
    table: Table<Device>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Opened {
    async fn open(config: &KafkaConfig, snapshot_dir: &Path) -> Self {
        let shutdown = CancellationToken::new();
        let kept = TableConfig { max_age: Duration::from_secs(3), snapshot_dir: snapshot_dir.to_owned() };
        let (table, run) = Table::<Device>::start(config, kept, |_| {}, shutdown.clone()).unwrap();
        let task = tokio::spawn(async move { run.await.unwrap() });
        eventually("ready", async || table.ready().is_ok()).await;
        Self { table, shutdown, task }
    }

    /// The devices that are found; all others are absent.
    fn contents(&self) -> BTreeMap<u128, Device> {
        let mut found = BTreeMap::new();
        for n in 0..2 * DEVICES {
            match self.table.get(&device(n, 0).id) {
                Lookup::Found(device) => drop(found.insert(n, (*device).clone())),
                Lookup::Absent => {}
                Lookup::Stale => panic!("it was ready"),
            }
        }
        assert_eq!(found.len(), self.table.len());
        found
    }

    fn version(&self, n: u128) -> Option<u64> {
        match self.table.get(&device(n, 0).id) {
            Lookup::Found(device) => Some(device.version.0),
            Lookup::Absent | Lookup::Stale => None,
        }
    }

    /// As a process that drains does.
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// As a process that is killed: no last snapshot.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn a_table_restarted_from_its_snapshot_reads_only_what_is_new_and_equals_a_cold_one() {
    let deployment = Deployment::filled().await;
    let first = deployment.open().await;
    assert_eq!(first.table.records_read(), 210, "there is no snapshot yet");
    first.stop().await;

    let again = deployment.open().await;
    assert_eq!(again.table.records_read(), PARTITIONS, "the last record of each partition, to see that it is that one");
    assert_eq!((again.contents(), 210), deployment.cold().await);
    again.stop().await;

    // While nobody looks: news, a lower version, what was gone comes again, and two go of which one comes again.
    publish(&deployment.producer, &device(1, 3)).await;
    publish(&deployment.producer, &device(2, 1)).await;
    publish(&deployment.producer, &device(10, 1)).await;
    publish(&deployment.producer, &device(DEVICES, 1)).await;
    deployment.forget(3).await;
    deployment.forget(4).await;
    publish(&deployment.producer, &device(4, 1)).await;
    let later = deployment.open().await;
    assert_eq!(later.table.records_read(), PARTITIONS + 7);
    let (cold, _) = deployment.cold().await;
    assert_eq!(later.contents(), cold);
    let versions = [1, 2, 3, 4, 10, 20, DEVICES].map(|n| later.version(n));
    assert_eq!(versions, [Some(3), Some(2), None, Some(1), Some(1), None, Some(1)]);
    later.stop().await;
    deployment.drop().await;
}

#[tokio::test]
async fn a_table_killed_between_two_snapshots_goes_on_from_the_last_one() {
    let deployment = Deployment::filled().await;
    let first = deployment.open().await;
    eventually("the first snapshot", async || deployment.snapshot().exists()).await;
    let snapshot = std::fs::read(deployment.snapshot()).unwrap();
    publish(&deployment.producer, &device(1, 3)).await;
    deployment.forget(2).await;
    eventually("it follows", async || first.version(1) == Some(3) && first.version(2).is_none()).await;
    first.kill().await;
    // As if it was killed while it wrote the next one, however fast that was.
    std::fs::write(deployment.snapshot(), snapshot).unwrap();
    std::fs::write(deployment.snapshot().with_extension("tmp"), "PORCHTAB and no more").unwrap();

    let again = deployment.open().await;
    assert_eq!(again.table.records_read(), PARTITIONS + 2);
    let (cold, _) = deployment.cold().await;
    assert_eq!(again.contents(), cold);
    again.stop().await;
    deployment.drop().await;
}

/// Where things stand in a snapshot of this deployment.
struct Places {
    topic: usize,
    cluster: usize,
    as_of: usize,
    mark: usize,
}

impl Places {
    fn of(bytes: &[u8]) -> Self {
        let length = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
        let topic = 8 + 4 + 2;
        let cluster = topic + length(topic - 2) + 2;
        let as_of = cluster + length(cluster - 2);
        Self { topic, cluster, as_of, mark: as_of + 8 + 4 + 1 }
    }
}

/// With a checksum that is right again.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 32);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Adds to the number (u64, little-endian) that stands there.
fn add(bytes: &mut [u8], at: usize, more: i64) {
    let number = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    bytes[at..at + 8].copy_from_slice(&number.checked_add_signed(more).unwrap().to_le_bytes());
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_trusted_costs_a_full_load_and_nothing_else() {
    const HOUR_MS: i64 = 3_600_000;
    let deployment = Deployment::filled().await;
    deployment.open().await.stop().await;
    let good = std::fs::read(deployment.snapshot()).unwrap();
    let (cold, all) = deployment.cold().await;
    let places = Places::of(&good);
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        signed(bytes)
    };
    let cases = [
        ("as it is", good.clone(), PARTITIONS),
        ("edited in no way", edited(&|_| {}), PARTITIONS),
        (
            "a bit flipped",
            [&good[..good.len() / 2], &[good[good.len() / 2] ^ 1], &good[good.len() / 2 + 1..]].concat(),
            all,
        ),
        ("torn", good[..good.len() / 2].to_vec(), all),
        ("empty", Vec::new(), all),
        ("of no kind", b"PORCH but no more than that".to_vec(), all),
        ("of another version", edited(&|bytes| bytes[8] = 2), all),
        ("of another topic", edited(&|bytes| bytes[places.topic] = b'x'), all),
        ("of another cluster", edited(&|bytes| bytes[places.cluster] ^= 1), all),
        ("of fewer partitions", edited(&|bytes| bytes[places.as_of + 8] = 3), all),
        ("11 hours old", edited(&|bytes| add(bytes, places.as_of, -11 * HOUR_MS)), PARTITIONS),
        ("13 hours old", edited(&|bytes| add(bytes, places.as_of, -13 * HOUR_MS)), all),
        ("of the future", edited(&|bytes| add(bytes, places.as_of, HOUR_MS)), all),
        ("beyond the end", edited(&|bytes| add(bytes, places.mark, 1000)), all),
        // These are found out only by what the broker sends: some records are read before the whole topic is.
        ("of another log", edited(&|bytes| bytes[places.mark + 16] ^= 1), all + 1),
        ("of a log that ended earlier", edited(&|bytes| add(bytes, places.mark, -1)), all + 1),
    ];
    for (what, bytes, records) in cases {
        std::fs::write(deployment.snapshot(), bytes).unwrap();
        let opened = deployment.open().await;
        let read = opened.table.records_read();
        let before = if records > all { PARTITIONS } else { 0 };
        assert!((records..=records + before).contains(&read), "{what}: {read}, not {records}");
        assert!(opened.contents() == cold, "{what}");
        opened.stop().await;
    }
    deployment.drop().await;
}

#[tokio::test]
async fn a_snapshot_of_a_topic_that_was_made_again_and_has_grown_as_long_is_not_used() {
    let mut deployment = Deployment::filled().await;
    deployment.open().await.stop().await;
    deployment.make_again().await;
    // Device 1 goes where the snapshot has read everything, if one believes its offsets: each partition is longer than
    // it was.
    deployment.fill(11).await;
    deployment.forget(1).await;
    for version in 12..=15 {
        for n in (0..DEVICES).filter(|n| *n != 1) {
            publish(&deployment.producer, &device(n, version)).await;
        }
    }
    let opened = deployment.open().await;
    assert_eq!((opened.version(1), opened.version(2), opened.table.len()), (None, Some(15), 99));
    assert_eq!(opened.contents(), deployment.cold().await.0);
    opened.stop().await;
    deployment.drop().await;
}

#[tokio::test]
async fn a_snapshot_that_ends_before_the_log_begins_is_not_used() {
    if is_embedded() {
        return; // It deletes no records, and adds no partitions.
    }
    let deployment = Deployment::filled().await;
    deployment.open().await.stop().await;
    deployment.forget(1).await;
    publish(&deployment.producer, &device(2, 3)).await;
    deployment
        .admin(async |admin, options, topic| {
            // Without "delete" the broker would not let it be shortened.
            let shortens = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("cleanup.policy", "compact,delete");
            admin.alter_configs([&shortens], options).await.unwrap();
            eventually("the log begins where it ended", async || {
                let mut all = TopicPartitionList::new();
                for partition in 0..i32::try_from(PARTITIONS).unwrap() {
                    all.add_partition_offset(topic, partition, Offset::End).unwrap();
                }
                let shortened = admin.delete_records(&all, options).await;
                shortened.is_ok_and(|all| all.elements().iter().all(|partition| partition.error().is_ok()))
            })
            .await;
        })
        .await;
    publish(&deployment.producer, &device(3, 3)).await;
    let opened = deployment.open().await;
    assert!(opened.contents() == BTreeMap::from([(3, device(3, 3))]), "{} of 1", opened.table.len());
    opened.stop().await;
    deployment.drop().await;
}

#[tokio::test]
async fn a_snapshot_of_fewer_partitions_is_not_used_and_the_next_one_is() {
    if is_embedded() {
        return; // It deletes no records, and adds no partitions.
    }
    let deployment = Deployment::filled().await;
    deployment.open().await.stop().await;
    let more = usize::try_from(PARTITIONS).unwrap() + 1;
    deployment
        .admin(async |admin, options, topic| {
            admin.create_partitions(&[NewPartitions::new(topic, more)], options).await.unwrap();
        })
        .await;
    let opened = deployment.open().await;
    eventually("all read", async || opened.table.records_read() == 210 && opened.table.ready().is_ok()).await;
    assert_eq!(opened.contents(), deployment.cold().await.0);
    opened.stop().await;
    let again = deployment.open().await;
    assert_eq!(again.table.records_read(), PARTITIONS, "the fifth partition is empty");
    again.stop().await;
    deployment.drop().await;
}

/// While it runs, too: a device that is not in the new topic is not found for ever.
#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_under_a_table_is_read_again_without_old_entries() {
    let mut deployment = Deployment::filled().await;
    let opened = deployment.open().await;
    assert_eq!(opened.version(1), Some(2));
    deployment.make_again().await;
    publish(&deployment.producer, &device(2, 1)).await;
    eventually("it holds what the new topic holds", async || {
        opened.table.ready().is_ok() && opened.version(2) == Some(1) && opened.table.len() == 1
    })
    .await;
    assert!(matches!(opened.table.get(&device(1, 0).id), Lookup::Absent));
    opened.stop().await;
    assert_eq!(deployment.open().await.contents(), BTreeMap::from([(2, device(2, 1))]));
    deployment.drop().await;
}

#[tokio::test]
async fn a_second_table_in_the_same_folder_works_without_snapshots() {
    let deployment = Deployment::filled().await;
    let (first, second) = (deployment.open().await, deployment.open().await);
    assert_eq!(first.contents(), second.contents());
    eventually("the first writes", async || deployment.snapshot().exists()).await;
    second.stop().await;
    first.stop().await;
    let third = deployment.open().await;
    assert_eq!(third.table.records_read(), PARTITIONS);
    third.stop().await;
    deployment.drop().await;
}
