//! Events, items and feeds.

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{DeviceId, EventId, Item, ItemId, Kind, Timestamp, item::GroupKey};
use uuid::Uuid;

use super::{
    core::Core,
    key::{Key, Parts, Span, Table},
    registry::by_id,
    row::Row,
};
use crate::{
    FeedEntry, FeedOwner, FeedPosition, SeenEvent, StoreError, Timeline,
    rows::{
        SeenRow, corrupt, decode, encode,
        item::{ItemRow, item_written_at},
        written_at,
    },
    timeline::{MAX_SEEN, day_of},
};

pub(super) struct EmbeddedTimeline(pub(super) Arc<Core>);

fn seen_on(device: DeviceId, day: i32) -> Key {
    by_id(Table::EventSeen, device.0).i32(day)
}

fn last_item(group: GroupKey) -> Key {
    let kind = match group.kind {
        Kind::Motion => 0,
        Kind::Ding => 1,
    };
    by_id(Table::LastItems, group.device.0).byte(kind).byte(group.familiar.into())
}

fn feed(owner: FeedOwner) -> Key {
    match owner {
        FeedOwner::Household(id) => Key::of(Table::Feeds).byte(0).uuid(id.0),
        FeedOwner::Neighborhood(id) => Key::of(Table::Feeds).byte(1).uuid(id.0),
    }
}

fn read_seen(_: &[u8], row: Row) -> Result<SeenEvent, StoreError> {
    SeenEvent::try_from(decode::<SeenRow>(&row.body.unwrap_or_default(), "event_seen")?)
}

#[async_trait]
impl Timeline for EmbeddedTimeline {
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError> {
        let span = Span::of(Table::EventSeen, seen_on(device, day_of(event)?).uuid(event.0));
        let found = self.0.read(Table::EventSeen, move |view| view.first(&span, 1, read_seen));
        Ok(found.await?.pop())
    }

    async fn record_seen(&self, seen: &SeenEvent) -> Result<(), StoreError> {
        let day = day_of(seen.event)?;
        let key = seen_on(seen.device, day).uuid(seen.event.0).i32(seen.partition).i64(seen.offset);
        let body = encode(&SeenRow::new(seen), "event_seen")?;
        let row = Row::new(written_at(seen.received_at), seen.expires_at, body);
        self.0.write(Table::EventSeen, move |change| change.write(key, row)).await
    }

    async fn seen_on(&self, device: DeviceId, day: i32) -> Result<Vec<SeenEvent>, StoreError> {
        let span = Span::of(Table::EventSeen, seen_on(device, day));
        self.0.read(Table::EventSeen, move |view| view.all(&span, MAX_SEEN, read_seen)).await
    }

    async fn last_item(&self, group: GroupKey) -> Result<Option<ItemId>, StoreError> {
        let read = self.0.read(Table::LastItems, move |view| {
            let Some(row) = view.row(&last_item(group))? else { return Ok(None) };
            let id = Uuid::from_slice(&row.body.unwrap_or_default());
            Ok(Some(ItemId(id.map_err(|_| corrupt("last_items", "item"))?)))
        });
        read.await
    }

    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        let read = self.0.read(Table::Items, move |view| {
            let row = view.row(&by_id(Table::Items, id.0))?;
            row.map(|row| Item::try_from(decode::<ItemRow>(&row.body.unwrap_or_default(), "items")?)).transpose()
        });
        read.await
    }

    async fn put_item(&self, item: &Item) -> Result<(), StoreError> {
        let (at, ends, id) = (item_written_at(item), item.expires_at, item.id.0);
        let row = Row::new(at, ends, encode(&ItemRow::new(item)?, "items")?);
        let (pointer, to) = (last_item(item.group), Row::new(at, ends, id.as_bytes().to_vec()));
        self.0
            .write(Table::Items, move |change| {
                change.write(by_id(Table::Items, id), row)?;
                change.write(pointer, to)
            })
            .await
    }

    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError> {
        let Some(FeedPosition { at, item: id }) = FeedPosition::of(owner, item) else { return Ok(()) };
        let (key, row) = (feed(owner).time(at).uuid(id.0), Row::new(written_at(at), item.expires_at, Vec::new()));
        self.0.write(Table::Feeds, move |change| change.write(key, row)).await
    }

    async fn feed(
        &self,
        owner: FeedOwner,
        before: Option<FeedPosition>,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let since = Span::of(Table::Feeds, feed(owner)).from(feed(owner).time(not_before));
        let span = match before {
            Some(FeedPosition { at, item }) => since.before(feed(owner).time(at).uuid(item.0)),
            None => since,
        };
        let read = self.0.read(Table::Feeds, move |view| {
            let newest_first = view.rows(&span).rev().take(limit).map(|row| {
                let (key, row) = row?;
                let mut parts = Parts::of(Table::Feeds, &key);
                parts.byte()?;
                parts.uuid()?;
                let position = FeedPosition { at: parts.time()?, item: ItemId(parts.uuid()?) };
                Ok(FeedEntry { position, expires_at: row.ends })
            });
            newest_first.collect()
        });
        read.await
    }
}
