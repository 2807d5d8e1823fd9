//! Many points at once: step by step for all of a block, so that no point waits for the memory of another, and nearly
//! without branches that depend on where a point lies, which a processor would guess wrong. Points that need another step
//! are noted by writing down each one and counting on only if it does.

use super::{
    Cell, Grid, NODE_BITS, Plane, SHEET_SHIFT, SHEETS_GRID, Tile,
    cell::{NOBODY, is_leaf, is_node, is_plain},
    leaf::one_owner,
};
use crate::geometry::{ANTIMERIDIAN, NORTH_POLE, Point};

/// As many points as the processor's nearest cache has room for, with all that is kept of them.
pub(crate) const BLOCK: usize = 64;

/// Most leaves are shorter, and so lie in two lines of the cache at most: those of their first word and of this one.
const TOUCH: usize = 12;

/// Numbers of points in a block.
struct Noted {
    numbers: [u8; BLOCK],
    count: usize,
}

impl Noted {
    const NONE: Self = Self { numbers: [0; BLOCK], count: 0 };

    #[inline]
    fn note(&mut self, n: u8, really: bool) {
        self.numbers[self.count % BLOCK] = n;
        self.count += usize::from(really);
    }

    fn all(&self) -> &[u8] {
        &self.numbers[..self.count]
    }
}

/// What is known of each point of a block: where its word is from, and its cell's side.
struct Block<'a> {
    tiles: [&'a Tile; BLOCK],
    shifts: [u32; BLOCK],
    leaves: Noted,
    /// To be asked for one by one.
    rest: Noted,
}

impl Plane {
    /// The plain word of each point of a block, or of fewer, into `words`; gives the numbers of those that need
    /// [`Plane::locate`], because they have several owners, or that lie at the north pole.
    pub(crate) fn locate_block(&self, points: &[Point], words: &mut [u32; BLOCK], mut rest: impl FnMut(usize)) {
        let Some(&one) = points.first() else { return };
        let mut apart = 0;
        let mut special = false;
        for p in points {
            apart |= (p.x ^ one.x) | (p.y ^ one.y);
            special |= p.x == ANTIMERIDIAN || p.y >= NORTH_POLE;
        }
        let near = |shift: u32| !special && apart.cast_unsigned().checked_shr(shift).unwrap_or(0) == 0;
        let sheet = &self.sheets[SHEETS_GRID.cell(one) as usize];
        let tile = self.tile(one);
        let mut block =
            Block { tiles: [tile; BLOCK], shifts: [tile.grid.shift; BLOCK], leaves: Noted::NONE, rest: Noted::NONE };
        // One step for all points, then the next: each loop is so short that the processor has many of its loads under way.
        let mut cells = [0; BLOCK];
        if near(sheet.grid.shift) {
            for (cell, p) in cells.iter_mut().zip(points) {
                *cell = tile.grid.cell(*p);
            }
        } else if near(SHEET_SHIFT) {
            let (tiles, grid) = (&*sheet.tiles, sheet.grid);
            for ((cell, p), of) in cells.iter_mut().zip(points).zip(&mut block.tiles) {
                *of = &tiles[grid.cell(*p) as usize];
                *cell = of.grid.cell(*p);
            }
        } else {
            for (p, of) in points.iter().zip(&mut block.tiles) {
                *of = self.tile(p.canonical());
            }
            for ((cell, p), of) in cells.iter_mut().zip(points).zip(block.tiles) {
                *cell = of.grid.cell(p.canonical());
            }
        }
        for ((word, cell), of) in words.iter_mut().zip(cells).zip(block.tiles).take(points.len()) {
            *word = of.words[cell as usize];
        }
        let mut waiting = Noted::NONE;
        for (n, word) in (0_u8..).zip(&words[..points.len()]) {
            waiting.note(n, !is_plain(*word));
        }
        if special {
            waiting = Noted::NONE;
            for ((n, p), word) in (0_u8..).zip(points).zip(&*words) {
                block.rest.note(n, p.y >= NORTH_POLE);
                waiting.note(n, !is_plain(*word) && p.y < NORTH_POLE);
            }
        }
        block.finish(points, words, &waiting);
        block.rest.all().iter().for_each(|n| rest(usize::from(*n)));
    }
}

impl Block<'_> {
    /// For those that are no plain word yet.
    fn finish(&mut self, points: &[Point], words: &mut [u32; BLOCK], waiting: &Noted) {
        let mut nodes = Noted::NONE;
        for &n in waiting.all() {
            let at = usize::from(n);
            self.shifts[at] = self.tiles[at].grid.shift;
            self.sort(n, words[at], &mut nodes);
        }
        while nodes.count > 0 {
            let mut deeper = Noted::NONE;
            for &n in nodes.all() {
                let at = usize::from(n);
                let Cell::Node(place) = Cell::of(words[at]) else { continue };
                let bits = NODE_BITS.min(self.shifts[at]);
                self.shifts[at] -= bits;
                let cell = Grid::new(self.shifts[at], bits).cell(points[at].canonical());
                words[at] = self.tiles[at].words[place + cell as usize];
                self.sort(n, words[at], &mut deeper);
            }
            nodes = deeper;
        }
        // What is not in the cache is on its way when it is needed.
        for &n in self.leaves.all() {
            let at = usize::from(n);
            if let Cell::Leaf(place) = Cell::of(words[at]) {
                let words = &self.tiles[at].words;
                std::hint::black_box(words[place] ^ words[(place + TOUCH).min(words.len() - 1)]);
            }
        }
        for &n in self.leaves.all() {
            let at = usize::from(n);
            let Cell::Leaf(place) = Cell::of(words[at]) else { continue };
            let owner = one_owner(&self.tiles[at].words[place..], points[at].canonical(), self.shifts[at]);
            words[at] = owner.unwrap_or(NOBODY);
            self.rest.note(n, owner.is_none());
        }
    }

    #[inline]
    fn sort(&mut self, n: u8, word: u32, nodes: &mut Noted) {
        let (leaf, node) = (is_leaf(word), is_node(word));
        self.leaves.note(n, leaf);
        nodes.note(n, node);
        self.rest.note(n, !leaf && !node && !is_plain(word));
    }
}
