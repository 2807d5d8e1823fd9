//! The index: immutable once built, swapped in by its owner; a reader never waits. Who is where is in [`crate::plane`];
//! here neighborhoods have their places, and answers their form.

use std::sync::Arc;

use crate::{
    Geometry, Point,
    geometry::NORTH_POLE,
    plane::{self, BLOCK, Counts as Cells, Found, Plane},
    shards::Shards,
};

/// The place of a neighborhood in the index. An id keeps its place through every [`GeofenceIndex::apply`], and no other
/// id ever gets it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NeighborhoodIx(pub u32);

/// A neighborhood to be indexed.
#[derive(Clone, Debug)]
pub struct Neighborhood {
    /// The caller's id, opaque.
    pub id: u128,
    /// Its polygon.
    pub geometry: Arc<Geometry>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// New, or a new polygon.
    Put(Neighborhood),
    /// Gone.
    Remove(u128),
}

/// Owners of a batch of points, in the points' order.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// For each point its owner, or [`NOBODY`], or [`SEVERAL`] and the place of a count in `several`.
    of: Vec<NeighborhoodIx>,
    /// Counts, each followed by as many owners.
    several: Vec<NeighborhoodIx>,
}

const NOBODY: NeighborhoodIx = NeighborhoodIx(plane::NOBODY);
const SEVERAL: u32 = 1 << 31;

impl Owners {
    /// Of the n-th point, ascending.
    ///
    /// # Panics
    /// If there were not as many points.
    pub fn of(&self, n: usize) -> &[NeighborhoodIx] {
        match self.of[n] {
            NOBODY => &[],
            NeighborhoodIx(one) if one < SEVERAL => &self.of[n..=n],
            NeighborhoodIx(place) => {
                let at = (place & !SEVERAL) as usize;
                &self.several[at + 1..][..self.several[at].0 as usize]
            }
        }
    }

    /// How many points it knows of.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What stands for some owners, ascending.
    #[inline(never)]
    fn word(found: &[u32], several: &mut Vec<NeighborhoodIx>) -> u32 {
        match *found {
            [] => NOBODY.0,
            [one] => one,
            _ => {
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let place = SEVERAL | count(several.len());
                several.push(NeighborhoodIx(count(found.len())));
                several.extend(found.iter().copied().map(NeighborhoodIx));
                place
            }
        }
    }
}

/// Counts, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Neighborhoods.
    pub neighborhoods: usize,
    /// Vertices.
    pub vertices: usize,
}

/// The index. Cheap to clone; what a change does not touch is shared between the index before and after it.
#[derive(Clone, Debug, Default)]
pub struct GeofenceIndex {
    places: Shards<u128, NeighborhoodIx>,
    entries: Shards<NeighborhoodIx, Arc<Entry>>,
    plane: Plane,
    /// Those that reach the north pole, which has no north: a point there has a rule of its own.
    polar: Arc<[NeighborhoodIx]>,
    stats: Stats,
}

/// A removed neighborhood stays, with an empty geometry, to keep its place.
#[derive(Debug)]
struct Entry {
    neighborhood: Neighborhood,
    live: bool,
}

impl GeofenceIndex {
    /// Builds it, on all processors. Of several neighborhoods with one id the last counts.
    pub fn build(neighborhoods: &[Neighborhood]) -> Self {
        let mut index = Self::default();
        for neighborhood in neighborhoods {
            index.put(neighborhood.clone(), true);
        }
        let mut live: Vec<_> = index.places.values().map(|ix| (*ix, index.entry(*ix))).collect();
        live.sort_unstable_by_key(|(ix, _)| *ix);
        let parts: Vec<_> =
            live.iter().flat_map(|(ix, entry)| plane::parts(ix.0, &entry.neighborhood.geometry)).collect();
        index.plane = Plane::build(&parts);
        index
    }

    /// The index after a change; touches only what the change touches. An unknown id in [`Change::Remove`] changes
    /// nothing.
    pub fn apply(&self, change: Change) -> Self {
        let mut index = self.clone();
        let (neighborhood, live) = match change {
            Change::Put(neighborhood) => (neighborhood, true),
            Change::Remove(id) if self.find(id).is_some() => (Neighborhood { id, geometry: Arc::default() }, false),
            Change::Remove(_) => return index,
        };
        let new = Arc::clone(&neighborhood.geometry);
        let (ix, old) = index.put(neighborhood, live);
        index.plane =
            self.plane.change(ix.0, &old, &new, |other| &self.entry(NeighborhoodIx(other)).neighborhood.geometry);
        index
    }

    /// The owners of a point, ascending.
    #[inline]
    pub fn locate(&self, point: Point) -> impl Iterator<Item = NeighborhoodIx> {
        let (found, mut n) = (self.find_all(point), 0);
        std::iter::from_fn(move || {
            let ix = *found.all().get(n)?;
            n += 1;
            Some(NeighborhoodIx(ix))
        })
    }

    /// The owners of many points. What `owners` held before is forgotten, its memory reused.
    ///
    /// Faster than one at a time: points do not wait for each other's memory. Faster still for points that lie near those
    /// before them.
    pub fn locate_batch(&self, points: &[Point], owners: &mut Owners) {
        owners.several.clear();
        owners.of.resize(points.len(), NOBODY);
        let mut words = [0; BLOCK];
        for (points, places) in points.chunks(BLOCK).zip(owners.of.chunks_mut(BLOCK)) {
            if let Some(all) = points.first_chunk() {
                self.locate_block(all, &mut words, &mut owners.several);
            } else {
                let mut padded = [points[0]; BLOCK];
                padded[..points.len()].copy_from_slice(points);
                self.locate_block(&padded, &mut words, &mut owners.several);
            }
            for (place, word) in places.iter_mut().zip(words) {
                *place = NeighborhoodIx(word);
            }
        }
    }

    #[inline]
    fn locate_block(&self, points: &[Point; BLOCK], words: &mut [u32; BLOCK], several: &mut Vec<NeighborhoodIx>) {
        let poles = self.plane.locate_block(points, words, |found| Owners::word(found, several));
        for n in plane::bits(poles) {
            words[n] = Owners::word(self.find_all(points[n]).all(), several);
        }
    }

    /// The caller's id and the geometry. Of one that was removed: an empty geometry.
    ///
    /// # Panics
    /// If the place is not one of this index.
    pub fn neighborhood(&self, ix: NeighborhoodIx) -> &Neighborhood {
        &self.entry(ix).neighborhood
    }

    /// Where an id stands, unless it was removed.
    pub fn find(&self, id: u128) -> Option<NeighborhoodIx> {
        let ix = *self.places.get(&id)?;
        self.entries.get(&ix)?.live.then_some(ix)
    }

    /// Heap bytes of the index itself. The geometries are the caller's; it shares them, and needs them for
    /// [`Self::apply`] only: see [`Self::geometry_bytes`].
    pub fn memory_bytes(&self) -> usize {
        let entries = self.entries.len() * (size_of::<Entry>() + 3 * size_of::<usize>());
        entries + self.places.memory_bytes() + self.entries.memory_bytes() + self.plane.memory_bytes()
    }

    /// Heap bytes of the geometries.
    pub fn geometry_bytes(&self) -> usize {
        let rings = |part: &Vec<Vec<Point>>| part.capacity() * size_of::<Vec<Point>>();
        let bytes = |entry: &Arc<Entry>| {
            let Neighborhood { geometry, .. } = &entry.neighborhood;
            let parts = geometry.parts.iter().map(rings).sum::<usize>();
            let vertices = geometry.parts.iter().flatten().map(Vec::capacity).sum::<usize>() * size_of::<Point>();
            size_of::<Geometry>() + geometry.parts.capacity() * size_of::<Vec<Vec<Point>>>() + parts + vertices
        };
        self.entries.values().map(bytes).sum()
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How it cut the plane: tiles, cells, and those of them that keep edges. Walks through all of it.
    pub fn cells(&self) -> Cells {
        self.plane.counts()
    }

    fn entry(&self, ix: NeighborhoodIx) -> &Entry {
        self.entries.get(&ix).expect("a place comes from this index or from one before it")
    }

    #[inline]
    fn find_all(&self, point: Point) -> Found<'_> {
        let point = point.canonical();
        if point.y < NORTH_POLE {
            return self.plane.locate(point);
        }
        let holds = |ix: &&NeighborhoodIx| self.neighborhood(**ix).geometry.contains(point);
        Found::Made(self.polar.iter().filter(holds).map(|ix| ix.0).collect())
    }

    /// Everything but the plane. Gives the place, and the geometry that stood there.
    fn put(&mut self, neighborhood: Neighborhood, live: bool) -> (NeighborhoodIx, Arc<Geometry>) {
        let id = neighborhood.id;
        let ix = match self.places.get(&id) {
            Some(&ix) => ix,
            None => {
                assert!(self.entries.len() < plane::MOST, "fewer than 2^30 neighborhoods");
                let ix = NeighborhoodIx(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
                self.places.insert(id, ix);
                ix
            }
        };
        let old = match self.entries.get(&ix) {
            Some(before) => {
                self.stats.neighborhoods -= usize::from(before.live);
                self.stats.vertices -= before.neighborhood.geometry.vertices();
                Arc::clone(&before.neighborhood.geometry)
            }
            None => Arc::default(),
        };
        self.stats.neighborhoods += usize::from(live);
        self.stats.vertices += neighborhood.geometry.vertices();
        let reaches_pole = neighborhood.geometry.parts.iter().flatten().flatten().any(|p| p.y >= NORTH_POLE);
        if reaches_pole || self.polar.contains(&ix) {
            let others = self.polar.iter().copied().filter(|other| *other != ix);
            let mut polar: Vec<_> = others.chain(reaches_pole.then_some(ix)).collect();
            polar.sort_unstable();
            self.polar = polar.into();
        }
        self.entries.insert(ix, Arc::new(Entry { neighborhood, live }));
        (ix, old)
    }
}
