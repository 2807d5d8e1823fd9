//! What the contract cannot see: write times and ends as they are on disk, what a sweep leaves there, and rows that mean
//! nothing.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, sync::Arc};

use porchlight_domain::{
    AlertId, Clock as _, ContentHash, ContentType, DeviceId, Digest, EndpointId, EventId, HouseholdId, Item, ItemId,
    Kind, Labels, ManualClock, Media, MediaId, MediaKind, Outcome, Point, PushId, ResidentId, SystemClock, Timestamp,
    item::GroupKey,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    core::Core,
    folder::{self, Missing},
    key::{Key, Span, Table},
    registry::by_id,
    row::{NEVER, Row},
};
use crate::{Delivery, DeliveryOutcome, FeedOwner, GONE_KEPT_MS, LEDGER_MS, Read, SeenEvent, Store, StoreError};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A store with a clock of the test's own.
struct Own {
    core: Arc<Core>,
    store: Store,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Own {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let (core, made) = folder::open(folder.path(), Missing::Make, Arc::clone(&clock) as _).unwrap();
        assert!(made);
        Self { store: super::store(Arc::clone(&core)), core, clock, folder }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every row of a table, stones too.
    fn standing(&self, table: Table) -> Vec<Row> {
        self.core.disk().everything(&Span::of(table, Key::of(table)))
    }

    async fn set(&self, key: Key, row: Row) {
        let set = |change: &mut super::writer::Change<'_>| {
            change.set(key, row);
            Ok(())
        };
        self.core.write(Table::Items, set).await.unwrap();
    }

    fn item(&self, expires_at: Timestamp) -> Item {
        let opened_at = self.now().plus_ms(-HOUR_MS);
        Item {
            id: ItemId(Uuid::new_v4()),
            group: GroupKey { device: DeviceId(Uuid::new_v4()), kind: Kind::Motion, familiar: false },
            household: HouseholdId(Uuid::new_v4()),
            labels: Labels::NONE,
            shared_labels: Labels::NONE,
            point: Point { lon_e7: 1, lat_e7: 2 },
            neighborhoods: Vec::new(),
            revision: 7,
            shared: None,
            opened_at,
            updated_at: opened_at.plus_ms(5),
            occurred_at: opened_at,
            last_occurred_at: opened_at,
            last_event: EventId(Uuid::now_v7()),
            media: Vec::new(),
            expires_at,
        }
    }

    fn seen(&self, item: &Item) -> SeenEvent {
        SeenEvent {
            device: item.group.device,
            event: item.last_event,
            partition: 0,
            offset: 5,
            digest: Digest([1; 32]),
            outcome: Outcome::HouseholdOnly,
            item: Some((item.id, 7)),
            shares_media: false,
            received_at: item.updated_at,
            expires_at: item.expires_at,
        }
    }

    fn media(&self, received_at: Timestamp) -> Media {
        Media {
            id: MediaId(Uuid::new_v4()),
            device: DeviceId(Uuid::new_v4()),
            event: EventId(Uuid::now_v7()),
            household: HouseholdId(Uuid::new_v4()),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 5,
            sha256: ContentHash([200; 32]),
            retention_days: 30,
            received_at,
        }
    }

    fn delivery(&self) -> Delivery {
        Delivery {
            push: PushId(Uuid::new_v4()),
            alert: AlertId(Uuid::new_v4()),
            revision: 1,
            resident: ResidentId(Uuid::new_v4()),
            endpoint: EndpointId(Uuid::new_v4()),
            outcome: DeliveryOutcome::HandedOver,
            as_neighbor: false,
            alert_created_at: self.now().plus_ms(-2 * DAY_MS),
            at: self.now(),
        }
    }

    /// Everything that ends, with an end of a day from now, but the deliveries (five days) and the media (37 days).
    async fn fill(&self) -> (Item, Media, Delivery) {
        let (item, media, delivery) = (self.item(self.now().plus_ms(DAY_MS)), self.media(self.now()), self.delivery());
        self.store.timeline.put_item(&item).await.unwrap();
        self.store.timeline.record_seen(&self.seen(&item)).await.unwrap();
        self.store.timeline.add_to_feed(FeedOwner::Household(item.household), &item).await.unwrap();
        self.store.media.put(&media).await.unwrap();
        self.store.deliveries.record(&delivery).await.unwrap();
        (item, media, delivery)
    }

    fn sweep(&self) {
        self.core.disk().sweep().unwrap();
    }
}

/// The write time is that of receipt and the end that of the item, however often and however late it is written again.
#[tokio::test]
async fn g6_a_replay_lengthens_nothing() {
    let own = Own::new();
    let item = own.item(own.now().plus_ms(DAY_MS));
    let (at, received) = (item.updated_at.0 * 1000 + 7, item.updated_at.0 * 1000);
    for _ in 0..3 {
        own.store.timeline.put_item(&item).await.unwrap();
        own.store.timeline.record_seen(&own.seen(&item)).await.unwrap();
        own.store.timeline.add_to_feed(FeedOwner::Household(item.household), &item).await.unwrap();
        let tables = [
            (Table::Items, at),
            (Table::LastItems, at),
            (Table::EventSeen, received),
            (Table::Feeds, item.opened_at.0 * 1000),
        ];
        for (table, stamp) in tables {
            let rows = own.standing(table);
            assert_eq!(rows.len(), 1, "{table:?}");
            assert_eq!((rows[0].stamp, rows[0].ends), (stamp, item.expires_at), "{table:?}");
        }
        own.clock.advance_ms(HOUR_MS);
    }
}

#[tokio::test]
async fn pushes_end_a_week_after_their_event() {
    let own = Own::new();
    let delivery = own.delivery();
    own.store.deliveries.record(&delivery).await.unwrap();
    for table in [Table::PushLedger, Table::PushesByAlert] {
        assert_eq!(own.standing(table)[0].ends, delivery.alert_created_at.plus_ms(LEDGER_MS), "{table:?}");
    }
    own.clock.advance_ms(5 * DAY_MS - 1);
    assert_eq!(own.store.deliveries.of_alert(delivery.alert).await.unwrap(), std::slice::from_ref(&delivery));
    own.clock.advance_ms(1);
    assert_eq!(own.store.deliveries.of_alert(delivery.alert).await.unwrap(), []);
    let outcome = own.store.deliveries.outcome(delivery.push, delivery.resident, delivery.alert_created_at);
    assert_eq!(outcome.await.unwrap(), None);
}

/// In both tables, however often and however late a media is written again, and after it was shortened.
#[tokio::test]
async fn media_end_a_week_after_they_are_gone() {
    let own = Own::new();
    let media = own.media(own.now().plus_ms(-2 * DAY_MS));
    let check = |ends: Timestamp, stamp: i64| {
        for table in [Table::Media, Table::MediaByEvent] {
            let rows = own.standing(table);
            assert_eq!(rows.len(), 1, "{table:?}");
            assert_eq!((rows[0].stamp, rows[0].ends), (stamp, ends.plus_ms(GONE_KEPT_MS)), "{table:?}");
        }
    };
    for _ in 0..2 {
        own.store.media.put(&media).await.unwrap();
        check(media.expires_at(), media.received_at.0 * 1000);
    }
    for ends in [own.now().plus_ms(DAY_MS), own.now().plus_ms(-DAY_MS)] {
        own.clock.advance_ms(10);
        let at = own.now().0 * 1000;
        own.store.media.shorten(&media, ends).await.unwrap();
        check(ends, at);
        own.store.media.put(&media).await.unwrap();
        check(ends, at);
    }
}

/// Its clock stands still: all of it falls into one millisecond.
#[tokio::test]
async fn g6_a_shorter_end_stands_also_within_one_millisecond() {
    let own = Own::new();
    let media = own.media(own.now());
    let ends = async || own.store.media.get(media.id).await.unwrap().map(|row| row.ends);
    own.store.media.put(&media).await.unwrap();
    for hours in [3, 2, 1, -1] {
        let sooner = own.now().plus_ms(hours * HOUR_MS);
        own.store.media.shorten(&media, sooner).await.unwrap();
        own.store.media.put(&media).await.unwrap();
        assert_eq!(ends().await, Some(sooner));
    }
    // It ended, and is uploaded again.
    let again = Media { received_at: media.received_at.plus_ms(1), ..media.clone() };
    for media in [&again, &media] {
        own.store.media.put(media).await.unwrap();
        assert_eq!(ends().await, Some(again.expires_at()));
    }
    let gone = own.now().plus_ms(-GONE_KEPT_MS);
    own.store.media.shorten(&again, gone).await.unwrap();
    own.store.media.put(&again).await.unwrap();
    assert_eq!(ends().await, None);
}

/// Whether the tables, of which there are some, hold these bytes.
fn tables_hold(folder: &Path, needle: &[u8]) -> bool {
    let mut folders = vec![folder.join("db/keyspaces")];
    let (mut files, mut holds) = (0, false);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().unwrap().ends_with("tables") {
                files += 1;
                holds |= fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle);
            }
        }
    }
    assert!(files > 0);
    holds
}

#[tokio::test]
async fn g6_what_ended_is_gone_from_disk_after_a_sweep() {
    let own = Own::new();
    let (item, media, delivery) = own.fill().await;
    // Only the body names it: a stone keeps its key and no more.
    let named = item.household.0.into_bytes();
    let forever = Key::of(Table::Operators).uuid(Uuid::new_v4());
    own.set(forever.clone(), Row::plain(b"stays".to_vec())).await;
    own.sweep();
    assert!(tables_hold(own.folder.path(), &named), "nothing has ended");
    assert_eq!(own.store.timeline.item(item.id).await.unwrap().as_ref(), Some(&item));

    own.clock.advance_ms(DAY_MS);
    own.sweep();
    assert_eq!(own.standing(Table::EventSeen), []);
    for table in [Table::Items, Table::LastItems, Table::Feeds] {
        let rows = own.standing(table);
        assert_eq!(rows.len(), 1, "{table:?}");
        assert_eq!((&rows[0].body, rows[0].ends), (&None, item.expires_at.plus_ms(10 * DAY_MS)), "{table:?}");
    }
    assert_eq!(own.store.deliveries.of_alert(delivery.alert).await.unwrap(), [delivery]);
    assert!(own.store.media.get(media.id).await.unwrap().is_some());

    own.clock.advance_ms(4 * DAY_MS);
    own.sweep();
    assert_eq!((own.standing(Table::PushLedger), own.standing(Table::PushesByAlert)), (vec![], vec![]));

    // Past all ends and all that is remembered of them.
    own.clock.advance_ms(60 * DAY_MS);
    own.sweep();
    for &table in Table::ALL {
        let expected = usize::from([Table::Operators, Table::Notes].contains(&table));
        assert_eq!(own.standing(table).len(), expected, "{table:?}");
    }
    assert!(!tables_hold(own.folder.path(), &named));
    assert!(tables_hold(own.folder.path(), b"stays"));
    assert_eq!(own.core.disk().standing(&forever).unwrap(), Some(Row::plain(b"stays".to_vec())));
}

/// The log may bring a row again when it has ended, and the sweep was there.
#[tokio::test]
async fn g6_a_replay_revives_nothing_that_a_sweep_removed() {
    let own = Own::new();
    let media = own.media(own.now());
    own.store.media.put(&media).await.unwrap();
    // Its rows end in an hour, and would have ended in 37 days.
    own.store.media.shorten(&media, own.now().plus_ms(HOUR_MS - GONE_KEPT_MS)).await.unwrap();
    let item = own.item(own.now().plus_ms(HOUR_MS));
    own.store.timeline.put_item(&item).await.unwrap();
    own.clock.advance_ms(HOUR_MS);
    own.sweep();
    let older = Item { expires_at: own.now().plus_ms(DAY_MS), revision: 6, ..item.clone() };
    for _ in 0..2 {
        own.store.media.put(&media).await.unwrap();
        own.store.timeline.put_item(&older).await.unwrap();
        assert_eq!(own.store.media.get(media.id).await.unwrap(), None);
        assert_eq!(own.store.media.of_event(media.device, media.event).await.unwrap(), []);
        assert_eq!(own.store.timeline.item(item.id).await.unwrap(), None);
        assert_eq!(own.store.timeline.last_item(item.group).await.unwrap(), None);
        own.sweep();
    }
}

/// The sweeper sleeps until something has ended, and knows it after an opening, too.
#[tokio::test]
async fn a_sweep_knows_when_the_next_one_has_something_to_do() {
    let own = Own::new();
    let due = || own.core.disk().turns.next();
    assert!(due() < own.now(), "nobody knows what is in a folder that was just opened");
    own.sweep();
    assert_eq!(due(), NEVER);
    let (item, _, delivery) = own.fill().await;
    assert_eq!(due(), item.expires_at);
    own.sweep();
    assert_eq!(due(), item.expires_at, "of what it keeps");
    own.clock.advance_ms(DAY_MS);
    own.sweep();
    assert_eq!(due(), delivery.alert_created_at.plus_ms(LEDGER_MS));
}

#[tokio::test]
async fn a_row_that_means_nothing_is_corrupt() {
    let own = Own::new();
    let (item, media, _) = own.fill().await;
    let is_corrupt = |error: StoreError, expected: &str| match error {
        StoreError::Corrupt { table, .. } => assert_eq!(table, expected),
        other => panic!("{other}"),
    };
    let nonsense = || Row::plain(vec![0xff; 5]);
    own.set(by_id(Table::Items, item.id.0), nonsense()).await;
    is_corrupt(own.store.timeline.item(item.id).await.unwrap_err(), "items");
    own.set(by_id(Table::Media, media.id.0), nonsense()).await;
    is_corrupt(own.store.media.get(media.id).await.unwrap_err(), "media");
    is_corrupt(own.store.media.put(&media).await.unwrap_err(), "media");
    let device = DeviceId(Uuid::new_v4());
    own.set(by_id(Table::Devices, device.0), Row::of_version(1, vec![0xff])).await;
    is_corrupt(own.store.registry.device(device, Read::Quorum).await.unwrap_err(), "devices");
    let resident = ResidentId(Uuid::new_v4());
    for body in [vec![1; 15], vec![0xff; 17]] {
        own.set(by_id(Table::Residents, resident.0), Row::of_version(1, body)).await;
        is_corrupt(own.store.registry.resident(resident).await.unwrap_err(), "residents");
    }
    let household = HouseholdId(Uuid::new_v4());
    own.set(by_id(Table::Households, household.0).byte(9).uuid(resident.0), Row::plain(Vec::new())).await;
    is_corrupt(own.store.registry.household(household).await.unwrap_err(), "households");
    own.set(by_id(Table::Households, household.0).byte(0), Row::plain(Vec::new())).await;
    is_corrupt(own.store.registry.household(household).await.unwrap_err(), "households");
}
