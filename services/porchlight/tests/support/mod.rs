//! What the end-to-end tests share: a city on the shared servers, its witness, and patience that ends.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

pub mod apps;
pub mod balancer;
pub mod chart;
pub mod flown;
pub mod ground;
pub mod kafka;
pub mod kubelet;
pub mod motion;
pub mod operator;
pub mod revocations;
pub mod rows;
pub mod sse;
pub mod uploads;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use porchlight::{
    city::{
        founding::{City, neighborhood_id},
        people::{Camera, Resident},
        witness::Witness,
    },
    deployment::{Service, Settings, unique_name},
};
use porchlight_domain::Timestamp;
use porchlight_geofence::Point;
use porchlight_standins::servers::Servers;
use porchlight_synth::{MASSACHUSETTS, Town, towns};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long anything may take on a loaded machine before it is called missing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shared servers.
pub fn servers() -> Servers {
    let file =
        std::env::var("PORCHLIGHT_TEST_SERVERS").expect("run make test, or make up and set PORCHLIGHT_TEST_SERVERS");
    let text = std::fs::read_to_string(file).expect("the file of the servers");
    serde_json::from_str(&text).expect("servers.json")
}

/// A city with real towns, and a witness who knows them.
pub struct Scene {
    pub city: City,
    pub witness: Witness,
    pub dir: tempfile::TempDir,
}

impl Scene {
    pub async fn new(stem: &str, drawn: &[&str], replicas: impl Fn(Service) -> usize) -> Self {
        Self::with(stem, drawn, replicas, |_| {}).await
    }

    /// With settings changed by `adapt`.
    pub async fn with(
        stem: &str,
        drawn: &[&str],
        replicas: impl Fn(Service) -> usize,
        adapt: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::on(servers(), stem, drawn, replicas, adapt).await
    }

    /// On servers of its own.
    pub async fn on(
        servers: Servers,
        stem: &str,
        drawn: &[&str],
        replicas: impl Fn(Service) -> usize,
        adapt: impl FnOnce(&mut Settings),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let city = City::found_with(dir.path(), &unique_name(stem), servers, replicas, adapt, &|_| {}).await;
        let city = city.expect("a city");
        let mut witness = Witness::default();
        let drawn: Vec<Town> = towns(MASSACHUSETTS).into_iter().filter(|t| drawn.contains(&t.name.as_str())).collect();
        for (town, (id, _)) in drawn.iter().zip(city.draw(&drawn, |_| {}).await.expect("drawn")) {
            witness.neighborhood(id, &town.geometry);
        }
        Self { city, witness, dir }
    }

    /// A resident of whom the witness knows.
    pub async fn settle(&mut self, household: &porchlight_synth::Household) -> Resident {
        let resident = self.city.hall.settle(household).await.expect("settled");
        self.witness.resident(&resident);
        resident
    }

    /// Sends an event until it is acknowledged, and tells the witness.
    pub async fn send(&mut self, camera: &Camera, body: &Value) -> Timestamp {
        let tally = porchlight::city::life::Tally::default();
        let sent = porchlight::city::life::send_until_accepted(camera, body, &tally).await;
        let received_at = sent.expect("acknowledged within a minute");
        self.witness.accepted(camera.device, body, received_at.0);
        received_at
    }

    /// Waits until nothing that must have arrived is missing; then nothing may have gone astray either, not even what
    /// comes late: one more event to everybody's own phone would overtake nothing, so all lags must be zero.
    pub async fn all_arrived(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.witness.observe(&self.city.phones);
            let verdict = self.witness.judge_pushes(i64::MAX);
            if verdict.missing.is_empty() && self.lag().await == 0.0 {
                self.witness.observe(&self.city.phones);
                let verdict = self.witness.judge_pushes(i64::MAX);
                assert!(verdict.is_clean(), "{verdict:#?}");
                let said = self.witness.judge_payloads();
                assert!(said.is_empty(), "{said:#?}");
                return;
            }
            assert!(Instant::now() < until, "{verdict:#?}\nlag {}", self.lag().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Records that wait in any stage, by the services' own metrics.
    pub async fn lag(&self) -> f64 {
        let mut lag = 0.0;
        for (service, n) in self.city.deployment.processes() {
            lag += sample(&self.city.deployment.admin(service, n), "porchlight_bus_consumer_lag_records", "").await;
        }
        lag
    }

    /// Ends it; every process must drain and exit 0.
    pub async fn end(self) {
        self.city.deployment.stop().await.expect("drained");
    }
}

/// The sum of a metric's samples whose labels contain `label`, as a process says now; 0 if it does not answer.
pub async fn sample(admin: &str, metric: &str, label: &str) -> f64 {
    let asked = async { reqwest::get(format!("{admin}/metrics")).await?.text().await };
    let of_metric = |line: &&str| {
        let rest = line.strip_prefix(metric);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    };
    let text = asked.await.unwrap_or_default();
    text.lines().filter(of_metric).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Polls until it holds.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut poll: impl FnMut() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(Instant::now() < until, "it did not come about: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A household at a place, with an optional camera that shares these labels.
pub fn household(
    subject: &str,
    town: &str,
    lon: f64,
    lat: f64,
    camera: Option<&[&'static str]>,
) -> porchlight_synth::Household {
    #[allow(clippy::cast_possible_truncation)]
    let at = Point { x: (lon * 1e7).round() as i32, y: (lat * 1e7).round() as i32 };
    porchlight_synth::Household {
        subject: subject.to_owned(),
        home: Uuid::new_v4(),
        town: town.to_owned(),
        at,
        endpoint: Uuid::new_v4(),
        cameras: camera
            .map(|shares| porchlight_synth::Camera {
                id: Uuid::new_v4(),
                name: "Front door",
                at: Point { x: at.x + 900, y: at.y - 700 },
                shares: shares.to_vec(),
                clips: false,
                shares_media: false,
            })
            .into_iter()
            .collect(),
    }
}

/// An event that occurred and was sent at this time of the camera's clock.
pub fn event(kind: &str, labels: &[&str], at: Timestamp) -> Value {
    json!({
        "id": Uuid::now_v7(),
        "kind": kind,
        "labels": labels,
        "occurred_at": at.to_string(),
        "sent_at": at.to_string(),
    })
}

/// The id under which a scene knows a town.
pub fn town_id(name: &str) -> Uuid {
    neighborhood_id(name)
}

/// What a process holds in memory, bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Lets this process, and those it starts, open so many files.
pub fn raise_open_files(to: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < to) {
        let wanted = Rlimit { current: Some(to), maximum: now.maximum.map(|most| most.max(to)) };
        setrlimit(Resource::Nofile, wanted).expect("root, or a hard limit that is high enough");
    }
}
