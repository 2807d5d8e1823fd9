//! Which open streams an alert concerns: by household, and by the neighborhoods of verified homes. A route only says
//! where to look: the gate judges each item when it is sent.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use porchlight_domain::{HouseholdId, NeighborhoodId};

/// An open stream of this gateway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct StreamId(pub(super) u64);

/// The routes.
#[derive(Default)]
pub(super) struct Routes {
    streams: HashMap<StreamId, (HouseholdId, Box<[NeighborhoodId]>)>,
    by_household: HashMap<HouseholdId, BTreeSet<StreamId>>,
    by_neighborhood: HashMap<NeighborhoodId, BTreeSet<StreamId>>,
}

impl Routes {
    /// The stream is of this household and looks at these neighborhoods from now on. Whether it looks at one that it did
    /// not look at before.
    pub(super) fn put(&mut self, stream: StreamId, household: HouseholdId, neighborhoods: &[NeighborhoodId]) -> bool {
        let before = self.take(stream);
        add(&mut self.by_household, household, stream);
        for id in neighborhoods {
            add(&mut self.by_neighborhood, *id, stream);
        }
        self.streams.insert(stream, (household, neighborhoods.into()));
        let (_, before) = before.unwrap_or((household, Box::default()));
        neighborhoods.iter().any(|id| !before.contains(id))
    }

    /// The stream is no more.
    pub(super) fn remove(&mut self, stream: StreamId) {
        self.take(stream);
    }

    fn take(&mut self, stream: StreamId) -> Option<(HouseholdId, Box<[NeighborhoodId]>)> {
        let (household, neighborhoods) = self.streams.remove(&stream)?;
        subtract(&mut self.by_household, household, stream);
        for id in &neighborhoods {
            subtract(&mut self.by_neighborhood, *id, stream);
        }
        Some((household, neighborhoods))
    }

    /// What a stream looks at.
    pub(super) fn of(&self, stream: StreamId) -> Option<(HouseholdId, &[NeighborhoodId])> {
        self.streams.get(&stream).map(|(household, neighborhoods)| (*household, neighborhoods.as_ref()))
    }

    /// The streams that an alert of this household to these neighborhoods concerns, each once.
    pub(super) fn concerned(&self, household: HouseholdId, neighborhoods: &[NeighborhoodId]) -> Vec<StreamId> {
        let neighbors = neighborhoods.iter().filter_map(|id| self.by_neighborhood.get(id)).flatten();
        let mut streams: Vec<StreamId> =
            self.by_household.get(&household).into_iter().flatten().chain(neighbors).copied().collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// The streams of a household.
    pub(super) fn of_household(&self, household: HouseholdId) -> Vec<StreamId> {
        self.by_household.get(&household).into_iter().flatten().copied().collect()
    }

    /// The households that have streams.
    pub(super) fn households(&self) -> impl Iterator<Item = HouseholdId> {
        self.by_household.keys().copied()
    }
}

fn add<K: Hash + Eq>(routes: &mut HashMap<K, BTreeSet<StreamId>>, key: K, stream: StreamId) {
    routes.entry(key).or_default().insert(stream);
}

fn subtract<K: Hash + Eq>(routes: &mut HashMap<K, BTreeSet<StreamId>>, key: K, stream: StreamId) {
    if let Some(streams) = routes.get_mut(&key) {
        streams.remove(&stream);
        if streams.is_empty() {
            routes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn household(n: u8) -> HouseholdId {
        HouseholdId(Uuid::from_u128(u128::from(n)))
    }
    fn neighborhoods(of: &BTreeSet<u8>) -> Vec<NeighborhoodId> {
        of.iter().map(|n| NeighborhoodId(Uuid::from_u128(u128::from(*n)))).collect()
    }

    proptest! {
        /// Whatever comes, moves and goes: those concerned are those that a search of all finds, and what went leaves nothing.
        #[test]
        fn those_concerned_are_those_that_a_search_of_all_finds(
            changes in prop::collection::vec(
                (0..8_u64, prop::option::of((0..3_u8, prop::collection::btree_set(0..5_u8, 0..4)))), 0..60),
            (whose, to) in (0..4_u8, prop::collection::btree_set(0..6_u8, 0..4)),
        ) {
            let (mut routes, mut all) = (Routes::default(), HashMap::<u64, (u8, BTreeSet<u8>)>::new());
            for (stream, change) in changes {
                match change {
                    Some((of, at)) => {
                        let gained = routes.put(StreamId(stream), household(of), &neighborhoods(&at));
                        let before = all.insert(stream, (of, at.clone())).map(|(_, at)| at).unwrap_or_default();
                        prop_assert_eq!(gained, !at.is_subset(&before));
                    }
                    None => {
                        routes.remove(StreamId(stream));
                        all.remove(&stream);
                    }
                }
            }
            let concerned = |(of, at): &(u8, BTreeSet<u8>)| *of == whose || !at.is_disjoint(&to);
            let mut expected: Vec<u64> = all.iter().filter(|(_, s)| concerned(s)).map(|(id, _)| *id).collect();
            expected.sort_unstable();
            let found: Vec<u64> = routes.concerned(household(whose), &neighborhoods(&to)).iter().map(|s| s.0).collect();
            prop_assert_eq!(found, expected);
            for (stream, _) in all {
                routes.remove(StreamId(stream));
            }
            prop_assert!(routes.by_household.is_empty() && routes.by_neighborhood.is_empty());
        }
    }
}
