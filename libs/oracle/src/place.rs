//! Places, and the neighborhoods that hold them: of every version, for an alert in flight names the one that matched.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::plane::{Point, Shape};

/// A neighborhood, and which of its versions, from 0.
pub(crate) type Held = (Uuid, usize);

/// Every version of every neighborhood, the last of each being the one that counts.
pub(crate) type Neighborhoods = BTreeMap<Uuid, Vec<Shape>>;

/// A point with all that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) point: Point,
    held_by: BTreeSet<Held>,
}

impl Place {
    pub(crate) fn new(point: Point, neighborhoods: &Neighborhoods) -> Self {
        let mut place = Self { point, held_by: BTreeSet::new() };
        for (id, versions) in neighborhoods {
            versions.iter().enumerate().for_each(|(version, shape)| place.learn((*id, version), shape));
        }
        place
    }

    /// A version that came after this place.
    pub(crate) fn learn(&mut self, version: Held, shape: &Shape) {
        if shape.holds(self.point) {
            self.held_by.insert(version);
        }
    }

    /// The versions that count and hold it.
    pub(crate) fn now(&self, neighborhoods: &Neighborhoods) -> BTreeSet<Held> {
        self.held_by.iter().filter(|held| **held == current(held.0, neighborhoods)).copied().collect()
    }

    /// Those of the matched neighborhoods that hold it both as they matched and as they are now.
    pub(crate) fn shares(&self, matched: &BTreeSet<Held>, neighborhoods: &Neighborhoods) -> BTreeSet<Uuid> {
        let both = |held: &&Held| self.held_by.contains(held) && self.held_by.contains(&current(held.0, neighborhoods));
        matched.iter().filter(both).map(|held| held.0).collect()
    }
}

fn current(id: Uuid, neighborhoods: &Neighborhoods) -> Held {
    (id, neighborhoods.get(&id).map_or(0, |versions| versions.len() - 1))
}
