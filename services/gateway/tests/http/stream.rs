//! The live stream: who gets what, moves on an open stream, and how streams end.
//!
//! Where time is held (`pause`), it leaps to the next timer whenever nothing else is left to do: a test that waits for
//! seconds takes none. The issuer is asked before: its connection is a real one.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use http::header;
use jsonwebtoken::get_current_timestamp;
use porchlight_domain::Item;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    Answer, NOW, PARK_STREET, QUINCY, World, config,
    events::{Event, Events, named},
    home_body, square,
};

const HOME: Uuid = Uuid::from_u128(1);
const MOVES_COUNT_WITHIN: Duration = Duration::from_secs(5);

/// Alice and Bob live in Malden, Quentin in Quincy.
async fn world_with(settings: &[(&str, &str)]) -> World {
    let world = World::with(settings).await;
    world.draw("Malden", PARK_STREET).await;
    world.draw("Quincy", QUINCY).await;
    world.settle("alice", HOME, PARK_STREET).await;
    world.settle("bob", HOME, (PARK_STREET.0 + 0.002, PARK_STREET.1)).await;
    world.settle("quentin", HOME, QUINCY).await;
    world
}

pub(super) async fn world() -> World {
    world_with(&[]).await
}

/// An open stream of a person, to whom nothing was told yet.
pub(super) async fn live(world: &World, who: &str) -> Events {
    let mut events = world.stream(who, None).await;
    assert_eq!(events.until_live().await, [Event::Retry("1000".to_owned())]);
    events
}

pub(super) async fn refused(world: &World, who: &str, headers: &[(&str, &str)]) -> Answer {
    world.ask_with(who, "GET", "/v1/feed/stream", None, headers).await
}

pub(super) fn id(item: &Item) -> String {
    item.id.to_string()
}

#[tokio::test]
async fn g1_the_household_gets_all_neighbors_what_is_shared_and_others_nothing() {
    let world = world().await;
    let (mut alice, mut bob, mut quentin, mut nobody) = (
        live(&world, "alice").await,
        live(&world, "bob").await,
        live(&world, "quentin").await,
        live(&world, "nobody").await,
    );
    let private = world.happen("alice", PARK_STREET, NOW, false).await;
    let mut shared = world.happen("alice", PARK_STREET, NOW, true).await;
    world.revise(&mut shared, NOW).await;
    let (bobs, quentins, nobodys) = (
        world.happen("bob", PARK_STREET, NOW, false).await,
        world.happen("quentin", QUINCY, NOW, true).await,
        world.happen("nobody", QUINCY, NOW, false).await,
    );

    let (cursor, first) = alice.item().await;
    assert_eq!(first, world.get("alice", &format!("/v1/items/{}", private.id)).await.json());
    assert!(!cursor.is_empty() && first["position"].is_object());
    // A revision may overtake the one before it: the item is loaded when it is told.
    let mut own = HashSet::from([alice.items(1).await[0].clone()]);
    while !own.contains(&(id(&shared), 3)) {
        own.insert(alice.items(1).await[0].clone());
    }
    assert!(own.iter().all(|(item, revision)| *item == id(&shared) && (2..=3).contains(revision)), "{own:?}");

    let (_, neighbors) = bob.item().await;
    assert_eq!((&neighbors["id"], &neighbors["scope"]), (&json!(shared.id), &json!("neighborhood")));
    assert!(neighbors.get("position").is_none() && neighbors["labels"] == json!(["person"]));
    let mut last = named(&neighbors);
    while last != (id(&bobs), 2) {
        assert_eq!(last.0, id(&shared), "and nothing else before his own");
        last = bob.items(1).await.remove(0);
    }
    assert_eq!(quentin.items(1).await, [(id(&quentins), 2)], "his own is the first he gets");
    assert_eq!(nobody.items(1).await, [(id(&nobodys), 2)], "as for one without a home");
}

#[tokio::test]
async fn a_revision_that_stays_in_the_house_does_not_show_on_neighbors_streams() {
    let world = world().await;
    let (mut alice, mut bob) = (live(&world, "alice").await, live(&world, "bob").await);
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!((alice.items(1).await[0].1, bob.items(1).await[0].1), (2, 1));
    item.revision += 1;
    world.memory.state().items.insert(item.id, item.clone());
    // Even if it were told to the neighborhood.
    world.tell(&item, NOW).await;
    assert_eq!(alice.items(1).await, [(id(&item), 3)]);
    let next = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&next), 1)]);
}

#[tokio::test]
async fn g1_a_move_counts_on_an_open_stream_both_ways() {
    let world = world().await;
    let mut bob = live(&world, "bob").await;
    tokio::time::pause();
    let seen = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&seen), 1)]);

    // He leaves Malden; in Quincy he is pending.
    assert_eq!(world.put("bob", &format!("/v1/homes/{HOME}"), home_body(QUINCY)).await.status, 200);
    tokio::time::sleep(MOVES_COUNT_WITHIN).await;
    world.happen("alice", PARK_STREET, NOW, true).await;
    world.happen("quentin", QUINCY, NOW, true).await;
    let own = world.happen("bob", QUINCY, NOW, false).await;
    assert_eq!(bob.items(1).await, [(id(&own), 2)], "neither of the old place nor of the one he only says is his");

    let home = world.home("bob", HOME);
    assert_eq!(world.post("operator", &format!("/v1/operator/homes/{home}/verify")).await.status, 200);
    tokio::time::sleep(MOVES_COUNT_WITHIN).await;
    let after = world.happen("quentin", QUINCY, NOW, true).await;
    let mut new = bob.items(2).await;
    assert_eq!(new.pop(), Some((id(&after), 1)), "what is told from now on, and before it the last minute of Quincy");
}

#[tokio::test]
async fn g1_a_move_counts_while_moves_cannot_be_looked_for() {
    let world = world().await;
    let mut bob = live(&world, "bob").await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(90)).await;
    world.memory.state().intents_away = true;
    assert_eq!(world.put("bob", &format!("/v1/homes/{HOME}"), home_body(QUINCY)).await.status, 200);
    tokio::time::sleep(MOVES_COUNT_WITHIN).await;
    world.happen("alice", PARK_STREET, NOW, true).await;
    let own = world.happen("bob", QUINCY, NOW, false).await;
    assert_eq!(bob.items(1).await, [(id(&own), 2)]);
}

#[tokio::test]
async fn g1_a_pending_home_gets_nothing() {
    let world = world().await;
    assert_eq!(world.put("carol", &format!("/v1/homes/{HOME}"), home_body(PARK_STREET)).await.status, 201);
    let mut carol = live(&world, "carol").await;
    world.happen("alice", PARK_STREET, NOW, true).await;
    let own = world.happen("carol", PARK_STREET, NOW, false).await;
    assert_eq!(carol.items(1).await, [(id(&own), 2)]);
}

#[tokio::test]
async fn g1_what_is_shared_no_more_is_not_sent_though_it_was_told() {
    let world = world().await;
    let mut bob = live(&world, "bob").await;
    tokio::time::pause();
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    // It waits for a reader who takes a while.
    tokio::time::sleep(MOVES_COUNT_WITHIN).await;
    item.shared = None;
    world.memory.state().items.insert(item.id, item.clone());
    let own = world.happen("bob", PARK_STREET, NOW, false).await;
    assert_eq!(bob.items(1).await, [(id(&own), 2)]);
}

#[tokio::test]
async fn g1_a_neighborhood_that_is_redrawn_counts_on_open_streams() {
    let world = world().await;
    let (mut bob, mut quentin) = (live(&world, "bob").await, live(&world, "quentin").await);
    let mut before = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&before), 1)]);
    tokio::time::pause();
    // Malden is now where Quincy is; two neighborhoods hold Quentin's home, and none Bob's.
    let malden = Uuid::new_v5(&Uuid::nil(), b"Malden");
    let redrawn = world.put("operator", &format!("/v1/neighborhoods/{malden}"), square("Malden", QUINCY)).await;
    assert_eq!(redrawn.status, 200);
    tokio::time::sleep(MOVES_COUNT_WITHIN).await;
    world.revise(&mut before, NOW).await;
    let item = world.happen("quentin", QUINCY, NOW, true).await;
    let own = world.happen("bob", PARK_STREET, NOW, false).await;
    assert_eq!(bob.items(1).await, [(id(&own), 2)], "he lives there no more");
    assert_eq!(quentin.items(1).await, [(id(&item), 2)]);
}

#[tokio::test]
async fn what_cannot_be_judged_waits_and_is_not_skipped() {
    let world = world().await;
    let mut bob = live(&world, "bob").await;
    tokio::time::pause();
    world.fresh.store(false, Ordering::SeqCst);
    let item = world.happen("alice", PARK_STREET, NOW, true).await;
    assert!(tokio::time::timeout(Duration::from_secs(3), bob.next()).await.is_err(), "nothing is judged");
    world.fresh.store(true, Ordering::SeqCst);
    assert_eq!(bob.items(1).await, [(id(&item), 1)]);

    world.memory.state().away = true;
    let mut more = item.clone();
    more.revision += 1;
    world.tell(&more, NOW).await;
    assert_eq!(bob.next().await, Some(Event::Closed("going_away".to_owned())), "and who waits too long comes again");
    assert_eq!(bob.next().await, None);
}

#[tokio::test]
async fn a_stream_outlives_the_time_of_a_request_and_ends_with_its_token() {
    let world = world_with(&[("AUTH__LEEWAY_S", "0")]).await;
    let mut claims = world.issuer.claims("alice", "");
    claims["exp"] = json!(get_current_timestamp() + 50);
    let token = world.issuer.key.sign(&claims);
    let mut events = world.stream_by(&token, None).await;
    events.until_live().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    for beat in 1..=3 {
        assert_eq!(events.next().await, Some(Event::Comment(String::new())));
        assert_eq!(begun.elapsed().as_secs(), 15 * beat, "every 15 seconds");
    }
    assert_eq!(events.next().await, Some(Event::Closed("token_expired".to_owned())));
    assert!((40..=50).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_its_client_left_counts_no_more() {
    let world = world_with(&[("GATEWAY__MAX_STREAMS", "3"), ("GATEWAY__MAX_STREAMS_PER_RESIDENT", "2")]).await;
    let open = (live(&world, "bob").await, live(&world, "bob").await);
    let answer = refused(&world, "bob", &[]).await;
    assert_eq!(answer.refusal(), (429, "too_many_streams".to_owned(), None));
    assert_eq!(answer.headers[header::RETRY_AFTER], "5");
    let alice = live(&world, "alice").await;
    let answer = refused(&world, "quentin", &[]).await;
    assert_eq!(answer.refusal(), (503, "too_many_streams".to_owned(), None));
    assert_eq!(answer.headers[header::RETRY_AFTER], "5");
    drop(open.0);
    assert_eq!(refused(&world, "quentin", &[]).await.status, 200);
    assert_eq!(refused(&world, "bob", &[]).await.status, 200, "the one that was asked for just now is gone as well");
    drop((open.1, alice));
}

#[tokio::test]
async fn a_gateway_that_has_just_begun_does_not_pretend_to_know_what_was_told() {
    let world = World::new().await;
    world.alerts.hold();
    assert_eq!(world.get("bob", "/v1/me").await.status, 200);
    tokio::time::pause();
    let answer = refused(&world, "bob", &[]).await;
    assert_eq!(answer.refusal(), (503, "stream_catching_up".to_owned(), None));
}

#[tokio::test]
async fn the_answer_is_an_event_stream_that_nobody_keeps_or_holds_back() {
    let world = world().await;
    let answer = refused(&world, "bob", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    let head = world.ask("bob", "HEAD", "/v1/feed/stream", None).await;
    assert_eq!((head.status, head.bytes.len()), (answer.status, 0));
    let document: Value = serde_json::to_value(&world.document).unwrap();
    let documented = &document["paths"]["/v1/feed/stream"]["get"];
    assert!(documented["responses"]["200"]["content"]["text/event-stream"].is_object(), "{documented}");
    for (status, code) in [("400", "cursor_invalid"), ("429", "too_many_streams"), ("503", "stream_catching_up")] {
        assert!(documented["responses"][status]["description"].as_str().unwrap().contains(code), "{documented}");
    }
}

/// Over real connections, as the service serves it.
#[tokio::test]
async fn a_drain_ends_streams_at_once_with_a_reason_and_a_client_that_goes_is_noticed() {
    let world = world_with(&[("GATEWAY__MAX_STREAMS_PER_RESIDENT", "1")]).await;
    let settings = [("HTTP__LISTEN", "127.0.0.1:0")];
    let (http, (router, document)) = (config("https://issuer.example", &settings).http.clone(), world.app.router());
    let (bound, address) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn({
        let closing: CancellationToken = world.closing.clone();
        async move { porchlight_chassis::http::serve(&http, router, document, |at| bound.send(at).unwrap(), closing).await }
    });
    let url = format!("http://{}/v1/feed/stream", address.await.unwrap());
    let open = async || {
        let answer = reqwest::Client::new().get(&url).bearer_auth(world.token("bob")).send().await.unwrap();
        (answer.status() == 200).then(|| {
            use futures::StreamExt as _;
            Events::read(answer.bytes_stream().map(Result::unwrap))
        })
    };
    let mut first = open().await.unwrap();
    first.until_live().await;
    assert!(open().await.is_none(), "one at a time");
    drop(first);
    // A bound, not a wait: a client that goes unnoticed fails this.
    let mut second = None;
    for _ in 0..500 {
        second = open().await;
        if second.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut second = second.expect("the place is free again");
    second.until_live().await;
    let item = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(second.items(1).await, [(id(&item), 1)]);
    world.closing.cancel();
    assert_eq!(second.next().await, Some(Event::Closed("going_away".to_owned())));
    assert_eq!(second.next().await, None);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap(), Ok(()));
}
