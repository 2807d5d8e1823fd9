//! Cutting a tile: from a cell to those within it, again and again, the edges that touch each and the owners at its
//! south-west corner are handed down; both say all there is to know of it.

use std::{collections::HashMap, sync::Arc};

use smallvec::SmallVec;

use super::{
    Grid, NODE_BITS, Tile,
    build::Part,
    cell::{Cell, Set, toggle},
    edge::{Area, Edge, NOBODY, merge},
    leaf::{Content, Draft, is_slim, wide},
    words::Words,
};

/// A tile of so many edges needs no grid if they are long.
const FEW_EDGES: usize = 8;
/// Grids have 2^18 cells at most.
const MOST_BITS: u32 = 9;
/// Long edges lie in many cells, and to cut these parts no bundle of such edges. So a grid is made coarser as long as its
/// edges, each counted in every cell that it touches, are more than so many times themselves.
const TILE_SPREAD: usize = 16;
/// And a cell is not cut if it has more than `BUNDLE` edges which the cut would more than double.
const BUNDLE: usize = 64;
/// Nor once a tile has so many words for each of its edges, and as many as this at all.
const WORDS_AN_EDGE: usize = 256;
const WORDS: usize = 1 << 14;

/// For each cell of a square grid, the edges that touch it.
pub(super) struct Buckets {
    ends: Vec<u32>,
    edges: Vec<u32>,
}

impl Buckets {
    /// Of `2^bits` by `2^bits` cells of `2^shift` units.
    fn of(all: &[Edge], list: &[u32], origin: (i64, i64), shift: u32, bits: u32) -> Self {
        let last = (1_i64 << bits) - 1;
        // A cell's far border is the next one's near border, and belongs to both.
        let first = |v: i32, from: i64| ((i64::from(v) - from - 1) >> shift).max(0);
        let end = |v: i32, from: i64| ((i64::from(v) - from) >> shift).min(last);
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(list.len() * 2);
        let cell = |x: i64, y: i64| u32::try_from(y << bits | x).unwrap_or(0);
        for &number in list {
            let edge = &all[number as usize];
            let (south, north) = (edge.a.y.min(edge.b.y), edge.a.y.max(edge.b.y));
            let (west, east) = (first(edge.a.x, origin.0), end(edge.b.x, origin.0));
            let (south, north) = (first(south, origin.1), end(north, origin.1));
            if west == east && south == north {
                pairs.push((cell(west, south), number));
                continue;
            }
            for y in south..=north {
                for x in west..=east {
                    if edge.meets(&Area::of((origin.0 + (x << shift), origin.1 + (y << shift)), 1 << shift)) {
                        pairs.push((cell(x, y), number));
                    }
                }
            }
        }
        let mut ends = vec![0_u32; (1 << (2 * bits)) + 1];
        for (cell, _) in &pairs {
            ends[*cell as usize + 1] += 1;
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let mut edges = vec![0; pairs.len()];
        // Filled from each cell's start, which becomes its end.
        for (cell, number) in pairs {
            let at = &mut ends[cell as usize];
            edges[*at as usize] = number;
            *at += 1;
        }
        Self { ends, edges }
    }

    /// Of all edges in a square of `2^side` units: as many cells as `2^most` by `2^most`, or fewer. Gives the bits, too.
    pub(super) fn coarse_enough(all: &[Edge], origin: (i64, i64), side: u32, most: u32, spread: usize) -> (Self, u32) {
        let list: Vec<u32> = (0..).take(all.len()).collect();
        let mut bits = most;
        loop {
            let buckets = Self::of(all, &list, origin, side - bits, bits);
            if bits == 0 || buckets.edges.len() <= spread * all.len() {
                return (buckets, bits);
            }
            bits -= 1;
        }
    }

    fn at(&self, cell: usize) -> &[u32] {
        let from = if cell == 0 { 0 } else { self.ends[cell - 1] };
        &self.edges[from as usize..self.ends[cell] as usize]
    }
}

/// A square grid of cells over an area whose corner's owners are known.
pub(super) struct Cells<'a> {
    pub(super) origin: (i64, i64),
    /// Of a cell's side.
    pub(super) shift: u32,
    pub(super) bits: u32,
    pub(super) edges: &'a [Edge],
    pub(super) corner: &'a Set,
}

impl Cells<'_> {
    /// Gives each cell: its number, its corner, the edges that touch it, the owners of its corner.
    pub(super) fn each(&self, each: impl FnMut(usize, (i64, i64), &[u32], &Set)) {
        let all: Vec<u32> = (0..).take(self.edges.len()).collect();
        self.each_of(&Buckets::of(self.edges, &all, self.origin, self.shift, self.bits), each);
    }

    /// The same, of edges that are sorted into the cells already.
    pub(super) fn each_of(&self, buckets: &Buckets, mut each: impl FnMut(usize, (i64, i64), &[u32], &Set)) {
        let (along, side) = (1_usize << self.bits, 1_i64 << self.shift);
        let mut first = self.corner.clone();
        let mut y = self.origin.1;
        for row in 0..along {
            let mut here = first.clone();
            let mut x = self.origin.0;
            for column in 0..along {
                let mine = buckets.at(row * along + column);
                each(row * along + column, (x, y), mine, &here);
                for edge in mine.iter().map(|number| &self.edges[*number as usize]) {
                    if edge.is_east_of((x, y)) && !edge.is_east_of((x + side, y)) {
                        toggle(&mut here, edge.toggles);
                    }
                }
                x += side;
            }
            let x = self.origin.0;
            for edge in buckets.at(row * along).iter().map(|number| &self.edges[*number as usize]) {
                if edge.is_north_of((x, y)) && !edge.is_north_of((x, y + side)) {
                    toggle(&mut first, edge.toggles);
                }
            }
            y += side;
        }
    }
}

/// Makes tiles of some parts, one after the other, into one piece of memory.
pub(super) struct Tiles<'a> {
    parts: &'a [Part<'a>],
    density: u32,
    /// Of a tile's side.
    shift: u32,
    /// Where each tile begins, and its grid.
    made: Vec<(u32, Grid)>,
    /// Of all that are made.
    all: Vec<u32>,
    /// The last one without an edge, with its owners: the next is often alike, and may share its memory.
    plain: Option<(Set, (u32, Grid))>,
    /// Of the tile that is being made.
    words: Vec<u32>,
    lists: HashMap<Vec<u32>, usize>,
    last: Option<(Set, u32)>,
    most_words: usize,
}

impl<'a> Tiles<'a> {
    pub(super) fn new(parts: &'a [Part<'a>], density: u32, shift: u32) -> Self {
        let (made, all, words, lists) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        Self { parts, density, shift, made, all, plain: None, words, lists, last: None, most_words: 0 }
    }

    /// All that were made, in their order, and their words.
    pub(super) fn done(self) -> (Arc<Words>, Box<[Tile]>) {
        let (words, from) = Words::of(&self.all);
        let place = |at: u32| at.checked_add(from).expect("a sheet is smaller than 16 GiB");
        let tiles = self.made.into_iter().map(|(at, grid)| Tile { own: None, at: place(at), grid });
        (Arc::new(words), tiles.collect())
    }

    fn owners(&self, numbers: &[u32]) -> Vec<u32> {
        let mut owners: Vec<u32> = numbers.iter().map(|number| self.parts[*number as usize].ix).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Makes the next, of the edges that touch it, and the owners of its corner.
    pub(super) fn make(&mut self, origin: (i64, i64), mut edges: Vec<Edge>, corner: &Set) {
        merge(&mut edges);
        if edges.is_empty()
            && let Some((_, alike)) = self.plain.as_ref().filter(|(owners, _)| owners == corner)
        {
            self.made.push(*alike);
            return;
        }
        let most = grid_bits(&edges, self.density);
        let (buckets, bits) = Buckets::coarse_enough(&edges, origin, self.shift, most, TILE_SPREAD);
        let shift = self.shift - bits;
        let count = 1 << (2 * bits);
        self.words.clear();
        self.words.resize(count, 0);
        self.lists.clear();
        self.last = None;
        self.most_words = count + WORDS + WORDS_AN_EDGE * edges.len();
        self.fill(&Cells { origin, shift, bits, edges: &edges, corner }, &buckets, 0);
        let numbers = edges.iter().flat_map(|edge| edge.toggles).filter(|n| *n != NOBODY).chain(corner.iter().copied());
        let guests = self.owners(&numbers.collect::<Vec<_>>());
        let count = |n: usize| u32::try_from(n).expect("a sheet is smaller than 16 GiB");
        self.all.extend_from_slice(&guests);
        self.all.push(count(guests.len()));
        let tile = (count(self.all.len()), Grid::new(shift, bits));
        self.all.extend_from_slice(&self.words);
        self.made.push(tile);
        if edges.is_empty() {
            self.plain = Some((corner.clone(), tile));
        }
    }

    /// Writes cells from a place on.
    fn fill(&mut self, cells: &Cells<'_>, buckets: &Buckets, at: usize) {
        cells.each_of(buckets, |number, origin, mine, here| {
            self.words[at + number] = self.cell(cells.edges, origin, cells.shift, mine, here);
        });
    }

    fn cell(&mut self, edges: &[Edge], origin: (i64, i64), shift: u32, mine: &[u32], here: &Set) -> u32 {
        // The points of the cell are all that is asked about, and they end before the next cell's corner.
        let points = Area::of(origin, (1 << shift) - 1);
        let mine_all = mine.iter().map(|number| edges[*number as usize]);
        let touching: SmallVec<[Edge; 16]> = mine_all.filter(|edge| edge.meets(&points)).collect();
        if touching.is_empty() || shift == 0 {
            return self.plain_cell(here);
        }
        let content = Content { origin, shift, edges: &touching, corner: here };
        let within = shift.saturating_sub(u32::from(NODE_BITS));
        let cut = || Buckets::of(edges, mine, origin, within, shift - within);
        let Some(buckets) = (!content.is_small() && self.words.len() <= self.most_words)
            .then(cut)
            .filter(|cut| mine.len() <= BUNDLE || cut.edges.len() <= 2 * mine.len())
        else {
            return self.leaf(&content);
        };
        let at = self.words.len();
        self.words.resize(at + (1 << (2 * NODE_BITS)), super::NOBODY);
        self.fill(&Cells { origin, shift: within, bits: shift - within, edges, corner: here }, &buckets, at);
        Cell::Node(at).word()
    }

    fn leaf(&mut self, content: &Content<'_>) -> u32 {
        let Some(Draft { before, palette, after }) = content.draft() else {
            let parts = self.parts;
            return Cell::Wide(wide::write(&mut self.words, content, |number| parts[number as usize].ix)).word();
        };
        // Lists are written on the way.
        let palette: SmallVec<[u32; 8]> = palette.iter().map(|owners| self.plain_cell(owners)).collect();
        let at = self.words.len();
        [&before[..], &palette, &after].iter().for_each(|part| self.words.extend_from_slice(part));
        Cell::Leaf(at).word()
    }

    fn plain_cell(&mut self, numbers: &Set) -> u32 {
        if let Some((_, word)) = self.last.as_ref().filter(|(last, _)| last == numbers) {
            return *word;
        }
        let owners = self.owners(numbers);
        let word = match owners[..] {
            [] => super::NOBODY,
            [one] => Cell::One(one).word(),
            _ => {
                let words = &mut self.words;
                let at = *self.lists.entry(owners).or_insert_with_key(|owners| {
                    let at = words.len();
                    words.push(u32::try_from(owners.len()).unwrap_or(0));
                    words.extend_from_slice(owners);
                    at
                });
                Cell::List(at).word()
            }
        };
        self.last = Some((numbers.clone(), word));
        word
    }
}

/// How fine a tile's grid is at first.
fn grid_bits(edges: &[Edge], density: u32) -> u32 {
    if edges.len() <= FEW_EDGES && !edges.iter().all(is_slim) {
        return 0;
    }
    (edges.len() << density).checked_ilog2().map_or(0, |bits| bits.div_ceil(2).min(MOST_BITS))
}
