//! G6: records that are handled once more, by the handler of replays, over rows that are there, that were erased, and that
//! were lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    future::ready,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures::executor::block_on;
use porchlight_bus::{Handler, Outcome, Record};
use porchlight_domain::{DeviceId, EventId, Item, ItemId, Label, ManualClock, MediaKind, Timestamp, item::GroupKey};
use porchlight_geo_index::{Indexer, Locate};
use porchlight_store::{FeedEntry, FeedOwner, FeedPosition, SeenEvent, StoreError, Timeline};
use support::{Log, NOON, World, malden, media, media_record, record, seen};

/// A store in which rows were erased: tombstones that are newer than any receipt.
#[derive(Default)]
struct Erased {
    world: Arc<World>,
    events: Mutex<BTreeSet<EventId>>,
    items: Mutex<BTreeSet<ItemId>>,
    groups: Mutex<Vec<GroupKey>>,
}

impl Erased {
    /// Of everything that is there now.
    fn everything_of(world: &Arc<World>) -> Self {
        let rows = world.rows();
        Self {
            world: world.clone(),
            events: Mutex::new(rows.seen.values().map(|seen| seen.event).collect()),
            items: Mutex::new(rows.items().iter().map(|item| item.id).collect()),
            groups: Mutex::new(rows.items().iter().map(|item| item.group).collect()),
        }
    }

    fn has(&self, item: &Item) -> bool {
        self.items.lock().unwrap().contains(&item.id)
    }
}

#[async_trait]
impl Timeline for Erased {
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError> {
        if self.events.lock().unwrap().contains(&event) {
            return Ok(None);
        }
        self.world.first_seen(device, event).await
    }

    async fn record_seen(&self, seen: &SeenEvent) -> Result<(), StoreError> {
        if self.events.lock().unwrap().contains(&seen.event) {
            return Ok(());
        }
        self.world.record_seen(seen).await
    }

    async fn seen_on(&self, device: DeviceId, day: i32) -> Result<Vec<SeenEvent>, StoreError> {
        self.world.seen_on(device, day).await
    }

    async fn last_item(&self, group: GroupKey) -> Result<Option<ItemId>, StoreError> {
        if self.groups.lock().unwrap().contains(&group) {
            return Ok(None);
        }
        self.world.last_item(group).await
    }

    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        Ok(self.world.item(id).await?.filter(|item| !self.has(item)))
    }

    async fn put_item(&self, item: &Item) -> Result<(), StoreError> {
        if self.has(item) { Ok(()) } else { self.world.put_item(item).await }
    }

    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError> {
        if self.has(item) { Ok(()) } else { self.world.add_to_feed(owner, item).await }
    }

    async fn feed(
        &self,
        owner: FeedOwner,
        before: Option<FeedPosition>,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        self.world.feed(owner, before, not_before, limit).await
    }
}

fn polygons() -> Locate {
    Box::new(|_| Box::pin(ready(Ok(vec![malden()]))))
}

fn at(ms: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp(NOON + ms)))
}

fn handle_all(handler: &impl Handler, records: &[Arc<Record>]) {
    for record in records {
        assert_eq!(block_on(handler.handle(record.clone())), Outcome::Done);
    }
}

/// Three events of one item, one of them repeated, a thumbnail that came before its event and a clip that came after.
fn evening() -> Vec<Arc<Record>> {
    let first = seen(1, 1, 0, Label::Person, true);
    let second = seen(1, 2, 20_000, Label::Animal, true);
    let third = seen(1, 3, 40_000, Label::Person, true);
    vec![
        record(0, &first),
        media_record(1, &media(&second, MediaKind::Thumbnail, 1, -1)),
        record(2, &second),
        record(3, &first),
        record(4, &third),
        media_record(5, &media(&third, MediaKind::Clip, 2, 9_000)),
    ]
}

fn lived(records: &[Arc<Record>]) -> Arc<World> {
    let world = Arc::new(World::default());
    let indexer = Indexer::new(world.clone(), world.clone(), Log(world.clone()), polygons(), at(40_000));
    handle_all(&indexer, records);
    world
}

#[test]
fn g6_a_replay_changes_nothing_and_tells_nobody() {
    let records = evening();
    let world = lived(&records);
    let (rows, alerts) = (world.rows(), world.alerts());
    assert!(rows.seen.len() == 4 && rows.items().len() == 1, "{rows:?}");
    for _ in 0..2 {
        let replays = Indexer::of_replays(world.clone(), world.clone(), polygons(), at(3_600_000));
        handle_all(&replays, &records);
        assert_eq!(world.rows(), rows);
    }
    assert_eq!(world.alerts(), alerts);
}

/// Only the outcome is another: what was news is none any more.
#[test]
fn rows_that_were_lost_come_back_as_they_were() {
    let records = evening();
    let before = lived(&records).rows();
    let world = Arc::new(World::default());
    let replays = Indexer::of_replays(world.clone(), world.clone(), polygons(), at(3_600_000));
    handle_all(&replays, &records);
    let mut after = world.rows();
    let mut expired = 0;
    for (key, seen) in &mut after.seen {
        let was = before.seen[key].outcome;
        if was != seen.outcome {
            assert!(was.tells() && seen.outcome == porchlight_domain::Outcome::Expired, "{was:?} {seen:?}");
            expired += 1;
            seen.outcome = was;
        }
    }
    assert_eq!(after, before);
    assert_eq!(expired, 3, "each event, and no repeat");
    assert_eq!(world.alerts(), []);
}

/// A tombstone covers the rows that it names. The second event of an erased item must not open an item that never was.
#[test]
fn g6_what_was_erased_is_not_brought_back_under_another_id() {
    let records = evening();
    let world = lived(&records);
    let erased = Arc::new(Erased::everything_of(&world));
    let rows = world.rows();
    let replays = Indexer::of_replays(erased, world.clone(), polygons(), at(60_000));
    handle_all(&replays, &records);
    assert_eq!(world.rows(), rows, "nothing was written beside what is erased");
}

/// Its item has it already: it must not join once more, and again with each replay.
#[test]
fn g6_an_event_that_was_erased_alone_does_not_move_its_item() {
    let records = evening();
    let world = lived(&records);
    let rows = world.rows();
    let second = rows.seen.values().find(|seen| seen.offset == 2).unwrap().event;
    let erased = Arc::new(Erased { world: world.clone(), ..Erased::default() });
    erased.events.lock().unwrap().insert(second);
    let replays = Indexer::of_replays(erased, world.clone(), polygons(), at(60_000));
    handle_all(&replays, &records);
    assert_eq!(world.rows(), rows);
}
