//! A gateway for tests: the real router over repositories in memory, an issuer on loopback, a recording publisher.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod alerts;
pub mod events;
pub mod issuer;
pub mod memory;
pub mod servers;
pub mod vault;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
};
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode, header};
use porchlight_bus::{ProduceError, Topic};
use porchlight_chassis::http::shell;
use porchlight_clips::Vault;
use porchlight_domain::{
    Alert, AlertId, ChosenId, Clock as _, ContentHash, ContentType, DeviceId, Digest, EventId, HomeId, HouseholdId,
    Item, ItemId, Kind, Label, Labels, Lane, ManualClock, Media, MediaId, MediaKind, NeighborhoodId, NeighborhoodRef,
    Outcome, Point, ResidentId, Timestamp, Version,
    item::{GroupKey, ItemMedia, Shared},
    place::Degrees,
};
use porchlight_gateway::{App, Config, DEFAULT_TOML, app::Parts, auth::Tokens, registry::Publish, stream};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_store::{FeedOwner, MediaIndex as _, SeenEvent, Timeline as _};
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use utoipa::openapi::OpenApi;
use uuid::Uuid;

use alerts::Alerts;
use events::Events;
use issuer::Issuer;
use memory::Memory;
use vault::Signer;

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
    /// What the gateway signs URLs with, unless the world was made over another vault.
    pub signer: Signer,
    pub clock: Arc<ManualClock>,
    /// Whether the neighborhoods in memory can be trusted.
    pub fresh: Arc<AtomicBool>,
    /// What is told.
    pub alerts: Alerts,
    /// Ends the streams, as a drain does.
    pub closing: CancellationToken,
    _streams: DropGuard,
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
        ("PORCHLIGHT_S3__ACCESS_KEY_ID".to_owned(), "porchlight".to_owned()),
        ("PORCHLIGHT_S3__SECRET_ACCESS_KEY".to_owned(), "not a secret".to_owned()),
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
        let bytes = match parts.headers.get(header::CONTENT_TYPE) {
            Some(of) if of == "text/event-stream" => until_live(body).await,
            Some(_) | None => to_bytes(body, 16 << 20).await.unwrap().to_vec(),
        };
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

    /// Opens a stream as this person, behind the event with this cursor.
    pub async fn stream(&self, who: &str, cursor: Option<&str>) -> Events {
        self.stream_by(&self.token(who), cursor).await
    }

    pub async fn stream_by(&self, token: &str, cursor: Option<&str>) -> Events {
        let mut request = Request::get("/v1/feed/stream").header(header::AUTHORIZATION, format!("Bearer {token}"));
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        Events::of(response.into_body())
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
        Self::over(settings, |signer, _| Arc::new(signer)).await
    }

    /// With another vault, made of the configuration.
    pub async fn over(settings: &[(&str, &str)], vault: impl FnOnce(Signer, &Config) -> Arc<dyn Vault>) -> Self {
        let issuer = Issuer::start().await;
        let config = config(issuer.url(), settings);
        let (memory, recorder, signer) = (Memory::default(), Recorder::default(), Signer::default());
        let clock = Arc::new(ManualClock::at(NOW));
        let fresh = Arc::new(AtomicBool::new(true));
        let (alerts, closing, ended) = (Alerts::default(), CancellationToken::new(), CancellationToken::new());
        let app = App::new(
            &config,
            Parts {
                store: memory.store(),
                vault: vault(signer.clone(), &config),
                publisher: Arc::new(recorder.clone()),
                neighborhoods: recorder.neighborhoods.clone(),
                fresh: Arc::new({
                    let fresh = fresh.clone();
                    move || if fresh.load(Ordering::SeqCst) { Ok(()) } else { Err("behind".to_owned()) }
                }),
                tokens: Tokens::new(&config.auth).unwrap(),
                clock: clock.clone(),
                vapid_public_key: "BPublicKey".to_owned(),
                closing: closing.clone(),
            },
        );
        let (router, document) = app.router();
        let router = shell(&config.http, router, &document);
        tokio::spawn(stream::run(app.clone(), alerts.reader(), ended.clone()));
        Self {
            app,
            client: Client { router, issuer },
            document,
            memory,
            recorder,
            signer,
            clock,
            fresh,
            alerts,
            closing,
            _streams: ended.drop_guard(),
        }
    }

    /// An item of this person's household at a place, in the feeds it belongs to, and told.
    pub async fn happen(&self, who: &str, at: (f64, f64), received: Timestamp, shared: bool) -> Item {
        let point = Point::from_degrees(Degrees { lon: at.0, lat: at.1 }).unwrap();
        let neighborhoods = self.recorder.neighborhoods.snapshot().locate(point);
        let item = item(self.household(who), point, neighborhoods.clone(), received, shared);
        self.memory.put_item(&item).await.unwrap();
        self.memory.add_to_feed(FeedOwner::Household(item.household), &item).await.unwrap();
        for neighborhood in neighborhoods {
            self.memory.add_to_feed(FeedOwner::Neighborhood(neighborhood.id), &item).await.unwrap();
        }
        self.tell(&item, self.clock.now()).await;
        item
    }

    /// One revision more of an item, for neighbors too if they may see it; told with this log time.
    pub async fn revise(&self, item: &mut Item, log_at: Timestamp) {
        item.revision += 1;
        if let Some(shared) = item.shared.as_mut() {
            shared.revision += 1;
        }
        self.memory.put_item(item).await.unwrap();
        self.tell(item, log_at).await;
    }

    /// Tells an item as it is.
    pub async fn tell(&self, item: &Item, log_at: Timestamp) {
        self.alerts.append(alert(item), log_at).await;
    }

    /// A media of an event of this item, as the item's device recorded it then and as it is linked to the item.
    pub async fn film(&self, item: &mut Item, kind: MediaKind, shared: bool) -> Media {
        let media = media(item.household, item.group.device, kind, item.opened_at);
        self.memory.put(&media).await.unwrap();
        let seen = SeenEvent {
            device: media.device,
            event: media.event,
            partition: 0,
            offset: 0,
            digest: Digest([0; 32]),
            outcome: Outcome::Alerted,
            item: Some((item.id, item.revision)),
            shares_media: shared,
            received_at: item.opened_at,
            expires_at: item.expires_at,
        };
        self.memory.state().seen.insert((media.device, media.event), seen);
        item.media.push(ItemMedia { id: media.id, kind, shared, revision: item.revision });
        self.memory.put_item(item).await.unwrap();
        media
    }
}

/// A media of an event of its own, kept for 30 days.
pub fn media(household: HouseholdId, device: DeviceId, kind: MediaKind, received: Timestamp) -> Media {
    let (event, sha256) = (EventId(Uuid::now_v7()), ContentHash([7; 32]));
    Media {
        id: MediaId::of(device, event, kind, &sha256),
        device,
        event,
        household,
        kind,
        content_type: match kind {
            MediaKind::Clip => ContentType::Mp4,
            MediaKind::Thumbnail => ContentType::Jpeg,
        },
        bytes: 1_000,
        sha256,
        retention_days: 30,
        received_at: received,
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
        media: Vec::new(),
        expires_at: received.plus_ms(86_400_000),
    }
}

/// What is told of an item as it is.
pub fn alert(item: &Item) -> Alert {
    Alert {
        id: alert_of(item),
        item: item.id,
        event: EventId(Uuid::now_v7()),
        revision: item.revision,
        shared_revision: item.shared.map_or(0, |shared| shared.revision),
        household: item.household,
        neighborhoods: item.audience().neighborhoods,
        lane: Lane::Motion,
        kind: item.group.kind,
        labels: item.labels,
        shared_labels: item.shared_labels,
        created_at: item.updated_at,
        expires_at: item.updated_at.plus_ms(600_000),
        stream_only: false,
    }
}

/// An event stream has no end: as far as it says what was missed.
async fn until_live(body: Body) -> Vec<u8> {
    let (mut chunks, mut bytes) = (body.into_data_stream(), Vec::new());
    while !bytes.ends_with(b": live\n\n")
        && let Some(chunk) = chunks.next().await
    {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

pub fn alert_of(item: &Item) -> AlertId {
    AlertId::of_item(item.id)
}

pub fn version(n: u64) -> Version {
    Version(n)
}
