//! The bytes of rows, pinned: folders of the embedded store hold them for years. A test that fails here means that what was
//! written cannot be read any more, or reads as something else.

#![allow(clippy::unwrap_used)]

use porchlight_domain::{
    AlertId, ChosenId, ContentHash, ContentType, DeviceId, Digest, EndpointId, EventId, Home, HomeId, HouseholdId,
    Item, ItemId, Kind, Labels, Media, MediaId, MediaKind, NeighborhoodId, NeighborhoodRef, Outcome, Point, PushId,
    ResidentId, Timestamp, Version,
    item::{GroupKey, ItemMedia, Shared},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    DeliveryRow, HomeRow, PlacedRow, SeenRow, decode, encode, item::ItemRow, media::StoredMedia, sweep::SweepRow, ts,
};
use crate::{Delivery, DeliveryOutcome, PlacedHome, SeenEvent};

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

const POINT: Point = Point { lon_e7: -710_662_000, lat_e7: 424_251_000 };

/// The row's bytes as they are, and as they come out of what was read of them.
fn print<R: Serialize + DeserializeOwned>(row: &R) -> String {
    let bytes = encode(row, "rows").unwrap();
    let read: R = decode(&bytes, "rows").unwrap();
    assert_eq!(encode(&read, "rows").unwrap(), bytes);
    Sha256::digest(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_rows_never_change() {
    let shared = Shared { revision: 3, since: Timestamp(4), updated_at: Timestamp(5), occurred_at: Timestamp(6) };
    let item = Item {
        id: ItemId(id(1)),
        group: GroupKey { device: DeviceId(id(2)), kind: Kind::Ding, familiar: true },
        household: HouseholdId(id(3)),
        labels: Labels::from_bits(5),
        shared_labels: Labels::from_bits(1),
        point: POINT,
        neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(id(4)), version: Version(9) }],
        revision: 7,
        shared: Some(shared),
        opened_at: Timestamp(10),
        updated_at: Timestamp(20),
        occurred_at: Timestamp(-5),
        last_occurred_at: Timestamp(15),
        last_event: EventId(id(6)),
        media: vec![ItemMedia { id: MediaId(id(7)), kind: MediaKind::Clip, shared: true, revision: 2 }],
        expires_at: Timestamp(1_000_000),
    };
    let media = Media {
        id: MediaId(id(1)),
        device: DeviceId(id(2)),
        event: EventId(id(3)),
        household: HouseholdId(id(4)),
        kind: MediaKind::Thumbnail,
        content_type: ContentType::Jpeg,
        bytes: 5,
        sha256: ContentHash([200; 32]),
        retention_days: 30,
        received_at: Timestamp(7),
    };
    let home = Home {
        id: HomeId(id(1)),
        chosen: ChosenId(id(2)),
        household: HouseholdId(id(3)),
        name: "Park Street".into(),
        point: POINT,
        verified: true,
        deleted: false,
        since: Timestamp(8),
        version: Version(4),
    };
    let placed = PlacedHome {
        home: HomeId(id(1)),
        household: HouseholdId(id(2)),
        point: POINT,
        verified: true,
        residents: vec![ResidentId(id(3))],
        version: Version(4),
    };
    let seen = SeenEvent {
        device: DeviceId(id(1)),
        event: EventId(id(2)),
        partition: 3,
        offset: 4,
        digest: Digest([9; 32]),
        outcome: Outcome::Alerted,
        item: Some((ItemId(id(5)), 6)),
        shares_media: true,
        received_at: Timestamp(7),
        expires_at: Timestamp(8),
    };
    let delivery = Delivery {
        push: PushId(id(1)),
        alert: AlertId(id(2)),
        revision: 3,
        resident: ResidentId(id(4)),
        endpoint: EndpointId(id(5)),
        outcome: DeliveryOutcome::HandedOver,
        as_neighbor: true,
        alert_created_at: Timestamp(6),
        at: Timestamp(7),
    };
    let sweep = SweepRow { holder: id(1), held_until: ts(Timestamp(2)), position: "media/a".into(), passes: 3 };
    let found = [
        ("items", print(&ItemRow::new(&item).unwrap())),
        ("media", print(&StoredMedia::new(&media, Timestamp(8)).unwrap())),
        ("homes", print(&HomeRow::new(&home).unwrap())),
        ("homes_by_cell", print(&PlacedRow::new(&placed).unwrap())),
        ("event_seen", print(&SeenRow::new(&seen))),
        ("pushes_by_alert", print(&DeliveryRow::new(&delivery))),
        ("sweeps", print(&sweep)),
    ];
    let pinned = [
        ("items", "18e4e05e08debc4d"),
        ("media", "37a92ba1cf3b6d15"),
        ("homes", "c9a5faca7b18fb96"),
        ("homes_by_cell", "5a772169b3535dbe"),
        ("event_seen", "89d997bec1d0a986"),
        ("pushes_by_alert", "69b44bbb005b7cda"),
        ("sweeps", "6eb64705823977da"),
    ];
    assert_eq!(found, pinned.map(|(table, print)| (table, print.to_owned())));
}

/// How a field is added.
#[test]
fn an_older_row_lacks_what_is_new_and_a_broken_one_is_corrupt() {
    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Older {
        a: u8,
        b: String,
    }
    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Newer {
        a: u8,
        b: String,
        #[serde(default)]
        c: Option<Uuid>,
    }
    let older = encode(&Older { a: 1, b: "b".into() }, "rows").unwrap();
    assert_eq!(decode::<Newer>(&older, "rows").unwrap(), Newer { a: 1, b: "b".into(), c: None });
    for broken in [&older[..2], &[0xff; 3], &[]] {
        let read = decode::<Newer>(broken, "rows");
        assert!(matches!(read, Err(crate::StoreError::Corrupt { table: "rows", .. })), "{broken:?}");
    }
}
