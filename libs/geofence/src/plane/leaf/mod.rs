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

//!
//! **Outcomes.** Which edges are crossed says which owners a point has. So a leaf keeps a word for each outcome, in its
//! palette, and no owners have to be put together when it is read; a [`wide`] leaf, which may have any number of
//! edges and owners, does put them together.

mod short;
mod slim;
pub(super) mod wide;

use smallvec::SmallVec;

use super::{
    cell::{Set, toggle},
    edge::Edge,
};
use crate::geometry::Point;

/// The most edges of a slim leaf, and of a wide one whose cell is not to be cut because of its edges' lengths.
const SLIM_EDGES: usize = 8;
/// The most outcomes: so many that three bits tell them apart.
const PALETTE: usize = 8;

/// Where a leaf's cell lies, and what is in it.
pub(super) struct Content<'a> {
    pub(super) origin: (i64, i64),
    pub(super) shift: u32,
    /// All that touch the cell.
    pub(super) edges: &'a [Edge],
    /// The owners at its south-west corner.
    pub(super) corner: &'a Set,
}

/// A short or slim leaf that is to be written: its words stand before and after those of its palette.
pub(super) struct Draft {
    pub(super) before: SmallVec<[u32; 16]>,
    pub(super) palette: SmallVec<[Set; PALETTE]>,
    pub(super) after: SmallVec<[u32; 16]>,
}

impl Content<'_> {
    /// Whether a leaf of it is read fast: else its cell is better cut.
    pub(super) fn is_small(&self) -> bool {
        if self.shift <= short::MOST_SHIFT && self.edges.iter().all(short::fits) {
            self.short_edges() <= short::EDGES
        } else {
            self.edges.len() <= SLIM_EDGES && (self.shift <= slim::MOST_SHIFT || !self.edges.iter().all(is_slim))
        }
    }

    /// Unless it has to be a wide leaf.
    pub(super) fn draft(&self) -> Option<Draft> {
        short::draft(self).or_else(|| slim::draft(self))
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

    /// The south-west corner: in the plane, as every cell's is.
    fn corner_point(&self) -> Point {
        let within = |v: i64| i32::try_from(v).unwrap_or(i32::MAX);
        Point { x: within(self.origin.0), y: within(self.origin.1) }
    }

    fn relative(&self, p: Point) -> (i64, i64) {
        (i64::from(p.x) - self.origin.0, i64::from(p.y) - self.origin.1)
    }

    /// For each way of crossing the classes of edges, by the bits of its number, the place of its owners in a palette,
    /// three bits each; and the palette, unless it is too large. `at_corner` are the classes that are crossed on
    /// the way from the south-west corner, whose owners are known.
    fn outcomes(&self, classes: &[[u32; 2]], at_corner: u32) -> Option<(u64, SmallVec<[Set; PALETTE]>)> {
        let (mut table, mut palette) = (0, SmallVec::<[Set; PALETTE]>::new());
        for outcome in 0..1_u32 << classes.len() {
            let mut owners = self.corner.clone();
            for (_, toggles) in classes.iter().enumerate().filter(|(bit, _)| (outcome ^ at_corner) >> bit & 1 != 0) {
                toggle(&mut owners, *toggles);
            }
            let at = palette.iter().position(|known| *known == owners).unwrap_or(palette.len());
            if at == palette.len() {
                palette.push(owners);
            }
            table |= (at as u64) << (3 * outcome);
        }
        (palette.len() <= PALETTE).then_some((table, palette))
    }
}

/// Whether the edge's steps fit into a slim leaf.
pub(super) fn is_slim(edge: &Edge) -> bool {
    let fits = |a: i32, b: i32| i16::try_from(i64::from(b) - i64::from(a)).is_ok();
    fits(edge.a.x, edge.b.x) && fits(edge.a.y, edge.b.y)
}

/// How a leaf is written: the lowest bit of its head.
const FORM: u32 = 1;

/// The word of a point's owners: plain, or a list. `words` from the leaf's head on; not of a wide one.
#[inline]
pub(super) fn read(words: &[u32], p: Point, shift: u8) -> u32 {
    if words[0] & FORM == short::FORM { short::read(words, p, shift) } else { slim::read(words, p, shift) }
}

/// The lower bits of a coordinate: its distance from the cell's corner.
#[inline]
fn within(v: i32, shift: u32) -> i32 {
    v & ((1_i32 << shift) - 1)
}

/// Two numbers of 16 bits in a word, the first in its lower half.
fn pair(x: i64, y: i64) -> u32 {
    let half = |v: i64| u32::from(i16::try_from(v).unwrap_or(0).cast_unsigned());
    half(x) | half(y) << 16
}
