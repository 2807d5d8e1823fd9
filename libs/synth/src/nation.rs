//! A nation of towns: neighbors share their jagged borders vertex by vertex. Each border is made from the seed and its own
//! number, the same for both sides, so towns can be had one by one, and so can points whose owner is known without asking
//! any index.

use porchlight_geofence::{Geometry, Point, Ring};

/// Where it lies: about the contiguous United States. South-west corner and extent, in 1e-7 degree.
const CORNER: (i64, i64) = (-1_245_000_000, 245_000_000);
const EXTENT: (i64, i64) = (580_000_000, 250_000_000);

/// Towns in rows from the south, each row from the west, on a lattice whose corners are shaken.
#[derive(Clone, Copy, Debug)]
pub struct Nation {
    seed: u64,
    towns: u32,
    columns: u32,
    /// Of each of a town's four borders.
    steps: i64,
    /// Of a town's side, in units.
    side: i64,
}

/// Which border of a lattice corner: the one that leads on to the east, or to the north.
#[derive(Clone, Copy)]
enum Border {
    Eastward,
    Northward,
}

impl Nation {
    /// `towns` towns of about `vertices` vertices each (sixteen at least, and the same number for each border).
    pub fn new(seed: u64, towns: u32, vertices: u32) -> Self {
        let towns = towns.max(1);
        // As many rows to the extent's height as columns to its width.
        let rows = (u64::from(towns) * EXTENT.1.unsigned_abs() / EXTENT.0.unsigned_abs()).isqrt().max(1);
        let columns = u32::try_from(u64::from(towns).div_ceil(rows)).unwrap_or(u32::MAX);
        let side = EXTENT.0 / i64::from(columns);
        Self { seed, towns, columns, steps: (i64::from(vertices) / 4).clamp(4, (side / 64).max(4)), side }
    }

    /// How many towns.
    pub fn towns(&self) -> u32 {
        self.towns
    }

    /// The polygon of a town. Simple, without holes; runs counter-clockwise.
    pub fn town(&self, town: u32) -> Geometry {
        let (x, y) = self.place(town);
        let mut ring = Ring::new();
        let forth = |ring: &mut Ring, border, x, y| ring.extend((0..self.steps).map(|n| self.vertex(border, x, y, n)));
        let back = |ring: &mut Ring, border, x, y| {
            ring.extend((1..=self.steps).rev().map(|n| self.vertex(border, x, y, n)));
        };
        forth(&mut ring, Border::Eastward, x, y);
        forth(&mut ring, Border::Northward, x + 1, y);
        back(&mut ring, Border::Eastward, x, y + 1);
        back(&mut ring, Border::Northward, x, y);
        Geometry { parts: vec![vec![ring]] }
    }

    /// Anywhere in the nation's box.
    pub fn anywhere(&self, n: u64) -> Point {
        let height = self.side * i64::from(self.towns.div_ceil(self.columns));
        let dice = |what: u64, below: i64| (self.hash(what, n.cast_signed(), 0) % below.unsigned_abs()).cast_signed();
        point(CORNER.0 + dice(10, self.side * i64::from(self.columns)), CORNER.1 + dice(11, height))
    }

    /// The `n`th of as many points as wanted, and the town that owns it, if any does: every other one in the middle of a
    /// town, the others up to 200 units from a border, on it, or in one of its vertices.
    pub fn point(&self, n: u64) -> (Point, Option<u32>) {
        let dice = |what: u64, below: i64| (self.hash(what, n.cast_signed(), 1) % below.unsigned_abs()).cast_signed();
        let town = u32::try_from(dice(20, self.towns.into())).unwrap_or(0);
        let (x, y) = self.place(town);
        if n.is_multiple_of(2) {
            let (center, eighth) = (self.side / 2, self.side / 8);
            let at =
                |from: i64, place: i64, what: u64| from + place * self.side + center - eighth + dice(what, 2 * eighth);
            return (point(at(CORNER.0, x, 21), at(CORNER.1, y, 22)), Some(town));
        }
        // Not near a corner, where other borders are near.
        let border = if dice(23, 2) == 0 { Border::Eastward } else { Border::Northward };
        let step = (self.steps / 4 + dice(24, (self.steps / 2).max(1))).min(self.steps - 1);
        let (a, b) = (self.vertex(border, x, y, step), self.vertex(border, x, y, step + 1));
        // Along the border, and across it: a border to the east has its ways to the east and to the north.
        let turn = |p: Point| match border {
            Border::Eastward => (i64::from(p.x), i64::from(p.y)),
            Border::Northward => (i64::from(p.y), i64::from(p.x)),
        };
        let ((a_along, a_across), (b_along, b_across)) = (turn(a), turn(b));
        let along = if dice(25, 4) == 0 { a_along } else { a_along + dice(26, b_along - a_along) };
        let rise = (along - a_along) * (b_across - a_across);
        let across =
            a_across + rise.div_euclid(b_along - a_along) + if dice(27, 4) == 0 { 0 } else { dice(28, 401) - 200 };
        // Positive beyond the border: north of it, or east of it.
        let beyond = ((across - a_across) * (b_along - a_along) - rise).signum();
        let (p, is_beyond, other) = match border {
            // A hair to the east a border that rises is above the point, and one that falls below it.
            Border::Eastward => (point(along, across), beyond > 0 || (beyond == 0 && b_across <= a_across), (x, y - 1)),
            Border::Northward => (point(across, along), beyond >= 0, (x - 1, y)),
        };
        (p, if is_beyond { Some(town) } else { self.town_at(other) })
    }

    fn place(&self, town: u32) -> (i64, i64) {
        (i64::from(town % self.columns), i64::from(town / self.columns))
    }

    fn town_at(&self, (x, y): (i64, i64)) -> Option<u32> {
        let known = (0..i64::from(self.columns)).contains(&x) && y >= 0;
        let town = u32::try_from(y * i64::from(self.columns) + x).ok().filter(|town| *town < self.towns);
        town.filter(|_| known)
    }

    /// Of a border that begins at a corner, from 0 to the number of its steps.
    fn vertex(&self, border: Border, x: i64, y: i64, n: i64) -> Point {
        let (from, to) = match border {
            Border::Eastward => (self.corner(x, y), self.corner(x + 1, y)),
            Border::Northward => (self.corner(x, y), self.corner(x, y + 1)),
        };
        let which: u64 = match border {
            Border::Eastward => 1,
            Border::Northward => 2,
        };
        let straight = |a: i64, b: i64| a + (b - a) * n / self.steps;
        // Less and less towards its ends, so that borders of one corner do not meet again: at most a quarter of the way.
        let taper = |size: i64| 4 * size * n * (self.steps - n) / (self.steps * self.steps);
        // A slow wave, as of a river, and each vertex a bit to one side.
        let wave = self.noise(which + 2, x, y, n, 8, self.side / 24);
        let jag = self.shake(which + 4, x * (self.steps + 1) + n, y, self.side / self.steps * 3 / 5);
        let along = if n == 0 || n == self.steps {
            0
        } else {
            self.shake(which + 6, x * (self.steps + 1) + n, y, self.side / self.steps / 5)
        };
        let aside = taper(wave + jag);
        match border {
            Border::Eastward => point(straight(from.0, to.0) + along, straight(from.1, to.1) + aside),
            Border::Northward => point(straight(from.0, to.0) + aside, straight(from.1, to.1) + along),
        }
    }

    fn corner(&self, x: i64, y: i64) -> (i64, i64) {
        let shake = |what| self.shake(what, x, y, self.side / 10);
        (CORNER.0 + x * self.side + shake(8), CORNER.1 + y * self.side + shake(9))
    }

    /// From `-size` to `size`, straight between every so many.
    fn noise(&self, what: u64, x: i64, y: i64, n: i64, every: i64, size: i64) -> i64 {
        let at = |n: i64| self.shake(what, x * (self.steps + every) + n, y, size);
        let (first, part) = (n - n % every, n % every);
        at(first) + (at(first + every) - at(first)) * part / every
    }

    fn shake(&self, what: u64, x: i64, y: i64, size: i64) -> i64 {
        (self.hash(what, x, y) % (2 * size.unsigned_abs() + 1)).cast_signed() - size
    }

    /// The same for the same numbers, on every machine (splitmix64).
    fn hash(&self, what: u64, x: i64, y: i64) -> u64 {
        [what, x.cast_unsigned(), y.cast_unsigned()].into_iter().fold(self.seed, |seed, n| {
            let z = (seed ^ n).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }
}

/// All places are on the globe.
fn point(x: i64, y: i64) -> Point {
    let on_globe = |v: i64| i32::try_from(v).unwrap_or(0);
    Point { x: on_globe(x), y: on_globe(y) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use porchlight_geofence::{
        GeofenceIndex, Neighborhood,
        geojson::{self, Options},
    };

    use super::*;

    #[test]
    fn g4_every_point_has_the_owner_that_it_was_made_with() {
        for (towns, vertices) in [(1, 16), (60, 16), (500, 200), (4000, 50)] {
            let nation = Nation::new(7, towns, vertices);
            let all: Vec<_> = (0..towns)
                .map(|town| Neighborhood { id: town.into(), geometry: Arc::new(nation.town(town)) })
                .collect();
            let index = GeofenceIndex::build(&all);
            let mut owned = 0;
            for n in 0..20_000 {
                let (p, owner) = nation.point(n);
                let found: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
                assert_eq!(found, owner.map(u128::from).into_iter().collect::<Vec<_>>(), "{n}: {p:?} of {towns}");
                if n % 100 == 1 {
                    let by_brute_force = all.iter().filter(|town| town.geometry.contains(p)).count();
                    assert_eq!(by_brute_force, usize::from(owner.is_some()), "{n}");
                }
                owned += usize::from(owner.is_some());
            }
            assert!(owned > 9_000, "{owned}");
        }
    }

    #[test]
    fn towns_are_what_an_operator_may_upload() {
        let nation = Nation::new(3, 300, 200);
        for town in [0, 17, 299] {
            let geometry = nation.town(town);
            assert_eq!(geometry.vertices(), 200);
            let json = serde_json::to_vec(&geojson::write(&geometry)).unwrap_or_default();
            let read = geojson::read(&json, Options::default()).map(|features| features[0].geometry.clone());
            assert_eq!(read, Ok(geometry));
        }
    }
}
