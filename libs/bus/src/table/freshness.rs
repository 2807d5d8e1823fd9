//! How far a table can be trusted: up to when each partition is known to be read completely.
//!
//! "No news" and "cut off" look alike on a quiet topic. So the brokers are asked for the end of each partition, again and
//! again; a partition that is read up to an end is *confirmed* as of the moment at which that end was asked for.
//!
//! Plain and synchronous.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The most questions of a partition whose answers are not reached yet. Beyond it the newest are dropped: an older one
/// is reached sooner.
const MAX_OPEN: usize = 16;

struct Partition {
    /// Everything below is read.
    position: i64,
    /// Ends not reached yet with the moments at which they were asked for, both ascending.
    open: VecDeque<(i64, Instant)>,
    confirmed: Option<Instant>,
}

/// The freshness of one table.
pub(super) struct Freshness {
    partitions: Vec<Partition>,
}

impl Freshness {
    /// Of so many partitions, of which nothing is read.
    pub(super) fn new(partitions: usize) -> Self {
        let nothing = || Partition { position: 0, open: VecDeque::new(), confirmed: None };
        Self { partitions: std::iter::repeat_with(nothing).take(partitions).collect() }
    }

    /// Everything of a partition below `position` is read. Whether that confirmed anything.
    pub(super) fn read_up_to(&mut self, partition: i32, position: i64) -> bool {
        let Some(partition) = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)) else {
            return false;
        };
        partition.position = partition.position.max(position);
        partition.confirm()
    }

    /// The brokers, asked at `asked`, say that the partitions end there. Whether that confirmed anything.
    pub(super) fn ends(&mut self, ends: &[i64], asked: Instant) -> bool {
        let mut confirmed = false;
        for (partition, end) in self.partitions.iter_mut().zip(ends) {
            if partition.open.len() < MAX_OPEN {
                partition.open.push_back((*end, asked));
            }
            confirmed |= partition.confirm();
        }
        confirmed
    }

    /// Up to where a partition is read; 0 if there is none such.
    pub(super) fn position(&self, partition: i32) -> i64 {
        let partition = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        partition.map_or(0, |partition| partition.position)
    }

    /// Up to where each partition is read.
    pub(super) fn positions(&self) -> Vec<i64> {
        self.partitions.iter().map(|partition| partition.position).collect()
    }

    /// When each partition was confirmed last.
    pub(super) fn confirmed(&self) -> Confirmed {
        Confirmed::new(self.partitions.iter().map(|partition| partition.confirmed).collect())
    }
}

impl Partition {
    fn confirm(&mut self) -> bool {
        let before = self.confirmed;
        while let Some((_, asked)) = self.open.pop_front_if(|(end, _)| *end <= self.position) {
            self.confirmed = self.confirmed.max(Some(asked));
        }
        self.confirmed != before
    }
}

/// A view of a [`Freshness`] for readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmed {
    partitions: Vec<Option<Instant>>,
    /// The earliest of them; `None` if one was never confirmed, or there is none.
    all: Option<Instant>,
}

impl Confirmed {
    fn new(partitions: Vec<Option<Instant>>) -> Self {
        let all = partitions.iter().copied().min().flatten();
        Self { partitions, all }
    }

    /// Whether this partition was confirmed within `max_age`.
    pub(super) fn is_fresh(&self, partition: i32, now: Instant, max_age: Duration) -> bool {
        let confirmed = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index).copied().flatten());
        within(confirmed, now, max_age)
    }

    /// Whether every partition was confirmed within `max_age`.
    pub(super) fn is_all_fresh(&self, now: Instant, max_age: Duration) -> bool {
        within(self.all, now, max_age)
    }

    /// Whether every partition was confirmed once: the table is loaded.
    pub(super) fn is_complete(&self) -> bool {
        self.all.is_some()
    }

    /// How long ago the partition confirmed longest ago was confirmed.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.all.map(|at| now.saturating_duration_since(at))
    }
}

fn within(confirmed: Option<Instant>, now: Instant, max_age: Duration) -> bool {
    confirmed.is_some_and(|at| now.saturating_duration_since(at) <= max_age)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(3);

    fn after(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn a_partition_is_confirmed_as_of_the_question_whose_answer_was_reached() {
        let t0 = Instant::now();
        let mut freshness = Freshness::new(2);
        assert!(!freshness.confirmed().is_complete());
        assert!(freshness.ends(&[3, 0], t0), "an empty partition is confirmed at once");
        assert!(!freshness.read_up_to(0, 2));
        assert!(freshness.read_up_to(0, 3));
        let confirmed = freshness.confirmed();
        assert!(confirmed.is_complete() && confirmed.is_all_fresh(after(t0, 3000), MAX_AGE));
        assert!(!confirmed.is_all_fresh(after(t0, 3001), MAX_AGE));
    }

    #[test]
    fn a_partition_that_lags_is_stale_though_the_brokers_answer() {
        let t0 = Instant::now();
        let mut freshness = Freshness::new(2);
        freshness.ends(&[1, 1], t0);
        freshness.read_up_to(0, 1);
        freshness.read_up_to(1, 1);
        for second in 1..=4 {
            freshness.ends(&[1, 2], after(t0, second * 1000));
        }
        let (confirmed, now) = (freshness.confirmed(), after(t0, 4000));
        assert!(confirmed.is_fresh(0, now, MAX_AGE));
        assert!(!confirmed.is_fresh(1, now, MAX_AGE) && !confirmed.is_all_fresh(now, MAX_AGE));
        freshness.read_up_to(1, 2);
        assert!(freshness.confirmed().is_all_fresh(now, MAX_AGE), "caught up: as of the last question");
    }

    #[test]
    fn without_answers_everything_grows_stale() {
        let t0 = Instant::now();
        let mut freshness = Freshness::new(1);
        freshness.ends(&[0], t0);
        freshness.read_up_to(0, 100);
        assert!(
            !freshness.confirmed().is_all_fresh(after(t0, 3001), MAX_AGE),
            "records prove nothing about what is missing"
        );
        assert!(!freshness.confirmed().is_fresh(7, t0, MAX_AGE), "no such partition");
        assert!(!Freshness::new(0).confirmed().is_all_fresh(t0, MAX_AGE), "no partition is no proof");
    }

    proptest! {
        /// A log that grows, a reader that follows it in any rhythm, questions in between: whatever is called confirmed as
        /// of an instant holds everything that the log held then.
        #[test]
        fn confirmed_never_promises_more_than_was_read(steps in prop::collection::vec((0..3u8, 1..5i64), 1..200)) {
            let t0 = Instant::now();
            let mut freshness = Freshness::new(1);
            let (mut end, mut position) = (0i64, 0i64);
            let mut ends_at = Vec::new();
            for (ms, (what, n)) in (0u64..).zip(steps) {
                match what {
                    0 => end += n,
                    1 => {
                        position = end.min(position + n);
                        freshness.read_up_to(0, position);
                    }
                    _ => {
                        freshness.ends(&[end], after(t0, ms));
                    }
                }
                ends_at.push(end);
                if let Some(at) = freshness.confirmed().all {
                    let held = ends_at[usize::try_from((at - t0).as_millis()).unwrap()];
                    prop_assert!(position >= held);
                }
            }
        }
    }
}
