//! Rebalances without a server: members that come, go, hang and are thrown out, on the broker inside the client
//! library.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use porchlight_bus::{GroupProtocol, KafkaConfig, Outcome, Producer, Record, Topic};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Cluster, Notes, Running, cluster, committed, done, eventually, send, text, under_both_protocols};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

under_both_protocols!(
    g2_members_come_and_go_and_nothing_is_lost_or_out_of_order,
    g2_what_is_in_hand_of_a_revoked_partition_is_finished_and_committed_first,
    a_handler_that_hangs_holds_neither_the_group_nor_the_loop,
    a_record_that_is_being_tried_again_goes_to_the_next_owner,
    a_pause_does_not_outlive_its_assignment,
    a_shutdown_in_the_midst_of_a_rebalance_ends_in_time,
    a_handler_may_take_longer_than_the_loop_may_not_poll,
);

/// A group whose members are soon missed.
fn group(protocol: GroupProtocol, partitions: i32) -> (Cluster, KafkaConfig, Producer) {
    let (cluster, config) = cluster(partitions);
    let config = KafkaConfig { group_protocol: protocol, session_timeout_ms: 4500, drain_ms: 6000, ..config };
    let producer = Producer::new(&config).unwrap();
    (cluster, config, producer)
}

/// One record for each partition, which it names.
async fn one_each(producer: &Producer, partitions: i32) {
    let mut met = HashSet::new();
    for n in 0.. {
        let key = format!("key {n}");
        // Keys of records that are not wanted go elsewhere: only the first of each partition may be in the log.
        let probe = producer.send(Topic::Alerts, Some(key.as_bytes()), b"probe", &[]).await.unwrap();
        if met.insert(probe.partition) {
            send(producer, Topic::Events, &key, &probe.partition.to_string()).await;
        }
        if met.len() == usize::try_from(partitions).unwrap() {
            return;
        }
    }
}

/// What all members did, as one log.
#[derive(Default)]
struct Deeds {
    /// The numbers of each key, in the order in which they were finished.
    finished: HashMap<String, Vec<u32>>,
    at_work: HashSet<String>,
}

impl Deeds {
    fn count(&self) -> usize {
        self.finished.values().flatten().collect::<HashSet<_>>().len()
    }
}

struct NotesItsDrop(Notes, i32);

impl Drop for NotesItsDrop {
    fn drop(&mut self) {
        self.0.add(self.1.to_string());
    }
}

async fn g2_members_come_and_go_and_nothing_is_lost_or_out_of_order(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 4);
    let deeds: Arc<Mutex<Deeds>> = Arc::default();
    let members = Notes::default();
    let member = |name: &'static str| {
        let (deeds, members) = (Arc::clone(&deeds), members.clone());
        Running::start(&config, &[Topic::Events], move |record: Arc<Record>| {
            let (deeds, members) = (Arc::clone(&deeds), members.clone());
            async move {
                let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
                assert!(deeds.lock().unwrap().at_work.insert(key.clone()), "one at a time of {key}, in all members");
                tokio::time::sleep(Duration::from_millis(3)).await;
                let mut deeds = deeds.lock().unwrap();
                deeds.at_work.remove(&key);
                deeds.finished.entry(key).or_default().push(text(&record).parse().unwrap());
                members.add(name);
                Outcome::Done
            }
            .boxed()
        })
    };
    let first = member("first");
    let enough = CancellationToken::new();
    let produce = tokio::spawn({
        let enough = enough.clone();
        async move {
            let mut n = 0u32;
            while !enough.is_cancelled() {
                send(&producer, Topic::Events, &format!("key {}", n % 23), &n.to_string()).await;
                n += 1;
            }
            n
        }
    });
    eventually("the first handles", async || members.has("first")).await;
    let second = member("second");
    eventually("the second handles", async || members.has("second")).await;
    let third = member("third");
    eventually("the third handles", async || members.has("third")).await;
    first.stop().await.unwrap();
    let fourth = member("fourth");
    second.stop().await.unwrap();
    eventually("the fourth handles", async || members.has("fourth")).await;
    third.stop().await.unwrap();
    enough.cancel();
    let records = produce.await.unwrap();
    eventually("all are handled", async || deeds.lock().unwrap().count() == records as usize).await;
    eventually("all is committed", async || committed(&config, Topic::Events, 4).await == i64::from(records)).await;
    fourth.stop().await.unwrap();
    for (key, numbers) in &deeds.lock().unwrap().finished {
        // This broker refuses commits while a group changes, so some come twice; but never before one that was not
        // done.
        let mut met = HashSet::new();
        let firsts: Vec<u32> = numbers.iter().copied().filter(|n| met.insert(*n)).collect();
        assert!(firsts.is_sorted(), "{key}: {numbers:?}");
    }
}

/// The slow handlers always have something in hand: a partition that was given away over their heads would be handled
/// again by the next owner. Nor may one that needs its lease be aborted for want of it: while members are waited for the
/// group answers nobody, and a lease may end; it must be back for the grace.
async fn g2_what_is_in_hand_of_a_revoked_partition_is_finished_and_committed_first(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 2);
    for n in 0..60 {
        send(&producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let config = KafkaConfig { max_concurrent_keys: 2, ..config };
    let handled: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let (members, aborted) = (Notes::default(), Notes::default());
    let member = |name: &'static str| {
        let (handled, members, aborted) = (Arc::clone(&handled), members.clone(), aborted.clone());
        Running::start(&config, &[Topic::Events], move |record: Arc<Record>| {
            let (handled, members) = (Arc::clone(&handled), members.clone());
            let guard = NotesItsDrop(aborted.clone(), record.partition);
            async move {
                members.add(name);
                tokio::time::sleep(Duration::from_millis(700)).await;
                while !record.is_ours() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                std::mem::forget(guard);
                *handled.lock().unwrap().entry(text(&record)).or_default() += 1;
                Outcome::Done
            }
            .boxed()
        })
    };
    let first = member("first");
    eventually("the first handles", async || members.has("first")).await;
    let second = member("second");
    eventually("the second handles", async || members.has("second")).await;
    eventually("all is committed", async || committed(&config, Topic::Events, 2).await == 60).await;
    let twice: Vec<_> =
        handled.lock().unwrap().iter().filter(|(_, times)| **times > 1).map(|(n, _)| n.clone()).collect();
    assert_eq!((handled.lock().unwrap().len(), twice), (60, Vec::new()));
    assert_eq!(aborted.all(), [""; 0], "nothing is aborted for want of its lease");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

/// The callback of a rebalance does not wait, and the grace of a partition is bounded: the records of the partition
/// that stays are handled all the while, and the one that goes is with its next owner though its handler never ends.
async fn a_handler_that_hangs_holds_neither_the_group_nor_the_loop(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 2);
    one_each(&producer, 2).await;
    // Under other keys on both partitions: what is tried again and again.
    for n in 0..20 {
        send(&producer, Topic::Events, &format!("busy {n}"), "busy").await;
    }
    let gaps: Arc<Mutex<HashMap<i32, (Instant, Duration)>>> = Arc::default();
    let (notes, aborted, config) =
        (Notes::default(), Notes::default(), KafkaConfig { max_concurrent_keys: 100, ..config });
    let first = Running::start(&config, &[Topic::Events], {
        let (notes, aborted, gaps) = (notes.clone(), aborted.clone(), Arc::clone(&gaps));
        move |record| {
            if text(&record) != "busy" {
                notes.add(format!("first hangs at {}", record.partition));
                let guard = NotesItsDrop(aborted.clone(), record.partition);
                return async move {
                    let _guard = guard;
                    std::future::pending().await
                }
                .boxed();
            }
            let now = Instant::now();
            let mut gaps = gaps.lock().unwrap();
            let (last, longest) = gaps.entry(record.partition).or_insert((now, Duration::ZERO));
            *longest = (*longest).max(now.duration_since(*last));
            *last = now;
            async { Outcome::Retry { after: Duration::from_millis(20), reason: "busy".into() } }.boxed()
        }
    });
    eventually("both hang", async || notes.all().len() == 2).await;
    let second = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            if text(&record) != "busy" {
                notes.add(format!("second has {}", record.partition));
            }
            done()
        }
    });
    eventually("the second gets one", async || notes.all().len() == 3).await;
    let stays = if notes.has("second has 0") { 1 } else { 0 };
    let (_, longest) = gaps.lock().unwrap()[&stays];
    assert!(longest < Duration::from_millis(1500), "the loop waited: {longest:?}");
    assert_eq!(aborted.all(), [format!("{}", 1 - stays)], "what hangs there is aborted before somebody else has it");
    eventually("and commits", async || committed(&config, Topic::Events, 2).await > 0).await;
    first.stop().await.unwrap();
    eventually("the second gets the other", async || notes.has(&format!("second has {stays}"))).await;
    eventually("all is committed", async || committed(&config, Topic::Events, 2).await == 22).await;
    second.stop().await.unwrap();
}

async fn a_record_that_is_being_tried_again_goes_to_the_next_owner(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 2);
    one_each(&producer, 2).await;
    let notes = Notes::default();
    let first = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(format!("first tries {}", record.partition));
            async { Outcome::Retry { after: Duration::from_millis(50), reason: "the store is away".into() } }.boxed()
        }
    });
    eventually("both are tried", async || notes.has("first tries 0") && notes.has("first tries 1")).await;
    let second = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(format!("second has {}", record.partition));
            done()
        }
    });
    let has = |partition: i32| notes.has(&format!("second has {partition}"));
    eventually("the second gets one", async || has(0) || has(1)).await;
    let moved = if has(0) { 0 } else { 1 };
    let tries = notes.all().iter().rev().take_while(|note| !note.starts_with("second")).cloned().collect::<Vec<_>>();
    assert!(!tries.contains(&format!("first tries {moved}")), "it is the second's alone: {tries:?}");
    eventually("it is committed", async || committed(&config, Topic::Events, 2).await == 1).await;
    first.stop().await.unwrap();
    eventually("the second gets the other", async || has(1 - moved)).await;
    eventually("all is committed", async || committed(&config, Topic::Events, 2).await == 2).await;
    second.stop().await.unwrap();
}

/// The client remembers a pause beyond the assignment. A partition that was paused when it went must flow when it is
/// back.
async fn a_pause_does_not_outlive_its_assignment(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 2);
    for n in 0..100 {
        send(&producer, Topic::Events, &format!("key {n}"), &n.to_string()).await;
    }
    let config = KafkaConfig { max_in_flight_records: 8, max_concurrent_keys: 100, ..config };
    let (open, gate) = watch::channel(false);
    let notes = Notes::default();
    let member = |name: &'static str| {
        let (notes, gate) = (notes.clone(), gate.clone());
        Running::start(&config, &[Topic::Events], move |record: Arc<Record>| {
            let (notes, mut gate) = (notes.clone(), gate.clone());
            async move {
                notes.add(format!("{name} has {}", record.partition));
                gate.wait_for(|open| *open).await.unwrap();
                Outcome::Done
            }
            .boxed()
        })
    };
    let count = |note: String| notes.all().iter().filter(|n| **n == note).count();
    let first = member("first");
    eventually("both are full", async || (0..2).all(|p| count(format!("first has {p}")) == 4)).await;
    let second = member("second");
    let moved = |p: i32| count(format!("second has {p}")) > 0;
    eventually("the second gets one", async || moved(0) || moved(1)).await;
    let moved = if moved(0) { 0 } else { 1 };
    second.stop().await.unwrap();
    eventually("it is back", async || count(format!("first has {moved}")) > 4).await;
    open.send(true).unwrap();
    eventually("all is committed", async || committed(&config, Topic::Events, 2).await == 100).await;
    first.stop().await.unwrap();
}

async fn a_shutdown_in_the_midst_of_a_rebalance_ends_in_time(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 2);
    one_each(&producer, 2).await;
    let notes = Notes::default();
    let first = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(format!("first hangs at {}", record.partition));
            std::future::pending().boxed()
        }
    });
    eventually("both hang", async || notes.all().len() == 2).await;
    let member = |name: &'static str| {
        let notes = notes.clone();
        Running::start(&config, &[Topic::Events], move |record| {
            notes.add(format!("{name} has {}", record.partition));
            done()
        })
    };
    // The second only asks to join when the first is told to stop, and the third joins while the first drains.
    let second = member("second");
    let begun = Instant::now();
    let (stopped, third) = tokio::join!(first.stop(), async { member("third") });
    stopped.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(config.drain_ms + 1000), "{:?}", begun.elapsed());
    second.stop().await.unwrap();
    eventually("what is left is handled", async || committed(&config, Topic::Events, 2).await == 2).await;
    third.stop().await.unwrap();
}

/// Polling never stops while records are handled: else the client would leave the group in the midst of the record.
async fn a_handler_may_take_longer_than_the_loop_may_not_poll(protocol: GroupProtocol) {
    let (_cluster, config, producer) = group(protocol, 1);
    let config = KafkaConfig { max_poll_interval_ms: 6500, ..config };
    send(&producer, Topic::Events, "a", "1").await;
    let notes = Notes::default();
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            let notes = notes.clone();
            async move {
                notes.add("begins");
                tokio::time::sleep(Duration::from_secs(9)).await;
                notes.add(if record.is_ours() { "ends as ours" } else { "ends as another's" });
                Outcome::Done
            }
            .boxed()
        }
    });
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 1).await;
    assert_eq!(notes.all(), ["begins", "ends as ours"]);
    running.stop().await.unwrap();
}

/// The broker throws the member out. What its handler ends with then counts for nothing, and until it ends the same key
/// is handled nowhere in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g2_a_lost_assignment_commits_nothing_late() {
    let (cluster, config, producer) = group(GroupProtocol::Classic, 1);
    send(&producer, Topic::Events, "a", "1").await;
    send(&producer, Topic::Events, "b", "2").await;
    let (go, gate) = mpsc::channel::<()>();
    let (gate, tries, notes) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicU32::new(0)), Notes::default());
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            if text(&record) != "1" {
                return done();
            }
            let (gate, notes, n) = (Arc::clone(&gate), notes.clone(), tries.fetch_add(1, Ordering::SeqCst) + 1);
            async move {
                notes.add(format!("try {n} begins"));
                // It blocks its thread, so that nothing can abort it.
                tokio::task::block_in_place(|| gate.lock().unwrap().recv().unwrap());
                notes.add(format!("try {n} ends, ours: {}", record.is_ours()));
                Outcome::Done
            }
            .boxed()
        }
    });
    eventually("it is at work", async || notes.has("try 1 begins") && running.status.ready().is_ok()).await;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    eventually("it is thrown out", async || running.status.ready().is_err_and(|r| r.contains("joined"))).await;
    eventually("it joins again", async || running.status.ready().is_ok()).await;
    assert_eq!(notes.all(), ["try 1 begins"], "the key waits for the old try");
    go.send(()).unwrap();
    eventually("it is tried again", async || notes.has("try 2 begins")).await;
    eventually("a round of commits", async || running.status.lag() == 2).await;
    assert_eq!(committed(&config, Topic::Events, 1).await, 0, "the end of the first try came too late");
    go.send(()).unwrap();
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 2).await;
    assert_eq!(notes.all(), ["try 1 begins", "try 1 ends, ours: false", "try 2 begins", "try 2 ends, ours: true"]);
    running.stop().await.unwrap();
}
