//! Tables against brokers inside the client library: what takes two clusters.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use porchlight_bus::{KafkaConfig, Lookup, Producer, Table, TableConfig, Topic};
use porchlight_domain::Device;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use support::{config, device, eventually, publish};
use tokio_util::sync::CancellationToken;

/// A cluster with a topic of devices that holds these, and how many records one reads of it with that folder.
async fn cluster(
    config: &KafkaConfig,
    devices: &[Device],
) -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    let config = KafkaConfig { bootstrap_servers: cluster.bootstrap_servers(), ..config.clone() };
    cluster.create_topic(&config.topic_name(Topic::Devices), 1, 1).unwrap();
    let producer = Producer::new(&config).unwrap();
    for device in devices {
        publish(&producer, device).await;
    }
    (cluster, config)
}

async fn opened(config: &KafkaConfig, dir: &std::path::Path) -> (Table<Device>, u64) {
    let shutdown = CancellationToken::new();
    let kept = TableConfig { max_age: Duration::from_secs(3), snapshot_dir: dir.to_owned() };
    let (table, run) = Table::<Device>::start(config, kept, |_| {}, shutdown.clone()).unwrap();
    let run = tokio::spawn(run);
    eventually("ready", async || table.ready().is_ok()).await;
    let seen = (table.clone(), table.records_read());
    shutdown.cancel();
    run.await.unwrap().unwrap();
    seen
}

/// The same topic, as long as the other one: a deployment whose brokers were exchanged for others.
#[tokio::test]
async fn a_snapshot_of_another_cluster_is_not_used() {
    let (own, dir) = (config(""), tempfile::tempdir().unwrap());
    let (_first, first) = cluster(&own, &[device(1, 7), device(2, 1)]).await;
    let (_second, second) = cluster(&own, &[device(3, 1), device(2, 1)]).await;
    assert_eq!(opened(&first, dir.path()).await.1, 2);
    assert_eq!(opened(&first, dir.path()).await.1, 1, "its own snapshot is used");
    let (table, read) = opened(&second, dir.path()).await;
    assert_eq!((read, table.len()), (2, 2));
    assert!(matches!(table.get(&device(1, 0).id), Lookup::Absent));
    assert!(matches!(table.get(&device(3, 0).id), Lookup::Found(_)));
}
