//! Media by id and by event, and the walks over their objects.

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{DeviceId, EventId, Media, MediaId, Timestamp, media::MAX_EVENT_MEDIA};
use uuid::Uuid;

use super::{
    core::Core,
    key::{Key, Span, Table},
    registry::by_id,
    row::Row,
    writer::Change,
};
use crate::{
    GONE_KEPT_MS, MediaIndex, MediaRow, StoreError, Sweep,
    media::{is_gone, shortened_at, stands_against},
    rows::{
        decode, encode,
        media::StoredMedia,
        sweep::{SweepRow, passes_to},
        ts, written_at,
    },
};

pub(super) struct EmbeddedMedia(pub(super) Arc<Core>);

fn of_event(device: DeviceId, event: EventId) -> Key {
    by_id(Table::MediaByEvent, device.0).uuid(event.0)
}

/// Both keys of a media.
fn keys(media: &Media) -> [Key; 2] {
    let by_event = of_event(media.device, media.event).time(media.received_at).uuid(media.id.0);
    [by_id(Table::Media, media.id.0), by_event]
}

fn sweep_key(shard: u8) -> Key {
    Key::of(Table::Sweeps).byte(shard)
}

fn read(table: Table, row: Row) -> Result<MediaRow, StoreError> {
    decode::<StoredMedia>(&row.body.unwrap_or_default(), table.name())?.read(table.name())
}

/// Both rows of a media.
fn write(change: &mut Change<'_>, media: &Media, ends: Timestamp, written_at: i64) -> Result<(), StoreError> {
    for key in keys(media) {
        let body = encode(&StoredMedia::new(media, ends)?, "media")?;
        change.write(key, Row::new(written_at, ends.plus_ms(GONE_KEPT_MS), body))?;
    }
    Ok(())
}

fn shorten(change: &mut Change<'_>, media: &Media, ends: Timestamp) -> Result<(), StoreError> {
    let Some(row) = change.row(&by_id(Table::Media, media.id.0))? else { return Ok(()) };
    let after = row.stamp.saturating_add(1);
    let stored = read(Table::Media, row)?;
    // Uploaded again since: what was found of the earlier upload says nothing of this one.
    if stored.media.received_at != media.received_at || stored.ends <= ends {
        return Ok(());
    }
    let now = change.now();
    // What is decided here comes after what stands, also within one millisecond.
    let at = shortened_at(media, now).max(after);
    if !is_gone(ends, now) {
        return write(change, &stored.media, ends, at);
    }
    for (table, key) in [Table::Media, Table::MediaByEvent].into_iter().zip(keys(&stored.media)) {
        change.write(key, Row::removed(table, at, now))?;
    }
    Ok(())
}

#[async_trait]
impl MediaIndex for EmbeddedMedia {
    async fn put(&self, media: &Media) -> Result<(), StoreError> {
        let media = media.clone();
        self.0
            .write(Table::Media, move |change| {
                let mut at = written_at(media.received_at);
                if let Some(row) = change.row(&by_id(Table::Media, media.id.0))? {
                    let after = row.stamp.saturating_add(1);
                    let stored = read(Table::Media, row)?;
                    if stands_against(&stored, &media, change.now()) {
                        return Ok(());
                    }
                    // It ended and comes again. (The same receipt again is a replay, and comes after nothing.)
                    if stored.media.received_at < media.received_at {
                        at = at.max(after);
                    }
                }
                write(change, &media, media.expires_at(), at)
            })
            .await
    }

    async fn get(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        let key = by_id(Table::Media, id.0);
        self.0.read(Table::Media, move |view| view.row(&key)?.map(|row| read(Table::Media, row)).transpose()).await
    }

    async fn of_event(&self, device: DeviceId, event: EventId) -> Result<Vec<Media>, StoreError> {
        let span = Span::of(Table::MediaByEvent, of_event(device, event));
        let found = self.0.read(Table::MediaByEvent, move |view| {
            let now = view.now;
            let rows = view.rows(&span).map(|row| read(Table::MediaByEvent, row?.1));
            let lasting = rows.filter(|row| row.as_ref().map_or(true, |row| row.ends > now));
            lasting.take(MAX_EVENT_MEDIA).map(|row| row.map(|row| row.media)).collect()
        });
        found.await
    }

    async fn shorten(&self, media: &Media, ends: Timestamp) -> Result<(), StoreError> {
        let media = media.clone();
        self.0.write(Table::Media, move |change| shorten(change, &media, ends)).await
    }

    async fn all(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<MediaRow>, StoreError> {
        let all = Span::of(Table::Media, Key::of(Table::Media));
        let span = match after {
            Some(after) => all.after(by_id(Table::Media, after.0)),
            None => all,
        };
        self.0.read(Table::Media, move |view| view.first(&span, limit, |_, row| read(Table::Media, row))).await
    }

    /// The folder of the rows is that of the objects, too: they are lost together.
    async fn since(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn take_sweep(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError> {
        self.0
            .conditional(Table::Sweeps, move |change| {
                let row = match change.row(&sweep_key(shard))? {
                    None => SweepRow { holder, held_until: ts(until), position: String::new(), passes: 0 },
                    Some(row) => {
                        let row: SweepRow = decode(&row.body.unwrap_or_default(), "sweeps")?;
                        if row.is_held_against(holder, change.now()) {
                            return Ok(None);
                        }
                        SweepRow { holder, held_until: ts(until), ..row }
                    }
                };
                change.set(sweep_key(shard), Row::plain(encode(&row, "sweeps")?));
                row.sweep().map(Some)
            })
            .await
    }

    async fn keep_sweep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError> {
        let (position, passes) = (sweep.cursor.clone(), passes_to(sweep.passes)?);
        self.0
            .conditional(Table::Sweeps, move |change| {
                let Some(row) = change.row(&sweep_key(shard))? else { return Ok(false) };
                let row: SweepRow = decode(&row.body.unwrap_or_default(), "sweeps")?;
                if row.holder != holder {
                    return Ok(false);
                }
                let row = SweepRow { position, passes, ..row };
                change.set(sweep_key(shard), Row::plain(encode(&row, "sweeps")?));
                Ok(true)
            })
            .await
    }
}
