//! What a cell says, in one word.
//!
//! A cell all of whose points have the same owners names them: a neighborhood, nobody, or the place of a list. Any other is
//! a node, sixteen cells of a quarter of its side, or a leaf, which keeps the edges that touch it. The uppermost bit of
//! a word says whether it alone is the answer, so that those of a whole block are told apart by their signs.

use smallvec::SmallVec;

/// Nobody, everywhere in the cell.
pub(crate) const NOBODY: u32 = u32::MAX >> 1;
/// Above the place of a word within its tile.
const PLACE_BITS: u32 = 29;
const PLACE: u32 = (1 << PLACE_BITS) - 1;
const LEAF: u32 = 0b100 << PLACE_BITS;
const WIDE: u32 = 0b101 << PLACE_BITS;
const NODE: u32 = 0b110 << PLACE_BITS;
const LIST: u32 = 0b111 << PLACE_BITS;

/// The most neighborhoods, so that one is a plain word.
pub(crate) const MOST: usize = NOBODY as usize;

/// A word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Nobody,
    /// The neighborhood's place in the index.
    One(u32),
    /// Places of words: of the list's length, a node's first cell, a leaf's head, a wide leaf's.
    List(usize),
    Node(usize),
    Leaf(usize),
    Wide(usize),
}

impl Cell {
    #[inline]
    pub(super) fn of(word: u32) -> Self {
        let at = place(word);
        match word & !PLACE {
            _ if word == NOBODY => Self::Nobody,
            LEAF => Self::Leaf(at),
            WIDE => Self::Wide(at),
            NODE => Self::Node(at),
            LIST => Self::List(at),
            _ => Self::One(word),
        }
    }

    /// # Panics
    /// Beyond 2^29 words: no tile has so many.
    pub(super) fn word(self) -> u32 {
        let place = |at: usize| u32::try_from(at).ok().filter(|at| *at <= PLACE).expect("a tile is smaller than 2 GiB");
        match self {
            Self::Nobody => NOBODY,
            Self::One(ix) => ix,
            Self::List(at) => LIST | place(at),
            Self::Node(at) => NODE | place(at),
            Self::Leaf(at) => LEAF | place(at),
            Self::Wide(at) => WIDE | place(at),
        }
    }
}

/// Of a word that is not plain.
#[inline]
pub(super) fn place(word: u32) -> usize {
    (word & PLACE) as usize
}

/// Whether the word alone is the answer: one neighborhood, or nobody.
#[inline]
pub(super) fn is_plain(word: u32) -> bool {
    word <= NOBODY
}

/// What a list says: its owners.
pub(super) fn list(words: &[u32], word: u32) -> &[u32] {
    let at = place(word);
    &words[at + 1..][..words[at] as usize]
}

/// Numbers of owners, ascending.
pub(super) type Set = SmallVec<[u32; 4]>;

/// What changes at an edge that is crossed.
pub(super) fn toggle(set: &mut Set, toggles: [u32; 2]) {
    for owner in toggles.into_iter().filter(|owner| *owner != super::edge::NOBODY) {
        match set.binary_search(&owner) {
            Ok(at) => drop(set.remove(at)),
            Err(at) => set.insert(at, owner),
        }
    }
}
