//! Rows with the write time and the time to live that their inserts bind beside them.

use ::scylla::SerializeRow;
use porchlight_domain::{Item, Media, Timestamp};

use crate::{
    StoreError,
    rows::{
        item::{ItemRow, item_written_at},
        media::StoredMedia,
    },
};

/// What an item's insert binds: the row, and `USING TIMESTAMP :written_at AND TTL :ttl`.
#[derive(SerializeRow)]
pub(super) struct ItemWrite {
    #[scylla(flatten)]
    row: ItemRow,
    written_at: i64,
    ttl: i32,
}

impl ItemWrite {
    pub(super) fn new(item: &Item, ttl: i32) -> Result<Self, StoreError> {
        Ok(Self { row: ItemRow::new(item)?, written_at: item_written_at(item), ttl })
    }
}

/// What an insert binds: the row, and `USING TIMESTAMP :written_at AND TTL :ttl`.
#[derive(SerializeRow)]
pub(super) struct MediaWrite {
    #[scylla(flatten)]
    row: StoredMedia,
    written_at: i64,
    ttl: i32,
}

impl MediaWrite {
    pub(super) fn new(media: &Media, ends: Timestamp, written_at: i64, ttl: i32) -> Result<Self, StoreError> {
        Ok(Self { row: StoredMedia::new(media, ends)?, written_at, ttl })
    }
}
