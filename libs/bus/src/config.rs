//! Settings, and the client configurations made of them: the only place that knows the client's option names.

use std::{path::PathBuf, time::Duration};

use porchlight_secrets::Secret;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{
    BusError, SaslMechanism, SecurityProtocol, Topic,
    dead_letter::{COMMITTED_AT_ONCE, Limits},
    security,
};

/// How long one request to a broker may take. A broker that hangs is left after this.
pub(crate) const SOCKET_TIMEOUT_MS: u64 = 10_000;
/// The most records waiting in a producer's queue; more are [`crate::ProduceError::QueueFull`].
const PRODUCER_QUEUE_RECORDS: usize = 100_000;
/// The most kilobytes waiting in a producer's queue.
const PRODUCER_QUEUE_KBYTES: usize = 65_536;
/// The largest batch in bytes. Below every topic's bound, so that a batch of small records is never refused.
const BATCH_BYTES: usize = 524_288;

/// The longest time between two heartbeats of a member of a classic group.
const HEARTBEAT_MS: u64 = 3000;

/// How a group shares out its partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// The members do it, by the cooperative-sticky assignor: every broker knows it.
    Classic,
    /// The broker does it (KIP-848): Kafka 4 and later. No member waits for another.
    Consumer,
}

/// The `[kafka]` section of every service's configuration. Every key has its default in the service's `default.toml`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// How clients and brokers talk: in the clear, over TLS, with a password.
    pub security_protocol: SecurityProtocol,
    /// How the password is proven.
    pub sasl_mechanism: SaslMechanism,
    /// Who we are, under the protocols `sasl_*`.
    pub username: String,
    /// The password; or empty: read from the file below.
    pub password: Secret,
    /// A file that holds the password; white space around it does not count. Empty: none.
    pub password_file: PathBuf,
    /// PEM certificates of the authorities that the brokers' certificates must come from, *instead of* the system's.
    /// Empty: the system's. Certificates and host names are always verified.
    pub ca_file: PathBuf,
    /// Our own certificate with its chain, in PEM, for brokers that ask for one. Empty: none.
    pub cert_file: PathBuf,
    /// Its private key, in PEM without a pass phrase.
    pub key_file: PathBuf,
    /// Put before every topic's name, e.g. `test7-`.
    pub topic_prefix: String,
    /// Put before every consumer group's name.
    pub group_prefix: String,
    /// How long the client may try to deliver a record.
    pub message_timeout_ms: u64,
    /// How long a caller waits for the delivery report; above `message_timeout_ms`.
    pub produce_wait_ms: u64,
    /// How a consumer's group shares out its partitions.
    pub group_protocol: GroupProtocol,
    /// A consumer that is silent for longer loses its partitions. Under `group_protocol = "consumer"` the broker holds
    /// the session (`group.consumer.session.timeout.ms`), and this must not be above it: a consumer that did not poll
    /// for about so long takes its partitions for lost under either.
    pub session_timeout_ms: u64,
    /// A consumer that handles for longer without polling loses its partitions.
    pub max_poll_interval_ms: u64,
    /// How long a drain may take; below `max_poll_interval_ms`.
    pub drain_ms: u64,
    /// How long a fetch may wait for data.
    pub fetch_wait_ms: u64,
    /// The most records in hand at once in a consumer.
    pub max_in_flight_records: usize,
    /// The most bytes in hand at once in a consumer.
    pub max_in_flight_bytes: usize,
    /// How many keys a consumer handles side by side.
    pub max_concurrent_keys: usize,
    /// A try of a record that takes longer is aborted and made again. No relation to `max_poll_interval_ms`: a consumer
    /// polls while its records are handled.
    pub stall_after_ms: u64,
    /// So many dead letters in a row stop a consumer.
    pub dead_letter_max_run: usize,
    /// More than this share of the last 200 records stops a consumer if they are dead letters; 100: no share does.
    pub dead_letter_max_percent: usize,
}

impl KafkaConfig {
    /// Refuses dangerous pairs with a sentence.
    ///
    /// # Errors
    /// [`BusError::Config`] names the keys and says what would go wrong.
    pub fn check(&self) -> Result<(), BusError> {
        let refuse = |sentence: String| Err(BusError::Config(sentence));
        if self.bootstrap_servers.trim().is_empty() {
            return refuse("kafka.bootstrap_servers is empty: name at least one broker as host:port".into());
        }
        security::check(self)?;
        for (key, prefix) in [("topic_prefix", &self.topic_prefix), ("group_prefix", &self.group_prefix)] {
            if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
                return refuse(format!("kafka.{key} may hold letters, digits, '.', '_' and '-' only"));
            }
        }
        for (key, value) in [
            ("message_timeout_ms", self.message_timeout_ms),
            ("produce_wait_ms", self.produce_wait_ms),
            ("session_timeout_ms", self.session_timeout_ms),
            ("max_poll_interval_ms", self.max_poll_interval_ms),
            ("drain_ms", self.drain_ms),
            ("fetch_wait_ms", self.fetch_wait_ms),
            ("max_in_flight_records", self.max_in_flight_records as u64),
            ("max_in_flight_bytes", self.max_in_flight_bytes as u64),
            ("max_concurrent_keys", self.max_concurrent_keys as u64),
            ("stall_after_ms", self.stall_after_ms),
        ] {
            if value == 0 {
                return refuse(format!("kafka.{key} is 0: nothing would ever move"));
            }
        }
        for (smaller, small, larger, large, else_) in [
            (
                "message_timeout_ms",
                self.message_timeout_ms,
                "produce_wait_ms",
                self.produce_wait_ms,
                "else a caller is told that a record was not delivered while it still may be",
            ),
            (
                "session_timeout_ms",
                self.session_timeout_ms,
                "max_poll_interval_ms",
                self.max_poll_interval_ms,
                "else a consumer that polls in time is thrown out of its group all the same",
            ),
            (
                "drain_ms",
                self.drain_ms,
                "max_poll_interval_ms",
                self.max_poll_interval_ms,
                "else a draining consumer loses its partitions before it has committed",
            ),
        ] {
            if small >= large {
                return refuse(format!("kafka.{smaller} ({small}) must be below kafka.{larger} ({large}): {else_}"));
            }
        }
        if self.dead_letter_max_run <= COMMITTED_AT_ONCE {
            return refuse(format!(
                "kafka.dead_letter_max_run ({}) must be above {COMMITTED_AT_ONCE}: so many dead letters in a row are \
                 committed one by one, and only more than that are a run",
                self.dead_letter_max_run
            ));
        }
        if !(1..=100).contains(&self.dead_letter_max_percent) {
            return refuse(format!(
                "kafka.dead_letter_max_percent ({}) must be from 1 to 100",
                self.dead_letter_max_percent
            ));
        }
        if self.fetch_wait_ms >= SOCKET_TIMEOUT_MS {
            return refuse(format!(
                "kafka.fetch_wait_ms ({}) must be below {SOCKET_TIMEOUT_MS}: else a quiet fetch looks like a broker that hangs",
                self.fetch_wait_ms
            ));
        }
        Ok(())
    }

    /// The full name of a topic in this deployment.
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}{}", self.topic_prefix, topic.name())
    }

    /// How long a caller waits for a delivery report.
    pub(crate) fn produce_wait(&self) -> Duration {
        Duration::from_millis(self.produce_wait_ms)
    }

    /// How long a drain may take.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// How long a try of a record may take.
    pub(crate) fn stall_after(&self) -> Duration {
        Duration::from_millis(self.stall_after_ms)
    }

    /// When there are too many dead letters.
    pub(crate) fn dead_letter_limits(&self) -> Limits {
        Limits { max_run: self.dead_letter_max_run, max_percent: self.dead_letter_max_percent }
    }

    /// How long after its last poll a loop may take its partitions for its own. The broker counts from the last
    /// heartbeat, which may be older than the last poll by the time between two of them.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms.saturating_sub(self.heartbeat_ms()))
    }

    fn heartbeat_ms(&self) -> u64 {
        (self.session_timeout_ms / 3).clamp(1, HEARTBEAT_MS)
    }

    /// What every client shares.
    fn client(&self, role: &str) -> Result<ClientConfig, BusError> {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", format!("porchlight-{role}"))
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS.to_string())
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            // How soon a topic that was missing is found.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("log.connection.close", "false");
        security::apply(self, &mut config)?;
        Ok(config)
    }

    /// A client for the administration of topics.
    pub(crate) fn admin_client(&self) -> Result<ClientConfig, BusError> {
        self.client("admin")
    }

    /// The producer: a record that is reported as delivered stands on all replicas in sync, once, in order of sending.
    pub(crate) fn producer_client(&self) -> Result<ClientConfig, BusError> {
        let mut config = self.client("producer")?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", self.message_timeout_ms.to_string())
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("batch.size", BATCH_BYTES.to_string())
            .set("message.max.bytes", Topic::DeadLetters.max_batch_bytes().to_string())
            .set("queue.buffering.max.messages", PRODUCER_QUEUE_RECORDS.to_string())
            .set("queue.buffering.max.kbytes", PRODUCER_QUEUE_KBYTES.to_string());
        Ok(config)
    }

    /// What consumers in a group and readers without one share.
    fn fetching_client(&self, role: &str, group: String) -> Result<ClientConfig, BusError> {
        let mut config = self.client(role)?;
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", self.fetch_wait_ms.to_string())
            .set("fetch.max.bytes", "8388608")
            .set("fetch.queue.backoff.ms", "100")
            // What is prefetched comes on top of what is in hand: about as much again, never more than 64 MiB.
            .set("queued.min.messages", self.max_in_flight_records.clamp(1, 100_000).to_string())
            .set("queued.max.messages.kbytes", (self.max_in_flight_bytes / 1024).clamp(1024, 65_536).to_string());
        Ok(config)
    }

    /// A member of the group of `stage`.
    pub(crate) fn group_client(&self, stage: &str) -> Result<ClientConfig, BusError> {
        let mut config = self.fetching_client(stage, self.group_name(stage))?;
        config.set("max.poll.interval.ms", self.max_poll_interval_ms.to_string());
        match self.group_protocol {
            GroupProtocol::Classic => config
                .set("session.timeout.ms", self.session_timeout_ms.to_string())
                .set("heartbeat.interval.ms", self.heartbeat_ms().to_string())
                .set("partition.assignment.strategy", "cooperative-sticky"),
            // These three belong to the broker then, and the client refuses them.
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        Ok(config)
    }

    /// A reader of assigned partitions. The client wants a group's name for that, though nothing joins or commits.
    pub(crate) fn reader_client(&self) -> Result<ClientConfig, BusError> {
        let mut config = self.fetching_client("reader", self.group_name("reader"))?;
        config.set("enable.partition.eof", "true");
        Ok(config)
    }

    /// A client that asks about the group of a stage, and neither joins it nor commits.
    pub(crate) fn question_client(&self, stage: &str) -> Result<ClientConfig, BusError> {
        self.fetching_client("question", self.group_name(stage))
    }

    /// The full name of a stage's group.
    pub(crate) fn group_name(&self, stage: &str) -> String {
        format!("{}{stage}", self.group_prefix)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn valid() -> KafkaConfig {
        KafkaConfig {
            bootstrap_servers: "127.0.0.1:1".into(),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: SaslMechanism::ScramSha512,
            username: String::new(),
            password: Secret::default(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            topic_prefix: "t-".into(),
            group_prefix: "g-".into(),
            message_timeout_ms: 4000,
            produce_wait_ms: 5000,
            group_protocol: GroupProtocol::Classic,
            session_timeout_ms: 6000,
            max_poll_interval_ms: 60_000,
            drain_ms: 5000,
            fetch_wait_ms: 50,
            max_in_flight_records: 1000,
            max_in_flight_bytes: 1 << 20,
            max_concurrent_keys: 8,
            stall_after_ms: 60_000,
            dead_letter_max_run: 100,
            dead_letter_max_percent: 50,
        }
    }

    fn refused(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = valid();
        change(&mut config);
        match config.check() {
            Err(BusError::Config(sentence)) => sentence,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn each_dangerous_pair_is_refused_with_a_sentence_that_names_it() {
        valid().check().expect("valid");
        assert!(refused(|c| c.message_timeout_ms = c.produce_wait_ms).contains("message_timeout_ms (5000)"));
        assert!(refused(|c| c.drain_ms = c.max_poll_interval_ms).contains("drain_ms"));
        assert!(refused(|c| c.session_timeout_ms = 70_000).contains("session_timeout_ms"));
        assert!(refused(|c| c.fetch_wait_ms = 10_000).contains("fetch_wait_ms"));
        assert!(refused(|c| c.max_in_flight_records = 0).contains("max_in_flight_records is 0"));
        assert!(refused(|c| c.max_in_flight_bytes = 0).contains("max_in_flight_bytes is 0"));
        assert!(refused(|c| c.max_concurrent_keys = 0).contains("max_concurrent_keys is 0"));
        assert!(refused(|c| c.stall_after_ms = 0).contains("stall_after_ms is 0"));
        assert!(refused(|c| c.dead_letter_max_run = 10).contains("dead_letter_max_run (10)"));
        assert!(refused(|c| c.dead_letter_max_percent = 0).contains("dead_letter_max_percent (0)"));
        assert!(refused(|c| c.dead_letter_max_percent = 101).contains("dead_letter_max_percent (101)"));
        assert!(refused(|c| c.bootstrap_servers = " ".into()).contains("bootstrap_servers"));
        assert!(refused(|c| c.topic_prefix = "a/b".into()).contains("topic_prefix"));
    }

    #[test]
    fn the_client_accepts_every_option() {
        let config = valid();
        for client in
            [config.admin_client(), config.producer_client(), config.group_client("stage"), config.reader_client()]
        {
            client.expect("no files").create_native_config().expect("known options");
        }
    }

    #[test]
    fn what_the_broker_holds_under_the_protocol_consumer_is_not_set() {
        use rdkafka::consumer::BaseConsumer;
        let belongs_to_the_broker = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];
        let of = |group_protocol| KafkaConfig { group_protocol, ..valid() }.group_client("stage").expect("no files");
        let (classic, consumer) = (of(GroupProtocol::Classic), of(GroupProtocol::Consumer));
        classic.create::<BaseConsumer>().expect("a client");
        consumer.create::<BaseConsumer>().expect("a client");
        assert_eq!(consumer.get("group.protocol"), Some("consumer"));
        for option in belongs_to_the_broker {
            let value = classic.get(option).expect("set");
            assert_eq!(consumer.get(option), None);
            let with = consumer.clone().set(option, value).create::<BaseConsumer>();
            assert!(with.is_err(), "the client refuses {option}, so it is no accident that it is not set");
        }
    }

    /// A broker that got its last heartbeat just before the last poll ends the session no sooner than the lease.
    #[test]
    fn a_lease_ends_before_the_session_can() {
        for session_timeout_ms in [1, 2, 4000, 6000, 15_000, 45_000] {
            let config = KafkaConfig { session_timeout_ms, ..valid() };
            let heartbeat = Duration::from_millis(config.heartbeat_ms());
            assert!(config.lease() + heartbeat <= Duration::from_millis(session_timeout_ms));
            let client = config.group_client("stage").expect("no files");
            let set = client.get("heartbeat.interval.ms").map(str::to_owned);
            assert_eq!(set, Some(heartbeat.as_millis().to_string()));
        }
    }

    #[test]
    fn g2_a_delivery_report_means_all_replicas_and_a_commit_is_never_automatic() {
        let producer = valid().producer_client().expect("no files");
        let group = valid().group_client("stage").expect("no files");
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        assert_eq!(group.get("enable.auto.commit"), Some("false"));
        assert_eq!(group.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(group.get("auto.offset.reset"), Some("earliest"));
    }
}
