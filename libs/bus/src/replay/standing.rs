//! How far a replay is: plain and synchronous.

use std::collections::BTreeMap;

use super::Span;

/// How far one partition is.
struct Stretch {
    span: Span,
    /// Everything below is read.
    next: i64,
    /// What was read and is not done: offsets with their timestamps, ms.
    in_hand: BTreeMap<i64, i64>,
    /// From which time everything at `next` and above is found.
    next_ms: i64,
}

impl Stretch {
    fn is_read(&self) -> bool {
        self.next >= self.span.to
    }
}

/// How far all are.
pub(super) struct Standing {
    stretches: BTreeMap<i32, Stretch>,
}

impl Standing {
    /// Nothing is read; everything is found from `from_ms` on.
    pub(super) fn new(spans: &[Span], from_ms: i64) -> Self {
        let stretch =
            |span: &Span| Stretch { span: *span, next: span.from, in_hand: BTreeMap::new(), next_ms: from_ms };
        Self { stretches: spans.iter().map(|span| (span.partition, stretch(span))).collect() }
    }

    /// A record of a span was read.
    pub(super) fn take(&mut self, partition: i32, offset: i64, timestamp_ms: i64) {
        let Some(stretch) = self.stretches.get_mut(&partition) else { return };
        stretch.next = offset + 1;
        // A time is looked up as "the first offset at or after it", which for the time of a record is never beyond that
        // record, in whatever order the timestamps stand.
        stretch.next_ms = timestamp_ms;
        stretch.in_hand.insert(offset, timestamp_ms);
    }

    /// A record is done.
    pub(super) fn done(&mut self, partition: i32, offset: i64) {
        if let Some(stretch) = self.stretches.get_mut(&partition) {
            stretch.in_hand.remove(&offset);
        }
    }

    /// No record will come any more: what is left of the spans is gone from the log.
    pub(super) fn nothing_more(&mut self) {
        self.stretches.values_mut().for_each(|stretch| stretch.next = stretch.span.to);
    }

    /// Whether everything is read and done.
    pub(super) fn is_done(&self) -> bool {
        self.stretches.values().all(|stretch| stretch.is_read() && stretch.in_hand.is_empty())
    }

    /// How many records are in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.stretches.values().map(|stretch| stretch.in_hand.len()).sum()
    }

    /// How many offsets are done, and how many there are.
    pub(super) fn count(&self) -> (u64, u64) {
        let done = |s: &Stretch| {
            let read = u64::try_from(s.next - s.span.from).unwrap_or_default();
            read.saturating_sub(s.in_hand.len() as u64)
        };
        (self.stretches.values().map(done).sum(), self.stretches.values().map(|s| s.span.len()).sum())
    }

    /// From which time on everything is found that is not done; `None` if all is.
    pub(super) fn resume_at_ms(&self) -> Option<i64> {
        let first = |stretch: &Stretch| match stretch.in_hand.first_key_value() {
            Some((_, timestamp_ms)) => Some(*timestamp_ms),
            None => (!stretch.is_read()).then_some(stretch.next_ms),
        };
        self.stretches.values().filter_map(first).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first offset at or after a time, as brokers look it up.
    fn found(log: &[i64], ms: i64) -> usize {
        log.iter().position(|at| *at >= ms).unwrap_or(log.len())
    }

    proptest! {
        /// Timestamps in any order, records done in any order, stopped anywhere: whoever resumes leaves nothing out.
        #[test]
        fn whoever_resumes_leaves_nothing_out(
            logs in prop::collection::vec(prop::collection::vec(0..50_i64, 0..30), 1..4),
            from_ms in 0..50_i64,
            steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..120),
        ) {
            let spans: Vec<Span> = logs
                .iter()
                .zip(0..)
                .map(|(log, partition)| Span {
                    partition,
                    from: i64::try_from(found(log, from_ms)).expect("small"),
                    to: i64::try_from(log.len()).expect("small"),
                })
                .collect();
            let mut standing = Standing::new(&spans, from_ms);
            let mut undone: Vec<(usize, i64)> = Vec::new();
            let mut next: Vec<i64> = spans.iter().map(|span| span.from).collect();
            for span in &spans {
                undone.extend((span.from..span.to).map(|offset| (usize::try_from(span.partition).expect("small"), offset)));
            }
            let of = undone.len() as u64;
            let mut in_hand = Vec::new();
            for (reads, which) in steps {
                if reads {
                    let p = which % logs.len();
                    let Some(at) = logs[p].get(usize::try_from(next[p]).expect("small")) else { continue };
                    standing.take(i32::try_from(p).expect("small"), next[p], *at);
                    in_hand.push((p, next[p]));
                    next[p] += 1;
                } else if !in_hand.is_empty() {
                    let (p, offset) = in_hand.swap_remove(which % in_hand.len());
                    standing.done(i32::try_from(p).expect("small"), offset);
                    undone.retain(|u| *u != (p, offset));
                }
                prop_assert_eq!(standing.count(), (of - undone.len() as u64, of));
                prop_assert_eq!(standing.in_hand(), in_hand.len());
                prop_assert_eq!(standing.is_done(), undone.is_empty());
                match standing.resume_at_ms() {
                    None => prop_assert!(undone.is_empty()),
                    Some(ms) => {
                        prop_assert!(!undone.is_empty());
                        for (p, offset) in &undone {
                            prop_assert!(found(&logs[*p], ms) <= usize::try_from(*offset).expect("small"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn offsets_that_are_gone_hold_nothing_up() {
        let mut standing = Standing::new(&[Span { partition: 0, from: 3, to: 9 }], 0);
        standing.take(0, 5, 50);
        standing.nothing_more();
        assert!(!standing.is_done());
        standing.done(0, 5);
        assert!(standing.is_done());
        assert_eq!((standing.count(), standing.resume_at_ms()), ((6, 6), None));
    }
}
