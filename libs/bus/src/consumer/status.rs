//! What others may know of a running consumer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::ledger::TopicPartition;

/// How old an answer of the brokers, or a poll, may be. The loop asks and polls every second; a question may take
/// three.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// A try of a record that is at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Working {
    pub(super) at: TopicPartition,
    pub(super) offset: i64,
    pub(super) since: Instant,
}

/// A view on a running consumer.
#[derive(Clone)]
pub struct ConsumerStatus {
    stage: &'static str,
    stall_after: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen last.
#[derive(Default)]
pub(super) struct Seen {
    /// When the loop last polled.
    pub(super) polled: Option<Instant>,
    /// When brokers last answered its questions.
    pub(super) answered: Option<Instant>,
    /// Whether it has been given its partitions, be they none.
    pub(super) joined: bool,
    /// What stands in the way, in words.
    pub(super) trouble: Option<String>,
    /// The try that has been at work for longest, as of the last round of upkeep.
    pub(super) working: Option<Working>,
    /// Records not done.
    pub(super) lag: u64,
    /// It is draining, or has ended.
    pub(super) ended: bool,
}

impl ConsumerStatus {
    pub(super) fn of(stage: &'static str, stall_after: Duration) -> Self {
        Self { stage, stall_after, seen: Arc::default() }
    }

    pub(super) fn update(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Ok` if brokers answered and the loop polled lately, and no record has been in hand for longer than
    /// `stall_after_ms`: a handler that waits for ever is aborted then, but one that blocks its thread cannot be. Else
    /// the reason, for `/readyz`.
    ///
    /// # Errors
    /// One sentence.
    pub fn ready(&self) -> Result<(), String> {
        self.update().ready(Instant::now(), self.stall_after).map_err(|reason| format!("{}: {reason}", self.stage))
    }

    /// Records of the assigned partitions that are not done yet (high watermark less the offset up to which everything
    /// is done), as last asked; for shedding and the screen. 0 before the first answer.
    pub fn lag(&self) -> u64 {
        self.update().lag
    }
}

impl Seen {
    fn ready(&self, now: Instant, stall_after: Duration) -> Result<(), String> {
        let fresh = |seen: Option<Instant>| seen.is_some_and(|at| now.saturating_duration_since(at) < STALE_AFTER);
        let trouble = || self.trouble.as_deref().map(|t| format!(": {t}")).unwrap_or_default();
        let aged = self.working.map(|working| (working, now.saturating_duration_since(working.since)));
        let stalled = aged.filter(|(_, age)| *age >= stall_after);
        if self.ended {
            Err("it is stopping".into())
        } else if !fresh(self.polled) {
            Err("it does not poll".into())
        } else if !fresh(self.answered) {
            Err(format!("brokers do not answer{}", trouble()))
        } else if !self.joined {
            Err(format!("it has not joined its group{}", trouble()))
        } else if let Some((Working { at, offset, .. }, age)) = stalled {
            Err(format!("a record ({at} at {offset}) has been in hand for {} s", age.as_secs()))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    const STALL_AFTER: Duration = Duration::from_secs(5);

    #[test]
    fn ready_means_joined_polling_and_answered_lately() {
        let now = Instant::now();
        let seen = || Seen { polled: Some(now), answered: Some(now), joined: true, ..Seen::default() };
        let reason = |seen: Seen, now| seen.ready(now, STALL_AFTER).expect_err("not ready");
        assert_eq!(seen().ready(now, STALL_AFTER), Ok(()));
        assert_eq!(reason(Seen::default(), now), "it does not poll");
        assert!(reason(Seen { joined: false, ..seen() }, now).contains("joined"));
        assert!(reason(Seen { ended: true, ..seen() }, now).contains("stopping"));
        let later = now + STALE_AFTER;
        let away = Seen { polled: Some(later), trouble: Some("broker down".into()), ..seen() };
        assert_eq!(reason(away, later), "brokers do not answer: broker down");
        assert!(reason(Seen { answered: Some(later), ..seen() }, later).contains("poll"));
    }

    #[test]
    fn a_record_that_is_in_hand_for_too_long_is_named() {
        let since = Instant::now();
        let now = |secs| since + Duration::from_secs(secs);
        let working = Some(Working { at: TopicPartition { topic: Topic::Events, partition: 3 }, offset: 17, since });
        let ready = |now| {
            Seen { polled: Some(now), answered: Some(now), joined: true, working, ..Seen::default() }
                .ready(now, STALL_AFTER)
        };
        assert_eq!(ready(now(4)), Ok(()));
        assert_eq!(ready(now(5)), Err("a record (events.v1/3 at 17) has been in hand for 5 s".to_owned()));
    }
}
