//! Cutting the plane into sheets, and what a change cuts anew.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Grid, Plane, SHEET_BITS, SHEET_SHIFT, SHEETS, SHEETS_GRID, Sheet, Tile,
    cell::Set,
    edge::{Area, Edge},
    tile::{Buckets, Cells, Tiles},
};
use crate::geometry::{Geometry, Point, Ring};

/// A sheet has a tile for about so many edges, and at most 64 by 64.
const TILE_EDGES: usize = 16;
const MOST_SHEET_BITS: u32 = 6;
/// As [`super::tile`] does with grids of tiles.
const SHEET_SPREAD: usize = 4;

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
            let (shift, bits) = (u32::from(sheet.grid.shift), u32::from(sheet.grid.bits));
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
                let all = parts_of(&mut sheet.tiles.iter().flat_map(|tile| sheet.guests(tile)).copied());
                let grown = Sheet::build(&all, (0..).take(all.len()), origin, self.density);
                Arc::make_mut(&mut plane.sheets)[number] = Arc::new(grown);
            } else if !differ.is_empty() {
                let sheet = Arc::make_mut(&mut Arc::make_mut(&mut plane.sheets)[number]);
                for (tile, origin) in differ {
                    let all = parts_of(&mut sheet.guests(&sheet.tiles[tile]).iter().copied());
                    let (edges, holders) = gather(&all, (0..).take(all.len()), &Area::of(origin, 1 << shift));
                    let mut made = Tiles::new(&all, self.density, shift);
                    made.make(origin, edges, &holders);
                    let (words, made) = made.done();
                    sheet.tiles[tile] = Tile { own: Some(words), ..made[0].clone() };
                }
            }
        }
        plane
    }
}

/// Few neighborhoods get finer grids: they still fit the processor's cache.
fn density(vertices: usize) -> u32 {
    if vertices < 1 << 21 { 4 } else { 0 }
}

impl Sheet {
    fn build(parts: &[Part<'_>], numbers: impl Iterator<Item = u32>, origin: (i64, i64), density: u32) -> Self {
        let (edges, holders) = gather(parts, numbers, &Area::of(origin, 1 << SHEET_SHIFT));
        let most = (edges.len() / TILE_EDGES).checked_ilog2().map_or(0, |bits| bits.div_ceil(2).min(MOST_SHEET_BITS));
        let (buckets, bits) = Buckets::coarse_enough(&edges, origin, SHEET_SHIFT, most, SHEET_SPREAD);
        let shift = SHEET_SHIFT - bits;
        let mut tiles = Tiles::new(parts, density, shift);
        Cells { origin, shift, bits, edges: &edges, corner: &holders }.each_of(&buckets, |_, origin, mine, here| {
            let mine = mine.iter().map(|number| edges[*number as usize]).collect();
            tiles.make(origin, mine, here);
        });
        let (words, tiles) = tiles.done();
        Self { words, tiles, grid: Grid::new(shift, bits) }
    }
}
