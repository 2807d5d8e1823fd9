//! The live stream on real servers. `PORCHLIGHT_TEST_SERVERS` names a `servers.json`.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures::StreamExt as _;
use porchlight_bus::{Producer, Topic};
use porchlight_chassis::{health::Health, lifecycle::Manager};
use porchlight_domain::{
    Clock as _, HouseholdId, Item, NeighborhoodId, Point, ResidentId, SystemClock, place::Degrees,
};
use porchlight_store::Store;
use porchlight_wire::Wire as _;
use serde_json::{Value, json};
use uuid::Uuid;

use support::{
    PARK_STREET, alert,
    events::{Event, Events, named},
    home_body,
    issuer::Issuer,
    item, servers, square,
};

/// An alert that is appended to the real log arrives on the stream of a real gateway, as household and as neighbor; who
/// resumes, here and on a gateway that was started afterwards, gets what was told while they were away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_arrives_on_open_streams_and_on_those_that_resume() {
    let issuer = Issuer::start().await;
    let url = issuer.url().to_owned();
    servers::with(&url, |settings| async move {
        let first = Gateway::start(&issuer, &settings, "first").await;
        let malden = NeighborhoodId(Uuid::from_u128(0x3a1));
        first.settle("alice", PARK_STREET).await;
        first.settle("bob", (PARK_STREET.0 + 0.002, PARK_STREET.1)).await;
        let path = format!("/v1/neighborhoods/{malden}");
        assert_eq!(first.ask("PUT", &path, "operator", Some(square("Malden", PARK_STREET))).await.status(), 201);
        eventually(async || {
            let me: Value = first.ask("GET", "/v1/me", "bob", None).await.json().await.unwrap();
            me["neighborhoods"][0]["name"] == "Malden"
        })
        .await;

        let teller = Teller::new(&issuer, &settings).await;
        let (mut alice, mut bob) = (first.stream("alice", None).await, first.stream("bob", None).await);
        alice.until_live().await;
        bob.until_live().await;
        let told = teller.tell("alice", malden).await;
        let (_, view) = alice.item().await;
        assert_eq!(named(&view), (told.id.to_string(), 2));
        assert_eq!(view["scope"], "household");
        let (cursor, view) = bob.item().await;
        assert_eq!(named(&view), (told.id.to_string(), 1));
        assert_eq!(view["scope"], "neighborhood");
        drop(bob);

        let missed = teller.tell("alice", malden).await;
        let expected = [(told.id.to_string(), 1), (missed.id.to_string(), 1)];
        assert_eq!(alice.items(1).await, [(missed.id.to_string(), 2)]);
        let mut bob = first.stream("bob", Some(&cursor)).await;
        assert_eq!(bob.items(2).await, expected);

        let second = Gateway::start(&issuer, &settings, "second").await;
        let mut elsewhere = second.stream("bob", Some(&cursor)).await;
        assert_eq!(elsewhere.items(2).await, expected, "a cursor means the same on every gateway");
        second.stop().await;
        assert!(ends_with_going_away(&mut elsewhere).await);

        // A move that another gateway could have written.
        let quincy = support::QUINCY;
        let home = format!("/v1/homes/{HOME}");
        assert_eq!(first.ask("PUT", &home, "bob", Some(home_body(quincy))).await.status(), 200);
        tokio::time::sleep(Duration::from_secs(5)).await;
        teller.tell("alice", malden).await;
        let own = teller.tell("bob", malden).await;
        assert_eq!(bob.items(1).await, [(own.id.to_string(), 2)], "within five seconds a move counts");

        first.stop().await;
        assert!(ends_with_going_away(&mut bob).await);
    })
    .await;
}

const HOME: Uuid = Uuid::from_u128(0x18f_0001);

async fn ends_with_going_away(events: &mut Events) -> bool {
    while let Some(event) = events.next().await {
        if event == Event::Closed("going_away".to_owned()) {
            return events.next().await.is_none();
        }
    }
    false
}

/// A whole gateway.
struct Gateway<'a> {
    issuer: &'a Issuer,
    http: String,
    dir: std::path::PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<(), String>>,
}

impl<'a> Gateway<'a> {
    async fn start(issuer: &'a Issuer, settings: &[(&'static str, String)], name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gateway-{name}-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        let address_file = dir.join("http");
        let mut settings = settings.to_vec();
        settings.extend([
            ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
            ("HTTP__ADDRESS_FILE", address_file.display().to_string()),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
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
        eventually(async || health.ready().is_ok() && address_file.exists()).await;
        let http = std::fs::read_to_string(&address_file).unwrap();
        Self { issuer, http, dir, stop, running }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        let drained = tokio::time::timeout(Duration::from_secs(15), self.running).await;
        assert_eq!(drained.expect("streams do not hold up a drain").unwrap(), Ok(()));
        std::fs::remove_dir_all(&self.dir).unwrap();
    }

    fn request(&self, method: &str, path: &str, who: &str) -> reqwest::RequestBuilder {
        let scope = if who == "operator" { "operator" } else { "" };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        reqwest::Client::new()
            .request(method, format!("http://{}{path}", self.http))
            .bearer_auth(self.issuer.mint(who, scope))
    }

    async fn ask(&self, method: &str, path: &str, who: &str, body: Option<Value>) -> reqwest::Response {
        let request = self.request(method, path, who);
        match &body {
            Some(body) => request.json(body),
            None => request,
        }
        .send()
        .await
        .unwrap()
    }

    async fn settle(&self, who: &str, at: (f64, f64)) {
        let made = self.ask("PUT", &format!("/v1/homes/{HOME}"), who, Some(home_body(at))).await;
        let made: Value = made.json().await.unwrap();
        let verify = format!("/v1/operator/homes/{}/verify", made["home"].as_str().unwrap());
        assert_eq!(self.ask("POST", &verify, "operator", None).await.status(), 200);
    }

    async fn stream(&self, who: &str, cursor: Option<&str>) -> Events {
        let mut request = self.request("GET", "/v1/feed/stream", who);
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Events::read(answer.bytes_stream().map(Result::unwrap))
    }
}

/// Stands for the service that makes items of events.
struct Teller {
    issuer: String,
    store: Store,
    producer: Producer,
}

impl Teller {
    async fn new(issuer: &Issuer, settings: &[(&'static str, String)]) -> Self {
        let config = servers::read(issuer.url(), settings);
        let store = Store::connect(&config.cql).await.unwrap();
        Self { issuer: issuer.url().to_owned(), store, producer: Producer::new(&config.kafka).unwrap() }
    }

    /// A shared item of this person's household on Park Street, stored and told.
    async fn tell(&self, who: &str, neighborhood: NeighborhoodId) -> Item {
        let household = HouseholdId::founded_by(ResidentId::of_subject(&self.issuer, who));
        let point = Point::from_degrees(Degrees { lon: PARK_STREET.0, lat: PARK_STREET.1 }).unwrap();
        let matched = porchlight_domain::NeighborhoodRef { id: neighborhood, version: support::version(1) };
        let item = item(household, point, vec![matched], SystemClock.now(), true);
        self.store.timeline.put_item(&item).await.unwrap();
        let key = household.0.as_bytes();
        self.producer.send(Topic::Alerts, Some(key), &alert(&item).encode(), &[]).await.unwrap();
        item
    }
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

#[test]
fn events_are_read_whole_however_they_are_cut() {
    let text = "retry: 1000\n\n: live\n\nevent: item\nid: AQ\ndata: {\"id\":\"x\",\"revision\":1}\n\n";
    let cut: Vec<_> = text.bytes().map(|byte| axum::body::Bytes::from(vec![byte])).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut events = Events::read(futures::stream::iter(cut));
        assert_eq!(events.until_live().await, [Event::Retry("1000".to_owned())]);
        assert_eq!(events.item().await, ("AQ".to_owned(), json!({"id": "x", "revision": 1})));
        assert_eq!(events.next().await, None);
    });
}
