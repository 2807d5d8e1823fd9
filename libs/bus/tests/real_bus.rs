//! Topics and readers against a real Kafka.
#![allow(clippy::unwrap_used)]

mod support;

use porchlight_bus::{BusError, From, KafkaConfig, Reader, Topic, apply_topics, drop_topics};
use support::{Deployment, PATIENCE, send, text};

#[tokio::test]
async fn applying_the_topics_twice_changes_nothing_and_drift_is_reported() {
    let deployment = Deployment::make(4).await;
    let again = apply_topics(&deployment.config, 4, 1).await.unwrap();
    assert_eq!(again.len(), Topic::ALL.len());
    assert!(again.iter().all(|report| !report.created && report.drift.is_empty()), "{again:?}");
    let other = apply_topics(&deployment.config, 8, 1).await.unwrap();
    let events = other.iter().find(|report| report.topic == Topic::Events).unwrap();
    assert_eq!((events.partitions, events.drift.as_slice()), (4, ["it has 4 partitions, not 8".to_owned()].as_slice()));
    deployment.drop().await;
}

#[tokio::test]
async fn topics_applied_at_once_by_two_are_made_once() {
    let deployment = Deployment::make(1).await;
    drop_topics(&deployment.config).await.unwrap();
    let (one, two) = tokio::join!(apply_topics(&deployment.config, 2, 1), apply_topics(&deployment.config, 2, 1));
    let (one, two) = (one.unwrap(), two.unwrap());
    for (one, two) in one.iter().zip(&two) {
        assert!(one.created != two.created, "exactly one made {}", one.name);
        assert!(one.drift.is_empty() && two.drift.is_empty());
    }
    deployment.drop().await;
}

#[tokio::test]
async fn a_reader_ends_at_what_existed_and_follows_what_comes() {
    let Deployment { config, producer } = Deployment::make(3).await;
    for n in 0..30 {
        send(&producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let mut tail = Reader::open(&config, Topic::Events, From::End).await.unwrap();
    assert!(tail.next_existing().await.unwrap().is_none());
    let mut reader = Reader::open(&config, Topic::Events, From::Beginning).await.unwrap();
    send(&producer, Topic::Events, "key 30", "30").await;
    let mut existing = Vec::new();
    while let Some(record) = reader.next_existing().await.unwrap() {
        existing.push(text(&record).parse::<i32>().unwrap());
    }
    existing.sort_unstable();
    assert_eq!(existing, (0..30).collect::<Vec<_>>());
    assert!(reader.next_existing().await.unwrap().is_none(), "it stays at its end");
    let next = async |reader: &mut Reader| tokio::time::timeout(PATIENCE, reader.next()).await.unwrap().unwrap();
    let followed = next(&mut reader).await;
    assert_eq!(text(&followed), "30");
    assert_eq!(text(&next(&mut tail).await), "30");

    let mut later = Reader::open(&config, Topic::Events, From::Time(followed.timestamp_ms)).await.unwrap();
    let existing = later.next_existing().await.unwrap().unwrap();
    assert!(existing.timestamp_ms >= followed.timestamp_ms);
    let mut future = Reader::open(&config, Topic::Events, From::Time(followed.timestamp_ms + 3_600_000)).await.unwrap();
    assert!(future.next_existing().await.unwrap().is_none());

    let missing = KafkaConfig { topic_prefix: "nothing-here-".into(), ..config.clone() };
    let missing = Reader::open(&missing, Topic::Events, From::Beginning).await;
    assert!(matches!(missing.err(), Some(BusError::Kafka(reason)) if reason.contains("does not exist")));
    Deployment { config, producer }.drop().await;
}
