//! The neighborhoods at one moment.

use std::sync::Arc;

use imbl::HashMap;

use porchlight_domain::{Borders, Cell, NeighborhoodId, NeighborhoodRef, Point, Undecided, Version};
use porchlight_geofence::{Change, GeofenceIndex, Geometry, Neighborhood, NeighborhoodIx, Owners, Point as GridPoint};
use porchlight_wire::NeighborhoodRecord;
use uuid::Uuid;

use crate::past::Past;

/// With more changes at once than this share of all, building the index anew is cheaper than changing it.
const REBUILD_ABOVE: usize = 8;

/// The neighborhoods at one moment. The next one shares with it what a change does not touch. Debug prints counts only.
#[derive(Clone, Default)]
pub struct Snapshot {
    current: HashMap<NeighborhoodId, Current>,
    index: GeofenceIndex,
    past: Past,
}

/// The version that counts now. A deleted one is known too, so that a late record of a lower version is recognized.
#[derive(Clone)]
struct Current {
    version: Version,
    name: Arc<str>,
    /// Empty if deleted.
    geometry: Arc<Geometry>,
    deleted: bool,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("neighborhoods", &self.len()).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The neighborhoods that hold the point now, in the order of their ids.
    pub fn locate(&self, point: Point) -> Vec<NeighborhoodRef> {
        self.refs(self.index.locate(grid(point)))
    }

    /// The same for many points, in their order: several times as fast as one by one.
    pub fn locate_batch(&self, points: &[Point]) -> Vec<Vec<NeighborhoodRef>> {
        let points: Vec<GridPoint> = points.iter().copied().map(grid).collect();
        let mut owners = Owners::default();
        self.index.locate_batch(&points, &mut owners);
        (0..points.len()).map(|n| self.refs(owners.of(n).iter().copied())).collect()
    }

    fn refs(&self, owners: impl Iterator<Item = NeighborhoodIx>) -> Vec<NeighborhoodRef> {
        let ids = owners.map(|ix| NeighborhoodId(Uuid::from_u128(self.index.neighborhood(ix).id)));
        let mut refs: Vec<NeighborhoodRef> =
            ids.filter_map(|id| Some(NeighborhoodRef { id, version: self.current(id)? })).collect();
        refs.sort_unstable();
        refs
    }

    /// What people call it; `None` if unknown or deleted.
    pub fn name(&self, id: NeighborhoodId) -> Option<&str> {
        self.living(id).map(|current| current.name.as_ref())
    }

    /// The cells that the current polygon may touch; empty if deleted or unknown.
    pub fn cells(&self, id: NeighborhoodId) -> Vec<Cell> {
        let cells = self.living(id).map(|current| current.geometry.cells(Cell::SHIFT)).unwrap_or_default();
        let cell = |(x, y)| Some(Cell { x: i16::try_from(x).ok()?, y: i16::try_from(y).ok()? });
        cells.into_iter().filter_map(cell).collect()
    }

    /// How many are not deleted.
    pub fn len(&self) -> usize {
        self.index.stats().neighborhoods
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// This with those records that are newer than what it knows.
    pub(crate) fn after(&self, records: &[Arc<NeighborhoodRecord>]) -> Self {
        let mut next = self.clone();
        let mut changed = Vec::new();
        for record in records {
            let known = next.current.get(&record.id);
            if known.is_some_and(|known| known.version >= record.version) {
                continue;
            }
            if let Some(before) = known {
                let version = NeighborhoodRef { id: record.id, version: before.version };
                next.past.keep(version, before.geometry.clone());
            }
            next.current.insert(record.id, Current::from(record.as_ref()));
            changed.push(record.id);
        }
        if changed.len() > 1 && changed.len() > next.current.len() / REBUILD_ABOVE {
            let living = next.current.iter().filter(|(_, current)| !current.deleted);
            let all: Vec<Neighborhood> = living.map(|(&id, current)| current.indexed(id)).collect();
            next.index = GeofenceIndex::build(&all);
        } else {
            for id in changed {
                let change = match next.living(id) {
                    Some(current) => Change::Put(current.indexed(id)),
                    None => Change::Remove(id.0.as_u128()),
                };
                next.index = next.index.apply(change);
            }
        }
        next
    }

    /// This with one more old version at hand.
    pub(crate) fn remembering(&self, record: &NeighborhoodRecord) -> Self {
        let mut next = self.clone();
        if self.current.get(&record.id).is_none_or(|current| current.version != record.version) {
            let version = NeighborhoodRef { id: record.id, version: record.version };
            next.past.keep(version, Current::from(record).geometry);
        }
        next
    }

    fn living(&self, id: NeighborhoodId) -> Option<&Current> {
        self.current.get(&id).filter(|current| !current.deleted)
    }
}

impl Borders for Snapshot {
    fn current(&self, id: NeighborhoodId) -> Option<Version> {
        self.living(id).map(|current| current.version)
    }

    fn is_known(&self, id: NeighborhoodId) -> bool {
        self.current.contains_key(&id)
    }

    fn holds(&self, neighborhood: NeighborhoodRef, point: Point) -> Result<bool, Undecided> {
        let now = self.current.get(&neighborhood.id).filter(|current| current.version == neighborhood.version);
        let geometry = now.map(|current| current.geometry.as_ref()).or_else(|| self.past.get(neighborhood));
        geometry.map(|geometry| geometry.contains(grid(point))).ok_or(Undecided(neighborhood))
    }
}

impl From<&NeighborhoodRecord> for Current {
    fn from(record: &NeighborhoodRecord) -> Self {
        let ring = |ring: &Vec<Point>| ring.iter().copied().map(grid).collect();
        let parts = record.parts.iter().map(|part| part.iter().map(ring).collect());
        // What a deleted record still holds of its polygon owns nothing.
        let parts = if record.deleted { Vec::new() } else { parts.collect() };
        Self {
            version: record.version,
            name: record.name.as_str().into(),
            geometry: Arc::new(Geometry { parts }),
            deleted: record.deleted,
        }
    }
}

impl Current {
    fn indexed(&self, id: NeighborhoodId) -> Neighborhood {
        Neighborhood { id: id.0.as_u128(), geometry: self.geometry.clone() }
    }
}

fn grid(point: Point) -> GridPoint {
    GridPoint { x: point.lon_e7, y: point.lat_e7 }
}
