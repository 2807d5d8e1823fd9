//! What came lately: the pure core of the courtesy answer. It decides nothing that counts (the log does), it only spares
//! a device that repeats itself a second record, and tells one that changed its mind.

use std::collections::{HashMap, VecDeque};

use porchlight_domain::{DeviceId, EventId, Timestamp};

/// How long a delivered event is known: what the 409 of a changed event is promised for.
pub(crate) const WINDOW_MS: i64 = 15 * 60 * 1000;

/// An event's identity: never its own id alone, else one device could use up another's.
pub(crate) type Key = (DeviceId, EventId);

/// A record of the log, in the few bytes that are kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Of [`porchlight_domain::Digest::short`].
    pub(crate) digest: u64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) receipt: Receipt,
}

/// What the device was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Receipt {
    pub(crate) received_at: Timestamp,
    pub(crate) skew_ms: i64,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<W> {
    /// It is new, as far as is known: append it, then say [`Recent::delivered`] or [`Recent::failed`].
    Append,
    /// One with its id is on its way: wait for it. `same`: it is this very event.
    Await { delivery: W, same: bool },
    /// This very event is in the log.
    Duplicate(Receipt),
    /// Another event is in the log under its id.
    Conflict,
}

/// Ids in flight (each with a handle `W` of its delivery) and ids of the last [`WINDOW_MS`], at most `max` of them.
#[derive(Debug)]
pub(crate) struct Recent<W> {
    max: usize,
    in_flight: HashMap<Key, (u64, W)>,
    known: HashMap<Key, Known>,
    /// The keys of `known`, oldest news first. Each has one entry with its present receipt time; others are leftovers.
    order: VecDeque<(Timestamp, Key)>,
}

impl<W: Clone> Recent<W> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, in_flight: HashMap::new(), known: HashMap::new(), order: VecDeque::new() }
    }

    /// Judges an event; if the verdict is [`Verdict::Append`], `delivery()` stands for its way to the log from now on.
    pub(crate) fn ask(&mut self, key: Key, digest: u64, now: Timestamp, delivery: impl FnOnce() -> W) -> Verdict<W> {
        if let Some(known) = self.known.get(&key).filter(|k| fresh(k.receipt.received_at, now)) {
            return if known.digest == digest { Verdict::Duplicate(known.receipt) } else { Verdict::Conflict };
        }
        if let Some((first, delivery)) = self.in_flight.get(&key) {
            return Verdict::Await { delivery: delivery.clone(), same: *first == digest };
        }
        self.in_flight.insert(key, (digest, delivery()));
        Verdict::Append
    }

    /// The delivery report of an event that was to be appended. Returns what the log holds first under its id: another
    /// process may have been faster.
    pub(crate) fn delivered(&mut self, key: Key, record: Known, now: Timestamp) -> Known {
        self.in_flight.remove(&key);
        self.learn(key, record, now)
    }

    /// It was not delivered, or nobody knows: what comes next under its id is judged anew.
    pub(crate) fn failed(&mut self, key: &Key) {
        self.in_flight.remove(key);
    }

    /// A record of the log, from wherever. The first of an id is the one that counts, in whatever order they are learned.
    pub(crate) fn learn(&mut self, key: Key, record: Known, now: Timestamp) -> Known {
        if let Some(known) = self.known.get(&key)
            && known.partition == record.partition
            && known.offset <= record.offset
            && fresh(known.receipt.received_at, now)
        {
            return *known;
        }
        if fresh(record.receipt.received_at, now) {
            self.known.insert(key, record);
            self.order.push_back((record.receipt.received_at, key));
        }
        self.forget(now);
        record
    }

    /// How many ids are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&(at, key)) = self.order.front() {
            if self.order.len() <= self.max && fresh(at, now) {
                return;
            }
            self.order.pop_front();
            if self.known.get(&key).is_some_and(|k| k.receipt.received_at == at) {
                self.known.remove(&key);
            }
        }
    }
}

fn fresh(received_at: Timestamp, now: Timestamp) -> bool {
    now.since(received_at) < WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn key(n: u8) -> Key {
        (DeviceId(Uuid::from_u128(1)), EventId(Uuid::from_u128(n.into())))
    }

    fn record(digest: u64, offset: i64, at: Timestamp) -> Known {
        Known { digest, partition: 0, offset, receipt: Receipt { received_at: at, skew_ms: 5 } }
    }

    fn ask(recent: &mut Recent<u8>, k: Key, digest: u64) -> Verdict<u8> {
        recent.ask(k, digest, NOW, || 9)
    }

    #[test]
    fn a_duplicate_waits_for_the_first_and_then_shares_its_answer() {
        let mut recent = Recent::new(10);
        assert_eq!(ask(&mut recent, key(1), 7), Verdict::Append);
        assert_eq!(ask(&mut recent, key(1), 7), Verdict::Await { delivery: 9, same: true });
        assert_eq!(ask(&mut recent, key(1), 8), Verdict::Await { delivery: 9, same: false });
        recent.delivered(key(1), record(7, 0, NOW), NOW);
        assert_eq!(ask(&mut recent, key(1), 7), Verdict::Duplicate(record(7, 0, NOW).receipt));
        assert_eq!(ask(&mut recent, key(1), 8), Verdict::Conflict);
        assert_eq!(ask(&mut recent, key(2), 8), Verdict::Append);
        let other_device = (DeviceId(Uuid::from_u128(2)), key(1).1);
        assert_eq!(ask(&mut recent, other_device, 8), Verdict::Append, "one device cannot use up another's ids");
    }

    #[test]
    fn what_failed_is_judged_anew() {
        let mut recent = Recent::new(10);
        assert_eq!(ask(&mut recent, key(1), 7), Verdict::Append);
        recent.failed(&key(1));
        assert_eq!(ask(&mut recent, key(1), 8), Verdict::Append);
    }

    #[test]
    fn the_first_in_the_log_counts_whichever_is_learned_first() {
        let mut recent = Recent::new(10);
        assert_eq!(ask(&mut recent, key(1), 7), Verdict::Append);
        recent.learn(key(1), record(8, 3, NOW), NOW);
        let first = recent.delivered(key(1), record(7, 4, NOW), NOW);
        assert_eq!(first.digest, 8, "another process was faster");
        recent.learn(key(1), record(6, 2, NOW.plus_ms(-1)), NOW);
        assert_eq!(ask(&mut recent, key(1), 6), Verdict::Duplicate(record(6, 2, NOW.plus_ms(-1)).receipt));
    }

    #[test]
    fn what_is_older_than_the_window_is_not_known() {
        let mut recent = Recent::new(10);
        recent.learn(key(1), record(7, 0, NOW.plus_ms(1 - WINDOW_MS)), NOW);
        assert_eq!(ask(&mut recent, key(1), 8), Verdict::Conflict);
        assert_eq!(recent.ask(key(1), 8, NOW.plus_ms(1), || 9), Verdict::Append);
        recent.learn(key(2), record(7, 0, NOW.plus_ms(-WINDOW_MS)), NOW);
        assert_eq!(ask(&mut recent, key(2), 8), Verdict::Append);
    }

    /// What the log says, by brute force over everything that was learned.
    fn first(learned: &[(Key, Known)], k: Key) -> Option<Known> {
        learned.iter().filter(|(other, _)| *other == k).map(|(_, r)| *r).min_by_key(|r| r.offset)
    }

    proptest! {
        /// With room for all: exactly what the log says, whatever the order of learning.
        #[test]
        fn the_answer_is_the_logs(records in prop::collection::vec((0_u8..4, 0_u64..3), 0..60), order in any::<u64>()) {
            let mut log: Vec<(Key, Known)> = records
                .iter()
                .zip(0_i64..)
                .map(|((k, digest), offset)| (key(*k), record(*digest, offset, NOW.plus_ms(offset - 100))))
                .collect();
            let half = log.len() / 2;
            log.rotate_left(if half == 0 { 0 } else { usize::try_from(order % (half as u64 + 1)).unwrap_or(0) });
            let mut recent: Recent<u8> = Recent::new(100);
            for (k, r) in &log {
                recent.learn(*k, *r, NOW);
            }
            for (k, digest) in (0..4).flat_map(|k| (0..3).map(move |d| (key(k), d))) {
                let expected = match first(&log, k) {
                    None => Verdict::Append,
                    Some(r) if r.digest == digest => Verdict::Duplicate(r.receipt),
                    Some(_) => Verdict::Conflict,
                };
                prop_assert_eq!(ask(&mut recent, k, digest), expected);
                recent.failed(&k);
            }
        }

        /// With little room: bounded, every known id has its place in the queue, and no conflict is made up.
        #[test]
        fn it_is_bounded_and_makes_nothing_up(
            max in 1_usize..6,
            steps in prop::collection::vec((0_u8..8, 0_u64..3, 0_i64..WINDOW_MS / 3), 0..80),
        ) {
            let (mut recent, mut now, mut learned) = (Recent::<u8>::new(max), NOW, Vec::new());
            for ((k, digest, wait), offset) in steps.into_iter().zip(0_i64..) {
                now = now.plus_ms(wait);
                match recent.ask(key(k), digest, now, || 0) {
                    Verdict::Append => {
                        let record = record(digest, offset, now);
                        learned.push((key(k), record));
                        recent.delivered(key(k), record, now);
                    }
                    Verdict::Duplicate(receipt) => prop_assert!(
                        learned.iter().any(|(o, r)| *o == key(k) && r.digest == digest && r.receipt == receipt)
                    ),
                    Verdict::Conflict => prop_assert!(
                        learned.iter().any(|(o, r)| *o == key(k) && r.digest != digest && fresh(r.receipt.received_at, now))
                    ),
                    Verdict::Await { .. } => prop_assert!(false, "nothing is in flight"),
                }
                prop_assert!(recent.len() <= max && recent.order.len() <= max);
                for (k, known) in &recent.known {
                    let places = recent.order.iter().filter(|(at, o)| o == k && *at == known.receipt.received_at);
                    prop_assert!(places.count() >= 1);
                }
            }
        }
    }
}
