//! Tables against a real Kafka.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use porchlight_bus::{From, Lookup, Reader, Table, Topic};
use porchlight_domain::{Device, Version};
use support::{Deployment, PATIENCE, device, eventually, is_embedded, publish};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_table_loads_follows_ignores_lower_versions_and_forgets_at_a_tombstone() {
    let deployment = Deployment::make(8).await;
    let producer = &deployment.producer;
    for n in 1..=20 {
        publish(producer, &device(n, 1)).await;
    }
    publish(producer, &device(1, 3)).await;
    producer.send(Topic::Devices, Some(device(2, 1).id.0.as_bytes()), b"\xff\xff", &[]).await.unwrap();
    producer.send(Topic::Devices, Some(b"no id"), b"", &[]).await.unwrap();

    type Changes = Vec<Vec<(u128, u64)>>;
    let changes: Arc<Mutex<Changes>> = Arc::default();
    let shutdown = CancellationToken::new();
    let on_change = {
        let changes = Arc::clone(&changes);
        move |entries: &[Arc<Device>]| {
            changes.lock().unwrap().push(entries.iter().map(|d| (d.id.0.as_u128(), d.version.0)).collect());
        }
    };
    let (table, run) =
        Table::<Device>::start(&deployment.config, Duration::from_secs(3), on_change, shutdown.clone()).unwrap();
    let run = tokio::spawn(run);
    eventually("ready", async || table.ready().is_ok()).await;
    assert_eq!(table.len(), 20);
    assert!(matches!(table.get(&device(1, 0).id), Lookup::Found(d) if d.version == Version(3)));
    assert!(matches!(table.get(&device(99, 0).id), Lookup::Absent));
    let loaded = changes.lock().unwrap().clone();
    assert_eq!((loaded.len(), loaded[0].len()), (1, 20), "once, with all entries");

    // One key's records keep their order, so the last of these proves that the first was met.
    publish(producer, &device(1, 2)).await;
    publish(producer, &device(1, 4)).await;
    let version = |n| match table.get(&device(n, 0).id) {
        Lookup::Found(device) => Some(device.version.0),
        Lookup::Absent | Lookup::Stale => None,
    };
    eventually("follows", async || version(1) == Some(4)).await;
    assert_eq!(changes.lock().unwrap()[1..], [vec![(1, 4)]], "the lower version changed nothing");

    producer.send(Topic::Devices, Some(device(5, 0).id.0.as_bytes()), b"", &[]).await.unwrap();
    eventually("forgets", async || matches!(table.get(&device(5, 0).id), Lookup::Absent)).await;
    assert_eq!(table.len(), 19);
    shutdown.cancel();
    run.await.unwrap().unwrap();
    deployment.drop().await;
}

/// The tail of a compacted topic may be gone (here: a transaction's marker, which is an offset without a record): what is
/// read to the end is still known to be.
#[tokio::test]
async fn an_end_without_a_record_is_reached_all_the_same() {
    use rdkafka::{
        ClientConfig,
        producer::{BaseProducer, BaseRecord, Producer as _},
    };
    if is_embedded() {
        return; // It has no transactions.
    }
    let deployment = Deployment::make(1).await;
    let config = deployment.config.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("transactional.id", &config.topic_prefix)
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let (topic, device) = (config.topic_name(Topic::Devices), device(1, 1));
        let value = porchlight_wire::Wire::encode(&device);
        let record = BaseRecord::to(&topic).key(device.id.0.as_bytes().as_slice()).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.commit_transaction(PATIENCE).unwrap();
    })
    .await
    .unwrap();
    // A commit is answered once it is decided; the marker that shows it to readers is written soon after.
    let open = async || Reader::open(&deployment.config, Topic::Devices, From::Beginning).await.unwrap();
    eventually("the commit shows", async || open().await.next_existing().await.unwrap().is_some()).await;
    let mut reader = open().await;
    assert!(reader.next_existing().await.unwrap().is_some());
    let end = tokio::time::timeout(PATIENCE, reader.next_existing()).await.expect("an end");
    assert!(end.unwrap().is_none());

    let shutdown = CancellationToken::new();
    let (table, run) =
        Table::<Device>::start(&deployment.config, Duration::from_secs(3), |_| {}, shutdown.clone()).unwrap();
    let run = tokio::spawn(run);
    eventually("ready", async || table.ready().is_ok()).await;
    shutdown.cancel();
    run.await.unwrap().unwrap();
    deployment.drop().await;
}
