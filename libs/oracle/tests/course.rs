//! Cases worked out by hand, in which something changes: borders, homes, devices, what is known so far.
#![allow(clippy::unwrap_used)]

use porchlight_oracle::{Device, ObservedPush, Person, World};
use serde_json::{Value, json};
use uuid::Uuid;

const NOON_MS: i64 = 1_795_521_600_000;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn time(ms: i64) -> String {
    let s = ms / 1000;
    format!("2026-11-24T12:{:02}:{:02}.{:03}Z", s / 60, s % 60, ms % 1000)
}

fn square(west: f64, east: f64) -> Value {
    json!({ "type": "Polygon", "coordinates": [[[west, 0], [east, 0], [east, 1], [west, 1], [west, 0]]] })
}

/// A street from west to east: neighborhoods 100 and 101 side by side, a camera of household 1 that shares everything at
/// 0.5, and households 2 to 4 at 0.2, 0.8 and 1.5.
fn street() -> World {
    let mut world = World::new();
    world.neighborhood(id(100), &square(0.0, 1.0));
    world.neighborhood(id(101), &square(1.0, 2.0));
    for (name, household, lon) in [("owner", 1, 0.5), ("west", 2, 0.2), ("east", 3, 0.8), ("far", 4, 1.5)] {
        world.person(name, person(household, lon));
    }
    world.device(id(10), camera(0.5));
    world
}

fn person(household: u128, lon: f64) -> Person {
    let endpoints = vec![format!("phone {household}")];
    Person { household: id(household), home: (lon, 0.5), verified: true, endpoints }
}

fn camera(lon: f64) -> Device {
    let shares = ["motion", "person", "ding"].map(str::to_owned).to_vec();
    Device { household: id(1), position: (lon, 0.5), shares, shares_media: false }
}

/// An event `at_ms` after noon, received as it is sent.
fn happens(world: &mut World, n: u128, kind: &str, labels: Value, at_ms: i64) -> Uuid {
    let event = json!({
        "id": id(n), "kind": kind, "labels": labels, "occurred_at": time(at_ms), "sent_at": time(at_ms)
    });
    world.accepted(id(10), &event, NOON_MS + at_ms);
    world.item_of(id(10), id(n)).unwrap()
}

/// Who is told of the events received at `at_ms` after noon.
fn told(world: &World, at_ms: i64) -> Vec<&str> {
    let pushes = world.expected_pushes().iter().filter(|e| e.received_at_ms == NOON_MS + at_ms);
    pushes.map(|e| e.endpoint.as_str()).collect()
}

#[test]
fn g4_an_edit_counts_for_the_events_after_it() {
    let mut world = street();
    happens(&mut world, 1, "motion", json!(["person"]), 0);
    world.neighborhood(id(100), &square(0.4, 1.0));
    happens(&mut world, 2, "motion", json!(["person"]), 120_000);
    world.neighborhood_deleted(id(100));
    happens(&mut world, 3, "motion", json!(["person"]), 240_000);
    assert_eq!(told(&world, 0), ["phone 1", "phone 2", "phone 3"]);
    assert_eq!(told(&world, 120_000), ["phone 1", "phone 3"]);
    assert_eq!(told(&world, 240_000), ["phone 1"]);
}

#[test]
fn g1_an_item_is_seen_by_who_lives_there_then_and_now() {
    let mut world = street();
    let item = happens(&mut world, 1, "motion", json!(["person"]), 0);
    let sees = |world: &World, name: &str| !world.judge_item(name, item, None).wrong.is_empty();
    assert!(sees(&world, "west") && sees(&world, "east") && !sees(&world, "far"));

    world.neighborhood(id(100), &square(0.4, 1.7));
    assert!(!sees(&world, "west"), "no longer in it");
    assert!(!sees(&world, "far"), "not in it then");
    assert!(sees(&world, "east") && sees(&world, "owner"));

    world.person("east", person(3, 1.2));
    assert!(!sees(&world, "east"), "moved to where it did not reach");
    world.another_home("east", (0.9, 0.5));
    assert!(sees(&world, "east"));
    world.neighborhood_deleted(id(100));
    assert!(!sees(&world, "east") && sees(&world, "owner"));
}

#[test]
fn two_homes_in_two_neighborhoods_are_one_push() {
    let mut world = street();
    world.neighborhood(id(102), &square(0.0, 2.0));
    world.another_home("far", (0.9, 0.5));
    happens(&mut world, 1, "motion", json!(["person"]), 0);
    assert_eq!(told(&world, 0), ["phone 1", "phone 2", "phone 3", "phone 4"]);
}

#[test]
fn a_device_that_was_moved_opens_another_item() {
    let mut world = street();
    let before = happens(&mut world, 1, "motion", json!(["person"]), 0);
    world.device(id(10), camera(1.5));
    let after = happens(&mut world, 2, "motion", json!(["person"]), 1_000);
    assert_ne!(before, after);
    assert_eq!(told(&world, 1_000), ["phone 1", "phone 4"]);
}

#[test]
fn one_happening_has_one_kind_and_ends_after_five_minutes() {
    let mut world = street();
    let first = happens(&mut world, 1, "motion", json!([]), 0);
    let rung = happens(&mut world, 2, "ding", json!([]), 1_000);
    assert_ne!(first, rung);
    assert_eq!(happens(&mut world, 3, "motion", json!([]), 60_000), first, "a minute is not more than a minute");
    for (n, at_ms) in [(4, 120_000), (5, 180_000), (6, 240_000), (7, 300_000)] {
        assert_eq!(happens(&mut world, n, "motion", json!([]), at_ms), first);
    }
    assert_ne!(happens(&mut world, 8, "motion", json!([]), 300_001), first);
}

#[test]
fn what_was_received_together_but_did_not_happen_together_is_two_items() {
    let mut world = street();
    let event = |n: u128, occurred_ms: i64| json!({ "id": id(n), "kind": "motion", "occurred_at": time(occurred_ms), "sent_at": time(400_000) });
    world.accepted(id(10), &event(1, 0), NOON_MS + 400_000);
    world.accepted(id(10), &event(2, 60_001), NOON_MS + 400_000);
    assert_ne!(world.item_of(id(10), id(1)), world.item_of(id(10), id(2)));
}

#[test]
fn before_the_end_what_is_not_known_yet_is_not_judged() {
    let mut world = street();
    happens(&mut world, 1, "motion", json!(["person"]), 0);
    let alert = world.expected_pushes().first().unwrap().alert;
    let push = |alert: Uuid, revision: u64, line: &str| ObservedPush {
        endpoint: "phone 4".into(),
        alert,
        revision,
        silent: revision > 1,
        line: line.into(),
    };
    let unknown = push(id(77), 1, "neighborhood.person");
    let next = push(alert, 2, "neighborhood.person");
    let stray = push(alert, 1, "neighborhood.person");
    let verdict = world.judge_pushes(&[unknown.clone(), next.clone(), stray.clone()], NOON_MS - 1);
    assert_eq!((verdict.unjudged, verdict.misdirected), (2, vec![stray.clone()]));
    let verdict = world.judge_pushes(&[unknown, next, stray], i64::MAX);
    assert_eq!((verdict.unjudged, verdict.misdirected.len(), verdict.missing.len()), (0, 3, 3));
}

#[test]
fn g1_a_payload_says_what_it_must_and_nothing_else() {
    let mut world = street();
    let item = happens(&mut world, 1, "ding", json!([]), 0);
    let alert = world.expected_pushes().first().unwrap().alert;
    let payload = |lane: &str| {
        json!({
            "alert": alert, "item": item, "revision": 1, "kind": "ding", "lane": lane,
            "collapse": alert.simple().to_string(), "silent": false, "line": "any"
        })
    };
    let wrong = |endpoint: &str, payload: &Value| world.judge_payload(endpoint, payload).wrong.len();
    assert_eq!(wrong("phone 1", &payload("ding")), 0);
    assert_eq!(wrong("phone 2", &payload("neighborhood")), 0);
    assert_eq!(wrong("phone 2", &payload("ding")), 1, "the household's lane");
    assert_eq!(wrong("phone 4", &payload("neighborhood")), 1, "not theirs");
    let mut chatty = payload("neighborhood");
    chatty["position"] = json!({ "lon": 0.5, "lat": 0.5 });
    chatty["silent"] = json!(true);
    assert_eq!(wrong("phone 2", &chatty), 2);
}

#[test]
fn g1_a_neighbor_learns_nothing_of_the_revisions_that_stay_in_the_house() {
    let mut world = street();
    world.device(id(10), Device { shares: vec!["person".into()], ..camera(0.5) });
    let item = happens(&mut world, 1, "motion", json!(["vehicle"]), 0);
    happens(&mut world, 2, "motion", json!(["person"]), 10_000);
    happens(&mut world, 3, "motion", json!(["animal"]), 20_000);
    let shown = |revision: u64, labels: Value, received: i64, updated: i64| {
        json!({
            "id": item, "revision": revision, "labels": labels, "received_at": time(received),
            "updated_at": time(updated), "occurred_at": time(received), "about": { "lon": 0.5025, "lat": 0.5025 },
            "neighborhoods": [id(100)]
        })
    };
    let wrong = |name: &str, item_shown: &Value| world.judge_item(name, item, Some(item_shown)).wrong;
    let right = shown(1, json!(["person"]), 10_000, 10_000);
    assert_eq!(wrong("west", &right), Vec::<String>::new());
    assert_eq!(wrong("west", &shown(3, json!(["person"]), 10_000, 10_000)).len(), 1, "their number");
    assert_eq!(wrong("west", &shown(1, json!(["person", "vehicle"]), 10_000, 10_000)).len(), 1, "their labels");
    assert_eq!(wrong("west", &shown(1, json!(["person"]), 10_000, 20_000)).len(), 1, "their times");
    assert_eq!(wrong("west", &shown(1, json!(["person"]), 0, 10_000)).len(), 2, "their beginning, twice");
    let mut elsewhere = right.clone();
    elsewhere["neighborhoods"] = json!([id(100), id(101)]);
    assert_eq!(wrong("west", &elsewhere).len(), 1, "where they do not live");
    let mut near = right.clone();
    near["about"] = json!({ "lon": 0.5, "lat": 0.5025 });
    assert_eq!(wrong("west", &near).len(), 1, "a place that is not the middle of the square");
    let mut named = right;
    named["owner_name"] = json!("Jane");
    assert_eq!(wrong("west", &named).len(), 1, "a member that no neighbor's item has");
    let mut household = shown(3, json!(["animal", "person", "vehicle"]), 0, 20_000);
    household["device"] = json!(id(10));
    assert_eq!(wrong("owner", &household), Vec::<String>::new());
}

#[test]
fn a_feed_may_be_behind_only_for_what_is_not_settled() {
    let mut world = street();
    let item = happens(&mut world, 1, "motion", json!(["person"]), 0);
    happens(&mut world, 2, "motion", json!(["person"]), 10_000);
    let shown = |revision: u64, updated: i64| {
        json!({
            "id": item, "revision": revision, "labels": ["person"], "received_at": time(0),
            "updated_at": time(updated), "occurred_at": time(0)
        })
    };
    let wrong = |items: &[Value], until: i64| world.judge_feed("owner", items, 0, NOON_MS + until).wrong.len();
    assert_eq!(wrong(&[shown(1, 0)], 5_000), 0, "the second is not due yet");
    assert_eq!(wrong(&[shown(2, 10_000)], 5_000), 0, "and may be there");
    assert_eq!(wrong(&[shown(1, 0)], 10_000), 1, "an old number, and all that went with it");
    assert_eq!(wrong(&[shown(1, 10_000)], 5_000), 1, "an old number with a new time");
    assert_eq!(wrong(&[shown(3, 20_000)], 15_000), 0, "of an event that the oracle was not told of yet");
    assert_eq!(wrong(&[shown(3, 20_000)], 20_000), 2);
    let unknown = json!({ "id": id(5), "received_at": time(30_000) });
    assert_eq!(wrong(&[shown(2, 10_000), unknown.clone()], 20_000), 0, "too new to be judged");
    assert_eq!(wrong(&[shown(2, 10_000), unknown], 40_000), 1);
    assert_eq!(wrong(&[], 20_000), 1);
}

#[test]
fn a_receipt_in_doubt_is_not_judged_and_the_rest_is() {
    let mut world = street();
    let event =
        json!({ "id": id(1), "kind": "motion", "labels": ["person"], "occurred_at": time(0), "sent_at": time(0) });
    world.accepted_in_doubt(id(10), &event, NOON_MS + 3_000);
    let item = world.item_of(id(10), id(1)).unwrap();
    let shown = |label: &str, received: i64| {
        json!({
            "id": item, "revision": 1, "labels": [label], "received_at": time(received),
            "updated_at": time(received), "occurred_at": time(0)
        })
    };
    assert_eq!(world.judge_item("owner", item, Some(&shown("person", 1_000))).wrong, Vec::<String>::new());
    assert_eq!(world.judge_item("owner", item, Some(&shown("vehicle", 1_000))).wrong.len(), 2);
    assert_eq!(told(&world, 3_000), ["phone 1", "phone 2", "phone 3"]);
}
