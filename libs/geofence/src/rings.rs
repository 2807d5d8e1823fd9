//! Exact questions about the rings of one part, each in time near the number of vertices: whether they cross, whether
//! they enclose anything, whether a hole lies in its shell.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    ops::Bound::{Excluded, Unbounded},
};

use geo::{
    Coord, Line,
    line_intersection::{LineIntersection, line_intersection},
};

use crate::geometry::{Point, Ring, edges, orientation};

/// Where two edges meet in more than an end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Crossing {
    /// The rings that the two edges belong to, the lower first.
    pub(crate) rings: (usize, usize),
    /// Whether they run along each other, rather than through each other.
    pub(crate) along: bool,
    /// Degrees, longitude first.
    pub(crate) at: (f64, f64),
}

/// The first place, from the west, where two edges of these rings cross or run along each other; rings may touch
/// themselves and each other in points.
///
/// A sweep (Shamos and Hoey 1976): edges enter and leave a set, ordered from south to north, as the line passes their
/// ends; two that cross are neighbors in it before they do, and every two that become neighbors are tried. Its first find
/// ends it, so that the order, which holds only as long as nothing has crossed, is never asked beyond that.
pub(crate) fn first_crossing(rings: &[Ring]) -> Option<Crossing> {
    let mut ends: Vec<(Point, End, Segment)> = Vec::new();
    for (ring, vertices) in rings.iter().enumerate() {
        for (a, b) in edges(vertices).filter(|(a, b)| a != b) {
            let segment = Segment { from: a.min(b), to: a.max(b), ring };
            ends.extend([(segment.from, End::Enters, segment), (segment.to, End::Leaves, segment)]);
        }
    }
    // At one point all leave before any enters: those that only touch there are never in the set together.
    ends.sort_unstable_by_key(|&(at, end, _)| (at, end));

    let mut active: BTreeSet<Segment> = BTreeSet::new();
    for (_, end, segment) in ends {
        match end {
            End::Leaves => {
                active.remove(&segment);
                let (below, above) = neighbors(&active, segment);
                if let (Some(below), Some(above)) = (below, above)
                    && let Some(crossing) = below.crosses(above)
                {
                    return Some(crossing);
                }
            }
            End::Enters => {
                if let Some(&other) = active.get(&segment) {
                    return Some(segment.meets(other, true, segment.from.degrees()));
                }
                let (below, above) = neighbors(&active, segment);
                if let Some(crossing) = below.into_iter().chain(above).find_map(|other| segment.crosses(other)) {
                    return Some(crossing);
                }
                active.insert(segment);
            }
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Leaves,
    Enters,
}

fn neighbors(active: &BTreeSet<Segment>, of: Segment) -> (Option<Segment>, Option<Segment>) {
    let below = active.range(..of).next_back().copied();
    let above = active.range((Excluded(of), Unbounded)).next().copied();
    (below, above)
}

/// An edge from its western to its eastern end (from the southern to the northern, if it is upright).
#[derive(Clone, Copy, Debug)]
struct Segment {
    from: Point,
    to: Point,
    ring: usize,
}

/// From south to north, for segments that the sweep line meets at once and that have not crossed west of it. Equal are
/// those that run along each other.
impl Ord for Segment {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.from > other.from {
            return other.cmp(self).reverse();
        }
        // The other enters later: on which side of this one, and if on it, to which side does it leave?
        let side = |p| orientation(self.from, self.to, p).cmp(&0);
        side(other.from).then_with(|| side(other.to)).reverse()
    }
}
impl PartialOrd for Segment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Segment {}

impl Segment {
    fn crosses(self, other: Self) -> Option<Crossing> {
        // Every i32 is an f64, and the predicates of `line_intersection` are exact; only the place it names is rounded.
        match line_intersection(self.line(), other.line()) {
            Some(LineIntersection::SinglePoint { intersection, is_proper: true }) => {
                Some(self.meets(other, false, (intersection.x / 1e7, intersection.y / 1e7)))
            }
            Some(LineIntersection::SinglePoint { is_proper: false, .. } | LineIntersection::Collinear { .. })
            | None => None,
        }
    }

    fn meets(self, other: Self, along: bool, at: (f64, f64)) -> Crossing {
        Crossing { rings: (self.ring.min(other.ring), self.ring.max(other.ring)), along, at }
    }

    fn line(self) -> Line<f64> {
        let coord = |p: Point| Coord { x: f64::from(p.x), y: f64::from(p.y) };
        Line::new(coord(self.from), coord(self.to))
    }
}

/// Whether even-odd over these rings is an area of zero.
///
/// Something is enclosed exactly if an odd number of edges lies on some stretch of some line. Along a line that number
/// changes its parity where an odd number of edges ends: so nothing is enclosed if, on every line, an even number ends
/// in every point. A point and a direction name a line.
pub(crate) fn enclose_nothing(rings: &[Ring]) -> bool {
    let mut odd: HashSet<(Point, (i64, i64))> = HashSet::new();
    for (a, b) in rings.iter().flat_map(|ring| edges(ring)).filter(|(a, b)| a != b) {
        let (from, to) = (a.min(b), a.max(b));
        let (dx, dy) = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let divisor = gcd(dx, dy.abs());
        for end in [from, to] {
            let key = (end, (dx / divisor, dy / divisor));
            if !odd.remove(&key) {
                odd.insert(key);
            }
        }
    }
    odd.is_empty()
}

/// Of two numbers that are not negative and not both 0.
fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether a hole that does not cross its shell lies in it: whether one spot of the hole does. The spot is just east of
/// the hole's westernmost edge half a unit above its southernmost vertex, where no vertex can be.
pub(crate) fn lies_in(hole: &[Point], shell: &[Point]) -> bool {
    let Some(south) = hole.iter().map(|p| p.y).min() else { return true };
    let doubled_y = 2 * i128::from(south) + 1;
    let Some(spot) = edges(hole).filter_map(|(a, b)| Longitude::at(a, b, doubled_y)).min() else { return true };
    edges(shell).filter_map(|(a, b)| Longitude::at(a, b, doubled_y)).filter(|x| *x > spot).count() % 2 == 1
}

/// Whether an edge of one ring crosses, or runs along, an edge of the other. By brute force: for rings that may cross
/// themselves too, where no sweep holds. Of edges whose boxes meet it looks at no more pairs than `patience`, which it
/// uses up, and says no beyond that: a megabyte of long edges side by side would take half a minute.
pub(crate) fn cross(a: &[Point], b: &[Point], patience: &mut usize) -> bool {
    let segments = |ring: &[Point]| -> Vec<(Segment, Line<f64>)> {
        let segments = edges(ring).map(|(from, to)| Segment { from: from.min(to), to: from.max(to), ring: 0 });
        segments.map(|segment| (segment, segment.line())).collect()
    };
    let others = segments(b);
    segments(a).into_iter().any(|(edge, line)| {
        let near = others.iter().filter(|(other, _)| boxes_meet(&edge, other));
        near.map_while(|other| {
            *patience = patience.checked_sub(1)?;
            Some(other)
        })
        .any(|(_, other)| match line_intersection(line, *other) {
            Some(LineIntersection::SinglePoint { is_proper, .. }) => is_proper,
            Some(LineIntersection::Collinear { intersection }) => intersection.start != intersection.end,
            None => false,
        })
    })
}

fn boxes_meet(a: &Segment, b: &Segment) -> bool {
    let rows = |s: &Segment| (s.from.y.min(s.to.y), s.from.y.max(s.to.y));
    let ((a_south, a_north), (b_south, b_north)) = (rows(a), rows(b));
    a.from.x <= b.to.x && b.from.x <= a.to.x && a_south <= b_north && b_south <= a_north
}

/// The exact longitude where an edge passes a latitude: a fraction with a positive denominator.
struct Longitude {
    numerator: i128,
    denominator: i128,
}

impl Longitude {
    /// At half of `doubled_y`, which is odd; `None` if the edge does not pass it.
    fn at(a: Point, b: Point, doubled_y: i128) -> Option<Self> {
        let (low, high) = if a.y < b.y { (a, b) } else { (b, a) };
        let (low_y, high_y) = (2 * i128::from(low.y), 2 * i128::from(high.y));
        if !(low_y < doubled_y && doubled_y < high_y) {
            return None;
        }
        let run = i128::from(high.x) - i128::from(low.x);
        let denominator = high_y - low_y;
        Some(Self { numerator: i128::from(low.x) * denominator + (doubled_y - low_y) * run, denominator })
    }
}

impl Ord for Longitude {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.numerator * other.denominator).cmp(&(other.numerator * self.denominator))
    }
}
impl PartialOrd for Longitude {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Longitude {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Longitude {}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{Geometry, geometry::part_contains};

    /// On a lattice so small that everything touches everything.
    fn rings() -> impl Strategy<Value = Vec<Ring>> {
        let point = (0..5, 0..5).prop_map(|(x, y)| Point { x, y });
        vec(vec(point, 3..8), 1..4)
    }

    fn any_two_cross(rings: &[Ring]) -> bool {
        let all: Vec<(Point, Point)> = rings.iter().flat_map(|r| edges(r)).filter(|(a, b)| a != b).collect();
        all.iter().enumerate().any(|(i, &(a, b))| {
            all[i + 1..].iter().any(|&(c, d)| {
                let sides = [
                    orientation(a, b, c).signum(),
                    orientation(a, b, d).signum(),
                    orientation(c, d, a).signum(),
                    orientation(c, d, b).signum(),
                ];
                let proper = sides[0] * sides[1] < 0 && sides[2] * sides[3] < 0;
                let along = sides == [0; 4] && a.min(b).max(c.min(d)) < a.max(b).min(c.max(d));
                proper || along
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 4000 }))]

        #[test]
        fn the_sweep_finds_a_crossing_exactly_if_there_is_one(rings in rings()) {
            prop_assert_eq!(first_crossing(&rings).is_some(), any_two_cross(&rings));
        }

        #[test]
        fn two_rings_cross_exactly_if_an_edge_of_each_does(rings in rings()) {
            if let [a, b, ..] = &rings[..] {
                let alone = any_two_cross(std::slice::from_ref(a)) || any_two_cross(std::slice::from_ref(b));
                prop_assert!(alone || cross(a, b, &mut 1000) == any_two_cross(&rings[..2]));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        #[cfg_attr(miri, ignore = "a hundred thousand points a case")]
        fn nothing_is_enclosed_exactly_if_no_point_is(rings in rings()) {
            // Between lattice points of this step lies a point of every area that edges can cut out.
            const STEP: i32 = 200;
            let large: Vec<Ring> =
                rings.iter().map(|r| r.iter().map(|p| Point { x: p.x * STEP, y: p.y * STEP }).collect()).collect();
            let held = (0..4 * STEP).step_by(3).any(|x| {
                (0..4 * STEP).step_by(3).any(|y| part_contains(&large, Point { x, y }))
            });
            prop_assert_eq!(enclose_nothing(&rings), !held);
        }
    }

    #[test]
    fn the_place_of_a_crossing_is_named() {
        let at = |x, y| Point { x: x * 10_000_000, y: y * 10_000_000 };
        let bow = vec![at(0, 0), at(2, 2), at(2, 0), at(0, 2)];
        let crossing = first_crossing(&[bow]).expect("it crosses");
        assert_eq!(crossing, Crossing { rings: (0, 0), along: false, at: (1.0, 1.0) });
    }

    #[test]
    fn a_hole_is_in_its_shell_wherever_it_touches() {
        let at = |x, y| Point { x, y };
        let shell = [at(0, 0), at(10, 0), at(10, 10), at(0, 10)];
        assert!(lies_in(&[at(0, 0), at(10, 5), at(5, 10)], &shell));
        assert!(lies_in(&[at(5, 0), at(10, 5), at(5, 10), at(0, 5)], &shell), "all its vertices on the shell");
        assert!(!lies_in(&[at(10, 5), at(15, 0), at(15, 10)], &shell));
        assert!(!lies_in(&[at(-1, -1), at(11, -1), at(11, 11), at(-1, 11)], &shell));
        let u = [at(0, 0), at(9, 0), at(9, 9), at(6, 9), at(6, 3), at(3, 3), at(3, 9), at(0, 9)];
        assert!(!lies_in(&[at(4, 4), at(5, 4), at(5, 5)], &u), "between the arms");
        let geometry = Geometry { parts: vec![vec![u.to_vec()]] };
        assert!(!geometry.contains(at(4, 4)));
    }
}
