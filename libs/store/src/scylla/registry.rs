//! The registry's tables: `schema/0001_registry.cql`. The statements that write homes by place stand in [`super::places`],
//! neighborhoods in [`super::neighborhoods`].

use std::sync::Arc;

use ::scylla::value::CqlTimestamp;
use async_trait::async_trait;
use porchlight_domain::{
    Cell, Clock, Device, DeviceId, Home, HomeId, HouseholdId, NeighborhoodId, NeighborhoodRef, Resident, ResidentId,
    SystemClock, Timestamp, Version,
};
use porchlight_wire::{NeighborhoodRecord, Wire};
use uuid::Uuid;

use super::{
    client::{Cql, Statement, statements},
    neighborhoods::Neighborhoods,
    places::Places,
};
use crate::{
    Household, Intent, IntentKind, PlacedHome, Read, Registry, StoreError, Written,
    registry::{MAX_INTENTS, MAX_MEMBERS, check_follows, check_span},
    rows::{HomeRow, corrupt, device_from, endpoints, ts, version_from, version_to},
};

/// Intents of this many milliseconds stand in one partition.
const INTENT_BUCKET_MS: i64 = 10_000;

const RESIDENT: &str = "resident";
const HOME: &str = "home";
const DEVICE: &str = "device";
const NEIGHBORHOOD: &str = "neighborhood";

statements! {
    /// All but places and neighborhoods.
    RegistryStatements {
        ping: Read "operators" "SELECT id FROM operators WHERE id = ?";

        resident: Read "residents" "SELECT household, endpoints, version FROM residents WHERE id = ?";
        insert_resident: ConditionalWrite "residents"
            "INSERT INTO residents (household, endpoints, version, id) VALUES (?, ?, ?, ?) IF NOT EXISTS";
        update_resident: ConditionalWrite "residents"
            "UPDATE residents SET household = ?, endpoints = ?, version = ? WHERE id = ? IF version = ?";

        members: Read "households" "SELECT kind, member FROM households WHERE household = ?";
        add_member: Write "households" "INSERT INTO households (household, kind, member) VALUES (?, ?, ?)";
        remove_member: Write "households" "DELETE FROM households WHERE household = ? AND kind = ? AND member = ?";

        home: Read "homes" "SELECT id, chosen, household, name, lon_e7, lat_e7, verified, deleted, since, version
            FROM homes WHERE id = ?";
        insert_home: ConditionalWrite "homes"
            "INSERT INTO homes (chosen, household, name, lon_e7, lat_e7, verified, deleted, since, version, id)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";
        update_home: ConditionalWrite "homes"
            "UPDATE homes SET chosen = ?, household = ?, name = ?, lon_e7 = ?, lat_e7 = ?, verified = ?, deleted = ?,
            since = ?, version = ? WHERE id = ? IF version = ?";

        device: Read "devices" "SELECT record, version FROM devices WHERE id = ?";
        insert_device: ConditionalWrite "devices"
            "INSERT INTO devices (record, version, id) VALUES (?, ?, ?) IF NOT EXISTS";
        update_device: ConditionalWrite "devices"
            "UPDATE devices SET record = ?, version = ? WHERE id = ? IF version = ?";
        first_devices: Read "devices" "SELECT id FROM devices LIMIT ?";
        next_devices: Read "devices" "SELECT id FROM devices WHERE token(id) > token(?) LIMIT ?";

        intend: Write "intents" "INSERT INTO intents (bucket, at, kind, id) VALUES (?, ?, ?, ?) USING TTL 600";
        intents: Read "intents" "SELECT at, kind, id FROM intents WHERE bucket = ? AND at >= ? AND at < ?";

        operator: Read "operators" "SELECT id FROM operators WHERE id = ?";
        add_operator: Write "operators" "INSERT INTO operators (id, note, at) VALUES (?, ?, ?)";
    }
}

pub(super) struct ScyllaRegistry {
    cql: Arc<Cql>,
    statements: RegistryStatements,
    places: Places,
    neighborhoods: Neighborhoods,
}

impl ScyllaRegistry {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self {
            statements: RegistryStatements::prepare(&cql).await?,
            places: Places::prepare(Arc::clone(&cql)).await?,
            neighborhoods: Neighborhoods::prepare(Arc::clone(&cql)).await?,
            cql,
        })
    }

    async fn set_member(&self, of: HouseholdId, kind: &str, member: Uuid, present: bool) -> Result<(), StoreError> {
        let statement = if present { &self.statements.add_member } else { &self.statements.remove_member };
        self.cql.write(statement, (of.0, kind, member)).await
    }
}

/// Ids in token order after `after`, at most `limit`.
pub(super) async fn page_of_ids(
    cql: &Cql,
    (first, next): (&Statement, &Statement),
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid,)> = match after {
        None => cql.rows(first, (limit_of(limit),), limit).await?,
        Some(after) => cql.rows(next, (after, limit_of(limit)), limit).await?,
    };
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// A limit as CQL takes it; never 0, which CQL refuses.
pub(super) fn limit_of(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

#[async_trait]
impl Registry for ScyllaRegistry {
    async fn ping(&self) -> Result<(), StoreError> {
        self.cql.one::<(Uuid,)>(&self.statements.ping, (Uuid::nil(),)).await.map(|_| ())
    }

    async fn resident(&self, id: ResidentId) -> Result<Option<Resident>, StoreError> {
        let row: Option<(Uuid, Vec<u8>, i64)> = self.cql.one(&self.statements.resident, (id.0,)).await?;
        row.map(|(household, stored, version)| {
            Ok(Resident {
                id,
                household: HouseholdId(household),
                endpoints: endpoints::decode(&stored)?,
                version: version_from(version, "residents")?,
            })
        })
        .transpose()
    }

    async fn put_resident(&self, resident: &Resident, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(resident.version, expected)?;
        let (household, id) = (resident.household.0, resident.id.0);
        let (stored, version) = (endpoints::encode(&resident.endpoints), version_to(resident.version)?);
        let s = &self.statements;
        match expected {
            None => self.cql.conditional(&s.insert_resident, (household, stored, version, id)).await,
            Some(expected) => {
                let values = (household, stored, version, id, version_to(expected)?);
                self.cql.conditional(&s.update_resident, values).await
            }
        }
    }

    async fn household(&self, id: HouseholdId) -> Result<Household, StoreError> {
        let rows: Vec<(String, Uuid)> = self.cql.rows(&self.statements.members, (id.0,), MAX_MEMBERS).await?;
        let mut household = Household::default();
        for (kind, member) in rows {
            match kind.as_str() {
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
        let row: Option<HomeRow> = self.cql.one(&self.statements.home.fresh(read), (id.0,)).await?;
        row.map(Home::try_from).transpose()
    }

    async fn put_home(&self, home: &Home, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(home.version, expected)?;
        let version = version_to(home.version)?;
        let pending = !home.verified && !home.deleted;
        // Before the row: a crash in between leaves a name too many in the list, never one too few.
        if pending {
            self.places.set_pending(home.id, home.version, true).await?;
        }
        let (id, chosen, household, name) = (home.id.0, home.chosen.0, home.household.0, home.name.as_str());
        let (lon, lat, since) = (home.point.lon_e7, home.point.lat_e7, ts(home.since));
        let (verified, deleted) = (home.verified, home.deleted);
        let written = match expected {
            None => {
                let values = (chosen, household, name, lon, lat, verified, deleted, since, version, id);
                self.cql.conditional(&self.statements.insert_home, values).await?
            }
            Some(expected) => {
                let expected = version_to(expected)?;
                let values = (chosen, household, name, lon, lat, verified, deleted, since, version, id, expected);
                self.cql.conditional(&self.statements.update_home, values).await?
            }
        };
        if written == Written::Applied && !pending {
            self.places.set_pending(home.id, home.version, false).await?;
        }
        Ok(written)
    }

    async fn place_home(&self, home: &PlacedHome) -> Result<(), StoreError> {
        self.places.place(home).await
    }

    async fn unplace_home(&self, cell: Cell, home: HomeId, version: Version) -> Result<(), StoreError> {
        self.places.unplace(cell, home, version).await
    }

    async fn homes_in(&self, cell: Cell, after: Option<HomeId>, limit: usize) -> Result<Vec<PlacedHome>, StoreError> {
        self.places.homes_in(cell, after, limit).await
    }

    async fn pending_homes(&self, limit: usize) -> Result<Vec<HomeId>, StoreError> {
        let mut found = Vec::new();
        for bucket in Places::pending_buckets() {
            let mut after = None;
            loop {
                let page = self.places.maybe_pending(bucket, after).await?;
                for &id in &page {
                    if found.len() >= limit {
                        return Ok(found);
                    }
                    // The list is a superset: the row decides.
                    if self.home(id, Read::Quorum).await?.is_some_and(|home| !home.verified && !home.deleted) {
                        found.push(id);
                    }
                }
                after = page.last().copied();
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn device(&self, id: DeviceId, read: Read) -> Result<Option<Device>, StoreError> {
        let row: Option<(Vec<u8>, i64)> = self.cql.one(&self.statements.device.fresh(read), (id.0,)).await?;
        row.map(|(record, version)| device_from(id, version, &record)).transpose()
    }

    async fn put_device(&self, device: &Device, expected: Option<Version>) -> Result<Written, StoreError> {
        check_follows(device.version, expected)?;
        let (record, version, id) = (device.encode(), version_to(device.version)?, device.id.0);
        let s = &self.statements;
        match expected {
            None => self.cql.conditional(&s.insert_device, (record, version, id)).await,
            Some(expected) => {
                self.cql.conditional(&s.update_device, (record, version, id, version_to(expected)?)).await
            }
        }
    }

    async fn neighborhood(&self, id: NeighborhoodId, read: Read) -> Result<Option<NeighborhoodRecord>, StoreError> {
        self.neighborhoods.current(id, read).await
    }

    async fn neighborhood_at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        self.neighborhoods.at(at).await
    }

    async fn put_neighborhood(
        &self,
        record: &NeighborhoodRecord,
        expected: Option<Version>,
    ) -> Result<Written, StoreError> {
        check_follows(record.version, expected)?;
        self.neighborhoods.put(record, expected).await
    }

    async fn neighborhood_ids(
        &self,
        after: Option<NeighborhoodId>,
        limit: usize,
    ) -> Result<Vec<NeighborhoodId>, StoreError> {
        self.neighborhoods.ids(after, limit).await
    }

    async fn device_ids(&self, after: Option<DeviceId>, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        let statements = (&self.statements.first_devices, &self.statements.next_devices);
        let ids = page_of_ids(&self.cql, statements, after.map(|id| id.0), limit).await?;
        Ok(ids.into_iter().map(DeviceId).collect())
    }

    async fn intend(&self, intent: Intent) -> Result<(), StoreError> {
        let (kind, id) = match intent.kind {
            IntentKind::Device(id) => (DEVICE, id.0),
            IntentKind::Neighborhood(id) => (NEIGHBORHOOD, id.0),
            IntentKind::Home(id) => (HOME, id.0),
        };
        let bucket = intent.at.0.div_euclid(INTENT_BUCKET_MS);
        self.cql.write(&self.statements.intend, (bucket, ts(intent.at), kind, id)).await
    }

    async fn intents(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Intent>, StoreError> {
        check_span(from, until)?;
        let mut found = Vec::new();
        // `until` itself is not asked for: the last bucket is that of the millisecond before it.
        let buckets = from.0.div_euclid(INTENT_BUCKET_MS)..=until.plus_ms(-1).0.div_euclid(INTENT_BUCKET_MS);
        for bucket in buckets {
            let values = (bucket, ts(from), ts(until));
            let rows: Vec<(CqlTimestamp, String, Uuid)> =
                self.cql.rows(&self.statements.intents, values, MAX_INTENTS).await?;
            for (at, kind, id) in rows {
                let kind = match kind.as_str() {
                    DEVICE => IntentKind::Device(DeviceId(id)),
                    NEIGHBORHOOD => IntentKind::Neighborhood(NeighborhoodId(id)),
                    HOME => IntentKind::Home(HomeId(id)),
                    _ => return Err(corrupt("intents", "kind")),
                };
                found.push(Intent { kind, at: Timestamp(at.0) });
            }
        }
        Ok(found)
    }

    async fn is_operator(&self, id: ResidentId) -> Result<bool, StoreError> {
        Ok(self.cql.one::<(Uuid,)>(&self.statements.operator, (id.0,)).await?.is_some())
    }

    async fn add_operator(&self, id: ResidentId, note: &str) -> Result<(), StoreError> {
        self.cql.write(&self.statements.add_operator, (id.0, note, ts(SystemClock.now()))).await
    }
}
