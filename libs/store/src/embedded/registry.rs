//! The registry. Rows of a version are written where the version that they follow stands; neighborhoods are in
//! [`super::neighborhoods`].

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{
    Cell, Device, DeviceId, Home, HomeId, HouseholdId, NeighborhoodId, NeighborhoodRef, Resident, ResidentId,
    Timestamp, Version,
};
use porchlight_wire::{NeighborhoodRecord, Wire};
use uuid::Uuid;

use super::{
    core::Core,
    key::{Key, Parts, Span, Table},
    neighborhoods,
    row::Row,
    writer::Change,
};
use crate::{
    Household, Intent, IntentKind, PlacedHome, Read, Registry, StoreError, Written,
    registry::{MAX_INTENTS, MAX_MEMBERS, check_follows, check_span},
    rows::{
        HomeRow, PlacedRow, corrupt, decode, device_from, encode, endpoints, placed_at, unplaced_at, version_from,
        version_to,
    },
};

/// How long an intent is kept.
const INTENT_MS: i64 = 600_000;

/// Kinds of members, and of intents, in keys.
const RESIDENT: u8 = 0;
const HOME: u8 = 1;
const DEVICE: u8 = 2;
const NEIGHBORHOOD: u8 = 3;

pub(super) struct EmbeddedRegistry(pub(super) Arc<Core>);

/// The key of a table that has one row for an id.
pub(super) fn by_id(table: Table, id: Uuid) -> Key {
    Key::of(table).uuid(id)
}

fn place(cell: Cell) -> Key {
    Key::of(Table::HomesByCell).i32(cell.key())
}

/// Writes a row if the version that stands there is the expected one.
pub(super) fn put(
    change: &mut Change<'_>,
    key: Key,
    expected: Option<Version>,
    version: Version,
    body: Vec<u8>,
) -> Result<Written, StoreError> {
    let stands = change.row(&key)?.map(|row| row.stamp);
    if stands != expected.map(version_to).transpose()? {
        return Ok(Written::Conflict);
    }
    change.set(key, Row::of_version(version_to(version)?, body));
    Ok(Written::Applied)
}

/// The ids of a table that has one row for each.
pub(super) async fn page_of_ids(
    core: &Core,
    table: Table,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    let all = Span::of(table, Key::of(table));
    let span = match after {
        Some(after) => all.after(by_id(table, after)),
        None => all,
    };
    core.read(table, move |view| view.first(&span, limit, |key, _| Parts::of(table, key).uuid())).await
}

impl EmbeddedRegistry {
    /// A row of a version.
    async fn versioned<T: Send + 'static>(
        &self,
        table: Table,
        id: Uuid,
        fresh: Read,
        read: impl FnOnce(Row, Vec<u8>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let found = self.0.read_as(fresh, table, move |view| {
            let row = view.row(&by_id(table, id))?;
            row.map(|mut row| {
                let body = row.body.take().unwrap_or_default();
                read(row, body)
            })
            .transpose()
        });
        found.await
    }

    async fn set_member(&self, of: HouseholdId, kind: u8, member: Uuid, present: bool) -> Result<(), StoreError> {
        let key = by_id(Table::Households, of.0).byte(kind).uuid(member);
        self.0
            .write(Table::Households, move |change| {
                let row =
                    if present { Row::plain(Vec::new()) } else { Row::removed(Table::Households, 0, change.now()) };
                change.set(key, row);
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    async fn resident(&self, id: ResidentId) -> Result<Option<Resident>, StoreError> {
        self.versioned(Table::Residents, id.0, Read::Quorum, move |row, body| {
            let (household, stored) = body.split_first_chunk().ok_or_else(|| corrupt("residents", "row"))?;
            Ok(Resident {
                id,
                household: HouseholdId(Uuid::from_bytes(*household)),
                endpoints: endpoints::decode(stored)?,
                version: version_from(row.stamp, "residents")?,
            })
        })
        .await
    }

    async fn put_resident(&self, resident: &Resident, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(resident.version, expected)?;
        let (key, version) = (by_id(Table::Residents, resident.id.0), resident.version);
        let body = [resident.household.0.as_bytes(), endpoints::encode(&resident.endpoints).as_slice()].concat();
        self.0.conditional(Table::Residents, move |change| put(change, key, expected, version, body)).await
    }

    async fn household(&self, id: HouseholdId) -> Result<Household, StoreError> {
        let span = Span::of(Table::Households, by_id(Table::Households, id.0));
        let members = self.0.read(Table::Households, move |view| {
            view.all(&span, MAX_MEMBERS, |key, _| {
                let mut parts = Parts::of(Table::Households, key);
                parts.uuid()?;
                Ok((parts.byte()?, parts.uuid()?))
            })
        });
        let mut household = Household::default();
        for (kind, member) in members.await? {
            match kind {
                RESIDENT => household.residents.push(ResidentId(member)),
                HOME => household.homes.push(HomeId(member)),
                DEVICE => household.devices.push(DeviceId(member)),
                _ => return Err(corrupt("households", "kind")),
            }
        }
        Ok(household)
    }

    async fn add_resident(&self, household: HouseholdId, resident: ResidentId) -> Result<(), StoreError> {
        self.set_member(household, RESIDENT, resident.0, true).await
    }

    async fn set_home(&self, household: HouseholdId, home: HomeId, present: bool) -> Result<(), StoreError> {
        self.set_member(household, HOME, home.0, present).await
    }

    async fn set_device(&self, household: HouseholdId, device: DeviceId, present: bool) -> Result<(), StoreError> {
        self.set_member(household, DEVICE, device.0, present).await
    }

    async fn home(&self, id: HomeId, read: Read) -> Result<Option<Home>, StoreError> {
        self.versioned(Table::Homes, id.0, read, |_, body| Home::try_from(decode::<HomeRow>(&body, "homes")?)).await
    }

    /// The home and its place in the list of those that wait, at once.
    async fn put_home(&self, home: &Home, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(home.version, expected)?;
        let (id, version, waits) = (home.id.0, home.version, !home.verified && !home.deleted);
        let body = encode(&HomeRow::new(home)?, "homes")?;
        self.0
            .conditional(Table::Homes, move |change| {
                let written = put(change, by_id(Table::Homes, id), expected, version, body)?;
                if written == Written::Applied {
                    let removed = || Row::removed(Table::PendingHomes, 0, change.now());
                    let row = if waits { Row::plain(Vec::new()) } else { removed() };
                    change.set(by_id(Table::PendingHomes, id), row);
                }
                Ok(written)
            })
            .await
    }

    async fn place_home(&self, home: &PlacedHome) -> Result<(), StoreError> {
        let key = place(Cell::of(home.point)).uuid(home.home.0);
        let body = encode(&PlacedRow::new(home)?, "homes_by_cell")?;
        let row = Row::new(placed_at(home.version)?, super::row::NEVER, body);
        self.0.write(Table::HomesByCell, move |change| change.write(key, row)).await
    }

    async fn unplace_home(&self, cell: Cell, home: HomeId, version: Version) -> Result<(), StoreError> {
        let (key, at) = (place(cell).uuid(home.0), unplaced_at(version)?);
        self.0
            .write(Table::HomesByCell, move |change| {
                let stone = Row::removed(Table::HomesByCell, at, change.now());
                change.write(key, stone)
            })
            .await
    }

    async fn homes_in(&self, cell: Cell, after: Option<HomeId>, limit: usize) -> Result<Vec<PlacedHome>, StoreError> {
        let all = Span::of(Table::HomesByCell, place(cell));
        let span = match after {
            Some(after) => all.after(place(cell).uuid(after.0)),
            None => all,
        };
        self.0
            .read(Table::HomesByCell, move |view| {
                view.first(&span, limit, |_, row| {
                    let row: PlacedRow = decode(&row.body.unwrap_or_default(), "homes_by_cell")?;
                    PlacedHome::try_from(row)
                })
            })
            .await
    }

    async fn pending_homes(&self, limit: usize) -> Result<Vec<HomeId>, StoreError> {
        let ids = page_of_ids(&self.0, Table::PendingHomes, None, limit).await?;
        Ok(ids.into_iter().map(HomeId).collect())
    }

    async fn device(&self, id: DeviceId, read: Read) -> Result<Option<Device>, StoreError> {
        self.versioned(Table::Devices, id.0, read, move |row, body| device_from(id, row.stamp, &body)).await
    }

    async fn put_device(&self, device: &Device, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(device.version, expected)?;
        let (key, version, body) = (by_id(Table::Devices, device.id.0), device.version, device.encode());
        self.0.conditional(Table::Devices, move |change| put(change, key, expected, version, body)).await
    }

    async fn neighborhood(&self, id: NeighborhoodId, read: Read) -> Result<Option<NeighborhoodRecord>, StoreError> {
        neighborhoods::current(&self.0, id, read).await
    }

    async fn neighborhood_at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        neighborhoods::at(&self.0, at).await
    }

    async fn put_neighborhood(
        &self,
        record: &NeighborhoodRecord,
        expected: Option<Version>,
    ) -> Result<Written, StoreError> {
        check_follows(record.version, expected)?;
        neighborhoods::put(&self.0, record, expected).await
    }

    async fn neighborhood_ids(
        &self,
        after: Option<NeighborhoodId>,
        limit: usize,
    ) -> Result<Vec<NeighborhoodId>, StoreError> {
        let ids = page_of_ids(&self.0, Table::Neighborhoods, after.map(|id| id.0), limit).await?;
        Ok(ids.into_iter().map(NeighborhoodId).collect())
    }

    async fn device_ids(&self, after: Option<DeviceId>, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        let ids = page_of_ids(&self.0, Table::Devices, after.map(|id| id.0), limit).await?;
        Ok(ids.into_iter().map(DeviceId).collect())
    }

    async fn intend(&self, intent: Intent) -> Result<(), StoreError> {
        let (kind, id) = match intent.kind {
            IntentKind::Device(id) => (DEVICE, id.0),
            IntentKind::Neighborhood(id) => (NEIGHBORHOOD, id.0),
            IntentKind::Home(id) => (HOME, id.0),
        };
        let key = Key::of(Table::Intents).time(intent.at).byte(kind).uuid(id);
        self.0
            .write(Table::Intents, move |change| {
                let ends = change.now().plus_ms(INTENT_MS);
                change.set(key, Row::new(0, ends, Vec::new()));
                Ok(())
            })
            .await
    }

    async fn intents(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Intent>, StoreError> {
        check_span(from, until)?;
        let at = |time| Key::of(Table::Intents).time(time);
        let span = Span::of(Table::Intents, Key::of(Table::Intents)).from(at(from)).before(at(until));
        self.0
            .read(Table::Intents, move |view| {
                view.all(&span, MAX_INTENTS, |key, _| {
                    let mut parts = Parts::of(Table::Intents, key);
                    let (at, kind, id) = (parts.time()?, parts.byte()?, parts.uuid()?);
                    let kind = match kind {
                        DEVICE => IntentKind::Device(DeviceId(id)),
                        NEIGHBORHOOD => IntentKind::Neighborhood(NeighborhoodId(id)),
                        HOME => IntentKind::Home(HomeId(id)),
                        _ => return Err(corrupt("intents", "kind")),
                    };
                    Ok(Intent { kind, at })
                })
            })
            .await
    }

    async fn is_operator(&self, id: ResidentId) -> Result<bool, StoreError> {
        let key = by_id(Table::Operators, id.0);
        self.0.read(Table::Operators, move |view| Ok(view.row(&key)?.is_some())).await
    }

    async fn add_operator(&self, id: ResidentId, note: &str) -> Result<(), StoreError> {
        let (key, note) = (by_id(Table::Operators, id.0), note.to_owned());
        self.0
            .write(Table::Operators, move |change| {
                change.set(key, Row::plain(encode(&(note, change.now().0), "operators")?));
                Ok(())
            })
            .await
    }
}
