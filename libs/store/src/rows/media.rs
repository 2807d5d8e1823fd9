//! A media as a row of `media` or `media_by_event`, and back.

use ::scylla::{DeserializeRow, SerializeRow, value::CqlTimestamp};
use porchlight_domain::{ContentHash, ContentType, DeviceId, EventId, HouseholdId, Media, MediaId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{corrupt, from_ts, media_kind_from, millis, ts};
use crate::{MediaRow, StoreError};

/// A row of `media`, and of `media_by_event`: they have the same columns.
#[derive(Serialize, Deserialize, SerializeRow, DeserializeRow)]
pub(crate) struct StoredMedia {
    pub(crate) id: Uuid,
    device: Uuid,
    event: Uuid,
    household: Uuid,
    kind: String,
    content_type: String,
    bytes: i64,
    sha256: Vec<u8>,
    retention_days: i32,
    #[serde(with = "millis")]
    pub(crate) received_at: CqlTimestamp,
    #[serde(with = "millis")]
    ends: CqlTimestamp,
}

impl StoredMedia {
    pub(crate) fn new(media: &Media, ends: Timestamp) -> Result<Self, StoreError> {
        let too_long = |_| StoreError::Refused("the length of a media does not fit 63 bits".into());
        Ok(Self {
            id: media.id.0,
            device: media.device.0,
            event: media.event.0,
            household: media.household.0,
            kind: media.kind.as_str().to_owned(),
            content_type: media.content_type.as_str().to_owned(),
            bytes: i64::try_from(media.bytes).map_err(too_long)?,
            sha256: media.sha256.0.to_vec(),
            retention_days: media.retention_days.into(),
            received_at: ts(media.received_at),
            ends: ts(ends),
        })
    }

    /// The row's meaning; `table`: where it stood.
    pub(crate) fn read(self, table: &'static str) -> Result<MediaRow, StoreError> {
        let content_type = ContentType::parse(&self.content_type);
        let media = Media {
            id: MediaId(self.id),
            device: DeviceId(self.device),
            event: EventId(self.event),
            household: HouseholdId(self.household),
            kind: media_kind_from(&self.kind, table)?,
            content_type: content_type.ok_or_else(|| corrupt(table, "content_type"))?,
            bytes: u64::try_from(self.bytes).map_err(|_| corrupt(table, "bytes"))?,
            sha256: ContentHash(self.sha256.try_into().map_err(|_| corrupt(table, "sha256"))?),
            retention_days: u16::try_from(self.retention_days).map_err(|_| corrupt(table, "retention_days"))?,
            received_at: from_ts(self.received_at),
        };
        Ok(MediaRow { media, ends: from_ts(self.ends) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use porchlight_domain::MediaKind;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn media() -> Media {
        Media {
            id: MediaId(Uuid::from_u128(1)),
            device: DeviceId(Uuid::from_u128(2)),
            event: EventId(Uuid::from_u128(3)),
            household: HouseholdId(Uuid::from_u128(4)),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 5,
            sha256: ContentHash([6; 32]),
            retention_days: 30,
            received_at: Timestamp(7),
        }
    }

    proptest! {
        #[test]
        fn a_media_survives_its_row(
            words in (0..MediaKind::ALL.len(), 0..ContentType::ALL.len()),
            bytes in 0..=u64::MAX >> 1,
            hash in any::<[u8; 32]>(),
            (retention_days, received, ends) in any::<(u16, i64, i64)>(),
        ) {
            let media = Media {
                kind: MediaKind::ALL[words.0],
                content_type: ContentType::ALL[words.1],
                bytes,
                sha256: ContentHash(hash),
                retention_days,
                received_at: Timestamp(received),
                ..media()
            };
            let row = MediaRow { ends: Timestamp(ends), media };
            prop_assert_eq!(StoredMedia::new(&row.media, row.ends).unwrap().read("media").unwrap(), row);
        }
    }

    #[test]
    fn rows_that_mean_nothing_are_corrupt() {
        let broken: [fn(&mut StoredMedia); 7] = [
            |row| row.kind = "sound".into(),
            |row| row.content_type = "text/html".into(),
            |row| row.bytes = -1,
            |row| row.sha256.truncate(31),
            |row| row.sha256.push(0),
            |row| row.retention_days = -1,
            |row| row.retention_days = 65_536,
        ];
        for (i, breaks) in broken.iter().enumerate() {
            let mut row = StoredMedia::new(&media(), Timestamp(8)).unwrap();
            breaks(&mut row);
            assert!(matches!(row.read("media"), Err(StoreError::Corrupt { table: "media", .. })), "{i}");
        }
        let endless = Media { bytes: u64::MAX, ..media() };
        assert!(matches!(StoredMedia::new(&endless, Timestamp(8)), Err(StoreError::Refused(_))));
    }
}
