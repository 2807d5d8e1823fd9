//! The timeline's tables: `schema/0002_timeline.cql`, and two columns of `0004_media.cql`.

use std::sync::Arc;

use ::scylla::value::{CqlTimestamp, MaybeUnset};
use async_trait::async_trait;
use futures::future::try_join_all;
use porchlight_domain::{Clock, DeviceId, EventId, Item, ItemId, SystemClock, Timestamp, item::GroupKey};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    registry::limit_of,
    ttl::ttl_s,
    writes::ItemWrite,
};
use crate::{
    FeedEntry, FeedOwner, FeedPosition, SeenEvent, StoreError, Timeline,
    rows::{
        SeenRow,
        item::{ItemRow, item_written_at},
        kind_to, ts, written_at,
    },
    timeline::{MAX_SEEN, day_of},
};

/// Entries of this many milliseconds stand in one partition of a feed.
const FEED_BUCKET_MS: i64 = 7 * 86_400_000;
/// Nothing is kept longer (see `porchlight_domain::Plan`): how far back a feed is walked.
const MAX_RETENTION_MS: i64 = 400 * 86_400_000;
/// How many buckets are read at once, at most: a feed that is empty for a year is known to be so after eight rounds.
const FEED_BUCKETS_AT_ONCE: i32 = 8;

statements! {
    /// Events, items, feeds.
    TimelineStatements {
        first_seen: Read "event_seen"
            "SELECT device, event, log_partition, log_offset, digest, outcome, item, item_revision, shares_media,
            received_at, expires_at FROM event_seen WHERE device = ? AND day = ? AND event = ? LIMIT 1";
        seen_on: Read "event_seen"
            "SELECT device, event, log_partition, log_offset, digest, outcome, item, item_revision, shares_media,
            received_at, expires_at FROM event_seen WHERE device = ? AND day = ?";
        record_seen: Write "event_seen"
            "INSERT INTO event_seen (device, day, event, log_partition, log_offset, digest, outcome, item, item_revision,
            shares_media, received_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";

        item: Read "items"
            "SELECT id, device, kind, familiar, household, labels, shared_labels, lon_e7, lat_e7, neighborhoods, revision,
            shared_revision, shared_since, shared_updated_at, shared_occurred_at, opened_at, updated_at, occurred_at,
            last_occurred_at, last_event, media, expires_at FROM items WHERE id = ?";
        put_item: Write "items"
            "INSERT INTO items (id, device, kind, familiar, household, labels, shared_labels, lon_e7, lat_e7, neighborhoods,
            revision, shared_revision, shared_since, shared_updated_at, shared_occurred_at, opened_at, updated_at,
            occurred_at, last_occurred_at, last_event, media, expires_at)
            VALUES (:id, :device, :kind, :familiar, :household, :labels, :shared_labels, :lon_e7, :lat_e7, :neighborhoods,
            :revision, :shared_revision, :shared_since, :shared_updated_at, :shared_occurred_at, :opened_at, :updated_at,
            :occurred_at, :last_occurred_at, :last_event, :media, :expires_at)
            USING TIMESTAMP :written_at AND TTL :ttl";

        last_item: Read "last_items"
            "SELECT item, expires_at FROM last_items WHERE device = ? AND kind = ? AND familiar = ?";
        put_last_item: Write "last_items"
            "INSERT INTO last_items (device, kind, familiar, item, expires_at) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ? AND TTL ?";

        add_to_feed: Write "feeds"
            "INSERT INTO feeds (owner_kind, owner, bucket, at, item, expires_at) VALUES (?, ?, ?, ?, ?, ?)
            USING TIMESTAMP ? AND TTL ?";
        feed: Read "feeds"
            "SELECT at, item, expires_at FROM feeds WHERE owner_kind = ? AND owner = ? AND bucket = ?
            AND (at, item) < (?, ?) AND (at, item) >= (?, ?) LIMIT ?";
    }
}

pub(super) struct ScyllaTimeline {
    cql: Arc<Cql>,
    statements: TimelineStatements,
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn owner_key(owner: FeedOwner) -> (&'static str, Uuid) {
    match owner {
        FeedOwner::Household(id) => ("household", id.0),
        FeedOwner::Neighborhood(id) => ("neighborhood", id.0),
    }
}

/// The bucket of a feed that holds an instant.
fn bucket_of(at: Timestamp) -> i32 {
    let bucket = at.0.div_euclid(FEED_BUCKET_MS);
    i32::try_from(bucket).unwrap_or(if bucket < 0 { i32::MIN } else { i32::MAX })
}

impl ScyllaTimeline {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { statements: TimelineStatements::prepare(&cql).await?, cql })
    }

    /// At most `limit` entries of one bucket that are older than `before`, newest first.
    async fn feed_bucket(
        &self,
        owner: FeedOwner,
        bucket: i32,
        mut before: FeedPosition,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let (kind, owner) = owner_key(owner);
        let now = now();
        let mut found = Vec::new();
        loop {
            let wanted = limit - found.len();
            // The nil id sorts before every other: the lower bound is the instant alone.
            let (upper, lower) = ((ts(before.at), before.item.0), (ts(not_before), Uuid::nil()));
            let values = (kind, owner, bucket, upper.0, upper.1, lower.0, lower.1, limit_of(wanted));
            let rows: Vec<(CqlTimestamp, Uuid, CqlTimestamp)> =
                self.cql.rows(&self.statements.feed, values, wanted).await?;
            let is_end = rows.len() < wanted;
            for (at, item, expires_at) in rows {
                before = FeedPosition { at: Timestamp(at.0), item: ItemId(item) };
                let expires_at = Timestamp(expires_at.0);
                if expires_at > now {
                    found.push(FeedEntry { position: before, expires_at });
                }
            }
            // Rows past their expiry make no page shorter: a short page would look like the end.
            if is_end || found.len() == limit {
                return Ok(found);
            }
        }
    }
}

#[async_trait]
impl Timeline for ScyllaTimeline {
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError> {
        let values = (device.0, day_of(event)?, event.0);
        let row: Option<SeenRow> = self.cql.one(&self.statements.first_seen, values).await?;
        let seen = row.map(SeenEvent::try_from).transpose()?;
        Ok(seen.filter(|seen| seen.expires_at > now()))
    }

    async fn record_seen(&self, seen: &SeenEvent) -> Result<(), StoreError> {
        let Some(ttl) = ttl_s(seen.expires_at, now()) else { return Ok(()) };
        let values = (
            seen.device.0,
            day_of(seen.event)?,
            seen.event.0,
            seen.partition,
            seen.offset,
            seen.digest.0.as_slice(),
            seen.outcome.as_str(),
            MaybeUnset::from_option(seen.item.map(|(item, _)| item.0)),
            MaybeUnset::from_option(seen.item.map(|(_, revision)| i64::from(revision))),
            seen.shares_media,
            ts(seen.received_at),
            ts(seen.expires_at),
            written_at(seen.received_at),
            ttl,
        );
        self.cql.write(&self.statements.record_seen, values).await
    }

    async fn seen_on(&self, device: DeviceId, day: i32) -> Result<Vec<SeenEvent>, StoreError> {
        let rows: Vec<SeenRow> = self.cql.rows(&self.statements.seen_on, (device.0, day), MAX_SEEN).await?;
        let seen = rows.into_iter().map(SeenEvent::try_from).collect::<Result<Vec<_>, _>>()?;
        let now = now();
        Ok(seen.into_iter().filter(|seen| seen.expires_at > now).collect())
    }

    async fn last_item(&self, group: GroupKey) -> Result<Option<ItemId>, StoreError> {
        let values = (group.device.0, kind_to(group.kind), group.familiar);
        let row: Option<(Uuid, CqlTimestamp)> = self.cql.one(&self.statements.last_item, values).await?;
        Ok(row.filter(|(_, expires_at)| expires_at.0 > now().0).map(|(item, _)| ItemId(item)))
    }

    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        let row: Option<ItemRow> = self.cql.one(&self.statements.item, (id.0,)).await?;
        let item = row.map(Item::try_from).transpose()?;
        Ok(item.filter(|item| item.expires_at > now()))
    }

    async fn put_item(&self, item: &Item) -> Result<(), StoreError> {
        let Some(ttl) = ttl_s(item.expires_at, now()) else { return Ok(()) };
        // The pointer last: it never names an item that is not there.
        self.cql.write(&self.statements.put_item, ItemWrite::new(item, ttl)?).await?;
        let group = item.group;
        let key = (group.device.0, kind_to(group.kind), group.familiar);
        let values = (key.0, key.1, key.2, item.id.0, ts(item.expires_at), item_written_at(item), ttl);
        self.cql.write(&self.statements.put_last_item, values).await
    }

    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError> {
        let Some(position) = FeedPosition::of(owner, item) else { return Ok(()) };
        let Some(ttl) = ttl_s(item.expires_at, now()) else { return Ok(()) };
        let (kind, id) = owner_key(owner);
        let (at, bucket) = (position.at, bucket_of(position.at));
        let values = (kind, id, bucket, ts(at), item.id.0, ts(item.expires_at), written_at(at), ttl);
        self.cql.write(&self.statements.add_to_feed, values).await
    }

    async fn feed(
        &self,
        owner: FeedOwner,
        before: Option<FeedPosition>,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        // Nothing was received later than now (but clocks of several machines differ): this bounds the walk's start.
        let now = now();
        let newest = FeedPosition { at: now.plus_ms(FEED_BUCKET_MS), item: ItemId(Uuid::nil()) };
        let before = before.unwrap_or(newest).min(newest);
        let oldest = bucket_of(not_before.max(now.plus_ms(-MAX_RETENTION_MS)));
        let (mut bucket, mut width) = (bucket_of(before.at), 1);
        let mut found = Vec::new();
        while bucket >= oldest && found.len() < limit {
            // Most readers find a page in the first bucket: only then are several read at once.
            let last = (bucket - width + 1).max(oldest);
            let wanted = limit - found.len();
            let buckets = (last..=bucket).rev().map(|b| self.feed_bucket(owner, b, before, not_before, wanted));
            found.extend(try_join_all(buckets).await?.into_iter().flatten());
            bucket = last - 1;
            width = (width * 2).min(FEED_BUCKETS_AT_ONCE);
        }
        found.truncate(limit);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_week_and_time_before_the_epoch_has_its_own() {
        assert_eq!(bucket_of(Timestamp(0)), 0);
        assert_eq!(bucket_of(Timestamp(FEED_BUCKET_MS - 1)), 0);
        assert_eq!(bucket_of(Timestamp(FEED_BUCKET_MS)), 1);
        assert_eq!(bucket_of(Timestamp(-1)), -1);
        assert_eq!((bucket_of(Timestamp(i64::MIN)), bucket_of(Timestamp(i64::MAX))), (i32::MIN, i32::MAX));
    }
}
