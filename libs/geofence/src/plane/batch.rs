//! Many points at once: step by step for all of a block, so that no point waits for the memory of another, and nearly
//! without branches that depend on where a point lies, which a processor would guess wrong. Which points need another
//! step is a bit for each in one word.
//!
//! The only unsafe code of this crate: hints to the processor, and the choice of its instructions.

use wide::{i8x16, i16x8, i32x8};

use super::{
    Grid, Plane, SHEET_SHIFT, Sheet,
    cell::{Cell, is_plain, list, place},
    leaf,
};
use crate::geometry::{ANTIMERIDIAN, NORTH_POLE, Point};

/// As many points as a word has bits.
pub(crate) const BLOCK: usize = 64;

/// Most leaves are shorter, and so lie in two lines of the cache at most: those of their first word and of this one.
const TOUCH: usize = 12;

/// The numbers of the bits that are set, ascending.
pub(crate) fn bits(mut of: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = of.trailing_zeros() as usize;
        of &= of.wrapping_sub(1);
        (bit < BLOCK).then_some(bit)
    })
}

/// Has a word fetched into the cache, to be read soon. The processor does so by itself only as far ahead as it can hold
/// instructions, which is a few points.
#[inline]
fn prefetch(words: &[u32], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[allow(unsafe_code)]
    // SAFETY: a hint, which reads nothing and never faults, wherever it points.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(words.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (words, at);
}

/// Which words of a block are no answers yet: a bit for each.
struct Kinds {
    nodes: u64,
    leaves: u64,
    wides: u64,
    lists: u64,
}

impl Kinds {
    /// By the three uppermost bits of each word, if there are any that are no answer.
    #[inline(always)]
    fn of(words: &[u32; BLOCK]) -> Option<Self> {
        let signs = |shift: u32| {
            let (sixteens, _) = words.as_chunks::<16>();
            sixteens.iter().rev().fold(0, |signs, sixteen| {
                let [a, b] =
                    bytemuck::cast::<_, [i32x8; 2]>(*sixteen).map(|eight| i16x8::from_i32x8_saturate(eight << shift));
                signs << 16 | u64::from(i8x16::from_i16x16_saturate(bytemuck::cast([a, b])).move_mask().cast_unsigned())
            })
        };
        let first = signs(0);
        if first == 0 {
            return None;
        }
        let (second, third) = (signs(1), signs(2));
        let (upper, lower) = (first & second, first & !second);
        Some(Self { nodes: upper & !third, leaves: lower & !third, wides: lower & third, lists: upper & third })
    }

    #[inline]
    fn note(&mut self, n: usize, word: u32) {
        let kind = match Cell::of(word) {
            Cell::Nobody | Cell::One(_) => return,
            Cell::Node(_) => &mut self.nodes,
            Cell::Leaf(_) => &mut self.leaves,
            Cell::Wide(_) => &mut self.wides,
            Cell::List(_) => &mut self.lists,
        };
        *kind |= 1 << n;
    }
}

impl Plane {
    /// The plain word of each point of a block into `words`, or what `several` makes of its owners. For each point at the
    /// north pole, whose word says nothing, a bit is set in what is returned.
    pub(crate) fn locate_block(
        &self,
        points: &[Point; BLOCK],
        words: &mut [u32; BLOCK],
        several: impl FnMut(&[u32]) -> u32,
    ) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
        {
            #[allow(unsafe_code)]
            // SAFETY: these are the instructions that it needs.
            return unsafe { self.block_by_avx2(points, words, several) };
        }
        self.block(points, words, several)
    }

    /// The same in the instructions that servers have had for ten years: a sixth faster than those of the first ones.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn block_by_avx2(
        &self,
        points: &[Point; BLOCK],
        words: &mut [u32; BLOCK],
        several: impl FnMut(&[u32]) -> u32,
    ) -> u64 {
        self.block(points, words, several)
    }

    #[inline(always)]
    fn block(&self, points: &[Point; BLOCK], words: &mut [u32; BLOCK], several: impl FnMut(&[u32]) -> u32) -> u64 {
        let one = points[0];
        let apart = points.iter().fold(0, |bits, p| bits | (p.x ^ one.x) | (p.y ^ one.y)).cast_unsigned();
        let sheet = self.sheet(one);
        // All of them in one square of a side, which has neither 180 nor the pole in it.
        let within = |shift: u32| {
            let special = one.x >> shift == ANTIMERIDIAN >> shift || one.y >> shift >= NORTH_POLE >> shift;
            apart >> shift == 0 && !special
        };
        if within(sheet.grid.shift.into()) {
            let tile = sheet.tile(one);
            let (of, grid) = (sheet.words_of(tile), tile.grid);
            let cells = points.map(|p| grid.cell(p));
            for (word, cell) in words.iter_mut().zip(cells) {
                *word = of[cell as usize];
            }
            finish::<false>(points, words, |_| of, [grid.shift; BLOCK], several);
            0
        } else if within(SHEET_SHIFT) {
            scattered(points, words, |_| sheet, several);
            0
        } else {
            let points = points.map(Point::canonical);
            scattered(&points, words, |p| self.sheet(p), several);
            points.iter().zip(0..).fold(0, |bits, (p, n)| bits | u64::from(p.y >= NORTH_POLE) << n)
        }
    }
}

/// Of points in several tiles. One step for all, then the next: each loop is so short that the processor has many of its
/// loads under way.
#[inline(always)]
fn scattered<'a>(
    points: &[Point; BLOCK],
    words: &mut [u32; BLOCK],
    sheet: impl Fn(Point) -> &'a Sheet,
    several: impl FnMut(&[u32]) -> u32,
) {
    let tiles = points.map(|p| sheet(p).tile(p));
    let (mut of, mut cells) = ([&[][..]; BLOCK], [0; BLOCK]);
    for n in 0..BLOCK {
        of[n] = sheet(points[n]).words_of(tiles[n]);
        cells[n] = tiles[n].grid.cell(points[n]) as usize;
        prefetch(of[n], cells[n]);
    }
    for n in 0..BLOCK {
        words[n] = of[n][cells[n]];
    }
    finish::<true>(points, words, |n| of[n], tiles.map(|tile| tile.grid.shift), several);
}

/// From the words of a block's cells to plain ones. `of` are the words of a point's tile, `shifts` the sides of the cells.
/// `FAR` apart, points have their words fetched ahead; near each other, they find them in the cache.
#[inline(always)]
fn finish<'a, const FAR: bool>(
    points: &[Point; BLOCK],
    words: &mut [u32; BLOCK],
    of: impl Fn(usize) -> &'a [u32],
    mut shifts: [u8; BLOCK],
    mut several: impl FnMut(&[u32]) -> u32,
) {
    let Some(mut kinds) = Kinds::of(words) else { return };
    while kinds.nodes != 0 {
        let nodes = std::mem::take(&mut kinds.nodes);
        let cell = |n: usize, word: u32, shift: u8| place(word) + Grid::of_node(shift).cell(points[n]) as usize;
        if FAR {
            bits(nodes).for_each(|n| prefetch(of(n), cell(n, words[n], shifts[n])));
        }
        for n in bits(nodes) {
            words[n] = of(n)[cell(n, words[n], shifts[n])];
            shifts[n] = Grid::of_node(shifts[n]).shift;
            kinds.note(n, words[n]);
        }
    }
    if FAR {
        for n in bits(kinds.leaves) {
            prefetch(of(n), place(words[n]));
            prefetch(of(n), place(words[n]) + TOUCH);
        }
    }
    for n in bits(kinds.leaves) {
        words[n] = leaf::read(&of(n)[place(words[n])..], points[n], shifts[n]);
        kinds.lists |= u64::from(!is_plain(words[n])) << n;
    }
    for n in bits(kinds.lists) {
        words[n] = several(list(of(n), words[n]));
    }
    for n in bits(kinds.wides) {
        words[n] = several(&leaf::wide::owners(&of(n)[place(words[n])..], points[n]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Geometry, plane::build::parts};

    /// Quadrangles that share their corners, each of which is moved by up to a quarter of their side; and one over all
    /// that are odd, so that every second point has two owners.
    fn plane(corner: Point, side: i32) -> Plane {
        let vertex = |x: i32, y: i32| {
            let shake = |salt: i32| (x * 73 + y * 179 + salt * 31) % (side / 2).max(1) - side / 4;
            Point { x: corner.x + x * side + shake(1), y: corner.y + y * side + shake(2) }
        };
        let quadrangle = |x: i32, y: i32| {
            let ring = [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(dx, dy)| vertex(x + dx, y + dy));
            vec![ring.to_vec()]
        };
        let all = (0..ALONG).flat_map(|y| (0..ALONG).map(move |x| (x, y)));
        let mut geometries: Vec<_> = all.clone().map(|(x, y)| Geometry { parts: vec![quadrangle(x, y)] }).collect();
        let odd = all.filter(|(x, y)| (x + y) % 2 == 1);
        geometries.push(Geometry { parts: odd.map(|(x, y)| quadrangle(x, y)).collect() });
        Plane::build(&(0..).zip(&geometries).flat_map(|(ix, geometry)| parts(ix, geometry)).collect::<Vec<_>>())
    }

    const ALONG: i32 = 6;
    /// In the middle of a plane, across sheets, at the antimeridian and at the pole.
    const CORNERS: [Point; 4] = [
        Point { x: 40_000_000, y: 40_000_000 },
        Point { x: 67_000_000, y: -300_000 },
        Point { x: 1_790_000_000, y: 0 },
        Point { x: 0, y: 890_000_000 },
    ];

    /// What the words of a block stand for; nothing of those at a pole.
    fn owners(words: [u32; BLOCK], several: &[Vec<u32>], poles: u64) -> Vec<Option<Vec<u32>>> {
        let found = |(n, word): (usize, &u32)| match *word {
            _ if poles >> n & 1 != 0 => None,
            super::super::NOBODY => Some(vec![]),
            word if is_plain(word) => Some(vec![word]),
            word => Some(several[place(word)].clone()),
        };
        words.iter().enumerate().map(found).collect()
    }

    #[test]
    fn every_processor_finds_in_blocks_what_is_found_one_by_one() {
        let mut seen = [0, 0, 0];
        for (corner, side) in CORNERS.into_iter().flat_map(|c| [9, 700, 12_000, 70_000, 1_500_000].map(|s| (c, s))) {
            let plane = plane(corner, side);
            let mut state = 1_u64;
            let mut dice = |end: i32| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                i32::try_from((state >> 33) % u64::from(end.unsigned_abs())).unwrap_or(0)
            };
            for block in 0..if cfg!(miri) { 1 } else { 40 } {
                // Every second block lies in a place so small that it is of one tile.
                let reach = if block % 2 == 0 { (ALONG + 2) * side } else { side };
                let points = std::array::from_fn(|_| {
                    let (x, y) = (dice(reach) - side, dice(reach) - side);
                    Point { x: (corner.x + x).min(ANTIMERIDIAN), y: (corner.y + y).min(NORTH_POLE) }
                });
                let mut several = Vec::new();
                let mut keep = |found: &[u32]| {
                    several.push(found.to_vec());
                    Cell::List(several.len() - 1).word()
                };
                let (mut some, mut any) = ([0; BLOCK], [0; BLOCK]);
                let poles =
                    [plane.locate_block(&points, &mut some, &mut keep), plane.block(&points, &mut any, &mut keep)];
                let one_by_one = |p: &Point| (p.y < NORTH_POLE).then(|| plane.locate(p.canonical()).all().to_vec());
                let expected: Vec<_> = points.iter().map(one_by_one).collect();
                assert_eq!(owners(some, &several, poles[0]), expected, "{corner:?} {side}");
                assert_eq!(owners(any, &several, poles[1]), expected, "{corner:?} {side}");
                for owners in expected.into_iter().flatten() {
                    seen[owners.len()] += 1;
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "points of nobody, of one and of two: {seen:?}");
    }
}
