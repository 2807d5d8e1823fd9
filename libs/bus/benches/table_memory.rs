//! What a table costs: bytes per entry beside the same records in a plain map, and a start from a snapshot beside a
//! start from the topic. `cargo bench -p porchlight-bus --bench table_memory`; it fails above the limits below.
//!
//! Memory is what Rust's allocator was asked for and did not get back; the client's own buffers (C) are not in it: they
//! are bounded by its settings. CPU time is that of a process that does nothing but start a table; the broker (the
//! client's own mock) is another process.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    alloc::System,
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use porchlight_bus::{
    GroupProtocol, KafkaConfig, Producer, SaslMechanism, SecurityProtocol, Table, TableConfig, TableEntry, Topic,
};
use porchlight_domain::{
    ChosenId, Device, DeviceId, HomeId, HouseholdId, NeighborhoodId, Plan, Point, SharingPolicy, Timestamp, Version,
};
use porchlight_secrets::Secret;
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use rdkafka::mocking::MockCluster;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Memory of a table over that of `HashMap<Key, Vec<u8>>` with the same records, encoded.
const MAX_DEVICES_TO_PLAIN: f64 = 1.3;
const MAX_POLYGONS_TO_PLAIN: f64 = 2.5;
/// CPU time of a start from a snapshot over that of a start from the topic: with each record the newest of its key,
/// which is the worst case (there is nothing to spare but the fetching, and the snapshot is checked), and with the two
/// older ones beside it that stay until compaction.
const MAX_SNAPSHOT_TO_TOPIC: [(u32, f64); 2] = [(1, 2.0), (3, 1.0)];

const DEVICES: u128 = 100_000;
/// The shipped polygons, so many times over.
const COPIES: usize = 20;
const PARTITIONS: i32 = 16;
/// How long a table may take to load before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The argument with which this program starts itself, to start a table.
const START: &str = "start-a-table";

fn config(bootstrap_servers: &str) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: bootstrap_servers.into(),
        security_protocol: SecurityProtocol::Plaintext,
        sasl_mechanism: SaslMechanism::ScramSha512,
        username: String::new(),
        password: Secret::default(),
        password_file: PathBuf::new(),
        ca_file: PathBuf::new(),
        cert_file: PathBuf::new(),
        key_file: PathBuf::new(),
        topic_prefix: String::new(),
        group_prefix: String::new(),
        message_timeout_ms: 60_000,
        produce_wait_ms: 61_000,
        group_protocol: GroupProtocol::Classic,
        session_timeout_ms: 6000,
        max_poll_interval_ms: 60_000,
        drain_ms: 10_000,
        fetch_wait_ms: 20,
        max_in_flight_records: 10_000,
        max_in_flight_bytes: 1 << 24,
        max_concurrent_keys: 8,
        stall_after_ms: 60_000,
        dead_letter_max_run: 100,
        dead_letter_max_percent: 50,
    }
}

/// A device as the registry writes it: random ids, a name, a policy, a credential.
fn device(n: u128) -> Device {
    let id = Uuid::new_v4;
    Device {
        id: DeviceId(id()),
        chosen: ChosenId(id()),
        household: HouseholdId(id()),
        home: HomeId(id()),
        name: ["Front door", "Driveway", "Garage, left side", "Back porch"][usize::try_from(n % 4).unwrap()].into(),
        point: Point { lon_e7: -710_000_000, lat_e7: 424_000_000 },
        policy: SharingPolicy::default(),
        plan: Plan::default(),
        credential: Some([7; 32]),
        deleted: false,
        version: Version(1 + u64::try_from(n % 5).unwrap()),
        updated_at: Timestamp(1_790_000_000_000),
    }
}

/// The polygons that are shipped, as records.
fn polygons() -> Vec<NeighborhoodRecord> {
    let files: [&[u8]; 2] =
        [include_bytes!("../../synth/data/boston.geojson"), include_bytes!("../../synth/data/towns-ma.geojson")];
    let mut records = Vec::new();
    for file in files {
        let collection: serde_json::Value = serde_json::from_slice(file).unwrap();
        for feature in collection["features"].as_array().unwrap() {
            let coordinates = feature["geometry"]["coordinates"].clone();
            let parts: Vec<Vec<Vec<[f64; 2]>>> = match feature["geometry"]["type"].as_str().unwrap() {
                "Polygon" => vec![serde_json::from_value(coordinates).unwrap()],
                _ => serde_json::from_value(coordinates).unwrap(),
            };
            #[allow(clippy::cast_possible_truncation)] // Degrees fit.
            let grid = |degrees: f64| (degrees * 1e7) as i32;
            let ring = |ring: Vec<[f64; 2]>| {
                ring.iter().skip(1).map(|[lon, lat]| Point { lon_e7: grid(*lon), lat_e7: grid(*lat) }).collect()
            };
            let parts = parts.into_iter().map(|part| part.into_iter().map(ring).collect()).collect();
            records.push(NeighborhoodRecord {
                id: NeighborhoodId(Uuid::nil()),
                name: feature["properties"]["name"].as_str().unwrap_or("A town").into(),
                parts,
                deleted: false,
                version: Version(1),
                updated_at: Timestamp(1_790_000_000_000),
            });
        }
    }
    records
}

/// Live bytes since the region began.
fn live(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    (change.bytes_allocated as f64) - (change.bytes_deallocated as f64)
}

/// Starts a table, runs it until it is ready, and gives it to `then`. It ends once there is a snapshot in the folder,
/// if one is given.
async fn with_table<V: TableEntry, T>(config: &KafkaConfig, dir: &Path, then: impl FnOnce(&Table<V>) -> T) -> T {
    let shutdown = CancellationToken::new();
    let kept = TableConfig { max_age: Duration::from_secs(60), snapshot_dir: dir.to_owned() };
    let (table, run) = Table::<V>::start(config, kept, |_| {}, shutdown.clone()).unwrap();
    let run = tokio::spawn(run);
    let until = Instant::now() + PATIENCE;
    while let Err(reason) = table.ready() {
        assert!(Instant::now() < until, "{reason}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = then(&table);
    let snapshot = dir.join(format!("{}.snapshot", config.topic_name(V::TOPIC)));
    while !dir.as_os_str().is_empty() && !snapshot.exists() {
        assert!(Instant::now() < until, "no snapshot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    run.await.unwrap().unwrap();
    found
}

/// Records of a topic, encoded.
type Records = Vec<(Uuid, Vec<u8>)>;

async fn publish(producer: &Producer, topic: Topic, records: &Records) {
    let sends = stream::iter(records).map(|(key, value)| async move {
        producer.send(topic, Some(key.as_bytes()), value, &[]).await.unwrap();
    });
    sends.buffer_unordered(2_000).collect::<()>().await;
}

/// What the records of a topic cost in memory.
struct Cost {
    entries: f64,
    encoded: f64,
    plain: f64,
    table: f64,
}

impl Cost {
    /// Of these, which are all that the topic holds.
    async fn of<V: TableEntry>(config: &KafkaConfig, records: &Records) -> Self {
        let entries = records.len() as f64;
        let bytes: usize = records.iter().map(|(_, value)| value.len()).sum();
        let region = Region::new(ALLOCATOR);
        let map: HashMap<Uuid, Vec<u8>> = records.iter().cloned().collect();
        let plain = live(&region);
        drop(map);
        let region = Region::new(ALLOCATOR);
        let table = with_table::<V, _>(config, Path::new(""), |table| {
            assert_eq!(table.len() as f64, entries);
            live(&region)
        });
        Self { entries, encoded: bytes as f64, plain, table: table.await }
    }

    /// Prints it; whether the limit is kept.
    fn say(&self, what: &str, most: f64) -> bool {
        let each = |bytes: f64| bytes / self.entries;
        let ratio = self.table / self.plain;
        println!(
            "{what}: {} entries; bytes per entry: table {:.0}, map of encoded records {:.0}, record {:.0}",
            self.entries,
            each(self.table),
            each(self.plain),
            each(self.encoded)
        );
        println!("{what}: table / map {ratio:.2} (at most {most:.2}), table / record {:.2}", self.table / self.encoded);
        ratio <= most
    }
}

/// CPU time of this process until now, ms.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything: utime and stime are the 12th and the 13th, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
}

/// In a process of its own: starts a table and says how many records it read, and its CPU time in ms.
async fn start<V: TableEntry>(config: &KafkaConfig, dir: &Path) {
    let (records, ms) = with_table::<V, _>(config, dir, |table| (table.records_read(), cpu_ms())).await;
    println!("{records} {ms}");
}

/// Records and CPU time, ms, of a start of a table of `topic` in a process of its own.
fn started(config: &KafkaConfig, topic: Topic, dir: &Path) -> (f64, f64) {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    let output = command.args([START, &config.bootstrap_servers, topic.name()]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (records, ms) = said.trim().split_once(' ').unwrap();
    (records.parse().unwrap(), ms.parse().unwrap())
}

/// Prints what a start from the topic and one from a snapshot cost, with so many records of each key; whether the limit
/// is kept.
fn compare_starts(config: &KafkaConfig, topic: Topic, of_each: u32, most: f64) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let cold = started(config, topic, Path::new(""));
    let _ = started(config, topic, dir.path());
    let warm = started(config, topic, dir.path());
    let ratio = warm.1 / cold.1;
    println!(
        "{}, {of_each} records of each key: start from the topic: {} records, {} ms of CPU; from a snapshot: {} records, \
         {} ms; ratio {ratio:.2} (at most {most:.2})",
        topic.name(),
        cold.0,
        cold.1,
        warm.0,
        warm.1
    );
    ratio <= most && warm.0 <= f64::from(PARTITIONS)
}

/// Measures a topic of these records; whether all limits are kept.
async fn measure<V: TableEntry>(config: &KafkaConfig, records: Records, most: f64) -> (Cost, bool) {
    let (producer, topic) = (Producer::new(config).unwrap(), V::TOPIC);
    publish(&producer, topic, &records).await;
    let cost = Cost::of::<V>(config, &records).await;
    let mut kept = cost.say(topic.name(), most);
    let mut written = 1;
    for (of_each, most) in MAX_SNAPSHOT_TO_TOPIC {
        for _ in written..of_each {
            publish(&producer, topic, &records).await;
        }
        written = of_each;
        kept &= compare_starts(config, topic, of_each, most);
    }
    (cost, kept)
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, what, servers, topic, dir] = args.as_slice()
        && what == START
    {
        match topic == Topic::Devices.name() {
            true => start::<Device>(&config(servers), Path::new(dir)).await,
            false => start::<NeighborhoodRecord>(&config(servers), Path::new(dir)).await,
        }
        return;
    }
    let cluster = MockCluster::new(1).unwrap();
    let config = config(&cluster.bootstrap_servers());
    for topic in [Topic::Devices, Topic::Neighborhoods] {
        cluster.create_topic(&config.topic_name(topic), PARTITIONS, 1).unwrap();
    }
    let devices = (0..DEVICES).map(device).map(|device| (device.id.0, device.encode())).collect();
    let (_, mut kept) = measure::<Device>(&config, devices, MAX_DEVICES_TO_PLAIN).await;

    let shipped = polygons();
    let vertices: usize = shipped.iter().flat_map(|polygon| polygon.parts.iter().flatten()).map(Vec::len).sum();
    let copy = |polygon: &NeighborhoodRecord| {
        let copy = NeighborhoodRecord { id: NeighborhoodId(Uuid::new_v4()), ..polygon.clone() };
        (copy.id.0, copy.encode())
    };
    let copies = (0..COPIES).flat_map(|_| &shipped).map(copy).collect();
    let (cost, within) = measure::<NeighborhoodRecord>(&config, copies, MAX_POLYGONS_TO_PLAIN).await;
    let per_vertex = cost.table / (vertices * COPIES) as f64;
    println!("polygons: {per_vertex:.1} bytes per vertex");
    kept &= within;
    assert!(kept, "above a limit");
}
