//! What the handler of `events` does with one record, and with a store that is away or broken.
#![allow(clippy::unwrap_used)]

mod support;

use std::{future::ready, sync::Arc};

use futures::executor::block_on;
use porchlight_bus::{Handler as _, Lease, Outcome, Record};
use porchlight_domain::{
    HouseholdId, Label, Logged, ManualClock, Media, MediaId, MediaKind, Stamped, Timestamp, media::MAX_ITEM_MEDIA,
};
use porchlight_geo_index::Indexer;
use porchlight_store::StoreError;
use porchlight_wire::Wire as _;
use support::{Log, NOON, World, logged, malden, media, media_record, record, seen};
use uuid::Uuid;

fn indexer(world: &Arc<World>, now: i64) -> Indexer<Log> {
    let clock = Arc::new(ManualClock::at(Timestamp(now)));
    Indexer::new(
        world.clone(),
        world.clone(),
        Log(world.clone()),
        Box::new(|_| Box::pin(ready(Ok(vec![malden()])))),
        clock,
    )
}

#[test]
fn an_event_becomes_rows_and_one_alert() {
    let world = Arc::new(World::default());
    let stamped = seen(1, 1, 0, Label::Person, true);
    assert_eq!(block_on(indexer(&world, NOON).handle(record(7, &stamped))), Outcome::Done);
    let rows = world.rows();
    assert_eq!(rows.seen.len(), 1);
    assert_eq!(rows.feeds.len(), 2, "the household's and Malden's");
    let alerts = world.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].neighborhoods, [malden()]);
}

#[test]
fn what_is_no_event_goes_to_the_dead_letters() {
    let world = Arc::new(World::default());
    let good = record(0, &seen(1, 1, 0, Label::Person, true));
    let copy = |value: Vec<u8>, key: Option<Vec<u8>>| {
        Arc::new(Record {
            topic: good.topic,
            partition: 0,
            offset: 0,
            key,
            value,
            headers: Vec::new(),
            timestamp_ms: 0,
            lease: Lease::default(),
        })
    };
    let clip = media(&seen(1, 1, 0, Label::Person, true), MediaKind::Clip, 1, 0);
    let misnamed = Media { id: MediaId(Uuid::from_u128(9)), ..clip.clone() };
    let of_another_kind = Media { kind: MediaKind::Thumbnail, ..clip.clone() };
    for bad in [
        copy(vec![0xff; 9], good.key.clone()),
        copy(good.value.clone(), None),
        copy(Logged::Media(clip).encode(), None),
        media_record(0, &misnamed),
        media_record(0, &of_another_kind),
    ] {
        assert!(matches!(block_on(indexer(&world, NOON).handle(bad)), Outcome::Fatal { .. }));
    }
    assert_eq!(world.rows(), World::default().rows());
}

#[test]
fn nothing_is_written_before_the_polygons_are_known() {
    let world = Arc::new(World::default());
    let clock = Arc::new(ManualClock::at(Timestamp(NOON)));
    let blind = Indexer::new(
        world.clone(),
        world.clone(),
        Log(world.clone()),
        Box::new(|_| Box::pin(ready(Err("loading".into())))),
        clock,
    );
    let outcome = block_on(blind.handle(record(0, &seen(1, 1, 0, Label::Person, true))));
    assert!(matches!(outcome, Outcome::Retry { .. }));
    assert_eq!(world.rows(), World::default().rows());
}

#[test]
fn g2_no_failure_of_the_store_skips_a_record() {
    let world = Arc::new(World::default());
    let indexer = indexer(&world, NOON);
    let stamped = seen(1, 1, 0, Label::Person, true);
    for failure in [
        StoreError::Unavailable("away".into()),
        StoreError::Unknown("no answer".into()),
        StoreError::Corrupt { table: "items", reason: "labels".into() },
        StoreError::Refused("no such table".into()),
    ] {
        world.fail(Some(failure));
        assert!(matches!(block_on(indexer.handle(record(0, &stamped))), Outcome::Retry { .. }));
    }
    world.fail(None);
    assert_eq!(block_on(indexer.handle(record(0, &stamped))), Outcome::Done);
    assert_eq!(world.alerts().len(), 1);
}

#[test]
fn g8_a_replay_of_old_records_tells_nobody() {
    let world = Arc::new(World::default());
    let indexer = indexer(&world, NOON + 3_600_000);
    for n in 0..3 {
        let stamped = seen(1, n, i64::from(n) * 1_000, Label::Person, true);
        assert_eq!(block_on(indexer.handle(record(i64::from(n), &stamped))), Outcome::Done);
    }
    assert_eq!(world.rows().seen.len(), 3);
    assert_eq!(world.alerts().len(), 3, "open streams show them");
    assert!(world.alerts().iter().all(|alert| alert.stream_only));
}

/// A person at noon, shared with its media.
fn person() -> Stamped {
    let mut stamped = seen(1, 1, 0, Label::Person, true);
    stamped.policy = stamped.policy.with_media();
    stamped
}

fn handled(now: i64, log: &[Logged]) -> Arc<World> {
    let world = Arc::new(World::default());
    let indexer = indexer(&world, now);
    for (record, offset) in log.iter().zip(0..) {
        assert_eq!(block_on(indexer.handle(logged(offset, record))), Outcome::Done);
    }
    world
}

#[test]
fn event_thumbnail_and_clip_in_any_order_are_one_item_with_both() {
    let stamped = person();
    let event = Logged::Event(stamped.clone());
    let thumbnail = Logged::Media(media(&stamped, MediaKind::Thumbnail, 1, 5));
    let clip = Logged::Media(media(&stamped, MediaKind::Clip, 2, 9));
    for (order, event_at) in [
        ([&event, &thumbnail, &clip], 0),
        ([&event, &clip, &thumbnail], 0),
        ([&thumbnail, &event, &clip], 1),
        ([&clip, &event, &thumbnail], 1),
        ([&thumbnail, &clip, &event], 2),
        ([&clip, &thumbnail, &event], 2),
    ] {
        let world = handled(NOON, &order.map(Clone::clone));
        let (rows, alerts) = (world.rows(), world.alerts());
        let [item] = rows.items()[..] else { panic!("one item") };
        let mut kinds: Vec<MediaKind> = item.media.iter().map(|m| m.kind).collect();
        kinds.sort();
        assert_eq!(kinds, MediaKind::ALL);
        assert!(item.media.iter().all(|m| m.shared));
        assert_eq!(rows.media.len(), 2);
        assert_eq!(rows.feeds.len(), 2);
        // Those that came first are no revision; each later one is one, told under the same alert: quietly.
        let late = u32::try_from(2 - event_at).unwrap();
        assert_eq!(item.revision, 1 + late);
        assert_eq!(item.shared.map(|s| s.revision), Some(1 + late));
        let revisions: Vec<u32> = alerts.iter().map(|a| a.revision).collect();
        assert_eq!(revisions, (1..=1 + late).collect::<Vec<_>>());
        assert!(alerts.iter().all(|a| a.id == alerts[0].id && a.neighborhoods == [malden()] && !a.stream_only));
    }
}

#[test]
fn g8_media_of_a_backlog_are_for_streams_only() {
    let mut stamped = person();
    stamped.event.occurred_at = stamped.event.occurred_at.plus_ms(-3_600_000);
    let clip = media(&stamped, MediaKind::Clip, 1, 9);
    let world = handled(NOON, &[Logged::Event(stamped), Logged::Media(clip)]);
    let told: Vec<(u32, bool)> = world.alerts().iter().map(|a| (a.revision, a.stream_only)).collect();
    assert_eq!(told, [(1, true), (2, true)]);
}

#[test]
fn g3_media_of_what_is_not_shared_are_the_households_alone() {
    let mut stamped = person();
    stamped.policy.media = false;
    let [first, later] = [1, 2].map(|n| Logged::Media(media(&stamped, MediaKind::Clip, n, i64::from(n))));
    let world = handled(NOON, &[first, Logged::Event(stamped), later]);
    assert!(world.rows().items()[0].media.iter().all(|m| !m.shared));
    let alerts = world.alerts();
    assert_eq!(alerts[0].neighborhoods, [malden()], "the event itself is shared");
    assert_eq!((alerts[1].revision, alerts[1].shared_revision, alerts[1].neighborhoods.len()), (2, 1, 0));
}

#[test]
fn g1_media_of_another_household_are_not_linked_before_or_after_their_event() {
    let stamped = person();
    let [first, later] = [1, 2].map(|n| {
        let household = HouseholdId(Uuid::from_u128(99));
        Logged::Media(Media { household, ..media(&stamped, MediaKind::Clip, n, i64::from(n)) })
    });
    let world = handled(NOON, &[first, Logged::Event(stamped), later]);
    let rows = world.rows();
    assert_eq!((rows.items()[0].media.len(), rows.items()[0].revision), (0, 1));
    assert_eq!((rows.media.len(), world.alerts().len()), (2, 1));
}

#[test]
fn an_item_that_names_as_many_media_as_it_may_is_not_moved_by_more() {
    let stamped = person();
    let mut log = vec![Logged::Event(stamped.clone())];
    let more = u8::try_from(MAX_ITEM_MEDIA).unwrap() + 3;
    log.extend((0..more).map(|n| Logged::Media(media(&stamped, MediaKind::Clip, n, i64::from(n)))));
    let world = handled(NOON, &log);
    let rows = world.rows();
    assert_eq!(rows.items()[0].media.len(), MAX_ITEM_MEDIA);
    assert_eq!(world.alerts().len(), 1 + MAX_ITEM_MEDIA);
    assert_eq!(rows.media.len(), usize::from(more), "the household can fetch them all");
}

#[test]
fn media_whose_event_never_comes_have_their_rows_and_nothing_more() {
    let world = handled(NOON, &[Logged::Media(media(&person(), MediaKind::Clip, 1, 0))]);
    assert_eq!((world.rows().media.len(), world.rows().items().len(), world.alerts().len()), (1, 0, 0));
}

#[test]
fn g6_a_late_clip_does_not_bring_back_an_item_whose_time_is_over() {
    let mut stamped = person();
    stamped.plan.retention_days = 1;
    let clip = media(&stamped, MediaKind::Clip, 1, 86_400_000);
    let world = handled(NOON, &[Logged::Event(stamped)]);
    let before = world.rows();
    assert_eq!(block_on(indexer(&world, NOON + 86_400_000).handle(media_record(1, &clip))), Outcome::Done);
    assert_eq!((world.rows().items(), world.alerts().len()), (before.items(), 1));
}
