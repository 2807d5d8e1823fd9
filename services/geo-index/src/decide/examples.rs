//! A small story for the tests: a person at a camera of Malden, and clips of it.

use porchlight_domain::{
    ContentHash, ContentType, DeviceId, Event, EventId, HouseholdId, Kind, Label, Media, MediaId, MediaKind,
    NeighborhoodId, NeighborhoodRef, Plan, Point, SharingPolicy, Stamped, Timestamp, Version,
};
use uuid::Uuid;

use super::LogPosition;

pub(super) const NOON: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const AT: LogPosition = LogPosition { partition: 3, offset: 41 };

pub(super) fn malden() -> Vec<NeighborhoodRef> {
    vec![NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(3)), version: Version(1) }]
}

/// Seen at noon; shared with its media, or not at all.
pub(super) fn person(shares: bool) -> Stamped {
    let event = Event {
        id: EventId(Uuid::from_u128(0x01a3_185c_5000_7000_8000_0000_0000_0001)),
        kind: Kind::Motion,
        labels: [Label::Person].into_iter().collect(),
        occurred_at: NOON,
        ended_at: None,
        familiar: false,
        confidence_permille: None,
        zone: None,
    };
    Stamped {
        digest: event.digest(),
        event,
        device: DeviceId(Uuid::from_u128(1)),
        household: HouseholdId(Uuid::from_u128(2)),
        point: Point { lon_e7: 0, lat_e7: 0 },
        policy: if shares { SharingPolicy::sharing([Label::Person]).with_media() } else { SharingPolicy::default() },
        plan: Plan::default(),
        sent_at: NOON,
        received_at: NOON,
    }
}

/// The `n`-th clip of [`person`], completed so many milliseconds after noon.
pub(super) fn clip(n: u8, after_ms: i64) -> Media {
    let stamped = person(true);
    let sha256 = ContentHash([n; 32]);
    Media {
        id: MediaId::of(stamped.device, stamped.event.id, MediaKind::Clip, &sha256),
        device: stamped.device,
        event: stamped.event.id,
        household: stamped.household,
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 1,
        sha256,
        retention_days: 30,
        received_at: NOON.plus_ms(after_ms),
    }
}
