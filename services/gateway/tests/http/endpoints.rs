//! Push endpoints.

use serde_json::json;
use uuid::Uuid;

use crate::support::World;

const PHONE: Uuid = Uuid::from_u128(0xf0);

fn path(id: Uuid) -> String {
    format!("/v1/push-endpoints/{id}")
}

fn web_push() -> serde_json::Value {
    json!({
        "transport": "webpush",
        "url": "https://push.example.org/wpush/v2/gAAAAA",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg"
    })
}

#[tokio::test]
async fn an_endpoint_goes_in_and_never_out() {
    let world = World::new().await;
    let made = world.put("alice", &path(PHONE), web_push()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let listed = world.get("alice", "/v1/push-endpoints").await;
    assert_eq!(listed.json()["items"], json!([made.json()]));
    assert_eq!(made.json()["transport"], "webpush");
    for answer in [&made, &listed] {
        let text = String::from_utf8_lossy(&answer.bytes);
        assert!(!text.contains("push.example.org") && !text.contains("BTBZ") && !text.contains("BCVx"), "{text}");
    }
    world.clock.advance_ms(5_000);
    let again = world.put("alice", &path(PHONE), web_push()).await;
    assert_eq!(again.status, 200);
    assert_ne!(again.json()["registered_at"], made.json()["registered_at"], "an older word against it does not count");
    assert_eq!(world.memory.state().residents[&world.resident("alice")].endpoints.len(), 1);
    assert_eq!(world.delete("alice", &path(PHONE)).await.status, 204);
    assert_eq!(world.delete("alice", &path(PHONE)).await.code(), "not_found");
}

#[tokio::test]
async fn bad_endpoints_are_refused_at_their_field() {
    let world = World::new().await;
    let with = |field: &str, value: &str| {
        let mut body = web_push();
        body[field] = json!(value);
        body
    };
    for (body, status, code, pointer) in [
        (with("url", "https://127.0.0.1/x"), 422, "push_url_private", "/url"),
        (with("url", "http://push.example.org/x"), 422, "push_url_not_https", "/url"),
        (with("p256dh", "!"), 422, "p256dh_invalid", "/p256dh"),
        (with("p256dh", "AAAA"), 422, "p256dh_invalid", "/p256dh"),
        (with("auth", "AAAA"), 422, "auth_invalid", "/auth"),
        (with("face", "x"), 400, "unknown_field", "/face"),
    ] {
        let answer = world.put("alice", &path(PHONE), body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.to_owned(), Some(pointer.to_owned())), "{body}");
    }
    for (body, code) in [
        (json!({"transport": "pigeon", "token": "x"}), "invalid_field"),
        (json!({"token": "x"}), "invalid_field"),
        (json!({"transport": "fcm"}), "invalid_field"),
        (json!({"transport": "fcm", "token": "abc"}), "transport_not_configured"),
    ] {
        assert_eq!(world.put("alice", &path(PHONE), body.clone()).await.code(), code, "{body}");
    }
    assert!(world.memory.state().residents[&world.resident("alice")].endpoints.is_empty());
}

#[tokio::test]
async fn fcm_and_apns_go_where_they_are_configured() {
    let world = World::with(&[
        ("PUSH__RECORDER_URL", "http://127.0.0.1:9/recorder"),
        ("PUSH__ALLOW_PRIVATE_ADDRESSES", "true"),
    ])
    .await;
    let fcm = json!({"transport": "fcm", "token": "c1:APA91b-_x"});
    assert_eq!(world.put("alice", &path(PHONE), fcm).await.status, 201);
    let apns = json!({"transport": "apns", "token": "ab".repeat(32), "sandbox": true});
    assert_eq!(world.put("alice", &path(PHONE), apns).await.status, 200, "the same phone, another transport");
    let bad = json!({"transport": "apns", "token": "xyz"});
    assert_eq!(world.put("alice", &path(PHONE), bad).await.refusal().1, "token_invalid");
}

#[tokio::test]
async fn a_person_has_eight_endpoints() {
    let world = World::new().await;
    for n in 0..8 {
        assert_eq!(world.put("alice", &path(Uuid::from_u128(n)), web_push()).await.status, 201);
    }
    let ninth = world.put("alice", &path(PHONE), web_push()).await;
    assert_eq!(ninth.refusal(), (422, "too_many_endpoints".to_owned(), None));
    assert_eq!(world.put("alice", &path(Uuid::from_u128(0)), web_push()).await.status, 200);
}

#[tokio::test]
async fn two_phones_that_register_at_once_are_both_registered() {
    let world = World::new().await;
    world.get("alice", "/v1/me").await;
    let (a, b) = (path(Uuid::from_u128(1)), path(Uuid::from_u128(2)));
    let (first, second) = tokio::join!(world.put("alice", &a, web_push()), world.put("alice", &b, web_push()));
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(world.memory.state().residents[&world.resident("alice")].endpoints.len(), 2);
}

#[tokio::test]
async fn a_lost_answer_of_the_store_is_tried_over() {
    use crate::support::memory::Fault;
    for fault in [Fault::AppliedUnknown, Fault::LostUnknown] {
        let world = World::new().await;
        world.get("alice", "/v1/me").await;
        world.memory.state().fault = Some(fault);
        assert!(world.put("alice", &path(PHONE), web_push()).await.status.is_success(), "{fault:?}");
        assert_eq!(world.memory.state().residents[&world.resident("alice")].endpoints.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn the_key_that_browsers_need_is_shown() {
    let world = World::new().await;
    assert_eq!(world.get("alice", "/v1/push/vapid-key").await.json(), json!({"vapid_public_key": "BPublicKey"}));
}
