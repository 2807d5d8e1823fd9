//! G2, first part: each service is killed in turn (SIGKILL) under a steady load. Nothing acknowledged is lost, every record
//! of the log has one outcome, and no phone shows anything twice.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use porchlight::{
    city::{
        life::{self, Accepted, News, Pace, Tally},
        people::Camera,
    },
    deployment::Service,
};
use porchlight_bus::{From, Reader, Topic};
use porchlight_domain::{DeviceId, EventId, Logged, MediaId};
use porchlight_store::Store;
use porchlight_synth::{Evening, MASSACHUSETTS, Settlement, towns};
use porchlight_wire::Wire;
use support::Scene;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SEED: u64 = 20_261_124;
const EVENTS_PER_S: f64 = 25.0;

#[tokio::test(flavor = "multi_thread")]
async fn g2_each_service_is_killed_under_load() {
    let mut scene = Scene::new("kill", &["Malden", "Medford"], |_| 1).await;
    let lived_in: Vec<_> =
        towns(MASSACHUSETTS).into_iter().filter(|t| ["Malden", "Medford"].contains(&t.name.as_str())).collect();
    let mut cameras: Vec<Camera> = Vec::new();
    for household in &Settlement::new(SEED, 24, &lived_in).households {
        let resident = scene.settle(household).await;
        cameras.extend(resident.cameras);
    }

    let (accepted, mut news) = mpsc::channel(100_000);
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let evening = Evening::new(SEED, cameras.len());
    let load = tokio::spawn(life::live(
        cameras.clone(),
        evening,
        Pace::new(EVENTS_PER_S, None),
        accepted,
        tally.clone(),
        stop.clone(),
    ));
    for service in [Service::Ingest, Service::GeoIndex, Service::Notification] {
        more_are_accepted(&tally, 50).await;
        scene.city.deployment.kill(service, 0);
        // It stays away for a while: what the others do meanwhile is the point.
        tokio::time::sleep(Duration::from_millis(700)).await;
        scene.city.deployment.spawn(service, 0).expect("started again");
        scene.city.deployment.ready(support::PATIENCE).await.expect("ready again");
    }
    more_are_accepted(&tally, 50).await;
    stop.cancel();
    load.await.expect("the load ended");
    let mut acknowledged = BTreeSet::new();
    let mut stored = BTreeSet::new();
    while let Some(Accepted { camera, news }) = news.recv().await {
        let camera = &cameras[camera];
        stored.extend(scene.witness.note(camera, &news).map(MediaId));
        if let News::Event { body, .. } = news {
            let event: EventId = body["id"].as_str().and_then(|s| s.parse().ok()).expect("an id");
            acknowledged.insert((DeviceId(camera.device), event));
        }
    }
    assert!(acknowledged.len() > 200, "a load: {}", acknowledged.len());
    scene.all_arrived().await;

    // Acknowledged ⊆ log.
    let settings = scene.city.deployment.settings();
    let mut reader = Reader::open(&settings.kafka(), Topic::Events, From::Beginning).await.expect("the log");
    let mut log: BTreeMap<(DeviceId, EventId), u64> = BTreeMap::new();
    let mut media_log = BTreeSet::new();
    while let Some(record) = reader.next_existing().await.expect("the log") {
        match Logged::decode(&record.value).expect("what ingest wrote") {
            Logged::Event(stamped) => *log.entry((stamped.device, stamped.event.id)).or_default() += 1,
            Logged::Media(media) => drop(media_log.insert(media.id)),
        }
    }
    assert!(
        !stored.is_empty() && stored.is_subset(&media_log),
        "completed and lost: {:?}",
        stored.difference(&media_log)
    );
    let lost: Vec<_> = acknowledged.iter().filter(|id| !log.contains_key(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");

    // Each record of the log has one outcome row; each event one row that is neither duplicate nor conflict.
    let store = Store::connect(&settings.cql()).await.expect("the store");
    for media in &stored {
        assert!(store.media.get(*media).await.expect("the store").is_some(), "{media} has no row");
    }
    let mut rows: BTreeMap<(DeviceId, EventId), u64> = BTreeMap::new();
    let days: BTreeSet<(DeviceId, i32)> = log.keys().filter_map(|(d, e)| Some((*d, e.day()?))).collect();
    for (device, day) in days {
        let seen = store.timeline.seen_on(device, day).await.expect("rows");
        let mut events = BTreeSet::new();
        for row in seen {
            *rows.entry((row.device, row.event)).or_default() += 1;
            assert_eq!(
                row.item.is_some(),
                events.insert(row.event),
                "the first row is the event, the others repeat it"
            );
        }
    }
    assert_eq!(rows, log, "every record of the log has its row, and no row has none");

    // Shown twice: 0. (`replaced` is what a phone does with a tag that it shows already.)
    let mut shown: BTreeMap<(String, String), u32> = BTreeMap::new();
    for push in scene.city.phones.log(0) {
        let tag = push.payload["collapse"].as_str().unwrap_or_default().to_owned();
        *shown.entry((push.endpoint.clone(), tag)).or_default() += u32::from(!push.replaced);
    }
    assert!(shown.values().all(|&times| times == 1), "shown twice: {shown:?}");
    scene.end().await;
}

async fn more_are_accepted(tally: &Tally, more: u64) {
    let from = tally.accepted.load(Ordering::Relaxed);
    support::eventually("events are accepted", || async {
        (tally.accepted.load(Ordering::Relaxed) >= from + more).then_some(())
    })
    .await;
}
