//! G2 on the embedded ground: the one process that is a whole city is killed (SIGKILL) thirty times at random moments
//! under load, and wakes up each time from its folder. Nothing acknowledged is lost, and no phone shows anything twice.

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use porchlight::{
    city::{
        embedded::Embedded,
        founding::{City, neighborhood_id},
        life::{self, Pace, Tally},
        people::{Camera, TownHall},
        witness::Witness,
    },
    crash::count::Observer,
    deployment::{Service, Settings},
};
use porchlight_domain::{Clock as _, SystemClock};
use porchlight_standins::{issuer::Issuer, phones::Phones};
use porchlight_synth::{Evening, MASSACHUSETTS, Settlement, towns};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SEED: u64 = 20_261_126;
const KILLS: usize = 30;
const EVENTS_PER_S: f64 = 20.0;
const LIVED_IN: [&str; 2] = ["Malden", "Medford"];

/// The process, killed if the test fails on its way.
struct Running(Child);

impl Running {
    fn start(dir: &Path, ports: [u16; 2], issuer: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
        command.args(["city", "--no-traffic", "--issuer", issuer, "--data"]).arg(dir);
        command.args(["--port", &ports[0].to_string(), "--ingest-port", &ports[1].to_string()]);
        let log = std::fs::File::options().create(true).append(true).open(dir.with_extension("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("started"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").port()
}

/// Until ingest takes events again: at least so many more are acknowledged.
async fn more_are_accepted(tally: &Tally, more: u64, log: &Path) {
    let enough = tally.accepted.load(Ordering::Relaxed) + more;
    let until = tokio::time::Instant::now() + support::PATIENCE;
    while tally.accepted.load(Ordering::Relaxed) < enough {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(tokio::time::Instant::now() < until, "no event is accepted any more; the city said:\n{}", said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_a_city_in_one_process_is_killed_thirty_times_under_load() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let (dir, log) = (outside.path().join("city"), outside.path().join("city.log"));
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Who mints tokens and what is shown outlives the city.
    let issuer = Arc::new(Issuer::start(anywhere, None).await.expect("an issuer"));
    let phones = Arc::new(Phones::start(anywhere).await.expect("phones"));
    let ports = [free_port(), free_port()];
    let [gateway, ingest] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let mut running = Running::start(&dir, ports, issuer.url());
    let http = reqwest::Client::new();
    support::eventually("the city", || async { http.get(format!("{gateway}/openapi.json")).send().await.ok() }).await;
    support::eventually("ingest", || async { http.get(format!("{ingest}/openapi.json")).send().await.ok() }).await;

    let hall = TownHall::new(gateway, vec![ingest], issuer.clone(), phones.clone());
    let lived_in: Vec<_> = towns(MASSACHUSETTS).into_iter().filter(|t| LIVED_IN.contains(&t.name.as_str())).collect();
    let mut witness = Witness::default();
    for town in &lived_in {
        let id = neighborhood_id(&town.name);
        hall.publish(id, &town.name, &town.geometry).await.expect("published");
        witness.neighborhood(id, &town.geometry);
    }
    let households = Settlement::new(SEED, 20, &lived_in).households;
    let residents = hall.settle_all(&households, |_| {}).await.expect("everybody moved in");
    residents.iter().for_each(|resident| witness.resident(resident));
    let cameras: Vec<Camera> = residents.iter().flat_map(|resident| resident.cameras.iter().cloned()).collect();

    let since = SystemClock.now();
    let (accepted, news) = mpsc::channel(4_096);
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let evening = Evening::new(SEED, cameras.len());
    let pace = Pace::new(EVENTS_PER_S, None);
    let load = tokio::spawn(life::live(cameras.clone(), evening, pace, accepted, tally.clone(), stop.clone()));
    let observing = tokio::spawn(Observer::new(phones, cameras, witness).observe(news));
    let mut rng = StdRng::seed_from_u64(SEED);
    for n in 0..KILLS {
        // Sometimes while it still wakes up, mostly in the middle of its work.
        if n % 5 != 4 {
            more_are_accepted(&tally, 5, &log).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
        running.kill();
        running = Running::start(&dir, ports, issuer.url());
    }
    more_are_accepted(&tally, 20, &log).await;
    stop.cancel();
    load.await.expect("the load ended");
    let mut observer = observing.await.expect("observed");
    running.kill();

    // Counted from within: the last one to wake up from the folder is this process.
    let ground = Embedded::start(&dir).await.expect("the ground");
    let adapt = |settings: &mut Settings| {
        settings.issuer = issuer.url().to_owned();
        settings.ports = [(Service::Gateway, ports[0]), (Service::Ingest, ports[1])].into();
        ground.adapt(settings, axum::Router::new());
    };
    let name = std::fs::read_to_string(dir.join("name")).expect("its name");
    let services = dir.join("services");
    let city = City::found_with(&services, name.trim(), ground.servers(), |_| 1, adapt, &|_| {});
    let city = city.await.expect("woken up");
    support::eventually("every push", || {
        observer.look();
        let missing = observer.witness.judge_pushes(i64::MAX).missing.len();
        async move { (missing == 0).then_some(()) }
    })
    .await;
    let settings = city.deployment.settings().clone();
    let count = observer.count(&settings, &residents, since.0).await.expect("counted");
    city.deployment.stop().await.expect("drained");
    ground.stop().await;

    assert!(count.acknowledged > 300 && count.due > 300, "a load: {count:?}");
    assert_eq!(tally.given_up.load(Ordering::Relaxed), 0);
    assert!(count.lost.is_empty(), "acknowledged and lost: {count:?}");
    assert!(count.shown_twice.is_empty(), "shown twice: {count:?}");
    assert_eq!((count.missing, count.strangers.len()), (0, 0), "{:?}", count.strangers);
}
