//! What a cell says, in one word.
//!
//! A cell all of whose points have the same owners names them: a neighborhood, nobody, or the place of a list. Any other is
//! a node, sixteen cells of a quarter of its side, or a leaf, which keeps the edges that touch it.

use smallvec::SmallVec;

use super::edge::Edge;

/// Nobody, everywhere in the cell.
pub(super) const NOBODY: u32 = u32::MAX;
const KIND: u32 = 3 << 30;
const PLACE: u32 = !KIND;
/// One neighborhood, everywhere in the cell: the word is its place in the index. Kind 0.
const LEAF: u32 = 1 << 30;
const NODE: u32 = 2 << 30;
const LIST: u32 = 3 << 30;

/// The most neighborhoods, so that one is a word of kind 0.
pub(crate) const MOST: usize = 1 << 30;

/// A word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Nobody,
    One(u32),
    /// Places of words: of the list's length, a node's first cell, a leaf's head.
    List(usize),
    Node(usize),
    Leaf(usize),
}

impl Cell {
    pub(super) fn of(word: u32) -> Self {
        let place = (word & PLACE) as usize;
        match word & KIND {
            _ if word == NOBODY => Self::Nobody,
            LEAF => Self::Leaf(place),
            NODE => Self::Node(place),
            LIST => Self::List(place),
            _ => Self::One(word),
        }
    }

    /// # Panics
    /// Beyond 2^30 words: no tile has so many.
    pub(super) fn word(self) -> u32 {
        let place = |at: usize| u32::try_from(at).ok().filter(|at| *at < PLACE).expect("a tile is smaller than 4 GiB");
        match self {
            Self::Nobody => NOBODY,
            Self::One(ix) => ix,
            Self::List(at) => LIST | place(at),
            Self::Node(at) => NODE | place(at),
            Self::Leaf(at) => LEAF | place(at),
        }
    }
}

/// Whether the word alone is the answer: one neighborhood, or nobody.
#[inline]
pub(super) fn is_plain(word: u32) -> bool {
    word.wrapping_add(1) <= 1 << 30
}

#[inline]
pub(super) fn is_leaf(word: u32) -> bool {
    word & KIND == LEAF
}

#[inline]
pub(super) fn is_node(word: u32) -> bool {
    word & KIND == NODE
}

/// Numbers of owners, ascending.
pub(super) type Set = SmallVec<[u32; 4]>;

/// What changes at an edge that is crossed.
pub(super) fn toggle(set: &mut Set, edge: &Edge) {
    for owner in edge.toggles.into_iter().filter(|owner| *owner != super::edge::NOBODY) {
        match set.binary_search(&owner) {
            Ok(at) => drop(set.remove(at)),
            Err(at) => set.insert(at, owner),
        }
    }
}
