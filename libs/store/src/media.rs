//! Clips and thumbnails: what the rows say of them. The objects themselves are `libs/clips`'.

use std::cmp::Ordering;

use async_trait::async_trait;
use porchlight_domain::{DeviceId, EventId, Media, MediaId, Timestamp};
use uuid::Uuid;

use crate::{StoreError, rows::written_at};

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

/// Whether the row of a media that ended then is there no more.
pub(crate) fn is_gone(ends: Timestamp, now: Timestamp) -> bool {
    ends.plus_ms(GONE_KEPT_MS) <= now
}

/// Whether a row makes a completion of the same media void. A media that is uploaded and completed again while it is there
/// is the one that it was: its end does not move. One that ended may come again; then its earlier completions, which a
/// replay of the log brings back, are void.
pub(crate) fn stands_against(stored: &MediaRow, media: &Media, now: Timestamp) -> bool {
    match stored.media.received_at.cmp(&media.received_at) {
        Ordering::Less => stored.ends > now,
        Ordering::Equal => false,
        Ordering::Greater => true,
    }
}

/// The write time of a shortening: later than that of the receipt, whatever the clocks say.
pub(crate) fn shortened_at(media: &Media, now: Timestamp) -> i64 {
    written_at(now.max(media.received_at.plus_ms(1)))
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
    /// Since when the database has had its table of media; `None`: as long as there has been anything to keep. What was stored
    /// before may have had rows in a database that was lost.
    async fn since(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Takes the walk of a shard until `until`, or takes it further; `None` if another holder has it and its time is not
    /// over. By conditional write, always.
    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError>;
    /// Keeps how far the walk came; `false` if the shard is not the holder's (any more): then it must stop.
    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError>;
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
