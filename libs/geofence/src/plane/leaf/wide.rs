//! A wide leaf: any number of edges and owners, whole coordinates, 128-bit products: for long edges (a county's border in
//! one piece) and for what is hard on purpose.
//!
//! Its words: how many owners, how many edges, the owners, the first set, and each edge: x and y of both ends, and the bits
//! that it changes. Sets are as many words as the owners need.

use smallvec::SmallVec;

use super::Content;
use crate::{
    geometry::Point,
    plane::{
        cell::Set,
        edge::{self, Edge},
    },
};

/// Writes it; its place. `owner` says which neighborhood a number stands for.
pub(in crate::plane) fn write(words: &mut Vec<u32>, content: &Content<'_>, owner: impl Fn(u32) -> u32) -> usize {
    let mut palette = content.corner.clone();
    for number in content.edges.iter().flat_map(|edge| edge.toggles).filter(|n| *n != edge::NOBODY) {
        if let Err(at) = palette.binary_search(&number) {
            palette.insert(at, number);
        }
    }
    let head = words.len();
    let sets = palette.len().div_ceil(32);
    words.push(u32::try_from(palette.len()).unwrap_or(0));
    words.push(0);
    words.extend(palette.iter().map(|number| owner(*number)));
    let first = words.len();
    words.resize(first + sets, 0);
    let mut count = 0_u32;
    for edge in content.edges {
        let end = content.leaves(edge).then_some((edge.b, Point { x: edge.b.x, y: i32::MAX }));
        for (a, b) in [Some((edge.a, edge.b)), end].into_iter().flatten() {
            words.extend([a.x, a.y, b.x, b.y].map(i32::cast_unsigned));
            let bits = words.len();
            words.resize(bits + sets, 0);
            for number in edge.toggles.iter().filter(|n| **n != edge::NOBODY) {
                let bit = bit_of(&palette, *number);
                words[bits + bit / 32] |= 1 << (bit % 32);
            }
            count += 1;
        }
    }
    words[head + 1] = count;
    let corner = content.corner_point();
    for set in 0..sets {
        let at_corner = bits(&words[head..], set, corner);
        words[first + set] ^= at_corner;
    }
    for number in content.corner {
        let bit = bit_of(&palette, *number);
        words[first + bit / 32] ^= 1 << (bit % 32);
    }
    head
}

fn bit_of(palette: &Set, number: u32) -> usize {
    palette.binary_search(&number).expect("the palette holds all numbers")
}

/// All owners of a point, ascending. `words` from the leaf's head on.
#[cold]
pub(in crate::plane) fn owners(words: &[u32], p: Point) -> SmallVec<[u32; 4]> {
    let mut found = SmallVec::new();
    for set in 0..sets(words) {
        let mut bits = bits(words, set, p);
        while bits != 0 {
            found.push(words[2 + set * 32 + bits.trailing_zeros() as usize]);
            bits &= bits - 1;
        }
    }
    found.sort_unstable();
    // A neighborhood may hold it with two of its parts.
    found.dedup();
    found
}

fn sets(words: &[u32]) -> usize {
    (words[0] as usize).div_ceil(32)
}

/// The `set`th word of the owners' bits.
fn bits(words: &[u32], set: usize, p: Point) -> u32 {
    let sets = sets(words);
    let first = 2 + words[0] as usize;
    let edges = words[first + sets..].chunks_exact(4 + sets).take(words[1] as usize);
    let p = (i64::from(p.x), i64::from(p.y));
    edges.fold(words[first + set], |bits, edge| {
        let at = |n: usize| edge[n].cast_signed();
        let line = Edge { a: Point { x: at(0), y: at(1) }, b: Point { x: at(2), y: at(3) }, toggles: [0, 0] };
        if line.is_east_of(p) { bits ^ edge[4 + set] } else { bits }
    })
}
