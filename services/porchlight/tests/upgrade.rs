//! G2 in an upgrade: the real binaries, two of each, replaced under load as Kubernetes would with what the chart renders.
//! Nothing is lost, nothing is shown twice, no camera is refused, and nobody has to be killed.

mod support;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use porchlight::{
    audit,
    city::{
        founding::City,
        life::{self, Pace, Tally},
        people::{Camera, TownHall},
    },
    crash::{Report, count::Observer},
    deployment::{Deployment, Service},
};
use porchlight_domain::{Clock as _, SystemClock};
use porchlight_store::Store;
use porchlight_synth::{Evening, MASSACHUSETTS, Settlement, Town, towns};
use support::{
    PATIENCE, Scene,
    balancer::Balancer,
    chart::{Rollout, golden},
    eventually, sample,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const SEED: u64 = 20_261_126;
const LIVED_IN: [&str; 2] = ["Malden", "Medford"];
const HOMES: usize = 16;
const EVENTS_PER_S: f64 = 20.0;
/// How long there is load before the upgrade and after it.
const CALM: Duration = Duration::from_secs(3);
/// How long it may take until every node has heard that a pod is to end: until then new connections come to it. The pods'
/// preStop is there for that.
const HEARD_AFTER: Duration = Duration::from_secs(3);

/// The pods of a Deployment, and the Service that leads to them.
struct Pods {
    deployment: Arc<Mutex<Deployment>>,
    service: Service,
    balancer: Arc<Balancer>,
}

impl Pods {
    /// Those that run, behind a Service.
    async fn behind_a_service(deployment: &Arc<Mutex<Deployment>>, service: Service) -> Self {
        let pods = Self { deployment: deployment.clone(), service, balancer: Arc::new(Balancer::start().await) };
        for n in pods.numbers().await {
            pods.take_in(n).await;
        }
        pods
    }

    async fn numbers(&self) -> Vec<usize> {
        self.deployment.lock().await.processes().filter(|(of, _)| *of == self.service).map(|(_, n)| n).collect()
    }

    /// Behind the Service, if the pod has an API.
    async fn take_in(&self, n: usize) {
        let api = self.deployment.lock().await.api(self.service, n);
        if !api.is_empty() {
            self.balancer.add(&api);
        }
    }

    /// As the controller of Deployments does it: as many more as it may, each behind the Service when it is ready, and as
    /// many fewer of the old ones as it may. It does not wait for one that ends. How long each took to end.
    async fn replace(&self, rollout: Rollout) -> Result<Vec<Duration>, String> {
        let mut old: VecDeque<usize> = self.numbers().await.into();
        let mut new = Vec::new();
        let mut ending = JoinSet::new();
        while !old.is_empty() {
            while new.len() < rollout.replicas && new.len() + old.len() < rollout.replicas + rollout.surge {
                let n = self.deployment.lock().await.add(self.service)?;
                self.ready(n).await?;
                self.take_in(n).await;
                new.push(n);
            }
            while new.len() + old.len() > rollout.replicas - rollout.unavailable {
                let Some(n) = old.pop_front() else { break };
                ending.spawn(self.end(n, rollout).await?);
            }
        }
        let mut took = Vec::new();
        while let Some(ended) = ending.join_next().await {
            took.push(ended.map_err(|e| e.to_string())??);
        }
        Ok(took)
    }

    async fn ready(&self, n: usize) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (admin, ended) = {
                let mut deployment = self.deployment.lock().await;
                (deployment.admin(self.service, n), deployment.exited(self.service, n))
            };
            if let Some(ended) = ended {
                return Err(ended);
            }
            if reqwest::get(format!("{admin}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{}-{n} is not ready after {} s", self.service.name(), PATIENCE.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// As kubelet does it: preStop, SIGTERM, and SIGKILL when the grace period is over, which is an error here.
    async fn end(
        &self,
        n: usize,
        rollout: Rollout,
    ) -> Result<impl Future<Output = Result<Duration, String>> + use<>, String> {
        let (api, parting) = {
            let mut deployment = self.deployment.lock().await;
            (deployment.api(self.service, n), deployment.part(self.service, n)?)
        };
        let balancer = self.balancer.clone();
        Ok(async move {
            let begun = Instant::now();
            if !api.is_empty() {
                tokio::spawn(async move {
                    tokio::time::sleep(HEARD_AFTER).await;
                    balancer.remove(&api);
                });
            }
            tokio::time::sleep(rollout.pre_stop).await;
            parting.end(rollout.grace.saturating_sub(rollout.pre_stop)).await?;
            Ok(begun.elapsed())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout)] // whoever sees a failure needs it
async fn g2_an_upgrade_as_the_chart_drives_it_loses_nothing_shows_nothing_twice_and_kills_nobody() {
    let chart = golden("external");
    let rollout = |service| Rollout::of(&chart, service);
    let scene = Scene::new("upgrade", &LIVED_IN, |service| rollout(service).replicas).await;
    let Scene { city: City { deployment, issuer, phones, .. }, mut witness, dir: _dir } = scene;
    let settings = deployment.settings().clone();
    let deployment = Arc::new(Mutex::new(deployment));
    let mut pods = Vec::new();
    for service in Service::ALL {
        pods.push(Pods::behind_a_service(&deployment, service).await);
    }
    let url = |service| pods.iter().find(|pods| pods.service == service).expect("all four").balancer.url().to_owned();
    let hall = TownHall::new(url(Service::Gateway), vec![url(Service::Ingest)], issuer.clone(), phones.clone());
    let lived_in: Vec<Town> =
        towns(MASSACHUSETTS).into_iter().filter(|town| LIVED_IN.contains(&town.name.as_str())).collect();
    let settlement = Settlement::new(SEED, HOMES, &lived_in);
    let residents = hall.settle_all(&settlement.households, |_| {}).await.expect("they move in");
    residents.iter().for_each(|resident| witness.resident(resident));
    let cameras: Vec<Camera> = residents.iter().flat_map(|resident| resident.cameras.iter().cloned()).collect();

    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let (accepted, news) = mpsc::channel(4_096);
    let since = SystemClock.now();
    let (evening, pace) = (Evening::new(SEED, cameras.len()), Pace::new(EVENTS_PER_S, None));
    let load = tokio::spawn(life::live(cameras.clone(), evening, pace, accepted, tally.clone(), stop.clone()));
    let observer = tokio::spawn(Observer::new(phones, cameras, witness).observe(news));
    tokio::time::sleep(CALM).await;

    // `helm upgrade` changes all four Deployments at once.
    let refused = tally.refused.load(Ordering::Relaxed);
    let took = try_join_all(pods.iter().map(|pods| pods.replace(rollout(pods.service)))).await.expect("all replaced");
    for (pods, took) in pods.iter().zip(&took) {
        println!("{}: {:?} of {:?}", pods.service.name(), took, rollout(pods.service).grace);
        assert_eq!(took.len(), rollout(pods.service).replicas, "every old one ended: {}", pods.service.name());
        assert_eq!(pods.numbers().await.len(), took.len(), "and as many new ones are there");
    }
    tokio::time::sleep(CALM).await;
    let refused = tally.refused.load(Ordering::Relaxed) - refused;
    stop.cancel();
    load.await.expect("no panic");
    let observer = Mutex::new(observer.await.expect("no panic"));

    eventually("what is under way arrives", || async {
        let mut observer = observer.lock().await;
        observer.look();
        let waits = lag(&*deployment.lock().await).await;
        (waits == 0.0 && observer.witness.judge_pushes(i64::MAX).missing.is_empty()).then_some(())
    })
    .await;
    let observer = observer.into_inner();
    let mut count = observer.count(&settings, &residents, since.0).await.expect("log and rows can be read");
    count.given_up = tally.given_up.load(Ordering::Relaxed);
    count.died = deployment.lock().await.ended().into_iter().collect();
    let store = Store::connect(&settings.cql()).await.expect("the database");
    let audited = audit::conservation(&settings.kafka(), &store, since, SystemClock.now(), &|_| {}).await;
    let audited = audited.expect("an audit");
    count.not_conserved = (!audited.is_conserved()).then(|| audited.to_string());
    let report = Report {
        seed: SEED,
        rate: EVENTS_PER_S,
        group_protocol: settings.group_protocol.clone(),
        seconds: u64::try_from(SystemClock.now().since(since) / 1_000).expect("time goes on"),
        faults: Vec::new(),
        acknowledged: observer.moments_in(),
        pushed: observer.moments_out(),
        count,
    };
    println!("{report}{refused} sendings refused meanwhile");
    assert!(report.failures().is_empty(), "{report}");
    assert_eq!(refused, 0, "no camera was refused, or left without an answer: {:?}", tally.why);
    assert!(report.count.acknowledged > 200 && report.count.due > 200, "a load: {report}");
    drop(pods);
    let deployment = Arc::into_inner(deployment).expect("nobody holds it any more").into_inner();
    deployment.stop().await.expect("drained");
}

/// Records that wait in any stage.
async fn lag(deployment: &Deployment) -> f64 {
    let mut lag = 0.0;
    for (service, n) in deployment.processes() {
        lag += sample(&deployment.admin(service, n), "porchlight_bus_consumer_lag_records", "").await;
    }
    lag
}
