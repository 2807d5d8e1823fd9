//! The bus against a real Kafka.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt as _;
use porchlight_bus::{
    BusError, DeadLetter, From, KafkaConfig, Lookup, Outcome, Producer, Reader, Record, Table, Topic, apply_topics,
    drop_topics,
};
use porchlight_domain::{Device, Version};
use prost::Message as _;
use support::{Notes, PATIENCE, Running, committed, config, device, eventually, publish, send, text};
use tokio::sync::{Barrier, watch};
use tokio_util::sync::CancellationToken;

/// Topics of this test's own, dropped at its end.
struct Deployment {
    config: KafkaConfig,
    producer: Producer,
}

impl Deployment {
    async fn make(partitions: i32) -> Self {
        let file = std::env::var("PORCHLIGHT_TEST_SERVERS")
            .expect("run make test, or make up and set PORCHLIGHT_TEST_SERVERS");
        let servers: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let config = config(servers["kafka"].as_str().unwrap());
        apply_topics(&config, partitions, 1).await.unwrap();
        let producer = Producer::new(&config).unwrap();
        Self { config, producer }
    }

    async fn drop(self) {
        drop_topics(&self.config).await.unwrap();
    }
}

fn done() -> futures::future::BoxFuture<'static, Outcome> {
    async { Outcome::Done }.boxed()
}

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

#[tokio::test]
async fn one_key_is_handled_in_order_and_two_keys_side_by_side() {
    let deployment = Deployment::make(1).await;
    for value in ["a1", "b1", "a2", "b2"] {
        send(&deployment.producer, Topic::Events, &value[..1], value).await;
    }
    let (notes, both) = (Notes::default(), Arc::new(Barrier::new(2)));
    let running = Running::start(&deployment.config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            let (notes, both) = (notes.clone(), Arc::clone(&both));
            async move {
                let value = text(&record);
                notes.add(format!("{value} begins"));
                // The first of each key waits for the first of the other: in turn, neither would ever end.
                if value.ends_with('1') {
                    both.wait().await;
                }
                notes.add(format!("{value} ends"));
                Outcome::Done
            }
            .boxed()
        }
    });
    eventually("all end", async || notes.has("a2 ends") && notes.has("b2 ends")).await;
    for key in ["a", "b"] {
        let order =
            [format!("{key}1 begins"), format!("{key}1 ends"), format!("{key}2 begins"), format!("{key}2 ends")];
        assert!(order.iter().map(|note| notes.position(note)).is_sorted(), "{:?}", notes.all());
    }
    eventually("committed", async || committed(&deployment.config, Topic::Events, 1).await == 4).await;
    running.stop().await.unwrap();
    deployment.drop().await;
}

#[tokio::test]
async fn g2_a_retry_holds_its_key_and_the_commit_and_skips_nothing() {
    let deployment = Deployment::make(1).await;
    for value in ["a1", "a2", "b1"] {
        send(&deployment.producer, Topic::Events, &value[..1], value).await;
    }
    let (open, gate) = watch::channel(false);
    let notes = Notes::default();
    let tries: Arc<Mutex<Vec<Arc<Record>>>> = Arc::default();
    let running = Running::start(&deployment.config, &[Topic::Events, Topic::Alerts], {
        let (notes, tries) = (notes.clone(), Arc::clone(&tries));
        move |record| {
            let value = text(&record);
            if value == "a1" {
                tries.lock().unwrap().push(Arc::clone(&record));
                if !*gate.borrow() {
                    let after = Duration::from_millis(20);
                    return async move { Outcome::Retry { after, reason: "the store is away".into() } }.boxed();
                }
            }
            if record.topic == Topic::Events {
                notes.add(value);
            }
            done()
        }
    });
    eventually("tried again and again", async || tries.lock().unwrap().len() > 5 && notes.has("b1")).await;
    assert!(!notes.has("a2"), "its key waits");
    // A commit of another topic goes out with all that are due, after b1 was done.
    send(&deployment.producer, Topic::Alerts, "c", "c1").await;
    eventually("a round of commits", async || committed(&deployment.config, Topic::Alerts, 1).await == 1).await;
    assert_eq!(committed(&deployment.config, Topic::Events, 1).await, 0, "nothing is committed beyond it");
    open.send(true).unwrap();
    eventually("committed", async || committed(&deployment.config, Topic::Events, 1).await == 3).await;
    assert_eq!(notes.all(), ["b1", "a1", "a2"]);
    let tries = std::mem::take(&mut *tries.lock().unwrap());
    assert!(tries.iter().all(|record| Arc::ptr_eq(record, &tries[0])), "the same record each time");
    running.stop().await.unwrap();
    deployment.drop().await;
}

#[tokio::test]
async fn a_fatal_record_becomes_a_dead_letter_with_its_origin_and_the_consumer_goes_on() {
    let deployment = Deployment::make(1).await;
    let headers: [(&str, &[u8]); 1] = [("trace", b"t1")];
    deployment.producer.send(Topic::Events, Some(b"a"), b"\xffpoison", &headers).await.unwrap();
    deployment.producer.send(Topic::Events, None, b"panic", &[]).await.unwrap();
    send(&deployment.producer, Topic::Events, "a", "good").await;
    let notes = Notes::default();
    let running = Running::start(&deployment.config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| match record.value.as_slice() {
            b"\xffpoison" => async { Outcome::Fatal { reason: "not an event".into() } }.boxed(),
            b"panic" => panic!("a handler that panics"),
            _ => {
                notes.add(text(&record));
                done()
            }
        }
    });
    eventually("goes on, and commits past it", async || committed(&deployment.config, Topic::Events, 1).await == 3)
        .await;
    assert_eq!(notes.all(), ["good"]);

    let mut letters = Reader::open(&deployment.config, Topic::DeadLetters, From::Beginning).await.unwrap();
    let mut found = Vec::new();
    while let Some(record) = letters.next_existing().await.unwrap() {
        found.push((DeadLetter::decode(record.value.as_slice()).unwrap(), record));
    }
    found.sort_by_key(|(letter, _)| letter.offset);
    let [(poison, record), (panicked, keyless)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(poison.topic, deployment.config.topic_name(Topic::Events));
    assert_eq!((poison.partition, poison.offset, poison.stage.as_str()), (0, 0, "test"));
    assert_eq!((poison.reason.as_str(), poison.value.as_slice()), ("not an event", b"\xffpoison".as_slice()));
    assert_eq!((poison.key.as_deref(), record.key.as_deref()), (Some(b"a".as_slice()), Some(b"a".as_slice())));
    assert_eq!((poison.headers[0].name.as_str(), poison.headers[0].value.as_slice()), ("trace", b"t1".as_slice()));
    assert!(poison.failed_at_ms >= record.timestamp_ms - 60_000);
    assert!(record.headers.contains(&("porchlight-stage".into(), b"test".to_vec())));
    let origin = format!("{}/0/0", poison.topic).into_bytes();
    assert!(record.headers.contains(&("porchlight-origin".into(), origin)));
    assert_eq!((panicked.reason.as_str(), panicked.offset), ("the handler panicked", 1));
    assert_eq!((panicked.key.as_deref(), keyless.key.as_deref()), (None, None), "keyless stays keyless");
    running.stop().await.unwrap();
    deployment.drop().await;
}

#[tokio::test]
async fn too_many_dead_letters_stop_the_consumer() {
    let deployment = Deployment::make(1).await;
    let values: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    futures::future::join_all(values.iter().map(|n| send(&deployment.producer, Topic::Events, n, n))).await;
    let running = Running::start(&deployment.config, &[Topic::Events], |_| {
        async { Outcome::Fatal { reason: "nothing is understood".into() } }.boxed()
    });
    let status = running.status.clone();
    let stopped = running.ended().await;
    assert!(matches!(stopped, Err(BusError::Stopped { ref stage, .. }) if stage == "test"), "{stopped:?}");
    assert!(status.ready().is_err());
    let committed = committed(&deployment.config, Topic::Events, 1).await;
    assert!((100..150).contains(&committed), "what was put aside is committed, the rest is not: {committed}");
    deployment.drop().await;
}

#[tokio::test]
async fn g2_a_restart_resumes_at_the_commit_and_a_drain_finishes_what_is_in_hand() {
    let deployment = Deployment::make(2).await;
    for n in 0..10 {
        send(&deployment.producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let (open, gate) = watch::channel(false);
    let notes = Notes::default();
    let handle = {
        let notes = notes.clone();
        move |record: Arc<Record>| {
            let (notes, mut gate) = (notes.clone(), gate.clone());
            async move {
                notes.add(format!("{} begins", text(&record)));
                gate.wait_for(|open| *open).await.unwrap();
                notes.add(text(&record));
                Outcome::Done
            }
            .boxed()
        }
    };
    let config = KafkaConfig { max_concurrent_keys: 3, ..deployment.config.clone() };
    let running = Running::start(&config, &[Topic::Events], handle.clone());
    eventually("three in hand", async || notes.all().len() == 3).await;
    let status = running.status.clone();
    let (stopped, ()) = tokio::join!(running.stop(), async {
        eventually("it stops", async || status.ready().is_err_and(|reason| reason.contains("stopping"))).await;
        open.send(true).unwrap();
    });
    stopped.unwrap();
    let first: Vec<_> = notes.all().into_iter().filter(|note| !note.ends_with("begins")).collect();
    assert_eq!((first.len(), notes.all().len()), (3, 6), "those in hand, and no more");

    for n in 10..15 {
        send(&deployment.producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let running = Running::start(&config, &[Topic::Events], handle);
    eventually("all committed", async || committed(&config, Topic::Events, 2).await == 15).await;
    running.stop().await.unwrap();
    let mut all: Vec<i32> = notes.all().iter().filter_map(|note| note.parse().ok()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..15).collect::<Vec<_>>(), "nothing lost");
    deployment.drop().await;
}

/// Two members share the partitions; when the second comes and when the first goes, every record is handled, none twice,
/// though handlers are at work all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_partitions_change_hands_without_a_record_lost_or_handled_twice() {
    let deployment = Deployment::make(4).await;
    let config = deployment.config.clone();
    let handled: Arc<Mutex<HashMap<(i32, i64), u32>>> = Arc::default();
    let members = Notes::default();
    let member = |name: &'static str| {
        let (handled, members) = (Arc::clone(&handled), members.clone());
        Running::start(&config, &[Topic::Events], move |record| {
            let (handled, members) = (Arc::clone(&handled), members.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                *handled.lock().unwrap().entry((record.partition, record.offset)).or_default() += 1;
                members.add(name);
                Outcome::Done
            }
            .boxed()
        })
    };
    let first = member("first");
    let producer = deployment.producer.clone();
    let enough = CancellationToken::new();
    let produce = tokio::spawn({
        let enough = enough.clone();
        async move {
            let mut n = 0;
            while !enough.is_cancelled() {
                send(&producer, Topic::Events, &format!("key {}", n % 37), &n.to_string()).await;
                n += 1;
            }
            n
        }
    });
    eventually("the first handles", async || members.has("first")).await;
    let second = member("second");
    eventually("the second handles", async || members.has("second")).await;
    first.stop().await.unwrap();
    enough.cancel();
    let records = produce.await.unwrap();
    eventually("all are handled", async || handled.lock().unwrap().len() == records).await;
    eventually("the lag is gone", async || second.status.lag() == 0).await;
    second.status.ready().unwrap();
    second.stop().await.unwrap();
    assert_eq!(committed(&config, Topic::Events, 4).await, i64::try_from(records).unwrap());
    let twice: Vec<_> = handled.lock().unwrap().iter().filter(|(_, times)| **times > 1).map(|(at, _)| *at).collect();
    assert!(twice.is_empty(), "{twice:?}");
    deployment.drop().await;
}

#[tokio::test]
async fn a_consumer_takes_no_more_in_hand_than_its_budget() {
    let deployment = Deployment::make(1).await;
    for n in 0..200 {
        send(&deployment.producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let (open, gate) = watch::channel(false);
    let notes = Notes::default();
    let config = KafkaConfig { max_in_flight_records: 20, max_concurrent_keys: 500, ..deployment.config.clone() };
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            let (notes, mut gate) = (notes.clone(), gate.clone());
            async move {
                notes.add(text(&record));
                gate.wait_for(|open| *open).await.unwrap();
                Outcome::Done
            }
            .boxed()
        }
    });
    eventually("its share in hand", async || notes.all().len() >= 20).await;
    eventually("polling goes on", async || running.status.lag() == 200).await;
    assert_eq!(notes.all().len(), 20);
    open.send(true).unwrap();
    eventually("all committed", async || committed(&config, Topic::Events, 1).await == 200).await;
    assert_eq!(notes.all().len(), 200, "each once");
    running.stop().await.unwrap();
    deployment.drop().await;
}

#[tokio::test]
async fn a_consumer_of_a_missing_topic_waits_until_it_is_made() {
    let deployment = Deployment::make(1).await;
    drop_topics(&deployment.config).await.unwrap();
    let notes = Notes::default();
    let running = Running::start(&deployment.config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(text(&record));
            done()
        }
    });
    eventually("it says what is missing", async || {
        running.status.ready().is_err_and(|reason| reason.contains("does not exist"))
    })
    .await;
    apply_topics(&deployment.config, 1, 1).await.unwrap();
    send(&deployment.producer, Topic::Events, "a", "1").await;
    eventually("it works on", async || notes.has("1") && running.status.ready().is_ok()).await;
    running.stop().await.unwrap();
    deployment.drop().await;
}

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
