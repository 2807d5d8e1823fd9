//! The neighborhoods that a service holds in memory: the current version of each, indexed, and the old versions that
//! alerts in flight still name. The gate's [`Borders`].
//!
//! Readers take a [`Snapshot`], which never changes while they hold it; writers swap in the next one. Nobody waits for
//! a lock to read.

mod past;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use porchlight_wire::NeighborhoodRecord;

pub use snapshot::Snapshot;

/// Cheap to clone; all clones are the same neighborhoods.
#[derive(Clone, Default)]
pub struct Neighborhoods {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    now: ArcSwap<Snapshot>,
    /// Held from reading `now` until the next one is stored: two writers would undo each other.
    writing: Mutex<()>,
}

impl Neighborhoods {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes records as a table delivers them: versions not above the known one are ignored, so that any order of any
    /// of them, and any repetition, ends at the same. Many at once build the index once. What was current becomes an
    /// old version that is remembered.
    pub fn apply(&self, records: &[Arc<NeighborhoodRecord>]) {
        self.change(|snapshot| snapshot.after(records));
    }

    /// Keeps an old version as read from the store. Bounded: the longest-kept go first.
    pub fn remember(&self, record: NeighborhoodRecord) {
        self.change(|snapshot| snapshot.remembering(&record));
    }

    /// What is known now, unchanging while it is held.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.now.load_full()
    }

    fn change(&self, next: impl FnOnce(&Snapshot) -> Snapshot) {
        // A writer that panicked stored nothing: what stands there is whole.
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next(&self.shared.now.load());
        self.shared.now.store(Arc::new(next));
    }
}
