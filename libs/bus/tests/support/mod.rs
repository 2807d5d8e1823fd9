//! What the tests of the bus share.
#![allow(dead_code, unused_imports, unused_macros)] // Each test binary uses its part.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use porchlight_bus::{
    BusError, Consumer, ConsumerStatus, GroupProtocol, Handler, KafkaConfig, Outcome, Producer, Record, SaslMechanism,
    SecurityProtocol, Topic, apply_topics, drop_topics,
};
use porchlight_domain::{
    ChosenId, Device, DeviceId, HomeId, HouseholdId, Plan, Point, SharingPolicy, Timestamp, Version,
};
use porchlight_secrets::Secret;
use porchlight_standins::broker::EmbeddedBroker;
use porchlight_wire::Wire as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Runs tests, which take the protocol of their groups, under each of them.
macro_rules! under_both_protocols {
    ($($test:ident),+ $(,)?) => {
        mod classic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(porchlight_bus::GroupProtocol::Classic).await;
            })+
        }
        mod consumer {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if super::support::is_embedded() {
                    return; // It knows the classic protocol only.
                }
                super::$test(porchlight_bus::GroupProtocol::Consumer).await;
            })+
        }
    };
}
pub(crate) use under_both_protocols;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings for these brokers; the prefix is this test's own.
pub(crate) fn config(bootstrap_servers: &str) -> KafkaConfig {
    let own = Uuid::new_v4().simple().to_string();
    KafkaConfig {
        bootstrap_servers: bootstrap_servers.into(),
        security_protocol: SecurityProtocol::Plaintext,
        sasl_mechanism: SaslMechanism::ScramSha512,
        username: String::new(),
        password: Secret::default(),
        password_file: PathBuf::new(),
        ca_file: PathBuf::new(),
        cert_file: PathBuf::new(),
        key_file: PathBuf::new(),
        topic_prefix: format!("bus-{own}-"),
        group_prefix: format!("bus-{own}-"),
        message_timeout_ms: 8000,
        produce_wait_ms: 10_000,
        group_protocol: GroupProtocol::Classic,
        session_timeout_ms: 6000,
        max_poll_interval_ms: 60_000,
        drain_ms: 10_000,
        fetch_wait_ms: 20,
        max_in_flight_records: 1000,
        max_in_flight_bytes: 1 << 20,
        max_concurrent_keys: 8,
        stall_after_ms: 60_000,
        dead_letter_max_run: 100,
        dead_letter_max_percent: 50,
    }
}

/// A device that differs from others by `n`.
pub(crate) fn device(n: u128, version: u64) -> Device {
    Device {
        id: DeviceId(Uuid::from_u128(n)),
        chosen: ChosenId(Uuid::from_u128(n)),
        household: HouseholdId(Uuid::from_u128(n)),
        home: HomeId(Uuid::from_u128(n)),
        name: "porch".into(),
        point: Point { lon_e7: 0, lat_e7: 0 },
        policy: SharingPolicy::default(),
        plan: Plan::default(),
        credential: None,
        deleted: false,
        version: Version(version),
        updated_at: Timestamp(0),
    }
}

/// Publishes a device as the registry does.
pub(crate) async fn publish(producer: &Producer, device: &Device) {
    producer.send(Topic::Devices, Some(device.id.0.as_bytes()), &device.encode(), &[]).await.unwrap();
}

/// Waits until `what` holds, looking again and again.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A handler made of a closure.
pub(crate) struct Scripted<F>(pub(crate) F);

impl<F: Fn(Arc<Record>) -> BoxFuture<'static, Outcome> + Send + Sync + 'static> Handler for Scripted<F> {
    fn handle(&self, record: Arc<Record>) -> impl Future<Output = Outcome> + Send {
        (self.0)(record)
    }
}

/// A running consumer.
pub(crate) struct Running {
    pub(crate) status: ConsumerStatus,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
}

impl Running {
    /// Runs a consumer of `topics` as stage "test".
    pub(crate) fn start<F>(config: &KafkaConfig, topics: &[Topic], handle: F) -> Self
    where
        F: Fn(Arc<Record>) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        let producer = Producer::new(config).unwrap();
        let consumer = Consumer::new(config, "test", topics, Scripted(handle), producer).unwrap();
        let (status, shutdown) = (consumer.status(), CancellationToken::new());
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Self { status, shutdown, task }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) -> Result<(), BusError> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Result<(), BusError> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the consumer ends").unwrap()
    }
}

/// What was noted, in order.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, note: &str) -> bool {
        self.all().iter().any(|n| n == note)
    }

    pub(crate) fn position(&self, note: &str) -> usize {
        self.all().iter().position(|n| n == note).unwrap_or_else(|| panic!("{note} in {:?}", self.all()))
    }
}

/// The value of a record, as text.
pub(crate) fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone()).unwrap()
}

/// Sends `value` under `key`.
pub(crate) async fn send(producer: &Producer, topic: Topic, key: &str, value: &str) {
    producer.send(topic, Some(key.as_bytes()), value.as_bytes(), &[]).await.unwrap();
}

/// The sum of what the group of stage "test" has committed of a topic's partitions.
pub(crate) async fn committed(config: &KafkaConfig, topic: Topic, partitions: i32) -> i64 {
    let (group, name) = (format!("{}test", config.group_prefix), config.topic_name(topic));
    let servers = config.bootstrap_servers.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", servers).set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&name, 0, partitions - 1);
        let answer = client.committed_offsets(list, Duration::from_secs(10)).unwrap();
        let sum = answer.elements().iter().map(|e| if let Offset::Offset(n) = e.offset() { n } else { 0 }).sum();
        drop(answer);
        sum
    });
    asked.await.unwrap()
}

/// Whether the tests are those that run on the embedded broker. It cannot do all that Kafka does; a test of what it
/// cannot is none there, and says so.
pub(crate) fn is_embedded() -> bool {
    env!("CARGO_CRATE_NAME").starts_with("embedded")
}

/// The brokers that the tests run on.
pub(crate) fn bootstrap_servers() -> String {
    static EMBEDDED: OnceLock<String> = OnceLock::new();
    if is_embedded() {
        return EMBEDDED.get_or_init(embedded).clone();
    }
    let file =
        std::env::var("PORCHLIGHT_TEST_SERVERS").expect("run make test, or make up and set PORCHLIGHT_TEST_SERVERS");
    let servers: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    servers["kafka"].as_str().unwrap().to_owned()
}

/// Starts an embedded broker that lives as long as this process, on a thread of its own: each test's runtime ends with
/// the test.
fn embedded() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(module_path!().replace("::", "-"));
    let _ = std::fs::remove_dir_all(&folder);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let broker = EmbeddedBroker::start(&folder, 0).await.unwrap();
            tell.send(broker.bootstrap().to_owned()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

/// Topics of this test's own on the real brokers, dropped at its end.
pub(crate) struct Deployment {
    pub(crate) config: KafkaConfig,
    pub(crate) producer: Producer,
}

impl Deployment {
    pub(crate) async fn make(partitions: i32) -> Self {
        let config = config(&bootstrap_servers());
        apply_topics(&config, partitions, 1).await.unwrap();
        let producer = Producer::new(&config).unwrap();
        Self { config, producer }
    }

    pub(crate) async fn under(protocol: GroupProtocol, partitions: i32) -> Self {
        let mut deployment = Self::make(partitions).await;
        deployment.config.group_protocol = protocol;
        deployment
    }

    pub(crate) async fn drop(self) {
        drop_topics(&self.config).await.unwrap();
    }
}

/// Topics of this test's own on a broker inside the client library.
pub(crate) fn cluster(partitions: i32) -> (Cluster, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    let config = config(&cluster.bootstrap_servers());
    for topic in Topic::ALL {
        cluster.create_topic(&config.topic_name(topic), partitions, 1).unwrap();
    }
    (cluster, config)
}

/// A broker inside the client library.
pub(crate) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// What most handlers say.
pub(crate) fn done() -> BoxFuture<'static, Outcome> {
    async { Outcome::Done }.boxed()
}
