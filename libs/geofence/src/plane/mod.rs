//! The plane, cut into cells that know their owners.
//!
//! The whole range of `i32` is 64 x 64 sheets, each of one tile up to 64 x 64. A tile is one piece of memory: a grid, and
//! below it nodes of 4 x 4 cells and leaves ([`leaf`]). Both are as fine as their edges are many. A change builds the tiles
//! that it touches and shares all others with the plane before it. [`build`] and [`tile`] cut; here is what they made read, and by
//! [`batch`] for many points at once.

mod batch;
mod build;
mod cell;
mod edge;
mod leaf;
mod tile;

use std::{collections::HashSet, sync::Arc};

use smallvec::SmallVec;

pub(crate) use batch::BLOCK;
pub(crate) use build::parts;
pub(crate) use cell::MOST;
use cell::{Cell, NOBODY};

use crate::geometry::Point;

/// Of a sheet's side, in units: 6.7 degrees.
const SHEET_SHIFT: u32 = 26;
/// Sheets along the plane, as a power of two.
const SHEET_BITS: u32 = 32 - SHEET_SHIFT;
const SHEETS: usize = 1 << (2 * SHEET_BITS);
/// Of a node's cells along its side.
const NODE_BITS: u32 = 2;

/// Places of owners that hold a point, ascending, each once.
pub(crate) type Found = SmallVec<[u32; 4]>;

/// Immutable; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    sheets: Arc<[Arc<Sheet>; SHEETS]>,
    /// How many cells of a tile's grid there are for each of its edges, as a power of two.
    density: u32,
}

/// Tiles, row by row from the south.
#[derive(Clone, Debug)]
struct Sheet {
    tiles: Box<[Tile]>,
    grid: Grid,
}

/// The words of a grid of cells, row by row from the south; nodes, leaves, lists; its guests, the neighborhoods that have
/// any part of it; and their number.
#[derive(Clone, Debug)]
struct Tile {
    words: Arc<[u32]>,
    grid: Grid,
}

/// A square grid over a square of the plane.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Columns less one; as many rows.
    last: u32,
    /// Of a cell's side, in units, as a power of two.
    shift: u32,
}

impl Grid {
    /// `2^bits` by `2^bits` cells of `2^shift` units.
    const fn new(shift: u32, bits: u32) -> Self {
        Self { last: (1 << bits) - 1, shift }
    }

    /// How many cells, as a power of four.
    const fn bits(self) -> u32 {
        self.last.count_ones()
    }

    /// The number of a point's cell. The lower bits of a coordinate are the same wherever the plane begins.
    #[inline]
    fn cell(self, p: Point) -> u32 {
        let along = |v: i32| v.cast_unsigned() >> self.shift & self.last;
        along(p.y) * (self.last + 1) + along(p.x)
    }
}

/// The sheets, those of negative coordinates behind the others, as two's complement has it.
const SHEETS_GRID: Grid = Grid::new(SHEET_SHIFT, SHEET_BITS);

/// What there is of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces that a change builds as a whole.
    pub tiles: usize,
    /// Cells, of all sizes.
    pub cells: usize,
    /// Cells that keep the edges which touch them.
    pub leaves: usize,
}

impl Default for Plane {
    fn default() -> Self {
        let sheet =
            Arc::new(Sheet { tiles: Box::new([Tile::plain(&[], SHEET_SHIFT)]), grid: Grid::new(SHEET_SHIFT, 0) });
        Self { sheets: Arc::new(std::array::from_fn(|_| Arc::clone(&sheet))), density: 0 }
    }
}

impl Plane {
    #[inline]
    fn tile(&self, p: Point) -> &Tile {
        let sheet = &self.sheets[SHEETS_GRID.cell(p) as usize];
        &sheet.tiles[sheet.grid.cell(p) as usize]
    }

    /// The owners of a point. Not for the north pole.
    pub(crate) fn locate(&self, p: Point) -> Found {
        let tile = self.tile(p);
        let (words, mut shift) = (&tile.words, tile.grid.shift);
        let mut word = words[tile.grid.cell(p) as usize];
        loop {
            match Cell::of(word) {
                Cell::Nobody => return Found::new(),
                Cell::One(ix) => return Found::from_slice(&[ix]),
                Cell::List(at) => return Found::from_slice(&words[at + 1..][..words[at] as usize]),
                Cell::Leaf(at) => {
                    return match leaf::one_owner(&words[at..], p, shift) {
                        Some(NOBODY) => Found::new(),
                        Some(ix) => Found::from_slice(&[ix]),
                        None => leaf::owners(&words[at..], p, shift),
                    };
                }
                Cell::Node(at) => {
                    // The smallest cells are of one unit, and a node above them may have room for four only.
                    let bits = NODE_BITS.min(shift);
                    shift -= bits;
                    word = words[at + Grid::new(shift, bits).cell(p) as usize];
                }
            }
        }
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // An `Arc` counts its owners in two words; the allocator keeps one.
        const KEPT: usize = 3 * size_of::<usize>();
        let mut seen = HashSet::new();
        let mut bytes = size_of_val(&*self.sheets) + KEPT;
        for sheet in self.sheets.iter().filter(|sheet| seen.insert(Arc::as_ptr(sheet).cast::<()>())) {
            bytes += size_of_val(&*sheet.tiles) + size_of::<Sheet>() + KEPT;
        }
        bytes + self.tiles().map(|tile| size_of_val(&*tile.words) + KEPT).sum::<usize>()
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for tile in self.tiles() {
            counts.tiles += 1;
            let mut grids = vec![(0, 1_usize << (2 * tile.grid.bits()))];
            while let Some((at, len)) = grids.pop() {
                counts.cells += len;
                for word in &tile.words[at..at + len] {
                    match Cell::of(*word) {
                        Cell::Node(at) => grids.push((at, 1 << (2 * NODE_BITS))),
                        Cell::Leaf(_) => counts.leaves += 1,
                        Cell::Nobody | Cell::One(_) | Cell::List(_) => {}
                    }
                }
            }
        }
        counts
    }

    /// Each tile once, though many places share it.
    fn tiles(&self) -> impl Iterator<Item = &Tile> {
        let (mut sheets, mut tiles) = (HashSet::new(), HashSet::new());
        let each = self.sheets.iter().filter(move |sheet| sheets.insert(Arc::as_ptr(sheet).cast::<()>()));
        each.flat_map(|sheet| sheet.tiles.iter())
            .filter(move |tile| tiles.insert(Arc::as_ptr(&tile.words).cast::<()>()))
    }
}

impl Tile {
    /// The same owners everywhere in a square of `2^shift` units.
    fn plain(owners: &[u32], shift: u32) -> Self {
        let count = u32::try_from(owners.len()).unwrap_or(u32::MAX);
        let words: Vec<u32> = match owners {
            [] => vec![NOBODY, 0],
            [one] => vec![Cell::One(*one).word(), *one, 1],
            many => [Cell::List(1).word(), count].into_iter().chain(many.iter().copied()).chain([count]).collect(),
        };
        Self { words: words.into(), grid: Grid::new(shift, 0) }
    }

    fn guests(&self) -> &[u32] {
        let (count, rest) = self.words.split_last().map_or((0, &[][..]), |(count, rest)| (*count as usize, rest));
        &rest[rest.len() - count..]
    }
}
