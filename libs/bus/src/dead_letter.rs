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
    }
}

/// How many of the last records are looked at.
const WINDOW: usize = 200;
/// So few dead letters never stop a consumer.
const TOLERATED: usize = 99;

/// Watches the share of dead letters. A poison record is put aside and the consumer goes on; but when most records are
/// poison it is the code or the contract that is broken, and going on would only empty the topic into the dead letters.
#[derive(Default)]
pub(crate) struct Watch {
    last: VecDeque<bool>,
    dead: usize,
}

impl Watch {
    /// Notes how a record ended; the sentence to stop with, if there are too many dead ones.
    pub(crate) fn note(&mut self, dead: bool) -> Option<String> {
        if self.last.len() == WINDOW && self.last.pop_front() == Some(true) {
            self.dead -= 1;
        }
        self.last.push_back(dead);
        self.dead += usize::from(dead);
        (self.dead > TOLERATED && self.dead * 2 > self.last.len())
            .then(|| format!("{} of the last {} records became dead letters", self.dead, self.last.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let letter = envelope(&record, "t-events.v1".into(), "geo-index", &"x".repeat(900), Timestamp(9));
        assert_eq!((letter.topic.as_str(), letter.partition, letter.offset), ("t-events.v1", 3, 41));
        assert_eq!((letter.key, letter.value), (None, vec![0xff, 0, 0xfe]), "no key stays no key");
        assert_eq!((letter.headers[0].name.as_str(), letter.headers[0].value.as_slice()), ("h", [1].as_slice()));
        assert_eq!((letter.stage.as_str(), letter.failed_at_ms, letter.reason.len()), ("geo-index", 9, 500));
    }

    #[test]
    fn a_run_of_dead_letters_stops_and_a_few_among_many_do_not() {
        let mut watch = Watch::default();
        for _ in 0..99 {
            assert_eq!(watch.note(true), None);
        }
        assert!(watch.note(true).is_some_and(|sentence| sentence.starts_with("100 of the last 100")));

        let mut watch = Watch::default();
        for n in 0..10_000 {
            assert_eq!(watch.note(n % 2 == 1), None, "half is not more than half");
        }
    }

    #[test]
    fn old_dead_letters_are_forgotten() {
        let mut watch = Watch::default();
        for _ in 0..99 {
            watch.note(true);
        }
        for _ in 0..200 {
            watch.note(false);
        }
        for _ in 0..99 {
            assert_eq!(watch.note(true), None);
        }
    }
}
