//! The feed's stream, over real Kafka, Cassandra and separate processes: a client that dies at random misses nothing and
//! shows nothing twice; who moves, or stops sharing, is believed within seconds; idle streams cost little.

mod support;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt as _;
use porchlight::{
    city::{
        life::{self, Accepted, News, Pace, Tally},
        people::{Camera, Resident},
    },
    client::{Answer, position},
    deployment::Service,
};
use porchlight_domain::{Clock, SystemClock};
use porchlight_synth::Evening;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use support::{
    PATIENCE, Scene, event, eventually, household,
    sse::{App, Connection},
    uploads::{self, id_of},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KILLS: usize = 100;
const SEED: u64 = 20_261_124;

fn two_gateways(service: Service) -> usize {
    if service == Service::Gateway { 2 } else { 1 }
}

/// Watches as an app does, and is killed (its connection dropped without a word) at random until `kills` are done and
/// `stop` says so.
async fn watch(bases: Vec<String>, resident: Resident, seed: u64, app: Arc<Mutex<App>>, stop: CancellationToken) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while !stop.is_cancelled() {
        // Any gateway: what one gave as a last id, another resumes from.
        let base = &bases[rng.random_range(0..bases.len())];
        let opened = {
            let last = app.lock().unwrap_or_else(PoisonError::into_inner).last_event_id.clone();
            Connection::open(base, resident.app.token(), last.as_deref()).await
        };
        let Ok(mut connection) = opened else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let killed_at = Instant::now() + Duration::from_millis(rng.random_range(20..600));
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(killed_at), if kills < KILLS => break,
                () = stop.cancelled() => break,
                event = connection.next() => match event {
                    Some(event) => app.lock().unwrap_or_else(PoisonError::into_inner).take(event),
                    None => break,
                },
            }
        }
        kills += 1;
        app.lock().unwrap_or_else(PoisonError::into_inner).kills = kills;
        drop(connection);
        if kills < KILLS {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..250))).await;
        }
    }
}

/// Tells the witness; the event, if it is one of the first camera.
fn note(scene: &mut Scene, cameras: &[Camera], accepted: &Accepted) -> Option<Uuid> {
    scene.witness.note(&cameras[accepted.camera], &accepted.news);
    match &accepted.news {
        News::Event { body, .. } if accepted.camera == 0 => Some(id_of(body)),
        News::Event { .. } | News::Media { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_killed_100_times_misses_nothing_and_shows_nothing_twice() {
    let mut scene = Scene::new("stream", &["Malden", "Quincy"], two_gateways).await;
    let mut at_home = household("owner", "Malden", -71.0662, 42.4251, Some(&["person", "package"]));
    (at_home.cameras[0].clips, at_home.cameras[0].shares_media) = (true, true);
    let owner = scene.settle(&at_home).await;
    let other = scene.settle(&household("other", "Malden", -71.0600, 42.4270, Some(&[]))).await;
    let neighbor = scene.settle(&household("neighbor", "Malden", -71.0560, 42.4270, None)).await;
    let stranger = scene.settle(&household("stranger", "Quincy", -71.0023, 42.2529, None)).await;
    let began = SystemClock.now().0;

    let bases: Vec<String> = (0..2).map(|n| scene.city.deployment.api(Service::Gateway, n)).collect();
    let stop = CancellationToken::new();
    let watchers: Vec<_> = [&owner, &other, &neighbor, &stranger]
        .into_iter()
        .zip(1..)
        .map(|(resident, seed)| {
            let app = Arc::new(Mutex::new(App::default()));
            let task = watch(bases.clone(), resident.clone(), SEED + seed, app.clone(), stop.clone());
            (resident.clone(), app, tokio::spawn(task))
        })
        .collect();

    let cameras: Vec<Camera> = [&owner, &other].iter().flat_map(|r| r.cameras.clone()).collect();
    let (accepted, mut news) = mpsc::channel(100_000);
    let (tally, end) = (Arc::new(Tally::default()), CancellationToken::new());
    let evening = Evening::new(SEED, cameras.len());
    let load =
        tokio::spawn(life::live(cameras.clone(), evening, Pace::new(6.0, None), accepted, tally.clone(), end.clone()));
    let file = uploads::thumbnail(9);
    let mut last = None;
    // Until every watcher was killed so often: some 0.5 s each.
    let until = Instant::now() + 8 * PATIENCE;
    let killed = || watchers.iter().map(|(_, app, _)| app.lock().unwrap_or_else(PoisonError::into_inner).kills).min();
    while killed() < Some(KILLS) {
        assert!(Instant::now() < until, "killed {:?} times", killed());
        while let Ok(accepted) = news.try_recv() {
            last = note(&mut scene, &cameras, &accepted).or(last);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    end.cancel();
    load.await.expect("the load ended");
    while let Some(accepted) = news.recv().await {
        last = note(&mut scene, &cameras, &accepted).or(last);
    }
    // A media that comes after all events of its camera: one revision more, and everybody who may sees it.
    scene.store(&cameras[0], last.expect("an event of the first camera"), &file).await;
    assert!(tally.accepted.load(Ordering::Relaxed) > 150, "a load");
    scene.all_arrived().await;

    let until = Instant::now() + PATIENCE;
    loop {
        let wrong: Vec<String> = watchers
            .iter()
            .flat_map(|(resident, app, _)| {
                let app = app.lock().unwrap_or_else(PoisonError::into_inner);
                let verdict = scene.witness.world().judge_stream(&resident.subject, &app.shown, began, i64::MAX);
                verdict.wrong.into_iter().map(|w| format!("{}: {w}", resident.subject)).collect::<Vec<_>>()
            })
            .collect();
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "{wrong:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.cancel();
    for (resident, app, task) in watchers {
        task.await.expect("the watcher ended");
        let app = app.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(app.shown.is_empty(), resident.subject == "stranger", "{}", resident.subject);
        assert!(resident.subject == "stranger" || app.repeats > 0, "resuming overlaps");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_move_or_a_revoked_share_takes_effect_on_an_open_stream_within_5_s() {
    let mut scene = Scene::new("moves", &["Malden", "Quincy"], two_gateways).await;
    let at_home = household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]));
    let owner = scene.settle(&at_home).await;
    let at_neighbors = household("neighbor", "Malden", -71.0560, 42.4270, None);
    let neighbor = scene.settle(&at_neighbors).await;
    let at_quincy = household("quincy", "Quincy", -71.0023, 42.2529, Some(&["person"]));
    let quincy = scene.settle(&at_quincy).await;
    let camera = owner.cameras[0].clone();

    // The app writes to one gateway and watches at the other.
    let base = scene.city.deployment.api(Service::Gateway, 1);
    let mut stream = Connection::open(&base, neighbor.app.token(), None).await.expect("a stream");
    let here = event("ding", &["person"], SystemClock.now());
    scene.send(&camera, &here).await;
    let seen = stream.within(PATIENCE).await.expect("shared with the neighbor");
    let item = scene.witness.world().item_of(camera.device, id_of(&here)).expect("it happened");
    assert_eq!(seen.data["id"], item.to_string());
    assert_eq!(seen.data["scope"], "neighborhood");

    // Moved to Quincy, and verified there.
    let path = format!("/v1/homes/{}", at_neighbors.home);
    let etag = neighbor.app.get(&path).await.expect("an answer").headers.get("etag").cloned();
    assert!(etag.is_some());
    let body = json!({ "name": "Home", "position": position(-710_100_000, 422_600_000) });
    neighbor.app.put(&path, &body).await.and_then(Answer::ok).expect("moved");
    let mut moved = neighbor.clone();
    scene.city.hall.verify(&mut moved, at_neighbors.home).await.expect("verified");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let in_malden = event("motion", &["person"], SystemClock.now());
    let sent = Tally::default();
    life::send_until_accepted(&camera, &in_malden, &sent).await.expect("accepted");
    // Of another kind, that it opens an item of its own.
    let in_quincy = event("motion", &["person"], SystemClock.now());
    let there = quincy.cameras[0].clone();
    life::send_until_accepted(&there, &in_quincy, &sent).await.expect("accepted");
    let first = stream.within(PATIENCE).await.expect("Quincy's news");
    assert_eq!(first.data["neighborhoods"], json!([support::town_id("Quincy")]), "and none of Malden's: {first:?}");
    assert_eq!(stream.within(Duration::from_secs(3)).await, None);

    // Quincy's camera shares nothing any more.
    let body = json!({
        "name": "Front door",
        "home": at_quincy.home,
        "position": position(there.at.x, there.at.y),
        "neighborhood_labels": [],
    });
    let path = format!("/v1/devices/{}", there.chosen);
    quincy.app.put(&path, &body).await.and_then(Answer::ok).expect("revoked");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let private = event("ding", &["person"], SystemClock.now());
    life::send_until_accepted(&there, &private, &sent).await.expect("accepted");
    assert_eq!(stream.within(Duration::from_secs(4)).await, None, "what is shared no more is streamed no more");
    let mut own = Connection::open(&base, quincy.app.token(), None).await.expect("a stream");
    eventually_item(&mut own, &private, there.device).await;
    scene.end().await;
}

/// Reads until the item that an event opened comes by.
async fn eventually_item(stream: &mut Connection, event: &serde_json::Value, device: Uuid) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let Some(seen) = stream.within(Duration::from_secs(10)).await else { continue };
        if seen.data["device"] == device.to_string() && seen.data["kind"] == event["kind"] {
            return;
        }
    }
    panic!("the household's own news did not come");
}

/// What a gateway holds for a watcher who has nothing to see. The limit is checked, and the number printed, in one run.
#[allow(clippy::print_stdout)] // the number is what it is for
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_streams_fit_into_little_memory() {
    const STREAMS: usize = 5_000;
    const LIMIT_BYTES_EACH: u64 = 64 * 1024;
    support::raise_open_files(2 * STREAMS as u64 + 1_000);
    let mut scene = Scene::with(
        "idle",
        &["Malden"],
        |_| 1,
        |settings| {
            settings.gateway = "max_streams = 6000\nmax_streams_per_resident = 1000\n".to_owned();
        },
    )
    .await;
    let owner = scene.settle(&household("owner", "Malden", -71.0662, 42.4251, Some(&[]))).await;
    let mut tokens = Vec::new();
    for n in 0..8 {
        let neighbor = scene.settle(&household(&format!("neighbor {n}"), "Malden", -71.0560, 42.4270, None)).await;
        tokens.push(neighbor.app.token().to_owned());
    }
    let base = scene.city.deployment.api(Service::Gateway, 0);
    let pid = scene.city.deployment.pid(Service::Gateway, 0).expect("it runs");
    // The first ones fill pools and caches that are there once.
    let mut streams = open_many(&base, &tokens, 200).await;
    let before = support::resident_bytes(pid);
    streams.extend(open_many(&base, &tokens, STREAMS).await);
    let after = support::resident_bytes(pid);
    let each = after.saturating_sub(before) / STREAMS as u64;
    println!("{STREAMS} idle streams: {each} bytes each, gateway {} MiB in all", after >> 20);
    assert!(each <= LIMIT_BYTES_EACH, "{each} bytes a stream");

    // And it still serves: what happens is streamed to its household at once.
    let mut own = Connection::open(&base, owner.app.token(), None).await.expect("a stream");
    let happened = event("ding", &["person"], SystemClock.now());
    let camera = owner.cameras[0].clone();
    scene.send(&camera, &happened).await;
    eventually_item(&mut own, &happened, camera.device).await;
    drop(streams);
    eventually("the gateway has let go of them", || async {
        let metrics =
            reqwest::get(format!("{}/metrics", scene.city.deployment.admin(Service::Gateway, 0))).await.ok()?;
        let text = metrics.text().await.ok()?;
        let open = text.lines().find_map(|l| l.strip_prefix("porchlight_gateway_streams "))?.parse::<u64>().ok()?;
        (open <= 1).then_some(())
    })
    .await;
    scene.end().await;
}

/// Spread over these people.
async fn open_many(base: &str, tokens: &[String], count: usize) -> Vec<Connection> {
    let http = reqwest::Client::new();
    futures::stream::iter(0..count)
        .map(|n| (n, http.clone()))
        .map(|(n, http)| async move {
            Connection::open_by(&http, base, &tokens[n % tokens.len()], None).await.expect("a stream")
        })
        .buffer_unordered(32)
        .collect()
        .await
}
