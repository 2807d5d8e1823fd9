//! What the handler of `events` does with one record, and with a store that is away or broken.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use futures::executor::block_on;
use porchlight_bus::{Handler as _, Outcome, Record};
use porchlight_domain::{Label, ManualClock, Timestamp};
use porchlight_geo_index::Indexer;
use porchlight_store::StoreError;
use support::{Log, NOON, World, malden, record, seen};

fn indexer(world: &Arc<World>, now: i64) -> Indexer<Log> {
    let clock = Arc::new(ManualClock::at(Timestamp(now)));
    Indexer::new(world.clone(), Log(world.clone()), Box::new(|_| Ok(vec![malden()])), clock)
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
        })
    };
    for bad in [copy(vec![0xff; 9], good.key.clone()), copy(good.value.clone(), None)] {
        assert!(matches!(block_on(indexer(&world, NOON).handle(bad)), Outcome::Fatal { .. }));
    }
    assert_eq!(world.rows().seen.len(), 0);
}

#[test]
fn nothing_is_written_before_the_polygons_are_known() {
    let world = Arc::new(World::default());
    let clock = Arc::new(ManualClock::at(Timestamp(NOON)));
    let blind = Indexer::new(world.clone(), Log(world.clone()), Box::new(|_| Err("loading".into())), clock);
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
    assert_eq!(world.alerts(), []);
}
