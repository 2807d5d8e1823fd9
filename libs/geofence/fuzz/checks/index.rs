//! What the index promises for any neighborhoods, here made of bytes. Included by the fuzz target and by
//! `tests/corpus.rs`.

use std::{collections::BTreeMap, sync::Arc};

use porchlight_geofence::{Change, GeofenceIndex, Geometry, Neighborhood, NeighborhoodIx, Owners, Point, Ring};

/// Brute force takes their square.
const MAX_VERTICES: usize = 128;

type Expected = BTreeMap<u128, Arc<Geometry>>;

pub(crate) fn index(bytes: &[u8]) {
    let mut source = Source { bytes, origin: Point { x: 0, y: 0 }, seen: Vec::new() };
    source.origin = source.corner();
    let count = 1 + source.next() % 6;
    let all: Vec<Neighborhood> = (0..count).map(|_| source.neighborhood()).collect();
    let mut expected: Expected = all.iter().map(|n| (n.id, Arc::clone(&n.geometry))).collect();
    let change = source.change();

    let mut probes = Vec::new();
    all.iter().for_each(|n| around(&n.geometry, &mut probes));
    if let Change::Put(neighborhood) = &change {
        around(&neighborhood.geometry, &mut probes);
    }
    probes.sort_unstable();
    probes.dedup();
    let before = GeofenceIndex::build(&all);
    let after = before.apply(change.clone());
    compare(&before, &expected, &probes);
    match change {
        Change::Put(Neighborhood { id, geometry }) => drop(expected.insert(id, geometry)),
        Change::Remove(id) => drop(expected.remove(&id)),
    }
    compare(&after, &expected, &probes);
}

/// The points worth asking about: vertices, their neighbors, the middles of edges.
fn around(geometry: &Geometry, probes: &mut Vec<Point>) {
    for ring in geometry.parts.iter().flatten() {
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let steps = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)];
            probes.extend(steps.map(|(x, y)| Point { x: a.x.saturating_add(x), y: a.y.saturating_add(y) }));
            probes.push(Point { x: a.x.midpoint(b.x), y: a.y.midpoint(b.y) });
        }
    }
}

fn compare(index: &GeofenceIndex, expected: &Expected, probes: &[Point]) {
    assert_eq!(index.stats().neighborhoods, expected.len());
    let places: Vec<(NeighborhoodIx, &Geometry)> =
        expected.iter().map(|(id, geometry)| (index.find(*id).expect("it was put there"), &**geometry)).collect();
    let right = |p: &Point| {
        let mut owners: Vec<_> = places.iter().filter(|(_, g)| g.contains(*p)).map(|(ix, _)| *ix).collect();
        owners.sort_unstable();
        owners
    };
    let all: Vec<(Point, Vec<NeighborhoodIx>)> = probes.iter().map(|p| (*p, right(p))).collect();
    for (p, right) in &all {
        assert_eq!(index.locate(*p).collect::<Vec<_>>(), *right, "alone: {p:?}");
    }
    let mut owners = Owners::default();
    // Side by side and far apart: a batch goes other ways for points that lie near each other.
    for step in [1, 7] {
        let order: Vec<_> = (0..step).flat_map(|from| all.iter().skip(from).step_by(step)).collect();
        index.locate_batch(&order.iter().map(|(p, _)| *p).collect::<Vec<_>>(), &mut owners);
        assert_eq!(owners.len(), order.len());
        for (n, (p, right)) in order.into_iter().enumerate() {
            assert_eq!(owners.of(n), right, "in a batch: {p:?}");
        }
    }
}

/// Neighborhoods out of bytes; zeros when they end.
struct Source<'a> {
    bytes: &'a [u8],
    /// What all but the largest lie around.
    origin: Point,
    /// Every vertex so far, with its scale.
    seen: Vec<(u8, Point)>,
}

impl Source<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// Of the index's own squares, of the globe, of the numbers.
    fn corner(&mut self) -> Point {
        let (x, y) = match self.next() % 6 {
            0 => (0, 0),
            1 => (5 << 26, -3 << 26),
            2 => (1_800_000_000, 900_000_000),
            3 => (-1_800_000_000, -900_000_000),
            4 => (i32::MIN, i32::MAX),
            _ => (-710_600_000, 423_600_000),
        };
        Point { x, y }
    }

    fn neighborhood(&mut self) -> Neighborhood {
        let id = u128::from(self.next() % 8);
        // Seldom as large as the globe: that touches every square, which takes long.
        let scale = match self.next() % 32 {
            30 => 3,
            31 => 4,
            byte => byte % 3,
        };
        let shape = self.next();
        let parts = (0..shape % 4).map(|_| (0..=shape / 4 % 3).map(|_| self.ring(scale)).collect()).collect();
        Neighborhood { id, geometry: Arc::new(Geometry { parts }) }
    }

    fn change(&mut self) -> Change {
        match self.next() % 3 {
            0 => Change::Remove(u128::from(self.next() % 8)),
            _ => Change::Put(self.neighborhood()),
        }
    }

    fn ring(&mut self, scale: u8) -> Ring {
        let most = MAX_VERTICES.saturating_sub(self.seen.len());
        let byte = self.next();
        let count = usize::from(if byte < 192 { byte % 12 } else { byte % 64 }).min(most);
        (0..count).map(|_| self.vertex(scale)).collect()
    }

    /// One of the lattice, one from before, or a new one.
    fn vertex(&mut self, scale: u8) -> Point {
        let byte = self.next();
        let from = self.origin;
        let point = if scale == 0 {
            // So small a lattice that everything touches everything.
            let along = |from: i32, step: u8| from.saturating_add(i32::from(step) - 8);
            Point { x: along(from.x, byte % 16), y: along(from.y, byte / 16) }
        } else if let Some(point) = byte.checked_sub(192).and_then(|number| self.again(number, scale)) {
            point
        } else {
            let [x, y] = [(); 2].map(|()| i16::from_le_bytes([self.next(), self.next()]));
            let scaled = |step: i16, most: i64| {
                let far = i64::from(step.max(-i16::MAX)) * most / i64::from(i16::MAX);
                i32::try_from(far).expect("at most the most")
            };
            let at =
                |most| Point { x: from.x.saturating_add(scaled(x, most)), y: from.y.saturating_add(scaled(y, most)) };
            match scale {
                1 => at(10_000),
                2 => at(10_000_000),
                3 => Point { x: scaled(x, 1_800_000_000), y: scaled(y, 900_000_000) },
                _ => Point { x: scaled(x, i32::MAX.into()), y: scaled(y, i32::MAX.into()) },
            }
        };
        self.seen.push((scale, point));
        point
    }

    /// Borders that neighborhoods share are where it is hard. None of a larger scale, which would make this one as large.
    fn again(&self, number: u8, scale: u8) -> Option<Point> {
        let fit: Vec<Point> = self.seen.iter().filter(|(of, _)| *of <= scale).map(|(_, point)| *point).collect();
        fit.get(usize::from(number) % fit.len().max(1)).copied()
    }
}
