//! A gateway for tests: the real router over repositories in memory, an issuer on loopback, a recording publisher.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod issuer;
pub mod memory;
pub mod servers;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use porchlight_bus::{ProduceError, Topic};
use porchlight_chassis::http::shell;
use porchlight_domain::{
    AlertId, ChosenId, DeviceId, EventId, HomeId, HouseholdId, Item, ItemId, Kind, Label, Labels, ManualClock,
    NeighborhoodId, NeighborhoodRef, Point, ResidentId, Timestamp, Version,
    item::{GroupKey, Shared},
    place::Degrees,
};
use porchlight_gateway::{App, Config, DEFAULT_TOML, app::Parts, auth::Tokens, registry::Publish};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_store::{FeedOwner, Timeline as _};
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use utoipa::openapi::OpenApi;
use uuid::Uuid;

use issuer::Issuer;
use memory::Memory;

/// When tests begin.
pub const NOW: Timestamp = Timestamp(1_780_000_000_000);
/// A door in Malden.
pub const PARK_STREET: (f64, f64) = (-71.0662, 42.4251);
/// Far from there.
pub const QUINCY: (f64, f64) = (-71.0023, 42.2529);

/// Topic, key and value.
type Record = (Topic, Vec<u8>, Vec<u8>);

/// What somebody else does in between.
type Happening = Box<dyn FnOnce() + Send>;

/// Keeps what is published, and feeds the neighborhoods in memory with it as the topic would.
#[derive(Clone, Default)]
pub struct Recorder {
    pub records: Arc<Mutex<Vec<Record>>>,
    pub away: Arc<AtomicBool>,
    pub neighborhoods: Neighborhoods,
    /// Whether records reach the neighborhoods in memory at once.
    pub lagging: Arc<AtomicBool>,
    /// What happens, once, right after a record is published and before its publisher goes on.
    pub then: Arc<Mutex<Option<Happening>>>,
}

#[async_trait]
impl Publish for Recorder {
    async fn publish(&self, topic: Topic, key: &[u8], value: &[u8]) -> Result<(), ProduceError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(ProduceError::Unavailable("away".to_owned()));
        }
        if topic == Topic::Neighborhoods && !self.lagging.load(Ordering::SeqCst) {
            self.neighborhoods.apply(&[Arc::new(NeighborhoodRecord::decode(value).unwrap())]);
        }
        self.records.lock().unwrap().push((topic, key.to_vec(), value.to_vec()));
        let then = self.then.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        Ok(())
    }
}

impl Recorder {
    /// The devices as published, oldest first.
    pub fn devices(&self) -> Vec<porchlight_domain::Device> {
        let records = self.records.lock().unwrap();
        let of = records.iter().filter(|(topic, ..)| *topic == Topic::Devices);
        of.map(|(_, key, value)| {
            let device = porchlight_domain::Device::decode(value).unwrap();
            assert_eq!(key, device.id.0.as_bytes(), "the key is the device");
            device
        })
        .collect()
    }
}

/// A gateway and all that it stands on.
pub struct World {
    pub app: App,
    pub client: Client,
    pub document: OpenApi,
    pub memory: Memory,
    pub recorder: Recorder,
    pub clock: Arc<ManualClock>,
    /// Whether the neighborhoods in memory can be trusted.
    pub fresh: Arc<AtomicBool>,
}

impl std::ops::Deref for World {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Asks a router as people with tokens of an issuer.
pub struct Client {
    pub router: Router,
    pub issuer: Issuer,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
    pub fn etag(&self) -> &str {
        self.headers[header::ETAG].to_str().unwrap()
    }
    /// Status, code and pointer of a refusal.
    pub fn refusal(&self) -> (u16, String, Option<String>) {
        (self.status.as_u16(), self.code(), self.json()["pointer"].as_str().map(str::to_owned))
    }
}

pub fn config(issuer: &str, settings: &[(&str, &str)]) -> Config {
    let mut env = vec![
        ("PORCHLIGHT_AUTH__ISSUER".to_owned(), issuer.to_owned()),
        ("PORCHLIGHT_PUSH__VAPID_PRIVATE_KEY".to_owned(), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE".to_owned()),
        ("PORCHLIGHT_PUSH__VAPID_SUBJECT".to_owned(), "mailto:operator@example.org".to_owned()),
        ("PORCHLIGHT_AUTH__JWKS_MIN_REFRESH_MS".to_owned(), "100".to_owned()),
        ("PORCHLIGHT_GATEWAY__OPERATOR_CACHE_MS".to_owned(), "0".to_owned()),
    ];
    env.extend(settings.iter().map(|(key, value)| (format!("PORCHLIGHT_{key}"), (*value).to_owned())));
    porchlight_chassis::config::load(DEFAULT_TOML, None, env).unwrap()
}

impl Client {
    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// Asks as this person; with a JSON body if there is one.
    pub async fn ask(&self, who: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(who, method, path, body, &[]).await
    }

    pub async fn ask_with(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token(who)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, who: &str, path: &str) -> Answer {
        self.ask(who, "GET", path, None).await
    }
    pub async fn put(&self, who: &str, path: &str, body: Value) -> Answer {
        self.ask(who, "PUT", path, Some(body)).await
    }
    pub async fn delete(&self, who: &str, path: &str) -> Answer {
        self.ask(who, "DELETE", path, None).await
    }
    pub async fn post(&self, who: &str, path: &str) -> Answer {
        self.ask(who, "POST", path, None).await
    }

    /// The token of a person; whose name begins with `operator` has the operator's scope.
    pub fn token(&self, who: &str) -> String {
        self.issuer.mint(who, if who.starts_with("operator") { "operator" } else { "" })
    }

    pub fn resident(&self, who: &str) -> ResidentId {
        ResidentId::of_subject(self.issuer.url(), who)
    }
    pub fn household(&self, who: &str) -> HouseholdId {
        HouseholdId::founded_by(self.resident(who))
    }
    pub fn home(&self, who: &str, chosen: Uuid) -> HomeId {
        HomeId::scoped(self.household(who), ChosenId(chosen))
    }
    pub fn device(&self, who: &str, chosen: Uuid) -> DeviceId {
        DeviceId::scoped(self.household(who), ChosenId(chosen))
    }

    /// A home of this person, verified.
    pub async fn settle(&self, who: &str, chosen: Uuid, at: (f64, f64)) {
        assert_eq!(self.put(who, &format!("/v1/homes/{chosen}"), home_body(at)).await.status, 201);
        let home = self.home(who, chosen);
        assert_eq!(self.post("operator", &format!("/v1/operator/homes/{home}/verify")).await.status, 200);
    }

    /// A square neighborhood around a place; its id is its name's.
    pub async fn draw(&self, name: &str, around: (f64, f64)) -> NeighborhoodId {
        let id = NeighborhoodId(Uuid::new_v5(&Uuid::nil(), name.as_bytes()));
        let answer = self.put("operator", &format!("/v1/neighborhoods/{id}"), square(name, around)).await;
        assert!(answer.status.is_success(), "{answer:?}");
        id
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let issuer = Issuer::start().await;
        let config = config(issuer.url(), settings);
        let (memory, recorder) = (Memory::default(), Recorder::default());
        let clock = Arc::new(ManualClock::at(NOW));
        let fresh = Arc::new(AtomicBool::new(true));
        let app = App::new(
            &config,
            Parts {
                store: memory.store(),
                publisher: Arc::new(recorder.clone()),
                neighborhoods: recorder.neighborhoods.clone(),
                fresh: Arc::new({
                    let fresh = fresh.clone();
                    move || if fresh.load(Ordering::SeqCst) { Ok(()) } else { Err("behind".to_owned()) }
                }),
                tokens: Tokens::new(&config.auth).unwrap(),
                clock: clock.clone(),
                vapid_public_key: "BPublicKey".to_owned(),
            },
        );
        let (router, document) = app.router();
        let router = shell(&config.http, router, &document);
        Self { app, client: Client { router, issuer }, document, memory, recorder, clock, fresh }
    }

    /// An item of this person's household at a place, in the feeds it belongs to.
    pub async fn happen(&self, who: &str, at: (f64, f64), received: Timestamp, shared: bool) -> Item {
        let point = Point::from_degrees(Degrees { lon: at.0, lat: at.1 }).unwrap();
        let neighborhoods = self.recorder.neighborhoods.snapshot().locate(point);
        let item = item(self.household(who), point, neighborhoods.clone(), received, shared);
        self.memory.put_item(&item).await.unwrap();
        self.memory.add_to_feed(FeedOwner::Household(item.household), &item).await.unwrap();
        for neighborhood in neighborhoods {
            self.memory.add_to_feed(FeedOwner::Neighborhood(neighborhood.id), &item).await.unwrap();
        }
        item
    }
}

pub fn home_body(at: (f64, f64)) -> Value {
    json!({"name": "Home", "position": {"lon": at.0, "lat": at.1}})
}

pub fn device_body(home: Uuid, at: (f64, f64)) -> Value {
    json!({"name": "Front door", "home": home, "position": {"lon": at.0, "lat": at.1}})
}

/// A GeoJSON Feature, 0.02 degree wide.
pub fn square(name: &str, (lon, lat): (f64, f64)) -> Value {
    let (w, e, s, n) = (lon - 0.01, lon + 0.01, lat - 0.01, lat + 0.01);
    json!({"type": "Feature", "properties": {"name": name}, "geometry": {
        "type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]}})
}

pub fn item(
    household: HouseholdId,
    point: Point,
    neighborhoods: Vec<NeighborhoodRef>,
    received: Timestamp,
    shared: bool,
) -> Item {
    Item {
        id: ItemId(Uuid::new_v4()),
        group: GroupKey { device: DeviceId(Uuid::new_v4()), kind: Kind::Motion, familiar: false },
        household,
        labels: [Label::Person, Label::Vehicle].into_iter().collect(),
        shared_labels: if shared { [Label::Person].into_iter().collect() } else { Labels::NONE },
        point,
        neighborhoods,
        revision: 2,
        shared: shared.then_some(Shared {
            revision: 1,
            since: received.plus_ms(1_000),
            updated_at: received.plus_ms(1_000),
            occurred_at: received,
        }),
        opened_at: received,
        updated_at: received.plus_ms(1_000),
        occurred_at: received,
        last_occurred_at: received,
        last_event: EventId(Uuid::nil()),
        expires_at: received.plus_ms(86_400_000),
    }
}

pub fn alert_of(item: &Item) -> AlertId {
    AlertId::of_item(item.id)
}

pub fn version(n: u64) -> Version {
    Version(n)
}
