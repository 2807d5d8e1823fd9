//! A short leaf: up to four edges in a cell of up to 2^14 units, read without a branch or a loop: one vector product
//! says of all of them whether they are crossed.
//!
//! Its words: a head of 64 bits (the form, and from bit 8 on the outcomes); the edges' lower ends relative to the cell's
//! corner (x, y); how far they go (y, -x); the palette. Where an edge leaves stands another, upright and as
//! long as the cell, to the east of all points; an edge that is missing goes nowhere.

use smallvec::SmallVec;
use wide::{i16x8, i32x4};

use super::{Content, Draft, pair, within};
use crate::{geometry::Point, plane::edge::Edge};

pub(super) const FORM: u32 = 0;
pub(super) const EDGES: usize = 4;
/// A cell is no larger, nor are its edges' extents: all products fit.
pub(super) const MOST_SHIFT: u32 = 14;
const MOST_STEP: i64 = (1 << MOST_SHIFT) - 1;
const TABLE_SHIFT: u32 = 8;
/// Of the table's three bits for each way of crossing.
const OUTCOME: u64 = 7;
const STARTS: usize = 2;
const STEPS: usize = STARTS + EDGES;
const AT_PALETTE: usize = STEPS + EDGES;

pub(super) fn fits(edge: &Edge) -> bool {
    let fits = |a: i32, b: i32| (i64::from(b) - i64::from(a)).abs() <= MOST_STEP;
    fits(edge.a.x, edge.b.x) && fits(edge.a.y, edge.b.y)
}

pub(super) fn draft(content: &Content<'_>) -> Option<Draft> {
    if content.shift > MOST_SHIFT || !content.edges.iter().all(fits) || content.short_edges() > EDGES {
        return None;
    }
    let mut before = SmallVec::from_slice(&[0; AT_PALETTE]);
    let mut classes = SmallVec::<[[u32; 2]; EDGES]>::new();
    for edge in content.edges {
        let (low, high) = if edge.a.y <= edge.b.y { (edge.a, edge.b) } else { (edge.b, edge.a) };
        let ((x, y), (to_x, to_y)) = (content.relative(low), content.relative(high));
        let upright = content.leaves(edge).then(|| (1 << MOST_SHIFT, content.relative(edge.b).1, 0, MOST_STEP));
        for (x, y, dx, dy) in [(y != to_y).then_some((x, y, to_x - x, to_y - y)), upright].into_iter().flatten() {
            before[STARTS + classes.len()] = pair(x, y);
            before[STEPS + classes.len()] = pair(dy, -dx);
            classes.push(edge.toggles);
        }
    }
    let (table, palette) = content.outcomes(&classes, crossed(&before, content.corner_point(), content.shift))?;
    let head = table << TABLE_SHIFT | u64::from(FORM);
    let half = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(0);
    (before[0], before[1]) = (half(head), half(head >> 32));
    Some(Draft { before, palette, after: SmallVec::new() })
}

/// A bit for each edge.
#[inline]
fn crossed(words: &[u32], p: Point, shift: u32) -> u32 {
    let lanes = |from: usize| <[u32; EDGES]>::try_from(&words[from..from + EDGES]).unwrap_or_default();
    let (starts, steps) = (bytemuck::cast::<_, i16x8>(lanes(STARTS)), bytemuck::cast::<_, i16x8>(lanes(STEPS)));
    let point = within(p.x, shift) | within(p.y, shift) << 16;
    let from_start = bytemuck::cast::<_, i16x8>(i32x4::splat(point)) - starts;
    // x * dy - y * dx: negative to the left of the edge.
    let side = from_start.dot(steps);
    let above: i32x4 = bytemuck::cast::<_, i32x4>(from_start) >> 16;
    let rise: i32x4 = bytemuck::cast::<_, i32x4>(steps) << 16;
    let below_end = above - (rise >> 16);
    // Of three signs: at or above its lower end, below its upper end, to the left.
    let crossed: i32x4 = !above & below_end & side;
    crossed.move_mask().cast_unsigned()
}

#[inline]
pub(super) fn read(words: &[u32], p: Point, shift: u8) -> u32 {
    let edges = &words[..AT_PALETTE];
    let table = u64::from(edges[0]) | u64::from(edges[1]) << 32;
    let outcome = table >> (TABLE_SHIFT + 3 * crossed(edges, p, shift.into()));
    words[AT_PALETTE + (outcome & OUTCOME) as usize]
}
