//! Phones from outside: the real Web Push provider pushes to them, and they answer as a push service and a phone would.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    SecretKey,
    elliptic_curve::{rand_core::OsRng, sec1::ToEncodedPoint},
    pkcs8::{EncodePrivateKey, LineEnding},
};
use porchlight_domain::{
    Alert, AlertId, Borders, ChosenId, Cleared, Clock, Endpoint, EndpointId, EventId, Gate, Hint, HouseholdId, ItemId,
    Kind, Label, Lane, NeighborhoodId, NeighborhoodRef, Point, ResidentId, SystemClock, Timestamp, Transport,
    Undecided, Version, Viewer,
};
use porchlight_push::{Providers, PushConfig, Sent, mint_vapid_key};
use porchlight_standins::phones::{Phones, Push};
use serde_json::{Value, json};
use uuid::Uuid;

struct Nowhere;

impl Borders for Nowhere {
    fn is_known(&self, _: NeighborhoodId) -> bool {
        true
    }
    fn current(&self, _: NeighborhoodId) -> Option<Version> {
        None
    }
    fn holds(&self, _: NeighborhoodRef, _: Point) -> Result<bool, Undecided> {
        Ok(false)
    }
}

/// A revision of one alert, as its household may hear it.
fn hint(revision: u32) -> Cleared<Hint> {
    let household = HouseholdId(Uuid::from_u128(1));
    let item = ItemId(Uuid::from_u128(2));
    let labels = [Label::Person].into_iter().collect();
    let alert = Alert {
        id: AlertId::of_item(item),
        item,
        revision,
        event: EventId(uuid::Uuid::nil()),
        shared_revision: 0,
        household,
        neighborhoods: Vec::new(),
        lane: Lane::Ding,
        kind: Kind::Ding,
        labels,
        shared_labels: labels,
        created_at: now(),
        expires_at: now().plus_ms(60_000),
        stream_only: false,
    };
    let viewer = Viewer { resident: ResidentId(Uuid::from_u128(3)), household, residences: Vec::new() };
    Gate(&Nowhere).tell(&viewer, &alert).unwrap().unwrap()
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn endpoint(transport: Transport) -> Endpoint {
    let (id, chosen) = (EndpointId(Uuid::from_u128(4)), ChosenId(Uuid::from_u128(5)));
    Endpoint { id, chosen, transport, registered_at: Timestamp(0) }
}

fn web_push(url: &str, p256dh: &str, auth: &str) -> Endpoint {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    endpoint(Transport::WebPush { url: url.to_owned(), p256dh: decode(p256dh), auth: decode(auth) })
}

fn providers(phones: &Phones) -> Providers {
    Providers::new(&PushConfig {
        vapid_private_key: mint_vapid_key(),
        vapid_private_key_file: String::new(),
        vapid_subject: "mailto:ops@example.org".to_owned(),
        timeout_ms: 10_000,
        allow_private_addresses: true,
        recorder_url: format!("{}/recorder", phones.url()),
    })
    .unwrap()
}

async fn send(providers: &Providers, to: &Endpoint, revision: u32) -> Sent {
    providers.for_transport(&to.transport).unwrap().send(to, &hint(revision), now()).await
}

async fn phones() -> Phones {
    Phones::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// (status, body).
async fn post(url: String, body: Value) -> (u16, Value) {
    let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

async fn get(url: String) -> (u16, Value) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn refused(status: u16) -> Sent {
    Sent::Refused { reason: format!("status {status}") }
}

#[tokio::test]
async fn g8_a_push_arrives_decrypted_and_a_revision_replaces_it() {
    let phones = phones().await;
    let providers = providers(&phones);
    let (id, url, p256dh, auth) = phones.subscribe();
    let to = web_push(&url, &p256dh, &auth);
    assert_eq!(send(&providers, &to, 1).await, Sent::HandedOver);
    assert_eq!(send(&providers, &to, 2).await, Sent::HandedOver);

    let pushes = phones.wait_for(0, 2, Duration::from_secs(10)).await;
    let [first, second] = pushes.as_slice() else { panic!("two pushes, not {}", pushes.len()) };
    assert_eq!(first.payload, serde_json::to_value(hint(1)).unwrap());
    assert_eq!(second.payload, serde_json::to_value(hint(2)).unwrap());
    assert_eq!((first.seq, second.seq), (0, 1));
    assert_eq!((first.replaced, second.replaced), (false, true));
    assert_eq!((first.endpoint.as_str(), first.transport.as_str()), (id.as_str(), "webpush"));
    assert_eq!(first.topic.as_deref(), Some(hint(1).collapse()));
    assert_eq!((first.urgency.as_deref(), second.urgency.as_deref()), (Some("high"), Some("low")));
    assert!((58..=60).contains(&first.ttl.unwrap()));
    assert!((now().0 - first.received_at_ms).abs() < 60_000);

    assert_eq!(phones.shown(&id), vec![second.clone()], "one notification, the later revision");
    let (status, shown) = get(format!("{}/shown/{id}", phones.url())).await;
    assert_eq!((status, shown), (200, json!({"shown": [serde_json::to_value(second).unwrap()]})));
    assert_eq!(get(format!("{}/shown/unknown", phones.url())).await.0, 404);
}

#[tokio::test]
async fn the_log_is_read_in_pages_and_can_be_waited_for() {
    let phones = phones().await;
    let providers = providers(&phones);
    let (_, url, p256dh, auth) = phones.subscribe();
    let to = web_push(&url, &p256dh, &auth);
    let page = |query: &str| get(format!("{}/log?{query}", phones.url()));

    let waiting = tokio::spawn(page("after=0&wait_ms=30000"));
    assert_eq!(send(&providers, &to, 1).await, Sent::HandedOver);
    let (status, got) = waiting.await.unwrap();
    assert_eq!((status, got["pushes"].as_array().unwrap().len(), got["next"].as_u64()), (200, 1, Some(1)));

    for _ in 0..3 {
        send(&providers, &to, 2).await;
    }
    let (_, got) = page("after=1&limit=2").await;
    let pushes: Vec<Push> = serde_json::from_value(got["pushes"].clone()).unwrap();
    assert_eq!(pushes.iter().map(|push| push.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(got["next"], 3);
    let (_, got) = page("after=4").await;
    assert_eq!(got, json!({"pushes": [], "next": 4}));
    for bad in ["limit=0", "limit=10001", "wait_ms=30001", "after=-1", "before=1"] {
        assert_eq!(page(bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn g8_an_app_that_is_gone_is_said_to_be_gone() {
    let phones = phones().await;
    let providers = providers(&phones);
    let (id, url, p256dh, auth) = phones.subscribe();
    let to = web_push(&url, &p256dh, &auth);
    assert_eq!(send(&providers, &to, 1).await, Sent::HandedOver);

    let delete = || reqwest::Client::new().delete(format!("{}/subscriptions/{id}", phones.url())).send();
    assert_eq!(delete().await.unwrap().status(), 204);
    assert_eq!(delete().await.unwrap().status(), 404);
    assert_eq!(send(&providers, &to, 2).await, Sent::EndpointGone, "410");
    assert!(phones.shown(&id).is_empty());

    let unknown = web_push(&format!("{}/push/unknown", phones.url()), &p256dh, &auth);
    assert_eq!(send(&providers, &unknown, 1).await, Sent::EndpointGone, "404");
    assert_eq!(phones.log(0).len(), 1);
}

#[tokio::test]
async fn only_the_sender_that_was_named_may_push() {
    let phones = phones().await;
    let (mine, other) = (providers(&phones), providers(&phones));
    let subscriptions = format!("{}/subscriptions", phones.url());
    let (status, made) = post(subscriptions.clone(), json!({"vapid_public_key": mine.vapid_public_key()})).await;
    assert_eq!(status, 201);
    let field = |name: &str| made[name].as_str().unwrap();
    let to = web_push(field("url"), field("p256dh"), field("auth"));
    assert_eq!(send(&other, &to, 1).await, refused(403));
    assert_eq!(send(&mine, &to, 1).await, Sent::HandedOver);
    for bad in [json!({"vapid_public_key": "x"}), json!({"key": "x"}), json!([])] {
        let (status, body) = post(subscriptions.clone(), bad).await;
        assert!((400..500).contains(&status) && body["error"].is_string(), "{status} {body}");
    }
}

#[tokio::test]
async fn what_a_push_service_refuses_is_refused() {
    let phones = phones().await;
    let (_, url, p256dh, auth) = phones.subscribe();
    let (_, _, others_key, _) = phones.subscribe();

    // Encrypted for another phone.
    assert_eq!(send(&providers(&phones), &web_push(&url, &others_key, &auth), 1).await, refused(400));

    // Nobody says who sends; a body above the limit.
    let client = reqwest::Client::new();
    assert_eq!(client.post(&url).body("x").send().await.unwrap().status(), 401);
    assert_eq!(client.post(&url).body(vec![0; 4097]).send().await.unwrap().status(), 413);
    assert_eq!(client.post(&url).header("authorization", "vapid t=a, k=b").send().await.unwrap().status(), 403);

    let good = capture(&p256dh, &auth).await;
    let response = client.post(&url).headers(good.headers).body(good.body).send().await.unwrap();
    assert_eq!(response.status(), 403, "VAPID for another origin: nobody can replay what another service got");
    assert!(phones.log(0).is_empty());
}

#[tokio::test]
async fn each_header_is_judged() {
    let phones = phones().await;
    let (_, url, p256dh, auth) = phones.subscribe();
    // The capture's VAPID is for its own origin; its body and the rest are good for this phone. A token for this origin
    // comes from the same library that any other sender would use.
    let mut good = capture(&p256dh, &auth).await;
    good.headers.insert("authorization", vapid_for(phones.url()).parse().unwrap());
    let client = reqwest::Client::new();
    for (name, value, expected) in [
        ("ttl", None, "ttl_invalid"),
        ("ttl", Some("-1"), "ttl_invalid"),
        ("ttl", Some("1.5"), "ttl_invalid"),
        ("topic", Some("not/base64url"), "topic_invalid"),
        ("topic", Some("123456789012345678901234567890123"), "topic_invalid"),
        ("urgency", Some("urgent"), "urgency_invalid"),
        ("content-encoding", None, "encoding_invalid"),
        ("content-encoding", Some("aesgcm"), "encoding_invalid"),
    ] {
        let mut headers = good.headers.clone();
        match value {
            None => drop(headers.remove(name)),
            Some(value) => drop(headers.insert(name, value.parse().unwrap())),
        }
        let response = client.post(&url).headers(headers).body(good.body.clone()).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!((status.as_u16(), body["error"].as_str()), (400, Some(expected)), "{name}: {value:?}");
    }
    let response = client.post(&url).headers(good.headers).body(good.body).send().await.unwrap();
    assert_eq!(response.status(), 201, "and with nothing wrong it is taken");
    assert_eq!(phones.log(0).len(), 1);
}

/// A VAPID header of a sender of its own.
fn vapid_for(origin: &str) -> String {
    let key = SecretKey::random(&mut OsRng);
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    let claims = json!({"aud": origin, "exp": now().0 / 1000 + 60});
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    let signing = jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &signing).unwrap();
    let point = key.public_key().to_encoded_point(false);
    format!("vapid t={token}, k={}", URL_SAFE_NO_PAD.encode(point.as_bytes()))
}

#[tokio::test]
async fn faults_come_as_ordered() {
    let phones = phones().await;
    let providers = providers(&phones);
    let (id, url, p256dh, auth) = phones.subscribe();
    let to = web_push(&url, &p256dh, &auth);
    let faults = format!("{}/faults", phones.url());
    assert_eq!(post(faults.clone(), json!({"id": id, "status": 429, "times": 1, "retry_after_s": 7})).await.0, 204);
    assert_eq!(post(faults.clone(), json!({"status": 503, "times": 1})).await.0, 204);
    let retry = |after: Option<u64>, status: u16| Sent::Retry {
        after: after.map(Duration::from_secs),
        reason: format!("status {status}"),
    };
    assert_eq!(send(&providers, &to, 1).await, retry(Some(7), 429));
    assert_eq!(send(&providers, &to, 1).await, retry(None, 503));
    assert!(phones.log(0).is_empty());
    assert_eq!(send(&providers, &to, 1).await, Sent::HandedOver);
    for bad in [json!({"status": 200, "times": 1}), json!({"status": 500, "times": 0}), json!({"status": 500})] {
        assert!((400..500).contains(&post(faults.clone(), bad).await.0));
    }
}

#[tokio::test]
async fn recorded_pushes_are_kept_too() {
    let phones = phones().await;
    let providers = providers(&phones);
    let fcm = endpoint(Transport::Fcm { token: "token-1".to_owned() });
    let apns = endpoint(Transport::Apns { token: "00ff".to_owned(), sandbox: true });
    assert_eq!(send(&providers, &fcm, 1).await, Sent::HandedOver);
    assert_eq!(send(&providers, &apns, 1).await, Sent::HandedOver);
    assert_eq!(send(&providers, &fcm, 2).await, Sent::HandedOver);
    let log = phones.log(0);
    let kept: Vec<_> = log.iter().map(|p| (p.endpoint.as_str(), p.transport.as_str(), p.replaced)).collect();
    assert_eq!(kept, [("token-1", "fcm", false), ("00ff", "apns", false), ("token-1", "fcm", true)]);
    assert_eq!(log[0].payload, serde_json::to_value(hint(1)).unwrap());
    assert_eq!((log[0].topic.as_deref(), log[0].urgency.as_deref()), (Some(hint(1).collapse()), Some("high")));
    assert_eq!(phones.shown("token-1").len(), 1);

    let recorder = |transport: &str| format!("{}/recorder/{transport}", phones.url());
    let body =
        |payload: Value| json!({"token": "t", "payload": payload, "collapse": "c", "ttl_s": 1, "priority": "low"});
    assert_eq!(post(recorder("sms"), body(json!({}))).await.0, 404);
    assert_eq!(post(recorder("fcm"), body(json!(1))).await.0, 400);
    assert_eq!(post(recorder("fcm"), body(json!({"x": "y".repeat(20_000)}))).await.0, 413);
}

#[tokio::test]
async fn it_ends_when_it_is_dropped_or_stopped() {
    for stop in [true, false] {
        let phones = phones().await;
        let address = phones.url().strip_prefix("http://").unwrap().to_owned();
        let log = format!("{}/log", phones.url());
        let client = reqwest::Client::new();
        assert_eq!(client.get(&log).send().await.unwrap().status(), 200);
        if stop {
            phones.stop().await;
            assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "nobody listens once stop returns");
        } else {
            drop(phones);
            // The listener goes with the task's next turn; the connection that was kept alive goes with it.
            let gone = async {
                while tokio::net::TcpStream::connect(&address).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
        }
    }
}

struct Captured {
    headers: reqwest::header::HeaderMap,
    body: axum::body::Bytes,
}

/// A push as it is on the wire, taken at an origin of its own.
async fn capture(p256dh: &str, auth: &str) -> Captured {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let router =
        axum::Router::new().fallback(move |mut headers: axum::http::HeaderMap, body: axum::body::Bytes| async move {
            headers.remove("host");
            headers.remove("content-length");
            sender.send((headers, body)).await.unwrap();
        });
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    let config = PushConfig {
        vapid_private_key: mint_vapid_key(),
        vapid_private_key_file: String::new(),
        vapid_subject: "mailto:ops@example.org".to_owned(),
        timeout_ms: 10_000,
        allow_private_addresses: true,
        recorder_url: String::new(),
    };
    let sent = send(&Providers::new(&config).unwrap(), &web_push(&url, p256dh, auth), 1).await;
    assert_eq!(sent, Sent::HandedOver);
    task.abort();
    let (headers, body) = receiver.recv().await.unwrap();
    Captured { headers, body }
}
