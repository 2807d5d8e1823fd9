//! Events, items, feeds, and that nothing is for ever.

use std::collections::BTreeSet;

use porchlight_domain::{
    DeviceId, Digest, EventId, HouseholdId, Item, ItemId, Kind, Label, Labels, MediaId, MediaKind, NeighborhoodId,
    NeighborhoodRef, Outcome, Point, Timestamp, Version,
    item::{GroupKey, ItemMedia, Shared},
    media::MAX_ITEM_MEDIA,
};
use porchlight_store::{FeedEntry, FeedOwner, FeedPosition, SeenEvent, Store};
use uuid::Uuid;

use super::{DAY_MS, HOUR_MS, id, now};

fn event() -> EventId {
    EventId(Uuid::now_v7())
}

fn seen(device: DeviceId, event: EventId, offset: i64, outcome: Outcome) -> SeenEvent {
    let received_at = now().plus_ms(-1000 + offset);
    SeenEvent {
        device,
        event,
        partition: 3,
        offset,
        digest: Digest([9; 32]),
        outcome,
        item: (outcome == Outcome::Alerted).then(|| (ItemId(id()), 1)),
        shares_media: outcome == Outcome::Alerted,
        received_at,
        expires_at: received_at.plus_ms(DAY_MS),
    }
}

fn item(opened_at: Timestamp, shared_with: Option<NeighborhoodId>) -> Item {
    let shared = Shared { revision: 1, since: opened_at, updated_at: opened_at, occurred_at: opened_at.plus_ms(-5) };
    Item {
        id: ItemId(id()),
        group: GroupKey { device: DeviceId(id()), kind: Kind::Motion, familiar: false },
        household: HouseholdId(id()),
        labels: Labels::from_iter([Label::Person, Label::Package]),
        shared_labels: if shared_with.is_some() { Labels::from_iter([Label::Person]) } else { Labels::NONE },
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        neighborhoods: shared_with.iter().map(|&id| NeighborhoodRef { id, version: Version(4) }).collect(),
        revision: 1,
        shared: shared_with.map(|_| shared),
        opened_at,
        updated_at: opened_at,
        occurred_at: opened_at.plus_ms(-5),
        last_occurred_at: opened_at.plus_ms(-5),
        last_event: event(),
        media: Vec::new(),
        expires_at: now().plus_ms(DAY_MS),
    }
}

pub(super) async fn the_first_in_offset_order_is_the_event(store: Store) {
    let (device, event) = (DeviceId(id()), event());
    assert_eq!(store.timeline.first_seen(device, event).await.unwrap(), None);
    let first = seen(device, event, 10, Outcome::Alerted);
    let later = [seen(device, event, 12, Outcome::Duplicate), seen(device, event, 11, Outcome::Conflict)];
    // Whatever the order in which they are recorded.
    store.timeline.record_seen(&later[0]).await.unwrap();
    store.timeline.record_seen(&first).await.unwrap();
    store.timeline.record_seen(&later[1]).await.unwrap();
    assert_eq!(store.timeline.first_seen(device, event).await.unwrap().as_ref(), Some(&first));
    store.timeline.record_seen(&first).await.unwrap();
    assert_eq!(store.timeline.first_seen(device, event).await.unwrap(), Some(first), "twice is once");
    assert_eq!(store.timeline.first_seen(DeviceId(id()), event).await.unwrap(), None, "an id is its device's own");
}

pub(super) async fn what_became_of_a_day_is_read_whole(store: Store) {
    let device = DeviceId(id());
    let mut all = Vec::new();
    for n in 0..4 {
        let event = event();
        for (offset, outcome) in [(2 * n, Outcome::HouseholdOnly), (2 * n + 1, Outcome::Duplicate)] {
            let seen = seen(device, event, offset, outcome);
            store.timeline.record_seen(&seen).await.unwrap();
            all.push(seen);
        }
    }
    // The eight may lie on both sides of midnight.
    let days: BTreeSet<i32> = all.iter().filter_map(|seen| seen.event.day()).collect();
    let mut found = Vec::new();
    for day in days {
        found.extend(store.timeline.seen_on(device, day).await.unwrap());
    }
    assert_eq!(found, all);
    assert_eq!(store.timeline.seen_on(device, 1).await.unwrap(), []);
}

pub(super) async fn items_come_back_as_written(store: Store) {
    for shared_with in [None, Some(NeighborhoodId(id()))] {
        let item = item(now(), shared_with);
        assert_eq!(store.timeline.item(item.id).await.unwrap(), None);
        assert_eq!(store.timeline.last_item(item.group).await.unwrap(), None);
        for _ in 0..2 {
            store.timeline.put_item(&item).await.unwrap();
            assert_eq!(store.timeline.item(item.id).await.unwrap().as_ref(), Some(&item));
            assert_eq!(store.timeline.last_item(item.group).await.unwrap(), Some(item.id));
        }
    }
}

pub(super) async fn the_media_of_an_item_come_back_as_written(store: Store) {
    let first = item(now(), Some(NeighborhoodId(id())));
    let media = |n: usize| ItemMedia {
        id: MediaId(id()),
        kind: MediaKind::ALL[n % 2],
        shared: n.is_multiple_of(3),
        revision: if n == 0 { u32::MAX } else { 2 },
    };
    for count in [1, MAX_ITEM_MEDIA] {
        // By a late clip: one revision more at the same time.
        let revision = u32::try_from(count).unwrap() + 1;
        let item = Item { media: (0..count).map(media).collect(), revision, ..first.clone() };
        store.timeline.put_item(&item).await.unwrap();
        assert_eq!(store.timeline.item(item.id).await.unwrap().as_ref(), Some(&item));
        // A replay of the event without it.
        store.timeline.put_item(&first).await.unwrap();
        assert_eq!(store.timeline.item(item.id).await.unwrap(), Some(item));
    }
}

pub(super) async fn an_older_revision_does_not_cover_a_newer_one(store: Store) {
    let first = item(now(), None);
    let neighborhood = NeighborhoodId(id());
    let shared = item(first.opened_at, Some(neighborhood));
    // The second revision is shared and falls into the same millisecond; the third is later.
    let second = Item {
        revision: 2,
        shared: shared.shared,
        shared_labels: shared.shared_labels,
        neighborhoods: shared.neighborhoods,
        ..first.clone()
    };
    let third = Item { revision: 3, updated_at: first.updated_at.plus_ms(1), labels: Labels::NONE, ..second.clone() };
    for (written, stands) in
        [(&first, &first), (&second, &second), (&first, &second), (&third, &third), (&second, &third)]
    {
        store.timeline.put_item(written).await.unwrap();
        assert_eq!(store.timeline.item(first.id).await.unwrap().as_ref(), Some(stands));
    }
    // A newer item of the group; the older one is replayed.
    let next = Item { id: ItemId(id()), updated_at: first.updated_at.plus_ms(2), ..first.clone() };
    store.timeline.put_item(&next).await.unwrap();
    store.timeline.put_item(&third).await.unwrap();
    assert_eq!(store.timeline.last_item(first.group).await.unwrap(), Some(next.id));
}

pub(super) async fn groups_are_kept_apart(store: Store) {
    let device = DeviceId(id());
    let mut expected = Vec::new();
    for kind in [Kind::Motion, Kind::Ding] {
        for familiar in [false, true] {
            let item = Item { group: GroupKey { device, kind, familiar }, ..item(now(), None) };
            store.timeline.put_item(&item).await.unwrap();
            expected.push((item.group, item.id));
        }
    }
    for (group, id) in expected {
        assert_eq!(store.timeline.last_item(group).await.unwrap(), Some(id));
    }
}

/// Each answer is either from before the end, or empty: there is no moment of grace.
pub(super) async fn g6_what_is_past_its_expiry_is_absent(store: Store) {
    let neighborhood = NeighborhoodId(id());
    let ends = now().plus_ms(1500);
    let item = Item { expires_at: ends, ..item(now(), Some(neighborhood)) };
    let seen = SeenEvent { expires_at: ends, ..seen(item.group.device, event(), 1, Outcome::Alerted) };
    let owners = [FeedOwner::Household(item.household), FeedOwner::Neighborhood(neighborhood)];
    store.timeline.record_seen(&seen).await.unwrap();
    store.timeline.put_item(&item).await.unwrap();
    for owner in owners {
        store.timeline.add_to_feed(owner, &item).await.unwrap();
    }
    let mut was_there = false;
    loop {
        let asked = now();
        let mut found = vec![
            store.timeline.item(item.id).await.unwrap().is_some(),
            store.timeline.last_item(item.group).await.unwrap().is_some(),
            store.timeline.first_seen(seen.device, seen.event).await.unwrap().is_some(),
            !store.timeline.seen_on(seen.device, seen.event.day().unwrap()).await.unwrap().is_empty(),
        ];
        for owner in owners {
            found.push(!store.timeline.feed(owner, None, Timestamp(0), 10).await.unwrap().is_empty());
        }
        if asked >= ends {
            assert_eq!(found, [false; 6]);
            break;
        }
        if now() < ends {
            assert_eq!(found, [true; 6]);
            was_there = true;
        }
    }
    assert!(was_there);
}

pub(super) async fn g6_what_has_expired_is_not_written(store: Store) {
    let item = Item { expires_at: now().plus_ms(-1), ..item(now().plus_ms(-HOUR_MS), None) };
    let seen = SeenEvent { expires_at: item.expires_at, ..seen(item.group.device, event(), 1, Outcome::Alerted) };
    let owner = FeedOwner::Household(item.household);
    store.timeline.put_item(&item).await.unwrap();
    store.timeline.add_to_feed(owner, &item).await.unwrap();
    store.timeline.record_seen(&seen).await.unwrap();
    assert_eq!(store.timeline.item(item.id).await.unwrap(), None);
    assert_eq!(store.timeline.last_item(item.group).await.unwrap(), None);
    assert_eq!(store.timeline.first_seen(seen.device, seen.event).await.unwrap(), None);
    assert_eq!(store.timeline.feed(owner, None, Timestamp(0), 10).await.unwrap(), []);
}

pub(super) async fn g3_an_item_stands_only_in_feeds_that_it_is_shared_with(store: Store) {
    let (mine, other) = (NeighborhoodId(id()), NeighborhoodId(id()));
    let shared = item(now(), Some(mine));
    let private = Item { household: shared.household, shared: None, ..item(now(), Some(mine)) };
    let stranger = HouseholdId(id());
    let household = FeedOwner::Household(shared.household);
    for item in [&shared, &private] {
        for owner in
            [household, FeedOwner::Neighborhood(mine), FeedOwner::Neighborhood(other), FeedOwner::Household(stranger)]
        {
            store.timeline.add_to_feed(owner, item).await.unwrap();
        }
    }
    let found = async |owner| -> BTreeSet<ItemId> {
        let feed = store.timeline.feed(owner, None, Timestamp(0), 10).await.unwrap();
        feed.into_iter().map(|entry| entry.position.item).collect()
    };
    assert_eq!(found(household).await, BTreeSet::from([shared.id, private.id]));
    assert_eq!(found(FeedOwner::Neighborhood(mine)).await, BTreeSet::from([shared.id]));
    assert_eq!(found(FeedOwner::Neighborhood(other)).await, BTreeSet::new());
    assert_eq!(found(FeedOwner::Household(stranger)).await, BTreeSet::new());
}

/// Adds an item to its household's feed, twice, and says which entry is expected of it.
async fn fill(store: &Store, household: HouseholdId, opened_at: Timestamp) -> FeedEntry {
    let item = Item { household, ..item(opened_at, None) };
    for _ in 0..2 {
        store.timeline.add_to_feed(FeedOwner::Household(household), &item).await.unwrap();
    }
    FeedEntry { position: FeedPosition { at: opened_at, item: item.id }, expires_at: item.expires_at }
}

async fn pages(store: &Store, owner: FeedOwner, not_before: Timestamp, limit: usize) -> Vec<FeedEntry> {
    let (mut found, mut before): (Vec<FeedEntry>, _) = (Vec::new(), None);
    loop {
        let page = store.timeline.feed(owner, before, not_before, limit).await.unwrap();
        assert!(page.len() <= limit);
        before = page.last().map(|entry| entry.position);
        if page.len() < limit {
            found.extend(page);
            return found;
        }
        found.extend(page);
    }
}

pub(super) async fn feeds_are_read_across_buckets_newest_first(store: Store) {
    let household = HouseholdId(id());
    let owner = FeedOwner::Household(household);
    let start = now();
    let mut all = Vec::new();
    // Long gaps, so that whole buckets are empty; the oldest lies near the end of what is ever kept.
    for days in [0, 1, 2, 9, 10, 40, 41, 200, 395] {
        all.push(fill(&store, household, start.plus_ms(-days * DAY_MS)).await);
    }
    for limit in [1, 2, 4, 9, 50] {
        assert_eq!(pages(&store, owner, Timestamp(0), limit).await, all, "by {limit}");
    }
    let since = start.plus_ms(-10 * DAY_MS);
    assert_eq!(pages(&store, owner, since, 3).await, all[..5], "the bound itself is included");
    assert_eq!(pages(&store, owner, since.plus_ms(1), 3).await, all[..4]);
    assert_eq!(store.timeline.feed(owner, None, Timestamp(0), 0).await.unwrap(), []);
}

pub(super) async fn equal_times_are_paged_exactly(store: Store) {
    let household = HouseholdId(id());
    let (owner, at) = (FeedOwner::Household(household), now());
    let mut all = vec![fill(&store, household, at.plus_ms(1)).await, fill(&store, household, at.plus_ms(-1)).await];
    for _ in 0..7 {
        all.push(fill(&store, household, at).await);
    }
    all.sort_by_key(|entry| std::cmp::Reverse(entry.position));
    for limit in 1..=10 {
        assert_eq!(pages(&store, owner, Timestamp(0), limit).await, all, "by {limit}");
    }
}
