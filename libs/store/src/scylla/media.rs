//! The tables of media: `schema/0004_media.cql`. The walks over their objects are in `sweeps.rs`.

use std::sync::Arc;

use ::scylla::value::CqlTimestamp;
use async_trait::async_trait;
use porchlight_domain::{Clock, DeviceId, EventId, Media, MediaId, SystemClock, Timestamp, media::MAX_EVENT_MEDIA};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    registry::limit_of,
    sweeps::Sweeps,
    ttl::ttl_s,
    writes::MediaWrite,
};
use crate::{
    GONE_KEPT_MS, MediaIndex, MediaRow, StoreError, Sweep,
    media::{is_gone, shortened_at, stands_against},
    rows::{from_ts, media::StoredMedia, ts, written_at},
};

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
        // The file that made the table.
        since: Read "schema_migrations" "SELECT applied_at FROM schema_migrations WHERE name = '0004_media'";
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

    async fn since(&self) -> Result<Option<Timestamp>, StoreError> {
        let row: Option<(CqlTimestamp,)> = self.cql.one(&self.statements.since, ()).await?;
        Ok(row.map(|(applied_at,)| from_ts(applied_at)))
    }

    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError> {
        self.sweeps.take(shard, holder, until).await
    }

    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError> {
        self.sweeps.keep(shard, holder, sweep).await
    }
}
