//! The live stream of those who come again: after a kill, a time away, a reading that was too slow, or a log that broke.

use std::{collections::HashSet, time::Duration};

use futures::FutureExt as _;
use porchlight_domain::{Clock as _, Item, Point, place::Degrees};
use serde_json::json;

use super::stream::{id, live, refused, world};
use crate::support::{
    NOW, PARK_STREET, World, alert,
    events::{Event, Events, named},
    item,
};

#[tokio::test]
async fn a_slow_reader_is_closed_with_its_reason_and_resumes_without_a_gap() {
    let world = world().await;
    let first = world.happen("alice", PARK_STREET, NOW, false).await;
    let mut slow = world.stream("alice", None).await;
    let missed = slow.until_live().await;
    let [Event::Retry(_), Event::Item { cursor, .. }] = &missed[..] else { panic!("{missed:?}") };
    let mut fast = world.stream("alice", None).await;
    fast.until_live().await;
    let mut told = Vec::new();
    for _ in 0..200 {
        told.push((id(&world.happen("alice", PARK_STREET, NOW, false).await), 2));
        assert_eq!(fast.items(1).await, told[told.len() - 1..]);
    }
    assert_eq!(slow.next().await, Some(Event::Closed("slow_reader".to_owned())), "what waited for it is dropped");
    assert_eq!(slow.next().await, None);
    let mut again = world.stream("alice", Some(cursor)).await;
    let resumed: Vec<_> = items(again.until_live().await);
    assert_eq!(resumed, [vec![(id(&first), 2)], told].concat());
}

fn items(events: Vec<Event>) -> Vec<(String, u64)> {
    let views = events.into_iter().filter_map(|event| match event {
        Event::Item { view, .. } => Some(named(&view)),
        Event::Retry(_) => None,
        other => panic!("{other:?}"),
    });
    views.collect()
}

/// What a client knows, and how it reads.
#[derive(Default)]
struct Phone {
    shown: HashSet<(String, u64)>,
    cursor: Option<String>,
    /// On this connection alone.
    sent: HashSet<(String, u64)>,
}

impl Phone {
    /// Takes an event; whether the stream goes on.
    fn take(&mut self, event: Option<Event>) -> bool {
        match event {
            Some(Event::Item { cursor, view }) => {
                assert!(self.sent.insert(named(&view)), "sent twice on one connection: {view}");
                self.shown.insert(named(&view));
                self.cursor = Some(cursor);
                true
            }
            Some(Event::Closed(_)) | None => false,
            Some(Event::Retry(_) | Event::Comment(_)) => true,
            Some(Event::Resync) => panic!("it was never away for so long"),
        }
    }
}

/// Killed at random moments, often within what was missed; some of the log is met late.
#[tokio::test]
async fn who_is_killed_and_resumes_at_random_misses_nothing() {
    for seed in 1..=3_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let world = world().await;
        let (mut phone, mut open, mut kills) = (Phone::default(), None::<Events>, 0);
        let mut happened: Vec<Item> = Vec::new();
        while kills < 100 {
            for _ in 0..random(4) {
                world.clock.advance_ms(i64::try_from(random(8_000)).unwrap());
                // The partitions of the log are not met in step.
                let log_at = world.clock.now().plus_ms(-i64::try_from(random(50_000)).unwrap());
                let who = if random(2) == 0 { "alice" } else { "bob" };
                if happened.is_empty() || random(3) == 0 {
                    happened.push(world.happen(who, PARK_STREET, NOW, true).await);
                } else {
                    let pick = usize::try_from(random(u64::try_from(happened.len()).unwrap())).unwrap();
                    world.revise(&mut happened[pick], log_at).await;
                }
            }
            let events = match &mut open {
                Some(events) => events,
                None => {
                    phone.sent.clear();
                    open.insert(world.stream("bob", phone.cursor.as_deref()).await)
                }
            };
            let mut alive = true;
            for _ in 0..random(12) {
                tokio::task::yield_now().await;
                if let Some(event) = events.next().now_or_never() {
                    alive = phone.take(event);
                }
                if !alive {
                    break;
                }
            }
            if !alive || random(3) == 0 {
                (open, kills) = (None, kills + 1);
            }
        }
        phone.sent.clear();
        let mut last = world.stream("bob", phone.cursor.as_deref()).await;
        for event in last.until_live().await {
            assert!(phone.take(Some(event)));
        }
        for item in &happened {
            let own = item.household == world.household("bob");
            let revision = if own { item.revision } else { item.shared.unwrap().revision };
            assert!(phone.shown.contains(&(id(item), u64::from(revision))), "seed {seed}: {item:?} is missed");
        }
    }
}

/// On a gateway that has just started, of partitions that were not read in step.
#[tokio::test]
async fn who_resumes_elsewhere_gets_a_minute_from_before_the_cursor_in_the_order_of_time() {
    let world = World::new().await;
    let mut told = Vec::new();
    for seconds in [0, 100, 50, 20 * 60] {
        let point = Point::from_degrees(Degrees { lon: PARK_STREET.0, lat: PARK_STREET.1 }).unwrap();
        let item = item(world.household("alice"), point, Vec::new(), NOW, false);
        world.memory.state().items.insert(item.id, item.clone());
        world.alerts.precede(alert(&item), NOW.plus_ms(-seconds * 1_000));
        told.push((id(&item), 2));
    }
    let mut events = world.stream("alice", None).await;
    let missed = events.until_live().await;
    let Some(Event::Item { cursor, .. }) = missed.last().cloned() else { panic!("{missed:?}") };
    let last_minute = [told[2].clone(), told[0].clone()];
    assert_eq!(items(missed), last_minute, "who comes for the first time begins a minute ago");
    let again = world.stream("alice", Some(&cursor)).await.until_live().await;
    assert_eq!(items(again), last_minute, "what was appended earlier may have been met later there");
}

#[tokio::test]
async fn who_was_away_too_long_is_told_to_read_the_feed_and_the_stream_goes_on() {
    let world = world().await;
    world.happen("alice", PARK_STREET, NOW, true).await;
    let mut bob = world.stream("bob", None).await;
    let (cursor, _) = bob.item().await;
    drop(bob);
    tokio::time::pause();
    world.clock.advance_ms(14 * 60_000 + 1_000);
    // What is kept no longer is forgotten once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let recent = world.happen("alice", PARK_STREET, NOW, true).await;
    let mut bob = world.stream("bob", Some(&cursor)).await;
    let missed = bob.until_live().await;
    assert_eq!(missed[..2], [Event::Retry("1000".to_owned()), Event::Resync]);
    let next = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&next), 1)]);
    assert!(missed.iter().any(|e| matches!(e, Event::Item { view, .. } if view["id"] == json!(recent.id))));
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_is_refused_and_one_ahead_of_time_skips_nothing() {
    let world = world().await;
    for bad in ["x", "1780000000000", "AAAA"] {
        let answer = refused(&world, "bob", &[("last-event-id", bad)]).await;
        assert_eq!(answer.refusal(), (400, "cursor_invalid".to_owned(), None), "{bad}");
    }
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    world.revise(&mut item, NOW.plus_ms(3_600_000)).await;
    let mut bob = world.stream("bob", None).await;
    let (cursor, _) = bob.item().await;
    let next = world.happen("alice", PARK_STREET, NOW, true).await;
    let mut again = world.stream("bob", Some(&cursor)).await;
    assert_eq!(items(again.until_live().await), [(id(&item), 2), (id(&next), 1)]);
    assert_eq!(refused(&world, "bob", &[("last-event-id", "")]).await.status, 200, "an empty one is none");
}

#[tokio::test]
async fn a_log_that_breaks_is_opened_anew_and_nothing_is_sent_twice_or_lost() {
    let world = world().await;
    let mut bob = live(&world, "bob").await;
    let before = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&before), 1)]);
    tokio::time::pause();
    world.alerts.break_off();
    let after = world.happen("alice", PARK_STREET, NOW, true).await;
    assert_eq!(bob.items(1).await, [(id(&after), 1)]);
}
