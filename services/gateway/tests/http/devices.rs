//! Devices and their credentials.

use http::header;
use porchlight_domain::{Credential, Label, SharingPolicy};
use serde_json::json;
use uuid::Uuid;

use crate::support::{PARK_STREET, QUINCY, World, device_body, home_body};

const HOME: Uuid = Uuid::from_u128(0x18f);
const DEVICE: Uuid = Uuid::from_u128(0xde);

fn path(id: Uuid) -> String {
    format!("/v1/devices/{id}")
}

async fn world() -> World {
    let world = World::new().await;
    world.settle("alice", HOME, PARK_STREET).await;
    world
}

#[tokio::test]
async fn g3_a_device_shares_nothing_unless_it_is_told_to() {
    let world = world().await;
    let made = world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    assert_eq!((made.status.as_u16(), made.etag()), (201, "\"1\""), "{made:?}");
    let json = made.json();
    assert_eq!((json["neighborhood_labels"].clone(), json["retention_days"].clone()), (json!([]), json!(30)));
    assert_eq!((json["clips"].clone(), json["has_credential"].clone()), (json!(false), json!(false)));
    let published = world.recorder.devices();
    assert_eq!(published.len(), 1, "before the answer");
    assert_eq!(published[0].policy, SharingPolicy::default());

    let mut body = device_body(HOME, PARK_STREET);
    body["neighborhood_labels"] = json!(["person"]);
    body["retention_days"] = json!(7);
    body["clips"] = json!(true);
    let changed = world.put("alice", &path(DEVICE), body.clone()).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["neighborhood_media"]), (200, &json!(false)));
    let last = world.recorder.devices().pop().unwrap();
    assert_eq!(last.policy, SharingPolicy::sharing([Label::Person]), "clips are not shared with what they show");
    assert_eq!((last.plan.retention_days, last.plan.clips, last.version.0), (7, true, 2));

    body["neighborhood_media"] = json!(true);
    let changed = world.put("alice", &path(DEVICE), body).await;
    assert_eq!((changed.etag(), &changed.json()["neighborhood_media"]), ("\"3\"", &json!(true)));
    assert_eq!(world.get("alice", &path(DEVICE)).await.json()["neighborhood_media"], true);
    let last = world.recorder.devices().pop().unwrap();
    assert_eq!(last.policy, SharingPolicy::sharing([Label::Person]).with_media());
}

#[tokio::test]
async fn g1_nobody_speaks_to_a_neighborhood_from_a_home_that_is_not_verified() {
    let world = World::new().await;
    world.put("alice", &format!("/v1/homes/{HOME}"), home_body(PARK_STREET)).await;
    let mut body = device_body(HOME, PARK_STREET);
    body["neighborhood_media"] = json!(true);
    assert_eq!(world.put("alice", &path(DEVICE), body.clone()).await.status, 201, "the household alone hears of it");
    body["neighborhood_labels"] = json!(["person"]);
    let refusal = world.put("alice", &path(DEVICE), body).await.refusal();
    assert_eq!(refusal, (422, "home_not_verified".to_owned(), Some("/neighborhood_labels".to_owned())));
}

#[tokio::test]
async fn bad_devices_are_refused_at_their_field_and_nothing_is_published() {
    let world = world().await;
    world.settle("bob", Uuid::from_u128(2), QUINCY).await;
    let far = (PARK_STREET.0, PARK_STREET.1 + 0.0014);
    let good = || device_body(HOME, PARK_STREET);
    let with = |field: &str, value: serde_json::Value| {
        let mut body = good();
        body[field] = value;
        body
    };
    for (body, status, code, pointer) in [
        (device_body(HOME, far), 422, "device_far_from_home", "/position"),
        (device_body(Uuid::from_u128(2), QUINCY), 422, "home_unknown", "/home"),
        (device_body(Uuid::from_u128(3), PARK_STREET), 422, "home_unknown", "/home"),
        (device_body(HOME, (0.0, 91.0)), 422, "position_out_of_range", "/position"),
        (with("retention_days", json!(0)), 422, "retention_out_of_range", "/retention_days"),
        (with("retention_days", json!(401)), 422, "retention_out_of_range", "/retention_days"),
        (with("retention_days", json!(-1)), 400, "invalid_field", "/retention_days"),
        (with("name", json!("")), 422, "name_invalid", "/name"),
        (with("neighborhood_media", json!("yes")), 400, "invalid_field", "/neighborhood_media"),
        (with("neighborhood_labels", json!(["face"])), 400, "invalid_field", "/neighborhood_labels/0"),
        (with("faces", json!([])), 400, "unknown_field", "/faces"),
    ] {
        let answer = world.put("alice", &path(DEVICE), body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.to_owned(), Some(pointer.to_owned())), "{body}");
    }
    assert!(world.recorder.devices().is_empty() && world.memory.state().devices.is_empty());
    assert!(world.memory.state().households[&world.household("alice")].devices.is_empty());
}

#[tokio::test]
async fn a_credential_is_shown_once_replaced_kept_by_changes_and_revoked() {
    let world = world().await;
    world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    let credentials = format!("{}/credentials", path(DEVICE));
    let issued = world.post("alice", &credentials).await;
    assert_eq!((issued.status.as_u16(), issued.headers[header::CACHE_CONTROL].as_bytes()), (201, &b"no-store"[..]));
    let first = Credential::parse(issued.json()["credential"].as_str().unwrap()).unwrap();
    assert_eq!(first.device, world.device("alice", DEVICE));
    assert!(world.recorder.devices().pop().unwrap().accepts(&first.secret), "published before it is shown");

    let mut renamed = device_body(HOME, PARK_STREET);
    renamed["name"] = json!("Back door");
    let renamed = world.put("alice", &path(DEVICE), renamed).await;
    assert_eq!(renamed.json()["has_credential"], true);
    assert!(world.recorder.devices().pop().unwrap().accepts(&first.secret), "a change keeps it");
    assert!(!String::from_utf8_lossy(&renamed.bytes).contains("credential\":\""), "never shown again");

    let second = world.post("alice", &credentials).await.json();
    let second = Credential::parse(second["credential"].as_str().unwrap()).unwrap();
    let device = world.recorder.devices().pop().unwrap();
    assert!(device.accepts(&second.secret) && !device.accepts(&first.secret));

    assert_eq!(world.delete("alice", &credentials).await.status, 204);
    assert_eq!(world.recorder.devices().pop().unwrap().credential, None);
    assert_eq!(world.delete("alice", &credentials).await.status, 204, "twice is once");
}

#[tokio::test]
async fn a_revocation_that_is_not_published_is_not_answered_with_success() {
    let world = world().await;
    world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    let credentials = format!("{}/credentials", path(DEVICE));
    world.post("alice", &credentials).await;
    let before = world.recorder.devices().len();
    world.recorder.away.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = world.delete("alice", &credentials).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "registry_unavailable"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(world.delete("alice", &credentials).await.status, 503, "nor when the row says it already");
    world.recorder.away.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.delete("alice", &credentials).await.status, 204);
    let published = world.recorder.devices();
    assert!(published.len() > before);
    assert_eq!(published.last().unwrap().credential, None);
}

#[tokio::test]
async fn a_device_that_is_gone_is_published_without_name_place_or_credential() {
    let world = world().await;
    world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    world.post("alice", &format!("{}/credentials", path(DEVICE))).await;
    assert_eq!(world.delete("alice", &path(DEVICE)).await.status, 204);
    let gone = world.recorder.devices().pop().unwrap();
    assert!(gone.deleted && gone.credential.is_none() && gone.name.is_empty());
    assert_eq!((gone.point.lon_e7, gone.point.lat_e7), (0, 0));
    for (method, path) in [("GET", path(DEVICE)), ("POST", format!("{}/credentials", path(DEVICE)))] {
        assert_eq!(world.ask("alice", method, &path, None).await.status, 404);
    }
    assert_eq!(world.get("alice", "/v1/devices").await.json()["items"], json!([]));
    let again = world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    assert_eq!((again.status.as_u16(), again.json()["has_credential"].as_bool()), (201, Some(false)));
}

#[tokio::test]
async fn the_same_put_twice_changes_nothing_and_is_published_all_the_same() {
    let world = world().await;
    let first = world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    let second = world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    assert_eq!((second.status.as_u16(), &second.bytes), (200, &first.bytes));
    let published = world.recorder.devices();
    assert_eq!(published.len(), 2);
    assert_eq!(published[0], published[1]);
}

#[tokio::test]
async fn a_household_has_a_bounded_number_of_devices() {
    let world = world().await;
    for n in 0..64 {
        let answer = world.put("alice", &path(Uuid::from_u128(n)), device_body(HOME, PARK_STREET)).await;
        assert_eq!(answer.status, 201);
    }
    let one_more = world.put("alice", &path(DEVICE), device_body(HOME, PARK_STREET)).await;
    assert_eq!(one_more.refusal(), (422, "too_many_devices".to_owned(), None));
    assert_eq!(world.get("alice", "/v1/devices").await.json()["items"].as_array().unwrap().len(), 64);
}
