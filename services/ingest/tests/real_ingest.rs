//! The service in this process, against a real Kafka.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{device, event_id};
use porchlight_bus::{From, KafkaConfig, Producer, Reader, Topic, apply_topics, drop_topics};
use porchlight_domain::{Clock as _, Credential, Device, Secret, Stamped, SystemClock, Timestamp};
use porchlight_ingest::{Config, DEFAULT_TOML, assemble};
use porchlight_wire::Wire as _;
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

/// Topics of its own on the shared brokers.
struct World {
    kafka: KafkaConfig,
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

fn settings(brokers: &str, prefix: &str, more: &[(&str, String)]) -> Config {
    let env = [
        ("KAFKA__BOOTSTRAP_SERVERS", brokers.to_owned()),
        ("KAFKA__TOPIC_PREFIX", prefix.to_owned()),
        ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let env = env.iter().chain(more).map(|(k, v)| (format!("PORCHLIGHT_{k}"), v.clone()));
    porchlight_chassis::config::load(DEFAULT_TOML, None, env.collect::<Vec<_>>()).unwrap()
}

async fn world() -> World {
    const MISSING: &str = "run make test, or make up and set PORCHLIGHT_TEST_SERVERS";
    let servers = std::fs::read(std::env::var("PORCHLIGHT_TEST_SERVERS").expect(MISSING)).expect(MISSING);
    let servers: Value = serde_json::from_slice(&servers).unwrap();
    let prefix = format!("ingest-{}-", uuid::Uuid::new_v4().simple());
    let kafka = settings(servers["kafka"].as_str().unwrap(), &prefix, &[]).kafka;
    apply_topics(&kafka, 4, 1).await.unwrap();
    World {
        producer: Producer::new(&kafka).unwrap(),
        kafka,
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
        let more = [("ADMIN__ADDRESS_FILE", admin.display().to_string())];
        let config = settings(&self.kafka.bootstrap_servers, &self.kafka.topic_prefix, &more);
        let (tell, address) = oneshot::channel::<SocketAddr>();
        let manager = assemble(config, |address| tell.send(address).unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(manager.run_until(async move {
            let _ = stopped.await;
            "test"
        }));
        let url = format!("http://{}/v1/events", address.await.unwrap());
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
        let request = self.client.post(&ingest.url).bearer_auth(token).header("content-type", content_type).body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn post(&self, ingest: &Ingest, token: &str, body: impl ToString) -> (u16, Value) {
        self.send(ingest, token, "application/json", body.to_string()).await
    }

    /// All that is in the topic.
    async fn events(&self) -> Vec<Stamped> {
        let mut reader = Reader::open(&self.kafka, Topic::Events, From::Beginning).await.unwrap();
        let mut events = Vec::new();
        while let Some(record) = reader.next_existing().await.unwrap() {
            let event = Stamped::decode(&record.value).unwrap();
            assert_eq!(record.key.as_deref(), Some(&event.device.0.as_bytes()[..]), "the key is the device");
            events.push(event);
        }
        events
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
