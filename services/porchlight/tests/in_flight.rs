//! Borders are drawn again and homes move while alerts are on their way, processes stand still, die and come again, and
//! some alerts overtake the polygons that they name. Who is told of what is judged by the versions that each alert
//! names.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use porchlight::{
    city::{
        life::{self, Tally},
        people::{Camera, Resident, TownHall},
        witness::observed,
    },
    deployment::{Service, Settings},
};
use porchlight_bus::{Producer, Topic};
use porchlight_domain::{
    Alert, AlertId, Clock, EventId, HouseholdId, ItemId, Kind, Label, Labels, Lane, NeighborhoodId, NeighborhoodRef,
    SystemClock, Version, item::ALERT_TTL_MS,
};
use porchlight_geofence::Point;
use porchlight_oracle::{Between, FlightVerdict, ObservedPush};
use porchlight_store::{Store, Written};
use porchlight_wire::Wire;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use support::{
    PATIENCE, Scene,
    apps::seed,
    event, eventually,
    flown::{Names, flown, shown_once},
    household,
    motion::{Mover, Told, Town, degrees, now_ms},
    sample,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EDITS: usize = 200;
const MOVES: usize = 500;
/// Over so long both are spread.
const COURSE: Duration = Duration::from_secs(30);
/// Who has a camera stays: a home does not move away from its devices.
const OWNERS: usize = 8;
const MOVERS: usize = 32;
/// What the services' tables of polygons may lag behind the answer to an edit.
const LAG_MS: i64 = 5_000;
const NOTIFICATIONS: usize = 3;
/// How many alerts come late at a time, of each town, and at least how many versions.
const LATE_EACH: usize = 6;
const LATE_BY: u64 = 8;

fn replicas(service: Service) -> usize {
    if service == Service::Notification { NOTIFICATIONS } else { 1 }
}

/// Everything that moves, and how far it is.
#[derive(Clone)]
struct Motion {
    told: Told,
    towns: Arc<Vec<tokio::sync::Mutex<Town>>>,
    edits: Arc<AtomicUsize>,
    moves: Arc<AtomicUsize>,
    /// Which camera sent an event.
    sent: Arc<Mutex<BTreeMap<Uuid, Uuid>>>,
}

#[allow(clippy::print_stdout)] // the numbers say whether the judgment was worth something
#[tokio::test(flavor = "multi_thread")]
async fn g1_edits_and_moves_while_alerts_are_in_flight() {
    let seed = seed("in_flight");
    let mut rng = StdRng::seed_from_u64(seed);
    let quick_to_notice_a_death = |settings: &mut Settings| {
        settings.kafka = "session_timeout_ms = 6000\n".to_owned();
    };
    let mut scene = Scene::with("in_flight", &[], replicas, quick_to_notice_a_death).await;
    let middles = [
        (-711_000_000, 424_000_000),
        (-710_720_000, 424_000_000),
        (-711_000_000, 424_210_000),
        (-710_720_000, 424_210_000),
    ];
    let towns: Vec<Town> =
        (0..).zip(middles).map(|(n, (x, y))| Town::new(&format!("town {n}"), Point { x, y }, &mut rng)).collect();
    let motion = Motion {
        told: Told::new(LAG_MS),
        towns: Arc::new(towns.into_iter().map(tokio::sync::Mutex::new).collect()),
        edits: Arc::default(),
        moves: Arc::default(),
        sent: Arc::default(),
    };
    for town in motion.towns.iter() {
        town.lock().await.publish(&scene.city.hall, &motion.told).await;
    }
    let Settled { owners, movers, names } = settle(&scene, &motion, &mut rng).await;

    let (mut cameras, mut changes, stop) = (JoinSet::new(), JoinSet::new(), CancellationToken::new());
    for camera in owners.iter().flat_map(|owner| &owner.cameras) {
        cameras.spawn(watch(camera.clone(), motion.clone(), StdRng::from_rng(&mut rng), stop.clone()));
    }
    for n in 0..motion.towns.len() {
        changes.spawn(edit(n, scene.city.hall.clone(), motion.clone(), StdRng::from_rng(&mut rng)));
    }
    for mover in movers {
        changes.spawn(wander(mover, scene.city.hall.clone(), motion.clone(), StdRng::from_rng(&mut rng)));
    }
    let overtook = disturb(&mut scene, &motion, &owners, &mut rng).await;
    while let Some(changed) = changes.join_next().await {
        changed.expect("changed to the end");
    }
    stop.cancel();
    while let Some(watched) = cameras.join_next().await {
        watched.expect("watched to the end");
    }

    let (verdict, pushes) = judge_when_all_is_decided(&scene, &motion, &names).await;
    let FlightVerdict { own, must, must_not, only_before, only_after, either, either_told, .. } = verdict;
    let strict = verdict.strict_share();
    println!("{} pushes of {} events", pushes.len(), motion.sent.lock().unwrap_or_else(PoisonError::into_inner).len());
    println!("own {own}, must {must}, must not {must_not} ({only_before} lived there before, {only_after} after)");
    println!("either {either} ({either_told} told): {strict:.3} strict");
    assert_eq!([motion.edits.load(Ordering::Relaxed), motion.moves.load(Ordering::Relaxed)], [EDITS, MOVES]);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(strict > 0.8, "of too many anything would be right: {strict:.3}");
    assert!(must > 300 && must_not > 300, "of both there is enough to be wrong about");
    assert!(only_before > 0 && only_after > 0, "each half of the rule kept somebody out");
    for alert in overtook {
        let told = pushes.iter().any(|p| p.alert == alert && p.line.starts_with("neighborhood."));
        assert!(told, "{alert} overtook its polygon, and nobody was told of it");
    }
    shown_once(&scene);
    scene.end().await;
}

struct Settled {
    /// Who have a camera, and stay.
    owners: Vec<Resident>,
    movers: Vec<Mover>,
    names: Names,
}

async fn settle(scene: &Scene, motion: &Motion, rng: &mut StdRng) -> Settled {
    let mut households = Vec::new();
    for n in 0..OWNERS + MOVERS {
        let town = motion.towns[n % motion.towns.len()].lock().await;
        let (lon, lat) = degrees(town.place(rng));
        let shares = (n < OWNERS).then_some(["person"].as_slice());
        households.push(household(&format!("resident {n}"), "", lon, lat, shares));
    }
    let from_ms = now_ms();
    let residents = scene.city.hall.settle_all(&households, |_| ()).await.expect("settled");
    let mut settled = Settled { owners: Vec::new(), movers: Vec::new(), names: Names::default() };
    for (resident, household) in residents.into_iter().zip(households) {
        let phone = resident.phone.clone().expect("a phone");
        settled.names.add(scene.city.issuer.url(), &resident.subject, &phone);
        let since = Between { from_ms, until_ms: now_ms() };
        motion.told.with(|told| {
            told.person(&resident.subject, resident.household, vec![phone]);
            told.home(&resident.subject, Some(degrees(resident.home)), since);
            resident.cameras.iter().for_each(|camera| told.device(camera.device, degrees(camera.at)));
        });
        if resident.cameras.is_empty() {
            settled.movers.push(Mover::new(resident, household.home).await);
        } else {
            settled.owners.push(resident);
        }
    }
    settled
}

/// A camera that sees somebody every second or two.
async fn watch(camera: Camera, motion: Motion, mut rng: StdRng, stop: CancellationToken) {
    let tally = Tally::default();
    while !stop.is_cancelled() {
        let body = event("motion", &["person"], SystemClock.now());
        let id = body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        motion.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(id, camera.device);
        life::send_until_accepted(&camera, &body, &tally).await.expect("accepted");
        let pause = Duration::from_millis(rng.random_range(1_000..3_000));
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// So long on average between two of `count` things, to be done by one of so many.
fn pause(count: usize, by: usize, rng: &mut StdRng) -> Duration {
    let each = COURSE.as_secs_f64() * by as f64 / count as f64;
    Duration::from_secs_f64(rng.random_range(0.0..2.0 * each))
}

/// Takes one of so many, until all are taken.
fn take(taken: &AtomicUsize, of: usize) -> bool {
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < of).then_some(n + 1)).is_ok()
}

/// Draws one town again and again; the last one also vanishes from the map now and then.
async fn edit(n: usize, hall: TownHall, motion: Motion, mut rng: StdRng) {
    while {
        tokio::time::sleep(pause(EDITS, motion.towns.len(), &mut rng)).await;
        take(&motion.edits, EDITS)
    } {
        let mut town = motion.towns[n].lock().await;
        if n + 1 == motion.towns.len() && rng.random_bool(0.2) {
            town.erase(&hall, &motion.told).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
        }
        town.redraw(&hall, &motion.told, &mut rng).await;
    }
}

async fn wander(mut mover: Mover, hall: TownHall, motion: Motion, mut rng: StdRng) {
    while {
        tokio::time::sleep(pause(MOVES, MOVERS, &mut rng)).await;
        take(&motion.moves, MOVES)
    } {
        let town = rng.random_range(0..motion.towns.len());
        let to = motion.towns[town].lock().await.place(&mut rng);
        mover.go(to, &hall, &motion.told).await;
    }
}

#[derive(Clone, Copy)]
enum Trouble {
    Freeze(Service, usize),
    Kill(usize),
    /// An alert names a version that is drawn after it.
    Overtake,
    /// An alert names a neighborhood that is published after it.
    OvertakeNew,
    /// Alerts name versions of long ago.
    ComeLate,
}

/// Each after so many percent of the edits.
const TROUBLES: [(usize, Trouble); 12] = [
    (10, Trouble::Overtake),
    (20, Trouble::Freeze(Service::Notification, 0)),
    (30, Trouble::ComeLate),
    (35, Trouble::Overtake),
    (42, Trouble::Kill(1)),
    (50, Trouble::Freeze(Service::GeoIndex, 0)),
    (56, Trouble::ComeLate),
    (62, Trouble::OvertakeNew),
    (70, Trouble::Freeze(Service::Notification, 2)),
    (74, Trouble::ComeLate),
    (80, Trouble::Overtake),
    (88, Trouble::ComeLate),
];

/// What goes wrong meanwhile; the alerts that overtook their polygons.
async fn disturb(scene: &mut Scene, motion: &Motion, owners: &[Resident], rng: &mut StdRng) -> Vec<Uuid> {
    let mut overtook = Vec::new();
    for (percent, trouble) in TROUBLES {
        eventually("the edits go on", || async {
            (motion.edits.load(Ordering::Relaxed) >= percent * EDITS / 100).then_some(())
        })
        .await;
        let owner = &owners[rng.random_range(0..owners.len())];
        match trouble {
            Trouble::Freeze(service, n) => stand_still(scene, service, n).await,
            Trouble::Kill(n) => {
                scene.city.deployment.kill(Service::Notification, n);
                scene.city.deployment.spawn(Service::Notification, n).expect("started again");
            }
            Trouble::Overtake => overtook.push(overtake(scene, motion, owner, rng).await),
            Trouble::OvertakeNew => overtook.push(overtake_with_a_new_one(scene, motion, owner, rng).await),
            Trouble::ComeLate => come_late(scene, motion, owner, rng).await,
        }
    }
    overtook
}

/// For less than the lag that the oracle allows: what a process held then, it goes by for a moment afterwards.
async fn stand_still(scene: &Scene, service: Service, n: usize) {
    scene.city.deployment.freeze(service, n).expect("frozen");
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.city.deployment.thaw(service, n).expect("goes on");
}

/// An alert that names a version which is not drawn yet: it waits, and once that is drawn, it is decided by it.
async fn overtake(scene: &Scene, motion: &Motion, owner: &Resident, rng: &mut StdRng) -> Uuid {
    let mut town = motion.towns[0].lock().await;
    let next = motion.told.with(|told| told.newest(town.id)).expect("drawn before") + 1;
    let alert = until_it_waits(scene, owner, town.id, next).await;
    town.redraw(&scene.city.hall, &motion.told, rng).await;
    alert
}

/// The same, with a neighborhood whose row stands and of which no planner has heard yet.
async fn overtake_with_a_new_one(scene: &Scene, motion: &Motion, owner: &Resident, rng: &mut StdRng) -> Uuid {
    let middle = Point { x: -710_860_000, y: 424_105_000 };
    let town = Town::new("between the others", middle, rng);
    let store = Store::connect(&scene.city.deployment.settings().cql()).await.expect("the store");
    let written = store.registry.put_neighborhood(&town.first_row(), None).await.expect("the store");
    assert_eq!(written, Written::Applied);
    let alert = until_it_waits(scene, owner, town.id, 1).await;
    // It is as it should be, so that it is published and nothing else.
    town.publish(&scene.city.hall, &motion.told).await;
    assert_eq!(motion.told.with(|told| told.newest(town.id)), Some(1));
    alert
}

/// Puts an alert into the log, and returns when a planner says that it waits for a polygon.
async fn until_it_waits(scene: &Scene, owner: &Resident, neighborhood: Uuid, version: u64) -> Uuid {
    let before = waits_for_polygons(scene).await;
    let alert = put_alert(scene, owner, neighborhood, version).await;
    eventually("the alert waits for its polygon", || async {
        (waits_for_polygons(scene).await > before).then_some(())
    })
    .await;
    alert
}

/// Alerts that were on their way for long: what matched was drawn anew many times since.
async fn come_late(scene: &Scene, motion: &Motion, owner: &Resident, rng: &mut StdRng) {
    for town in motion.towns.iter() {
        let town = town.lock().await;
        let newest = motion.told.with(|told| told.newest(town.id)).expect("drawn before");
        for _ in 0..LATE_EACH {
            let version = rng.random_range(1..=newest.saturating_sub(LATE_BY).max(1));
            put_alert(scene, owner, town.id, version).await;
        }
    }
}

/// As geo-index does.
async fn put_alert(scene: &Scene, owner: &Resident, neighborhood: Uuid, version: u64) -> Uuid {
    let item = ItemId(Uuid::new_v4());
    let (now, person): (_, Labels) = (SystemClock.now(), [Label::Person].into_iter().collect());
    let alert = Alert {
        id: AlertId::of_item(item),
        item,
        event: EventId(Uuid::now_v7()),
        revision: 1,
        shared_revision: 1,
        household: HouseholdId(owner.household),
        neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(neighborhood), version: Version(version) }],
        lane: Lane::Motion,
        kind: Kind::Motion,
        labels: person,
        shared_labels: person,
        created_at: now,
        expires_at: now.plus_ms(ALERT_TTL_MS),
        stream_only: false,
    };
    let producer = Producer::new(&scene.city.deployment.settings().kafka()).expect("a producer");
    let key = owner.household.as_bytes().as_slice();
    producer.send(Topic::Alerts, Some(key), &alert.encode(), &[]).await.expect("in the log");
    alert.id.0
}

/// How often planners had to wait for a polygon, those together that run now.
async fn waits_for_polygons(scene: &Scene) -> f64 {
    let mut waits = 0.0;
    for n in 0..NOTIFICATIONS {
        let admin = scene.city.deployment.admin(Service::Notification, n);
        waits += sample(&admin, "porchlight_notification_waits_total", "reason=\"polygon\",stage=\"plan\"").await;
    }
    waits
}

/// Waits until every alert was planned and nothing is under way any more, and has all of it judged.
async fn judge_when_all_is_decided(
    scene: &Scene,
    motion: &Motion,
    names: &Names,
) -> (FlightVerdict, Vec<ObservedPush>) {
    let store = Store::connect(&scene.city.deployment.settings().cql()).await.expect("the store");
    let until = Instant::now() + PATIENCE;
    let device_of = |event| motion.sent.lock().unwrap_or_else(PoisonError::into_inner).get(&event).copied();
    let mut before = usize::MAX;
    loop {
        let (lag, pushes) = (scene.lag().await, scene.city.phones.log(0));
        let flown = flown(scene, &store, names, &pushes, device_of).await;
        if let (true, Some(flown)) = (lag == 0.0 && pushes.len() == before, &flown) {
            let pushes: Vec<ObservedPush> = pushes.iter().map(observed).collect();
            let verdict = motion.told.with(|told| told.judge(flown, &pushes));
            if verdict.missing.is_empty() || Instant::now() > until {
                return (verdict, pushes);
            }
        }
        assert!(Instant::now() < until + PATIENCE, "lag {lag}, planned: {}", flown.is_some());
        before = pushes.len();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
