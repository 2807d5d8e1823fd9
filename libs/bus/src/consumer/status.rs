//! What others may know of a running consumer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How old an answer of the brokers, or a poll, may be. The loop asks and polls every second; a question may take three.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// A view on a running consumer.
#[derive(Clone)]
pub struct ConsumerStatus {
    stage: &'static str,
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
    /// Records not done.
    pub(super) lag: u64,
    /// It is draining, or has ended.
    pub(super) ended: bool,
}

impl ConsumerStatus {
    pub(super) fn of(stage: &'static str) -> Self {
        Self { stage, seen: Arc::default() }
    }

    pub(super) fn update(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Ok` if brokers answered and the loop polled lately; else the reason, for `/readyz`.
    ///
    /// # Errors
    /// One sentence.
    pub fn ready(&self) -> Result<(), String> {
        self.update().ready(Instant::now()).map_err(|reason| format!("{}: {reason}", self.stage))
    }

    /// Records of the assigned partitions that are not done yet (high watermark less the offset up to which everything
    /// is done), as last asked; for shedding and the screen. 0 before the first answer.
    pub fn lag(&self) -> u64 {
        self.update().lag
    }
}

impl Seen {
    fn ready(&self, now: Instant) -> Result<(), String> {
        let fresh = |seen: Option<Instant>| seen.is_some_and(|at| now.saturating_duration_since(at) < STALE_AFTER);
        let trouble = || self.trouble.as_deref().map(|t| format!(": {t}")).unwrap_or_default();
        if self.ended {
            Err("it is stopping".into())
        } else if !fresh(self.polled) {
            Err("it does not poll".into())
        } else if !fresh(self.answered) {
            Err(format!("brokers do not answer{}", trouble()))
        } else if !self.joined {
            Err(format!("it has not joined its group{}", trouble()))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_joined_polling_and_answered_lately() {
        let now = Instant::now();
        let seen = || Seen { polled: Some(now), answered: Some(now), joined: true, ..Seen::default() };
        let reason = |seen: Seen, now| seen.ready(now).expect_err("not ready");
        assert_eq!(seen().ready(now), Ok(()));
        assert_eq!(reason(Seen::default(), now), "it does not poll");
        assert!(reason(Seen { joined: false, ..seen() }, now).contains("joined"));
        assert!(reason(Seen { ended: true, ..seen() }, now).contains("stopping"));
        let later = now + STALE_AFTER;
        let away = Seen { polled: Some(later), trouble: Some("broker down".into()), ..seen() };
        assert_eq!(reason(away, later), "brokers do not answer: broker down");
        assert!(reason(Seen { answered: Some(later), ..seen() }, later).contains("poll"));
    }
}
