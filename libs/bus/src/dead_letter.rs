//! Dead letters: how a record that can never be handled is put aside, and when there are too many of them.

use std::{collections::VecDeque, time::Duration};

use porchlight_domain::{Clock as _, SystemClock, Timestamp};
use prost::Message as _;

use crate::{Producer, Record, Topic, client::Names};

/// A record that could not be handled, with its bytes untouched: the message of `proto/`.
pub type DeadLetter = porchlight_wire::v1::DeadLetter;

/// The header of a dead letter that names the stage, for tools that read headers only.
const STAGE_HEADER: &str = "porchlight-stage";
/// The header of a dead letter that says where it came from: `topic/partition/offset`.
const ORIGIN_HEADER: &str = "porchlight-origin";
/// The longest reason kept, characters.
const MAX_REASON_CHARS: usize = 500;
/// How long to wait after a failed try to put a dead letter aside: from the first to the second, doubling.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Puts records aside for one stage.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    pub(crate) stage: &'static str,
    pub(crate) producer: Producer,
    pub(crate) names: Names,
}

impl DeadLetters {
    /// Puts a record aside and waits until that is durable, however long the brokers are away: the offset must not be
    /// committed before.
    pub(crate) async fn bury(&self, record: &Record, reason: &str) {
        let topic = self.names.full(record.topic);
        let (partition, offset) = (record.partition, record.offset);
        let origin = format!("{topic}/{partition}/{offset}");
        let letter = envelope(record, topic, self.stage, reason, SystemClock.now());
        tracing::warn!(stage = self.stage, origin, reason = letter.reason, "a record became a dead letter");
        let value = letter.encode_to_vec();
        let headers = [(STAGE_HEADER, self.stage.as_bytes()), (ORIGIN_HEADER, origin.as_bytes())];
        let mut pause = BACKOFF.0;
        while let Err(error) = self.producer.send(Topic::DeadLetters, record.key.as_deref(), &value, &headers).await {
            if pause == BACKOFF.0 {
                tracing::warn!(stage = self.stage, origin, %error, "a dead letter is not written yet; trying on");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

fn envelope(record: &Record, topic: String, stage: &str, reason: &str, failed_at: Timestamp) -> DeadLetter {
    DeadLetter {
        topic,
        partition: record.partition,
        offset: record.offset,
        stage: stage.to_owned(),
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| porchlight_wire::v1::dead_letter::Header { name: name.clone(), value: value.clone() })
            .collect(),
        failed_at_ms: failed_at.0,
        redriven: None,
    }
}

/// How many of the last records are looked at for the share.
const WINDOW: usize = 200;
/// So many dead letters of a run are committed one by one; what follows in the run is held.
pub(crate) const COMMITTED_AT_ONCE: usize = 10;

/// When there are too many dead letters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many in a row.
    pub(crate) max_run: usize,
    /// More than this share of the last [`WINDOW`] records. Before there were as many, the rest counts as good.
    pub(crate) max_percent: usize,
}

/// What becomes of the offset of a dead letter that is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// It is done.
    Done(T),
    /// It is not done before a good record ends the run: [`Watch::good`].
    Held,
    /// There are too many, in a sentence. It is not done, and what was held never is.
    Stop(String),
}

/// Watches dead letters. A poison record is put aside and the consumer goes on; but when most records are poison it is
/// the code or the contract that is broken, and going on would only empty the topic into the dead letters.
///
/// A run is held, because only its end shows what it was: some poison, or a consumer that understands nothing. That one
/// must leave the records for the next version of itself, however often it is started again before.
pub(crate) struct Watch<T> {
    limits: Limits,
    last: VecDeque<bool>,
    dead: usize,
    run: usize,
    held: Vec<T>,
}

impl<T> Watch<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, last: VecDeque::new(), dead: 0, run: 0, held: Vec::new() }
    }

    /// A record was handled: a run ends. What was held is done now.
    pub(crate) fn good(&mut self) -> Vec<T> {
        self.note(false);
        self.run = 0;
        std::mem::take(&mut self.held)
    }

    /// A record became a dead letter, and that is written.
    pub(crate) fn dead(&mut self, item: T) -> Verdict<T> {
        self.note(true);
        self.run += 1;
        let Limits { max_run, max_percent } = self.limits;
        let why = if self.run >= max_run {
            format!("{} records in a row became dead letters", self.run)
        } else if self.dead * 100 > max_percent * WINDOW {
            format!("{} of the last {} records became dead letters", self.dead, self.last.len())
        } else if self.run > COMMITTED_AT_ONCE {
            self.held.push(item);
            return Verdict::Held;
        } else {
            return Verdict::Done(item);
        };
        self.held.clear();
        Verdict::Stop(format!("{why}: mend what writes or what reads them; the last ones come again at the next start"))
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// The held items that are `gone` come again, here or elsewhere: as if they had not been met.
    pub(crate) fn forget(&mut self, gone: impl Fn(&T) -> bool) {
        let before = self.held.len();
        self.held.retain(|item| !gone(item));
        let forgotten = before - self.held.len();
        // Held ones are of the run, and the run is the end of the window.
        self.last.truncate(self.last.len().saturating_sub(forgotten));
        self.dead = self.dead.saturating_sub(forgotten);
        self.run = self.run.saturating_sub(forgotten);
    }

    fn note(&mut self, dead: bool) {
        if self.last.len() == WINDOW && self.last.pop_front() == Some(true) {
            self.dead -= 1;
        }
        self.last.push_back(dead);
        self.dead += usize::from(dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lease;

    #[test]
    fn the_bytes_are_untouched_and_the_origin_is_named() {
        let record = Record {
            topic: Topic::Events,
            partition: 3,
            offset: 41,
            key: None,
            value: vec![0xff, 0, 0xfe],
            headers: vec![("h".into(), vec![1])],
            timestamp_ms: 5,
            lease: Lease::default(),
        };
        let letter = envelope(&record, "t-events.v1".into(), "geo-index", &"x".repeat(900), Timestamp(9));
        assert_eq!((letter.topic.as_str(), letter.partition, letter.offset), ("t-events.v1", 3, 41));
        assert_eq!((letter.key, letter.value), (None, vec![0xff, 0, 0xfe]), "no key stays no key");
        assert_eq!((letter.headers[0].name.as_str(), letter.headers[0].value.as_slice()), ("h", [1].as_slice()));
        assert_eq!((letter.stage.as_str(), letter.failed_at_ms, letter.reason.len()), ("geo-index", 9, 500));
    }

    const LIMITS: Limits = Limits { max_run: 100, max_percent: 50 };

    #[test]
    fn one_poison_record_is_done_at_once_and_a_long_run_waits_for_a_good_record() {
        let mut watch = Watch::new(LIMITS);
        for n in 0..COMMITTED_AT_ONCE {
            assert_eq!(watch.dead(n), Verdict::Done(n));
        }
        assert_eq!((watch.dead(10), watch.dead(11)), (Verdict::Held, Verdict::Held));
        assert_eq!(watch.good(), [10, 11]);
        assert_eq!(watch.good(), [0; 0], "once");
        assert_eq!(watch.dead(12), Verdict::Done(12), "the next run begins");
    }

    #[test]
    fn a_run_that_reaches_the_limit_stops_and_nothing_held_is_ever_done() {
        let mut watch = Watch::new(LIMITS);
        for n in 0..99 {
            assert_eq!(watch.dead(n), if n < 10 { Verdict::Done(n) } else { Verdict::Held });
        }
        let Verdict::Stop(sentence) = watch.dead(99) else { panic!("a run of 100") };
        assert!(sentence.starts_with("100 records in a row"), "{sentence}");
        assert_eq!(watch.good(), [0; 0], "a good record that ends while the consumer drains");
    }

    #[test]
    fn more_than_the_share_of_the_last_records_stops() {
        let mut watch = Watch::new(LIMITS);
        for n in 0..10_000 {
            assert!(matches!(watch.dead(n), Verdict::Done(_)), "half is not more than half");
            watch.good();
        }
        let strict = Limits { max_percent: 10, ..LIMITS };
        let mut watch = Watch::new(strict);
        for n in 0..20 {
            assert!(matches!(watch.dead(n), Verdict::Done(_)));
            watch.good();
        }
        assert!(matches!(watch.dead(20), Verdict::Stop(sentence) if sentence.starts_with("21 of the last 41")));

        let mut watch = Watch::new(strict);
        for n in 0..1000 {
            assert!(matches!(watch.dead(n), Verdict::Done(_)), "old ones are forgotten");
            (0..9).for_each(|_| drop(watch.good()));
        }
    }

    #[test]
    fn held_ones_that_go_are_as_if_they_had_not_been_met() {
        let mut watch = Watch::new(LIMITS);
        (0..10).for_each(|n| drop(watch.dead(n)));
        for _ in 0..50 {
            // A partition with poison that comes and goes: it would else be counted to a run of its own repeats.
            (10..30).for_each(|n| assert_eq!(watch.dead(n), Verdict::Held));
            watch.forget(|n| *n >= 15);
            assert_eq!(watch.held, [10, 11, 12, 13, 14]);
            watch.forget(|_| true);
        }
        assert_eq!((watch.run, watch.dead, watch.last.len()), (10, 10, 10));
        assert_eq!(watch.good(), [0; 0]);
    }

    proptest::proptest! {
        /// What was held is released, gone, or stopped with: nothing is done that a stop was to keep, and nothing is
        /// forgotten.
        #[test]
        fn over_any_sequence_a_run_is_done_as_a_whole_or_not_at_all(
            steps in proptest::collection::vec((0..100u8, 0..4u8), 0..600),
            max_run in COMMITTED_AT_ONCE + 1..40,
        ) {
            let mut watch = Watch::new(Limits { max_run, max_percent: 100 });
            let (mut run, mut open) = (0, Vec::new());
            for (n, (dice, partition)) in steps.into_iter().enumerate() {
                let item = (partition, n);
                match dice {
                    0..10 => {
                        proptest::prop_assert_eq!(watch.good(), std::mem::take(&mut open));
                        run = 0;
                    }
                    10..15 => {
                        let before = open.len();
                        open.retain(|(p, _)| *p != partition);
                        run -= before - open.len();
                        watch.forget(|(p, _)| *p == partition);
                    }
                    _ => {
                        run += 1;
                        let expected = if run <= COMMITTED_AT_ONCE { Verdict::Done(item) } else { Verdict::Held };
                        match watch.dead(item) {
                            Verdict::Stop(_) => {
                                proptest::prop_assert_eq!(run, max_run);
                                proptest::prop_assert!(watch.good().is_empty());
                                return Ok(());
                            }
                            verdict => proptest::prop_assert_eq!(&verdict, &expected),
                        }
                        if expected == Verdict::Held {
                            open.push(item);
                        }
                        proptest::prop_assert!(run < max_run);
                    }
                }
            }
        }
    }
}
