//! A device, events, and a log that remembers.
#![allow(dead_code, unreachable_pub)]

pub mod upload;
mod vault;

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use futures::future::{BoxFuture, FutureExt as _};
use porchlight_bus::{Delivered, Lookup, ProduceError};
use porchlight_chassis::{config::HttpConfig, http::shell};
use porchlight_clips::GrantKey;
use porchlight_domain::{
    ChosenId, Credential, Device, DeviceId, HomeId, HouseholdId, Label, Logged, ManualClock, Media, Plan, Point,
    Secret, SharingPolicy, Stamped, Timestamp, Version,
};
use porchlight_ingest::{App, Devices, IngestConfig, Log, Parts, router};
use porchlight_wire::Wire as _;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt as _;
use tracing_subscriber::filter::LevelFilter;
use uuid::Uuid;
#[allow(unused_imports)]
pub use vault::{FakeVault, SIGNATURE};

/// 2026-05-01T17:03:02Z.
pub const NOW: Timestamp = Timestamp(1_777_654_982_000);

pub fn device(secret: &Secret) -> Device {
    let household = HouseholdId(Uuid::now_v7());
    let chosen = ChosenId(Uuid::now_v7());
    Device {
        id: DeviceId::scoped(household, chosen),
        chosen,
        household,
        home: HomeId(Uuid::now_v7()),
        name: "front door".into(),
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        policy: SharingPolicy::sharing([Label::Person]),
        plan: Plan { retention_days: 7, clips: true },
        credential: Some(secret.hash()),
        deleted: false,
        version: Version(1),
        updated_at: NOW,
    }
}

/// A new device and its bearer token.
pub fn with_token() -> (Device, String) {
    let secret = Secret::mint();
    let device = device(&secret);
    let token = Credential { device: device.id, secret }.reveal();
    (device, token)
}

pub fn event_id() -> String {
    Uuid::now_v7().to_string()
}

/// A motion event of [`NOW`], in JSON.
pub fn event(id: &str) -> serde_json::Value {
    serde_json::json!({
        "id": id, "kind": "motion", "labels": ["person"],
        "occurred_at": "2026-05-01T17:03:00Z", "sent_at": "2026-05-01T17:03:01.500Z", "zone": "driveway",
    })
}

/// A table of devices that a test holds.
#[derive(Default)]
pub struct FakeDevices {
    pub all: Mutex<Vec<Arc<Device>>>,
    pub stale: AtomicBool,
}

impl Devices for FakeDevices {
    fn get(&self, id: &DeviceId) -> Lookup<Device> {
        if self.stale.load(Ordering::SeqCst) {
            return Lookup::Stale;
        }
        let all = self.all.lock().unwrap();
        all.iter().find(|d| d.id == *id).map_or(Lookup::Absent, |d| Lookup::Found(Arc::clone(d)))
    }
}

/// A log that remembers what it was given, fails on demand, and waits at a gate if there is one.
#[derive(Default)]
pub struct FakeLog {
    pub records: Arc<Mutex<Vec<Stamped>>>,
    pub media: Arc<Mutex<Vec<Media>>>,
    pub failure: Mutex<Option<ProduceError>>,
    pub gate: Mutex<Option<Arc<Semaphore>>>,
    pub waiting_for: Mutex<Duration>,
    pub asked: Arc<Notify>,
    pub appends: AtomicUsize,
}

impl FakeLog {
    pub fn ids(&self) -> Vec<String> {
        self.records.lock().unwrap().iter().map(|r| r.event.id.to_string()).collect()
    }
}

impl Log for FakeLog {
    fn append(&self, device: DeviceId, value: Vec<u8>) -> BoxFuture<'static, Result<Delivered, ProduceError>> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let record = Logged::decode(&value).unwrap();
        let (Logged::Event(Stamped { device: key, .. }) | Logged::Media(Media { device: key, .. })) = &record;
        assert_eq!(*key, device, "the key is the device");
        let (records, media) = (Arc::clone(&self.records), Arc::clone(&self.media));
        let (failure, gate) = (self.failure.lock().unwrap().clone(), self.gate.lock().unwrap().clone());
        let asked = Arc::clone(&self.asked);
        async move {
            asked.notify_one();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            if let Some(e) = failure {
                return Err(e);
            }
            let (mut records, mut media) = (records.lock().unwrap(), media.lock().unwrap());
            match record {
                Logged::Event(event) => records.push(event),
                Logged::Media(one) => media.push(one),
            }
            Ok(Delivered { partition: 0, offset: i64::try_from(records.len() + media.len()).unwrap() - 1 })
        }
        .boxed()
    }

    fn waiting_for(&self) -> Duration {
        *self.waiting_for.lock().unwrap()
    }
}

/// The API with one device, over fakes.
pub struct Api {
    pub router: Router,
    pub devices: Arc<FakeDevices>,
    pub log: Arc<FakeLog>,
    pub vault: Arc<FakeVault>,
    pub grant_key: GrantKey,
    pub clock: Arc<ManualClock>,
    pub device: Arc<Device>,
    pub token: String,
}

pub fn settings() -> IngestConfig {
    IngestConfig {
        shed_motion_above: 50,
        shed_motion_after_ms: 1_000,
        refuse_above: 100,
        max_batch_records: 20,
        courtesy_tail: false,
        courtesy_max_ids: 1_000,
    }
}

pub fn http_settings() -> HttpConfig {
    HttpConfig {
        listen: "127.0.0.1:0".into(),
        address_file: String::new(),
        max_body_bytes: 10_000,
        max_decoded_bytes: 20_000,
        request_timeout_ms: 10_000,
    }
}

pub fn api() -> Api {
    api_with(&settings())
}

/// Lets every thread listen to all that is logged, and keep nothing of it: a place in the code that is first reached by a
/// thread which does not listen may be switched off for all, also for one that wants to read it.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::sink).finish();
        tracing::subscriber::set_global_default(all).unwrap();
    });
}

pub fn api_with(settings: &IngestConfig) -> Api {
    listen();
    let (device, token) = with_token();
    let device = Arc::new(device);
    let devices = Arc::new(FakeDevices::default());
    devices.all.lock().unwrap().push(Arc::clone(&device));
    let (log, vault) = (Arc::new(FakeLog::default()), Arc::new(FakeVault::default()));
    let (grant_key, clock) = (GrantKey::parse(&GrantKey::generate()).unwrap(), Arc::new(ManualClock::at(NOW)));
    let parts = Parts {
        devices: devices.clone(),
        log: log.clone(),
        vault: vault.clone(),
        grant_key: grant_key.clone(),
        clock: clock.clone(),
    };
    let (router, document) = router(App::new(settings, parts));
    let router = shell(&http_settings(), router, &document);
    Api { router, devices, log, vault, grant_key, clock, device, token }
}

/// What came back.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: serde_json::Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

impl Api {
    pub fn request(&self, content_type: &str, body: impl Into<Body>) -> Request<Body> {
        self.request_to("/v1/events", content_type, body)
    }

    pub fn request_to(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
        Request::post(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content_type)
            .body(body.into())
            .unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default(), bytes }
    }

    pub async fn post(&self, event: &serde_json::Value) -> Answer {
        self.send(self.request("application/json", event.to_string())).await
    }

    pub async fn post_lines(&self, lines: &[String]) -> Answer {
        self.send(self.request("application/x-ndjson", lines.join("\n"))).await
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Fills the API with requests that wait at the log's gate.
pub async fn load(api: &Api, requests: usize) -> (Arc<Semaphore>, Vec<tokio::task::JoinHandle<u16>>) {
    let gate = Arc::new(Semaphore::new(0));
    *api.log.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let mut waiting = Vec::new();
    for _ in 0..requests {
        let mut ding = event(&event_id());
        ding["kind"] = "ding".into();
        let (router, request) = (api.router.clone(), api.request("application/json", ding.to_string()));
        waiting.push(tokio::spawn(async move { router.oneshot(request).await.unwrap().status().as_u16() }));
        api.log.asked.notified().await;
    }
    *api.log.gate.lock().unwrap() = None;
    (gate, waiting)
}
