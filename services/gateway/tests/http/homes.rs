//! Homes.

use porchlight_domain::{Cell, Point, place::Degrees};
use porchlight_gateway::registry::Sweeper;
use porchlight_store::Registry as _;
use serde_json::json;
use uuid::Uuid;

use crate::support::{PARK_STREET, QUINCY, World, device_body, home_body};

const HOME: Uuid = Uuid::from_u128(0x18f);

fn path(id: Uuid) -> String {
    format!("/v1/homes/{id}")
}

fn cell(at: (f64, f64)) -> i32 {
    Cell::of(Point::from_degrees(Degrees { lon: at.0, lat: at.1 }).unwrap()).key()
}

#[tokio::test]
async fn a_home_is_made_pending_verified_renamed_and_left() {
    let world = World::new().await;
    let made = world.put("alice", &path(HOME), home_body(PARK_STREET)).await;
    assert_eq!((made.status.as_u16(), made.etag()), (201, "\"1\""));
    let json = made.json();
    assert_eq!(json["id"], HOME.to_string());
    assert_eq!(json["home"], world.home("alice", HOME).to_string());
    assert_eq!((json["verified"].as_bool(), json["version"].as_u64()), (Some(false), Some(1)));

    let pending = world.get("operator", "/v1/operator/homes?state=pending").await.json();
    assert_eq!(pending["items"][0]["home"], json["home"]);
    let verify = format!("/v1/operator/homes/{}/verify", world.home("alice", HOME));
    let stale = world.ask_with("operator", "POST", &verify, None, &[("if-match", "\"7\"")]).await;
    assert_eq!(stale.code(), "version_conflict");
    let verified = world.post("operator", &verify).await;
    assert_eq!((verified.json()["verified"].as_bool(), verified.etag()), (Some(true), "\"2\""));
    assert_eq!(world.post("operator", &verify).await.etag(), "\"2\"", "twice is once");
    assert_eq!(world.get("operator", "/v1/operator/homes?state=pending").await.json()["items"], json!([]));

    let renamed = json!({"name": " Park Street ", "position": {"lon": PARK_STREET.0, "lat": PARK_STREET.1}});
    let renamed = world.put("alice", &path(HOME), renamed).await;
    assert_eq!((renamed.status.as_u16(), renamed.json()["name"].as_str()), (200, Some("Park Street")));
    assert_eq!(renamed.json()["verified"], true, "a name moves nobody");
    assert_eq!(world.get("alice", &path(HOME)).await.bytes, renamed.bytes);

    assert_eq!(world.delete("alice", &path(HOME)).await.status, 204);
    assert_eq!(world.get("alice", &path(HOME)).await.status, 404);
    assert_eq!(world.delete("alice", &path(HOME)).await.status, 404);
    assert_eq!(world.get("alice", "/v1/homes").await.json(), json!({"items": [], "next_cursor": null}));
    assert!(world.memory.copies().is_empty());
    let again = world.put("alice", &path(HOME), home_body(PARK_STREET)).await;
    assert_eq!((again.status.as_u16(), again.etag()), (201, "\"5\""), "versions go on");
    assert_eq!(again.json()["verified"], false);
}

#[tokio::test]
async fn g1_a_home_that_moves_is_pending_again_and_leaves_no_copy_behind() {
    let world = World::new().await;
    world.settle("alice", HOME, PARK_STREET).await;
    let copies = world.memory.copies();
    assert_eq!((copies.len(), copies[0].verified), (1, true));
    assert_eq!(copies[0].residents, [world.resident("alice")]);
    let moved = world.put("alice", &path(HOME), home_body(QUINCY)).await;
    assert_eq!((moved.status.as_u16(), moved.json()["verified"].as_bool()), (200, Some(false)));
    let state = world.memory.state();
    let standing: Vec<_> = state.placed.iter().filter(|(_, (_, copy))| copy.is_some()).collect();
    assert_eq!(standing.len(), 1);
    assert_eq!(standing[0].0.0, cell(QUINCY));
    let copy = standing[0].1.1.clone().unwrap();
    assert_eq!((copy.verified, copy.version.0), (false, 3));
}

#[tokio::test]
async fn conditions_are_honoured() {
    let world = World::new().await;
    let put = |header: (&'static str, &'static str)| {
        let world = &world;
        async move {
            let body = Some(home_body(PARK_STREET));
            world.ask_with("alice", "PUT", &path(HOME), body, &[header]).await
        }
    };
    assert_eq!(put(("if-match", "\"1\"")).await.refusal(), (412, "version_conflict".to_owned(), None));
    assert!(world.memory.state().households.values().all(|h| h.homes.is_empty()), "no trace");
    assert_eq!(put(("if-none-match", "*")).await.status, 201);
    assert_eq!(put(("if-none-match", "*")).await.status, 412);
    assert_eq!(put(("if-match", "\"1\"")).await.status, 200, "nothing changed, so it is at 1 still");
    assert_eq!(put(("if-match", "\"2\"")).await.status, 412);
    let delete = world.ask_with("alice", "DELETE", &path(HOME), None, &[("if-match", "\"9\"")]).await;
    assert_eq!(delete.status, 412);
}

#[tokio::test]
async fn bad_homes_are_refused_at_their_field() {
    let world = World::new().await;
    let mut good = home_body(PARK_STREET);
    let put = |body: serde_json::Value| {
        let world = &world;
        async move { world.put("alice", &path(HOME), body).await.refusal() }
    };
    let refused = |status, code: &str, pointer: &str| (status, code.to_owned(), Some(pointer.to_owned()));
    assert_eq!(put(home_body((181.0, 0.0))).await, refused(422, "position_out_of_range", "/position"));
    good["name"] = json!("x".repeat(65));
    assert_eq!(put(good.clone()).await, refused(422, "name_invalid", "/name"));
    good["name"] = json!(7);
    assert_eq!(put(good.clone()).await, refused(400, "invalid_field", "/name"));
    good["owner"] = json!("alice");
    good["name"] = json!("Home");
    assert_eq!(put(good).await, refused(400, "unknown_field", "/owner"));
    assert!(world.memory.state().homes.is_empty());
    assert!(world.memory.state().intents.is_empty());
}

#[tokio::test]
async fn a_household_has_four_homes() {
    let world = World::new().await;
    for n in 0..4 {
        assert_eq!(world.put("alice", &path(Uuid::from_u128(n)), home_body(PARK_STREET)).await.status, 201);
    }
    let fifth = world.put("alice", &path(Uuid::from_u128(4)), home_body(PARK_STREET)).await;
    assert_eq!(fifth.refusal(), (422, "too_many_homes".to_owned(), None));
    assert_eq!(world.put("alice", &path(Uuid::from_u128(3)), home_body(QUINCY)).await.status, 200, "one that it has");
    assert_eq!(world.delete("alice", &path(Uuid::from_u128(0))).await.status, 204);
    assert_eq!(world.put("alice", &path(Uuid::from_u128(4)), home_body(PARK_STREET)).await.status, 201);
    let listed = world.get("alice", "/v1/homes").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 4);
    assert_eq!(listed["items"][0]["id"], Uuid::from_u128(1).to_string(), "in the order of their ids");
}

/// A request that claimed an id and ended before the row was written must not take a place for ever.
#[tokio::test]
async fn a_claim_without_a_home_makes_room() {
    let world = World::new().await;
    world.get("alice", "/v1/me").await;
    for n in 0..4 {
        world.memory.set_home(world.household("alice"), world.home("alice", Uuid::from_u128(n)), true).await.unwrap();
    }
    assert_eq!(world.put("alice", &path(HOME), home_body(PARK_STREET)).await.status, 201);
    assert_eq!(world.memory.state().households[&world.household("alice")].homes, [world.home("alice", HOME)]);
}

#[tokio::test]
async fn a_home_with_devices_stays_where_it_is() {
    let world = World::new().await;
    world.settle("alice", HOME, PARK_STREET).await;
    let device = Uuid::from_u128(7);
    assert_eq!(world.put("alice", &format!("/v1/devices/{device}"), device_body(HOME, PARK_STREET)).await.status, 201);
    assert_eq!(world.delete("alice", &path(HOME)).await.refusal(), (409, "home_has_devices".to_owned(), None));
    assert_eq!(world.put("alice", &path(HOME), home_body(QUINCY)).await.code(), "home_has_devices");
    let near = (PARK_STREET.0, PARK_STREET.1 + 0.001);
    assert_eq!(world.put("alice", &path(HOME), home_body(near)).await.status, 200, "111 m are near enough");
    assert_eq!(world.delete("alice", &format!("/v1/devices/{device}")).await.status, 204);
    assert_eq!(world.delete("alice", &path(HOME)).await.status, 204);
}

#[tokio::test]
async fn g1_an_operator_verifies_the_place_that_was_looked_at() {
    let world = World::new().await;
    let made = world.put("alice", &path(HOME), home_body(PARK_STREET)).await;
    let seen = made.etag().to_owned();
    world.put("alice", &path(HOME), home_body(QUINCY)).await;
    let verify = format!("/v1/operator/homes/{}/verify", world.home("alice", HOME));
    let late = world.ask_with("operator", "POST", &verify, None, &[("if-match", &seen)]).await;
    assert_eq!(late.code(), "version_conflict");
    assert_eq!(world.get("alice", &path(HOME)).await.json()["verified"], false);
}

/// The writer dies after the row is written: the sweeper of any gateway places the copy.
#[tokio::test]
async fn an_unfinished_home_is_placed_by_the_sweeper() {
    let world = World::new().await;
    world.put("alice", &path(HOME), home_body(PARK_STREET)).await;
    world.memory.state().placed.clear();
    let mut sweeper = Sweeper::new(world.app.registrar().clone());
    sweeper.turn().await.unwrap();
    assert!(world.memory.copies().is_empty(), "the writer may still be at it");
    world.clock.advance_ms(2_000);
    sweeper.turn().await.unwrap();
    assert_eq!(world.memory.copies().len(), 1);
}

#[tokio::test]
async fn pages_of_pending_homes_are_bounded_and_the_query_is_checked() {
    let world = World::new().await;
    for query in ["", "?state=verified", "?state=pending&limit=101", "?state=pending&limit=0", "?state=pending&x=1"] {
        let answer = world.get("operator", &format!("/v1/operator/homes{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
}
