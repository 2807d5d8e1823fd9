//! Whether delivery reports keep coming.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is on its way, and since when nothing of it has arrived.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// The last delivery, or when the first of those under way was sent.
    since: Option<Instant>,
}

/// One record on its way, until this is dropped.
pub(super) struct Sending<'a>(&'a Progress);

impl Progress {
    /// A record is sent.
    pub(super) fn begin(&self, now: Instant) -> Sending<'_> {
        let mut state = self.state();
        if state.under_way == 0 {
            state.since = Some(now);
        }
        state.under_way += 1;
        Sending(self)
    }

    /// How long nothing has been delivered although something is under way.
    pub(super) fn waiting_for(&self, now: Instant) -> Duration {
        let state = self.state();
        let since = state.since.filter(|_| state.under_way > 0);
        since.map(|since| now.saturating_duration_since(since)).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending<'_> {
    /// It is delivered: what is under way moves.
    pub(super) fn delivered(&self, now: Instant) {
        self.0.state().since = Some(now);
    }
}

/// Also when its sender no longer waits for it: a record that nobody waits for must not count for ever.
impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_since_the_last_delivery_while_anything_is_under_way() {
        let (progress, t0) = (Progress::default(), Instant::now());
        let at = |s| t0 + Duration::from_secs(s);
        assert_eq!(progress.waiting_for(at(9)), Duration::ZERO);
        let (first, second) = (progress.begin(at(10)), progress.begin(at(12)));
        assert_eq!(progress.waiting_for(at(13)), Duration::from_secs(3));
        first.delivered(at(14));
        drop(first);
        assert_eq!(progress.waiting_for(at(16)), Duration::from_secs(2));
        drop(second);
        assert_eq!(progress.waiting_for(at(99)), Duration::ZERO, "nobody waits");
        let _third = progress.begin(at(100));
        assert_eq!(progress.waiting_for(at(101)), Duration::from_secs(1), "since it was sent");
    }
}
