//! What the rows say of stored objects, for the walk.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::future::try_join_all;
use porchlight_clips::sweep::{Record, Records};
use porchlight_domain::{Clock as _, DeviceId, MediaId, Plan, SystemClock, Timestamp};
use porchlight_store::{MediaIndex, MediaRow, Read, Registry, StoreError, Sweep};
use uuid::Uuid;

/// How long a shard is a holder's after it was taken, or the walk last kept how far it came.
pub const LEASE_MS: i64 = 60_000;
/// How many rows are read side by side.
const READS: usize = 16;

/// The rows of media and the plans of their devices, in the store.
pub struct StoreRecords {
    media: Arc<dyn MediaIndex>,
    registry: Arc<dyn Registry>,
    holder: Uuid,
    /// How many walks each shard has behind it, as read when it was taken.
    passes: Mutex<HashMap<u8, u64>>,
    /// How old the rows must be for one that is not there to mean anything, ms.
    telling_after_ms: i64,
    /// Whether they are, as read when a shard was taken.
    telling: AtomicBool,
}

impl StoreRecords {
    /// `holder`: who takes shards; another one for each process. `telling_after_ms`: in a database that is not older, an object
    /// without a row is [`Record::Unknown`].
    pub fn new(media: Arc<dyn MediaIndex>, registry: Arc<dyn Registry>, holder: Uuid, telling_after_ms: i64) -> Self {
        let telling = AtomicBool::new(true);
        Self { media, registry, holder, passes: Mutex::default(), telling_after_ms, telling }
    }

    /// When a media ends by its row and by its device's plan as it is now, and whether the row must be shortened for it.
    fn until(row: &MediaRow, plan: Option<Plan>) -> Record {
        let ends = row.media.ends(plan).min(row.ends);
        Record::Until { ends, shortened: ends < row.ends }
    }

    /// The plan by which a device's media end; `None` if it is gone: then they keep the end they have.
    async fn plan(&self, device: DeviceId) -> Result<Option<Plan>, StoreError> {
        let device = self.registry.device(device, Read::Quorum).await?;
        Ok(device.filter(|d| !d.deleted).map(|d| d.plan))
    }

    async fn rows(&self, objects: &[MediaId]) -> Result<Vec<Option<MediaRow>>, StoreError> {
        let mut rows = Vec::with_capacity(objects.len());
        for some in objects.chunks(READS) {
            rows.extend(try_join_all(some.iter().map(|media| self.media.get(*media))).await?);
        }
        Ok(rows)
    }

    async fn take(&self, shard: u8) -> Result<Option<Sweep>, StoreError> {
        self.media.take_sweep(shard, self.holder, SystemClock.now().plus_ms(LEASE_MS)).await
    }
}

#[async_trait]
impl Records for StoreRecords {
    async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String> {
        let rows = self.rows(objects).await.map_err(|e| e.to_string())?;
        // A plan is asked for once in a page, which is short: a plan that changes acts from the next page on.
        let mut plans = HashMap::new();
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            records.push(match row {
                None if self.telling.load(Ordering::Relaxed) => Record::Absent,
                None => Record::Unknown,
                Some(row) => {
                    let device = row.media.device;
                    let plan = match plans.entry(device) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(new) => *new.insert(self.plan(device).await.map_err(|e| e.to_string())?),
                    };
                    Self::until(&row, plan)
                }
            });
        }
        Ok(records)
    }

    async fn shorten(&self, media: MediaId, ends: Timestamp) -> Result<(), String> {
        match self.media.get(media).await.map_err(|e| e.to_string())? {
            Some(row) => self.media.shorten(&row.media, ends).await.map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    async fn take(&self, shard: u8) -> Result<Option<String>, String> {
        let since = self.media.since().await.map_err(|e| e.to_string())?;
        let telling = since.is_none_or(|since| SystemClock.now().since(since) > self.telling_after_ms);
        self.telling.store(telling, Ordering::Relaxed);
        let Some(sweep) = self.take(shard).await.map_err(|e| e.to_string())? else { return Ok(None) };
        self.passes.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, sweep.passes);
        Ok(Some(sweep.cursor))
    }

    async fn keep(&self, shard: u8, cursor: &str, finished: bool) -> Result<bool, String> {
        let before = self.passes.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).copied().unwrap_or(0);
        let sweep = if finished {
            Sweep { cursor: String::new(), passes: before + 1 }
        } else {
            Sweep { cursor: cursor.to_owned(), passes: before }
        };
        if !self.media.keep_sweep(shard, self.holder, &sweep).await.map_err(|e| e.to_string())? {
            return Ok(false);
        }
        // Keeping says only how far it came: the time to go on is taken apart.
        Ok(finished || self.take(shard).await.map_err(|e| e.to_string())?.is_some())
    }
}
