//! Cases worked out by hand.

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

/// A square town around (0.5, 0.5), a neighbor in it, a stranger outside, a pending newcomer inside; household 1 owns a
/// camera in it that shares `person`.
fn town() -> World {
    let mut world = World::new();
    let ring = json!([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]);
    world.neighborhood(id(100), &json!({ "type": "Polygon", "coordinates": ring }));
    for (name, household, home, verified) in [
        ("owner", 1, (0.5, 0.5), true),
        ("neighbor", 2, (0.2, 0.2), true),
        ("stranger", 3, (1.2, 0.2), true),
        ("newcomer", 4, (0.3, 0.3), false),
    ] {
        let person = Person { household: id(household), home, verified, endpoints: vec![format!("{name}'s phone")] };
        world.person(name, person);
    }
    let shares = vec!["person".into()];
    world.device(id(10), Device { household: id(1), position: (0.5, 0.5001), shares, shares_media: false });
    world
}

fn event(n: u128, label: &str, at_ms: i64) -> Value {
    json!({ "id": id(n), "kind": "motion", "labels": [label], "occurred_at": time(at_ms), "sent_at": time(at_ms) })
}

fn due(world: &World) -> Vec<(String, u64, bool)> {
    world.expected_pushes().iter().map(|e| (e.endpoint.clone(), e.revision, e.as_neighbor)).collect()
}

fn push(world: &World, n: usize) -> ObservedPush {
    let expected = world.expected_pushes().iter().nth(n).expect("so many");
    ObservedPush {
        endpoint: expected.endpoint.clone(),
        alert: expected.alert,
        revision: expected.revision,
        silent: expected.revision > 1,
        line: if expected.as_neighbor { "neighborhood.person" } else { "household.person" }.into(),
    }
}

#[test]
fn a_shared_event_goes_to_the_household_and_to_the_neighbor_and_to_nobody_else() {
    let mut world = town();
    world.accepted(id(10), &event(1, "person", 0), NOON_MS);
    assert_eq!(due(&world), [("neighbor's phone".into(), 1, true), ("owner's phone".into(), 1, false)]);
}

#[test]
fn what_is_not_shared_is_familiar_or_late_goes_no_further() {
    let mut world = town();
    world.accepted(id(10), &event(1, "vehicle", 0), NOON_MS);
    let mut familiar = event(2, "person", 0);
    familiar["familiar"] = json!(true);
    world.accepted(id(10), &familiar, NOON_MS);
    assert!(due(&world).iter().all(|(to, _, _)| to == "owner's phone"), "{:?}", due(&world));
    let told = due(&world).len();
    let mut late = event(3, "person", 1_000);
    late["sent_at"] = json!(time(1_000 + 600_001));
    world.accepted(id(10), &late, NOON_MS + 601_001);
    assert_eq!(due(&world).len(), told, "backlog is told to nobody");
}

#[test]
fn neighbors_count_the_shared_events_of_an_item_only() {
    let mut world = town();
    world.accepted(id(10), &event(1, "vehicle", 0), NOON_MS);
    world.accepted(id(10), &event(2, "person", 5_000), NOON_MS + 5_000);
    world.accepted(id(10), &event(2, "vehicle", 5_000), NOON_MS + 6_000); // another body under the id: not an event
    assert_eq!(
        due(&world),
        [("neighbor's phone".into(), 1, true), ("owner's phone".into(), 1, false), ("owner's phone".into(), 2, false)]
    );
    assert_eq!(world.item_of(id(10), id(1)), world.item_of(id(10), id(2)));
    world.accepted(id(10), &event(3, "person", 70_000), NOON_MS + 70_000);
    assert_ne!(world.item_of(id(10), id(1)), world.item_of(id(10), id(3)));
}

#[test]
fn what_is_missing_misdirected_or_doubled_is_said() {
    let mut world = town();
    world.accepted(id(10), &event(1, "person", 0), NOON_MS);
    let (neighbor, owner) = (push(&world, 0), push(&world, 1));
    assert!(world.judge_pushes(&[neighbor.clone(), owner.clone()], NOON_MS).is_clean());

    let verdict = world.judge_pushes(&[owner.clone(), owner.clone()], NOON_MS);
    assert_eq!((verdict.checked, verdict.missing.len(), verdict.doubled.len()), (2, 1, 1));
    assert!(world.judge_pushes(std::slice::from_ref(&owner), NOON_MS - 1).is_clean(), "not due yet");

    let astray = ObservedPush { endpoint: "stranger's phone".into(), ..neighbor.clone() };
    assert_eq!(world.judge_pushes(&[astray], NOON_MS - 1).misdirected.len(), 1);
    let told_too_much = ObservedPush { line: "neighborhood.vehicle".into(), ..neighbor.clone() };
    assert_eq!(world.judge_pushes(&[told_too_much], NOON_MS - 1).misdirected.len(), 1);
    let loud = ObservedPush { silent: true, ..neighbor };
    assert_eq!(world.judge_pushes(&[loud], NOON_MS - 1).misdirected.len(), 1);
}

#[test]
fn a_feed_shows_all_that_it_may_and_nothing_else() {
    let mut world = town();
    world.accepted(id(10), &event(1, "person", 0), NOON_MS);
    let item = world.item_of(id(10), id(1)).expect("it happened");
    let received_at = time(0);
    let coarse = json!({ "id": item, "labels": ["person"], "revision": 1, "received_at": received_at,
        "about": { "lon": 0.5025, "lat": 0.5025 } });
    let exact = json!({ "id": item, "labels": ["person"], "revision": 1, "received_at": received_at,
        "position": { "lon": 0.5, "lat": 0.5001 }, "device": id(10) });
    let wrong = |person: &str, items: &[Value]| world.judge_feed(person, items, 0, NOON_MS).wrong;
    assert!(wrong("owner", std::slice::from_ref(&exact)).is_empty());
    assert!(wrong("neighbor", std::slice::from_ref(&coarse)).is_empty());
    assert!(wrong("stranger", &[]).is_empty() && wrong("newcomer", &[]).is_empty());
    assert_eq!(wrong("neighbor", &[]).len(), 1, "withheld");
    assert_eq!(wrong("stranger", std::slice::from_ref(&coarse)).len(), 1, "shown to a stranger");
    assert_eq!(wrong("newcomer", std::slice::from_ref(&coarse)).len(), 1, "shown to a home that is not verified");
    assert_eq!(wrong("neighbor", std::slice::from_ref(&exact)).len(), 3, "position, device and exact place");
    assert_eq!(wrong("neighbor", &[coarse.clone(), coarse.clone()]).len(), 1, "shown twice");
    assert!(world.judge_item("stranger", item, None).wrong.is_empty());
    assert_eq!(world.judge_item("neighbor", item, None).wrong.len(), 1);
}

#[test]
fn what_is_forgotten_is_counted() {
    let mut world = town();
    world.accepted(id(10), &event(1, "person", 0), NOON_MS);
    world.accepted(id(10), &event(2, "person", 120_000), NOON_MS + 120_000);
    let (alerts, pushes) = world.forget(NOON_MS + 1);
    assert_eq!((alerts.len(), pushes), (1, 2));
    assert_eq!((world.events(), world.expected_pushes().len()), (1, 2));
}

/// Pinned against the same derivation in another language: items, alerts and media must be found by
/// these names.
#[test]
fn names_are_derived_as_documented() {
    let mut world = town();
    world.accepted(id(10), &event(1, "person", 0), NOON_MS);
    assert_eq!(world.item_of(id(10), id(1)), "093decfe-b754-5e48-8c45-9ad06f0fb324".parse().ok());
    assert_eq!(push(&world, 0).alert.to_string(), "c826c3eb-c67c-5a0b-bef0-f489ae2e06b2");
    let media = world.stored(id(10), id(1), "thumbnail", &"aB".repeat(32), 1, NOON_MS);
    assert_eq!(media.to_string(), "ade71597-b0a5-51ad-8fae-49d65e12c55a");
}
