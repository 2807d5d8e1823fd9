//! What one open stream shares with the hub: the news that wait for it, and the viewer as last read. An idle one holds
//! no queue.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use porchlight_domain::{Item, ItemId, Timestamp, Viewer};
use tokio::{sync::Notify, time::Instant};

use super::frames::Ending;

/// How many news may wait: who lets more pile up is closed, and resumes.
pub(super) const MAX_WAITING: usize = 64;

/// There is news of an item.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) item: ItemId,
    /// Its cursor.
    pub(super) log_at: Timestamp,
    /// The item, loaded once for all streams; `None`: still to be loaded.
    pub(super) loaded: Option<Loaded>,
}

/// An item as it was at a moment; `None`: it was not there.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) item: Option<Arc<Item>>,
    pub(super) at: Instant,
}

/// A person with where they live, and since when that was so for sure.
pub(super) struct Known {
    pub(super) viewer: Viewer,
    /// When the reading began.
    pub(super) read_at: Instant,
}

/// What a stream is to do next.
pub(super) enum Waiting {
    /// It looks at a neighborhood that it did not look at before: what was told there just now is to be caught up with.
    Moved,
    /// There is news.
    Note(Note),
}

/// One stream's.
pub(super) struct Slot {
    inner: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    waiting: VecDeque<Note>,
    moved: bool,
    ending: Option<Ending>,
    known: Arc<Known>,
}

impl Slot {
    pub(super) fn new(known: Known) -> Self {
        let inner = Inner { waiting: VecDeque::new(), moved: false, ending: None, known: Arc::new(known) };
        Self { inner: Mutex::new(inner), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts news into the queue. `false`: the stream is ending, or ends by this, and wants no more.
    pub(super) fn push(&self, note: Note) -> bool {
        let mut inner = self.lock();
        if inner.ending.is_none() && inner.waiting.len() < MAX_WAITING {
            inner.waiting.push_back(note);
            drop(inner);
            self.wake.notify_one();
            return true;
        }
        drop(inner);
        self.end(Ending::SlowReader);
        false
    }

    /// The stream is to end, for the first reason that is given. What waits is dropped: it is replayed to who resumes.
    pub(super) fn end(&self, ending: Ending) {
        let mut inner = self.lock();
        inner.ending.get_or_insert(ending);
        inner.waiting = VecDeque::new();
        drop(inner);
        self.wake.notify_one();
    }

    /// Why the stream is to end, if it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    /// What comes next.
    pub(super) fn next(&self) -> Option<Waiting> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.moved) {
            return Some(Waiting::Moved);
        }
        let note = inner.waiting.pop_front()?;
        if inner.waiting.is_empty() {
            inner.waiting = VecDeque::new();
        }
        Some(Waiting::Note(note))
    }

    /// Until there may be something: news, a move or an end.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The viewer as last read.
    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.lock().known)
    }

    /// The viewer as read now, unless a later reading is here already; whether it was taken.
    pub(super) fn learn(&self, known: Known) -> bool {
        let mut inner = self.lock();
        let later = known.read_at >= inner.known.read_at;
        if later {
            inner.known = Arc::new(known);
        }
        later
    }

    /// The stream looks at a neighborhood more.
    pub(super) fn moved(&self) {
        self.lock().moved = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::{HouseholdId, ResidentId};
    use std::time::Duration;
    use uuid::Uuid;

    fn known(read_at: Instant) -> Known {
        let (resident, household) = (ResidentId(Uuid::nil()), HouseholdId(Uuid::nil()));
        Known { viewer: Viewer { resident, household, residences: Vec::new() }, read_at }
    }

    fn note() -> Note {
        Note { item: ItemId(Uuid::nil()), log_at: Timestamp(0), loaded: None }
    }

    #[test]
    fn the_queue_is_bounded_and_who_lets_it_overflow_is_to_end_and_holds_nothing() {
        let slot = Slot::new(known(Instant::now()));
        assert!((0..MAX_WAITING).all(|_| slot.push(note())));
        assert_eq!(slot.ending(), None);
        assert!(!slot.push(note()));
        assert_eq!(slot.ending(), Some(Ending::SlowReader));
        assert!(slot.next().is_none() && slot.lock().waiting.capacity() == 0);
        slot.end(Ending::GoingAway);
        assert_eq!(slot.ending(), Some(Ending::SlowReader), "the first reason stands");
        assert!(!slot.push(note()));
    }

    #[test]
    fn an_idle_stream_holds_no_queue() {
        let slot = Slot::new(known(Instant::now()));
        slot.push(note());
        assert!(matches!(slot.next(), Some(Waiting::Note(_))));
        assert_eq!(slot.lock().waiting.capacity(), 0);
    }

    #[test]
    fn an_earlier_reading_never_covers_a_later_one() {
        let now = Instant::now();
        let slot = Slot::new(known(now));
        assert!(slot.learn(known(now + Duration::from_secs(2))));
        assert!(!slot.learn(known(now + Duration::from_secs(1))));
        assert_eq!(slot.known().read_at, now + Duration::from_secs(2));
    }
}
