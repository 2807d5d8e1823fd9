//! A process that writes is killed, twenty times, at any moment: what it was told is there, and nothing stands half.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use porchlight_domain::{
    AlertId, ChosenId, Clock as _, ContentHash, ContentType, Device, DeviceId, EndpointId, EventId, HomeId,
    HouseholdId, Item, ItemId, Kind, Labels, Media, MediaId, MediaKind, Plan, Point, PushId, ResidentId, SharingPolicy,
    SystemClock, Timestamp, Version, item::GroupKey,
};
use porchlight_store::{CqlConfig, Delivery, DeliveryOutcome, Read, Store, StoreError, Written, apply_schema};
use rand::Rng as _;
use tempfile::TempDir;
use uuid::Uuid;

/// Names the folder to the process that is killed.
const FOLDER: &str = "PORCHLIGHT_TEST_STORE_FOLDER";
const KILLS: usize = 20;
/// How many write at once.
const WRITERS: usize = 48;

fn config(folder: &Path) -> CqlConfig {
    CqlConfig { folder: folder.to_owned(), ..CqlConfig::default() }
}

/// What is written at once, in two rows each: all of it follows from one id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Pair {
    Item(Uuid),
    Media(Uuid),
    Delivery(Uuid),
}

/// One line of the process that is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Begun(Pair),
    Written(Pair),
    /// A device stands at this version.
    Device(Uuid, u64),
}

impl Pair {
    fn parse(kind: &str, id: &str) -> Option<Self> {
        let id = id.parse().ok()?;
        match kind {
            "Item" => Some(Self::Item(id)),
            "Media" => Some(Self::Media(id)),
            "Delivery" => Some(Self::Delivery(id)),
            _ => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Item(id) => format!("Item {id}"),
            Self::Media(id) => format!("Media {id}"),
            Self::Delivery(id) => format!("Delivery {id}"),
        }
    }

    async fn write(self, store: &Store) -> Result<(), StoreError> {
        match self {
            Self::Item(id) => store.timeline.put_item(&item(id)).await,
            Self::Media(id) => store.media.put(&media(id)).await,
            Self::Delivery(id) => store.deliveries.record(&delivery(id)).await,
        }
    }

    /// Which of the two rows are there.
    async fn halves(self, store: &Store) -> [bool; 2] {
        match self {
            Self::Item(id) => {
                let item = item(id);
                let found = store.timeline.item(item.id).await.unwrap();
                [found.is_some(), store.timeline.last_item(item.group).await.unwrap() == Some(item.id)]
            }
            Self::Media(id) => {
                let media = media(id);
                let of_event = store.media.of_event(media.device, media.event).await.unwrap();
                [store.media.get(media.id).await.unwrap().is_some(), !of_event.is_empty()]
            }
            Self::Delivery(id) => {
                let d = delivery(id);
                let outcome = store.deliveries.outcome(d.push, d.resident, d.alert_created_at).await.unwrap();
                [outcome.is_some(), !store.deliveries.of_alert(d.alert).await.unwrap().is_empty()]
            }
        }
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begun", kind, id] => Pair::parse(kind, id).map(Self::Begun),
            ["written", kind, id] => Pair::parse(kind, id).map(Self::Written),
            ["device", id, version] => Some(Self::Device(id.parse().ok()?, version.parse().ok()?)),
            _ => None,
        }
    }

    /// One call of the system for the line: it is there whole or not at all, as far as pipes go.
    fn say(self) {
        let line = match self {
            Self::Begun(pair) => format!("begun {}\n", pair.words()),
            Self::Written(pair) => format!("written {}\n", pair.words()),
            Self::Device(id, version) => format!("device {id} {version}\n"),
        };
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn item(id: Uuid) -> Item {
    Item {
        id: ItemId(id),
        group: GroupKey { device: DeviceId(id), kind: Kind::Motion, familiar: false },
        household: HouseholdId(id),
        labels: Labels::NONE,
        shared_labels: Labels::NONE,
        point: Point { lon_e7: 1, lat_e7: 2 },
        neighborhoods: Vec::new(),
        revision: 1,
        shared: None,
        opened_at: now(),
        updated_at: now(),
        occurred_at: now(),
        last_occurred_at: now(),
        last_event: EventId(id),
        media: Vec::new(),
        expires_at: now().plus_ms(86_400_000),
    }
}

fn media(id: Uuid) -> Media {
    Media {
        id: MediaId(id),
        device: DeviceId(id),
        event: EventId(id),
        household: HouseholdId(id),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 5,
        sha256: ContentHash([7; 32]),
        retention_days: 30,
        received_at: now(),
    }
}

fn delivery(id: Uuid) -> Delivery {
    Delivery {
        push: PushId(id),
        alert: AlertId(id),
        revision: 1,
        resident: ResidentId(id),
        endpoint: EndpointId(id),
        outcome: DeliveryOutcome::HandedOver,
        as_neighbor: false,
        alert_created_at: now(),
        at: now(),
    }
}

fn device(id: Uuid, version: u64) -> Device {
    Device {
        id: DeviceId(id),
        chosen: ChosenId(id),
        household: HouseholdId(id),
        home: HomeId(id),
        name: version.to_string(),
        point: Point { lon_e7: 1, lat_e7: 2 },
        policy: SharingPolicy::default(),
        plan: Plan::default(),
        credential: None,
        deleted: false,
        version: Version(version),
        updated_at: Timestamp(5),
    }
}

/// Writes for ever, and says of each write when it begins and when it is answered.
async fn writer(store: Store) {
    let device_id = Uuid::new_v4();
    for version in 1.. {
        for pair in [Pair::Item, Pair::Media, Pair::Delivery].map(|kind| kind(Uuid::new_v4())) {
            Line::Begun(pair).say();
            pair.write(&store).await.unwrap();
            Line::Written(pair).say();
        }
        let expected = (version > 1).then_some(Version(version - 1));
        let written = store.registry.put_device(&device(device_id, version), expected).await.unwrap();
        assert_eq!(written, Written::Applied);
        Line::Device(device_id, version).say();
    }
}

/// Not a test of its own: the process that the one below kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Store::connect(&config(Path::new(&folder))).await.unwrap();
    join_all((0..WRITERS).map(|_| tokio::spawn(writer(store.clone())))).await;
}

/// Runs it for a while and kills it: what it said until then.
fn run_and_kill(folder: &Path) -> Vec<Line> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        // A line without its end is one that was not said.
        while said.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            if let Some(line) = Line::parse(line.trim_end()) {
                sender.send(line).unwrap();
            }
            line.clear();
        }
    });
    let first = lines.recv_timeout(Duration::from_secs(30)).expect("it writes");
    std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..150_000)));
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    reader.join().unwrap();
    std::iter::once(first).chain(lines).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_answered_write_and_leaves_none_half() {
    let folder = TempDir::new().unwrap();
    let config = config(folder.path());
    apply_schema(&config, 1).await.unwrap();
    let (mut written, mut devices) = (BTreeSet::new(), BTreeMap::new());
    let (mut unanswered, mut longest) = ([0, 0], Duration::ZERO);
    for kill in 0..KILLS {
        // Until then this process still has the folder: the other waits for it.
        let lines = tokio::task::block_in_place(|| run_and_kill(folder.path()));
        let mut begun = BTreeSet::new();
        for line in lines {
            match line {
                Line::Begun(pair) => _ = begun.insert(pair),
                Line::Written(pair) => _ = written.insert(pair),
                Line::Device(id, version) => _ = devices.insert(id, version),
            }
        }
        let opening = Instant::now();
        let store = Store::connect(&config).await.unwrap();
        longest = longest.max(opening.elapsed());
        for pair in &begun {
            let halves = pair.halves(&store).await;
            assert_eq!(halves[0], halves[1], "kill {kill}: {pair:?} stands half");
            assert!(halves[0] || !written.contains(pair), "kill {kill}: {pair:?} was answered and is lost");
            if !written.contains(pair) {
                unanswered[usize::from(halves[0])] += 1;
            }
        }
        for (&id, &version) in &devices {
            let stands = store.registry.device(DeviceId(id), Read::Serial).await.unwrap().expect("it was answered");
            // The one after it may have been written and not said.
            assert!((version..=version + 1).contains(&stands.version.0), "kill {kill}: {version} {stands:?}");
            assert_eq!(stands, device(id, stands.version.0));
        }
    }
    // What survived one kill survived all.
    let store = Store::connect(&config).await.unwrap();
    for pair in &written {
        assert_eq!(pair.halves(&store).await, [true, true], "{pair:?}");
    }
    assert!(written.len() > KILLS * WRITERS, "it was killed before it wrote: {}", written.len());
    let line = format!(
        "{KILLS} kills: {} answered writes of two rows and {} devices, all there; of the unanswered, {} not there and {} \
         there; the longest opening took {longest:?}\n",
        written.len(),
        devices.len(),
        unanswered[0],
        unanswered[1],
    );
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}
