//! Clips and thumbnails: what the rows say of them. The objects themselves are `libs/clips`'.

use async_trait::async_trait;
use porchlight_domain::{DeviceId, EventId, Media, MediaId, Timestamp};
use uuid::Uuid;

use crate::StoreError;

/// How long the row of a media outlives it, so that its household is told that it is gone and not that it never was.
pub const GONE_KEPT_MS: i64 = 7 * 86_400_000;

/// A media's row: what was stored, and when it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaRow {
    /// What was stored.
    pub media: Media,
    /// When it ends: by the plan under which it was stored, or earlier if it was shortened. May have passed: the row
    /// is kept [`GONE_KEPT_MS`] longer.
    pub ends: Timestamp,
}

/// The walk of one shard of the objects, as far as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sweep {
    /// The last object that was judged, by its key; empty: at the beginning.
    pub cursor: String,
    /// How many walks were finished.
    pub passes: u64,
}

/// The rows of media.
#[async_trait]
pub trait MediaIndex: Send + Sync + 'static {
    /// Writes a media, by id and by event, as of its receipt. Doing it twice is doing it once, and lengthens nothing that
    /// was shortened. A media whose rows would have ended is not written.
    ///
    /// Of the same media with different times of receipt (it was completed twice), the first stands until it ends; from
    /// then on a later one does.
    async fn put(&self, media: &Media) -> Result<(), StoreError>;
    /// A media's row, also when its end has passed.
    async fn get(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError>;
    /// The media of an event that have not ended, in the order of their receipt (then of their ids), at most
    /// `porchlight_domain::media::MAX_EVENT_MEDIA`.
    async fn of_event(&self, device: DeviceId, event: EventId) -> Result<Vec<Media>, StoreError>;
    /// Ends a media earlier; what ended earlier already stays so. Its rows stay [`GONE_KEPT_MS`] beyond `ends` at most.
    /// Does nothing if there is no row of it, or one of another receipt.
    async fn shorten(&self, media: &Media, ends: Timestamp) -> Result<(), StoreError>;
    /// Every row, those past their end too, after `after` in the store's own order, at most `limit`: for audits.
    async fn all(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<MediaRow>, StoreError>;

    /// Takes the walk of a shard until `until`, or takes it further; `None` if another holder has it and its time is not
    /// over. By conditional write, always.
    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError>;
    /// Keeps how far the walk came; `false` if the shard is not the holder's (any more): then it must stop.
    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError>;
}
