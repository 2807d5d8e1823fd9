//! Web Push against a local server: what is on the wire, what each answer becomes, and where nothing may go.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ece::EcKeyComponents;
use porchlight_domain::{Endpoint, Lane, Transport};
use porchlight_push::{Providers, PushConfig, Sent};
use support::{Reply, Seen, Server, config, endpoint, hint, now};

struct Phone {
    key: EcKeyComponents,
    auth: [u8; 16],
}

impl Phone {
    fn new() -> Self {
        let (key, auth) = ece::generate_keypair_and_auth_secret().unwrap();
        Self { key: key.raw_components().unwrap(), auth }
    }

    fn at(&self, url: String) -> Endpoint {
        let p256dh = self.key.public_key().to_vec();
        endpoint(Transport::WebPush { url, p256dh, auth: self.auth.to_vec() })
    }

    fn read(&self, seen: &Seen) -> serde_json::Value {
        let plain = ece::decrypt(&self.key, &self.auth, &seen.body).unwrap();
        serde_json::from_slice(&plain).unwrap()
    }
}

async fn send(config: &PushConfig, to: &Endpoint, hint: &porchlight_domain::Cleared<porchlight_domain::Hint>) -> Sent {
    let providers = Providers::new(config).unwrap();
    providers.for_transport(&to.transport).unwrap().send(to, hint, now()).await
}

fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[tokio::test]
async fn the_request_is_what_rfc_8030_and_8291_say() {
    let (server, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    let hint = hint(Lane::Ding, 1, false, now().plus_ms(90_999));
    let sent = send(&config(), &phone.at(format!("{}/push/x?y=1", server.url)), &hint).await;
    assert_eq!(sent, Sent::HandedOver);

    let [seen] = server.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("POST", "/push/x?y=1"));
    assert_eq!(header(&seen, "content-encoding"), "aes128gcm");
    assert_eq!(header(&seen, "content-type"), "application/octet-stream");
    assert_eq!(header(&seen, "urgency"), "high");
    assert_eq!(header(&seen, "topic"), hint.collapse());
    assert!(["90", "89"].contains(&header(&seen, "ttl")), "whole seconds until it expires");
    assert!(seen.body.len() <= 4096);
    assert_eq!(&phone.read(&seen), &serde_json::to_value(&hint).unwrap(), "the cleared hint and nothing else");
}

#[tokio::test]
async fn the_length_tells_nothing_of_what_was_recognized() {
    let (server, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    let to = phone.at(server.url.clone());
    let until = now().plus_ms(60_000);
    send(&config(), &to, &hint(Lane::Ding, 1, false, until)).await;
    send(&config(), &to, &hint(Lane::Neighborhood, 17, true, until)).await;
    let [a, b] = server.seen().try_into().unwrap();
    assert_ne!(phone.read(&a)["line"], phone.read(&b)["line"]);
    assert_eq!(a.body.len(), b.body.len());
    assert_ne!(a.body[..16], b.body[..16], "a salt of its own");
}

#[tokio::test]
async fn vapid_says_who_sends() {
    let (server, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    let providers = Providers::new(&config()).unwrap();
    let to = phone.at(format!("{}/push/x", server.url));
    let provider = providers.for_transport(&to.transport).unwrap();
    for _ in 0..2 {
        provider.send(&to, &hint(Lane::Motion, 1, false, now().plus_ms(60_000)), now()).await;
    }
    let [seen, again] = server.seen().try_into().unwrap();
    assert_eq!(header(&seen, "authorization"), header(&again, "authorization"), "one token for many pushes");

    let (token, key) = header(&seen, "authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key, providers.vapid_public_key());
    let point = URL_SAFE_NO_PAD.decode(key).unwrap();
    assert_eq!((point.len(), point[0]), (65, 4));

    // Verified by a library that had no part in the signing.
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&[&server.url]);
    rules.set_required_spec_claims(&["exp", "aud", "sub"]);
    rules.leeway = 0;
    let decoding = jsonwebtoken::DecodingKey::from_ec_components(&x, &y).unwrap();
    let claims = jsonwebtoken::decode::<serde_json::Value>(token, &decoding, &rules).unwrap().claims;
    assert_eq!(claims["sub"], "mailto:ops@example.org");
    let lifetime = claims["exp"].as_i64().unwrap() - now().0 / 1000;
    assert!((0..=12 * 3600).contains(&lifetime), "{lifetime}");
}

#[tokio::test]
async fn lane_and_silence_become_urgency_and_an_expired_hint_has_no_time_to_live() {
    let (server, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    let to = phone.at(server.url.clone());
    for (lane, revision, neighbor, expected) in [
        (Lane::Ding, 1, false, "high"),
        (Lane::Official, 1, false, "high"),
        (Lane::Motion, 1, false, "normal"),
        (Lane::Ding, 1, true, "normal"),
        (Lane::Ding, 2, false, "low"),
        (Lane::Motion, 2, true, "low"),
    ] {
        send(&config(), &to, &hint(lane, revision, neighbor, now().plus_ms(-5_000))).await;
        let seen = server.seen().pop().unwrap();
        assert_eq!((header(&seen, "urgency"), header(&seen, "ttl")), (expected, "0"), "{lane:?} {revision} {neighbor}");
    }
}

#[tokio::test]
async fn g8_each_answer_becomes_its_outcome() {
    let (server, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    let (to, config) = (phone.at(server.url.clone()), config());
    let retry = |after: Option<u64>, reason: &str| Sent::Retry {
        after: after.map(Duration::from_secs),
        reason: reason.to_owned(),
    };
    let refused = |reason: &str| Sent::Refused { reason: reason.to_owned() };
    for (code, wait, expected) in [
        (200, None, Sent::HandedOver),
        (202, None, Sent::HandedOver),
        (204, None, Sent::HandedOver),
        (404, None, Sent::EndpointGone),
        (410, None, Sent::EndpointGone),
        (400, None, refused("status 400")),
        (401, None, refused("status 401")),
        (403, None, refused("status 403")),
        (413, None, refused("status 413")),
        (429, Some("7"), retry(Some(7), "status 429")),
        (429, None, retry(None, "status 429")),
        (500, None, retry(None, "status 500")),
        (503, Some("9999999"), retry(Some(3600), "status 503")),
    ] {
        server.answer(Reply::Status(code, wait.map(|w: &str| ("retry-after", w.to_owned())).into_iter().collect()));
        assert_eq!(send(&config, &to, &hint(Lane::Ding, 1, false, now())).await, expected, "{code}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, phone) = (Server::start(Reply::Status(201, vec![])).await, Phone::new());
    for code in [301, 302, 303, 307, 308] {
        let server = Server::start(Reply::Status(code, vec![("location", elsewhere.url.clone())])).await;
        let sent = send(&config(), &phone.at(server.url.clone()), &hint(Lane::Ding, 1, false, now())).await;
        assert_eq!(sent, Sent::Refused { reason: format!("status {code}") });
        assert_eq!(server.seen().len(), 1);
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn silence_and_absence_are_tried_again() {
    let (server, phone) = (Server::start(Reply::Never).await, Phone::new());
    let config = PushConfig { timeout_ms: 100, ..config() };
    let hint = hint(Lane::Ding, 1, false, now());
    let reason = |reason: &str| Sent::Retry { after: None, reason: reason.to_owned() };
    assert_eq!(send(&config, &phone.at(server.url.clone()), &hint).await, reason("timed out"));

    // A port where nobody listens: it was ours a moment ago.
    let closed = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    assert_eq!(send(&config, &phone.at(format!("http://{closed}/")), &hint).await, reason("could not connect"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_the_status_counts() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let body = || axum::body::Body::from_stream(futures_repeat());
    let router = axum::Router::new().fallback(move || async move { (axum::http::StatusCode::CREATED, body()) });
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    assert_eq!(send(&config(), &Phone::new().at(url), &hint(Lane::Ding, 1, false, now())).await, Sent::HandedOver);
    task.abort();
}

fn futures_repeat() -> impl futures::Stream<Item = Result<&'static [u8], std::convert::Infallible>> {
    futures::stream::repeat_with(|| Ok(&[b'x'; 1024][..]))
}

/// By a literal and by a name, over TLS and without, at registration's form check and at the moment of connecting.
#[tokio::test]
async fn loopback_is_refused_and_never_connected() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = PushConfig { allow_private_addresses: false, ..config() };
    for (url, reason) in [
        (format!("https://127.0.0.1:{port}/"), "push_url_private"),
        (format!("https://[::ffff:127.0.0.1]:{port}/"), "push_url_private"),
        (format!("https://localhost:{port}/"), "push_url_private"),
        (format!("http://127.0.0.1:{port}/"), "push_url_not_https"),
    ] {
        let sent = send(&config, &Phone::new().at(url), &hint(Lane::Ding, 1, false, now())).await;
        assert_eq!(sent, Sent::Refused { reason: reason.to_owned() });
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test]
async fn an_endpoint_that_could_not_be_stored_is_refused_and_not_a_panic() {
    let server = Server::start(Reply::Status(201, vec![])).await;
    let p256dh = Phone::new().key.public_key().to_vec();
    let with = |url: &str, p256dh: &[u8], auth: &[u8]| {
        endpoint(Transport::WebPush { url: url.to_owned(), p256dh: p256dh.to_vec(), auth: auth.to_vec() })
    };
    for (to, reason) in [
        (with("no url", &p256dh, &[0; 16]), "push_url_invalid"),
        (with(&server.url, &[4; 65], &[0; 16]), "p256dh_invalid"),
        (with(&server.url, &p256dh, &[0; 3]), "auth_invalid"),
    ] {
        let sent = send(&config(), &to, &hint(Lane::Ding, 1, false, now())).await;
        assert_eq!(sent, Sent::Refused { reason: reason.to_owned() });
    }
    assert!(server.seen().is_empty());
}

/// RFC 8291, appendix A: the reader of these tests is right, so what it reads back above was encrypted right.
#[test]
fn the_reader_of_these_tests_reads_the_rfcs_example() {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = EcKeyComponents::new(
        decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"),
        decode("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
    );
    let auth = decode("BTBZMqHH6r4Tts7J_aSIgg");
    let message = decode(concat!(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru",
        "3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    ));
    let plain = ece::decrypt(&key, &auth, &message).unwrap();
    assert_eq!(plain, b"When I grow up, I want to be a watermelon");
}
