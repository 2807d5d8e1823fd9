//! Which intents to look at, and when. No clock and no store: both are given.

use std::collections::HashMap;

use porchlight_domain::{Timestamp, Version};
use porchlight_store::{Intent, IntentKind};

/// Younger than this, the writer itself is still at it.
const PATIENCE_MS: i64 = 2_000;
/// Intents are kept this long.
const KEPT_MS: i64 = 10 * 60_000;
/// How far back a reading begins before the end of the one before: an intent may be written late, by a clock that lags.
const OVERLAP_MS: i64 = 30_000;
/// The most intents that are watched; more are read again later.
const MAX_WATCHED: usize = 100_000;

/// An intent to be looked at now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// What it is about.
    pub kind: IntentKind,
    /// The version that was projected for it already.
    pub done: Option<Version>,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    /// When the newest intent about this was written.
    intended_at: Timestamp,
    /// What was projected since.
    done: Option<Version>,
    next_look: Timestamp,
}

/// The intents of the last ten minutes. Each is looked at after 2 s, 4 s, 8 s and so on, for the row may be written long
/// after its intent (its writer may have been stopped and resumed), and projected once for each version found.
#[derive(Debug, Default)]
pub struct Sweep {
    watched: HashMap<IntentKind, Watch>,
    read_until: Option<Timestamp>,
}

impl Sweep {
    /// Which intents to read now: from, until.
    pub fn window(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let oldest = now.plus_ms(-KEPT_MS);
        (self.read_until.map_or(oldest, |until| until.plus_ms(-OVERLAP_MS).max(oldest)), now)
    }

    /// Takes the intents of a window that was read to `until`.
    pub fn take(&mut self, intents: &[Intent], until: Timestamp) {
        let mut read_until = until;
        for intent in intents {
            let room = self.watched.len() < MAX_WATCHED;
            let first_look = intent.at.plus_ms(PATIENCE_MS);
            let fresh = Watch { intended_at: intent.at, done: None, next_look: first_look };
            match self.watched.get_mut(&intent.kind) {
                // A new intent: somebody may have published an old row since, so what was done does not count.
                Some(watch) if intent.at > watch.intended_at => *watch = fresh,
                Some(_) => {}
                None if room => {
                    self.watched.insert(intent.kind, fresh);
                }
                None => read_until = read_until.min(intent.at),
            }
        }
        self.read_until = Some(read_until);
    }

    /// Those to look at now, the longest due first, at most `limit`. What is older than it is kept is forgotten.
    pub fn due(&mut self, now: Timestamp, limit: usize) -> Vec<Due> {
        self.watched.retain(|_, watch| now.since(watch.intended_at) <= KEPT_MS);
        let mut due: Vec<_> = self.watched.iter().filter(|(_, watch)| watch.next_look <= now).collect();
        due.sort_by_key(|(_, watch)| watch.next_look);
        due.into_iter().take(limit).map(|(&kind, watch)| Due { kind, done: watch.done }).collect()
    }

    /// It was looked at, and stands projected at this version; the next look is when the intent is twice as old. What
    /// fails is not reported here: it stays due.
    pub fn looked(&mut self, kind: IntentKind, version: Option<Version>, now: Timestamp) {
        if let Some(watch) = self.watched.get_mut(&kind) {
            watch.done = version;
            watch.next_look = now.plus_ms(now.since(watch.intended_at).max(PATIENCE_MS));
        }
    }

    /// How many are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::DeviceId;
    use uuid::Uuid;

    fn kind(n: u128) -> IntentKind {
        IntentKind::Device(DeviceId(Uuid::from_u128(n)))
    }

    fn intent(n: u128, at: i64) -> Intent {
        Intent { kind: kind(n), at: Timestamp(at) }
    }

    #[test]
    fn the_first_reading_covers_ten_minutes_and_later_ones_overlap() {
        let mut sweep = Sweep::default();
        assert_eq!(sweep.window(Timestamp(1_000_000)), (Timestamp(400_000), Timestamp(1_000_000)));
        sweep.take(&[], Timestamp(1_000_000));
        assert_eq!(sweep.window(Timestamp(1_001_000)), (Timestamp(970_000), Timestamp(1_001_000)));
    }

    #[test]
    fn an_intent_is_looked_at_after_two_seconds_and_then_ever_more_rarely() {
        let mut sweep = Sweep::default();
        sweep.take(&[intent(1, 0)], Timestamp(0));
        let mut looks = Vec::new();
        for now in (0..=KEPT_MS + 1_000).step_by(1_000) {
            for due in sweep.due(Timestamp(now), 10) {
                looks.push(now / 1_000);
                sweep.looked(due.kind, Some(Version(1)), Timestamp(now));
            }
        }
        assert_eq!(looks, [2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert!(sweep.is_empty(), "forgotten when it is older than it is kept");
    }

    #[test]
    fn what_was_done_counts_until_there_is_a_new_intent() {
        let mut sweep = Sweep::default();
        sweep.take(&[intent(1, 0)], Timestamp(0));
        assert_eq!(sweep.due(Timestamp(2_000), 10), [Due { kind: kind(1), done: None }]);
        sweep.looked(kind(1), Some(Version(3)), Timestamp(2_000));
        sweep.take(&[intent(1, 0)], Timestamp(3_000));
        assert_eq!(sweep.due(Timestamp(3_000), 10), [], "the same intent read again is no new one");
        assert_eq!(sweep.due(Timestamp(4_000), 10), [Due { kind: kind(1), done: Some(Version(3)) }]);
        sweep.take(&[intent(1, 3_500)], Timestamp(4_000));
        assert_eq!(sweep.due(Timestamp(5_500), 10), [Due { kind: kind(1), done: None }]);
    }

    #[test]
    fn what_failed_stays_due_and_the_longest_due_goes_first() {
        let mut sweep = Sweep::default();
        sweep.take(&[intent(1, 500), intent(2, 0)], Timestamp(500));
        assert_eq!(sweep.due(Timestamp(9_000), 1), [Due { kind: kind(2), done: None }]);
        assert_eq!(sweep.due(Timestamp(9_000), 1), [Due { kind: kind(2), done: None }]);
        sweep.looked(kind(2), None, Timestamp(9_000));
        assert_eq!(sweep.due(Timestamp(9_000), 9), [Due { kind: kind(1), done: None }]);
    }

    #[test]
    fn more_than_can_be_watched_is_read_again_later() {
        let mut sweep = Sweep::default();
        let many: Vec<Intent> = (0..=MAX_WATCHED as u128).map(|n| intent(n, i64::try_from(n).unwrap_or(0))).collect();
        sweep.take(&many, Timestamp(200_000));
        assert_eq!(sweep.len(), MAX_WATCHED);
        let (from, _) = sweep.window(Timestamp(200_000));
        assert!(from <= Timestamp(100_000), "{from:?}");
    }
}
