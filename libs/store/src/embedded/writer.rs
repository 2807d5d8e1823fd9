//! The one writer. Whoever wants to write says how to decide it; the writer takes what waits, decides it one after the
//! other, writes all of it at once, makes it durable with one `fsync`, and only then answers. While the disk is busy the
//! next group gathers, so nobody waits for company. Since nobody else writes, a decision stands on what is there.

use std::collections::HashMap;

use porchlight_domain::Timestamp;
use tokio::sync::mpsc;

use super::{disk::Disk, key::Key, row::Row};
use crate::StoreError;

/// How many may wait; who comes then waits for a place.
pub(super) const QUEUE: usize = 1024;
/// How many are written at once.
const GROUP: usize = 512;
/// A group takes nobody in once its rows have so many bytes.
const GROUP_BYTES: usize = 2 << 20;

/// Decides one write, and gives back how to answer it.
pub(super) type Job = Box<dyn FnOnce(&mut Group<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Makes a job of a decision. What a decision that fails has written is forgotten; one that stands is answered when it is
/// on the disk.
pub(super) fn job<T: Send + 'static>(
    decide: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    answer: impl FnOnce(Result<T, StoreError>) + Send + 'static,
) -> Job {
    Box::new(move |group| {
        let mut change = Change { group: &*group, own: HashMap::new() };
        let outcome = decide(&mut change);
        let own = change.own;
        if outcome.is_ok() {
            group.bytes += own.values().map(|row| row.body.as_ref().map_or(0, Vec::len)).sum::<usize>();
            group.staged.extend(own);
        }
        Box::new(move |committed| answer(committed.and(outcome)))
    })
}

/// Runs until nobody can send any more.
pub(super) fn run(disk: &Disk, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Group { disk, now: disk.now(), staged: HashMap::new(), bytes: 0 };
        let mut answers = vec![first(&mut group)];
        while answers.len() < GROUP
            && group.bytes < GROUP_BYTES
            && let Ok(next) = jobs.try_recv()
        {
            answers.push(next(&mut group));
        }
        let committed = group.commit();
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// What is written at once.
pub(super) struct Group<'a> {
    disk: &'a Disk,
    now: Timestamp,
    staged: HashMap<Key, Row>,
    bytes: usize,
}

impl Group<'_> {
    /// After a failure nothing is written any more: what the disk holds of it only a new opening tells.
    fn commit(self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.disk.is_sound()?;
        self.disk.commit(self.staged).map_err(|error| {
            let folder = self.disk.folder.display();
            let why = format!("the embedded store in {folder} failed and takes no writes until a restart: {error}");
            tracing::error!("{why}");
            self.disk.broke(why.clone());
            StoreError::Unknown(why)
        })
    }
}

/// One decision: what stands, what was decided before it in the same group, and what it writes.
pub(super) struct Change<'a> {
    group: &'a Group<'a>,
    own: HashMap<Key, Row>,
}

impl Change<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.group.now
    }

    fn standing(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        match self.own.get(key).or_else(|| self.group.staged.get(key)) {
            Some(row) => Ok(Some(row.clone())),
            None => self.group.disk.standing(key),
        }
    }

    /// The row at a key, if it has not ended.
    pub(super) fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        Ok(self.standing(key)?.and_then(|row| row.live(self.now())))
    }

    /// Sets a row, whatever stands there.
    pub(super) fn set(&mut self, key: Key, row: Row) {
        self.own.insert(key, row);
    }

    /// Writes a row in the order of write times. One that has ended is not written.
    pub(super) fn write(&mut self, key: Key, row: Row) -> Result<(), StoreError> {
        let Some(table) = key.table() else { return Ok(()) };
        let now = self.now();
        if row.ends > now && self.standing(&key)?.is_none_or(|other| row.covers(&other, table, now)) {
            self.own.insert(key, row);
        }
        Ok(())
    }
}
