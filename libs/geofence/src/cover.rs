//! The squares that a geometry touches.

use crate::geometry::{Geometry, Point, Ring, edges};

/// See [`Geometry::cells`].
pub(crate) fn cells(geometry: &Geometry, shift: u32) -> Vec<(i32, i32)> {
    let shift = shift.min(31);
    let mut cells = Vec::new();
    for part in &geometry.parts {
        part_cells(part, shift, &mut cells);
    }
    cells.sort_unstable();
    cells.dedup();
    cells
}

/// An edge from its lower to its upper end.
#[derive(Clone, Copy)]
struct Edge {
    low: Point,
    high: Point,
}

/// The columns of one row that an edge runs through.
struct Run {
    first: i32,
    last: i32,
    /// Whether the edge crosses the row's lower side, so that inside and outside change places there.
    crosses: bool,
}

/// Row by row: the columns that edges run through, and the gaps between them, which no edge touches and which are
/// therefore wholly inside or wholly outside.
fn part_cells(part: &[Ring], shift: u32, cells: &mut Vec<(i32, i32)>) {
    let mut waiting: Vec<Edge> = part
        .iter()
        .flat_map(|ring| edges(ring))
        .map(|(a, b)| if a.y <= b.y { Edge { low: a, high: b } } else { Edge { low: b, high: a } })
        .collect();
    waiting.sort_unstable_by_key(|e| std::cmp::Reverse(e.low.y));
    let (Some(first), Some(last)) = (waiting.last().map(|e| e.low.y), waiting.iter().map(|e| e.high.y).max()) else {
        return;
    };

    let mut active: Vec<Edge> = Vec::new();
    for row in (first >> shift)..=(last >> shift) {
        let south = row << shift;
        let north = south | (i32::MAX >> (31 - shift));
        while let Some(edge) = waiting.pop_if(|e| e.low.y <= north) {
            active.push(edge);
        }
        let mut runs: Vec<Run> = active.iter().map(|e| e.run(south, north, shift)).collect();
        runs.sort_unstable_by_key(|r| r.first);
        let mut inside = false;
        let mut next = i32::MIN;
        for run in runs {
            let from = if inside { next } else { next.max(run.first) };
            cells.extend((from..=run.last).map(|column| (column, row)));
            next = next.max(run.last.saturating_add(1));
            inside ^= run.crosses;
        }
        active.retain(|e| e.high.y > north);
    }
}

impl Edge {
    fn run(self, south: i32, north: i32, shift: u32) -> Run {
        let (a, b) = (self.x_at(self.low.y.max(south)), self.x_at(self.high.y.min(north)));
        Run {
            first: a.0.min(b.0) >> shift,
            last: a.1.max(b.1) >> shift,
            crosses: self.low.y <= south && self.high.y > south,
        }
    }

    /// The longitudes between which the edge passes a latitude of its own: rounded down and up; for a horizontal edge
    /// both its ends.
    fn x_at(self, y: i32) -> (i32, i32) {
        let rise = i128::from(self.high.y) - i128::from(self.low.y);
        if rise == 0 {
            return (self.low.x.min(self.high.x), self.low.x.max(self.high.x));
        }
        let run = (i128::from(y) - i128::from(self.low.y)) * (i128::from(self.high.x) - i128::from(self.low.x));
        let floor = run.div_euclid(rise);
        let ceil = floor + i128::from(run.rem_euclid(rise) != 0);
        let clamp = |x: i128| {
            // Between the edge's ends, hence an i32.
            i32::try_from(x + i128::from(self.low.x)).unwrap_or(self.low.x)
        };
        (clamp(floor), clamp(ceil))
    }
}
