//! Several feeds as one, newest first, each place once. Pulls nothing by itself: it says which feed it must see more of.

use std::collections::VecDeque;

use porchlight_store::{FeedEntry, FeedOwner, FeedPosition};

/// A place in the merged feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) position: FeedPosition,
    /// Whether the household's own feed has it here.
    pub(super) own: bool,
}

/// More of this feed is needed, older than `before`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) source: usize,
    pub(super) owner: FeedOwner,
    pub(super) before: Option<FeedPosition>,
}

struct Source {
    owner: FeedOwner,
    before: Option<FeedPosition>,
    pulled: VecDeque<FeedPosition>,
    exhausted: bool,
}

/// The merge.
pub(super) struct Merge(Vec<Source>);

impl Merge {
    /// Of these feeds, from `before` on.
    pub(super) fn new(owners: impl IntoIterator<Item = FeedOwner>, before: Option<FeedPosition>) -> Self {
        let source = |owner| Source { owner, before, pulled: VecDeque::new(), exhausted: false };
        Self(owners.into_iter().map(source).collect())
    }

    /// The feeds of which nothing is in hand, though they may have more: until they are fed there is no next place.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let hungry = self.0.iter().enumerate().filter(|(_, source)| source.pulled.is_empty() && !source.exhausted);
        hungry.map(|(n, source)| Wanted { source: n, owner: source.owner, before: source.before }).collect()
    }

    /// Takes what a feed gave, `asked` entries at most; fewer mean that it has no more.
    pub(super) fn feed(&mut self, source: usize, entries: &[FeedEntry], asked: usize) {
        let source = &mut self.0[source];
        source.exhausted = entries.len() < asked;
        source.before = entries.last().map(|entry| entry.position).or(source.before);
        source.pulled.extend(entries.iter().map(|entry| entry.position));
    }

    /// The next place, newest first; `None` if a feed must be fed first or all are exhausted.
    pub(super) fn next(&mut self) -> Option<Place> {
        if !self.wanted().is_empty() {
            return None;
        }
        let position = self.0.iter().filter_map(|source| source.pulled.front()).max().copied()?;
        let mut own = false;
        for source in self.0.iter_mut().filter(|source| source.pulled.front() == Some(&position)) {
            source.pulled.pop_front();
            own |= matches!(source.owner, FeedOwner::Household(_));
        }
        Some(Place { position, own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::{HouseholdId, ItemId, NeighborhoodId, Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn owner(n: usize) -> FeedOwner {
        match n {
            0 => FeedOwner::Household(HouseholdId(Uuid::nil())),
            _ => FeedOwner::Neighborhood(NeighborhoodId(Uuid::from_u128(n as u128))),
        }
    }

    fn position((at, item): (i64, u128)) -> FeedPosition {
        FeedPosition { at: Timestamp(at), item: ItemId(Uuid::from_u128(item)) }
    }

    /// Runs the merge as the shell does, over feeds in memory.
    fn merged(feeds: &[BTreeSet<(i64, u128)>], before: Option<FeedPosition>, asked: usize) -> Vec<Place> {
        let mut merge = Merge::new((0..feeds.len()).map(owner), before);
        let mut places = Vec::new();
        loop {
            for wanted in merge.wanted() {
                let older = feeds[wanted.source].iter().rev().map(|p| position(*p));
                let entries: Vec<FeedEntry> = older
                    .filter(|p| wanted.before.is_none_or(|before| *p < before))
                    .take(asked)
                    .map(|position| FeedEntry { position, expires_at: Timestamp(i64::MAX) })
                    .collect();
                merge.feed(wanted.source, &entries, asked);
            }
            match merge.next() {
                Some(place) => places.push(place),
                None if merge.wanted().is_empty() => return places,
                None => {}
            }
        }
    }

    proptest! {
        /// Whatever the feeds and however little is pulled at once: every place once, newest first, none beyond the cursor.
        #[test]
        fn all_places_once_and_in_order(
            feeds in prop::collection::vec(prop::collection::btree_set((0..20_i64, 0..4_u128), 0..30), 0..5),
            before in prop::option::of((0..20_i64, 0..4_u128)),
            asked in 1..5_usize,
        ) {
            let before = before.map(position);
            let all: BTreeSet<FeedPosition> = feeds.iter().flatten().map(|p| position(*p)).collect();
            let expected: Vec<Place> = all
                .into_iter()
                .rev()
                .filter(|p| before.is_none_or(|before| *p < before))
                .map(|p| Place { position: p, own: feeds[0].contains(&(p.at.0, p.item.0.as_u128())) })
                .collect();
            prop_assert_eq!(merged(&feeds, before, asked), expected);
        }
    }
}
