//! TLS and SCRAM on a real Kafka, with certificates made here: what is right works, and each thing that is wrong is said.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{path::Path, path::PathBuf, time::Duration};

use porchlight_bus::{
    From, KafkaConfig, Producer, Reader, SaslMechanism, SecurityProtocol, Topic, Trouble, Unreachable, apply_topics,
    reach,
};
use porchlight_secrets::Secret;
use porchlight_standins::servers::secure::{Authority, KAFKA_USER, SecureKafka};

const PASSWORD: &str = "opens-nothing-but-this-loopback";
const WITHIN: Duration = Duration::from_secs(30);

/// A file in the test's own folder.
fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Settings for these brokers, with patience: they have just been started, and the machine may be busy.
fn config(bootstrap_servers: &str) -> KafkaConfig {
    KafkaConfig { message_timeout_ms: 60_000, produce_wait_ms: 61_000, ..support::config(bootstrap_servers) }
}

/// Writes a record and reads it again.
async fn works(config: &KafkaConfig) {
    let reports = apply_topics(config, 1, 1).await.unwrap();
    assert!(reports.iter().all(|report| report.drift.is_empty()), "{reports:?}");
    let producer = Producer::new(config).unwrap();
    producer.send(Topic::Events, Some(b"key"), b"value", &[]).await.unwrap();
    let mut reader = Reader::open(config, Topic::Events, From::Beginning).await.unwrap();
    let record = reader.next_existing().await.unwrap().unwrap();
    assert_eq!(record.value, b"value");
    assert_eq!(reach(config, WITHIN).await.unwrap(), 1);
}

/// How it is said that this cannot work.
async fn told(config: KafkaConfig) -> Unreachable {
    let told = reach(&config, WITHIN).await.unwrap_err();
    assert!(!told.to_string().contains(PASSWORD) && !told.to_string().contains("another-word"), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_with_tls_and_scram_takes_who_is_right_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("a stranger").unwrap());
    let kafka = tokio::task::block_in_place(|| SecureKafka::up(&dir.path().join("kafka"), &authority, PASSWORD));
    let kafka = kafka.unwrap();
    let ca_file = write(dir.path(), "ca.pem", authority.certificate());
    let right = KafkaConfig {
        security_protocol: SecurityProtocol::SaslSsl,
        username: KAFKA_USER.into(),
        password: Secret::new(PASSWORD),
        ca_file: ca_file.clone(),
        ..config(&kafka.sasl_ssl())
    };

    works(&right).await;
    let by_file = KafkaConfig {
        sasl_mechanism: SaslMechanism::ScramSha256,
        password: Secret::default(),
        password_file: write(dir.path(), "password", &format!("{PASSWORD}\n")),
        ..right.clone()
    };
    works(&KafkaConfig { topic_prefix: "by-file-".into(), ..by_file }).await;
    authority.sign("porchlight", &[]).unwrap().write(dir.path(), "client").unwrap();
    let by_certificate = KafkaConfig {
        security_protocol: SecurityProtocol::Ssl,
        ca_file,
        cert_file: dir.path().join("client.pem"),
        key_file: dir.path().join("client.key"),
        topic_prefix: "by-certificate-".into(),
        ..config(&kafka.ssl())
    };
    works(&by_certificate).await;

    let wrong = told(KafkaConfig { password: Secret::new("another-word"), ..right.clone() }).await;
    assert_eq!(wrong.trouble, Some(Trouble::Password), "{wrong}");
    assert!(wrong.sentence.contains("kafka.username"), "{wrong}");

    let strangers = write(dir.path(), "stranger.pem", stranger.certificate());
    let wrong = told(KafkaConfig { ca_file: strangers, ..right.clone() }).await;
    assert_eq!(wrong.trouble, Some(Trouble::Tls), "{wrong}");
    assert!(wrong.sentence.contains("no authority of kafka.ca_file"), "{wrong}");

    // The certificate holds the address, and another name than this.
    let by_name = right.bootstrap_servers.replace("127.0.0.1", "localhost");
    let wrong = told(KafkaConfig { bootstrap_servers: by_name, ..right.clone() }).await;
    assert_eq!(wrong.trouble, Some(Trouble::Tls), "{wrong}");
    assert!(wrong.sentence.contains("does not hold localhost"), "{wrong}");

    let wrong = told(config(&kafka.sasl_ssl())).await;
    assert_eq!(wrong.trouble, Some(Trouble::Connection), "{wrong}");
    assert!(wrong.sentence.contains("speaks TLS there"), "{wrong}");

    let wrong = told(KafkaConfig { bootstrap_servers: kafka.plaintext(), ..right.clone() }).await;
    assert!(wrong.sentence.contains("no TLS"), "{wrong}");

    let bare = KafkaConfig { cert_file: PathBuf::new(), key_file: PathBuf::new(), ..by_certificate };
    let wrong = told(bare).await;
    assert!(wrong.sentence.contains("kafka.cert_file"), "{wrong}");
}
