//! Which batches of idempotent producers a partition has, so that one that is sent again is not there twice. The rules
//! are Kafka's (KIP-98).

use std::collections::{HashMap, VecDeque};

use tansu_sans_io::ErrorCode;

use super::batch::Head;

/// How many batches a client may have under way at once: the last so many are known.
const UNDER_WAY: usize = 5;

/// What is known of each producer.
#[derive(Debug, Default)]
pub(super) struct Producers(HashMap<i64, Known>);

#[derive(Debug)]
struct Known {
    epoch: i16,
    /// First and last number, and the offset of the first record, of its last batches.
    recent: VecDeque<(i32, i32, i64)>,
}

/// What is to become of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is to be written.
    New,
    /// It was written before, from this offset on.
    Again(i64),
}

impl Producers {
    /// Judges a batch that is not written yet.
    ///
    /// # Errors
    /// One before it is missing, or the producer has a successor.
    pub(super) fn judge(&self, head: &Head) -> Result<Verdict, ErrorCode> {
        // Of one that is not known (its batches are past their retention) any number may come.
        let Some(known) = self.0.get(&head.producer).filter(|_| head.producer >= 0) else { return Ok(Verdict::New) };
        if head.epoch < known.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if head.epoch > known.epoch {
            return if head.sequence == 0 { Ok(Verdict::New) } else { Err(ErrorCode::OutOfOrderSequenceNumber) };
        }
        let (first, last) = (head.sequence, head.last_sequence());
        if let Some((.., offset)) = known.recent.iter().find(|(f, l, _)| (*f, *l) == (first, last)) {
            return Ok(Verdict::Again(*offset));
        }
        let next = known.recent.back().map_or(0, |(_, last, _)| last.checked_add(1).unwrap_or(0));
        if first == next { Ok(Verdict::New) } else { Err(ErrorCode::OutOfOrderSequenceNumber) }
    }

    /// A batch was written.
    pub(super) fn note(&mut self, head: &Head) {
        if head.producer < 0 {
            return;
        }
        let known = self.0.entry(head.producer).or_insert_with(|| Known { epoch: head.epoch, recent: VecDeque::new() });
        if head.epoch != known.epoch {
            (known.epoch, known.recent) = (head.epoch, VecDeque::new());
        }
        if known.recent.len() == UNDER_WAY {
            known.recent.pop_front();
        }
        known.recent.push_back((head.sequence, head.last_sequence(), head.first));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::batch::{placed, tests::batch},
        *,
    };

    fn head(producer: i64, epoch: i16, sequence: i32, offset: i64) -> Head {
        Head::read(&placed(batch(&[("k", "v", 0), ("k", "w", 0)], (producer, epoch, sequence)), offset)).unwrap()
    }

    #[test]
    fn a_batch_that_comes_again_is_known_and_one_that_is_missing_is_missed() {
        let mut producers = Producers::default();
        for n in 0..8 {
            let head = head(1, 0, n * 2, i64::from(n) * 10);
            assert_eq!(producers.judge(&head), Ok(Verdict::New));
            producers.note(&head);
        }
        assert_eq!(producers.judge(&head(1, 0, 14, 99)), Ok(Verdict::Again(70)));
        assert_eq!(producers.judge(&head(1, 0, 6, 99)), Ok(Verdict::Again(30)), "the fifth last");
        let missed = Err(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(producers.judge(&head(1, 0, 4, 99)), missed, "longer ago than any client sends again");
        assert_eq!(producers.judge(&head(1, 0, 18, 99)), missed, "16 is missing");
        assert_eq!(producers.judge(&head(2, 0, 18, 99)), Ok(Verdict::New), "another, of whom nothing is known");
        assert_eq!(producers.judge(&head(-1, -1, -1, 99)), Ok(Verdict::New), "one without numbers");
    }

    /// A client counts its epoch up by itself when it does not know what became of a batch, and counts anew.
    #[test]
    fn a_later_epoch_begins_at_zero_and_ends_the_one_before() {
        let mut producers = Producers::default();
        producers.note(&head(1, 0, 0, 0));
        assert_eq!(producers.judge(&head(1, 1, 2, 9)), Err(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(producers.judge(&head(1, 1, 0, 9)), Ok(Verdict::New));
        producers.note(&head(1, 1, 0, 9));
        assert_eq!(producers.judge(&head(1, 1, 0, 20)), Ok(Verdict::Again(9)), "of the epoch before: forgotten");
        assert_eq!(producers.judge(&head(1, 0, 2, 9)), Err(ErrorCode::InvalidProducerEpoch));
    }

    #[test]
    fn the_count_goes_on_at_zero_after_the_highest_number() {
        let mut producers = Producers::default();
        producers.note(&head(1, 0, i32::MAX - 1, 0));
        assert_eq!(producers.judge(&head(1, 0, 0, 2)), Ok(Verdict::New));
    }
}
