//! `porchlight audit conservation` over a network that lived: everything adds up, whatever state it is in; and one row
//! that is taken away is found and named.

mod support;

use std::sync::{Arc, atomic::Ordering};

use porchlight::{
    audit::{Wrong, conservation},
    city::life::{self, Pace, Tally},
    deployment::{Service, Settings},
};
use porchlight_bus::{From, Producer, Reader, Topic};
use porchlight_domain::{Alert, Clock as _, Digest, EventId, Logged, Stamped, SystemClock, Timestamp};
use porchlight_store::{Delivery, LEDGER_MS, SeenEvent, Store};
use porchlight_synth::{Evening, MASSACHUSETTS, Settlement, towns};
use porchlight_wire::Wire as _;
use serde_json::Value;
use support::{
    Scene, event, eventually, household,
    operator::{Said, porchlight},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SEED: u64 = 20_261_125;

async fn audit(settings: &Settings, arguments: &[&str]) -> Said {
    porchlight(settings, &[&["audit", "conservation"], arguments].concat()).await
}

async fn audit_json(settings: &Settings) -> (Option<i32>, Value) {
    let output = audit(settings, &["--from", "1h", "--json"]).await;
    let json = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("no JSON: {}", output.err));
    (output.code, json)
}

fn count(report: &Value, of: &str, term: &str) -> u64 {
    report[of]["terms"][term].as_u64().unwrap_or_default()
}

fn adds_up(report: &Value, of: &str) -> bool {
    let terms = report[of]["terms"].as_object().expect("terms");
    report[of]["total"].as_u64() == Some(terms.values().filter_map(Value::as_u64).sum())
}

/// The events in the log, with their places.
async fn log(settings: &Settings) -> Vec<((i32, i64), Stamped)> {
    let mut reader = Reader::open(&settings.kafka(), Topic::Events, From::Beginning).await.expect("the log");
    let mut found = Vec::new();
    while let Some(record) = reader.next_existing().await.expect("the log") {
        if let Ok(Logged::Event(stamped)) = Logged::decode(&record.value) {
            found.push(((record.partition, record.offset), stamped));
        }
    }
    found
}

async fn put(producer: &Producer, stamped: Stamped) {
    let key = stamped.device.0;
    let value = Logged::Event(stamped).encode();
    producer.send(Topic::Events, Some(key.as_bytes()), &value, &[]).await.expect("delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_what_came_in_is_what_came_out_and_what_is_taken_away_is_named() {
    let began = SystemClock.now();
    let mut scene = Scene::new("conserve", &["Malden", "Medford"], |_| 1).await;
    let settings = scene.city.deployment.settings().clone();
    let owner = scene.settle(&household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]))).await;
    live(&mut scene).await;

    let camera = owner.cameras[0].clone();
    for _ in 0..2 {
        scene.send(&camera, &event("ding", &["person"], SystemClock.now())).await;
    }
    scene.all_arrived().await;
    // What ingest's memory keeps out of the log: the same event again, another body under its id; and poison.
    let producer = Producer::new(&settings.kafka()).expect("a producer");
    let (_, stamped) =
        log(&settings).await.into_iter().find(|(_, s)| s.device.0 == camera.device).expect("it was sent");
    put(&producer, stamped.clone()).await;
    put(&producer, Stamped { digest: Digest([9; 32]), ..stamped.clone() }).await;
    let key = camera.device.as_bytes().as_slice();
    producer.send(Topic::Events, Some(key), b"\xff\x00 no message", &[]).await.expect("delivered");
    scene.send(&camera, &event("motion", &["person"], SystemClock.now())).await;
    scene.all_arrived().await;

    let (code, report) = audit_json(&settings).await;
    assert_eq!((code, &report["conserved"]), (Some(0), &Value::Bool(true)), "{report:#}");
    for equation in ["events", "alerts", "pushes"] {
        assert!(adds_up(&report, equation) && report[equation]["total"].as_u64() > Some(3), "{report:#}");
    }
    for (term, at_least) in
        [("duplicate", 1), ("conflict", 1), ("dead_letter", 1), ("household_only", 5), ("alerted", 3)]
    {
        assert!(count(&report, "events", term) >= at_least, "{term}: {report:#}");
    }
    assert_eq!(count(&report, "events", "dead_letter"), 1, "{report:#}");
    assert!(count(&report, "pushes", "handed_over") > 20 && count(&report, "alerts", "planned") > 10, "{report:#}");

    two_ranges_that_meet_are_the_whole(&settings, began, stamped.received_at).await;
    what_a_stopped_stage_has_not_done_is_in_flight(&mut scene, &camera).await;

    let text = audit(&settings, &["--from", "1h"]).await.well();
    assert!(text.ends_with("\nconserved\n"), "{text}");
    assert!(text.contains("EVENTS  ") && text.contains("  duplicate") && text.contains('█'), "{text}");

    what_is_taken_away_is_named(&settings, &stamped).await;
    let usage = audit(&settings, &["--from", "1h", "--to", "2h"]).await;
    assert_eq!(usage.code, Some(64), "{}", usage.err);
    scene.end().await;
}

/// Some dozens of events, with thumbnails, of households that share this and that.
async fn live(scene: &mut Scene) {
    let drawn: Vec<_> =
        towns(MASSACHUSETTS).into_iter().filter(|t| ["Malden", "Medford"].contains(&t.name.as_str())).collect();
    let mut cameras = Vec::new();
    for household in &Settlement::new(SEED, 16, &drawn).households {
        cameras.extend(scene.settle(household).await.cameras);
    }
    let (accepted, mut news) = mpsc::channel(10_000);
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let evening = Evening::new(SEED, cameras.len());
    let load = tokio::spawn(life::live(
        cameras.clone(),
        evening,
        Pace::new(20.0, None),
        accepted,
        tally.clone(),
        stop.clone(),
    ));
    eventually("a load", || async { (tally.accepted.load(Ordering::Relaxed) >= 60).then_some(()) }).await;
    stop.cancel();
    load.await.expect("the load ended");
    while let Some(accepted) = news.recv().await {
        scene.witness.note(&cameras[accepted.camera], &accepted.news);
    }
}

async fn two_ranges_that_meet_are_the_whole(settings: &Settings, from: Timestamp, between: Timestamp) {
    let store = Store::connect(&settings.cql()).await.expect("the store");
    let to = SystemClock.now();
    let range = async |from, to| {
        let report = conservation(&settings.kafka(), &store, from, to, &|_| {}).await.expect("an audit");
        assert!(report.is_conserved(), "{report}");
        [report.events.total, report.alerts.total, report.pushes.total]
    };
    let (whole, first, second) = (range(from, to).await, range(from, between).await, range(between, to).await);
    assert!(first.iter().chain(&second).all(|n| *n > 0), "{first:?} {second:?}");
    // Of alerts each revision counts once; a record of one may come again, in the other range.
    assert_eq!([first[0] + second[0], first[1] + second[1], first[2] + second[2]], whole);
}

async fn what_a_stopped_stage_has_not_done_is_in_flight(scene: &mut Scene, camera: &porchlight::city::people::Camera) {
    scene.city.deployment.kill(Service::GeoIndex, 0);
    for _ in 0..3 {
        scene.send(camera, &event("ding", &["person"], SystemClock.now())).await;
    }
    let settings = scene.city.deployment.settings().clone();
    let (code, report) = audit_json(&settings).await;
    assert_eq!((code, count(&report, "events", "in_flight")), (Some(0), 3), "{report:#}");
    scene.city.deployment.spawn(Service::GeoIndex, 0).expect("started again");
    scene.city.deployment.ready(support::PATIENCE).await.expect("ready again");
    scene.all_arrived().await;
    let (code, report) = audit_json(&settings).await;
    assert_eq!((code, count(&report, "events", "in_flight")), (Some(0), 0), "{report:#}");
}

/// A row is taken away by one that covers it and ends in a moment.
async fn what_is_taken_away_is_named(settings: &Settings, stamped: &Stamped) {
    let store = Store::connect(&settings.cql()).await.expect("the store");
    let soon = || SystemClock.now().plus_ms(500);
    let seen = store.timeline.first_seen(stamped.device, stamped.event.id).await.expect("a read").expect("it is there");
    let gone = SeenEvent { received_at: seen.received_at.plus_ms(1), expires_at: soon(), ..seen.clone() };
    store.timeline.record_seen(&gone).await.expect("written");
    // And a row of an event that never was, at the place of another.
    let day = stamped.event.id.day().expect("a day");
    let of_the_day = store.timeline.seen_on(stamped.device, day).await.expect("a read");
    let phantom = SeenEvent { event: EventId(Uuid::now_v7()), ..of_the_day.last().expect("a row").clone() };
    store.timeline.record_seen(&phantom).await.expect("written");

    let told = a_push(settings, &store).await;
    let gone = Delivery { at: told.at.plus_ms(1), alert_created_at: soon().plus_ms(-LEDGER_MS), ..told.clone() };
    store.deliveries.record(&gone).await.expect("written");
    eventually("the rows end", || async {
        let rows = store.timeline.seen_on(stamped.device, day).await.expect("a read");
        let pushes = store.deliveries.of_alert_to(told.alert, told.resident).await.expect("a read");
        let is_there = rows
            .iter()
            .any(|row| (row.partition, row.offset) == (seen.partition, seen.offset) && row.event == seen.event)
            || pushes.iter().any(|row| (row.revision, row.endpoint) == (told.revision, told.endpoint));
        (!is_there).then_some(())
    })
    .await;

    let Said { code, out: text, err } = audit(settings, &["--from", "1h"]).await;
    assert_eq!(code, Some(1), "{text}");
    let lost = format!(
        "  NOT conserved: 1 lost, 1 unexplained\n    lost: event {} of device {} at events.v1/{}/{}\n",
        seen.event, seen.device, seen.partition, seen.offset
    );
    assert!(text.contains(&lost), "{lost}\n{text}");
    assert!(text.contains(&format!("unexplained: a row of event {}", phantom.event)), "{text}");
    let lost = format!(
        "  NOT conserved: 1 lost\n    lost: alert {} revision {} to resident {} at pushes.v1/",
        told.alert, told.revision, told.resident
    );
    assert!(text.contains(&lost) && text.ends_with("\nNOT conserved\n"), "{lost}\n{text}");
    assert!(err.contains("looking again"), "{err}");

    let now = SystemClock.now();
    let report =
        conservation(&settings.kafka(), &store, now.plus_ms(-3_600_000), now, &|_| {}).await.expect("an audit");
    assert_eq!((report.events.wrong(Wrong::Lost), report.pushes.wrong(Wrong::Lost)), (1, 1));
    assert!(!report.is_conserved() && report.alerts.is_conserved());
}

/// What the household was told of some alert.
async fn a_push(settings: &Settings, store: &Store) -> Delivery {
    let mut reader = Reader::open(&settings.kafka(), Topic::Alerts, From::Beginning).await.expect("the log");
    while let Some(record) = reader.next_existing().await.expect("the log") {
        let alert = Alert::decode(&record.value).expect("an alert");
        let rows = store.deliveries.of_alert(alert.id).await.expect("a read");
        if let Some(row) = rows.into_iter().find(|row| !row.as_neighbor) {
            return row;
        }
    }
    panic!("nobody was told of anything");
}
