//! The gateway on real servers. `PORCHLIGHT_TEST_SERVERS` names a `servers.json`.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use porchlight_bus::{From, KafkaConfig, ProduceError, Producer, Reader, Topic};
use porchlight_chassis::{health::Health, http::shell, lifecycle::Manager};
use porchlight_clips::{Grant, S3, Vault as _};
use porchlight_domain::{
    Cell, Clock as _, ContentHash, Credential, Device, DeviceId, ManualClock, MediaKind, Point, SystemClock,
    place::Degrees,
};
use porchlight_gateway::{
    App, Config,
    app::Parts,
    auth::Tokens,
    registry::{Publish, Sweeper},
};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_store::{Read, Store};
use porchlight_wire::{NeighborhoodRecord, Wire};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use support::{Answer, Client, PARK_STREET, QUINCY, device_body, home_body, issuer::Issuer, media, servers, square};

const HOME: Uuid = Uuid::from_u128(0x18f_0001);

/// The real producer, with a power switch.
#[derive(Clone)]
struct Switched {
    producer: Producer,
    dead: Arc<AtomicBool>,
}

#[async_trait]
impl Publish for Switched {
    async fn publish(&self, topic: Topic, key: &[u8], value: &[u8]) -> Result<(), ProduceError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(ProduceError::TimedOut);
        }
        self.producer.publish(topic, key, value).await
    }
}

/// A gateway over real servers.
struct Real {
    client: Client,
    app: App,
    store: Store,
    s3: S3,
    kafka: KafkaConfig,
    clock: Arc<ManualClock>,
    dead: Arc<AtomicBool>,
}

impl Real {
    async fn new(issuer: Issuer, config: &Config) -> Self {
        let store = Store::connect(&config.cql).await.unwrap();
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let dead = Arc::new(AtomicBool::new(false));
        let s3 = S3::new(&config.s3).unwrap();
        let app = App::new(
            config,
            Parts {
                store: store.clone(),
                vault: Arc::new(s3.clone()),
                publisher: Arc::new(Switched { producer: Producer::new(&config.kafka).unwrap(), dead: dead.clone() }),
                neighborhoods: Neighborhoods::new(),
                fresh: Arc::new(|| Ok(())),
                tokens: Tokens::new(&config.auth).unwrap(),
                clock: clock.clone(),
                vapid_public_key: String::new(),
                closing: CancellationToken::new(),
            },
        );
        let (router, document) = app.router();
        let router = shell(&config.http, router, &document);
        Self { client: Client { router, issuer }, app, store, s3, kafka: config.kafka.clone(), clock, dead }
    }

    /// The last record of each key, as compaction would leave them.
    async fn last<T: Wire>(&self, topic: Topic) -> HashMap<Vec<u8>, T> {
        let mut reader = Reader::open(&self.kafka, topic, From::Beginning).await.unwrap();
        let mut last = HashMap::new();
        while let Some(record) = reader.next_existing().await.unwrap() {
            last.insert(record.key.unwrap(), T::decode(&record.value).unwrap());
        }
        last
    }

    async fn published_device(&self, id: DeviceId) -> Option<Device> {
        self.last(Topic::Devices).await.remove(&id.0.as_bytes()[..])
    }

    async fn row(&self, id: DeviceId) -> Device {
        self.store.registry.device(id, Read::Serial).await.unwrap().unwrap()
    }
}

fn point(at: (f64, f64)) -> Point {
    Point::from_degrees(Degrees { lon: at.0, lat: at.1 }).unwrap()
}

fn named(name: &str) -> Value {
    let mut body = device_body(HOME, PARK_STREET);
    body["name"] = json!(name);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_stands_in_the_rows_and_in_the_topics() {
    let issuer = Issuer::start().await;
    let url = issuer.url().to_owned();
    servers::with(&url, |settings| async move {
        let config = servers::read(issuer.url(), &settings);
        let real = Real::new(issuer, &config).await;
        real.client.settle("alice", HOME, PARK_STREET).await;
        a_clip_is_fetched_as_it_was_put(&real).await;
        homes_are_placed_where_they_are(&real).await;
        a_device_stands_in_its_topic_and_a_revoked_credential_does_not(&real).await;
        of_concurrent_conditional_writers_one_wins(&real).await;
        the_last_record_is_the_row_however_many_write(&real).await;
        the_sweeper_finishes_what_a_crash_left_between_row_and_topic(&real).await;
        every_version_of_a_neighborhood_is_kept_and_the_last_is_published(&real).await;
        endpoints_of_a_person_are_kept(&real).await;
    })
    .await;
}

async fn a_clip_is_fetched_as_it_was_put(real: &Real) {
    let chosen = Uuid::from_u128(10);
    let mut body = named("Camera");
    (body["clips"], body["retention_days"]) = (json!(true), json!(30));
    assert_eq!(real.client.put("alice", &format!("/v1/devices/{chosen}"), body.clone()).await.status, 201);

    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let now = real.clock.now();
    let mut clip = media(real.client.household("alice"), real.client.device("alice", chosen), MediaKind::Clip, now);
    (clip.bytes, clip.sha256) = (bytes.len() as u64, ContentHash(Sha256::digest(&bytes).into()));
    let grant = Grant {
        device: clip.device,
        event: clip.event,
        kind: clip.kind,
        content_type: clip.content_type,
        bytes: clip.bytes,
        sha256: clip.sha256,
        expires_at: now.plus_ms(60_000),
    };
    clip.id = grant.media();
    let upload = real.s3.upload(&grant, now).await.unwrap();
    let http = reqwest::Client::new();
    let put = upload.headers.iter().fold(http.put(&upload.url), |put, (name, value)| put.header(name, value));
    let put = put.body(bytes.clone()).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    real.store.media.put(&clip).await.unwrap();

    let path = format!("/v1/media/{}", clip.id);
    let answer = real.client.get("alice", &path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["sha256"], json!(clip.sha256));
    let fetch = async |answer: &Answer| http.get(answer.json()["url"].as_str().unwrap()).send().await.unwrap();
    let fetched = fetch(&answer).await;
    assert_eq!((fetched.status().as_u16(), fetched.headers()["content-type"].as_bytes()), (200, &b"video/mp4"[..]));
    assert!(fetched.bytes().await.unwrap() == bytes, "the same bytes");
    // A URL that was made 61 s ago.
    real.clock.advance_ms(-61_000);
    let old = real.client.get("alice", &path).await;
    real.clock.advance_ms(61_000);
    assert_eq!((old.status.as_u16(), fetch(&old).await.status().as_u16()), (200, 403), "S3 refuses it");

    let unknown = real.client.get("quentin", &format!("/v1/media/{}", Uuid::nil())).await;
    let strangers = real.client.get("quentin", &path).await;
    assert_eq!((strangers.status.as_u16(), &strangers.bytes), (404, &unknown.bytes));
    body["retention_days"] = json!(1);
    real.clock.advance_ms(86_400_001);
    assert_eq!(real.client.put("alice", &format!("/v1/devices/{chosen}"), body).await.status, 200);
    let ended = real.client.get("alice", &path).await;
    real.clock.advance_ms(-86_400_001);
    assert_eq!((ended.status.as_u16(), ended.code().as_str()), (410, "media_expired"));
    real.s3.remove_media(clip.id).await.unwrap();
    assert_eq!(real.client.delete("alice", &format!("/v1/devices/{chosen}")).await.status, 204);
}

async fn homes_are_placed_where_they_are(real: &Real) {
    let in_cell = |at| async move {
        let homes = real.store.registry.homes_in(Cell::of(point(at)), None, 10).await.unwrap();
        homes.into_iter().map(|copy| (copy.verified, copy.version.0)).collect::<Vec<_>>()
    };
    assert_eq!(in_cell(PARK_STREET).await, [(true, 2)]);
    let moving = format!("/v1/homes/{}", Uuid::from_u128(0x18f_0002));
    assert_eq!(real.client.put("bob", &moving, home_body(PARK_STREET)).await.status, 201);
    assert_eq!(in_cell(PARK_STREET).await.len(), 2);
    assert_eq!(real.client.put("bob", &moving, home_body(QUINCY)).await.status, 200);
    assert_eq!((in_cell(PARK_STREET).await, in_cell(QUINCY).await), (vec![(true, 2)], vec![(false, 2)]));
    let pending = real.client.get("operator", "/v1/operator/homes?state=pending").await.json();
    assert_eq!(pending["items"].as_array().unwrap().len(), 1);
    assert_eq!(real.client.delete("bob", &moving).await.status, 204);
    assert!(in_cell(QUINCY).await.is_empty());
    let pending = real.client.get("operator", "/v1/operator/homes?state=pending").await.json();
    assert_eq!(pending["items"], json!([]));
}

async fn a_device_stands_in_its_topic_and_a_revoked_credential_does_not(real: &Real) {
    let chosen = Uuid::from_u128(1);
    let (id, path) = (real.client.device("alice", chosen), format!("/v1/devices/{chosen}"));
    assert_eq!(real.client.put("alice", &path, named("Front door")).await.status, 201);
    assert_eq!(real.published_device(id).await.unwrap(), real.row(id).await);
    let issued = real.client.post("alice", &format!("{path}/credentials")).await;
    let credential = Credential::parse(issued.json()["credential"].as_str().unwrap()).unwrap();
    assert!(real.published_device(id).await.unwrap().accepts(&credential.secret));
    assert_eq!(real.client.delete("alice", &format!("{path}/credentials")).await.status, 204);
    let revoked = real.published_device(id).await.unwrap();
    assert_eq!((revoked.credential, revoked.version.0), (None, 3));
    assert_eq!(real.client.delete("alice", &path).await.status, 204);
    assert!(real.published_device(id).await.unwrap().deleted);
    assert_eq!(real.client.get("alice", &path).await.status, 404);
}

async fn of_concurrent_conditional_writers_one_wins(real: &Real) {
    let chosen = Uuid::from_u128(2);
    let (id, path) = (real.client.device("alice", chosen), format!("/v1/devices/{chosen}"));
    real.client.put("alice", &path, named("v1")).await;
    let names = ["a", "b", "c", "d"];
    let put = |name: &'static str| {
        let path = &path;
        async move {
            let answer = real.client.ask_with("alice", "PUT", path, Some(named(name)), &[("if-match", "\"1\"")]).await;
            (answer.status.as_u16(), name)
        }
    };
    let answers = futures::future::join_all(names.map(put)).await;
    let winners: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [200, 412].contains(status)), "{answers:?}");
    let row = real.row(id).await;
    assert_eq!((row.version.0, row.name.as_str()), (2, winners[0].1));
}

async fn the_last_record_is_the_row_however_many_write(real: &Real) {
    let chosen = Uuid::from_u128(3);
    let (id, path) = (real.client.device("alice", chosen), format!("/v1/devices/{chosen}"));
    let names = ["a", "b", "c", "d"];
    let put = |name: &'static str| real.client.put("alice", &path, named(name));
    let answers = futures::future::join_all(names.map(put)).await;
    assert!(answers.iter().all(|answer| answer.status.is_success()), "{answers:?}");
    let row = real.row(id).await;
    assert_eq!(row.version.0, 4, "each wrote once");
    assert_eq!(real.published_device(id).await.unwrap(), row);
}

async fn the_sweeper_finishes_what_a_crash_left_between_row_and_topic(real: &Real) {
    let chosen = Uuid::from_u128(4);
    let (id, path) = (real.client.device("alice", chosen), format!("/v1/devices/{chosen}"));
    real.dead.store(true, Ordering::SeqCst);
    let answer = real.client.put("alice", &path, named("Front door")).await;
    assert_eq!(answer.code(), "registry_unavailable");
    assert_eq!(real.published_device(id).await, None);
    real.dead.store(false, Ordering::SeqCst);
    // Another gateway's sweeper, that knows of nothing.
    let mut sweeper = Sweeper::new(real.app.registrar().clone());
    real.clock.advance_ms(2_000);
    sweeper.turn().await.unwrap();
    assert_eq!(real.published_device(id).await.unwrap(), real.row(id).await);
}

async fn every_version_of_a_neighborhood_is_kept_and_the_last_is_published(real: &Real) {
    let id = Uuid::from_u128(0x3a1);
    let path = format!("/v1/neighborhoods/{id}");
    let first = real.client.put("operator", &path, square("Malden", PARK_STREET)).await;
    assert_eq!(first.status, 201);
    let second = real.client.put("operator", &path, square("Malden", QUINCY)).await;
    assert_eq!(second.etag(), "\"2\"");
    for (version, answer) in [(1, &first), (2, &second)] {
        assert_eq!(real.client.get("operator", &format!("{path}/versions/{version}")).await.json(), answer.json());
    }
    let published: HashMap<Vec<u8>, NeighborhoodRecord> = real.last(Topic::Neighborhoods).await;
    assert_eq!((published.len(), published[&id.as_bytes()[..]].version.0), (1, 2));
    let listed = real.client.get("operator", "/v1/neighborhoods").await.json();
    assert_eq!(listed["items"], json!([{"id": id, "name": "Malden", "version": 2}]));
}

async fn endpoints_of_a_person_are_kept(real: &Real) {
    let phone = json!({"transport": "webpush", "url": "https://push.example.org/x", "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"});
    let path = format!("/v1/push-endpoints/{}", Uuid::from_u128(9));
    let made = real.client.put("alice", &path, phone).await;
    assert_eq!(made.status, 201);
    assert_eq!(real.client.get("alice", "/v1/push-endpoints").await.json()["items"], json!([made.json()]));
}

/// The whole process: it becomes ready, learns of neighborhoods by the topic, and drains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_becomes_ready_serves_and_drains() {
    let issuer = Issuer::start().await;
    let url = issuer.url().to_owned();
    servers::with(&url, |mut settings| async move {
        let dir = std::env::temp_dir().join(format!("gateway-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        let file = |name: &str| dir.join(name).display().to_string();
        settings.extend([
            ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
            ("HTTP__ADDRESS_FILE", file("http")),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("ADMIN__ADDRESS_FILE", file("admin")),
        ]);
        let config = servers::read(issuer.url(), &settings);
        let health = Health::new();
        let mut manager = Manager::new(health.clone(), Duration::from_millis(config.lifecycle.drain_ms));
        porchlight_gateway::start(&config, axum::Router::new(), &health, &mut manager).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(manager.run_until(async move {
            let _ = stopped.await;
            "the test is over"
        }));

        eventually(async || health.ready().is_ok()).await;
        let http = std::fs::read_to_string(dir.join("http")).unwrap();
        let admin = std::fs::read_to_string(dir.join("admin")).unwrap();
        let client = reqwest::Client::new();
        assert_eq!(client.get(format!("http://{admin}/readyz")).send().await.unwrap().status(), 200);
        let ask = |method: &str, path: &str, who: &str, body: Option<Value>| {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let scope = if who == "operator" { "operator" } else { "" };
            let request = client.request(method, format!("http://{http}{path}")).bearer_auth(issuer.mint(who, scope));
            let request = match &body {
                Some(body) => request.json(body),
                None => request,
            };
            async move { request.send().await.unwrap() }
        };
        let home = format!("/v1/homes/{HOME}");
        let made: Value = ask("PUT", &home, "alice", Some(home_body(PARK_STREET))).await.json().await.unwrap();
        let verify = format!("/v1/operator/homes/{}/verify", made["home"].as_str().unwrap());
        assert_eq!(ask("POST", &verify, "operator", None).await.status(), 200);
        let malden = format!("/v1/neighborhoods/{}", Uuid::from_u128(0x3a1));
        assert_eq!(ask("PUT", &malden, "operator", Some(square("Malden", PARK_STREET))).await.status(), 201);
        eventually(async || {
            let me: Value = ask("GET", "/v1/me", "alice", None).await.json().await.unwrap();
            me["neighborhoods"][0]["name"] == "Malden"
        })
        .await;

        stop.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Ok(()), "drained");
        std::fs::remove_dir_all(&dir).unwrap();
    })
    .await;
}

/// Asks until it is so; a bound, not a wait: what never comes fails.
async fn eventually(mut so: impl AsyncFnMut() -> bool) {
    let mut turns = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..1_200 {
        turns.tick().await;
        if so().await {
            return;
        }
    }
    panic!("it never came to be");
}
