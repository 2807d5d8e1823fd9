//! The configuration of the providers, and the recorder for fcm and apns.
#![allow(clippy::unwrap_used)]

mod support;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{SecretKey, elliptic_curve::sec1::ToEncodedPoint};
use porchlight_domain::{Lane, Transport};
use porchlight_push::{Providers, PushConfig, Sent, mint_vapid_key};
use support::{Reply, Server, config, endpoint, hint, now};

fn error(config: PushConfig) -> String {
    Providers::new(&config).err().unwrap_or_else(|| "no error".to_owned())
}

#[test]
fn the_key_stands_in_exactly_one_place() {
    let key = mint_vapid_key();
    let secret = SecretKey::from_slice(&URL_SAFE_NO_PAD.decode(&key).unwrap()).unwrap();
    let public = URL_SAFE_NO_PAD.encode(secret.public_key().to_encoded_point(false).as_bytes());
    let by_value = PushConfig { vapid_private_key: key.clone(), ..config() };
    assert_eq!(Providers::new(&by_value).unwrap().vapid_public_key(), public);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{key}\n")).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let by_file = PushConfig { vapid_private_key: String::new(), vapid_private_key_file: path.clone(), ..config() };
    assert_eq!(Providers::new(&by_file).unwrap().vapid_public_key(), public);

    assert!(error(PushConfig { vapid_private_key: String::new(), ..config() }).contains("must be set"));
    assert!(error(PushConfig { vapid_private_key_file: path, ..by_value }).contains("both set"));
    let missing = PushConfig { vapid_private_key_file: "/nonexistent/vapid".to_owned(), ..by_file };
    assert!(error(missing).contains("cannot be read"));
}

#[test]
fn a_setting_that_is_wrong_is_named() {
    let zero = URL_SAFE_NO_PAD.encode([0; 32]);
    let above_the_order = URL_SAFE_NO_PAD.encode([0xff; 32]);
    let short = mint_vapid_key()[..42].to_owned();
    for key in ["not base64!", &zero, &above_the_order, &short] {
        let message = error(PushConfig { vapid_private_key: key.to_owned(), ..config() });
        assert!(message.contains("VAPID private key") && !message.contains(key), "{message}");
    }
    for subject in ["", "ops@example.org", "mailto:", "http://example.org", "https://"] {
        let message = error(PushConfig { vapid_subject: subject.to_owned(), ..config() });
        assert!(message.contains("push.vapid_subject"), "{subject}: {message}");
    }
    for timeout_ms in [0, 60_001] {
        assert!(error(PushConfig { timeout_ms, ..config() }).contains("push.timeout_ms"));
    }
    for url in ["no url", "ftp://127.0.0.1"] {
        assert!(error(PushConfig { recorder_url: url.to_owned(), ..config() }).contains("push.recorder_url"));
    }
}

#[test]
fn nothing_prints_the_key() {
    let config = config();
    assert!(!format!("{config:?}").contains(&config.vapid_private_key));
}

#[tokio::test]
async fn without_a_recorder_only_web_push_is_there() {
    let providers = Providers::new(&config()).unwrap();
    let web_push = Transport::WebPush { url: String::new(), p256dh: vec![], auth: vec![] };
    assert_eq!(providers.for_transport(&web_push).unwrap().name(), "webpush");
    assert!(providers.for_transport(&Transport::Fcm { token: "t".to_owned() }).is_none());
    assert!(providers.for_transport(&Transport::Apns { token: "00".to_owned(), sandbox: true }).is_none());
}

#[tokio::test]
async fn a_recorder_gets_fcm_and_apns() {
    let server = Server::start(Reply::Status(200, vec![])).await;
    let config = PushConfig { recorder_url: format!("{}/recorder", server.url), ..config() };
    let providers = Providers::new(&config).unwrap();
    let hint = hint(Lane::Ding, 1, false, now().plus_ms(60_500));
    for (transport, name, token) in [
        (Transport::Fcm { token: "c1:x".to_owned() }, "fcm", "c1:x"),
        (Transport::Apns { token: "00ff".to_owned(), sandbox: false }, "apns", "00ff"),
    ] {
        let to = endpoint(transport);
        let provider = providers.for_transport(&to.transport).unwrap();
        assert_eq!(provider.name(), name);
        server.answer(Reply::Status(200, vec![]));
        assert_eq!(provider.send(&to, &hint, now()).await, Sent::HandedOver);

        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", format!("/recorder/{name}").as_str()));
        assert_eq!(seen.headers["content-type"], "application/json");
        let mut body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let ttl = body.as_object_mut().unwrap().remove("ttl_s").unwrap().as_u64().unwrap();
        assert!([59, 60].contains(&ttl), "{ttl}");
        let expected = serde_json::json!({
            "token": token,
            "payload": serde_json::to_value(&hint).unwrap(),
            "collapse": hint.collapse(),
            "priority": "high",
        });
        assert_eq!(body, expected);

        server.answer(Reply::Status(410, vec![]));
        assert_eq!(provider.send(&to, &hint, now()).await, Sent::EndpointGone);
    }
}
