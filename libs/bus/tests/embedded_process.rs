//! The embedded broker in a process of its own: killed at random, and measured.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt as _;
use porchlight_bus::{
    From, KafkaConfig, Outcome, Producer, Reader, Table, Topic, apply_topics, committed as committed_of,
};
use porchlight_domain::Device;
use porchlight_standins::broker::{EmbeddedBroker, limits};
use support::{Running, config, eventually, text};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const FOLDER: &str = "PORCHLIGHT_TEST_BROKER_FOLDER";
const PORT: &str = "PORCHLIGHT_TEST_BROKER_PORT";

/// Not a test: what the tests below start as another process, this binary with these two variables.
#[test]
fn the_broker_of_another_process() {
    let (Ok(folder), Ok(port)) = (std::env::var(FOLDER), std::env::var(PORT)) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let begun = Instant::now();
        let _broker = EmbeddedBroker::start(Path::new(&folder), port.parse().unwrap()).await.unwrap();
        std::fs::write(Path::new(&folder).join("ready"), format!("{}", begun.elapsed().as_millis())).unwrap();
        std::future::pending::<()>().await;
    });
}

/// A broker in another process, killed when it is dropped.
struct Killable(Child);

impl Killable {
    /// Returns once it is ready, with the milliseconds that it took.
    async fn start(folder: &Path, port: u16) -> (Self, u64) {
        let ready = folder.join("ready");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_broker_of_another_process", "--nocapture"])
            .env(FOLDER, folder)
            .env(PORT, port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let child = Self(child);
        let took = async || std::fs::read_to_string(&ready).ok().and_then(|text| text.parse().ok());
        eventually("the broker is ready", async || took().await.is_some()).await;
        (child, took().await.unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Seconds of CPU time that it has used.
    fn cpu(&self) -> f64 {
        cpu(&self.0.id().to_string())
    }

    /// Megabytes of memory that it holds.
    fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds of CPU time that a process ("self": this one) has used, at the usual 100 ticks a second.
fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Writes the numbers 0, 1, 2.. under a key, each until it is acknowledged; how many were.
async fn count(producer: Producer, key: String, enough: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> u64 {
    let mut n: u64 = 0;
    while !enough.load(Ordering::Relaxed) {
        if producer.send(Topic::Events, Some(key.as_bytes()), n.to_string().as_bytes(), &[]).await.is_ok() {
            n += 1;
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
    n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_ten_times_loses_nothing_that_was_acknowledged() {
    const KILLS: usize = 10;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (mut broker, _) = Killable::start(dir.path(), port).await;
    let config =
        KafkaConfig { message_timeout_ms: 30_000, produce_wait_ms: 31_000, ..config(&format!("127.0.0.1:{port}")) };
    apply_topics(&config, limits::PARTITIONS, 1).await.unwrap();

    let producer = Producer::new(&config).unwrap();
    let (enough, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let keys: Vec<String> = (0..16).map(|n| format!("key {n}")).collect();
    let writers: Vec<_> = keys
        .iter()
        .map(|key| tokio::spawn(count(producer.clone(), key.clone(), Arc::clone(&enough), Arc::clone(&acknowledged))))
        .collect();
    let handled: Arc<Mutex<BTreeSet<(i32, i64)>>> = Arc::default();
    let consumer = Running::start(&config, &[Topic::Events], {
        let handled = Arc::clone(&handled);
        move |record| {
            handled.lock().unwrap().insert((record.partition, record.offset));
            async { Outcome::Done }.boxed()
        }
    });

    for kill in 0..KILLS {
        let before = acknowledged.load(Ordering::Relaxed);
        eventually("it goes on", async || acknowledged.load(Ordering::Relaxed) > before + 100).await;
        tokio::time::sleep(Duration::from_millis(u64::try_from(Uuid::new_v4().as_u128() % 800).unwrap())).await;
        let committed = committed_of(&config, "test", Topic::Events).await.unwrap();
        broker.kill();
        (broker, _) = Killable::start(dir.path(), port).await;
        let after = committed_of(&config, "test", Topic::Events).await.unwrap();
        for (partition, offset) in &committed {
            assert!(after[partition] >= *offset, "kill {kill}: {partition} was at {offset}, and is at {after:?}");
        }
    }
    enough.store(true, Ordering::Relaxed);
    let mut counts = BTreeMap::new();
    for (key, writer) in keys.into_iter().zip(writers) {
        counts.insert(key, writer.await.unwrap());
    }

    let mut reader = Reader::open(&config, Topic::Events, From::Beginning).await.unwrap();
    let (mut found, mut all) = (BTreeMap::<String, Vec<u64>>::new(), BTreeSet::new());
    while let Some(record) = reader.next_existing().await.unwrap() {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        found.entry(key).or_default().push(text(&record).parse().unwrap());
        assert!(all.insert((record.partition, record.offset)), "{} comes twice", record.offset);
    }
    let (mut records, mut twice) = (0, 0);
    for (key, count) in counts {
        let values = &found[&key];
        assert!(values.is_sorted(), "{key}: in order");
        let distinct: BTreeSet<u64> = values.iter().copied().collect();
        assert!((0..count).all(|n| distinct.contains(&n)), "{key}: all {count} that were acknowledged");
        records += values.len();
        twice += values.len() - distinct.len();
    }
    eventually("the group has handled all there is", async || handled.lock().unwrap().len() == all.len()).await;
    assert_eq!(*handled.lock().unwrap(), all);
    consumer.stop().await.unwrap();
    eprintln!("{records} records, {KILLS} kills, {twice} written twice by a client that was not told");
}

/// The consumers of a city: three groups in a row, one beside them, four tables and a tail.
struct City {
    stages: Vec<Running>,
    shutdown: CancellationToken,
    tables: Vec<Table<Device>>,
    latencies: Arc<Mutex<Vec<u64>>>,
}

fn micros() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

impl City {
    async fn start(config: &KafkaConfig, producer: &Producer) -> Self {
        let latencies: Arc<Mutex<Vec<u64>>> = Arc::default();
        let grouped =
            |name: &str| KafkaConfig { group_prefix: format!("{}{name}-", config.group_prefix), ..config.clone() };
        let pass_on = |name: &str, from: Topic, to: Topic| {
            let producer = producer.clone();
            Running::start(&grouped(name), &[from], move |record| {
                let producer = producer.clone();
                async move {
                    producer.send(to, record.key.as_deref(), &record.value, &[]).await.unwrap();
                    Outcome::Done
                }
                .boxed()
            })
        };
        let mut stages =
            vec![pass_on("geo", Topic::Events, Topic::Alerts), pass_on("plan", Topic::Alerts, Topic::Pushes)];
        stages.push(Running::start(&grouped("send"), &[Topic::Pushes], {
            let latencies = Arc::clone(&latencies);
            move |record| {
                latencies.lock().unwrap().push(micros() - text(&record).parse::<u64>().unwrap());
                async { Outcome::Done }.boxed()
            }
        }));
        stages.push(Running::start(&grouped("letters"), &[Topic::DeadLetters], |_| async { Outcome::Done }.boxed()));
        let shutdown = CancellationToken::new();
        let mut tables = Vec::new();
        for _ in 0..4 {
            let (table, run) =
                Table::<Device>::start(config, Duration::from_secs(3), |_| {}, shutdown.clone()).unwrap();
            tokio::spawn(run);
            tables.push(table);
        }
        let mut tail = Reader::open(config, Topic::Alerts, From::End).await.unwrap();
        let end = shutdown.clone();
        tokio::spawn(
            async move { while end.run_until_cancelled(tail.next()).await.is_some_and(|next| next.is_ok()) {} },
        );
        for stage in &stages {
            eventually("each stage has its partitions", async || stage.status.ready().is_ok()).await;
        }
        for table in &tables {
            eventually("each table is confirmed", async || table.ready().is_ok()).await;
        }
        Self { stages, shutdown, tables, latencies }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for stage in self.stages {
            stage.stop().await.unwrap();
        }
    }
}

/// `cargo test -p porchlight-bus --test embedded_process -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers, and asserts nothing"]
async fn what_a_city_costs() {
    for (partitions, fetch_wait_ms) in [(2, 25), (2, 50), (2, 100), (2, 500), (12, 100)] {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let (broker, ready_ms) = Killable::start(dir.path(), port).await;
        let config = KafkaConfig { fetch_wait_ms, ..config(&format!("127.0.0.1:{port}")) };
        let begun = Instant::now();
        apply_topics(&config, partitions, 1).await.unwrap();
        let topics_ms = begun.elapsed().as_millis();
        let producer = Producer::new(&config).unwrap();
        let alone = share(&broker, 5).await;
        let city = City::start(&config, &producer).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let idle = share(&broker, 15).await;
        let begun = Instant::now();
        let (cpu_broker, cpu_clients) = (broker.cpu(), cpu("self"));
        for n in 0..1500_u32 {
            let due = begun + Duration::from_millis(10) * n;
            tokio::time::sleep_until(due.into()).await;
            let producer = producer.clone();
            tokio::spawn(async move {
                let (key, value) = (format!("key {}", n % 50), micros().to_string());
                producer.send(Topic::Events, Some(key.as_bytes()), value.as_bytes(), &[]).await.unwrap();
            });
        }
        eventually("all are through", async || city.latencies.lock().unwrap().len() == 1500).await;
        let busy = begun.elapsed().as_secs_f64();
        let busy = ((broker.cpu() - cpu_broker) / busy * 100.0, (cpu("self") - cpu_clients) / busy * 100.0);
        let mut latencies = city.latencies.lock().unwrap().clone();
        latencies.sort_unstable();
        let at = |share: usize| latencies[latencies.len() * share / 100] / 1000;
        eprintln!(
            "{partitions} partitions, fetch_wait {fetch_wait_ms} ms: ready {ready_ms} ms, topics {topics_ms} ms; CPU of a \
             core (broker, clients): alone {:.1} %, idle city {:.1} + {:.1} %, at 100/s {:.1} + {:.1} %; three hops p50 \
             {} ms, p99 {} ms; RSS {} MB; tables confirmed {}",
            alone.0,
            idle.0,
            idle.1,
            busy.0,
            busy.1,
            at(50),
            at(99),
            broker.rss(),
            city.tables.iter().all(|table| table.ready().is_ok()),
        );
        city.stop().await;
        broker.kill();
    }
}

/// What the broker, and this process, use of a core in the next seconds, in percent.
async fn share(broker: &Killable, seconds: u32) -> (f64, f64) {
    let before = (broker.cpu(), cpu("self"));
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let percent = |now: f64, before: f64| (now - before) / f64::from(seconds) * 100.0;
    (percent(broker.cpu(), before.0), percent(cpu("self"), before.1))
}
