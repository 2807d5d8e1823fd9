//! What a leaf says: the edges that touch its cell, as they are read fastest.
//!
//! **Why a leaf needs nothing outside itself.** From a point go east to the cell's last column, then along it, to the cell's
//! south-east corner: what is crossed on the way tells the point's owners from that corner's. All that can be crossed
//! touches the cell. The rule of the ray counts each edge that the point lies strictly left of, also where it has left
//! the cell by then; both that, and the way along the last column, come out right if each edge that crosses the last
//! column changes its owners once more for all points from the row of its eastern end on. (With `t` the first row that lies
//! above the edge in the last column: counted wrongly are the rows from `t` to the end's, or from the end's to `t`; the way
//! along the column counts the rows from `t` on; both together are the rows from the end's on.) What is constant in the
//! cell goes into the leaf's first set, which is chosen so that the south-west corner comes out right.

use smallvec::SmallVec;

use super::{
    Found,
    cell::{NOBODY, Set},
    edge::Edge,
};
use crate::geometry::Point;

/// The most owners of a short or slim leaf: one bit each.
const BITS: usize = 8;
/// A short leaf's cell is no larger, nor are its edges' extents: all products fit.
const SHORT_SHIFT: u32 = 14;
const SHORT_STEP: i64 = (1 << SHORT_SHIFT) - 1;
const SHORT_EDGES: usize = 4;
/// Above this side a slim leaf's vertices may not fit.
const SLIM_SHIFT: u32 = 16;
/// The most edges of a slim leaf, and of a wide one whose cell is not to be cut because of its edges' lengths.
const SLIM_EDGES: usize = 8;
/// Of a slim leaf's chain.
const MOST_STEPS: usize = 63;

/// Where a leaf's cell lies, and what is in it.
pub(super) struct Content<'a> {
    pub(super) origin: (i64, i64),
    pub(super) shift: u32,
    /// All that touch the cell.
    pub(super) edges: &'a [Edge],
    /// The owners at its south-west corner.
    pub(super) corner: &'a Set,
}

impl Content<'_> {
    /// Whether a leaf of it is read fast: else its cell is better cut.
    pub(super) fn is_small(&self) -> bool {
        if self.shift <= SHORT_SHIFT && self.edges.iter().all(is_short) {
            self.short_edges() <= SHORT_EDGES
        } else {
            self.edges.len() <= SLIM_EDGES && (self.shift <= SLIM_SHIFT || !self.edges.iter().all(is_slim))
        }
    }

    /// What a short leaf has to keep: edges, and where they leave.
    fn short_edges(&self) -> usize {
        self.edges.iter().filter(|edge| edge.a.y != edge.b.y).count()
            + self.edges.iter().filter(|e| self.leaves(e)).count()
    }

    /// Whether the edge crosses the last column, and ends within the rows of the cell: not with the first, for that is
    /// the same for all points of the cell.
    fn leaves(&self, edge: &Edge) -> bool {
        let row = i64::from(edge.b.y) - self.origin.1;
        i64::from(edge.b.x) > self.last_column() && row > 0 && row < 1 << self.shift
    }

    fn last_column(&self) -> i64 {
        self.origin.0 + (1 << self.shift) - 1
    }
}

/// Whether the edge's steps fit into a slim leaf.
pub(super) fn is_slim(edge: &Edge) -> bool {
    let fits = |a: i32, b: i32| i16::try_from(i64::from(b) - i64::from(a)).is_ok();
    fits(edge.a.x, edge.b.x) && fits(edge.a.y, edge.b.y)
}

fn is_short(edge: &Edge) -> bool {
    let fits = |a: i32, b: i32| (i64::from(b) - i64::from(a)).abs() <= SHORT_STEP;
    fits(edge.a.x, edge.b.x) && fits(edge.a.y, edge.b.y)
}

/// Writes a leaf; its place. `owner` says which neighborhood a number stands for.
pub(super) fn write_leaf(words: &mut Vec<u32>, content: &Content<'_>, owner: impl Fn(u32) -> u32) -> usize {
    let mut palette = content.corner.clone();
    for number in content.edges.iter().flat_map(|edge| edge.toggles).filter(|n| *n != super::edge::NOBODY) {
        if let Err(at) = palette.binary_search(&number) {
            palette.insert(at, number);
        }
    }
    let at = words.len();
    let Content { shift, edges, .. } = *content;
    let bits = palette.len() <= BITS;
    if bits && shift <= SHORT_SHIFT && edges.iter().all(is_short) && content.short_edges() <= SHORT_EDGES {
        write_short(words, content, &palette, owner);
    } else if bits && shift <= SLIM_SHIFT && edges.len() <= MOST_STEPS && edges.iter().all(is_slim) {
        write_slim(words, content, &palette, owner);
    } else {
        write_wide(words, content, &palette, owner);
    }
    at
}

fn bits_of(palette: &Set, edge: &Edge) -> u32 {
    let numbers = edge.toggles.iter().filter(|n| **n != super::edge::NOBODY);
    numbers.fold(0, |bits, number| bits | 1 << bit_of(palette, *number))
}

fn bit_of(palette: &Set, number: u32) -> usize {
    palette.binary_search(&number).expect("the palette holds all numbers")
}

/// How a leaf is written: the lowest bits of its head.
const SHORT: u32 = 0;
const SLIM: u32 = 1;
const WIDE: u32 = 2;
const FORM: u32 = 3;

/// A plain word, if the point has one owner at most. `words` from the leaf's head on.
#[inline]
pub(super) fn one_owner(words: &[u32], p: Point, shift: u32) -> Option<u32> {
    let (bits, palette) = match words[0] & FORM {
        SHORT => (short_bits(words, p, shift), SHORT_PALETTE),
        SLIM => (slim_bits(words, p, shift), 1),
        _ => return one_of_wide(words, p),
    };
    match bits {
        0 => Some(NOBODY),
        _ if bits & (bits - 1) == 0 => Some(words[palette + bits.trailing_zeros() as usize]),
        _ => None,
    }
}

#[cold]
fn one_of_wide(words: &[u32], p: Point) -> Option<u32> {
    let mut found = NOBODY;
    for set in 0..wide_owners(words).div_ceil(32) {
        let bits = wide_bits(words, set, p);
        match bits {
            0 => {}
            _ if bits & (bits - 1) == 0 && found == NOBODY => {
                found = words[2 + set * 32 + bits.trailing_zeros() as usize];
            }
            _ => return None,
        }
    }
    Some(found)
}

/// All owners of a point, ascending. `words` from the leaf's head on.
#[cold]
pub(super) fn owners(words: &[u32], p: Point, shift: u32) -> Found {
    let mut found = Found::new();
    let mut give = |palette: usize, bits: u32| {
        found.extend((0..32).filter(|bit| bits >> bit & 1 != 0).map(|bit| words[palette + bit]));
    };
    match words[0] & FORM {
        SHORT => give(SHORT_PALETTE, short_bits(words, p, shift)),
        SLIM => give(1, slim_bits(words, p, shift)),
        _ => (0..wide_owners(words).div_ceil(32)).for_each(|set| give(2 + set * 32, wide_bits(words, set, p))),
    }
    found.sort_unstable();
    // A neighborhood may hold it with two of its parts.
    found.dedup();
    found
}

/// A word's lower and upper half, each with its sign.
#[inline]
fn halves(word: u32) -> (i32, i32) {
    let word = word.cast_signed();
    (word << 16 >> 16, word >> 16)
}

/// The lower bits of a coordinate: its distance from the cell's corner.
#[inline]
fn within(v: i32, shift: u32) -> i32 {
    v & ((1_i32 << shift) - 1)
}

// A short leaf: a head (form, first set << 8), the bits that each of four edges changes, each in a byte; the edges' lower
// ends (x, y << 16, relative to the cell's corner); how far they go (x, y << 16); the owners. There is no branch and no loop
// to be guessed wrong in reading it. Where an edge leaves stands another, upright and as long as the cell, to the east of
// all points; an edge that is missing goes nowhere.

const SHORT_PALETTE: usize = 2 + 2 * SHORT_EDGES;

fn write_short(words: &mut Vec<u32>, content: &Content<'_>, palette: &Set, owner: impl Fn(u32) -> u32) {
    let head = words.len();
    words.resize(head + SHORT_PALETTE, 0);
    words[head] = SHORT;
    words.extend(palette.iter().map(|number| owner(*number)));
    let pair = |x: i64, y: i64| {
        let half = |v: i64| u32::from(i16::try_from(v).unwrap_or(0).cast_unsigned());
        half(x) | half(y) << 16
    };
    let mut count = 0;
    let mut write = |edge: &Edge, (x, y): (i64, i64), (dx, dy): (i64, i64)| {
        words[head + 1] |= bits_of(palette, edge) << (8 * count);
        words[head + 2 + count] = pair(x, y);
        words[head + 2 + SHORT_EDGES + count] = pair(dx, dy);
        count += 1;
    };
    for edge in content.edges {
        let (low, high) = if edge.a.y <= edge.b.y { (edge.a, edge.b) } else { (edge.b, edge.a) };
        let relative = |p: Point| (i64::from(p.x) - content.origin.0, i64::from(p.y) - content.origin.1);
        let ((x, y), (to_x, to_y)) = (relative(low), relative(high));
        if y != to_y {
            write(edge, (x, y), (to_x - x, to_y - y));
        }
        if content.leaves(edge) {
            write(edge, (1 << SHORT_SHIFT, relative(edge.b).1), (0, SHORT_STEP));
        }
    }
    let corner = content.corner.iter().fold(0_u32, |bits, number| bits | 1 << bit_of(palette, *number));
    let first = corner ^ short_bits(&words[head..], corner_of(content), content.shift);
    words[head] |= first << 8;
}

#[inline]
fn short_bits(words: &[u32], p: Point, shift: u32) -> u32 {
    let edges = &words[..SHORT_PALETTE];
    let (px, py) = (within(p.x, shift), within(p.y, shift));
    let mut bits = edges[0] >> 8;
    for edge in 0..SHORT_EDGES {
        let ((x, y), (dx, dy)) = (halves(edges[2 + edge]), halves(edges[2 + SHORT_EDGES + edge]));
        let (x, y) = (px - x, py - y);
        let east = y.cast_unsigned() < dy.cast_unsigned() && dx * y - dy * x > 0;
        bits ^= (edges[1] >> (8 * edge) & 0xff) * u32::from(east);
    }
    bits
}

// A slim leaf: a head (form, owners << 4, first set << 8, chains << 16), the owners, and for each chain of edges that
// change the same owners: x << 14 | bits << 6 | steps, y << 14 | ends, and the steps, x in the low half. x and y
// are relative to the cell's corner.

fn write_slim(words: &mut Vec<u32>, content: &Content<'_>, palette: &Set, owner: impl Fn(u32) -> u32) {
    let head = words.len();
    let count = u32::try_from(palette.len()).unwrap_or(0);
    words.push(SLIM | count << 4);
    words.extend(palette.iter().map(|number| owner(*number)));
    let mut rest: SmallVec<[Edge; 16]> = SmallVec::from_slice(content.edges);
    let mut chains = 0_u32;
    while let Some(edge) = rest.pop() {
        let mut chain: SmallVec<[Point; 16]> = SmallVec::from_slice(&[edge.a, edge.b]);
        // Twice: as far as it goes at one end, then at the other.
        for _ in 0..2 {
            while let Some(i) = rest.iter().position(|e| e.toggles == edge.toggles && joins(e, &chain)) {
                let next = rest.swap_remove(i);
                let tail = chain[chain.len() - 1];
                chain.push(if next.a == tail { next.b } else { next.a });
            }
            chain.reverse();
        }
        let relative = |v: i32, from: i64| i32::try_from(i64::from(v) - from).unwrap_or(0).cast_unsigned() << 14;
        let bits = bits_of(palette, &edge);
        let steps = u32::try_from(chain.len() - 1).unwrap_or(0);
        let leaves = |p: &Point| u32::from(i64::from(p.x) > content.last_column());
        words.push(relative(chain[0].x, content.origin.0) | bits << 6 | steps);
        words.push(relative(chain[0].y, content.origin.1) | leaves(&chain[chain.len() - 1]) << 1 | leaves(&chain[0]));
        words.extend(chain.windows(2).map(|pair| {
            let (dx, dy) = (pair[1].x.wrapping_sub(pair[0].x), pair[1].y.wrapping_sub(pair[0].y));
            dx.cast_unsigned() & 0xffff | dy.cast_unsigned() << 16
        }));
        chains += 1;
    }
    words[head] |= chains << 16;
    let corner = content.corner.iter().fold(0_u32, |bits, number| bits | 1 << bit_of(palette, *number));
    let first = corner ^ slim_bits(&words[head..], corner_of(content), content.shift);
    words[head] |= first << 8;
}

fn joins(edge: &Edge, chain: &[Point]) -> bool {
    let tail = chain[chain.len() - 1];
    edge.a == tail || edge.b == tail
}

/// The south-west corner: in the plane, as every cell's is.
fn corner_of(content: &Content<'_>) -> Point {
    let within = |v: i64| i32::try_from(v).unwrap_or(i32::MAX);
    Point { x: within(content.origin.0), y: within(content.origin.1) }
}

#[inline]
fn slim_bits(words: &[u32], p: Point, shift: u32) -> u32 {
    let head = words[0];
    let owners = (head >> 4 & 15) as usize;
    let (px, py) = (within(p.x, shift), within(p.y, shift));
    let mut bits = head >> 8 & 0xff;
    let mut rest = &words[1 + owners..];
    for _ in 0..head >> 16 & 0xff {
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
        bits ^= if odd { rest[0] >> 6 & 0xff } else { 0 };
        rest = others;
    }
    bits
}

// A wide leaf: a head (form, owners << 2), how many edges, the owners, the first set, and each edge: x and y of both
// ends, and the bits that it changes. Sets are as many words as the owners need.

fn write_wide(words: &mut Vec<u32>, content: &Content<'_>, palette: &Set, owner: impl Fn(u32) -> u32) {
    let head = words.len();
    let sets = palette.len().div_ceil(32);
    words.push(u32::try_from(palette.len()).unwrap_or(0) << 2 | WIDE);
    words.push(0);
    words.extend(palette.iter().map(|number| owner(*number)));
    let first = words.len();
    words.resize(first + sets, 0);
    let mut count = 0_u32;
    for edge in content.edges {
        let end = content.leaves(edge).then_some((edge.b, Point { x: edge.b.x, y: i32::MAX }));
        for (a, b) in [Some((edge.a, edge.b)), end].into_iter().flatten() {
            words.extend([a.x, a.y, b.x, b.y].map(i32::cast_unsigned));
            let bits = words.len();
            words.resize(bits + sets, 0);
            for number in edge.toggles.iter().filter(|n| **n != super::edge::NOBODY) {
                let bit = bit_of(palette, *number);
                words[bits + bit / 32] |= 1 << (bit % 32);
            }
            count += 1;
        }
    }
    words[head + 1] = count;
    let corner = corner_of(content);
    for set in 0..sets {
        let at_corner = wide_bits(&words[head..], set, corner);
        words[first + set] ^= at_corner;
    }
    for number in content.corner {
        let bit = bit_of(palette, *number);
        words[first + bit / 32] ^= 1 << (bit % 32);
    }
}

fn wide_owners(words: &[u32]) -> usize {
    (words[0] >> 2) as usize
}

/// The `set`th word of the owners' bits.
fn wide_bits(words: &[u32], set: usize, p: Point) -> u32 {
    let owners = wide_owners(words);
    let sets = owners.div_ceil(32);
    let first = 2 + owners;
    let edges = words[first + sets..].chunks_exact(4 + sets).take(words[1] as usize);
    let p = (i64::from(p.x), i64::from(p.y));
    edges.fold(words[first + set], |bits, edge| {
        let at = |n: usize| edge[n].cast_signed();
        let line = Edge { a: Point { x: at(0), y: at(1) }, b: Point { x: at(2), y: at(3) }, toggles: [0, 0] };
        if line.is_east_of(p) { bits ^ edge[4 + set] } else { bits }
    })
}
