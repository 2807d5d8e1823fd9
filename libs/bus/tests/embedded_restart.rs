//! The embedded broker stopped and started again, and what it keeps and forgets.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use porchlight_bus::{From, KafkaConfig, Lookup, Producer, Reader, Table, Topic, apply_topics};
use porchlight_domain::Device;
use porchlight_standins::broker::{EmbeddedBroker, limits};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};
use support::{Notes, PATIENCE, Running, committed, config, device, done, eventually, publish, send, text};
use tokio_util::sync::CancellationToken;

async fn start(folder: &Path, port: u16) -> EmbeddedBroker {
    EmbeddedBroker::start(folder, port).await.unwrap()
}

fn port(broker: &EmbeddedBroker) -> u16 {
    broker.bootstrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A client's answer, asked where blocking is allowed.
async fn ask<T: Send + 'static>(bootstrap: &str, question: impl FnOnce(&BaseConsumer) -> T + Send + 'static) -> T {
    let servers = bootstrap.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "question").create().unwrap();
        question(&client)
    });
    asked.await.unwrap()
}

async fn cluster_id(bootstrap: &str) -> Option<String> {
    ask(bootstrap, |client| client.client().fetch_cluster_id(PATIENCE)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_offsets_of_groups_and_the_cluster_survive_a_restart_under_running_clients() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), 0).await;
    let (port, cluster) = (port(&broker), cluster_id(broker.bootstrap()).await);
    assert!(cluster.is_some());
    let config = config(broker.bootstrap());
    apply_topics(&config, limits::PARTITIONS, 1).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    for n in 0..20 {
        send(&producer, Topic::Events, &format!("key {}", n % 4), &n.to_string()).await;
    }
    let notes = Notes::default();
    let consumer = || {
        let notes = notes.clone();
        Running::start(&config, &[Topic::Events], move |record| {
            notes.add(text(&record));
            done()
        })
    };
    let running = consumer();
    eventually("committed", async || committed(&config, Topic::Events, 2).await == 20).await;
    running.stop().await.unwrap();

    broker.stop().await;
    let broker = start(dir.path(), port).await;
    assert_eq!(cluster_id(broker.bootstrap()).await, cluster);
    assert_eq!(committed(&config, Topic::Events, 2).await, 20);
    let again = apply_topics(&config, limits::PARTITIONS, 1).await.unwrap();
    assert!(again.iter().all(|report| !report.created && report.drift.is_empty()), "{again:?}");
    let running = consumer();
    send(&producer, Topic::Events, "key 1", "20").await;
    eventually("it goes on where it was", async || notes.has("20")).await;

    // Once more, under a consumer that runs and a producer that was in use.
    broker.stop().await;
    let _broker = start(dir.path(), port).await;
    send(&producer, Topic::Events, "key 1", "21").await;
    eventually("it goes on", async || committed(&config, Topic::Events, 2).await == 22).await;
    running.stop().await.unwrap();
    let mut all = notes.all();
    all.sort_unstable_by_key(|n| n.parse::<u64>().unwrap());
    assert_eq!(all[..20], (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "what was committed comes once");
    // The members of a group are not known to the new broker: what they have not committed comes again.
    all.dedup();
    assert_eq!(all[20..], ["20", "21"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_confirmed_within_three_seconds_and_knows_when_the_broker_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), 0).await;
    let port = port(&broker);
    let config = KafkaConfig { fetch_wait_ms: limits::FETCH_WAIT_MS, ..config(broker.bootstrap()) };
    apply_topics(&config, limits::PARTITIONS, 1).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    for n in 0..100 {
        publish(&producer, &device(n, 1)).await;
    }
    let shutdown = CancellationToken::new();
    let (table, run) = Table::<Device>::start(&config, Duration::from_secs(3), |_| {}, shutdown.clone()).unwrap();
    let run = tokio::spawn(run);
    eventually("ready", async || table.ready().is_ok()).await;
    assert_eq!(table.len(), 100);
    // It stays so without any news: it asks, and is answered in time.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        assert!(table.ready().is_ok(), "{:?}", table.ready());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let version = |n| match table.get(&device(n, 0).id) {
        Lookup::Found(device) => Some(device.version.0),
        Lookup::Absent | Lookup::Stale => None,
    };
    publish(&producer, &device(1, 2)).await;
    eventually("it follows", async || version(1) == Some(2)).await;
    broker.stop().await;
    eventually("it says so", async || matches!(table.get(&device(1, 0).id), Lookup::Stale)).await;
    let _broker = start(dir.path(), port).await;
    publish(&producer, &device(1, 3)).await;
    eventually("it is back", async || version(1) == Some(3)).await;
    shutdown.cancel();
    run.await.unwrap().unwrap();
}

/// Makes one topic with these settings beside those of the contract.
async fn make_topic(bootstrap: &str, name: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let new = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// Low and high watermark, and what is read from the beginning.
async fn read(config: &KafkaConfig, topic: Topic) -> ((i64, i64), Vec<(i64, String)>) {
    let name = config.topic_name(topic);
    let edges = ask(&config.bootstrap_servers, move |client| client.fetch_watermarks(&name, 0, PATIENCE).unwrap());
    let edges = edges.await;
    let mut reader = Reader::open(config, topic, From::Beginning).await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next_existing().await.unwrap() {
        records.push((record.offset, text(&record)));
    }
    (edges, records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_its_retention_goes_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), 0).await;
    let port = port(&broker);
    let config = config(broker.bootstrap());
    let settings = [("cleanup.policy", "delete"), ("retention.ms", "1500")];
    make_topic(broker.bootstrap(), &config.topic_name(Topic::Events), &settings).await;
    let producer = Producer::new(&config).unwrap();
    for n in 0..50 {
        send(&producer, Topic::Events, "a", &n.to_string()).await;
    }
    assert_eq!(read(&config, Topic::Events).await.1.len(), 50);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A start tidies up. All is gone: an end that fell back to 0 would hide what comes from whoever was at 50.
    broker.stop().await;
    let broker = start(dir.path(), port).await;
    eventually("it tidies up", async || read(&config, Topic::Events).await == ((50, 50), vec![])).await;
    send(&producer, Topic::Events, "a", "50").await;
    send(&producer, Topic::Events, "a", "51").await;
    assert_eq!(read(&config, Topic::Events).await, ((50, 52), vec![(50, "50".into()), (51, "51".into())]));
    // Whoever comes with an offset of before goes on at what there is, once.
    let name = config.topic_name(Topic::Events);
    let found = ask(broker.bootstrap(), move |client| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, 0, Offset::Offset(7)).unwrap();
        client.assign(&list).unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        let mut found = Vec::new();
        while Instant::now() < until {
            if let Some(message) = client.poll(Duration::from_millis(100)) {
                found.push(rdkafka::Message::offset(&message.unwrap()));
            }
        }
        found
    });
    assert_eq!(found.await, [50, 51]);
}

/// Older records of a key leave holes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_keeps_the_newest_of_each_key_and_gives_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), 0).await;
    let port = port(&broker);
    let config = config(broker.bootstrap());
    make_topic(broker.bootstrap(), &config.topic_name(Topic::Events), &[("cleanup.policy", "compact")]).await;
    let producer = Producer::new(&config).unwrap();
    let sends = (0..1000).map(|n| {
        let producer = producer.clone();
        async move { send(&producer, Topic::Events, &format!("key {}", n % 10), &n.to_string()).await }
    });
    futures::future::join_all(sends).await;
    for n in 0..10 {
        send(&producer, Topic::Events, &format!("key {n}"), &format!("last {n}")).await;
    }
    broker.stop().await;
    let broker = start(dir.path(), port).await;
    let last: Vec<_> = (0..10).map(|n| (1000 + n, format!("last {n}"))).collect();
    eventually("it tidies up", async || read(&config, Topic::Events).await == ((1000, 1010), last.clone())).await;
    // A hole in the midst.
    for n in 0..10 {
        send(&producer, Topic::Events, "key 3", &format!("{n} more")).await;
    }
    broker.stop().await;
    let _broker = start(dir.path(), port).await;
    let mut now: BTreeMap<i64, String> = last.into_iter().filter(|(offset, _)| *offset != 1003).collect();
    now.insert(1019, "9 more".into());
    let now: Vec<_> = now.into_iter().collect();
    eventually("it tidies up again", async || read(&config, Topic::Events).await == ((1000, 1020), now.clone())).await;
}

/// What a killed process or a careless hand may do to a broker: its port and its folder are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_share_neither_a_folder_nor_a_port() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = start(dir.path(), 0).await;
    let refused = EmbeddedBroker::start(dir.path(), 0).await.unwrap_err();
    assert!(refused.contains("is in use"), "{refused}");
    let refused = EmbeddedBroker::start(other.path(), port(&broker)).await.unwrap_err();
    assert!(refused.contains("cannot be listened on"), "{refused}");
}
