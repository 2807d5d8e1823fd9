//! The index of media of a world.

use async_trait::async_trait;
use porchlight_domain::{
    Clock as _, DeviceId, EventId, Media, MediaId, SystemClock, Timestamp, media::MAX_EVENT_MEDIA,
};
use porchlight_store::{MediaIndex, MediaRow, StoreError, Sweep};
use uuid::Uuid;

use super::World;

#[async_trait]
impl MediaIndex for World {
    async fn put(&self, media: &Media) -> Result<(), StoreError> {
        self.call(|s| {
            if media.expires_at().0 > s.now {
                let row = MediaRow { media: media.clone(), ends: media.expires_at() };
                s.rows.media.entry(media.id).or_insert(row);
            }
        })
    }

    async fn get(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        self.call(|s| s.rows.media.get(&id).cloned())
    }

    async fn of_event(&self, device: DeviceId, event: EventId) -> Result<Vec<Media>, StoreError> {
        self.call(|s| {
            let rows = s.rows.media.values();
            let mut found: Vec<Media> = rows
                .filter(|r| (r.media.device, r.media.event) == (device, event) && r.ends.0 > s.now)
                .map(|r| r.media.clone())
                .collect();
            found.sort_by_key(|m| (m.received_at, m.id));
            found.truncate(MAX_EVENT_MEDIA);
            found
        })
    }

    async fn shorten(&self, media: &Media, ends: Timestamp) -> Result<(), StoreError> {
        self.call(|s| {
            if let Some(row) = s.rows.media.get_mut(&media.id) {
                row.ends = row.ends.min(ends);
            }
        })
    }

    async fn all(&self, _: Option<MediaId>, _: usize) -> Result<Vec<MediaRow>, StoreError> {
        Err(StoreError::Refused("not asked by this service".into()))
    }

    async fn since(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call(|s| s.rows.since)
    }

    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError> {
        self.call(|s| {
            let fresh = || (holder, until, Sweep { cursor: String::new(), passes: 0 });
            let (held_by, held_until, sweep) = s.sweeps.entry(shard).or_insert_with(fresh);
            if *held_by != holder && *held_until > SystemClock.now() {
                return None;
            }
            (*held_by, *held_until) = (holder, until);
            Some(sweep.clone())
        })
    }

    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError> {
        self.call(|s| match s.sweeps.get_mut(&shard).filter(|kept| kept.0 == holder) {
            Some(kept) => {
                kept.2 = sweep.clone();
                true
            }
            None => false,
        })
    }
}
