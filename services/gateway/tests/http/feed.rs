//! The feed, one item, and "why did I (not) get this?"

use std::sync::atomic::Ordering;

use porchlight_domain::{Borders as _, EndpointId, HouseholdId, Item, NeighborhoodRef, PushId, Version};
use porchlight_store::{Deliveries as _, Delivery, DeliveryOutcome, FeedOwner, Timeline as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{NOW, PARK_STREET, QUINCY, World, alert_of, square};

const HOME: Uuid = Uuid::from_u128(1);

/// Alice and Bob live in Malden, Quentin in Quincy.
async fn world() -> World {
    let world = World::new().await;
    world.draw("Malden", PARK_STREET).await;
    world.draw("Quincy", QUINCY).await;
    world.settle("alice", HOME, PARK_STREET).await;
    world.settle("bob", HOME, (PARK_STREET.0 + 0.002, PARK_STREET.1)).await;
    world.settle("quentin", HOME, QUINCY).await;
    world
}

async fn pages(world: &World, who: &str, limit: usize) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let answer = world.get(who, &format!("/v1/feed?limit={limit}{more}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        pages.push(page["items"].as_array().unwrap().clone());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return pages;
        }
    }
}

async fn feed(world: &World, who: &str) -> Vec<Value> {
    pages(world, who, 100).await.concat()
}

#[tokio::test]
async fn g1_the_household_sees_all_neighbors_what_is_shared_and_others_nothing() {
    let world = world().await;
    let private = world.happen("alice", PARK_STREET, NOW.plus_ms(-9_000), false).await;
    let shared = world.happen("alice", PARK_STREET, NOW.plus_ms(-5_000), true).await;

    let own = feed(&world, "alice").await;
    assert_eq!(own.len(), 2, "its own shared item once, though two feeds hold it");
    assert_eq!((&own[0]["id"], &own[1]["id"]), (&json!(shared.id), &json!(private.id)));
    assert_eq!(own[0]["scope"], "household");
    assert!(own[0]["position"].is_object());

    let neighbors = feed(&world, "bob").await;
    assert_eq!(neighbors.len(), 1);
    assert_eq!((&neighbors[0]["id"], &neighbors[0]["scope"]), (&json!(shared.id), &json!("neighborhood")));
    assert_eq!(neighbors[0]["labels"], json!(["person"]));
    assert!(neighbors[0].get("position").is_none() && neighbors[0].get("device").is_none());
    assert!(feed(&world, "quentin").await.is_empty());
    assert!(feed(&world, "nobody").await.is_empty());

    let one = |who: &'static str, item: &Item| {
        let (world, path) = (&world, format!("/v1/items/{}", item.id));
        async move { world.get(who, &path).await }
    };
    assert_eq!(one("alice", &private).await.json(), own[1]);
    assert_eq!(one("bob", &shared).await.json(), neighbors[0]);
    for (who, item) in [("bob", &private), ("quentin", &shared), ("quentin", &private), ("nobody", &shared)] {
        assert_eq!(one(who, item).await.status, 404, "{who}");
    }
}

#[tokio::test]
async fn pages_are_full_in_order_and_without_repetition() {
    let world = world().await;
    for n in 0..25_i64 {
        let at = NOW.plus_ms(-n * 1_000);
        world.happen(if n % 2 == 0 { "alice" } else { "bob" }, PARK_STREET, at, n % 5 != 0).await;
        world.happen("quentin", QUINCY, at, true).await;
    }
    let pages = pages(&world, "bob", 4).await;
    let (last, full) = pages.split_last().unwrap();
    assert!(full.iter().all(|page| page.len() == 4) && (1..=4).contains(&last.len()));
    let items = pages.concat();
    // Bob's 12 own, and those of Alice's 13 that are shared.
    assert_eq!(items.len(), 12 + 10);
    let times: Vec<&str> = items.iter().map(|item| item["received_at"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "{times:?}");
    let mut ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len());
}

#[tokio::test]
async fn a_last_page_that_is_full_says_that_it_is_the_last() {
    let world = world().await;
    for n in 0..4 {
        world.happen("alice", PARK_STREET, NOW.plus_ms(-n), false).await;
    }
    assert_eq!(pages(&world, "alice", 4).await.len(), 1);
    assert_eq!(pages(&world, "alice", 2).await.len(), 2);
}

/// Items that may not be shown leave no trace: neither in the number of pages nor in their cursors.
#[tokio::test]
async fn g1_hidden_items_do_not_show_in_pages_or_cursors() {
    let world = world().await;
    let before = world.happen("alice", PARK_STREET, NOW.plus_ms(-90_000), true).await;
    // These stand in Malden's feed, but were matched by a version that did not hold Bob's home.
    let malden = before.neighborhoods[0].id;
    world.put("operator", &format!("/v1/neighborhoods/{malden}"), square("Malden", (-71.0762, 42.4251))).await;
    for n in 0..30 {
        world.happen("alice", (-71.0700, 42.4251), NOW.plus_ms(-n * 1_000), true).await;
    }
    world.put("operator", &format!("/v1/neighborhoods/{malden}"), square("Malden", PARK_STREET)).await;
    let after = world.happen("alice", PARK_STREET, NOW.plus_ms(-1), true).await;
    let answer = world.get("bob", "/v1/feed?limit=1").await.json();
    assert_eq!(answer["items"][0]["id"], json!(after.id));
    let cursor = answer["next_cursor"].as_str().unwrap().to_owned();
    let answer = world.get("bob", &format!("/v1/feed?limit=1&cursor={cursor}")).await.json();
    assert_eq!(answer["items"][0]["id"], json!(before.id), "the hidden ones are skipped");
    assert_eq!(answer["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_request_that_looked_at_very_much_ends_and_the_next_goes_on() {
    let world = world().await;
    let oldest = world.happen("alice", PARK_STREET, NOW.plus_ms(-9_000_000), true).await;
    let malden = oldest.neighborhoods[0];
    for n in 0..1_500 {
        // A feed row whose item is gone.
        let at = NOW.plus_ms(-n * 1_000);
        let mut gone = world.happen("alice", PARK_STREET, at, true).await;
        world.memory.state().items.remove(&gone.id);
        gone.neighborhoods = vec![malden];
    }
    let pages = pages(&world, "bob", 10).await;
    assert!(pages.len() > 1, "one request looks at a bounded number");
    assert_eq!(pages.concat().len(), 1);
    assert_eq!(pages.concat()[0]["id"], json!(oldest.id));
}

#[tokio::test]
async fn a_feed_reaches_back_as_far_as_is_configured() {
    let world = world().await;
    world.happen("alice", PARK_STREET, NOW.plus_ms(-29 * 86_400_000), false).await;
    world.happen("alice", PARK_STREET, NOW.plus_ms(-31 * 86_400_000), false).await;
    assert_eq!(feed(&world, "alice").await.len(), 1);
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let world = World::new().await;
    for (query, code) in [
        ("?limit=0", "limit_invalid"),
        ("?limit=101", "limit_invalid"),
        ("?limit=x", "invalid_query"),
        ("?cursor=nonsense", "cursor_invalid"),
        ("?cursor=", "cursor_invalid"),
        ("?before=1", "invalid_query"),
    ] {
        let answer = world.get("alice", &format!("/v1/feed{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{query}");
    }
}

#[tokio::test]
async fn g1_the_gate_fetches_versions_that_it_lacks() {
    let world = World::new().await;
    // Version 1 never reaches this gateway's memory: it started after version 2 was published.
    world.recorder.lagging.store(true, Ordering::SeqCst);
    let malden = world.draw("Malden", PARK_STREET).await;
    world.recorder.lagging.store(false, Ordering::SeqCst);
    let drawing = format!("/v1/neighborhoods/{malden}");
    let redraw = |around| world.put("operator", &drawing, square("Malden", around));
    assert_eq!(redraw((-71.07, 42.4251)).await.etag(), "\"2\"");
    world.settle("bob", HOME, (PARK_STREET.0 + 0.002, PARK_STREET.1)).await;
    world.settle("quentin", HOME, QUINCY).await;
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    let path = format!("/v1/items/{}", item.id);
    let mut matched_by = async |version| {
        item.neighborhoods = vec![NeighborhoodRef { id: malden, version: Version(version) }];
        world.memory.put_item(&item).await.unwrap();
        (world.get("bob", &path).await.status.as_u16(), world.get("quentin", &path).await.status.as_u16())
    };
    assert_eq!(matched_by(1).await, (200, 404), "an old version stands in the store");

    // The topic lags behind the one who matched: the row itself is taken.
    world.recorder.lagging.store(true, Ordering::SeqCst);
    assert_eq!(redraw(PARK_STREET).await.etag(), "\"3\"");
    assert_eq!(matched_by(3).await, (200, 404));
    assert_eq!(world.recorder.neighborhoods.snapshot().current(malden), Some(Version(3)));
}

#[tokio::test]
async fn g1_a_version_that_nobody_has_is_no_answer() {
    let world = world().await;
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    item.neighborhoods[0].version = Version(9);
    world.memory.put_item(&item).await.unwrap();
    let answer = world.get("bob", &format!("/v1/items/{}", item.id)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "neighborhoods_catching_up"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(
        world.get("alice", &format!("/v1/items/{}", item.id)).await.status,
        200,
        "the household needs no polygon"
    );
}

#[tokio::test]
async fn g1_outdated_polygons_judge_nobody_and_do_not_tell_what_exists() {
    let world = world().await;
    let item = world.happen("alice", PARK_STREET, NOW, true).await;
    world.fresh.store(false, Ordering::SeqCst);
    let existing = world.get("bob", &format!("/v1/items/{}", item.id)).await;
    let unknown = world.get("bob", &format!("/v1/items/{}", Uuid::new_v4())).await;
    assert_eq!((existing.status.as_u16(), existing.code().as_str()), (503, "neighborhoods_catching_up"));
    assert_eq!(
        (existing.status, &existing.headers, &existing.bytes),
        (unknown.status, &unknown.headers, &unknown.bytes)
    );
    assert_eq!(world.get("bob", "/v1/feed").await.status, 503);
    assert_eq!(world.get("alice", &format!("/v1/items/{}", item.id)).await.status, 200);
    assert_eq!(world.get("nobody", "/v1/feed").await.status, 200, "whom no polygon concerns");
}

fn delivery(world: &World, who: &str, item: &Item, outcome: DeliveryOutcome) -> Delivery {
    let endpoint = EndpointId(match outcome {
        DeliveryOutcome::NoEndpoint => Uuid::nil(),
        DeliveryOutcome::HandedOver
        | DeliveryOutcome::NotAllowed
        | DeliveryOutcome::Expired
        | DeliveryOutcome::EndpointGone
        | DeliveryOutcome::Refused => Uuid::from_u128(5),
    });
    Delivery {
        push: PushId::of(alert_of(item), 1, endpoint),
        alert: alert_of(item),
        revision: 1,
        resident: world.resident(who),
        endpoint,
        outcome,
        as_neighbor: who != "alice",
        alert_created_at: NOW,
        at: NOW.plus_ms(250),
    }
}

#[tokio::test]
async fn g8_anyone_can_ask_why_they_did_or_did_not_get_an_alert() {
    let world = world().await;
    let item = world.happen("alice", PARK_STREET, NOW, true).await;
    world.memory.record(&delivery(&world, "alice", &item, DeliveryOutcome::HandedOver)).await.unwrap();
    world.memory.record(&delivery(&world, "bob", &item, DeliveryOutcome::NoEndpoint)).await.unwrap();
    let why = |who: &'static str| {
        let (world, path) = (&world, format!("/v1/alerts/{}/why", alert_of(&item)));
        async move { world.get(who, &path).await }
    };
    let own = json!([{"revision": 1, "endpoint": Uuid::from_u128(5), "outcome": "handed_over", "as": "household",
        "at": NOW.plus_ms(250)}]);
    assert_eq!(why("alice").await.json(), own);
    let neighbors = json!([{"revision": 1, "endpoint": null, "outcome": "no_endpoint", "as": "neighborhood",
        "at": NOW.plus_ms(250)}]);
    assert_eq!(why("bob").await.json(), neighbors);
    assert_eq!(why("quentin").await.status, 404);
}

#[tokio::test]
async fn a_feed_of_a_household_that_is_not_mine_is_never_asked_for() {
    let world = world().await;
    // Whatever stands in a feed by mistake passes the gate all the same.
    let item = world.happen("alice", PARK_STREET, NOW, false).await;
    let quincy = world.recorder.neighborhoods.snapshot();
    assert_eq!(quincy.len(), 2);
    let bobs = FeedOwner::Household(HouseholdId::founded_by(world.resident("bob")));
    let position = porchlight_store::FeedPosition { at: NOW, item: item.id };
    world.memory.state().feeds.entry(bobs).or_default().insert(position);
    assert!(feed(&world, "bob").await.is_empty());
}
