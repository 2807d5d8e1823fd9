//! Rows to values of the domain and back. Reading is strict: a row that means nothing is [`StoreError::Corrupt`], with
//! what is wrong and without what is in it.

use ::scylla::{DeserializeRow, value::CqlTimestamp};
use porchlight_domain::{
    AlertId, ChosenId, DeviceId, Digest, EndpointId, EventId, Home, HomeId, HouseholdId, ItemId, Kind, Labels,
    MediaKind, Outcome, Point, PushId, ResidentId, Timestamp, Version,
};
use uuid::Uuid;

use crate::{Delivery, DeliveryOutcome, PlacedHome, SeenEvent, StoreError};

/// CQL's longest time to live, 20 years in seconds.
const MAX_TTL_S: i64 = 630_720_000;

pub(super) fn corrupt(table: &'static str, what: &str) -> StoreError {
    StoreError::Corrupt { table, reason: format!("{what} is out of range") }
}

/// Milliseconds as CQL's `timestamp`.
pub(super) fn ts(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.0)
}

pub(super) fn from_ts(at: CqlTimestamp) -> Timestamp {
    Timestamp(at.0)
}

/// A version as CQL's `bigint`.
pub(super) fn version_to(version: Version) -> Result<i64, StoreError> {
    i64::try_from(version.0).map_err(|_| StoreError::Refused("a version does not fit 63 bits".into()))
}

/// A version, counted from 1.
pub(super) fn version_from(version: i64, table: &'static str) -> Result<Version, StoreError> {
    match u64::try_from(version) {
        Ok(v @ 1..) => Ok(Version(v)),
        Ok(0) | Err(_) => Err(corrupt(table, "version")),
    }
}

pub(super) fn revision_from(revision: i64, table: &'static str) -> Result<u32, StoreError> {
    u32::try_from(revision).map_err(|_| corrupt(table, "revision"))
}

pub(super) fn point_from(lon_e7: i32, lat_e7: i32, table: &'static str) -> Result<Point, StoreError> {
    let on_the_globe =
        (-1_800_000_000..1_800_000_000).contains(&lon_e7) && (-900_000_000..=900_000_000).contains(&lat_e7);
    if on_the_globe { Ok(Point { lon_e7, lat_e7 }) } else { Err(corrupt(table, "lon_e7, lat_e7")) }
}

pub(super) fn labels_from(bits: i32, table: &'static str) -> Result<Labels, StoreError> {
    let bits = u8::try_from(bits).map_err(|_| corrupt(table, "labels"))?;
    let labels = Labels::from_bits(bits);
    if labels.bits() == bits { Ok(labels) } else { Err(corrupt(table, "labels")) }
}

/// The word of a kind in rows.
pub(super) fn kind_to(kind: Kind) -> &'static str {
    match kind {
        Kind::Motion => "motion",
        Kind::Ding => "ding",
    }
}

pub(super) fn kind_from(word: &str, table: &'static str) -> Result<Kind, StoreError> {
    match word {
        "motion" => Ok(Kind::Motion),
        "ding" => Ok(Kind::Ding),
        _ => Err(corrupt(table, "kind")),
    }
}

pub(super) fn media_kind_from(word: &str, table: &'static str) -> Result<MediaKind, StoreError> {
    MediaKind::parse(word).ok_or_else(|| corrupt(table, "kind of media"))
}

/// Whole seconds until `expires_at`, rounded up, and one more; `None` if that is past: such a row is not written.
///
/// The database counts from the whole second in which it writes, so the seconds left alone would end a row up to a second
/// early. Late is harmless: what is past its expiry is absent on read.
#[allow(clippy::cast_possible_truncation)] // at most MAX_TTL_S
pub(super) fn ttl_s(expires_at: Timestamp, now: Timestamp) -> Option<i32> {
    let left_ms = expires_at.since(now);
    (left_ms > 0).then(|| ((left_ms - 1) / 1000 + 2).min(MAX_TTL_S) as i32)
}

/// The write time, in microseconds, of what was received then.
pub(super) fn written_at(received_at: Timestamp) -> i64 {
    received_at.0.saturating_mul(1000)
}

/// The write time of a home's copy by place. Between the removals of this version and of the next one: at equal write
/// times a removal would win.
pub(super) fn placed_at(version: Version) -> Result<i64, StoreError> {
    unplaced_at(version).map(|at| at + 1)
}

/// The write time of a copy's removal as of a version.
pub(super) fn unplaced_at(version: Version) -> Result<i64, StoreError> {
    let at = version_to(version)?.checked_mul(2).filter(|at| *at < i64::MAX);
    at.ok_or_else(|| StoreError::Refused("a version does not fit 62 bits".into()))
}

/// A row of `homes`.
#[derive(DeserializeRow)]
pub(super) struct HomeRow {
    id: Uuid,
    chosen: Uuid,
    household: Uuid,
    name: String,
    lon_e7: i32,
    lat_e7: i32,
    verified: bool,
    deleted: bool,
    since: CqlTimestamp,
    version: i64,
}

impl TryFrom<HomeRow> for Home {
    type Error = StoreError;
    fn try_from(row: HomeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: HomeId(row.id),
            chosen: ChosenId(row.chosen),
            household: HouseholdId(row.household),
            name: row.name,
            point: point_from(row.lon_e7, row.lat_e7, "homes")?,
            verified: row.verified,
            deleted: row.deleted,
            since: from_ts(row.since),
            version: version_from(row.version, "homes")?,
        })
    }
}

/// A row of `homes_by_cell`.
#[derive(DeserializeRow)]
pub(super) struct PlacedRow {
    home: Uuid,
    household: Uuid,
    lon_e7: i32,
    lat_e7: i32,
    verified: bool,
    residents: Vec<Uuid>,
    version: i64,
}

impl TryFrom<PlacedRow> for PlacedHome {
    type Error = StoreError;
    fn try_from(row: PlacedRow) -> Result<Self, StoreError> {
        Ok(Self {
            home: HomeId(row.home),
            household: HouseholdId(row.household),
            point: point_from(row.lon_e7, row.lat_e7, "homes_by_cell")?,
            verified: row.verified,
            residents: row.residents.into_iter().map(ResidentId).collect(),
            version: version_from(row.version, "homes_by_cell")?,
        })
    }
}

/// A row of `event_seen`.
#[derive(DeserializeRow)]
pub(super) struct SeenRow {
    device: Uuid,
    event: Uuid,
    log_partition: i32,
    log_offset: i64,
    digest: Vec<u8>,
    outcome: String,
    item: Option<Uuid>,
    item_revision: Option<i64>,
    /// Null in rows of versions that knew no media.
    shares_media: Option<bool>,
    received_at: CqlTimestamp,
    expires_at: CqlTimestamp,
}

impl TryFrom<SeenRow> for SeenEvent {
    type Error = StoreError;
    fn try_from(row: SeenRow) -> Result<Self, StoreError> {
        const TABLE: &str = "event_seen";
        let item = match (row.item, row.item_revision) {
            (Some(item), Some(revision)) => Some((ItemId(item), revision_from(revision, TABLE)?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(corrupt(TABLE, "item, item_revision")),
        };
        Ok(Self {
            device: DeviceId(row.device),
            event: EventId(row.event),
            partition: row.log_partition,
            offset: row.log_offset,
            digest: Digest(row.digest.try_into().map_err(|_| corrupt(TABLE, "digest"))?),
            outcome: Outcome::parse(&row.outcome).ok_or_else(|| corrupt(TABLE, "outcome"))?,
            item,
            shares_media: row.shares_media.unwrap_or(false),
            received_at: from_ts(row.received_at),
            expires_at: from_ts(row.expires_at),
        })
    }
}

/// The outcome of a push that a word names.
pub(super) fn delivery_outcome(word: &str, table: &'static str) -> Result<DeliveryOutcome, StoreError> {
    DeliveryOutcome::parse(word).ok_or_else(|| corrupt(table, "outcome"))
}

/// A row of `pushes_by_alert`.
#[derive(DeserializeRow)]
pub(super) struct DeliveryRow {
    alert: Uuid,
    resident: Uuid,
    revision: i64,
    endpoint: Uuid,
    push: Uuid,
    outcome: String,
    as_neighbor: bool,
    alert_created_at: CqlTimestamp,
    at: CqlTimestamp,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;
    fn try_from(row: DeliveryRow) -> Result<Self, StoreError> {
        const TABLE: &str = "pushes_by_alert";
        Ok(Self {
            push: PushId(row.push),
            alert: AlertId(row.alert),
            revision: revision_from(row.revision, TABLE)?,
            resident: ResidentId(row.resident),
            endpoint: EndpointId(row.endpoint),
            outcome: delivery_outcome(&row.outcome, TABLE)?,
            as_neighbor: row.as_neighbor,
            alert_created_at: from_ts(row.alert_created_at),
            at: from_ts(row.at),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        /// A replay computes the end of a row anew: it must not fall later than the first time, bar the whole second's fraction.
        #[test]
        fn g6_what_is_left_ends_when_it_should(now in 0_i64..4_000_000_000_000, left in 1_i64..40_000_000_000) {
            let expires_at = Timestamp(now + left);
            let ttl = i64::from(ttl_s(expires_at, Timestamp(now)).unwrap());
            let over = now + ttl * 1000 - expires_at.0;
            prop_assert_eq!((1000..2000).contains(&over), true, "{} ms over", over);
        }
    }

    #[test]
    fn g6_a_row_past_its_end_is_not_written() {
        assert_eq!(ttl_s(Timestamp(1000), Timestamp(1000)), None);
        assert_eq!(ttl_s(Timestamp(1000), Timestamp(5000)), None);
        assert_eq!(ttl_s(Timestamp(i64::MAX), Timestamp(0)), Some(630_720_000));
    }

    #[test]
    fn the_newest_version_of_a_place_wins_and_a_copy_stands_against_its_own_removal() {
        let (placed, unplaced) = (|v| placed_at(Version(v)).unwrap(), |v| unplaced_at(Version(v)).unwrap());
        for v in 1..5 {
            assert!(unplaced(v) < placed(v), "a copy too many is judged by the gate, one too few is not told");
            assert!(placed(v) < unplaced(v + 1), "a late copy does not come back");
        }
        assert!(placed_at(Version(u64::MAX)).is_err());
        assert!(placed_at(Version(u64::MAX >> 1)).is_err());
    }
}
