//! Backpressure: the low class goes first, and is told so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
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

/// The two thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) shed_motion_above: usize,
    pub(crate) refuse_above: usize,
}

impl Thresholds {
    /// With so many in hand, the newest among them.
    pub(crate) fn level(self, in_hand: usize) -> Level {
        if in_hand > self.refuse_above {
            Level::Full
        } else if in_hand > self.shed_motion_above {
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
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        let in_hand = self.in_hand.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::IN_HAND.inc();
        Place { shed: Arc::clone(self), level: self.thresholds.level(in_hand) }
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

    #[test]
    fn a_place_is_given_back() {
        let shed = Shed::new(Thresholds { shed_motion_above: 1, refuse_above: 2 });
        let levels: Vec<Place> = (0..4).map(|_| shed.enter()).collect();
        let seen: Vec<Level> = levels.iter().map(Place::level).collect();
        assert_eq!(seen, [Level::Open, Level::DingsOnly, Level::Full, Level::Full]);
        drop(levels);
        assert_eq!(shed.enter().level(), Level::Open);
    }

    proptest! {
        #[test]
        fn more_load_never_lets_more_pass(first in 0_usize..1_000, gap in 1_usize..1_000, load in 0_usize..3_000) {
            let t = Thresholds { shed_motion_above: first, refuse_above: first + gap };
            prop_assert!(t.level(load) <= t.level(load + 1));
            prop_assert_eq!(t.level(first), Level::Open);
            prop_assert_eq!(t.level(first + gap), Level::DingsOnly, "dings pass where motion is shed");
            prop_assert_eq!(t.level(first + gap + 1), Level::Full);
        }
    }
}
