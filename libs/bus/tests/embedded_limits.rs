//! What the embedded broker cannot do, and that it says so: `libs/standins/src/broker/limits.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use porchlight_bus::{BusError, GroupProtocol, KafkaConfig, Outcome, Topic};
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _},
};
use support::{Deployment, Running, eventually, send};

/// However a client packs its records, they are kept as they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_read_again_however_they_are_packed() {
    let deployment = Deployment::make(1).await;
    let topic = deployment.config.topic_name(Topic::Events);
    let value = "a value that is worth compressing ".repeat(20);
    for codec in ["none", "gzip", "lz4", "zstd", "snappy"] {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &deployment.config.bootstrap_servers)
            .set("compression.type", codec)
            .set("message.timeout.ms", "5000")
            .create()
            .unwrap();
        let record = FutureRecord::to(&topic).key("a").payload(&value);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    let all = read(&deployment).await;
    assert_eq!(all, vec![value; 5]);
    deployment.drop().await;
}

async fn read(deployment: &Deployment) -> Vec<String> {
    let from = porchlight_bus::From::Beginning;
    let mut reader = porchlight_bus::Reader::open(&deployment.config, Topic::Events, from).await.unwrap();
    let mut all = Vec::new();
    while let Some(record) = reader.next_existing().await.unwrap() {
        all.push(support::text(&record));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_fails_before_anything_is_written() {
    let deployment = Deployment::make(1).await;
    let config = deployment.config.clone();
    let failed = tokio::task::spawn_blocking(move || -> Result<(), KafkaError> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("transactional.id", &config.topic_prefix)
            .create()?;
        producer.init_transactions(Duration::from_secs(5))?;
        producer.begin_transaction()?;
        let topic = config.topic_name(Topic::Events);
        producer.send(BaseRecord::to(&topic).key("a").payload("a")).map_err(|(error, _)| error)?;
        producer.commit_transaction(Duration::from_secs(5))
    });
    assert!(failed.await.unwrap().is_err());
    assert_eq!(read(&deployment).await, Vec::<String>::new());
    deployment.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_the_newer_protocol_gets_no_partitions() {
    let deployment = Deployment::make(1).await;
    let config = KafkaConfig { group_protocol: GroupProtocol::Consumer, ..deployment.config.clone() };
    send(&deployment.producer, Topic::Events, "a", "a").await;
    let running = Running::start(&config, &[Topic::Events], |_| async { Outcome::Done }.boxed());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(support::committed(&config, Topic::Events, 1).await, 0);
    let ended: Result<(), BusError> = running.stop().await;
    drop(ended);
    deployment.drop().await;
}

/// A fetch that slept for what is left of its wait would let a record wait for up to 2 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_does_not_wait_for_the_end_of_a_fetch() {
    let deployment = Deployment::make(2).await;
    let config = KafkaConfig { fetch_wait_ms: 2000, ..deployment.config.clone() };
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let running = Running::start(&config, &[Topic::Events], move |_| {
        tell.send(Instant::now()).unwrap();
        async { Outcome::Done }.boxed()
    });
    eventually("it has its partitions", async || running.status.ready().is_ok()).await;
    let mut waited = Vec::new();
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let sent = Instant::now();
        send(&deployment.producer, Topic::Events, &format!("key {n}"), "a").await;
        waited.push(told.recv().await.unwrap() - sent);
    }
    waited.sort_unstable();
    assert!(waited[10] < Duration::from_millis(700), "{waited:?}");
    running.stop().await.unwrap();
    deployment.drop().await;
}

/// The largest record that the bus sends, though a client asks for less at once, and what comes behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_larger_than_a_fetch_is_given_all_the_same() {
    let deployment = Deployment::make(1).await;
    let large = "x".repeat(900_000);
    for n in 0..8 {
        send(&deployment.producer, Topic::Events, "a", &format!("{n}{large}")).await;
    }
    send(&deployment.producer, Topic::DeadLetters, "a", &"y".repeat(1_400_000)).await;
    let all = read(&deployment).await;
    assert_eq!(all.iter().map(|value| &value[..1]).collect::<String>(), "01234567");
    let from = porchlight_bus::From::Beginning;
    let mut reader = porchlight_bus::Reader::open(&deployment.config, Topic::DeadLetters, from).await.unwrap();
    assert_eq!(reader.next_existing().await.unwrap().unwrap().value.len(), 1_400_000);
    deployment.drop().await;
}
