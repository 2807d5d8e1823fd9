//! `porchlight replay`, over real Kafka, Cassandra, S3 and separate processes: rows that are there stay as they are, rows
//! that were lost come back, rows that were erased do not, and no phone hears of any of it.

mod support;

use std::collections::BTreeMap;

use porchlight::{city::people::Camera, deployment::Service};
use porchlight_bus::{KafkaConfig, Producer, Topic};
use porchlight_domain::{Clock, Kind, Logged, SystemClock};
use porchlight_store::CqlConfig;
use porchlight_wire::Wire;
use serde_json::Value;
use support::{
    Scene, event, household,
    kafka::{all_committed, records},
    operator::porchlight,
    rows::{Dump, OF_GEO_INDEX, cql},
    uploads::live,
};

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
    let settings = scene.city.deployment.settings().clone();
    let (kafka, config) = (settings.kafka(), settings.cql());
    live(&mut scene, &cameras).await;
    scene.all_arrived().await;
    repeat_contradict_and_spoil(&kafka).await;
    scene.all_arrived().await;
    let all = all_committed(&kafka).await;

    // While geo-index runs it may be asked how much it would be, and no more.
    let replay = ["replay", "--from", "3d"];
    let said = porchlight(&settings, &[&replay[..], &["--dry-run"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains(&format!("{all} records")), "{}", said.out);
    let said = porchlight(&settings, &replay).await;
    assert!(said.code == Some(1) && said.err.contains("stop every process of it first"), "{} {}", said.out, said.err);
    let said = porchlight(&settings, &["replay", "--from", "1h", "--to", "2h"]).await;
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
    let said = porchlight(&settings, &replay).await;
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
    let said = porchlight(&settings, &replay).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    Dump::take(&config).await.with_outcomes_of(&before).assert_same(&before);

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
        let said = porchlight(&settings, &replay).await;
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
