//! The tables of media: `schema/0004_media.cql`. The walks over their objects are in `sweeps.rs`.

use std::{cmp::Ordering, sync::Arc};

use ::scylla::value::CqlTimestamp;
use async_trait::async_trait;
use porchlight_domain::{Clock, DeviceId, EventId, Media, MediaId, SystemClock, Timestamp, media::MAX_EVENT_MEDIA};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    codec::{ts, ttl_s, written_at},
    media_row::{MediaWrite, StoredMedia},
    registry::limit_of,
    sweeps::Sweeps,
};
use crate::{GONE_KEPT_MS, MediaIndex, MediaRow, StoreError, Sweep};

const BY_ID: &str = "media";
const BY_EVENT: &str = "media_by_event";

macro_rules! columns {
    () => {
        "id, device, event, household, kind, content_type, bytes, sha256, retention_days, received_at, ends"
    };
}

macro_rules! values {
    () => {
        ":id, :device, :event, :household, :kind, :content_type, :bytes, :sha256, :retention_days, :received_at, :ends"
    };
}

statements! {
    /// Media by id and by event.
    MediaStatements {
        get: Read "media" concat!("SELECT ", columns!(), " FROM media WHERE id = ?");
        put: Write "media"
            concat!("INSERT INTO media (", columns!(), ") VALUES (", values!(), ") USING TIMESTAMP :written_at AND TTL :ttl");
        remove: Write "media" "DELETE FROM media USING TIMESTAMP ? WHERE id = ?";
        first: Read "media" concat!("SELECT ", columns!(), " FROM media LIMIT ?");
        next: Read "media" concat!("SELECT ", columns!(), " FROM media WHERE token(id) > token(?) LIMIT ?");

        of_event: Read "media_by_event"
            concat!("SELECT ", columns!(), " FROM media_by_event WHERE device = ? AND event = ?
            AND (received_at, id) > (?, ?) LIMIT ?");
        put_by_event: Write "media_by_event"
            concat!("INSERT INTO media_by_event (", columns!(), ") VALUES (", values!(), ")
            USING TIMESTAMP :written_at AND TTL :ttl");
        remove_by_event: Write "media_by_event"
            "DELETE FROM media_by_event USING TIMESTAMP ? WHERE device = ? AND event = ? AND received_at = ? AND id = ?";
    }
}

pub(super) struct ScyllaMedia {
    cql: Arc<Cql>,
    statements: MediaStatements,
    sweeps: Sweeps,
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Whether the row of a media that ended then is there no more.
fn is_gone(ends: Timestamp, now: Timestamp) -> bool {
    ends.plus_ms(GONE_KEPT_MS) <= now
}

/// Whether a row makes a completion of the same media void. A media that is uploaded and completed again while it is there
/// is the one that it was: its end does not move. One that ended may come again; then its earlier completions, which a
/// replay of the log brings back, are void.
fn stands_against(stored: &MediaRow, media: &Media, now: Timestamp) -> bool {
    match stored.media.received_at.cmp(&media.received_at) {
        Ordering::Less => stored.ends > now,
        Ordering::Equal => false,
        Ordering::Greater => true,
    }
}

/// The write time of a shortening: later than that of the receipt, whatever the clocks say.
fn shortened_at(media: &Media, now: Timestamp) -> i64 {
    written_at(now.max(media.received_at.plus_ms(1)))
}

impl ScyllaMedia {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self {
            statements: MediaStatements::prepare(&cql).await?,
            sweeps: Sweeps::prepare(Arc::clone(&cql)).await?,
            cql,
        })
    }

    /// The row by id comes last: it is what a shortening is decided by, so one that stopped halfway is done again.
    async fn write(&self, media: &Media, ends: Timestamp, written_at: i64, ttl: i32) -> Result<(), StoreError> {
        for statement in [&self.statements.put_by_event, &self.statements.put] {
            self.cql.write(statement, MediaWrite::new(media, ends, written_at, ttl)?).await?;
        }
        Ok(())
    }

    async fn remove(&self, media: &Media, at: i64) -> Result<(), StoreError> {
        let by_event = (at, media.device.0, media.event.0, ts(media.received_at), media.id.0);
        self.cql.write(&self.statements.remove_by_event, by_event).await?;
        self.cql.write(&self.statements.remove, (at, media.id.0)).await
    }

    async fn page(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<StoredMedia>, StoreError> {
        match after {
            None => self.cql.rows(&self.statements.first, (limit_of(limit),), limit).await,
            Some(after) => self.cql.rows(&self.statements.next, (after, limit_of(limit)), limit).await,
        }
    }
}

#[async_trait]
impl MediaIndex for ScyllaMedia {
    async fn put(&self, media: &Media) -> Result<(), StoreError> {
        let now = now();
        let ends = media.expires_at();
        let Some(ttl) = ttl_s(ends.plus_ms(GONE_KEPT_MS), now) else { return Ok(()) };
        if self.get(media.id).await?.is_some_and(|stored| stands_against(&stored, media, now)) {
            return Ok(());
        }
        self.write(media, ends, written_at(media.received_at), ttl).await
    }

    async fn get(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        let row: Option<StoredMedia> = self.cql.one(&self.statements.get, (id.0,)).await?;
        let row = row.map(|row| row.read(BY_ID)).transpose()?;
        Ok(row.filter(|row| !is_gone(row.ends, now())))
    }

    async fn of_event(&self, device: DeviceId, event: EventId) -> Result<Vec<Media>, StoreError> {
        let now = now();
        // Nothing was received before the epoch, and the nil id sorts before every other.
        let mut after = (CqlTimestamp(0), Uuid::nil());
        let mut found = Vec::new();
        loop {
            let wanted = MAX_EVENT_MEDIA - found.len();
            let values = (device.0, event.0, after.0, after.1, limit_of(wanted));
            let rows: Vec<StoredMedia> = self.cql.rows(&self.statements.of_event, values, wanted).await?;
            let is_end = rows.len() < wanted;
            for row in rows {
                after = (row.received_at, row.id);
                let row = row.read(BY_EVENT)?;
                if row.ends > now {
                    found.push(row.media);
                }
            }
            // Those that ended take no place from those that did not.
            if is_end || found.len() == MAX_EVENT_MEDIA {
                return Ok(found);
            }
        }
    }

    async fn shorten(&self, media: &Media, ends: Timestamp) -> Result<(), StoreError> {
        let Some(stored) = self.get(media.id).await? else { return Ok(()) };
        // Uploaded again since: what was found of the earlier upload says nothing of this one.
        if stored.media.received_at != media.received_at || stored.ends <= ends {
            return Ok(());
        }
        let now = now();
        let at = shortened_at(media, now);
        match ttl_s(ends.plus_ms(GONE_KEPT_MS), now) {
            Some(ttl) => self.write(&stored.media, ends, at, ttl).await,
            None => self.remove(&stored.media, at).await,
        }
    }

    async fn all(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<MediaRow>, StoreError> {
        let now = now();
        let mut after = after.map(|id| id.0);
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = limit - found.len();
            let rows = self.page(after, wanted).await?;
            let is_end = rows.len() < wanted;
            for row in rows {
                after = Some(row.id);
                let row = row.read(BY_ID)?;
                if !is_gone(row.ends, now) {
                    found.push(row);
                }
            }
            if is_end {
                break;
            }
        }
        Ok(found)
    }

    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError> {
        self.sweeps.take(shard, holder, until).await
    }

    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError> {
        self.sweeps.keep(shard, holder, sweep).await
    }
}

#[cfg(test)]
mod tests {
    use porchlight_domain::{ContentHash, ContentType, HouseholdId, MediaKind};

    use super::*;

    fn received(at: i64) -> Media {
        Media {
            id: MediaId(Uuid::nil()),
            device: DeviceId(Uuid::nil()),
            event: EventId(Uuid::nil()),
            household: HouseholdId(Uuid::nil()),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 1,
            sha256: ContentHash([0; 32]),
            retention_days: 1,
            received_at: Timestamp(at),
        }
    }

    #[test]
    fn g6_a_shortening_stands_against_a_replay_also_where_the_clock_is_behind() {
        for now in [0, 5, 6] {
            assert!(shortened_at(&received(5), Timestamp(now)) > written_at(Timestamp(5)), "{now}");
        }
        assert_eq!(shortened_at(&received(5), Timestamp(100)), written_at(Timestamp(100)));
    }

    #[test]
    fn a_completion_is_void_while_an_earlier_one_lasts_and_after_a_later_one() {
        let stored = MediaRow { media: received(5), ends: Timestamp(100) };
        let is_void = |at, now| stands_against(&stored, &received(at), Timestamp(now));
        assert!(is_void(6, 99));
        assert!(!is_void(6, 100), "it ended, and came again");
        assert!(is_void(4, 99) && is_void(4, 100));
        assert!(!is_void(5, 99) && !is_void(5, 100), "the same is written again, whole");
    }

    #[test]
    fn g6_a_row_is_gone_a_week_after_its_end() {
        assert!(!is_gone(Timestamp(1), Timestamp(GONE_KEPT_MS)));
        assert!(is_gone(Timestamp(1), Timestamp(GONE_KEPT_MS + 1)));
    }
}
