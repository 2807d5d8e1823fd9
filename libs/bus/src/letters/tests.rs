#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::{redrive::note, *};
use crate::{ProduceError, config::tests::valid};

fn message(offset: i64, stage: &str, failed_at_ms: i64) -> DeadLetter {
    DeadLetter {
        topic: "t-events.v1".into(),
        partition: 3,
        offset,
        stage: stage.into(),
        reason: "not a message".into(),
        value: vec![0xff; 7],
        failed_at_ms,
        ..DeadLetter::default()
    }
}

fn record(at: i64, message: &DeadLetter) -> Record {
    Record {
        topic: Topic::DeadLetters,
        partition: 1,
        offset: at,
        key: None,
        value: message.encode_to_vec(),
        headers: Vec::new(),
        timestamp_ms: message.failed_at_ms + 1,
        lease: crate::Lease::default(),
    }
}

fn catalog<'a>(records: impl IntoIterator<Item = &'a Record>) -> Letters {
    let mut catalog = Catalog::default();
    records.into_iter().for_each(|record| catalog.note(record).unwrap());
    catalog.finish()
}

fn named(offset: i64) -> LetterName {
    LetterName { partition: 1, offset }
}

#[test]
fn a_name_is_read_as_it_is_written_and_nothing_else_is_one() {
    let name = LetterName { partition: 3, offset: 41 };
    assert_eq!(name.to_string(), "3:41");
    assert_eq!("3:41".parse::<LetterName>().unwrap(), name);
    for text in ["", "3", "3:", ":41", "3:41:5", "-1:4", "3:-41", "a:b", "3: 41", "99999999999:1"] {
        assert!(text.parse::<LetterName>().is_err(), "{text}");
    }
}

#[test]
fn a_letter_that_was_buried_again_is_one_and_answers_to_all_its_names() {
    let again = [record(5, &message(41, "geo-index", 200)), record(9, &message(41, "geo-index", 300))];
    let first = record(2, &message(41, "geo-index", 100));
    let found = catalog(again.iter().chain([&first]));
    let [letter] = found.letters.as_slice() else { panic!("{found:?}") };
    assert_eq!((letter.name, letter.repeats.as_slice()), (named(2), [named(5), named(9)].as_slice()));
    assert_eq!((letter.failed_at, letter.bytes, letter.written_at), (Timestamp(100), 7, Timestamp(101)));
    assert!([2, 5, 9].into_iter().all(|offset| letter.is_called(named(offset))) && !letter.is_called(named(3)));
}

#[test]
fn another_record_and_another_stage_are_letters_of_their_own() {
    let records = [
        record(0, &message(41, "geo-index", 3)),
        record(1, &message(42, "geo-index", 2)),
        record(2, &message(41, "other", 1)),
    ];
    let names: Vec<_> = catalog(&records).letters.iter().map(|letter| letter.name).collect();
    assert_eq!(names, [named(2), named(1), named(0)], "oldest failure first");
}

#[test]
fn what_was_put_back_says_when_and_as_what_and_what_is_no_letter_is_counted() {
    let letter = message(41, "geo-index", 100);
    let redriven = Redriven { at: Timestamp(900), partition: 3, offset: 57 };
    let mut records = vec![record(0, &letter), record(1, &note(&letter, redriven))];
    records.push(record(2, &note(&letter, Redriven { at: Timestamp(950), ..redriven })));
    records.push(record(3, &message(42, "geo-index", 100)));
    records.push(Record { value: b"\xff\xff".to_vec(), ..record(4, &letter) });
    let found = catalog(&records);
    assert_eq!(found.letters.iter().map(|l| l.redriven).collect::<Vec<_>>(), [Some(redriven), None]);
    assert_eq!(found.unreadable, 1);
}

#[test]
fn a_note_holds_nothing_of_the_value() {
    let mut letter = message(41, "geo-index", 100);
    letter.key = Some(vec![1]);
    letter.headers.push(porchlight_wire::v1::dead_letter::Header { name: "h".into(), value: vec![2] });
    let note = note(&letter, Redriven { at: Timestamp(1), partition: 0, offset: 0 });
    assert!(note.value.is_empty() && note.headers.is_empty() && note.reason.is_empty());
    assert_eq!(note.key, letter.key, "it stands in the partition of its letter");
}

#[test]
fn only_what_is_consumed_in_this_deployment_is_put_back() {
    let config = valid();
    for topic in [Topic::Events, Topic::Alerts, Topic::Pushes] {
        assert_eq!(Redriver::target(&config, &config.topic_name(topic)).unwrap(), topic);
    }
    for foreign in ["events.v1", "u-events.v1", "t-events.v2", "t-dead-letters.v1", "", "t-"] {
        let refused = Redriver::target(&config, foreign).unwrap_err();
        assert!(matches!(&refused, RedriveError::Foreign { topic, .. } if topic == foreign), "{refused}");
        assert!(!refused.is_outage());
    }
    for feed in ["t-devices.v1", "t-neighborhoods.v1"] {
        // An old device over a newer one would bring a revoked credential back.
        assert!(matches!(Redriver::target(&config, feed), Err(RedriveError::Feed(_))));
    }
}

#[test]
fn an_outage_is_told_from_a_refusal() {
    assert!(!RedriveError::NotPutBack(ProduceError::Refused(String::new())).is_outage());
    for error in [ProduceError::TimedOut, ProduceError::QueueFull, ProduceError::Unavailable(String::new())] {
        assert!(RedriveError::NotPutBack(error).is_outage());
    }
}

proptest! {
    /// Partitions are read side by side: what is found must not depend on which comes first.
    #[test]
    fn the_order_of_reading_does_not_matter(
        seeds in prop::collection::vec((0_i64..4, 0..2_usize, 0_i64..5, any::<bool>()), 0..20),
        order in any::<prop::sample::Index>(),
    ) {
        let mut records: Vec<Record> = (0..).zip(&seeds).map(|(at, &(offset, stage, time, back))| {
            let letter = message(offset, ["a", "b"][stage], time);
            let redriven = Redriven { at: Timestamp(time), partition: 0, offset: at };
            record(at, &if back { note(&letter, redriven) } else { letter })
        }).collect();
        let as_written = catalog(&records);
        let origins: HashSet<(i64, usize)> =
            seeds.iter().filter(|seed| !seed.3).map(|seed| (seed.0, seed.1)).collect();
        prop_assert_eq!(as_written.letters.len(), origins.len(), "each once");
        let names: usize = as_written.letters.iter().map(|letter| 1 + letter.repeats.len()).sum();
        prop_assert_eq!(names, seeds.iter().filter(|seed| !seed.3).count(), "no name is lost");
        if !records.is_empty() {
            let by = order.index(records.len());
            records.rotate_left(by);
        }
        prop_assert_eq!(&catalog(&records), &as_written);
        records.reverse();
        prop_assert_eq!(&catalog(&records), &as_written);
    }
}
