//! `porchlight replay`, over real Kafka, Cassandra, S3 and separate processes: rows that are there stay as they are, rows
//! that were lost come back, rows that were erased do not, and no phone hears of any of it.

mod support;

use std::{collections::BTreeMap, process::Output};

use porchlight::{city::people::Camera, client::MediaFile, deployment::Service};
use porchlight_bus::{From, KafkaConfig, Producer, Reader, Record, Replay, Span, Topic};
use porchlight_domain::{Clock, Kind, Logged, SystemClock};
use porchlight_store::CqlConfig;
use porchlight_wire::Wire;
use serde_json::Value;
use support::{
    Scene, event, eventually, household,
    rows::{Dump, OF_GEO_INDEX, cql},
    uploads::id_of,
};
use tokio::process::Command;

/// What the command answered.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn porchlight(kafka: &KafkaConfig, config: &CqlConfig, args: &[&str]) -> Said {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_porchlight"))
        .args(args)
        .env("PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS", &kafka.bootstrap_servers)
        .env("PORCHLIGHT_KAFKA__TOPIC_PREFIX", &kafka.topic_prefix)
        .env("PORCHLIGHT_KAFKA__GROUP_PREFIX", &kafka.group_prefix)
        .env("PORCHLIGHT_CQL__CONTACT_POINTS", format!("{:?}", config.contact_points))
        .env("PORCHLIGHT_CQL__KEYSPACE", &config.keyspace)
        .output()
        .await
        .expect("the command line runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

async fn records(kafka: &KafkaConfig, topic: Topic) -> Vec<Record> {
    let mut reader = Reader::open(kafka, topic, From::Beginning).await.expect("the topic");
    let mut all = Vec::new();
    while let Some(record) = reader.next_existing().await.expect("the topic") {
        all.push(record);
    }
    all
}

/// Waits until geo-index has committed all there is.
async fn all_committed(kafka: &KafkaConfig) -> usize {
    let all = records(kafka, Topic::Events).await.len();
    eventually("geo-index has committed all", || async {
        let found = Replay::find(kafka, Topic::Events, "geo-index", 0, None).await.ok()?;
        (found.spans().iter().map(Span::len).sum::<u64>() == all as u64).then_some(())
    })
    .await;
    all
}

/// Of the first event in the log: the same once more, and another body under its id, as a second ingest may append them.
/// And what is no event.
async fn repeat_contradict_and_spoil(kafka: &KafkaConfig) {
    let log = records(kafka, Topic::Events).await;
    let event = log.iter().find_map(|record| match Logged::decode(&record.value) {
        Ok(Logged::Event(stamped)) => Some((record, stamped)),
        Ok(Logged::Media(_)) | Err(_) => None,
    });
    let (record, mut other) = event.expect("an event");
    other.event.kind = if other.event.kind == Kind::Ding { Kind::Motion } else { Kind::Ding };
    other.digest = other.event.digest();
    let producer = Producer::new(kafka).expect("a producer");
    for value in [record.value.clone(), Logged::Event(other).encode(), b"\xff no event".to_vec()] {
        producer.send(Topic::Events, record.key.as_deref(), &value, &[]).await.expect("delivered");
    }
}

/// Nobody looks at it here: any bytes will do.
fn media(kind: &'static str, n: usize) -> MediaFile {
    let content_type = if kind == "clip" { "video/mp4" } else { "image/jpeg" };
    MediaFile { kind, content_type, bytes: format!("{kind} {n}").into_bytes() }
}

/// What three cameras see: items of several revisions, shared and not, with media before and after their events.
async fn live(scene: &mut Scene, cameras: &[Camera]) {
    for (n, camera) in cameras.iter().enumerate() {
        for (kind, labels) in [("motion", &["person"][..]), ("motion", &["animal"]), ("ding", &[]), ("motion", &[])] {
            let body = event(kind, labels, SystemClock.now());
            let id = id_of(&body);
            if camera.clips && kind == "ding" {
                scene.store(camera, id, &media("thumbnail", n)).await;
            }
            scene.send(camera, &body).await;
            if camera.clips && labels == ["person"] {
                scene.store(camera, id, &media("clip", n)).await;
            }
        }
    }
}

async fn erase(config: &CqlConfig, dump: &Dump, camera: &Camera) -> usize {
    let device = camera.device.to_string();
    let mut erased = 0;
    let of_camera = |table: &str| {
        let rows = dump.table(table).values().filter(|row| row.values["device"] == device.as_str());
        rows.map(|row| row.values.clone()).collect::<Vec<_>>()
    };
    let items: Vec<String> = of_camera("items").iter().map(|item| word(&item["id"])).collect();
    for (table, key) in [
        ("event_seen", &["device", "day", "event", "log_partition", "log_offset"][..]),
        ("items", &["id"]),
        ("last_items", &["device", "kind", "familiar"]),
        ("media", &["id"]),
        ("media_by_event", &["device", "event", "received_at", "id"]),
    ] {
        for row in of_camera(table) {
            erased += 1;
            delete(config, table, key, &row).await;
        }
    }
    for row in dump.table("feeds").values().filter(|row| items.contains(&word(&row.values["item"]))) {
        erased += 1;
        delete(config, "feeds", &["owner_kind", "owner", "bucket", "at", "item"], &row.values).await;
    }
    erased
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn delete(config: &CqlConfig, table: &str, key: &[&str], row: &serde_json::Map<String, Value>) {
    let is_quoted = |column: &&str| ["kind", "owner_kind", "at", "received_at"].contains(column);
    let quote = |column: &&str| if is_quoted(column) { "'" } else { "" };
    let equal = key.iter().map(|c| format!("{c} = {}{}{}", quote(c), word(&row[*c]), quote(c)));
    cql(config, &format!("DELETE FROM {table} WHERE {}", equal.collect::<Vec<_>>().join(" AND "))).await;
}

/// Each outcome as it was, or that of news that are over.
fn with_outcomes_of(mut dump: Dump, before: &Dump) -> Dump {
    let seen = dump.0.get_mut("event_seen").expect("the table");
    for (key, row) in seen.iter_mut() {
        let was = &before.table("event_seen")[key].values["outcome"];
        let tells = was == "alerted" || was == "household_only";
        assert!(row.values["outcome"] == *was || (tells && row.values["outcome"] == "expired"), "{key} {was} {row:?}");
        row.values.insert("outcome".into(), was.clone());
    }
    dump
}

#[tokio::test(flavor = "multi_thread")]
async fn g6_a_replay_lengthens_and_revives_nothing_and_brings_back_what_was_lost() {
    let mut scene = Scene::new("replay", &["Malden", "Quincy"], |_| 1).await;
    let mut cameras = Vec::new();
    for (n, (lon, lat, shares)) in
        [(-71.0662, 42.4251, &["person"][..]), (-71.0560, 42.4270, &[]), (-71.0700, 42.4280, &["person", "animal"])]
            .into_iter()
            .enumerate()
    {
        let mut home = household(&format!("resident {n}"), "Malden", lon, lat, Some(shares));
        (home.cameras[0].clips, home.cameras[0].shares_media) = (n != 2, n == 0);
        cameras.extend(scene.settle(&home).await.cameras);
    }
    let settings = scene.city.deployment.settings();
    let (kafka, config) = (settings.kafka(), settings.cql());
    live(&mut scene, &cameras).await;
    scene.all_arrived().await;
    repeat_contradict_and_spoil(&kafka).await;
    scene.all_arrived().await;
    let all = all_committed(&kafka).await;

    // While geo-index runs it may be asked how much it would be, and no more.
    let replay = ["replay", "--from", "3d"];
    let said = porchlight(&kafka, &config, &[&replay[..], &["--dry-run"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains(&format!("{all} records")), "{}", said.out);
    let said = porchlight(&kafka, &config, &replay).await;
    assert!(said.code == Some(1) && said.err.contains("stop every process of it first"), "{} {}", said.out, said.err);
    let said = porchlight(&kafka, &config, &["replay", "--from", "1h", "--to", "2h"]).await;
    assert_eq!(said.code, Some(64), "{}", said.err);

    scene.city.deployment.terminate(Service::GeoIndex, 0).await.expect("drained");
    let before = Dump::take(&config).await;
    assert!(OF_GEO_INDEX.iter().all(|table| !before.table(table).is_empty()), "there is something to compare");
    let outcomes = |dump: &Dump| {
        let words = dump.table("event_seen").values().map(|row| word(&row.values["outcome"]));
        words.fold(BTreeMap::<String, u32>::new(), |mut counts, word| {
            *counts.entry(word).or_default() += 1;
            counts
        })
    };
    let counts = outcomes(&before);
    for outcome in ["alerted", "household_only", "duplicate", "conflict"] {
        assert!(counts.get(outcome).is_some_and(|n| *n > 0), "{outcome} {counts:?}");
    }
    let revisions = before.table("items").values().filter(|row| row.values["revision"].as_i64() > Some(1)).count();
    assert!(revisions >= cameras.len(), "items of several revisions");
    let (pushed, alerts) = (scene.city.phones.log(0).len(), records(&kafka, Topic::Alerts).await.len());
    assert!(pushed > 0 && alerts > 0);
    let letters = records(&kafka, Topic::DeadLetters).await.len();

    // Over rows that are there: nothing moves.
    let said = porchlight(&kafka, &config, &replay).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with(&format!("{all} records replayed in ")), "{}", said.out);
    assert!(said.out.contains(" 1 could not be read"), "{}", said.out);
    assert!(said.err.contains("cannot be read, and is passed over"), "{}", said.err);
    Dump::take(&config).await.assert_same(&before);

    // Over rows that were lost: they come back.
    for table in OF_GEO_INDEX {
        cql(&config, &format!("TRUNCATE {table}")).await;
    }
    assert!(Dump::take(&config).await.0.values().all(BTreeMap::is_empty));
    let said = porchlight(&kafka, &config, &replay).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    with_outcomes_of(Dump::take(&config).await, &before).assert_same(&before);

    // Over rows that were erased: they stay so, all of a camera with items of several events, and single ones of another.
    let gone = erase(&config, &before, &cameras[0]).await;
    assert!(gone > 8, "{gone} rows of one camera");
    let of_another = |table: &str| {
        let rows = before.table(table).values();
        let mut rows = rows.filter(|row| row.values["device"] == cameras[1].device.to_string());
        rows.next().expect("a row").values.clone()
    };
    delete(&config, "items", &["id"], &of_another("items")).await;
    let event = of_another("event_seen");
    delete(&config, "event_seen", &["device", "day", "event", "log_partition", "log_offset"], &event).await;
    let erased = Dump::take(&config).await;
    let count = |dump: &Dump| dump.0.values().map(BTreeMap::len).sum::<usize>();
    assert_eq!(count(&erased), count(&before) - gone - 2);
    for _ in 0..2 {
        let said = porchlight(&kafka, &config, &replay).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        Dump::take(&config).await.assert_same(&erased);
    }

    // Nobody was told, no stream was fed, nothing was buried again: not even when geo-index is there again.
    scene.city.deployment.spawn(Service::GeoIndex, 0).expect("started again");
    scene.city.deployment.ready(support::PATIENCE).await.expect("ready again");
    assert_eq!(records(&kafka, Topic::Alerts).await.len(), alerts);
    assert_eq!(records(&kafka, Topic::DeadLetters).await.len(), letters);
    scene.send(&cameras[2], &event_of_a_stranger()).await;
    scene.all_arrived().await;
    assert_eq!(records(&kafka, Topic::Alerts).await.len(), alerts + 1, "that of the new event");
    let household_of_the_new_event = 1;
    assert_eq!(scene.city.phones.log(0).len(), pushed + household_of_the_new_event);
    scene.end().await;
}

/// Shared with nobody: one push, to its household.
fn event_of_a_stranger() -> Value {
    event("motion", &["vehicle"], SystemClock.now())
}
