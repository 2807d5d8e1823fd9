//! Cases worked out by hand: clips and thumbnails, and who sees them.
#![allow(clippy::unwrap_used)]

use porchlight_oracle::{Device, Person, World};
use serde_json::{Value, json};
use uuid::Uuid;

const NOON_MS: i64 = 1_795_521_600_000;
const NONE: Vec<String> = Vec::new();

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn time(ms: i64) -> String {
    let s = ms / 1000;
    format!("2026-11-24T12:{:02}:{:02}.{:03}Z", s / 60, s % 60, ms % 1000)
}

/// A square town; household 1 owns a camera in it that shares `person`, household 2 lives in it, household 3 does not.
fn town(shares_media: bool) -> World {
    let mut world = World::new();
    let ring = json!([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]);
    world.neighborhood(id(100), &json!({ "type": "Polygon", "coordinates": ring }));
    for (name, household, lon) in [("owner", 1, 0.5), ("neighbor", 2, 0.2), ("stranger", 3, 1.2)] {
        let endpoints = vec![name.to_owned()];
        world.person(name, Person { household: id(household), home: (lon, 0.2), verified: true, endpoints });
    }
    let shares = vec!["person".into()];
    world.device(id(10), Device { household: id(1), position: (0.5, 0.5), shares, shares_media });
    world
}

fn happens(world: &mut World, n: u128, label: &str, at_ms: i64) -> Uuid {
    let event = json!({
        "id": id(n), "kind": "motion", "labels": [label], "occurred_at": time(at_ms), "sent_at": time(at_ms)
    });
    world.accepted(id(10), &event, NOON_MS + at_ms);
    world.item_of(id(10), id(n)).unwrap()
}

/// A thumbnail of event `n`; `content` tells two of them apart.
fn stored(world: &mut World, n: u128, content: u8, at_ms: i64) -> Uuid {
    world.stored(id(10), id(n), "thumbnail", &sha256(content), 7, NOON_MS + at_ms)
}

fn sha256(content: u8) -> String {
    format!("{content:02x}").repeat(32)
}

/// Who is told, and of which revision, of what was received at `at_ms` after noon.
fn told(world: &World, at_ms: i64) -> Vec<(&str, u64)> {
    let pushes = world.expected_pushes().iter().filter(|e| e.received_at_ms == NOON_MS + at_ms);
    pushes.map(|e| (e.endpoint.as_str(), e.revision)).collect()
}

/// An item with these thumbnails, of one `person` event at noon, as household and neighbor alike see it.
fn shown(item: Uuid, revision: u64, media: &[Uuid]) -> Value {
    let media: Vec<Value> = media.iter().map(|id| json!({ "id": id, "kind": "thumbnail" })).collect();
    json!({
        "id": item, "revision": revision, "labels": ["person"], "received_at": time(0), "updated_at": time(0),
        "occurred_at": time(0), "about": { "lon": 0.5025, "lat": 0.5025 }, "neighborhoods": [id(100)], "media": media
    })
}

#[test]
fn what_came_before_its_event_joins_its_revision_in_the_order_of_receipt() {
    let mut world = town(true);
    let second = stored(&mut world, 1, 2, -1_000);
    let first = stored(&mut world, 1, 1, -2_000);
    let item = happens(&mut world, 1, "person", 0);
    assert_eq!(told(&world, 0), [("neighbor", 1), ("owner", 1)]);
    assert_eq!(world.expected_pushes().len(), 2);
    for person in ["owner", "neighbor"] {
        let wrong = |media: &[Uuid]| world.judge_item(person, item, Some(&shown(item, 1, media))).wrong;
        assert_eq!(wrong(&[first, second]), NONE);
        assert_eq!(wrong(&[second, first]).len(), 1, "in another order");
        assert_eq!(wrong(&[first]).len(), 1, "one is withheld");
        assert_eq!(wrong(&[]).len(), 1);
        assert_eq!(wrong(&[first, second, id(5)]).len(), 1, "one that is none");
    }
}

#[test]
fn what_came_later_is_a_silent_revision_of_its_own_and_twice_is_once() {
    let mut world = town(true);
    let item = happens(&mut world, 1, "person", 0);
    let late = stored(&mut world, 1, 1, 5_000);
    assert_eq!(stored(&mut world, 1, 1, 6_000), late);
    assert_eq!(told(&world, 5_000), [("neighbor", 2), ("owner", 2)]);
    assert_eq!((world.expected_pushes().len(), world.media()), (4, 1));
    for person in ["owner", "neighbor"] {
        let wrong = |revision: u64, media: &[Uuid]| world.judge_item(person, item, Some(&shown(item, revision, media)));
        assert_eq!(wrong(2, &[late]).wrong, NONE);
        assert_eq!(wrong(1, &[]).wrong.len(), 1, "an old revision");
        assert_eq!(wrong(2, &[]).wrong.len(), 1, "its revision without it");
    }
    let mut moved = shown(item, 2, &[late]);
    moved["updated_at"] = json!(time(5_000));
    assert_eq!(world.judge_item("owner", item, Some(&moved)).wrong.len(), 1, "a media changes no time");
    let mut clip = shown(item, 2, &[late]);
    clip["media"][0]["kind"] = json!("clip");
    assert_eq!(world.judge_item("owner", item, Some(&clip)).wrong.len(), 1, "another kind");
}

#[test]
fn a_late_media_does_not_hold_an_item_open() {
    let mut world = town(false);
    let item = happens(&mut world, 1, "person", 0);
    stored(&mut world, 1, 1, 50_000);
    assert_ne!(happens(&mut world, 2, "person", 70_000), item);
}

#[test]
fn g3_neighbors_neither_see_nor_count_the_media_that_are_not_shared() {
    for (shares_media, label) in [(false, "person"), (true, "vehicle")] {
        let mut world = town(shares_media);
        let item = happens(&mut world, 1, label, 0);
        let media = stored(&mut world, 1, 1, 5_000);
        assert_eq!(told(&world, 5_000), [("owner", 2)]);
        happens(&mut world, 2, "person", 6_000);
        let neighbors = told(&world, 6_000)[0];
        assert_eq!(neighbors, ("neighbor", if label == "person" { 2 } else { 1 }));
        let mut view = shown(item, neighbors.1, &[]);
        view["updated_at"] = json!(time(6_000));
        if label == "vehicle" {
            view["received_at"] = json!(time(6_000));
            view["occurred_at"] = json!(time(6_000));
        }
        assert_eq!(world.judge_item("neighbor", item, Some(&view)).wrong, NONE);
        view["media"] = json!([{ "id": media, "kind": "thumbnail" }]);
        assert_eq!(world.judge_item("neighbor", item, Some(&view)).wrong.len(), 1);
    }
}

#[test]
fn g3_the_policy_of_the_events_receipt_counts() {
    let mut world = town(true);
    happens(&mut world, 1, "person", 0);
    let shares = vec!["person".into()];
    world.device(id(10), Device { household: id(1), position: (0.5, 0.5), shares, shares_media: false });
    stored(&mut world, 1, 1, 5_000);
    assert_eq!(told(&world, 5_000).len(), 2, "it was shared with its event");
    happens(&mut world, 2, "person", 120_000);
    stored(&mut world, 2, 2, 125_000);
    assert_eq!(told(&world, 125_000), [("owner", 2)]);
}

#[test]
fn a_clip_that_comes_late_or_with_backlog_rings_nobody_up() {
    let mut world = town(true);
    let item = happens(&mut world, 1, "person", 0);
    stored(&mut world, 1, 1, 600_000);
    stored(&mut world, 1, 2, 600_001);
    assert_eq!(told(&world, 600_000), [("neighbor", 2), ("owner", 2)]);
    assert!(told(&world, 600_001).is_empty());
    assert_eq!(world.judge_item("owner", item, Some(&shown(item, 2, &[]))).wrong.len(), 2, "but it is revision 3");

    let event = json!({
        "id": id(3), "kind": "motion", "labels": ["person"], "occurred_at": time(0), "sent_at": time(600_001)
    });
    let mut world = town(true);
    world.accepted(id(10), &event, NOON_MS + 600_001);
    stored(&mut world, 3, 1, 601_000);
    assert!(world.expected_pushes().is_empty());
}

#[test]
fn an_item_names_64_media_and_finds_8_of_an_event() {
    let mut world = town(true);
    (0..9).for_each(|content| _ = stored(&mut world, 1, content, i64::from(content) - 100));
    let item = happens(&mut world, 1, "person", 0);
    (9..70).for_each(|content| _ = stored(&mut world, 1, content, 1_000));
    let view = shown(item, 57, &[]);
    assert_eq!(world.judge_item("owner", item, Some(&view)).wrong.len(), 1, "only the list is wrong: 1 + 64 - 8");
}

#[test]
fn g1_a_media_is_fetched_by_its_household_and_by_whom_it_is_shared_with() {
    let mut world = town(true);
    let item = happens(&mut world, 1, "person", 0);
    let media = stored(&mut world, 1, 1, 1_000);
    let answer = |scope: &str| {
        json!({
            "id": media, "scope": scope, "kind": "thumbnail", "content_type": "image/png", "bytes": 7,
            "sha256": sha256(1), "item": item, "url": "http://example.org/x", "url_expires_at": time(61_000)
        })
    };
    let wrong = |person: &str, answer: Option<&Value>| world.judge_media(person, media, answer, NOON_MS + 1_000).wrong;
    let (household, neighborhood) = (answer("household"), answer("neighborhood"));
    assert_eq!(wrong("owner", Some(&household)), NONE);
    assert_eq!(wrong("neighbor", Some(&neighborhood)), NONE);
    assert_eq!(wrong("stranger", None), NONE);
    assert_eq!(wrong("owner", None).len(), 1, "withheld");
    assert_eq!(wrong("neighbor", None).len(), 1, "withheld");
    assert_eq!(wrong("stranger", Some(&neighborhood)).len(), 1, "shown to a stranger");
    assert_eq!(wrong("nobody", Some(&neighborhood)).len(), 1, "shown to nobody we know");
    assert_eq!(wrong("neighbor", Some(&household)).len(), 1, "another's scope");
    for (member, value) in [
        ("kind", json!("clip")),
        ("sha256", json!(sha256(2))),
        ("bytes", json!(8)),
        ("id", json!(id(9))),
        ("item", json!(id(9))),
        ("item", Value::Null),
        ("url", json!("")),
        ("url_expires_at", json!(time(61_001))),
        ("url_expires_at", json!("soon")),
        ("event", json!(id(1))),
        ("received_at", json!(time(1_000))),
    ] {
        let mut false_answer = neighborhood.clone();
        false_answer[member] = value;
        assert_eq!(wrong("neighbor", Some(&false_answer)).len(), 1, "{member}");
    }
    let mut more = household;
    more["event"] = json!(id(1));
    assert_eq!(wrong("owner", Some(&more)), NONE);
    assert_eq!(world.judge_media("owner", id(9), Some(&more), NOON_MS).wrong.len(), 1, "never stored");
    assert_eq!(world.judge_media("owner", id(9), None, NOON_MS).wrong, NONE);
}

#[test]
fn g1_a_media_without_an_event_or_of_an_event_that_stays_in_the_house_is_the_households() {
    let mut world = town(true);
    happens(&mut world, 1, "vehicle", 0);
    for media in [stored(&mut world, 1, 1, 1_000), stored(&mut world, 2, 1, 1_000)] {
        let withheld = |person: &str| world.judge_media(person, media, None, NOON_MS).wrong.len();
        assert_eq!((withheld("owner"), withheld("neighbor"), withheld("stranger")), (1, 0, 0));
    }
}

#[test]
fn what_is_not_told_of_yet_is_not_judged_before_the_end() {
    let mut world = town(true);
    let item = happens(&mut world, 1, "person", 0);
    let view = shown(item, 2, &[id(5)]);
    let wrong = |world: &World, until: i64| world.judge_feed("owner", std::slice::from_ref(&view), 0, until).wrong;
    assert_eq!(wrong(&world, NOON_MS + 1_000), NONE);
    assert_eq!(wrong(&world, i64::MAX).len(), 2);
    stored(&mut world, 1, 1, 5_000);
    assert_eq!(wrong(&world, NOON_MS + 10_000).len(), 1, "another one than that which is known");
    let old = world.judge_feed("owner", &[shown(item, 1, &[])], 0, NOON_MS + 4_999);
    assert_eq!(old.wrong, NONE, "the media is not due yet");
}

#[test]
fn media_are_forgotten_with_their_items() {
    let mut world = town(true);
    happens(&mut world, 1, "person", 0);
    stored(&mut world, 1, 1, 300_000);
    stored(&mut world, 7, 1, 1_000);
    assert!(world.forget(NOON_MS + 300_000).0.is_empty(), "a media was linked since");
    assert_eq!(world.media(), 1, "one without an event is not kept");
    let (alerts, pushes) = world.forget(NOON_MS + 300_001);
    assert_eq!((alerts.len(), pushes, world.media()), (1, 4, 0));
}

#[test]
fn a_stream_shows_each_revision_once_and_ends_with_the_latest() {
    let mut world = town(true);
    let item = happens(&mut world, 1, "person", 0);
    let media = stored(&mut world, 1, 1, 5_000);
    let (first, second) = (shown(item, 1, &[]), shown(item, 2, &[media]));
    let judged = |person: &str, views: &[&Value], since: i64, until: i64| {
        let views: Vec<Value> = views.iter().map(|&view| view.clone()).collect();
        world.judge_stream(person, &views, NOON_MS + since, NOON_MS + until).wrong
    };
    for person in ["owner", "neighbor"] {
        assert_eq!(judged(person, &[&first, &second], 0, 10_000), NONE);
        assert_eq!(judged(person, &[&second], 0, 10_000), NONE, "the first was overtaken");
        assert_eq!(judged(person, &[&first], 0, 4_999), NONE, "the second is not due yet");
        assert_eq!(judged(person, &[&first, &second], 0, 4_999), NONE, "and may be there");
        assert_eq!(judged(person, &[], 6_000, 10_000), NONE, "nothing changed since");
        assert_eq!(judged(person, &[&first], 0, 10_000).len(), 1, "the latest is missing");
        assert_eq!(judged(person, &[], 1, 10_000).len(), 1, "nothing came");
        assert_eq!(judged(person, &[&first, &second, &second], 0, 10_000).len(), 1, "twice");
        assert_eq!(judged(person, &[&second, &first], 0, 10_000).len(), 1, "backwards");
        assert_eq!(judged(person, &[&shown(item, 1, &[media]), &second], 0, 10_000).len(), 1, "what was not there yet");
        assert_eq!(judged(person, &[&shown(item, 2, &[])], 0, 10_000).len(), 1, "its revision without it");
        assert_eq!(judged(person, &[&second, &shown(id(9), 1, &[])], 0, 10_000).len(), 1, "nothing that happened");
        assert_eq!(judged(person, &[&second, &json!({})], 0, 10_000).len(), 1);
    }
    assert_eq!(judged("stranger", &[], 0, 10_000), NONE);
    assert_eq!(judged("stranger", &[&second], 0, 10_000).len(), 1, "shown to a stranger");
    assert_eq!(judged("stranger", &[&second], 0, -1), NONE, "too new: it may be of an event that shares it");
}
