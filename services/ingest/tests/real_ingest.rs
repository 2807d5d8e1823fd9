//! The service in this process, against a real Kafka and a real S3 server.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{device, event_id};
use porchlight_bus::{From, KafkaConfig, Producer, Reader, Topic, apply_topics, drop_topics};
use porchlight_clips::{GrantKey, S3, Vault as _};
use porchlight_domain::{
    Clock as _, ContentHash, ContentType, Credential, Device, Logged, Media, MediaId, MediaKind, Secret, Stamped,
    SystemClock, Timestamp,
};
use porchlight_ingest::{Config, DEFAULT_TOML, assemble};
use porchlight_wire::Wire as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{sync::oneshot, task::JoinHandle};

/// Topics and objects of its own on the shared servers.
struct World {
    settings: Vec<(&'static str, String)>,
    kafka: KafkaConfig,
    objects: S3,
    producer: Producer,
    folder: tempfile::TempDir,
    client: reqwest::Client,
}

/// One running ingest.
struct Ingest {
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

/// An event as of now.
fn event(id: &str) -> Value {
    let now = SystemClock.now();
    json!({
        "id": id, "kind": "motion", "labels": ["person"],
        "occurred_at": now.plus_ms(-1_000), "sent_at": now,
    })
}

/// The shared servers, and what is of one world alone.
fn settings(servers: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let s3 = &servers["s3"];
    let world = format!("ingest-{}", uuid::Uuid::new_v4().simple());
    vec![
        ("KAFKA__BOOTSTRAP_SERVERS", text(&servers["kafka"])),
        ("KAFKA__TOPIC_PREFIX", format!("{world}-")),
        ("S3__ENDPOINT", text(&s3["endpoint"])),
        ("S3__REGION", text(&s3["region"])),
        ("S3__BUCKET", text(&s3["bucket"])),
        ("S3__PREFIX", format!("{world}/")),
        ("S3__ACCESS_KEY_ID", text(&s3["access_key_id"])),
        ("S3__SECRET_ACCESS_KEY", text(&s3["secret_access_key"])),
        ("MEDIA__GRANT_KEY", GrantKey::generate()),
        ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

fn config<'a>(settings: impl IntoIterator<Item = &'a (&'static str, String)>) -> Config {
    let env = settings.into_iter().map(|(k, v)| (format!("PORCHLIGHT_{k}"), v.clone()));
    porchlight_chassis::config::load(DEFAULT_TOML, None, env.collect::<Vec<_>>()).unwrap()
}

async fn world() -> World {
    const MISSING: &str = "run make test, or make up and set PORCHLIGHT_TEST_SERVERS";
    let servers = std::fs::read(std::env::var("PORCHLIGHT_TEST_SERVERS").expect(MISSING)).expect(MISSING);
    let servers: Value = serde_json::from_slice(&servers).unwrap();
    let settings = settings(&servers);
    let config = config(&settings);
    apply_topics(&config.kafka, 4, 1).await.unwrap();
    World {
        settings,
        producer: Producer::new(&config.kafka).unwrap(),
        objects: S3::new(&config.s3).unwrap(),
        kafka: config.kafka,
        folder: tempfile::tempdir().unwrap(),
        client: reqwest::Client::new(),
    }
}

/// Asks until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl World {
    /// Starts one, and waits until it is ready.
    async fn ingest(&self, name: &str) -> Ingest {
        let admin = self.folder.path().join(name);
        let config = config(self.settings.iter().chain(&[("ADMIN__ADDRESS_FILE", admin.display().to_string())]));
        let (tell, address) = oneshot::channel::<SocketAddr>();
        let manager = assemble(config, |address| tell.send(address).unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(manager.run_until(async move {
            let _ = stopped.await;
            "test"
        }));
        let url = format!("http://{}/v1", address.await.unwrap());
        until("ready", || async {
            let Ok(admin) = std::fs::read_to_string(&admin) else { return false };
            self.client.get(format!("http://{admin}/readyz")).send().await.is_ok_and(|r| r.status() == 200)
        })
        .await;
        Ingest { url, stop, task }
    }

    async fn publish(&self, device: &Device) {
        let key = device.id.0.as_bytes();
        self.producer.send(Topic::Devices, Some(key), &device.encode(), &[]).await.unwrap();
    }

    /// A device that this ingest knows, and its token.
    async fn device(&self, ingests: &[&Ingest]) -> (Device, String) {
        let secret = Secret::mint();
        let device = device(&secret);
        let token = Credential { device: device.id, secret }.reveal();
        self.publish(&device).await;
        for ingest in ingests {
            until("the device is known", || async { self.post(ingest, &token, "{").await.0 == 400 }).await;
        }
        (device, token)
    }

    async fn send(&self, ingest: &Ingest, token: &str, content_type: &str, body: String) -> (u16, Value) {
        self.send_to(&format!("{}/events", ingest.url), token, content_type, body).await
    }

    async fn send_to(&self, url: &str, token: &str, content_type: &str, body: String) -> (u16, Value) {
        let request = self.client.post(url).bearer_auth(token).header("content-type", content_type).body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Asks for the upload of a clip of these bytes.
    async fn grant(&self, ingest: &Ingest, token: &str, event: &str, clip: &[u8]) -> Value {
        let body = json!({
            "kind": "clip", "bytes": clip.len(), "sha256": sha256(clip), "content_type": "video/mp4",
        });
        let url = format!("{}/events/{event}/media", ingest.url);
        let (status, granted) = self.send_to(&url, token, "application/json", body.to_string()).await;
        assert_eq!(status, 201, "{granted}");
        granted
    }

    /// Puts bytes as a device does: with the headers that it was given and nothing else.
    async fn put(&self, granted: &Value, bytes: &[u8]) -> u16 {
        let upload = &granted["upload"];
        assert_eq!(upload["method"], "PUT");
        let mut request = self.client.put(upload["url"].as_str().unwrap()).body(bytes.to_vec());
        for (name, value) in upload["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request.send().await.unwrap().status().as_u16()
    }

    async fn complete(&self, ingest: &Ingest, token: &str, granted: &Value) -> (u16, Value) {
        let url = format!("{}/media/{}/complete", ingest.url, granted["media"].as_str().unwrap());
        self.send_to(&url, token, "application/json", json!({"grant": granted["grant"]}).to_string()).await
    }

    async fn post(&self, ingest: &Ingest, token: &str, body: impl ToString) -> (u16, Value) {
        self.send(ingest, token, "application/json", body.to_string()).await
    }

    /// All that is in the topic.
    async fn logged(&self) -> Vec<Logged> {
        let mut reader = Reader::open(&self.kafka, Topic::Events, From::Beginning).await.unwrap();
        let mut all = Vec::new();
        while let Some(record) = reader.next_existing().await.unwrap() {
            let logged = Logged::decode(&record.value).unwrap();
            let (Logged::Event(Stamped { device, .. }) | Logged::Media(Media { device, .. })) = &logged;
            assert_eq!(record.key.as_deref(), Some(&device.0.as_bytes()[..]), "the key is the device");
            all.push(logged);
        }
        all
    }

    /// The events in the topic, where nothing else is.
    async fn events(&self) -> Vec<Stamped> {
        let event = |logged| match logged {
            Logged::Event(event) => event,
            Logged::Media(media) => panic!("{media:?}"),
        };
        self.logged().await.into_iter().map(event).collect()
    }

    async fn end(self, ingests: impl IntoIterator<Item = Ingest>) {
        for ingest in ingests {
            ingest.stop.send(()).unwrap();
            ingest.task.await.unwrap().unwrap();
        }
        drop_topics(&self.kafka).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_when_202_arrives_the_event_is_in_the_topic() {
    let world = world().await;
    let ingest = world.ingest("a").await;
    let (device, token) = world.device(&[&ingest]).await;
    let id = event_id();
    let (status, answer) = world.post(&ingest, &token, event(&id)).await;
    assert_eq!(status, 202);
    let events = world.events().await;
    let [kept] = &events[..] else { panic!("one event") };
    assert_eq!((kept.event.id.to_string(), kept.device, kept.household), (id, device.id, device.household));
    assert_eq!((kept.point, kept.policy, kept.plan), (device.point, device.policy, device.plan));
    let received_at: Timestamp = answer["received_at"].as_str().unwrap().parse().unwrap();
    assert_eq!((received_at, answer["skew_ms"].as_i64()), (kept.received_at, Some(kept.skew_ms())));

    let ids: Vec<String> = (0..40).map(|_| event_id()).collect();
    let lines: Vec<String> = ids.iter().map(|id| event(id).to_string()).collect();
    let (status, answer) = world.send(&ingest, &token, "application/x-ndjson", lines.join("\n")).await;
    assert_eq!((status, answer["results"].as_array().unwrap().len()), (202, 40));
    let kept: Vec<String> = world.events().await.iter().skip(1).map(|e| e.event.id.to_string()).collect();
    assert_eq!(kept, ids, "in the order of the body");
    world.end([ingest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_in_the_topic() {
    let world = world().await;
    let ingest = world.ingest("a").await;
    let (device, token) = world.device(&[&ingest]).await;
    let id = event_id();
    let with = |field: &str, value: Value| {
        let mut e = event(&id);
        e[field] = value;
        e.to_string()
    };
    for (body, expected) in [
        ("{\"id\"".to_owned(), (400, "malformed_json")),
        (with("plate", json!("x")), (400, "unknown_field")),
        (with("occurred_at", json!("soon")), (422, "time_invalid")),
        (with("occurred_at", json!("2020-01-01T00:00:00Z")), (422, "event_too_old")),
        (with("zone", json!("z".repeat(300_000))), (413, "body_too_large")),
    ] {
        let (status, answer) = world.post(&ingest, &token, body).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), expected);
    }
    let (status, answer) = world.send(&ingest, &token, "text/plain", event(&id).to_string()).await;
    assert_eq!((status, answer["code"].as_str()), (415, Some("unsupported_media_type")));
    let forged = Credential { device: device.id, secret: Secret::mint() }.reveal();
    let (status, answer) = world.post(&ingest, &forged, event(&id)).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("credential_invalid")));
    assert_eq!(world.events().await.len(), 0);
    world.end([ingest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_credential_is_refused_within_five_seconds() {
    let world = world().await;
    let (first, second) = (world.ingest("a").await, world.ingest("b").await);
    let (device, token) = world.device(&[&first, &second]).await;
    world.publish(&Device { credential: None, version: device.version.next(), ..device }).await;
    let revoked = Instant::now();
    for ingest in [&first, &second] {
        until("refused", || async { world.post(ingest, &token, "{").await.0 == 401 }).await;
    }
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    for ingest in [&first, &second] {
        assert_eq!(world.post(ingest, &token, event(&event_id())).await.0, 401);
    }
    assert_eq!(world.events().await.len(), 0);
    world.end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_come_to_one_answer_and_a_new_one_knows_it_when_it_is_ready() {
    let world = Arc::new(world().await);
    let (first, second) = (world.ingest("a").await, world.ingest("b").await);
    let (_, token) = world.device(&[&first, &second]).await;
    let id = event_id();
    let original = event(&id);
    let mut changed = original.clone();
    changed["kind"] = json!("ding");

    // At one moment at both: whoever is first in the log, both come to say what it says.
    let (a, b) = tokio::join!(world.post(&first, &token, &original), world.post(&second, &token, &original));
    assert_eq!((a.0, b.0), (202, 202));
    let truth = world.events().await[0].clone();
    let settled = json!({"id": id, "received_at": truth.received_at, "skew_ms": truth.skew_ms()});
    for ingest in [&first, &second] {
        until("the first one's answer", || async {
            world.post(ingest, &token, &original).await == (202, settled.clone())
        })
        .await;
        let (status, answer) = world.post(ingest, &token, &changed).await;
        assert_eq!((status, answer["code"].as_str()), (409, Some("id_conflict")));
    }
    let events = world.events().await;
    assert!(events.len() <= 2, "one for each process at most: {}", events.len());
    assert!(events.iter().all(|e| e.digest == truth.digest), "the changed one is nowhere");

    // A process that starts has read the tail before it is ready: it need not be asked twice.
    let third = world.ingest("c").await;
    assert_eq!(world.post(&third, &token, &changed).await.0, 409);
    assert_eq!(world.post(&third, &token, &original).await, (202, settled));
    assert_eq!(world.events().await.len(), events.len());
    Arc::into_inner(world).unwrap().end([first, second, third]).await;
}

fn sha256(bytes: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(bytes).into())
}

fn code(answer: &(u16, Value)) -> (u16, Option<&str>) {
    (answer.0, answer.1["code"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_goes_straight_into_the_store_of_objects_and_its_completion_into_the_topic() {
    let world = world().await;
    let (first, second) = (world.ingest("a").await, world.ingest("b").await);
    let (device, token) = world.device(&[&first, &second]).await;
    let admin = std::fs::read_to_string(world.folder.path().join("a")).unwrap();
    until("the store of objects answers", || async {
        let metrics = world.client.get(format!("http://{admin}/metrics")).send().await.unwrap();
        metrics.text().await.unwrap().contains("\nporchlight_ingest_storage_up 1\n")
    })
    .await;
    let clip = b"moving pictures, more or less".repeat(1_000);
    let event = event_id();
    let granted = world.grant(&first, &token, &event, &clip).await;
    let media: MediaId = granted["media"].as_str().unwrap().parse().unwrap();
    let key = media;
    assert_eq!(code(&world.complete(&first, &token, &granted).await), (409, Some("upload_missing")));

    // What was granted, and nothing else, and nothing without the headers that say so.
    let mut wrong = clip.clone();
    wrong[7] ^= 1;
    let status = world.put(&granted, &wrong).await;
    assert!((400..500).contains(&status), "other bytes of the same length: {status}");
    let bare = world.client.put(granted["upload"]["url"].as_str().unwrap()).body(clip.clone());
    let status = bare.send().await.unwrap().status().as_u16();
    assert!((400..500).contains(&status), "without the headers: {status}");
    assert_eq!(code(&world.complete(&first, &token, &granted).await), (409, Some("upload_missing")));
    assert_eq!(world.objects.stat(key).await.unwrap(), None);
    assert_eq!(world.logged().await, [], "nothing is said of what was refused");

    assert_eq!(world.put(&granted, &clip).await, 200);
    let before = SystemClock.now();
    let (status, completed) = world.complete(&second, &token, &granted).await;
    assert_eq!(status, 200, "any ingest can complete what another granted: {completed}");
    assert_eq!((&completed["media"], completed["event"].as_str()), (&granted["media"], Some(event.as_str())));
    let received_at: Timestamp = completed["received_at"].as_str().unwrap().parse().unwrap();
    assert!((before..=SystemClock.now()).contains(&received_at));
    let expected = Media {
        id: MediaId::of(device.id, event.parse().unwrap(), MediaKind::Clip, &sha256(&clip)),
        device: device.id,
        event: event.parse().unwrap(),
        household: device.household,
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: clip.len() as u64,
        sha256: sha256(&clip),
        retention_days: device.plan.retention_days,
        received_at,
    };
    assert_eq!(expected.id, media);
    assert_eq!(world.logged().await, [Logged::Media(expected.clone())]);

    // Doing it twice is doing it once, also at a process that learned of it from the topic.
    assert_eq!(world.complete(&second, &token, &granted).await, (200, completed.clone()));
    until("the other process knows it", || async {
        world.complete(&first, &token, &granted).await == (200, completed.clone())
    })
    .await;
    for bytes in [&clip, &wrong] {
        let status = world.put(&granted, bytes).await;
        assert!((400..500).contains(&status), "an object is written once: {status}");
    }
    let stat = world.objects.stat(key).await.unwrap().unwrap();
    assert_eq!((stat.bytes, stat.sha256), (expected.bytes, Some(expected.sha256)));

    // Events stand beside it, in one order, and are answered as ever.
    let (status, _) = world.post(&first, &token, crate::event(&event)).await;
    assert_eq!(status, 202);
    let logged = world.logged().await;
    assert!(matches!(&logged[..], [Logged::Media(_), .., Logged::Event(e)] if e.event.id == expected.event));
    assert!(logged.iter().filter(|l| matches!(l, Logged::Media(m) if m.id == media)).count() <= 2);

    // The device is revoked between put and completion.
    let granted = world.grant(&first, &token, &event_id(), &clip).await;
    assert_eq!(world.put(&granted, &clip).await, 200);
    let before = world.logged().await.len();
    world.publish(&Device { credential: None, version: device.version.next(), ..device.clone() }).await;
    until("revoked", || async { world.post(&first, &token, "{").await.0 == 401 }).await;
    assert_eq!(code(&world.complete(&first, &token, &granted).await), (401, Some("credential_invalid")));
    assert_eq!(world.logged().await.len(), before);

    for granted in [&granted["media"], &json!(media)] {
        let media = granted.as_str().unwrap().parse().unwrap();
        world.objects.remove_media(media).await.unwrap();
    }
    world.end([first, second]).await;
}
