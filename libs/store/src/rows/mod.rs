//! Rows to values of the domain and back, for both adapters: what one of them binds to a statement, the other writes as
//! it is ([`encode`]). Reading is strict: a row that means nothing is [`StoreError::Corrupt`], with what is wrong and
//! without what is in it.

pub(crate) mod endpoints;
#[cfg(test)]
mod golden;
pub(crate) mod item;
pub(crate) mod media;
pub(crate) mod sweep;

use ::scylla::{DeserializeRow, value::CqlTimestamp};
use porchlight_domain::{
    AlertId, ChosenId, Device, DeviceId, Digest, EndpointId, EventId, Home, HomeId, HouseholdId, ItemId, Kind, Labels,
    MediaKind, NeighborhoodRef, Outcome, Point, PushId, ResidentId, Timestamp, Version,
};
use porchlight_wire::{NeighborhoodRecord, Wire};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Delivery, DeliveryOutcome, PlacedHome, SeenEvent, StoreError};

/// A row as bytes: MessagePack, the fields one after the other without their names. Therefore no field of a row may ever be
/// moved or taken out, and a new one comes last, with `#[serde(default)]`.
pub(crate) fn encode<R: Serialize>(row: &R, table: &'static str) -> Result<Vec<u8>, StoreError> {
    rmp_serde::to_vec(row).map_err(|_| StoreError::Refused(format!("a row of {table} cannot be written")))
}

/// The row that [`encode`] wrote.
pub(crate) fn decode<R: DeserializeOwned>(bytes: &[u8], table: &'static str) -> Result<R, StoreError> {
    rmp_serde::from_slice(bytes).map_err(|_| corrupt(table, "row"))
}

/// CQL's `timestamp` in [`encode`]d rows: milliseconds.
pub(crate) mod millis {
    use ::scylla::value::CqlTimestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &CqlTimestamp, to: S) -> Result<S::Ok, S::Error> {
        at.0.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<CqlTimestamp, D::Error> {
        i64::deserialize(from).map(CqlTimestamp)
    }
}

pub(crate) fn corrupt(table: &'static str, what: &str) -> StoreError {
    StoreError::Corrupt { table, reason: format!("{what} is out of range") }
}

/// Milliseconds as CQL's `timestamp`.
pub(crate) fn ts(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.0)
}

pub(crate) fn from_ts(at: CqlTimestamp) -> Timestamp {
    Timestamp(at.0)
}

/// A version as CQL's `bigint`.
pub(crate) fn version_to(version: Version) -> Result<i64, StoreError> {
    i64::try_from(version.0).map_err(|_| StoreError::Refused("a version does not fit 63 bits".into()))
}

/// A version, counted from 1.
pub(crate) fn version_from(version: i64, table: &'static str) -> Result<Version, StoreError> {
    match u64::try_from(version) {
        Ok(v @ 1..) => Ok(Version(v)),
        Ok(0) | Err(_) => Err(corrupt(table, "version")),
    }
}

pub(crate) fn revision_from(revision: i64, table: &'static str) -> Result<u32, StoreError> {
    u32::try_from(revision).map_err(|_| corrupt(table, "revision"))
}

pub(crate) fn point_from(lon_e7: i32, lat_e7: i32, table: &'static str) -> Result<Point, StoreError> {
    let on_the_globe =
        (-1_800_000_000..1_800_000_000).contains(&lon_e7) && (-900_000_000..=900_000_000).contains(&lat_e7);
    if on_the_globe { Ok(Point { lon_e7, lat_e7 }) } else { Err(corrupt(table, "lon_e7, lat_e7")) }
}

pub(crate) fn labels_from(bits: i32, table: &'static str) -> Result<Labels, StoreError> {
    let bits = u8::try_from(bits).map_err(|_| corrupt(table, "labels"))?;
    let labels = Labels::from_bits(bits);
    if labels.bits() == bits { Ok(labels) } else { Err(corrupt(table, "labels")) }
}

/// The word of a kind in rows.
pub(crate) fn kind_to(kind: Kind) -> &'static str {
    match kind {
        Kind::Motion => "motion",
        Kind::Ding => "ding",
    }
}

pub(crate) fn kind_from(word: &str, table: &'static str) -> Result<Kind, StoreError> {
    match word {
        "motion" => Ok(Kind::Motion),
        "ding" => Ok(Kind::Ding),
        _ => Err(corrupt(table, "kind")),
    }
}

pub(crate) fn media_kind_from(word: &str, table: &'static str) -> Result<MediaKind, StoreError> {
    MediaKind::parse(word).ok_or_else(|| corrupt(table, "kind of media"))
}

/// The write time, in microseconds, of what was received then.
pub(crate) fn written_at(received_at: Timestamp) -> i64 {
    received_at.0.saturating_mul(1000)
}

/// The write time of a home's copy by place. Between the removals of this version and of the next one: at equal write
/// times a removal would win.
pub(crate) fn placed_at(version: Version) -> Result<i64, StoreError> {
    unplaced_at(version).map(|at| at + 1)
}

/// The write time of a copy's removal as of a version.
pub(crate) fn unplaced_at(version: Version) -> Result<i64, StoreError> {
    let at = version_to(version)?.checked_mul(2).filter(|at| *at < i64::MAX);
    at.ok_or_else(|| StoreError::Refused("a version does not fit 62 bits".into()))
}

/// A row of `homes`.
#[derive(Serialize, Deserialize, DeserializeRow)]
pub(crate) struct HomeRow {
    id: Uuid,
    chosen: Uuid,
    household: Uuid,
    name: String,
    lon_e7: i32,
    lat_e7: i32,
    verified: bool,
    deleted: bool,
    #[serde(with = "millis")]
    since: CqlTimestamp,
    version: i64,
}

impl HomeRow {
    pub(crate) fn new(home: &Home) -> Result<Self, StoreError> {
        Ok(Self {
            id: home.id.0,
            chosen: home.chosen.0,
            household: home.household.0,
            name: home.name.clone(),
            lon_e7: home.point.lon_e7,
            lat_e7: home.point.lat_e7,
            verified: home.verified,
            deleted: home.deleted,
            since: ts(home.since),
            version: version_to(home.version)?,
        })
    }
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
#[derive(Serialize, Deserialize, DeserializeRow)]
pub(crate) struct PlacedRow {
    home: Uuid,
    household: Uuid,
    lon_e7: i32,
    lat_e7: i32,
    verified: bool,
    residents: Vec<Uuid>,
    version: i64,
}

impl PlacedRow {
    pub(crate) fn new(home: &PlacedHome) -> Result<Self, StoreError> {
        Ok(Self {
            home: home.home.0,
            household: home.household.0,
            lon_e7: home.point.lon_e7,
            lat_e7: home.point.lat_e7,
            verified: home.verified,
            residents: home.residents.iter().map(|resident| resident.0).collect(),
            version: version_to(home.version)?,
        })
    }
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
#[derive(Serialize, Deserialize, DeserializeRow)]
pub(crate) struct SeenRow {
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
    #[serde(with = "millis")]
    received_at: CqlTimestamp,
    #[serde(with = "millis")]
    expires_at: CqlTimestamp,
}

impl SeenRow {
    pub(crate) fn new(seen: &SeenEvent) -> Self {
        Self {
            device: seen.device.0,
            event: seen.event.0,
            log_partition: seen.partition,
            log_offset: seen.offset,
            digest: seen.digest.0.to_vec(),
            outcome: seen.outcome.as_str().to_owned(),
            item: seen.item.map(|(item, _)| item.0),
            item_revision: seen.item.map(|(_, revision)| revision.into()),
            shares_media: Some(seen.shares_media),
            received_at: ts(seen.received_at),
            expires_at: ts(seen.expires_at),
        }
    }
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

/// A device as its row keeps it: the bytes that are published.
pub(crate) fn device_from(id: DeviceId, version: i64, record: &[u8]) -> Result<Device, StoreError> {
    let device = Device::decode(record).map_err(|_| corrupt("devices", "record"))?;
    if device.id != id || device.version != version_from(version, "devices")? {
        return Err(corrupt("devices", "record"));
    }
    Ok(device)
}

/// A neighborhood as the row of its version keeps it.
pub(crate) fn neighborhood_from(at: NeighborhoodRef, record: &[u8]) -> Result<NeighborhoodRecord, StoreError> {
    match NeighborhoodRecord::decode(record) {
        Ok(record) if record.id == at.id && record.version == at.version => Ok(record),
        Ok(_) | Err(_) => Err(corrupt("neighborhood_versions", "record")),
    }
}

/// The outcome of a push that a word names.
pub(crate) fn delivery_outcome(word: &str, table: &'static str) -> Result<DeliveryOutcome, StoreError> {
    DeliveryOutcome::parse(word).ok_or_else(|| corrupt(table, "outcome"))
}

/// A row of `pushes_by_alert`.
#[derive(Serialize, Deserialize, DeserializeRow)]
pub(crate) struct DeliveryRow {
    alert: Uuid,
    resident: Uuid,
    revision: i64,
    endpoint: Uuid,
    push: Uuid,
    outcome: String,
    as_neighbor: bool,
    #[serde(with = "millis")]
    alert_created_at: CqlTimestamp,
    #[serde(with = "millis")]
    at: CqlTimestamp,
}

impl DeliveryRow {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        Self {
            alert: delivery.alert.0,
            resident: delivery.resident.0,
            revision: delivery.revision.into(),
            endpoint: delivery.endpoint.0,
            push: delivery.push.0,
            outcome: delivery.outcome.as_str().to_owned(),
            as_neighbor: delivery.as_neighbor,
            alert_created_at: ts(delivery.alert_created_at),
            at: ts(delivery.at),
        }
    }
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

    use super::*;

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
