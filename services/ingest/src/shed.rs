//! Backpressure: the low class goes first, and is told so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::metrics;

/// What may pass at a level of load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Everything.
    Open,
    /// Dings; motion is shed.
    DingsOnly,
    /// Nothing.
    Full,
}

/// The thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) shed_motion_above: usize,
    pub(crate) shed_motion_after: Duration,
    pub(crate) refuse_above: usize,
}

impl Thresholds {
    /// With so many in hand, the newest among them, and a log that has kept nothing for so long. A log that is away sheds
    /// motion long before requests pile up, so that what memory there is is left to the dings.
    pub(crate) fn level(self, in_hand: usize, log_waits: Duration) -> Level {
        if in_hand > self.refuse_above {
            Level::Full
        } else if in_hand > self.shed_motion_above || log_waits > self.shed_motion_after {
            Level::DingsOnly
        } else {
            Level::Open
        }
    }
}

/// Counts the requests in hand.
pub(crate) struct Shed {
    thresholds: Thresholds,
    in_hand: AtomicUsize,
}

impl Shed {
    pub(crate) fn new(thresholds: Thresholds) -> Arc<Self> {
        Arc::new(Self { thresholds, in_hand: AtomicUsize::new(0) })
    }

    /// Takes a place until it is dropped, and says what may pass. Who gets [`Level::Full`] drops it at once, so that the
    /// number in hand exceeds the bound by no more than the threads that ask at one moment.
    pub(crate) fn enter(self: &Arc<Self>, log_waits: Duration) -> Place {
        let in_hand = self.in_hand.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::IN_HAND.inc();
        Place { shed: Arc::clone(self), level: self.thresholds.level(in_hand, log_waits) }
    }
}

/// One request in hand.
pub(crate) struct Place {
    shed: Arc<Shed>,
    level: Level,
}

impl Place {
    pub(crate) fn level(&self) -> Level {
        self.level
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shed.in_hand.fetch_sub(1, Ordering::Relaxed);
        metrics::IN_HAND.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AFTER: Duration = Duration::from_secs(1);

    fn thresholds(shed_motion_above: usize, refuse_above: usize) -> Thresholds {
        Thresholds { shed_motion_above, shed_motion_after: AFTER, refuse_above }
    }

    #[test]
    fn a_place_is_given_back() {
        let shed = Shed::new(thresholds(1, 2));
        let levels: Vec<Place> = (0..4).map(|_| shed.enter(Duration::ZERO)).collect();
        let seen: Vec<Level> = levels.iter().map(Place::level).collect();
        assert_eq!(seen, [Level::Open, Level::DingsOnly, Level::Full, Level::Full]);
        drop(levels);
        assert_eq!(shed.enter(Duration::ZERO).level(), Level::Open);
    }

    #[test]
    fn a_log_that_keeps_nothing_sheds_motion_and_lets_dings_try() {
        let t = thresholds(5, 9);
        assert_eq!(t.level(1, AFTER), Level::Open);
        assert_eq!(t.level(1, AFTER + Duration::from_millis(1)), Level::DingsOnly);
        assert_eq!(t.level(10, AFTER * 2), Level::Full);
    }

    proptest! {
        #[test]
        fn more_load_never_lets_more_pass(first in 0_usize..1_000, gap in 1_usize..1_000, load in 0_usize..3_000) {
            let t = thresholds(first, first + gap);
            let level = |load| t.level(load, Duration::ZERO);
            prop_assert!(level(load) <= level(load + 1));
            prop_assert!(level(load) <= t.level(load, AFTER * 2));
            prop_assert_eq!(level(first), Level::Open);
            prop_assert_eq!(level(first + gap), Level::DingsOnly, "dings pass where motion is shed");
            prop_assert_eq!(level(first + gap + 1), Level::Full);
        }
    }
}
