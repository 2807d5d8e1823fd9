//! Edges between two sets of owners, and the exact questions that the cells ask about them.

use crate::geometry::{Point, Ring, edges};

/// No second owner.
pub(super) const NOBODY: u32 = u32::MAX;

/// An edge whose crossing changes one owner, or two: most borders are those of two neighbors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// The western end; of a vertical edge the southern one.
    pub(super) a: Point,
    pub(super) b: Point,
    /// Numbers of parts, within what is being built. The first is less than the second.
    pub(super) toggles: [u32; 2],
}

/// A closed box, in units; wider than `i32`, for a cell's far side may lie beyond the plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) west: i64,
    pub(super) south: i64,
    pub(super) east: i64,
    pub(super) north: i64,
}

impl Area {
    /// From a corner, so many units to the east and to the north, the last of them included.
    pub(super) fn of((west, south): (i64, i64), size: i64) -> Self {
        Self { west, south, east: west + size, north: south + size }
    }
}

impl Edge {
    /// The edges of a part, those without length left out.
    pub(super) fn all(part: &[Ring], number: u32) -> impl Iterator<Item = Self> + '_ {
        let edges = part.iter().flat_map(|ring| edges(ring)).filter(|(a, b)| a != b);
        edges.map(move |(a, b)| Self { a: a.min(b), b: a.max(b), toggles: [number, NOBODY] })
    }

    /// Whether it meets a box, borders included.
    pub(super) fn meets(&self, area: &Area) -> bool {
        let (ax, ay, bx, by) = self.ends();
        if bx < area.west || ax > area.east || ay.min(by) > area.north || ay.max(by) < area.south {
            return false;
        }
        let inside = |x: i64, y: i64| area.west <= x && x <= area.east && area.south <= y && y <= area.north;
        if inside(ax, ay) || inside(bx, by) {
            return true;
        }
        // The boxes meet, so only the edge's own line can lie between them: it does if the two corners that are farthest
        // from it to either side are on one side. It runs eastward, so these lie across its slope.
        let (left, right) = if by >= ay {
            ((area.west, area.north), (area.east, area.south))
        } else {
            ((area.east, area.north), (area.west, area.south))
        };
        self.side(left) >= 0 && self.side(right) <= 0
    }

    /// Whether the ray from a point to the east, a hair north of it, meets the edge strictly east of the point.
    pub(super) fn is_east_of(&self, p: (i64, i64)) -> bool {
        let (_, ay, _, by) = self.ends();
        let (from, to) = (ay > p.1, by > p.1);
        from != to && if to { self.side(p) > 0 } else { self.side(p) < 0 }
    }

    /// Whether the line through `x` from south to north, a hair east of it, meets the edge strictly north of the
    /// point's place: a hair east of it, and by a smaller hair north.
    pub(super) fn is_north_of(&self, p: (i64, i64)) -> bool {
        let (ax, ay, bx, by) = self.ends();
        if (ax > p.0) == (bx > p.0) {
            return false;
        }
        let side = self.side(p);
        side < 0 || (side == 0 && by > ay)
    }

    /// 1 if the point lies to the left of the way from `a` to `b`, -1 if to the right, 0 if on its line.
    fn side(&self, p: (i64, i64)) -> i64 {
        let (ax, ay, bx, by) = self.ends();
        let (dx, dy, px, py) = (bx - ax, by - ay, p.0 - ax, p.1 - ay);
        let small = (dx.unsigned_abs() | dy.unsigned_abs() | px.unsigned_abs() | py.unsigned_abs()) >> 31 == 0;
        if small {
            (dx * py - dy * px).signum()
        } else {
            let wide = i128::from(dx) * i128::from(py) - i128::from(dy) * i128::from(px);
            i64::from(wide > 0) - i64::from(wide < 0)
        }
    }

    fn ends(&self) -> (i64, i64, i64, i64) {
        (i64::from(self.a.x), i64::from(self.a.y), i64::from(self.b.x), i64::from(self.b.y))
    }
}

/// Makes one edge of those that lie on each other end to end: what two parts share changes both; what one part has twice
/// changes nothing. Of three and more, as many edges as pairs.
pub(super) fn merge(edges: &mut Vec<Edge>) {
    edges.sort_unstable();
    let (mut kept, mut at) = (0, 0);
    while at < edges.len() {
        let first = edges[at];
        let mut next = at;
        let mut waiting = None;
        // Sorted by their first owner: twice the same stand side by side.
        while next < edges.len() && (edges[next].a, edges[next].b) == (first.a, first.b) {
            let owner = edges[next].toggles[0];
            let same =
                edges[next..].iter().take_while(|e| (e.a, e.b, e.toggles[0]) == (first.a, first.b, owner)).count();
            next += same;
            if same % 2 == 1 {
                match waiting.take() {
                    None => waiting = Some(owner),
                    Some(other) => {
                        edges[kept] = Edge { toggles: [other, owner], ..first };
                        kept += 1;
                    }
                }
            }
        }
        if let Some(owner) = waiting {
            edges[kept] = Edge { toggles: [owner, NOBODY], ..first };
            kept += 1;
        }
        at = next;
    }
    edges.truncate(kept);
}
