//! The bus against a broker inside the client library: what needs brokers that fail on command.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use porchlight_bus::{KafkaConfig, Lookup, Outcome, ProduceError, Producer, Table, Topic};
use porchlight_domain::{Device, Version};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Notes, Running, cluster, committed, device, eventually, publish, send, text};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_producer_says_what_became_of_each_record() {
    let (cluster, config) = cluster(1);
    let config = KafkaConfig { message_timeout_ms: 3000, produce_wait_ms: 4000, ..config };
    let producer = Producer::new(&config).unwrap();
    let first = producer.send(Topic::Events, Some(b"k"), b"v", &[("h", b"1")]).await.unwrap();
    assert_eq!((first.partition, first.offset), (0, 0));
    producer.reachable(Duration::from_secs(5)).await.unwrap();

    let large = vec![0; 1_000_001];
    let refused = producer.send(Topic::Events, None, &large, &[]).await;
    assert!(matches!(refused, Err(ProduceError::Refused(_))), "{refused:?}");
    producer.send(Topic::DeadLetters, None, &large, &[]).await.expect("a dead letter may be larger");

    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    let away = producer.send(Topic::Events, Some(b"k"), b"v", &[]).await;
    assert!(matches!(away, Err(ProduceError::TimedOut | ProduceError::Unavailable(_))), "{away:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "within the wait");
    assert!(producer.reachable(Duration::from_millis(500)).await.is_err());

    cluster.broker_up(1).unwrap();
    eventually("delivers again", async || producer.send(Topic::Events, Some(b"k"), b"v", &[]).await.is_ok()).await;
    assert_eq!(producer.flush(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let (cluster, config) = cluster(1);
    cluster.broker_down(1).unwrap();
    let producer = Producer::new(&config).unwrap();
    // 64 MiB of queue, filled by hundreds of large records that nobody takes.
    let value = Arc::new(vec![0; 900_000]);
    let sends = (0..100).map(|_| {
        let (producer, value) = (producer.clone(), Arc::clone(&value));
        async move { producer.send(Topic::Events, None, &value, &[]).await }
    });
    let mut sends: Vec<_> = sends.map(Box::pin).collect();
    let begun = Instant::now();
    let full = sends.iter_mut().filter_map(|send| send.now_or_never()).collect::<Vec<_>>();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!full.is_empty(), "the queue is bounded");
    assert!(full.iter().all(|outcome| matches!(outcome, Err(ProduceError::QueueFull))), "{full:?}");
}

/// A broker that has lost the producer's sequence kills the client for good: the next one takes over.
#[tokio::test]
async fn a_producer_outlives_a_fatal_error_of_its_client() {
    let (cluster, config) = cluster(1);
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "k", "1").await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let failed = producer.send(Topic::Events, Some(b"k"), b"2", &[]).await;
    assert!(matches!(failed, Err(ProduceError::Unavailable(_))), "{failed:?}");
    send(&producer, Topic::Events, "k", "3").await;
}

/// G2: brokers away, the table says that it cannot tell instead of "no such device"; nothing is lost when they return.
#[tokio::test]
async fn g2_a_table_cut_off_from_its_brokers_is_stale_and_recovers() {
    let (cluster, config) = cluster(2);
    let producer = Producer::new(&config).unwrap();
    publish(&producer, &device(1, 1)).await;
    let shutdown = CancellationToken::new();
    let (table, run) = Table::<Device>::start(&config, Duration::from_secs(3), |_| {}, shutdown.clone()).unwrap();
    assert!(matches!(table.get(&device(1, 1).id), Lookup::Stale), "not loaded yet");
    let run = tokio::spawn(run);
    eventually("ready", async || table.ready().is_ok()).await;
    assert!(matches!(table.get(&device(1, 1).id), Lookup::Found(d) if d.version == Version(1)));
    assert!(matches!(table.get(&device(9, 1).id), Lookup::Absent));

    cluster.broker_down(1).unwrap();
    eventually("stale", async || table.ready().is_err()).await;
    eventually("found grows stale", async || matches!(table.get(&device(1, 1).id), Lookup::Stale)).await;
    eventually("absent grows stale", async || matches!(table.get(&device(9, 1).id), Lookup::Stale)).await;

    cluster.broker_up(1).unwrap();
    eventually("ready again", async || table.ready().is_ok()).await;
    publish(&producer, &device(1, 2)).await;
    eventually(
        "follows again",
        async || matches!(table.get(&device(1, 1).id), Lookup::Found(d) if d.version == Version(2)),
    )
    .await;
    shutdown.cancel();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_the_broker_refuses_is_sent_again() {
    let (cluster, config) = cluster(1);
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "1").await;
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 2],
    );
    let running = Running::start(&config, &[Topic::Events], |_| async { Outcome::Done }.boxed());
    eventually("the commit stands", async || committed(&config, Topic::Events, 1).await == 1).await;
    running.stop().await.unwrap();
}

/// The loop ends in time though nobody answers. The client itself may need a broker to end: as in a process of ours, it is
/// not waited for.
#[test]
fn a_consumer_without_brokers_waits_and_says_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(without_brokers());
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn without_brokers() {
    let (cluster, config) = cluster(1);
    cluster.broker_down(1).unwrap();
    let notes = Notes::default();
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(text(&record));
            async { Outcome::Done }.boxed()
        }
    });
    eventually("it says why", async || {
        running.status.ready().is_err_and(|reason| reason.starts_with("test: brokers do not answer: "))
    })
    .await;
    cluster.broker_up(1).unwrap();
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "1").await;
    eventually("it works on", async || notes.has("1") && running.status.ready().is_ok()).await;
    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    running.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(13), "the drain is bounded though nobody answers");
}
