//! Events, items and feeds: written once in the order of the log, expiring by themselves.

use async_trait::async_trait;
use porchlight_domain::{
    DeviceId, Digest, EventId, HouseholdId, Item, ItemId, NeighborhoodId, Outcome, Timestamp, item::GroupKey,
};

use crate::StoreError;

/// What became of one record of the log. Key: device, day of the event id, event id, partition and offset: the first in
/// offset order is the event, any further one a duplicate or a conflict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenEvent {
    /// Whose event.
    pub device: DeviceId,
    /// Which.
    pub event: EventId,
    /// Where in the log.
    pub partition: i32,
    /// Where in the log.
    pub offset: i64,
    /// Of its body.
    pub digest: Digest,
    /// What became of it.
    pub outcome: Outcome,
    /// The item it is part of, and the revision it made; `None` for duplicates and conflicts.
    pub item: Option<(ItemId, u32)>,
    /// Whether neighbors may see the media of the event, by its policy as it was received; `false` for duplicates and
    /// conflicts.
    pub shares_media: bool,
    /// When it was received: the row's write time.
    pub received_at: Timestamp,
    /// When the row ends.
    pub expires_at: Timestamp,
}

/// Whose feed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FeedOwner {
    /// Of a household: all of its items.
    Household(HouseholdId),
    /// Of a neighborhood: what is shared with it.
    Neighborhood(NeighborhoodId),
}

/// A place in a feed, newest first: the item's `opened_at` in its household's feed, its `shared.since` in a
/// neighborhood's, and the item's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FeedPosition {
    /// When the first event (that the owner of the feed may know of) was received.
    pub at: Timestamp,
    /// The item.
    pub item: ItemId,
}

impl FeedPosition {
    /// Where an item stands in a feed; `None` if it has no place there: another household's, or a neighborhood's that
    /// it is not shared with.
    pub fn of(owner: FeedOwner, item: &Item) -> Option<Self> {
        let at = match owner {
            FeedOwner::Household(household) => (household == item.household).then_some(item.opened_at),
            FeedOwner::Neighborhood(id) => {
                item.shared.filter(|_| item.neighborhoods.iter().any(|n| n.id == id)).map(|shared| shared.since)
            }
        };
        at.map(|at| Self { at, item: item.id })
    }
}

/// A row of a feed. The item itself is read, and judged, apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedEntry {
    /// Where it stands.
    pub position: FeedPosition,
    /// When the row ends.
    pub expires_at: Timestamp,
}

/// Events of one device and day that are read at once: one a second.
pub(crate) const MAX_SEEN: usize = 100_000;

/// The day of an event's id.
pub(crate) fn day_of(event: EventId) -> Result<i32, StoreError> {
    event.day().ok_or_else(|| StoreError::Refused("an event's id is a UUIDv7".into()))
}

/// The timeline.
#[async_trait]
pub trait Timeline: Send + Sync + 'static {
    /// The first record of an event in offset order, if any was handled.
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError>;
    /// Records what became of a record of the log.
    async fn record_seen(&self, seen: &SeenEvent) -> Result<(), StoreError>;
    /// All that is known of a device's events of one day (of their ids), for audits; in key order.
    async fn seen_on(&self, device: DeviceId, day: i32) -> Result<Vec<SeenEvent>, StoreError>;

    /// The item that events of this group last joined.
    async fn last_item(&self, group: GroupKey) -> Result<Option<ItemId>, StoreError>;
    /// An item.
    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError>;
    /// Writes an item and its group's pointer to it; the write time is (updated_at, revision).
    async fn put_item(&self, item: &Item) -> Result<(), StoreError>;
    /// Puts an item into a feed at its place there (see [`FeedPosition`]), written as of that time. Doing it twice is
    /// doing it once; into a feed where it has no place it is not put.
    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError>;
    /// The entries older than `before` (strictly; `None`: the newest), newest first, not older than `not_before`,
    /// at most `limit`. Crosses time buckets.
    async fn feed(
        &self,
        owner: FeedOwner,
        before: Option<FeedPosition>,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_that_carries_no_day_is_refused() {
        assert!(matches!(day_of(EventId(uuid::Uuid::from_u128(1))), Err(StoreError::Refused(_))));
    }
}
