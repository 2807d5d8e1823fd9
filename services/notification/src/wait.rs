//! Why something cannot be done now, and when to try again. Nothing here lets a record be skipped.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use porchlight_bus::ProduceError;
use porchlight_store::StoreError;

/// How long to wait for a polygon that is on its way.
pub(crate) const FOR_A_POLYGON: Duration = Duration::from_millis(200);
/// The first wait after a failure; it doubles with each failure in a row.
const FIRST_MS: u64 = 250;
/// The longest wait after a failure.
const LONGEST_MS: u64 = 10_000;

/// Try again later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wait {
    /// What is waited for: a metric's label.
    pub what: What,
    /// Not before, if that is known; else as backoff says.
    pub after: Option<Duration>,
    /// For the log: no token, no place.
    pub reason: String,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum What {
    /// A polygon that is not here yet.
    Polygon,
    /// The store is away or slow.
    Store,
    /// A stored row that cannot be read, or a request that the store refuses: somebody has to mend it.
    Row,
    /// The log of pushes.
    Log,
    /// A provider that cannot take a push now.
    Provider,
    /// Another process may have the record by now.
    Lease,
    /// The process is being stopped.
    Stop,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Polygon, Self::Store, Self::Row, Self::Log, Self::Provider, Self::Lease, Self::Stop];

    /// The word that stands for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polygon => "polygon",
            Self::Store => "store",
            Self::Row => "row",
            Self::Log => "log",
            Self::Provider => "provider",
            Self::Lease => "lease",
            Self::Stop => "stop",
        }
    }
}

impl Wait {
    /// For a polygon.
    pub(crate) fn polygon(reason: impl Into<String>) -> Self {
        Self { what: What::Polygon, after: Some(FOR_A_POLYGON), reason: reason.into() }
    }
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        let what = match &error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => What::Store,
            StoreError::Corrupt { .. } | StoreError::Refused(_) => {
                // Waiting will not mend it, but a row that cannot be read must not turn a topic into dead letters.
                tracing::error!(%error, "work waits until somebody mends the store");
                What::Row
            }
        };
        Self { what, after: None, reason: error.to_string() }
    }
}

impl From<ProduceError> for Wait {
    fn from(error: ProduceError) -> Self {
        Self { what: What::Log, after: None, reason: error.to_string() }
    }
}

/// How long to wait after so many failures in a row: doubling, jittered so that not all come back together.
pub(crate) fn backoff(failures: u32) -> Duration {
    let longest = FIRST_MS.saturating_mul(1 << failures.min(16)).min(LONGEST_MS);
    Duration::from_millis(rand::random_range(longest / 2..=longest))
}

/// Failures in a row of a whole stage: they are almost always of one thing that is away.
#[derive(Debug, Default)]
pub(crate) struct Failures(AtomicU32);

impl Failures {
    /// Something worked.
    pub(crate) fn none(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// One more: wait so long.
    pub(crate) fn another(&self, wait: &Wait) -> Duration {
        let failures = self.0.fetch_add(1, Ordering::Relaxed);
        wait.after.unwrap_or_else(|| backoff(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for failures in 0..40 {
            assert!(backoff(failures) >= Duration::from_millis(FIRST_MS / 2));
            assert!(backoff(failures) <= Duration::from_millis(LONGEST_MS));
        }
        assert!(backoff(30) >= Duration::from_millis(LONGEST_MS / 2));
    }
}
