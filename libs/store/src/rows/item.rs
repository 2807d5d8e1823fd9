//! An item as a row of `items`, and back.

use ::scylla::{DeserializeRow, SerializeRow, value::CqlTimestamp};
use porchlight_domain::{
    DeviceId, EventId, HouseholdId, Item, ItemId, MediaId, NeighborhoodId, NeighborhoodRef, Timestamp,
    item::{GroupKey, ItemMedia, Shared},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    from_ts, kind_from, kind_to, labels_from, media_kind_from, millis, point_from, revision_from, ts, version_from,
    version_to, written_at,
};
use crate::StoreError;

/// The write time of an item: by its last receipt, then by revision. A thousand revisions within one millisecond would
/// be needed for two to tie.
pub(crate) fn item_written_at(item: &Item) -> i64 {
    written_at(item.updated_at).saturating_add(i64::from(item.revision.min(999)))
}

/// A row of `items`.
#[derive(Serialize, Deserialize, SerializeRow, DeserializeRow)]
pub(crate) struct ItemRow {
    id: Uuid,
    device: Uuid,
    kind: String,
    familiar: bool,
    household: Uuid,
    labels: i32,
    shared_labels: i32,
    lon_e7: i32,
    lat_e7: i32,
    neighborhoods: Vec<(Uuid, i64)>,
    revision: i64,
    shared_revision: i64,
    #[serde(with = "millis")]
    shared_since: CqlTimestamp,
    #[serde(with = "millis")]
    shared_updated_at: CqlTimestamp,
    #[serde(with = "millis")]
    shared_occurred_at: CqlTimestamp,
    #[serde(with = "millis")]
    opened_at: CqlTimestamp,
    #[serde(with = "millis")]
    updated_at: CqlTimestamp,
    #[serde(with = "millis")]
    occurred_at: CqlTimestamp,
    #[serde(with = "millis")]
    last_occurred_at: CqlTimestamp,
    last_event: Uuid,
    /// Null in rows of versions that knew no media.
    media: Option<Vec<(Uuid, String, bool, i64)>>,
    #[serde(with = "millis")]
    expires_at: CqlTimestamp,
}

impl ItemRow {
    pub(crate) fn new(item: &Item) -> Result<Self, StoreError> {
        let shared = |time: fn(&Shared) -> Timestamp| ts(item.shared.as_ref().map(time).unwrap_or_default());
        Ok(Self {
            id: item.id.0,
            device: item.group.device.0,
            kind: kind_to(item.group.kind).to_owned(),
            familiar: item.group.familiar,
            household: item.household.0,
            labels: item.labels.bits().into(),
            shared_labels: item.shared_labels.bits().into(),
            lon_e7: item.point.lon_e7,
            lat_e7: item.point.lat_e7,
            neighborhoods: item
                .neighborhoods
                .iter()
                .map(|n| Ok((n.id.0, version_to(n.version)?)))
                .collect::<Result<_, StoreError>>()?,
            revision: item.revision.into(),
            shared_revision: item.shared.map_or(0, |s| s.revision.into()),
            shared_since: shared(|s| s.since),
            shared_updated_at: shared(|s| s.updated_at),
            shared_occurred_at: shared(|s| s.occurred_at),
            opened_at: ts(item.opened_at),
            updated_at: ts(item.updated_at),
            occurred_at: ts(item.occurred_at),
            last_occurred_at: ts(item.last_occurred_at),
            last_event: item.last_event.0,
            media: Some(
                item.media.iter().map(|m| (m.id.0, m.kind.as_str().to_owned(), m.shared, m.revision.into())).collect(),
            ),
            expires_at: ts(item.expires_at),
        })
    }
}

impl TryFrom<ItemRow> for Item {
    type Error = StoreError;
    fn try_from(row: ItemRow) -> Result<Self, StoreError> {
        const TABLE: &str = "items";
        let shared = match revision_from(row.shared_revision, TABLE)? {
            0 => None,
            revision => Some(Shared {
                revision,
                since: from_ts(row.shared_since),
                updated_at: from_ts(row.shared_updated_at),
                occurred_at: from_ts(row.shared_occurred_at),
            }),
        };
        Ok(Self {
            id: ItemId(row.id),
            group: GroupKey {
                device: DeviceId(row.device),
                kind: kind_from(&row.kind, TABLE)?,
                familiar: row.familiar,
            },
            household: HouseholdId(row.household),
            labels: labels_from(row.labels, TABLE)?,
            shared_labels: labels_from(row.shared_labels, TABLE)?,
            point: point_from(row.lon_e7, row.lat_e7, TABLE)?,
            neighborhoods: row
                .neighborhoods
                .into_iter()
                .map(|(id, version)| {
                    Ok(NeighborhoodRef { id: NeighborhoodId(id), version: version_from(version, TABLE)? })
                })
                .collect::<Result<_, StoreError>>()?,
            revision: revision_from(row.revision, TABLE)?,
            shared,
            opened_at: from_ts(row.opened_at),
            updated_at: from_ts(row.updated_at),
            occurred_at: from_ts(row.occurred_at),
            last_occurred_at: from_ts(row.last_occurred_at),
            last_event: EventId(row.last_event),
            media: row
                .media
                .unwrap_or_default()
                .into_iter()
                .map(|(id, kind, shared, revision)| {
                    Ok(ItemMedia {
                        id: MediaId(id),
                        kind: media_kind_from(&kind, TABLE)?,
                        shared,
                        revision: revision_from(revision, TABLE)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            expires_at: from_ts(row.expires_at),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use porchlight_domain::{Kind, Labels, MediaKind, Point, Version};
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert_eq, proptest},
    };

    use super::*;

    fn item(revision: u32, shared: Option<Shared>, bits: u8) -> Item {
        Item {
            id: ItemId(Uuid::from_u128(1)),
            group: GroupKey { device: DeviceId(Uuid::from_u128(2)), kind: Kind::Ding, familiar: true },
            household: HouseholdId(Uuid::from_u128(3)),
            labels: Labels::from_bits(bits),
            shared_labels: Labels::from_bits(bits >> 1),
            point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
            neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(4)), version: Version(9) }],
            revision,
            shared,
            opened_at: Timestamp(10),
            updated_at: Timestamp(20),
            occurred_at: Timestamp(-5),
            last_occurred_at: Timestamp(15),
            last_event: EventId(Uuid::from_u128(6)),
            media: Vec::new(),
            expires_at: Timestamp(1_000_000),
        }
    }

    proptest! {
        #[test]
        fn an_item_survives_its_row(
            revision in 1_u32..,
            shared in any::<Option<(i64, i64, i64)>>(),
            bits in any::<u8>(),
            media in vec(any::<(u128, bool, bool, u32)>(), 0..5),
        ) {
            let shared = shared.map(|(since, updated, occurred)| Shared {
                revision,
                since: Timestamp(since),
                updated_at: Timestamp(updated),
                occurred_at: Timestamp(occurred),
            });
            let media = media.into_iter().map(|(id, is_clip, shared, revision)| ItemMedia {
                id: MediaId(Uuid::from_u128(id)),
                kind: if is_clip { MediaKind::Clip } else { MediaKind::Thumbnail },
                shared,
                revision,
            });
            let item = Item { media: media.collect(), ..item(revision, shared, bits) };
            prop_assert_eq!(Item::try_from(ItemRow::new(&item).unwrap()).unwrap(), item);
        }
    }

    #[test]
    fn a_row_of_a_version_that_knew_no_media_has_none() {
        let item = item(1, None, 1);
        let row = ItemRow { media: None, ..ItemRow::new(&item).unwrap() };
        assert_eq!(Item::try_from(row).unwrap(), item);
    }

    #[test]
    fn later_revisions_have_later_write_times() {
        let at = |updated, revision| {
            let item = Item { updated_at: Timestamp(updated), ..item(revision, None, 0) };
            item_written_at(&item)
        };
        assert!(at(20, 1) < at(20, 2));
        assert!(at(20, 5000) < at(21, 1));
        assert_eq!(at(20, 3), at(20, 3));
    }

    #[test]
    fn rows_that_mean_nothing_are_corrupt() {
        let broken: [fn(&mut ItemRow); 11] = [
            |row| row.kind = "knock".into(),
            |row| row.labels = 64,
            |row| row.shared_labels = -1,
            |row| row.lon_e7 = 1_800_000_000,
            |row| row.lat_e7 = 900_000_001,
            |row| row.revision = -1,
            |row| row.shared_revision = i64::MAX,
            |row| row.neighborhoods = vec![(Uuid::nil(), 0)],
            |row| row.media = Some(vec![(Uuid::nil(), "sound".into(), true, 1)]),
            |row| row.media = Some(vec![(Uuid::nil(), "clip".into(), true, -1)]),
            |row| row.media = Some(vec![(Uuid::nil(), "clip".into(), true, 1 << 32)]),
        ];
        for (i, breaks) in broken.iter().enumerate() {
            let mut row = ItemRow::new(&item(1, None, 1)).unwrap();
            breaks(&mut row);
            assert!(matches!(Item::try_from(row), Err(StoreError::Corrupt { table: "items", .. })), "{i}");
        }
    }
}
