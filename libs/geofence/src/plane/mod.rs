//! The plane, cut into cells that know their owners.
//!
//! The whole range of `i32` is 64 x 64 sheets, each of one tile up to 64 x 64. A tile is a grid, and below it nodes of 4 x 4
//! cells and leaves ([`leaf`]). Both are as fine as their edges are many. A change builds the tiles that it touches and
//! shares all others with the plane before it. [`build`] and [`tile`] cut; here is what they made read, and by
//! [`batch`] for many points at once.

mod batch;
mod build;
mod cell;
mod edge;
mod leaf;
mod tile;
mod words;

use std::{collections::HashSet, sync::Arc};

use smallvec::SmallVec;

pub(crate) use batch::{BLOCK, bits};
pub(crate) use build::parts;
use cell::{Cell, list};
pub(crate) use cell::{MOST, NOBODY};
use words::Words;

use crate::geometry::Point;

/// Of a sheet's side, in units: 6.7 degrees.
const SHEET_SHIFT: u32 = 26;
/// Sheets along the plane, as a power of two.
const SHEET_BITS: u32 = 32 - SHEET_SHIFT;
const SHEETS: usize = 1 << (2 * SHEET_BITS);
/// Of a node's cells along its side.
const NODE_BITS: u8 = 2;

/// Places of owners that hold a point, ascending, each once.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A plain word.
    Word(u32),
    List(&'a [u32]),
    Made(SmallVec<[u32; 4]>),
}

impl Found<'_> {
    #[inline]
    pub(crate) fn all(&self) -> &[u32] {
        match self {
            Self::Word(NOBODY) => &[],
            Self::Word(one) => std::slice::from_ref(one),
            Self::List(all) => all,
            Self::Made(all) => all,
        }
    }
}

/// Immutable; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    sheets: Arc<[Arc<Sheet>; SHEETS]>,
    /// How many cells of a tile's grid there are for each of its edges, as a power of two.
    density: u32,
}

/// Tiles, row by row from the south, and the words of all but those that were changed since.
#[derive(Clone, Debug)]
struct Sheet {
    words: Arc<Words>,
    tiles: Box<[Tile]>,
    grid: Grid,
}

/// Where it lies in its sheet's words, or in some of its own. Before that place are its guests, the neighborhoods that have
/// any part of it, and their number; then the cells of a grid, row by row from the south; nodes, leaves, lists. Places
/// within it count from its grid on.
#[derive(Clone, Debug)]
struct Tile {
    own: Option<Arc<Words>>,
    at: u32,
    grid: Grid,
}

/// A square grid over a square of the plane.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Of a cell's side, in units, as a power of two.
    shift: u8,
    /// Columns, as a power of two; as many rows.
    bits: u8,
}

impl Grid {
    /// `2^bits` by `2^bits` cells of `2^shift` units.
    #[allow(clippy::cast_possible_truncation)]
    const fn new(shift: u32, bits: u32) -> Self {
        assert!(shift < 32 && bits < 32, "of a plane of 32 bits");
        Self { shift: shift as u8, bits: bits as u8 }
    }

    /// Of a node in the place of a cell. The smallest cells are of one unit, and a node above them may have room for four
    /// only.
    #[inline]
    fn of_node(shift: u8) -> Self {
        let bits = NODE_BITS.min(shift);
        Self { shift: shift - bits, bits }
    }

    /// The number of a point's cell. The lower bits of a coordinate are the same wherever the plane begins.
    #[inline]
    fn cell(self, p: Point) -> u32 {
        let last = (1 << self.bits) - 1;
        let along = |v: i32| v.cast_unsigned() >> self.shift & last;
        along(p.y) << self.bits | along(p.x)
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
        let ((words, from), grid) = (Words::of(&[0, NOBODY]), Grid::new(SHEET_SHIFT, 0));
        let tiles = Box::new([Tile { own: None, at: from + 1, grid }]);
        let sheet = Arc::new(Sheet { words: Arc::new(words), tiles, grid });
        Self { sheets: Arc::new(std::array::from_fn(|_| Arc::clone(&sheet))), density: 0 }
    }
}

impl Plane {
    #[inline]
    fn sheet(&self, p: Point) -> &Sheet {
        &self.sheets[SHEETS_GRID.cell(p) as usize]
    }

    /// The owners of a point. Not for the north pole.
    #[inline]
    pub(crate) fn locate(&self, p: Point) -> Found<'_> {
        let sheet = self.sheet(p);
        let tile = sheet.tile(p);
        let (words, mut grid) = (sheet.words_of(tile), tile.grid);
        let mut word = words[grid.cell(p) as usize];
        loop {
            match Cell::of(word) {
                Cell::Nobody | Cell::One(_) => return Found::Word(word),
                Cell::List(_) => return Found::List(list(words, word)),
                Cell::Leaf(at) => word = leaf::read(&words[at..], p, grid.shift),
                Cell::Wide(at) => return Found::Made(leaf::wide::owners(&words[at..], p)),
                Cell::Node(at) => {
                    grid = Grid::of_node(grid.shift);
                    word = words[at + grid.cell(p) as usize];
                }
            }
        }
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // An `Arc` counts its owners in two words; the allocator keeps one.
        const KEPT: usize = 3 * size_of::<usize>();
        let sheets = self.distinct().map(|sheet| {
            let own = sheet.tiles.iter().filter_map(|tile| tile.own.as_deref());
            let words = own.chain([&*sheet.words]).map(|words| words.bytes() + size_of::<Words>() + KEPT);
            size_of_val(&*sheet.tiles) + size_of::<Sheet>() + KEPT + words.sum::<usize>()
        });
        size_of_val(&*self.sheets) + KEPT + sheets.sum::<usize>()
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for sheet in self.distinct() {
            // Each once, though many places share it.
            let mut seen = HashSet::new();
            for tile in sheet.tiles.iter().filter(|tile| tile.own.is_some() || seen.insert(tile.at)) {
                counts.add(sheet.words_of(tile), tile.grid);
            }
        }
        counts
    }

    /// Each sheet once, though all that are empty are one.
    fn distinct(&self) -> impl Iterator<Item = &Sheet> {
        let mut seen = HashSet::new();
        self.sheets.iter().filter(move |sheet| seen.insert(Arc::as_ptr(sheet))).map(|sheet| &**sheet)
    }
}

impl Counts {
    /// Of a tile.
    fn add(&mut self, words: &[u32], grid: Grid) {
        self.tiles += 1;
        let mut grids = vec![(0, 1_usize << (2 * grid.bits))];
        while let Some((at, len)) = grids.pop() {
            self.cells += len;
            for word in &words[at..at + len] {
                match Cell::of(*word) {
                    Cell::Node(at) => grids.push((at, 1 << (2 * NODE_BITS))),
                    Cell::Leaf(_) | Cell::Wide(_) => self.leaves += 1,
                    Cell::Nobody | Cell::One(_) | Cell::List(_) => {}
                }
            }
        }
    }
}

impl Sheet {
    #[inline]
    fn tile(&self, p: Point) -> &Tile {
        &self.tiles[self.grid.cell(p) as usize]
    }

    /// From its grid on.
    #[inline]
    fn words_of<'a>(&'a self, tile: &'a Tile) -> &'a [u32] {
        &tile.own.as_ref().unwrap_or(&self.words).all()[tile.at as usize..]
    }

    fn guests<'a>(&'a self, tile: &'a Tile) -> &'a [u32] {
        let before = &tile.own.as_ref().unwrap_or(&self.words).all()[..tile.at as usize];
        let (count, rest) = before.split_last().map_or((0, &[][..]), |(count, rest)| (*count as usize, rest));
        &rest[rest.len() - count..]
    }
}
