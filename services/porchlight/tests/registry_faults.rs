//! The registry's writes while gateways are cut off from Kafka and killed: who was revoked stays out, who holds a
//! credential gets in, and whoever reads the topics from their beginning knows what the rows say. And what mends a
//! topic that says something else.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use porchlight::{
    city::people::TownHall,
    deployment::{Deployment, Service, Settings},
};
use porchlight_bus::{From, Producer, Reader, Topic, apply_topics, drop_topics};
use porchlight_geofence::Point;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use support::{
    PATIENCE,
    apps::seed,
    eventually,
    ground::Ground,
    motion::{Told, Town},
    operator::porchlight,
    revocations::{Act, Gadget, PROMISE, Reach, Word, rename, replace},
    sample,
};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

const HOUSEHOLDS: usize = 15;
const DEVICES_EACH: usize = 4;
/// Of each device; with those of the towns, more than 500 in all.
const RENAMES: usize = 5;
const REPLACEMENTS: usize = 4;
const TOWNS: usize = 3;
const REDRAWS: usize = 10;
/// How many rows must at least have been changed by calls that nobody heard the end of.
const UNHEARD: usize = 15;

/// Asks for all of them until each is answered as is due; how long that took.
async fn until_answered_so(due: &[(Gadget, String, Word)], ingest: &str) -> Duration {
    let begun = Instant::now();
    for (gadget, credential, word) in due {
        gadget.until(ingest, credential, *word).await;
    }
    begun.elapsed()
}

#[allow(clippy::print_stdout)] // the numbers say whether the test was worth something
#[tokio::test(flavor = "multi_thread")]
async fn g2_revocations_hold_while_gateways_are_cut_off_and_killed() {
    let seed = seed("registry_faults");
    let mut rng = StdRng::seed_from_u64(seed);
    let replicas = |service| match service {
        Service::Gateway => 2,
        Service::Ingest => 1,
        Service::GeoIndex | Service::Notification => 0,
    };
    let mut ground = Ground::prepare("registry", replicas, Service::Gateway, "").await;
    let mut gadgets = ground.settle(HOUSEHOLDS, DEVICES_EACH).await;
    let reach = Reach {
        gateways: (0..2).map(|n| ground.city.deployment.api(Service::Gateway, n)).collect(),
        ingest: ground.city.deployment.api(Service::Ingest, 0),
        acknowledged: Arc::default(),
    };

    // Two phones of each household at each device, and an operator at the map, while everything goes wrong.
    let (mut replacing, mut others) = (JoinSet::new(), JoinSet::new());
    for n in 0..TOWNS {
        others.spawn(redraw(n, ground.city.hall.clone(), reach.acknowledged.clone(), StdRng::from_rng(&mut rng)));
    }
    for gadget in gadgets.drain(..) {
        others.spawn(rename(gadget.clone(), RENAMES, reach.clone(), StdRng::from_rng(&mut rng)));
        replacing.spawn(replace(gadget, REPLACEMENTS, reach.clone(), StdRng::from_rng(&mut rng)));
    }
    hurt(&mut ground, &reach.acknowledged, &mut rng).await;
    let mut slowest = Duration::ZERO;
    while let Some(replaced) = replacing.join_next().await {
        let (gadget, took) = replaced.expect("all acts were acknowledged");
        slowest = slowest.max(took);
        gadgets.push(gadget);
    }
    while let Some(renamed) = others.join_next().await {
        renamed.expect("all edits were acknowledged");
    }
    let edits = reach.acknowledged.load(Ordering::Relaxed);
    println!("{edits} edits acknowledged; ingest knew of each revocation after {slowest:?} at most");
    assert!(edits >= 500, "{edits}");
    assert!(slowest < PROMISE, "{slowest:?}");
    for (gadget, credential, word) in ground.due(&gadgets).await {
        let is_current = gadget.current.as_ref() == Some(&credential);
        assert_eq!(word == Word::Known, is_current, "{}: what was acknowledged stands in its row", gadget.device);
    }

    // Nobody hears the end of these: their rows are all that tells of them.
    ground.cut();
    gadgets.sort_by_key(|gadget| gadget.device);
    let mut unheard = JoinSet::new();
    for mut gadget in gadgets.drain(..) {
        let (reach, mut rng) = (reach.clone(), StdRng::from_rng(&mut rng));
        unheard.spawn(async move {
            if !gadget.removed {
                let acts =
                    if gadget.current.is_some() { &[Act::Issue, Act::Revoke, Act::Remove][..] } else { &[Act::Issue] };
                gadget.act_once(*acts.choose(&mut rng).expect("some"), &reach, &mut rng).await;
            }
            gadget
        });
    }
    sleep(Duration::from_millis(rng.random_range(300..2_000))).await;
    ground.city.deployment.kill(Service::Gateway, 1);
    gadgets.extend(unheard.join_all().await);
    ground.city.deployment.spawn(Service::Gateway, 1).expect("started again");
    ground.mend();
    let mended = Instant::now();
    let due = ground.due(&gadgets).await;
    let changed = |(gadget, credential, word): &&(Gadget, String, Word)| {
        *word == Word::Refused && gadget.current.as_ref() == Some(credential)
    };
    let changed = due.iter().filter(changed).count();
    until_answered_so(&due, &reach.ingest).await;
    let took = mended.elapsed();
    println!("{changed} rows were changed by calls without an answer; ingest knew {took:?} after Kafka was back");
    assert!(changed >= UNHEARD, "{changed}");
    assert!(took < PROMISE, "{took:?}");
    eventually("the topics say what the rows say", || async { ground.differing().await.is_empty().then_some(()) })
        .await;

    // One that begins now.
    ground.city.deployment.ready(PATIENCE).await.expect("ready again");
    let settings = Settings { reach: BTreeMap::new(), ..ground.city.deployment.settings().clone() };
    let only_ingest = |service| usize::from(service == Service::Ingest);
    let cold = Deployment::start(&ground.dir.path().join("cold"), settings, only_ingest, &|_| ()).await.expect("ready");
    let ingest = cold.api(Service::Ingest, 0);
    for (gadget, credential, word) in &ground.due(&gadgets).await {
        assert_eq!(gadget.ask(&ingest, credential).await, *word, "{}", gadget.device);
    }
    cold.stop().await.expect("drained");
    ground.city.deployment.stop().await.expect("drained");
}

async fn redraw(n: usize, hall: TownHall, acknowledged: Arc<AtomicUsize>, mut rng: StdRng) {
    let middle = Point { x: -710_600_000 + i32::try_from(n).expect("few") * 300_000, y: 424_200_000 };
    let mut town = Town::new(&format!("town {n}"), middle, &mut rng);
    let told = Told::new(0);
    for _ in 0..REDRAWS {
        town.redraw(&hall, &told, &mut rng).await;
        acknowledged.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(rng.random_range(0..500))).await;
    }
}

/// Cuts and kills, each after so many edits.
async fn hurt(ground: &mut Ground, acknowledged: &AtomicUsize, rng: &mut StdRng) {
    for (after, cut_ms, killed) in [
        (40, 1_000, None),
        (100, 0, Some(0)),
        (160, 2_000, Some(1)),
        (240, 6_000, None),
        (320, 0, Some(1)),
        (400, 5_000, Some(0)),
    ] {
        eventually("edits are acknowledged", || async {
            (acknowledged.load(Ordering::Relaxed) >= after).then_some(())
        })
        .await;
        if cut_ms > 0 {
            ground.cut();
        }
        if let Some(n) = killed {
            sleep(Duration::from_millis(rng.random_range(0..700))).await;
            ground.city.deployment.kill(Service::Gateway, n);
            ground.city.deployment.spawn(Service::Gateway, n).expect("started again");
        }
        if cut_ms > 0 {
            sleep(Duration::from_millis(cut_ms)).await;
            ground.mend();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_says_something_else_than_the_rows_is_mended_and_one_that_is_lost_rebuilt() {
    let replicas = |service| match service {
        Service::Gateway | Service::Ingest => 1,
        Service::GeoIndex | Service::Notification => 0,
    };
    let every_second = "reconcile_every_ms = 1000\n";
    let mut ground = Ground::prepare("drift", replicas, Service::Ingest, every_second).await;
    let gadgets = ground.settle(1, 6).await;
    let town = Town::new("town", Point { x: -710_600_000, y: 424_200_000 }, &mut StdRng::seed_from_u64(1));
    town.publish(&ground.city.hall, &Told::new(0)).await;
    let ingest = ground.city.deployment.api(Service::Ingest, 0);
    for gadget in &gadgets {
        gadget.until(&ingest, gadget.current.as_ref().expect("issued"), Word::Known).await;
    }

    an_ingest_that_is_cut_off_takes_nobody(&ground, &gadgets[0], &gadgets[5], &ingest).await;
    drift_is_found_and_mended(&ground, &gadgets[1..5], town.id, &ingest).await;
    a_lost_topic_is_rebuilt(&mut ground, &gadgets[..5], &ingest).await;
    ground.city.deployment.stop().await.expect("drained");
}

/// No news and being cut off look alike: after 3 s without a word from Kafka, it cannot tell who was revoked.
async fn an_ingest_that_is_cut_off_takes_nobody(ground: &Ground, held: &Gadget, revoked: &Gadget, ingest: &str) {
    let (current, mut revoked) = (held.current.clone().expect("issued"), revoked.clone());
    let reach = Reach {
        gateways: vec![ground.city.deployment.api(Service::Gateway, 0)],
        ingest: ingest.to_owned(),
        acknowledged: Arc::default(),
    };
    let before = revoked.current.clone().expect("issued");
    ground.cut();
    let cut = Instant::now();
    revoked.act(Act::Revoke, &reach, &mut StdRng::seed_from_u64(1)).await;
    let acknowledged = Instant::now();
    while held.ask(ingest, &current).await != Word::CannotTell {
        assert!(cut.elapsed() < PROMISE, "a credential counts only while the table is confirmed");
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..10 {
        assert_eq!(held.ask(ingest, &current).await, Word::CannotTell, "neither taken nor refused");
        assert_eq!(revoked.ask(ingest, &before).await, Word::CannotTell);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(acknowledged.elapsed() < PROMISE, "who was revoked is out in time, whether it is known or not");
    ground.mend();
    held.until(ingest, &current, Word::Known).await;
    assert_eq!(revoked.ask(ingest, &before).await, Word::Refused, "it is known with everything else, or not at all");
}

/// An older version, a tombstone and bytes that are nothing of devices, a tombstone of a neighborhood: each the last
/// record of its key.
async fn drift_is_found_and_mended(ground: &Ground, gadgets: &[Gadget], town: Uuid, ingest: &str) {
    let gateway = ground.city.deployment.admin(Service::Gateway, 0);
    let drift = async || {
        let metric = "porchlight_gateway_registry_drift_rows";
        [sample(&gateway, metric, "device").await, sample(&gateway, metric, "neighborhood").await]
    };
    let first_of = |gadget: &Gadget| {
        let (kafka, id) = (ground.kafka(), gadget.device);
        async move {
            let mut reader = Reader::open(&kafka, Topic::Devices, From::Beginning).await.expect("the topic");
            loop {
                let record = reader.next_existing().await.expect("the topic").expect("a record of the device");
                if record.key.as_deref() == Some(id.as_bytes().as_slice()) {
                    return record.value;
                }
            }
        }
    };
    assert_eq!(ground.differing().await, Vec::<Uuid>::new());
    assert_eq!(drift().await, [0.0, 0.0]);
    let older = first_of(&gadgets[0]).await;
    let producer = Producer::new(&ground.kafka()).expect("a producer");
    for (topic, key, value) in [
        (Topic::Devices, gadgets[0].device, older.as_slice()),
        (Topic::Devices, gadgets[1].device, b""),
        (Topic::Devices, gadgets[2].device, b"\xff nothing"),
        (Topic::Neighborhoods, town, b""),
    ] {
        producer.send(topic, Some(key.as_bytes()), value, &[]).await.expect("in the topic");
    }
    let (until, mut found) = (Instant::now() + PATIENCE, [0.0_f64; 2]);
    loop {
        let now = drift().await;
        found = [found[0].max(now[0]), found[1].max(now[1])];
        let differing = ground.differing().await;
        if found.iter().all(|found| *found > 0.0) && now == [0.0; 2] && differing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "drift found: {found:?}, and now {now:?}; not mended: {differing:?}");
        sleep(Duration::from_millis(20)).await;
    }
    for gadget in gadgets {
        gadget.until(ingest, gadget.current.as_ref().expect("issued"), Word::Known).await;
    }
}

/// A topic that was deleted and made again holds nothing: an ingest that begins then knows nobody, until the rows are
/// published again.
async fn a_lost_topic_is_rebuilt(ground: &mut Ground, gadgets: &[Gadget], ingest: &str) {
    let (kafka, partitions) = (ground.kafka(), ground.city.deployment.settings().partitions);
    // It would publish what it watches, too.
    ground.city.deployment.kill(Service::Gateway, 0);
    ground.city.deployment.kill(Service::Ingest, 0);
    drop_topics(&kafka).await.expect("dropped");
    eventually("the topics are there again", || async {
        let made = apply_topics(&kafka, partitions, 1).await.ok()?;
        made.iter().all(|topic| topic.created).then_some(())
    })
    .await;
    assert_eq!(ground.differing().await.len(), gadgets.len() + 2, "all devices, the revoked one too, and the town");
    begin_again(ground).await;
    for gadget in gadgets {
        gadget.until(ingest, gadget.current.as_ref().expect("issued"), Word::Refused).await;
    }
    for table in ["devices", "neighborhoods"] {
        porchlight(ground.city.deployment.settings(), &["topics", "rebuild", table]).await.well();
    }
    for gadget in gadgets {
        gadget.until(ingest, gadget.current.as_ref().expect("issued"), Word::Known).await;
    }
    assert_eq!(ground.differing().await, Vec::<Uuid>::new());
    ground.city.deployment.kill(Service::Ingest, 0);
    begin_again(ground).await;
    for gadget in gadgets {
        let current = gadget.current.as_ref().expect("issued");
        assert_eq!(gadget.ask(ingest, current).await, Word::Known, "to one that begins after it");
    }
}

async fn begin_again(ground: &mut Ground) {
    ground.city.deployment.spawn(Service::Ingest, 0).expect("started again");
    ground.city.deployment.ready(PATIENCE).await.expect("ready");
}
