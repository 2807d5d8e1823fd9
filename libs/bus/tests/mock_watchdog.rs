//! What hangs, blocks, or was stopped: no record in hand goes unseen, and nobody acts on what is another's.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Write as _,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures::FutureExt as _;
use porchlight_bus::{GroupProtocol, KafkaConfig, Outcome, Producer, Record, Topic};
use rustix::process::{Pid, Signal, kill_process};
use support::{
    Notes, PATIENCE, Running, cluster, committed, config, done, eventually, send, text, under_both_protocols,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdout, Command},
    sync::watch,
};

/// Notes when it is dropped.
struct Dropped(Notes);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add("aborted");
    }
}

#[tokio::test]
async fn a_try_that_hangs_is_aborted_and_made_again() {
    let (_cluster, config) = cluster(1);
    let config = KafkaConfig { stall_after_ms: 300, ..config };
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "hangs once").await;
    send(&producer, Topic::Events, "a", "next of its key").await;
    let notes = Notes::default();
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            let again = notes.has("hangs once");
            notes.add(text(&record));
            if again {
                return done();
            }
            let guard = Dropped(notes.clone());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
            .boxed()
        }
    });
    eventually("all is committed", async || committed(&config, Topic::Events, 1).await == 2).await;
    assert_eq!(notes.all(), ["hangs once", "aborted", "hangs once", "next of its key"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_makes_the_consumer_not_ready_and_is_named() {
    let (_cluster, config) = cluster(1);
    let config = KafkaConfig { stall_after_ms: 500, ..config };
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "blocks").await;
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let running = Running::start(&config, &[Topic::Events], move |_| {
        let gate = Arc::clone(&gate);
        async move {
            tokio::task::block_in_place(|| gate.lock().unwrap().recv().unwrap());
            Outcome::Done
        }
        .boxed()
    });
    eventually("it is named", async || {
        running.status.ready().is_err_and(|r| r.starts_with("test: a record (events.v1/0 at 0) has been in hand for "))
    })
    .await;
    go.send(()).unwrap();
    eventually("it is ready again", async || running.status.ready().is_ok()).await;
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 1).await;
    running.stop().await.unwrap();
}

/// All threads of the runtime (there is one) are taken for longer than the session, as when the process is stopped: the
/// loop cannot know whether the group has given its partitions away, so nothing that was in hand counts.
#[tokio::test]
async fn a_loop_that_could_not_poll_for_its_session_begins_anew() {
    let (_cluster, config) = cluster(1);
    let config = KafkaConfig { session_timeout_ms: 3000, ..config };
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "1").await;
    let (notes, tries) = (Notes::default(), Arc::new(AtomicU32::new(0)));
    let running = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            let (notes, first) = (notes.clone(), tries.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if first {
                    std::thread::sleep(Duration::from_secs(4));
                }
                notes.add(format!("ours: {}", record.is_ours()));
                Outcome::Done
            }
            .boxed()
        }
    });
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 1).await;
    assert_eq!(notes.all(), ["ours: false", "ours: true"], "handled by the next member");
    running.stop().await.unwrap();
}

under_both_protocols!(a_member_that_is_cut_off_from_its_brokers_holds_nothing);

/// It polls, but nobody could tell it that the group has gone on without it.
async fn a_member_that_is_cut_off_from_its_brokers_holds_nothing(group_protocol: GroupProtocol) {
    let (cluster, config) = cluster(1);
    let config = KafkaConfig { group_protocol, session_timeout_ms: 4500, ..config };
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "1").await;
    let (open, gate) = watch::channel(false);
    let in_hand: Arc<Mutex<Vec<Arc<Record>>>> = Arc::default();
    let running = Running::start(&config, &[Topic::Events], {
        let in_hand = Arc::clone(&in_hand);
        move |record| {
            in_hand.lock().unwrap().push(record);
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                Outcome::Done
            }
            .boxed()
        }
    });
    let is_ours = || in_hand.lock().unwrap().last().is_some_and(|record| record.is_ours());
    eventually("it is at work", async || is_ours()).await;
    cluster.broker_down(1).unwrap();
    eventually("it holds nothing", async || !is_ours()).await;
    cluster.broker_up(1).unwrap();
    eventually("it holds it again, or anew", async || is_ours()).await;
    open.send(true).unwrap();
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 1).await;
    running.stop().await.unwrap();
}

/// A process of its own, which says what it does on standard output and goes on with a record when it is told to.
struct Member {
    process: tokio::process::Child,
    says: Lines<BufReader<ChildStdout>>,
}

const BROKERS: &str = "BUS_TEST_MEMBER_BROKERS";
const PREFIX: &str = "BUS_TEST_MEMBER_PREFIX";
const SAYS: &str = "member: ";

impl Member {
    fn start(config: &KafkaConfig) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["a_member_in_a_process_of_its_own", "--exact", "--ignored", "--nocapture"])
            .env(BROKERS, &config.bootstrap_servers)
            .env(PREFIX, &config.topic_prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, says }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn says(&mut self) -> String {
        let line = async {
            loop {
                let line = self.says.next_line().await.unwrap().expect("it lives");
                // The test harness in it writes to the same place, and not always whole lines.
                if let Some((_, said)) = line.split_once(SAYS) {
                    return said.to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, line).await.expect("it says something")
    }

    async fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    }
}

fn of_the_member(config: KafkaConfig) -> KafkaConfig {
    KafkaConfig { session_timeout_ms: 4500, ..config }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "the process that another test stops; it does nothing by itself"]
async fn a_member_in_a_process_of_its_own() {
    let (Ok(brokers), Ok(prefix)) = (std::env::var(BROKERS), std::env::var(PREFIX)) else { return };
    let say = |what: String| writeln!(std::io::stdout().lock(), "{SAYS}{what}").unwrap();
    let config = KafkaConfig { topic_prefix: prefix.clone(), group_prefix: prefix, ..config(&brokers) };
    let running = Running::start(&of_the_member(config), &[Topic::Events], move |record| {
        async move {
            let value = text(&record);
            say(format!("{value} begins"));
            tokio::task::block_in_place(|| std::io::stdin().read_line(&mut String::new())).unwrap();
            say(format!("{value} ends, ours: {}", record.is_ours()));
            Outcome::Done
        }
        .boxed()
    });
    running.ended().await.unwrap();
}

/// SIGSTOP for longer than the session: meanwhile another member has handled the record and those after it. The process
/// goes on in the midst of its handler and knows by itself, before any broker tells it, that the record is another's;
/// and what it finishes moves no commit back.
#[tokio::test]
async fn g8_a_process_that_was_stopped_for_longer_than_its_session_acts_on_nothing_of_before() {
    let (_cluster, config) = cluster(1);
    let config = of_the_member(config);
    let producer = Producer::new(&config).unwrap();
    send(&producer, Topic::Events, "a", "1").await;
    let mut member = Member::start(&config);
    assert_eq!(member.says().await, "1 begins");
    member.signal(Signal::STOP);
    let notes = Notes::default();
    let other = Running::start(&config, &[Topic::Events], {
        let notes = notes.clone();
        move |record| {
            notes.add(text(&record));
            done()
        }
    });
    send(&producer, Topic::Events, "a", "2").await;
    eventually("the other takes over", async || committed(&config, Topic::Events, 1).await == 2).await;
    assert_eq!(notes.all(), ["1", "2"]);

    member.go_on().await;
    member.signal(Signal::CONT);
    assert_eq!(member.says().await, "1 ends, ours: false");
    other.stop().await.unwrap();
    send(&producer, Topic::Events, "a", "3").await;
    assert_eq!(member.says().await, "3 begins", "from where the group stands");
    assert_eq!(committed(&config, Topic::Events, 1).await, 2);
    member.go_on().await;
    assert_eq!(member.says().await, "3 ends, ours: true");
    eventually("it is committed", async || committed(&config, Topic::Events, 1).await == 3).await;
    member.process.kill().await.unwrap();
}
