//! Replays against a real Kafka: what a group has committed, in order, once more, and nothing of what is its own work.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use porchlight_bus::{
    GroupProtocol, KafkaConfig, Outcome, Record, Replay, ReplayNews, Replayed, Topic, group_has_members,
};
use support::{Deployment, Running, Scripted, committed, eventually, is_embedded, send, text};
use tokio_util::sync::CancellationToken;

/// A group of stage "test" that has done all there is: `sum` records.
async fn consumed(config: &KafkaConfig, sum: i64) {
    let running = Running::start(config, &[Topic::Events], |_| async { Outcome::Done }.boxed());
    eventually("all is committed", async || committed(config, Topic::Events, 3).await == sum).await;
    running.stop().await.unwrap();
}

/// Replays everything from the beginning with this handler.
async fn replay<F>(config: &KafkaConfig, from_ms: i64, handle: F, stop: CancellationToken) -> (Replayed, Vec<String>)
where
    F: Fn(Arc<Record>) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    let mut told = Vec::new();
    let replay = Replay::find(config, Topic::Events, "test", from_ms, None).await.unwrap();
    let tell = |news: ReplayNews<'_>| match news {
        ReplayNews::Unreadable { record, reason } => told.push(format!("{}: {reason}", text(record))),
        ReplayNews::Waiting { .. } | ReplayNews::Progress(_) => {}
    };
    let replayed = replay.run(Scripted(handle), tell, stop).await.unwrap();
    (replayed, told)
}

/// Values by key, in the order in which they were handled.
#[derive(Clone, Default)]
struct Handled(Arc<Mutex<BTreeMap<Vec<u8>, Vec<String>>>>);

impl Handled {
    fn add(&self, record: &Record) {
        self.0.lock().unwrap().entry(record.key.clone().unwrap_or_default()).or_default().push(text(record));
    }

    fn all(&self) -> BTreeMap<Vec<u8>, Vec<String>> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_handled_again_in_the_order_of_each_key_and_nothing_else() {
    let deployment = Deployment::make(3).await;
    let (config, producer) = (deployment.config.clone(), &deployment.producer);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for n in 0..12 {
        for key in keys {
            send(producer, Topic::Events, key, &format!("{key}{n}")).await;
        }
    }
    consumed(&config, 120).await;
    // Not committed: the group's own work.
    send(producer, Topic::Events, "a", "later").await;

    let (handled, running, most) = (Handled::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, side_by_side, tries) = (handled.clone(), most.clone(), Arc::new(AtomicUsize::new(0)));
    let handle = move |record: Arc<Record>| {
        let (handled, running, most, tries) = (handled.clone(), running.clone(), most.clone(), tries.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            match text(&record).as_str() {
                // What it needs is away for a while: its key waits, and nothing is skipped.
                "b3" if tries.fetch_add(1, Ordering::SeqCst) < 5 => {
                    Outcome::Retry { after: Duration::from_millis(10), reason: "away".into() }
                }
                "c4" => Outcome::Fatal { reason: "poison".into() },
                "d5" => panic!("a handler that panics"),
                _ => {
                    handled.add(&record);
                    Outcome::Done
                }
            }
        }
        .boxed()
    };
    let (replayed, told) = replay(&config, 0, handle, CancellationToken::new()).await;
    assert_eq!(replayed, Replayed { done: 120, of: 120, unreadable: 2, resume_at_ms: None });
    let told: BTreeSet<_> = told.iter().map(String::as_str).collect();
    assert_eq!(told, BTreeSet::from(["c4: poison", "d5: the handler panicked"]), "told, and passed over");
    for (key, values) in seen.all() {
        let key = String::from_utf8(key).unwrap();
        let of_key = (0..12).map(|n| format!("{key}{n}")).filter(|v| !["c4", "d5"].contains(&v.as_str()));
        assert_eq!(values, of_key.collect::<Vec<_>>(), "in order, once, and none that is not committed");
    }
    assert_eq!(seen.all().len(), keys.len());
    let most = side_by_side.load(Ordering::SeqCst);
    assert!((2..=config.max_concurrent_keys).contains(&most), "keys run side by side, boundedly: {most}");
    deployment.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_stopped_goes_on_where_it_was_and_leaves_nothing_out() {
    let deployment = Deployment::make(3).await;
    let (config, producer) = (deployment.config.clone(), &deployment.producer);
    let mut all = BTreeSet::new();
    for n in 0..60 {
        for key in ["a", "b", "c", "d", "e"] {
            send(producer, Topic::Events, key, &format!("{key}{n}")).await;
            all.insert(format!("{key}{n}"));
        }
    }
    consumed(&config, 300).await;

    let handled = Handled::default();
    let values = |handled: &Handled| handled.all().into_values().flatten().collect::<BTreeSet<_>>();
    let (mut from_ms, mut rounds) = (0, 0);
    loop {
        let stop = CancellationToken::new();
        let (noted, count, halt) = (handled.clone(), Arc::new(AtomicUsize::new(0)), stop.clone());
        let handle = move |record: Arc<Record>| {
            let (noted, halt) = (noted.clone(), halt.clone());
            let is_last = count.fetch_add(1, Ordering::SeqCst) == 80;
            async move {
                noted.add(&record);
                if is_last {
                    halt.cancel();
                }
                Outcome::Done
            }
            .boxed()
        };
        let (replayed, _) = replay(&config, from_ms, handle, stop).await;
        rounds += 1;
        match replayed.resume_at_ms {
            Some(ms) => from_ms = ms,
            None => break,
        }
        assert!(rounds < 50, "it gets on");
    }
    assert!(rounds > 1, "it was stopped");
    assert_eq!(values(&handled), all);

    // A stretch of time ends where it says: what was written at a time or later is not before it.
    let ends = Replay::find(&config, Topic::Events, "test", 0, Some(from_ms)).await.unwrap().spans();
    let rest = Replay::find(&config, Topic::Events, "test", from_ms, None).await.unwrap().spans();
    let meet = ends.iter().zip(&rest).all(|(end, rest)| end.to == rest.from);
    assert!(meet && ends.iter().map(porchlight_bus::Span::len).sum::<u64>() > 0, "{ends:?} {rest:?}");
    deployment.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_is_known_from_one_without_under_both_protocols() {
    for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        if is_embedded() && group_protocol == GroupProtocol::Consumer {
            continue; // It knows the classic protocol only.
        }
        let deployment = Deployment::make(3).await;
        let config = KafkaConfig { group_protocol, ..deployment.config.clone() };
        let has_members = async || group_has_members(&config, "test", Topic::Events).await.unwrap();
        assert!(!has_members().await, "it never was");
        for key in ["a", "b", "c", "d"] {
            send(&deployment.producer, Topic::Events, key, key).await;
        }
        let running = Running::start(&config, &[Topic::Events], |_| async { Outcome::Done }.boxed());
        eventually("all is committed", async || committed(&config, Topic::Events, 3).await == 4).await;
        assert!(has_members().await, "{group_protocol:?}");
        running.stop().await.unwrap();
        eventually("nobody is left", async || !has_members().await).await;
        assert_eq!(committed(&config, Topic::Events, 3).await, 4, "asking has moved nothing");
        deployment.drop().await;
    }
}
