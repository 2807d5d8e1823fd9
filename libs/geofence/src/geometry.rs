//! Fixed-point geometry and the border rule.

use crate::cover;

/// The antimeridian from the west: the same meridian as its negative, under which points are known.
pub(crate) const ANTIMERIDIAN: i32 = 1_800_000_000;
/// The north pole's latitude: the one place that has no north.
pub(crate) const NORTH_POLE: i32 = 900_000_000;

/// A position in 1e-7 degree (about 1 cm).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Point {
    /// Longitude, 1e-7 degree.
    pub x: i32,
    /// Latitude, 1e-7 degree.
    pub y: i32,
}

impl Point {
    /// The name under which a place on the antimeridian is known: -180, never 180. Only for places that are looked up:
    /// a ring's vertex keeps the side that its ring is on.
    pub(crate) fn canonical(self) -> Self {
        Self { x: if self.x == ANTIMERIDIAN { -ANTIMERIDIAN } else { self.x }, y: self.y }
    }

    /// As degrees, longitude first.
    pub(crate) fn degrees(self) -> (f64, f64) {
        (f64::from(self.x) / 1e7, f64::from(self.y) / 1e7)
    }
}

/// A closed ring without the repeated last vertex.
pub type Ring = Vec<Point>;

/// The edges of a ring, the closing one last.
pub(crate) fn edges(ring: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(&a, &b)| (a, b))
}

/// Twice the signed area of the triangle: positive if `c` lies left of the line from `a` to `b`, 0 if on it.
pub(crate) fn orientation(a: Point, b: Point, c: Point) -> i128 {
    let by = |p: Point| (i128::from(p.x) - i128::from(a.x), i128::from(p.y) - i128::from(a.y));
    let ((bx, by_), (cx, cy)) = (by(b), by(c));
    bx * cy - by_ * cx
}

/// The union of parts, each even-odd over its rings (shell first, then holes).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Geometry {
    /// Parts.
    pub parts: Vec<Vec<Ring>>,
}

impl Geometry {
    /// Whether it holds the point, by the border rule: a point on a border counts as moved a hair east, and by an even
    /// smaller hair north (at the north pole, which has no north: south). So of the polygons that meet in a point, in a
    /// partition of the plane, exactly one holds it, whatever the order, the start and the winding of their rings.
    ///
    /// 180 is -180: it is the polygon that begins at the antimeridian that holds a point on it, not the one that ends
    /// there. Brute force over all edges, exact for every `i32`.
    pub fn contains(&self, p: Point) -> bool {
        let p = p.canonical();
        self.parts.iter().any(|part| part_contains(part, p))
    }

    /// Every square of side `2^shift` units that the geometry may touch, as column and row (coordinates shifted right):
    /// all with a point inside, and otherwise only squares that a border runs through. Ascending.
    ///
    /// The number is the area's: a continent at a fine `shift` has millions.
    pub fn cells(&self, shift: u32) -> Vec<(i32, i32)> {
        cover::cells(self, shift)
    }

    /// How many vertices.
    pub fn vertices(&self) -> usize {
        self.parts.iter().flatten().map(Vec::len).sum()
    }
}

/// Even-odd over the rings of one part, for a canonical point.
pub(crate) fn part_contains(part: &[Ring], p: Point) -> bool {
    part.iter().flat_map(|ring| edges(ring)).filter(|&(a, b)| crosses_ray(a, b, p)).count() % 2 == 1
}

/// Whether the edge meets the ray that leaves the point to the east, a hair north of it, strictly east of the point.
fn crosses_ray(a: Point, b: Point, p: Point) -> bool {
    let above = |q: Point| if p.y >= NORTH_POLE { q.y >= p.y } else { q.y > p.y };
    if above(a) == above(b) || (a.x <= p.x && b.x <= p.x) {
        return false;
    }
    if a.x > p.x && b.x > p.x {
        return true;
    }
    let (low, high) = if above(b) { (a, b) } else { (b, a) };
    orientation(low, high, p) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(west: i32, south: i32, east: i32, north: i32) -> Geometry {
        let at = |x, y| Point { x, y };
        Geometry { parts: vec![vec![vec![at(west, south), at(east, south), at(east, north), at(west, north)]]] }
    }

    #[test]
    fn g4_a_square_owns_its_west_and_south_border_only() {
        let s = square(0, 0, 10, 10);
        for (x, y, held) in [(0, 0, true), (5, 0, true), (0, 5, true), (5, 5, true), (9, 9, true)] {
            assert_eq!(s.contains(Point { x, y }), held, "{x} {y}");
        }
        for (x, y) in [(10, 0), (10, 5), (10, 10), (5, 10), (0, 10), (-1, 5), (11, 5)] {
            assert!(!s.contains(Point { x, y }), "{x} {y}");
        }
    }

    #[test]
    fn g4_the_antimeridian_belongs_to_who_begins_there() {
        let (west, east) =
            (square(1_700_000_000, -10, ANTIMERIDIAN, 10), square(-ANTIMERIDIAN, -10, -1_700_000_000, 10));
        for x in [ANTIMERIDIAN, -ANTIMERIDIAN] {
            let p = Point { x, y: 0 };
            assert_eq!((west.contains(p), east.contains(p)), (false, true));
        }
    }

    #[test]
    fn g4_both_poles_have_an_owner() {
        let globe = [
            square(-ANTIMERIDIAN, -NORTH_POLE, 0, 0),
            square(0, -NORTH_POLE, ANTIMERIDIAN, 0),
            square(-ANTIMERIDIAN, 0, 0, NORTH_POLE),
            square(0, 0, ANTIMERIDIAN, NORTH_POLE),
        ];
        for x in [-ANTIMERIDIAN, -7, 0, 7, ANTIMERIDIAN] {
            for y in [-NORTH_POLE, 1 - NORTH_POLE, 0, NORTH_POLE - 1, NORTH_POLE] {
                let p = Point { x, y };
                assert_eq!(globe.iter().filter(|g| g.contains(p)).count(), 1, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_ring_of_nothing_holds_nothing() {
        let dot = Point { x: 3, y: 3 };
        for ring in [vec![], vec![dot], vec![dot, dot]] {
            assert!(!Geometry { parts: vec![vec![ring]] }.contains(dot));
        }
    }

    #[test]
    fn the_whole_range_of_i32_is_exact() {
        let g = square(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
        assert!(g.contains(Point { x: 0, y: 0 }));
        let at = |x, y| Point { x, y };
        let half = Geometry {
            parts: vec![vec![vec![at(i32::MIN, i32::MIN), at(i32::MAX, i32::MAX - 1), at(i32::MIN, i32::MAX - 1)]]],
        };
        assert!(half.contains(at(-5, 5)));
        assert!(!half.contains(at(5, -5)));
    }
}
