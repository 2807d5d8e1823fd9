//! The consumer against a real Kafka.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt as _;
use porchlight_bus::{
    BusError, DeadLetter, From, GroupProtocol, KafkaConfig, Outcome, Reader, Record, Topic, apply_topics, drop_topics,
};
use prost::Message as _;
use support::{Deployment, Notes, Running, committed, done, eventually, is_embedded, send, text, under_both_protocols};
use tokio::sync::{Barrier, watch};
use tokio_util::sync::CancellationToken;

under_both_protocols!(
    g2_a_retry_holds_its_key_and_the_commit_and_skips_nothing,
    g2_a_restart_resumes_at_the_commit_and_a_drain_finishes_what_is_in_hand,
    g2_partitions_change_hands_without_a_record_lost_or_handled_twice,
);

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

async fn g2_a_retry_holds_its_key_and_the_commit_and_skips_nothing(protocol: GroupProtocol) {
    let deployment = Deployment::under(protocol, 1).await;
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

/// A deployment that understands nothing leaves the records for the next one, however often it is started before.
#[tokio::test]
async fn a_run_of_dead_letters_stops_the_consumer_and_leaves_the_records_to_a_better_one() {
    let deployment = Deployment::make(1).await;
    let config = KafkaConfig { dead_letter_max_run: 40, ..deployment.config.clone() };
    let values: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    futures::future::join_all(values.iter().map(|n| send(&deployment.producer, Topic::Events, n, n))).await;
    for starts in 1..=2 {
        let running = Running::start(&config, &[Topic::Events], |_| {
            async { Outcome::Fatal { reason: "nothing is understood".into() } }.boxed()
        });
        let status = running.status.clone();
        let stopped = running.ended().await;
        assert!(matches!(stopped, Err(BusError::Stopped { ref stage, .. }) if stage == "test"), "{stopped:?}");
        assert!(status.ready().is_err());
        assert_eq!(committed(&config, Topic::Events, 1).await, starts * 10, "the first few of the run, and no more");
    }
    let notes = Notes::default();
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            // A run that a good record ends: what was held is committed with it.
            if record.offset < 50 {
                return async { Outcome::Fatal { reason: "poison".into() } }.boxed();
            }
            notes.add(text(&record));
            done()
        }
    });
    eventually("all committed", async || committed(&config, Topic::Events, 1).await == 150).await;
    assert_eq!(notes.all().len(), 100);
    running.stop().await.unwrap();
    deployment.drop().await;
}

async fn g2_a_restart_resumes_at_the_commit_and_a_drain_finishes_what_is_in_hand(protocol: GroupProtocol) {
    let deployment = Deployment::under(protocol, 2).await;
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

/// Two members share the partitions; when the second comes and when the first goes, every record is handled, none
/// twice, though handlers are at work all the time.
async fn g2_partitions_change_hands_without_a_record_lost_or_handled_twice(protocol: GroupProtocol) {
    let deployment = Deployment::under(protocol, 4).await;
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
async fn a_consumer_takes_no_more_in_hand_than_its_budget_of_records_and_of_bytes() {
    let deployment = Deployment::make(1).await;
    let whole = &deployment.config;
    // Each record weighs 100 bytes.
    let by_records =
        KafkaConfig { max_in_flight_records: 20, group_prefix: whole.group_prefix.clone() + "r-", ..whole.clone() };
    let by_bytes =
        KafkaConfig { max_in_flight_bytes: 2000, group_prefix: whole.group_prefix.clone() + "b-", ..whole.clone() };
    for n in 0..200 {
        send(&deployment.producer, Topic::Events, &format!("key {n:03}"), &format!("{n:093}")).await;
    }
    for config in [by_records, by_bytes] {
        let config = KafkaConfig { max_concurrent_keys: 500, ..config };
        let (open, gate) = watch::channel(false);
        let notes = Notes::default();
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
    }
    deployment.drop().await;
}

/// The way from one protocol to the other: a member of the new kind comes into the group, then the last of the old
/// goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_changes_its_protocol_member_by_member_and_back() {
    if is_embedded() {
        return; // It knows the classic protocol only.
    }
    let deployment = Deployment::make(4).await;
    let notes = Notes::default();
    let member = |name: &'static str, group_protocol| {
        let (config, notes) = (KafkaConfig { group_protocol, ..deployment.config.clone() }, notes.clone());
        Running::start(&config, &[Topic::Events], move |_| {
            notes.add(name);
            done()
        })
    };
    let sent = Arc::new(Mutex::new(0));
    let handles = async |name: &str| {
        eventually(name, async || {
            let n = *sent.lock().unwrap();
            send(&deployment.producer, Topic::Events, &format!("key {n}"), "").await;
            *sent.lock().unwrap() += 1;
            notes.has(name)
        })
        .await;
    };
    let old = member("classic", GroupProtocol::Classic);
    handles("classic").await;
    let new = member("consumer", GroupProtocol::Consumer);
    handles("consumer").await;
    old.stop().await.unwrap();
    let back = member("classic again", GroupProtocol::Classic);
    handles("classic again").await;
    new.stop().await.unwrap();
    let all = *sent.lock().unwrap();
    eventually("all is committed", async || committed(&deployment.config, Topic::Events, 4).await == all).await;
    assert_eq!(i64::try_from(notes.all().len()).unwrap(), all, "each once");
    back.stop().await.unwrap();
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
