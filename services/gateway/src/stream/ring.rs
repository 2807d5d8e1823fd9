//! The alerts of the last minutes, for streams that resume. No clock and no store: both are given.
//!
//! Each alert has two times: when it was appended to the log (the cursor that is sent with it), and when it was met here.
//! What is replayed is chosen, and ordered, by when it was met: what came late stands behind nobody's cursor, and a
//! replay that breaks off goes on where it was.

use std::collections::{BTreeMap, HashSet};

use porchlight_domain::{HouseholdId, ItemId, NeighborhoodId, Timestamp};

/// How long an alert is kept.
pub(super) const KEPT_MS: i64 = 15 * 60_000;

/// One alert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) item: ItemId,
    pub(super) revision: u32,
    pub(super) household: HouseholdId,
    /// Those that may hear of this revision.
    pub(super) neighborhoods: Box<[NeighborhoodId]>,
    pub(super) log_at: Timestamp,
}

impl Entry {
    /// Whether a person of this household, with homes in these neighborhoods, may be concerned.
    fn concerns(&self, household: HouseholdId, neighborhoods: &[NeighborhoodId]) -> bool {
        self.household == household || self.neighborhoods.iter().any(|id| neighborhoods.contains(id))
    }
}

/// What a stream that resumes is to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Replay {
    /// Each item once, at its newest place: it is loaded anew when it is sent.
    pub(super) items: Vec<(ItemId, Timestamp)>,
    /// Whether that is all there was.
    pub(super) whole: bool,
}

/// The ring. Bounded by age and by number.
pub(super) struct Ring {
    max: usize,
    /// By when they were met, and in that order.
    entries: BTreeMap<(Timestamp, u64), Entry>,
    /// What is in it: an alert that is read, or was appended, again is no news.
    known: HashSet<(ItemId, u32)>,
    /// Everything that was met at or after this is in it.
    reach: Timestamp,
    next: u64,
}

impl Ring {
    /// An empty one of at most `max` alerts, that reaches back to nothing.
    pub(super) fn new(max: usize) -> Self {
        Self { max, entries: BTreeMap::new(), known: HashSet::new(), reach: Timestamp(i64::MAX), next: 0 }
    }

    /// From `from` on the log is read without a gap.
    pub(super) fn begins(&mut self, from: Timestamp) {
        self.reach = from;
    }

    /// Takes an alert; whether it is news.
    pub(super) fn push(&mut self, entry: Entry, met_at: Timestamp) -> bool {
        if !self.known.insert((entry.item, entry.revision)) {
            return false;
        }
        self.entries.insert((met_at, self.next), entry);
        self.next += 1;
        while self.entries.len() > self.max {
            self.drop_first();
        }
        true
    }

    /// Forgets what is kept no longer.
    pub(super) fn trim(&mut self, now: Timestamp) {
        let oldest = now.plus_ms(-KEPT_MS);
        while self.entries.first_key_value().is_some_and(|((met_at, _), _)| *met_at < oldest) {
            self.drop_first();
        }
        self.reach = self.reach.max(oldest);
    }

    fn drop_first(&mut self) {
        if let Some(((met_at, _), entry)) = self.entries.pop_first() {
            self.known.remove(&(entry.item, entry.revision));
            self.reach = self.reach.max(met_at.plus_ms(1));
        }
    }

    /// What was met since `from` and concerns these, at most `limit` items, the newest if there are more.
    pub(super) fn replay(
        &self,
        from: Timestamp,
        household: HouseholdId,
        neighborhoods: &[NeighborhoodId],
        limit: usize,
    ) -> Replay {
        let since = self.entries.range((from, 0)..).rev().map(|(_, entry)| entry);
        let mut seen = HashSet::new();
        let mut newest_first = since.filter(|e| e.concerns(household, neighborhoods) && seen.insert(e.item));
        let mut items: Vec<_> = newest_first.by_ref().take(limit).map(|e| (e.item, e.log_at)).collect();
        items.reverse();
        Replay { items, whole: from >= self.reach && newest_first.next().is_none() }
    }

    /// How many are in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn item(n: u8) -> ItemId {
        ItemId(Uuid::from_u128(u128::from(n)))
    }
    fn household(n: u8) -> HouseholdId {
        HouseholdId(Uuid::from_u128(u128::from(n)))
    }
    fn neighborhood(n: u8) -> NeighborhoodId {
        NeighborhoodId(Uuid::from_u128(u128::from(n)))
    }

    /// Of item `n`, of household `n % 4`.
    fn entry(n: u8, revision: u32, to: &[u8], log_at: i64) -> Entry {
        let neighborhoods = to.iter().map(|n| neighborhood(*n)).collect();
        Entry { item: item(n), revision, household: household(n % 4), neighborhoods, log_at: Timestamp(log_at) }
    }

    proptest! {
        /// Against a list that is searched from end to end.
        #[test]
        fn a_replay_is_what_a_search_of_all_that_was_met_finds(
            met in prop::collection::vec((0..12_u8, 1..4_u32, prop::collection::vec(0..3_u8, 0..3), 0..4_000_i64), 0..60),
            max in 1..40_usize,
            limit in 1..20_usize,
            (back, who, lives_in) in (0..90_000_i64, 0..5_u8, prop::collection::vec(0..4_u8, 0..3)),
        ) {
            let (mut ring, mut all, mut now) = (Ring::new(max), Vec::new(), 0);
            ring.begins(Timestamp(0));
            for (n, revision, to, step) in &met {
                now += step;
                let entry = entry(*n, *revision, to, now - step / 2);
                let known = all.iter().rev().take(ring.len()).any(|(_, e): &(i64, Entry)| (e.item, e.revision) == (entry.item, entry.revision));
                prop_assert_eq!(ring.push(entry.clone(), Timestamp(now)), !known);
                if !known {
                    all.push((now, entry));
                }
            }
            prop_assert!(ring.len() <= max);
            let from = Timestamp(now - back);
            let neighborhoods: Vec<_> = lives_in.iter().map(|n| neighborhood(*n)).collect();
            let replay = ring.replay(from, household(who), &neighborhoods, limit);

            let kept = &all[all.len().saturating_sub(max)..];
            let mut expected: Vec<(ItemId, Timestamp)> = Vec::new();
            for (met_at, e) in kept {
                let lives_there = e.neighborhoods.iter().any(|n| neighborhoods.contains(n));
                if *met_at >= from.0 && (e.household == household(who) || lives_there) {
                    expected.retain(|(item, _)| *item != e.item);
                    expected.push((e.item, e.log_at));
                }
            }
            let cut = expected.len() > limit;
            let expected = expected.split_off(expected.len().saturating_sub(limit));
            prop_assert_eq!(&replay.items, &expected);
            // Whole means that nothing is missing; not whole may be said once too often, for what concerns others.
            let lost = all[..all.len() - kept.len()].iter().any(|(met_at, _)| *met_at >= from.0) || from.0 < 0;
            prop_assert!(!(replay.whole && (cut || lost)));
            prop_assert!(replay.whole || cut || lost);
        }
    }

    #[test]
    fn what_is_old_is_forgotten_and_the_ring_says_how_far_it_reaches() {
        let mut ring = Ring::new(10);
        let whole = |ring: &Ring, from: i64| ring.replay(Timestamp(from), household(0), &[], 9).whole;
        assert!(!whole(&ring, 0), "nothing was read yet");
        ring.begins(Timestamp(0));
        assert!(whole(&ring, 0));
        ring.push(entry(0, 1, &[], 5), Timestamp(10));
        ring.trim(Timestamp(KEPT_MS + 5));
        assert_eq!((ring.len(), whole(&ring, 4), whole(&ring, 5)), (1, false, true));
        ring.trim(Timestamp(KEPT_MS + 11));
        assert_eq!((ring.len(), whole(&ring, 10), whole(&ring, 11)), (0, false, true));
        assert!(ring.push(entry(0, 1, &[], 5), Timestamp(KEPT_MS + 20)), "what is forgotten is not known");
    }

    /// Read by partition after a start: an old alert of one comes after a new one of another.
    #[test]
    fn a_replay_is_in_the_order_of_time_whatever_the_order_of_meeting() {
        let mut ring = Ring::new(10);
        ring.begins(Timestamp(0));
        ring.push(entry(4, 1, &[], 90), Timestamp(90));
        ring.push(entry(0, 1, &[], 10), Timestamp(10));
        let replay = ring.replay(Timestamp(0), household(0), &[], 9);
        assert_eq!(replay.items, [(item(0), Timestamp(10)), (item(4), Timestamp(90))]);
    }
}
