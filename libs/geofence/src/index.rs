//! The index: immutable once built, swapped in by its owner; a reader never waits.
//!
//! Each neighborhood stands in the at most four squares that its bounding box meets, at the level whose squares are just
//! larger than the box. A point asks the one square of each level that is in use, and then the candidates themselves,
//! exactly.

use std::sync::Arc;

use crate::{Geometry, Point, Ring, geometry::part_contains, shards::Shards};

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
    /// Where the owners of the n-th point end in `owners`.
    ends: Vec<usize>,
    owners: Vec<NeighborhoodIx>,
}

impl Owners {
    /// Of the n-th point, ascending.
    ///
    /// # Panics
    /// If there were not as many points.
    pub fn of(&self, n: usize) -> &[NeighborhoodIx] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.owners[start..self.ends[n]]
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

/// Levels 0 to 32: squares of 1 unit to the whole plane.
const LEVELS: usize = 33;

/// A square: level, column, row.
type Square = (u8, i32, i32);

/// The index. Cheap to clone; what a change does not touch is shared between the index before and after it.
#[derive(Clone, Debug, Default)]
pub struct GeofenceIndex {
    places: Shards<u128, NeighborhoodIx>,
    entries: Shards<NeighborhoodIx, Arc<Entry>>,
    squares: Shards<Square, Arc<[Arc<Entry>]>>,
    /// How many neighborhoods stand at each level.
    at_level: Levels,
    stats: Stats,
}

#[derive(Clone, Debug)]
struct Levels([u32; LEVELS]);

impl Default for Levels {
    fn default() -> Self {
        Self([0; LEVELS])
    }
}

/// A neighborhood with the boxes round its parts. A removed one stays, with an empty geometry, to keep its place.
#[derive(Debug)]
struct Entry {
    ix: NeighborhoodIx,
    neighborhood: Neighborhood,
    live: bool,
    /// Round each part; empty parts hold nothing and have none.
    boxes: Vec<Option<Rect>>,
    bounds: Option<Rect>,
}

/// A box, its border included.
#[derive(Clone, Copy, Debug)]
struct Rect {
    min: Point,
    max: Point,
}

impl GeofenceIndex {
    /// Builds it. Of several neighborhoods with one id the last counts.
    pub fn build(neighborhoods: &[Neighborhood]) -> Self {
        let mut index = Self::default();
        for neighborhood in neighborhoods {
            index.put(neighborhood.clone(), true);
        }
        index
    }

    /// The index after a change; touches only what the change touches. An unknown id in [`Change::Remove`] changes
    /// nothing.
    pub fn apply(&self, change: Change) -> Self {
        let mut index = self.clone();
        match change {
            Change::Put(neighborhood) => index.put(neighborhood, true),
            Change::Remove(id) if self.find(id).is_some() => {
                index.put(Neighborhood { id, geometry: Arc::default() }, false);
            }
            Change::Remove(_) => {}
        }
        index
    }

    /// The owners of a point, ascending.
    pub fn locate(&self, point: Point) -> impl Iterator<Item = NeighborhoodIx> + '_ {
        let mut owners = Vec::new();
        self.locate_into(point, &mut owners);
        owners.into_iter()
    }

    /// The owners of many points. What `owners` held before is forgotten, its memory reused.
    pub fn locate_batch(&self, points: &[Point], owners: &mut Owners) {
        owners.ends.clear();
        owners.owners.clear();
        for &point in points {
            self.locate_into(point, &mut owners.owners);
            owners.ends.push(owners.owners.len());
        }
    }

    /// The caller's id and the geometry. Of one that was removed: an empty geometry.
    ///
    /// # Panics
    /// If the place is not one of this index.
    pub fn neighborhood(&self, ix: NeighborhoodIx) -> &Neighborhood {
        &self.entries.get(&ix).expect("a place comes from this index or from one before it").neighborhood
    }

    /// Where an id stands, unless it was removed.
    pub fn find(&self, id: u128) -> Option<NeighborhoodIx> {
        let ix = *self.places.get(&id)?;
        self.entries.get(&ix)?.live.then_some(ix)
    }

    /// Heap bytes, geometries among them (though their owner may share them).
    pub fn memory_bytes(&self) -> usize {
        let entries: usize = self.entries.values().map(|entry| entry.memory_bytes()).sum();
        let lists: usize =
            self.squares.values().map(|list| size_of_val::<[Arc<Entry>]>(list) + 2 * size_of::<usize>()).sum();
        entries + lists + self.places.memory_bytes() + self.entries.memory_bytes() + self.squares.memory_bytes()
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn locate_into(&self, point: Point, owners: &mut Vec<NeighborhoodIx>) {
        let point = point.canonical();
        let start = owners.len();
        for (level, _) in (0_u8..).zip(self.at_level.0).filter(|&(_, count)| count > 0) {
            let candidates = self.squares.get(&(level, square(point.x, level), square(point.y, level)));
            let candidates = candidates.into_iter().flat_map(|list| list.iter());
            owners.extend(candidates.filter(|entry| entry.holds(point)).map(|entry| entry.ix));
        }
        owners[start..].sort_unstable();
    }

    fn put(&mut self, neighborhood: Neighborhood, live: bool) {
        let id = neighborhood.id;
        let ix = match self.places.get(&id) {
            Some(&ix) => ix,
            None => {
                let ix = NeighborhoodIx(u32::try_from(self.entries.len()).expect("fewer than 2^32 neighborhoods"));
                self.places.insert(id, ix);
                ix
            }
        };
        if let Some(before) = self.entries.get(&ix).cloned() {
            self.count(&before, false);
            for square in before.squares() {
                let rest: Vec<_> = self.list(square).iter().filter(|entry| entry.ix != ix).cloned().collect();
                if rest.is_empty() {
                    self.squares.remove(&square);
                } else {
                    self.squares.insert(square, rest.into());
                }
            }
        }
        let entry = Arc::new(Entry::new(ix, neighborhood, live));
        self.count(&entry, true);
        for square in entry.squares() {
            let list: Vec<_> = self.list(square).iter().chain([&entry]).cloned().collect();
            self.squares.insert(square, list.into());
        }
        self.entries.insert(ix, entry);
    }

    fn list(&self, square: Square) -> &[Arc<Entry>] {
        self.squares.get(&square).map_or(&[], |list| list)
    }

    fn count(&mut self, entry: &Entry, present: bool) {
        let add = |total: usize, n: usize| if present { total + n } else { total - n };
        self.stats.neighborhoods = add(self.stats.neighborhoods, usize::from(entry.live));
        self.stats.vertices = add(self.stats.vertices, entry.neighborhood.geometry.vertices());
        if let Some(level) = entry.level() {
            let count = &mut self.at_level.0[usize::from(level)];
            *count = if present { *count + 1 } else { *count - 1 };
        }
    }
}

/// The column or row of a coordinate at a level.
fn square(coordinate: i32, level: u8) -> i32 {
    // A shift by 31 leaves the sign, and so does the shift by 32 that an i32 cannot do.
    coordinate >> level.min(31)
}

impl Entry {
    fn new(ix: NeighborhoodIx, neighborhood: Neighborhood, live: bool) -> Self {
        let boxes: Vec<_> = neighborhood.geometry.parts.iter().map(|part| Rect::round(part)).collect();
        let bounds = boxes.iter().flatten().copied().reduce(Rect::union);
        Self { ix, neighborhood, live, boxes, bounds }
    }

    fn holds(&self, p: Point) -> bool {
        let mut parts = self.boxes.iter().zip(&self.neighborhood.geometry.parts);
        self.bounds.is_some_and(|bounds| bounds.holds(p))
            && parts.any(|(bounds, part)| bounds.is_some_and(|b| b.holds(p)) && part_contains(part, p))
    }

    /// The lowest level whose squares are as large as the bounding box.
    fn level(&self) -> Option<u8> {
        let Rect { min, max } = self.bounds?;
        let size = max.x.abs_diff(min.x).max(max.y.abs_diff(min.y));
        // At most 32.
        u8::try_from(u32::BITS - size.leading_zeros()).ok()
    }

    /// The squares that the bounding box meets: at most two by two.
    fn squares(&self) -> Vec<Square> {
        let (Some(level), Some(Rect { min, max })) = (self.level(), self.bounds) else { return Vec::new() };
        let columns = square(min.x, level)..=square(max.x, level);
        columns.flat_map(|x| (square(min.y, level)..=square(max.y, level)).map(move |y| (level, x, y))).collect()
    }

    fn memory_bytes(&self) -> usize {
        let parts = &self.neighborhood.geometry.parts;
        let rings: usize = parts.iter().map(|part| size_of::<Vec<Ring>>() + part.len() * size_of::<Ring>()).sum();
        let vertices = self.neighborhood.geometry.vertices() * size_of::<Point>();
        size_of::<Self>() + rings + vertices + self.boxes.len() * size_of::<Option<Rect>>()
    }
}

impl Rect {
    fn round(part: &[Ring]) -> Option<Self> {
        part.iter().flatten().map(|&p| Self { min: p, max: p }).reduce(Self::union)
    }

    fn union(self, other: Self) -> Self {
        Self {
            min: Point { x: self.min.x.min(other.min.x), y: self.min.y.min(other.min.y) },
            max: Point { x: self.max.x.max(other.max.x), y: self.max.y.max(other.max.y) },
        }
    }

    fn holds(self, p: Point) -> bool {
        (self.min.x..=self.max.x).contains(&p.x) && (self.min.y..=self.max.y).contains(&p.y)
    }
}
