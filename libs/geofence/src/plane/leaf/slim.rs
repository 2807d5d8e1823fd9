//! A slim leaf: chains of 16-bit steps, for cells larger than those of short ones; a vertex is four bytes, which is what
//! makes a nation fit.
//!
//! Its words: a head (the form, chains << 1, outcomes << 5, owners' words - 1 << 29), the palette, and for each chain of
//! edges of one class: x << 14 | class << 6 | steps, y << 14 | ends, and the steps, x in the low half. x and y are
//! relative to the cell's corner. An end says whether the chain leaves there, to the east.

use smallvec::SmallVec;

use super::{Content, Draft, PALETTE, is_slim, pair, within};
use crate::geometry::Point;

pub(super) const FORM: u32 = 1;
/// Above this side vertices may not fit.
pub(super) const MOST_SHIFT: u32 = 16;
/// Edges that change the same owners are of one class: more outcomes have no room in a head.
const CLASSES: usize = 3;
const CHAINS: u32 = 15;
/// Of a chain.
const STEPS: usize = 63;
const CHAINS_SHIFT: u32 = 1;
const TABLE_SHIFT: u32 = 5;
const PALETTE_SHIFT: u32 = 29;

pub(super) fn draft(content: &Content<'_>) -> Option<Draft> {
    let Content { shift, edges, .. } = *content;
    if shift > MOST_SHIFT || edges.len() > STEPS || !edges.iter().all(is_slim) {
        return None;
    }
    let mut classes: SmallVec<[[u32; 2]; 16]> = edges.iter().map(|edge| edge.toggles).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() > CLASSES {
        return None;
    }
    let mut after = SmallVec::new();
    let mut chains = 0_u32;
    for (class, toggles) in (0_u32..).zip(&classes) {
        let mut rest: SmallVec<[(Point, Point); 16]> =
            edges.iter().filter(|edge| edge.toggles == *toggles).map(|edge| (edge.a, edge.b)).collect();
        while let Some((a, b)) = rest.pop() {
            let mut chain: SmallVec<[Point; 16]> = SmallVec::from_slice(&[a, b]);
            // Twice: as far as it goes at one end, then at the other.
            for _ in 0..2 {
                let tail = |chain: &[Point]| chain[chain.len() - 1];
                while let Some(i) = rest.iter().position(|(a, b)| *a == tail(&chain) || *b == tail(&chain)) {
                    let (a, b) = rest.swap_remove(i);
                    chain.push(if a == tail(&chain) { b } else { a });
                }
                chain.reverse();
            }
            let place = |v: i64| i32::try_from(v).unwrap_or(0).cast_unsigned() << 14;
            let (x, y) = content.relative(chain[0]);
            let steps = u32::try_from(chain.len() - 1).unwrap_or(0);
            let leaves = |p: &Point| u32::from(i64::from(p.x) > content.last_column());
            after.push(place(x) | class << 6 | steps);
            after.push(place(y) | leaves(&chain[chain.len() - 1]) << 1 | leaves(&chain[0]));
            after.extend(chain.windows(2).map(|ends| {
                let ((x, y), (to_x, to_y)) = (content.relative(ends[0]), content.relative(ends[1]));
                pair(to_x - x, to_y - y)
            }));
            chains += 1;
        }
    }
    if chains > CHAINS {
        return None;
    }
    let at_corner = crossed(&after, chains, content.corner_point(), shift);
    let (table, palette) = content.outcomes(&classes, at_corner)?;
    let table = u32::try_from(table).unwrap_or(0);
    let count = u32::try_from(palette.len() - 1).unwrap_or(0);
    let head = FORM | chains << CHAINS_SHIFT | table << TABLE_SHIFT | count << PALETTE_SHIFT;
    Some(Draft { before: SmallVec::from_slice(&[head]), palette, after })
}

/// A bit for each class.
#[inline]
fn crossed(mut rest: &[u32], chains: u32, p: Point, shift: u32) -> u32 {
    let (px, py) = (within(p.x, shift), within(p.y, shift));
    let mut classes = 0;
    for _ in 0..chains {
        let (x, y) = (rest[0].cast_signed(), rest[1].cast_signed());
        // Relative to the point from here on: it is at 0, 0.
        let (mut x, mut y, steps) = ((x >> 14) - px, (y >> 14) - py, (rest[0] & 63) as usize);
        let (chain, others) = rest[2..].split_at(steps);
        let mut odd = rest[1] & 1 != 0 && y <= 0;
        let mut above = y > 0;
        for step in chain {
            let (dx, dy) = halves(*step);
            // Twice the area between the step and the point, positive if it lies to the left.
            let side = i64::from(dy) * i64::from(x) - i64::from(dx) * i64::from(y);
            (x, y) = (x + dx, y + dy);
            let then = y > 0;
            let left = if then { side > 0 } else { side < 0 };
            odd ^= (above != then) & left;
            above = then;
        }
        odd ^= rest[1] & 2 != 0 && y <= 0;
        classes ^= u32::from(odd) << (rest[0] >> 6 & 3);
        rest = others;
    }
    classes
}

#[inline]
pub(super) fn read(words: &[u32], p: Point, shift: u8) -> u32 {
    let head = words[0];
    let palette = (head >> PALETTE_SHIFT) as usize + 1;
    let classes = crossed(&words[1 + palette..], head >> CHAINS_SHIFT & CHAINS, p, shift.into());
    words[1 + (head >> (TABLE_SHIFT + 3 * classes)) as usize % PALETTE]
}

/// A word's lower and upper half, each with its sign.
#[inline]
fn halves(word: u32) -> (i32, i32) {
    let word = word.cast_signed();
    (word << 16 >> 16, word >> 16)
}
