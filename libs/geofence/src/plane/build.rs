//! Cutting the plane: from edges to tiles. From a cell to those within it, again and again, the edges that touch each and
//! the owners at its south-west corner are handed down; both say all there is to know of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Grid, NODE_BITS, Plane, SHEET_BITS, SHEET_SHIFT, SHEETS, SHEETS_GRID, Sheet, Tile,
    cell::{Cell, Set, toggle},
    edge::{Area, Edge, NOBODY, merge},
    leaf::{Content, is_slim, write_leaf},
};
use crate::geometry::{Geometry, Point, Ring};

/// A sheet has a tile for about so many edges, and at most 64 by 64.
const TILE_EDGES: usize = 16;
const MOST_SHEET_BITS: u32 = 6;
/// A tile of so many edges needs no grid if they are long.
const FEW_EDGES: usize = 8;
/// Grids have 2^18 cells at most.
const MOST_BITS: u32 = 9;
/// A grid is made coarser as long as the edges, each counted in every cell that it touches, are more than so many times
/// themselves (long ones lie in many); so a bundle of long edges stays a bundle.
const SPREAD: usize = 16;
/// And there are no more nodes once a tile has so many words for each edge, and as many as this at all.
const WORDS_AN_EDGE: usize = 256;
const WORDS: usize = 1 << 14;

/// A part of a neighborhood: its place in the index, and its rings.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) ix: u32,
    pub(crate) rings: &'a [Ring],
    /// South-west and north-east corner.
    pub(crate) bounds: (Point, Point),
}

/// The parts of a neighborhood. Those without a vertex hold nothing and are left out.
pub(crate) fn parts(ix: u32, geometry: &Geometry) -> impl Iterator<Item = Part<'_>> {
    let round = |rings: &[Ring]| {
        let points = rings.iter().flatten().map(|p| (*p, *p));
        points.reduce(|(low, high), (p, _)| {
            let (min, max) =
                (Point { x: low.x.min(p.x), y: low.y.min(p.y) }, Point { x: high.x.max(p.x), y: high.y.max(p.y) });
            (min, max)
        })
    };
    geometry.parts.iter().filter_map(move |rings| round(rings).map(|bounds| Part { ix, rings, bounds }))
}

/// South-west corner of a sheet. Numbers go as in [`SHEETS_GRID`]: the upper half of them is negative.
fn corner(sheet: usize) -> (i64, i64) {
    let along = |n: usize| {
        let n = i64::try_from(n).unwrap_or(0);
        (if n < 1 << (SHEET_BITS - 1) { n } else { n - (1 << SHEET_BITS) }) << SHEET_SHIFT
    };
    (along(sheet & ((1 << SHEET_BITS) - 1)), along(sheet >> SHEET_BITS))
}

/// The sheets that a box meets.
fn sheets((min, max): (Point, Point)) -> impl Iterator<Item = usize> {
    let along = |min: i32, max: i32| (min >> SHEET_SHIFT)..=(max >> SHEET_SHIFT);
    let sheet = |x: i32, y: i32| SHEETS_GRID.cell(Point { x: x << SHEET_SHIFT, y: y << SHEET_SHIFT }) as usize;
    along(min.y, max.y).flat_map(move |y| along(min.x, max.x).map(move |x| sheet(x, y)))
}

/// The edges of some parts that touch an area, and which parts hold its south-west corner.
fn gather(parts: &[Part<'_>], numbers: impl Iterator<Item = u32>, area: &Area) -> (Vec<Edge>, Set) {
    let (mut edges, mut holders) = (Vec::new(), Set::new());
    for number in numbers {
        let Part { rings, bounds: (min, max), .. } = parts[number as usize];
        let touches = i64::from(max.x) >= area.west
            && i64::from(max.y) >= area.south
            && i64::from(min.x) <= area.east
            && i64::from(min.y) <= area.north;
        if !touches {
            continue;
        }
        let mut holds = false;
        for edge in Edge::all(rings, number) {
            holds ^= edge.is_east_of((area.west, area.south));
            if edge.meets(area) {
                edges.push(edge);
            }
        }
        if holds {
            holders.push(number);
        }
    }
    (edges, holders)
}

/// For each cell of a square grid, the edges that touch it.
struct Buckets {
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

    fn at(&self, cell: usize) -> &[u32] {
        let from = if cell == 0 { 0 } else { self.ends[cell - 1] };
        &self.edges[from as usize..self.ends[cell] as usize]
    }
}

/// A square grid of cells over an area whose corner's owners are known.
struct Cells<'a> {
    origin: (i64, i64),
    /// Of a cell's side.
    shift: u32,
    bits: u32,
    edges: &'a [Edge],
    corner: &'a Set,
}

impl Cells<'_> {
    /// Gives each cell: its number, its corner, the edges that touch it, the owners of its corner.
    fn each(&self, each: impl FnMut(usize, (i64, i64), &[u32], &Set)) {
        let all: Vec<u32> = (0..).take(self.edges.len()).collect();
        self.each_of(&Buckets::of(self.edges, &all, self.origin, self.shift, self.bits), each);
    }

    /// The same, of edges that are sorted into the cells already.
    fn each_of(&self, buckets: &Buckets, mut each: impl FnMut(usize, (i64, i64), &[u32], &Set)) {
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
                        toggle(&mut here, edge);
                    }
                }
                x += side;
            }
            let x = self.origin.0;
            for edge in buckets.at(row * along).iter().map(|number| &self.edges[*number as usize]) {
                if edge.is_north_of((x, y)) && !edge.is_north_of((x, y + side)) {
                    toggle(&mut first, edge);
                }
            }
            y += side;
        }
    }
}

/// Makes tiles of some parts, one after the other.
struct Tiles<'a> {
    parts: &'a [Part<'a>],
    density: u32,
    /// Of a tile's side.
    shift: u32,
    /// The last one without an edge, with its owners: the next is often alike, and may share its memory.
    plain: Option<(Set, Tile)>,
    /// Of the tile that is being made.
    words: Vec<u32>,
    lists: HashMap<Vec<u32>, usize>,
    last: Option<(Set, u32)>,
    most_words: usize,
}

impl<'a> Tiles<'a> {
    fn new(parts: &'a [Part<'a>], density: u32, shift: u32) -> Self {
        let (words, lists) = (Vec::new(), HashMap::new());
        Self { parts, density, shift, plain: None, words, lists, last: None, most_words: 0 }
    }

    fn owners(&self, numbers: &[u32]) -> Vec<u32> {
        let mut owners: Vec<u32> = numbers.iter().map(|number| self.parts[*number as usize].ix).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Of the edges that touch it, and the owners of its corner.
    fn tile(&mut self, origin: (i64, i64), mut edges: Vec<Edge>, corner: &Set) -> Tile {
        merge(&mut edges);
        if edges.is_empty() {
            if let Some((_, tile)) = self.plain.as_ref().filter(|(owners, _)| owners == corner) {
                return tile.clone();
            }
            let tile = Tile::plain(&self.owners(corner), self.shift);
            self.plain = Some((corner.clone(), tile.clone()));
            return tile;
        }
        let all: Vec<u32> = (0..).take(edges.len()).collect();
        let mut bits = grid_bits(&edges, self.density);
        let mut buckets = Buckets::of(&edges, &all, origin, self.shift - bits, bits);
        while bits > 0 && buckets.edges.len() > SPREAD * edges.len() {
            bits -= 1;
            buckets = Buckets::of(&edges, &all, origin, self.shift - bits, bits);
        }
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
        self.words.extend_from_slice(&guests);
        self.words.push(u32::try_from(guests.len()).unwrap_or(0));
        Tile { words: self.words.as_slice().into(), grid: Grid::new(shift, bits) }
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
        let touching: smallvec::SmallVec<[Edge; 16]> = mine_all.filter(|edge| edge.meets(&points)).collect();
        if touching.is_empty() || shift == 0 {
            return self.plain_cell(here);
        }
        let content = Content { origin, shift, edges: &touching, corner: here };
        if content.is_small() || self.words.len() > self.most_words {
            let parts = self.parts;
            return Cell::Leaf(write_leaf(&mut self.words, &content, |number| parts[number as usize].ix)).word();
        }
        let within = shift.saturating_sub(NODE_BITS);
        let at = self.words.len();
        self.words.resize(at + (1 << (2 * NODE_BITS)), super::NOBODY);
        let buckets = Buckets::of(edges, mine, origin, within, shift - within);
        self.fill(&Cells { origin, shift: within, bits: shift - within, edges, corner: here }, &buckets, at);
        Cell::Node(at).word()
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
    ((edges.len() << density).ilog2().div_ceil(2)).min(MOST_BITS)
}

impl Plane {
    /// Of all parts, on all processors.
    pub(crate) fn build(parts: &[Part<'_>]) -> Self {
        let mut by_sheet: Vec<Vec<u32>> = vec![Vec::new(); SHEETS];
        let mut vertices = 0;
        for (number, part) in (0..).zip(parts) {
            vertices += part.rings.iter().map(Vec::len).sum::<usize>();
            sheets(part.bounds).for_each(|sheet| by_sheet[sheet].push(number));
        }
        let density = density(vertices);
        let mut jobs: Vec<(usize, Vec<u32>)> =
            by_sheet.into_iter().enumerate().filter(|(_, numbers)| !numbers.is_empty()).collect();
        jobs.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.len()));
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some((number, numbers)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sheet = Arc::new(Sheet::build(parts, numbers.iter().copied(), corner(*number), density));
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*number, sheet));
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len());
        if processors > 1 {
            std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
        } else {
            work();
        }
        let mut plane = Self { density, ..Self::default() };
        let sheets = Arc::make_mut(&mut plane.sheets);
        for (number, sheet) in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            sheets[number] = sheet;
        }
        plane
    }

    /// After a neighborhood's geometry became another one: only tiles in which the two differ are built again.
    /// `geometry` gives those of the others.
    pub(crate) fn change<'a>(
        &self,
        ix: u32,
        old: &Geometry,
        new: &'a Geometry,
        geometry: impl Fn(u32) -> &'a Geometry,
    ) -> Self {
        let both: Vec<Part<'_>> = parts(0, old).chain(parts(1, new)).collect();
        let mut touched: Vec<usize> = both.iter().flat_map(|part| sheets(part.bounds)).collect();
        touched.sort_unstable();
        touched.dedup();
        let mut plane = self.clone();
        for number in touched {
            let origin = corner(number);
            let (edges, holders) = gather(&both, (0..).take(both.len()), &Area::of(origin, 1 << SHEET_SHIFT));
            let sheet = &plane.sheets[number];
            let (shift, bits) = (sheet.grid.shift, sheet.grid.bits());
            let mut differ = Vec::new();
            Cells { origin, shift, bits, edges: &edges, corner: &holders }.each(|tile, origin, mine, here| {
                let is_in = |which: u32| here.iter().any(|number| both[*number as usize].ix == which);
                if !mine.is_empty() || is_in(0) != is_in(1) {
                    differ.push((tile, origin));
                }
            });
            let parts_of = |guests: &mut dyn Iterator<Item = u32>| {
                let others: BTreeSet<u32> = guests.filter(|guest| *guest != ix).collect();
                let others = others.into_iter().flat_map(|guest| parts(guest, geometry(guest)));
                others.chain(parts(ix, new)).collect::<Vec<Part<'_>>>()
            };
            if bits < MOST_SHEET_BITS && !differ.is_empty() {
                // It may have grown too full for its few tiles.
                let all = parts_of(&mut sheet.tiles.iter().flat_map(|tile| tile.guests()).copied());
                let grown = Sheet::build(&all, (0..).take(all.len()), origin, self.density);
                Arc::make_mut(&mut plane.sheets)[number] = Arc::new(grown);
            } else if !differ.is_empty() {
                let sheet = Arc::make_mut(&mut Arc::make_mut(&mut plane.sheets)[number]);
                for (tile, origin) in differ {
                    let all = parts_of(&mut sheet.tiles[tile].guests().iter().copied());
                    let (edges, holders) = gather(&all, (0..).take(all.len()), &Area::of(origin, 1 << shift));
                    sheet.tiles[tile] = Tiles::new(&all, self.density, shift).tile(origin, edges, &holders);
                }
            }
        }
        plane
    }
}

/// Few neighborhoods get finer grids: they still fit the processor's cache.
fn density(vertices: usize) -> u32 {
    if vertices < 1 << 21 { 3 } else { 0 }
}

impl Sheet {
    fn build(parts: &[Part<'_>], numbers: impl Iterator<Item = u32>, origin: (i64, i64), density: u32) -> Self {
        let (edges, holders) = gather(parts, numbers, &Area::of(origin, 1 << SHEET_SHIFT));
        let bits = (edges.len() / TILE_EDGES).checked_ilog2().map_or(0, |bits| bits.div_ceil(2).min(MOST_SHEET_BITS));
        let shift = SHEET_SHIFT - bits;
        let (mut tiles, mut made) = (Tiles::new(parts, density, shift), Vec::with_capacity(1 << (2 * bits)));
        Cells { origin, shift, bits, edges: &edges, corner: &holders }.each(|_, origin, mine, here| {
            let mine = mine.iter().map(|number| edges[*number as usize]).collect();
            made.push(tiles.tile(origin, mine, here));
        });
        Self { tiles: made.into(), grid: Grid::new(shift, bits) }
    }
}
