//! Whether a record is still ours: for handlers whose acts cannot be taken back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A member's hold on the partition of a record. It is over once the partition was given back or lost, and also when
/// the loop has not polled, or the group not answered, for so long that the partition may have been given to another
/// member without our knowing: a process that was stopped and goes on, or is cut off from the brokers, finds that out
/// by itself.
///
/// The default is held for ever: a record that was read without a group is nobody else's.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<Term>>);

#[derive(Debug)]
struct Term {
    pulse: Arc<Pulse>,
    over: AtomicBool,
}

impl Lease {
    /// For one assignment of a partition.
    pub(super) fn granted(pulse: &Arc<Pulse>) -> Self {
        Self(Some(Arc::new(Term { pulse: Arc::clone(pulse), over: AtomicBool::new(false) })))
    }

    /// One that is over: what a handler's own tests give it.
    pub fn over() -> Self {
        let lease = Self::granted(&Pulse::new(Instant::now(), Duration::ZERO));
        lease.end();
        lease
    }

    /// Whether it is held. Costs three loads and a look at the clock.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|term| !term.over.load(Ordering::Acquire) && term.pulse.is_alive(Instant::now()))
    }

    /// Ends it for all who hold it.
    pub(super) fn end(&self) {
        if let Some(term) = &self.0 {
            term.over.store(true, Ordering::Release);
        }
    }
}

/// When the loop last polled, and when the group last answered it.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// Milliseconds since `origin`, rounded down: a lease may end early, never late.
    polled_ms: AtomicU64,
    heard_ms: AtomicU64,
    lasts: Duration,
}

impl Pulse {
    /// Polled and heard now; either lasts so long.
    pub(super) fn new(now: Instant, lasts: Duration) -> Arc<Self> {
        Arc::new(Self { origin: now, polled_ms: AtomicU64::new(0), heard_ms: AtomicU64::new(0), lasts })
    }

    /// The loop polled at `now`. Leases of partitions that may be gone must have been ended before: this lets all
    /// others live on. Gives the poll before.
    pub(super) fn polled(&self, now: Instant) -> Instant {
        self.origin + Duration::from_millis(self.polled_ms.swap(self.ms(now), Ordering::AcqRel))
    }

    /// The group answered what was asked at `asked`.
    pub(super) fn heard(&self, asked: Instant) {
        self.heard_ms.fetch_max(self.ms(asked), Ordering::AcqRel);
    }

    /// Whether the loop polled lately.
    pub(super) fn is_awake(&self, now: Instant) -> bool {
        self.lasts(&self.polled_ms, now)
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.is_awake(now) && self.lasts(&self.heard_ms, now)
    }

    fn lasts(&self, since_ms: &AtomicU64, now: Instant) -> bool {
        let since = Duration::from_millis(since_ms.load(Ordering::Acquire));
        now.saturating_duration_since(self.origin) < since.saturating_add(self.lasts)
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(4);

    #[test]
    fn a_pulse_needs_a_poll_and_an_answer_of_lately() {
        let now = Instant::now();
        let pulse = Pulse::new(now, LASTS);
        let just_before = Duration::from_millis(3999);
        assert!(pulse.is_alive(now) && pulse.is_alive(now + just_before));
        assert!(!pulse.is_alive(now + LASTS) && !pulse.is_awake(now + LASTS));
        assert_eq!(pulse.polled(now + just_before), now, "the poll before");
        assert!(pulse.is_awake(now + LASTS) && !pulse.is_alive(now + LASTS), "cut off");
        pulse.heard(now + just_before);
        assert!(pulse.is_alive(now + LASTS) && !pulse.is_alive(now + just_before + LASTS));
        pulse.heard(now);
        assert!(pulse.is_alive(now + LASTS), "an old answer that comes late takes nothing away");
    }

    #[test]
    fn a_lease_is_held_until_it_is_ended_or_the_loop_does_not_poll() {
        assert!(Lease::default().is_held(), "nobody else's");
        assert!(!Lease::over().is_held());
        let pulse = Pulse::new(Instant::now(), LASTS);
        let (one, other) = (Lease::granted(&pulse), Lease::granted(&pulse));
        let copy = one.clone();
        one.end();
        assert!(!copy.is_held() && other.is_held());
        let stopped = Pulse::new(Instant::now(), Duration::ZERO);
        assert!(!Lease::granted(&stopped).is_held());
    }
}
