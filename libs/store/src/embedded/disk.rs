//! The database in its folder, and how it is read: always from a snapshot, so that what was written at once is seen at once.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, KvPair, Readable as _, Snapshot};
use porchlight_domain::{Clock, Timestamp};

use super::{
    key::{Key, Span},
    row::Row,
    sweep::{Filters, Turns},
};
use crate::StoreError;

/// Blocks of tables that are held in memory, bytes.
const CACHE: u64 = 8 << 20;
/// What is written and not yet in a table, bytes: one such is being filled, and at most four wait for their table.
const MEMTABLE: u64 = 4 << 20;
/// The journal is begun anew at 64 MB: the least that the engine allows, for it is what an opening reads.
const JOURNAL: u64 = 64 << 20;
/// Threads that make tables and merge them: with two, one of them is always free to take what is written.
const WORKERS: usize = 2;
/// Far more tables than there are.
const OPEN_FILES: usize = 64;
/// One tree for all tables: so there is one journal, one memtable, and no table that is seldom written holds an old journal.
const TREE: &str = "rows";

/// An open database.
pub(super) struct Disk {
    keyspace: Keyspace,
    db: Database,
    pub(super) clock: Arc<dyn Clock>,
    /// When the next row will have ended.
    pub(super) turns: Arc<Turns>,
    pub(super) folder: PathBuf,
    /// Why it takes no writes any more.
    broken: OnceLock<String>,
    /// Released last: whoever holds it has the folder to himself.
    _lock: File,
}

impl Disk {
    /// Opens the database in `at`, or makes it. The caller holds the lock of its `folder`.
    pub(super) fn open(
        at: PathBuf,
        folder: PathBuf,
        lock: File,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Box<fjall::Error>> {
        let turns = Arc::new(Turns::default());
        let filters = Arc::new(Filters::new(Arc::clone(&clock), Arc::clone(&turns)));
        let db = Database::builder(at)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL)
            .worker_threads(WORKERS)
            .max_cached_files(Some(OPEN_FILES))
            .manual_journal_persist(true)
            .with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&filters) as _)))
            .open()?;
        let keyspace = db.keyspace(TREE, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE))?;
        Ok(Self { keyspace, db, clock, turns, folder, broken: OnceLock::new(), _lock: lock })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether it takes writes.
    pub(super) fn is_sound(&self) -> Result<(), StoreError> {
        self.broken.get().map_or(Ok(()), |why| Err(StoreError::Unavailable(why.clone())))
    }

    /// A write failed: what the disk holds of it only a new opening tells.
    pub(super) fn broke(&self, why: String) {
        let _ = self.broken.set(why);
    }

    /// All as it is at this moment.
    pub(super) fn view(&self) -> View<'_> {
        View { keyspace: &self.keyspace, snapshot: self.db.snapshot(), now: self.now() }
    }

    /// The row at a key, ended or not. For the writer: nobody else writes.
    pub(super) fn standing(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let bytes = self.keyspace.get(key.bytes()).map_err(|e| unreadable(&e))?;
        decode(key.bytes(), bytes.as_deref())
    }

    /// Every row of a span, ended or not.
    #[cfg(test)]
    pub(super) fn everything(&self, span: &Span) -> Vec<Row> {
        let bounds = span.bounds().expect("a span with room");
        let rows = self.keyspace.range::<&[u8], _>(bounds).map(|guard| {
            let (key, value) = guard.into_inner().expect("it is readable");
            decode(&key, Some(&value)).expect("a row").expect("it is there")
        });
        rows.collect()
    }

    /// Writes rows at once, and durably.
    pub(super) fn commit(&self, rows: impl IntoIterator<Item = (Key, Row)>) -> Result<(), Box<fjall::Error>> {
        let mut batch = self.db.batch().durability(Some(fjall::PersistMode::SyncData));
        for (key, row) in rows {
            self.turns.expect(row.ends);
            batch.insert(&self.keyspace, key.into_bytes(), row.encode());
        }
        Ok(batch.commit()?)
    }

    /// Puts what is only in memory and in the journal into a table.
    pub(super) fn rotate(&self) -> Result<(), Box<fjall::Error>> {
        self.keyspace.rotate_memtable()?;
        Ok(())
    }

    /// Whether a table is still to be made of what was written.
    pub(super) fn is_rotating(&self) -> bool {
        self.keyspace.tree.sealed_memtable_count() > 0
    }

    /// Merges all tables into one row of them, passing every row through the filter.
    pub(super) fn merge(&self) -> Result<(), Box<fjall::Error>> {
        Ok(self.keyspace.major_compact()?)
    }
}

/// A moment of the database.
pub(super) struct View<'a> {
    keyspace: &'a Keyspace,
    snapshot: Snapshot,
    pub(super) now: Timestamp,
}

impl View<'_> {
    /// The row at a key, if it has not ended.
    pub(super) fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let bytes = self.snapshot.get(self.keyspace, key.bytes()).map_err(|e| unreadable(&e))?;
        Ok(decode(key.bytes(), bytes.as_deref())?.and_then(|row| row.live(self.now)))
    }

    /// Keys and rows of a span that have not ended, in order; from behind, too.
    pub(super) fn rows(&self, span: &Span) -> impl DoubleEndedIterator<Item = Result<(KeyBytes, Row), StoreError>> {
        let now = self.now;
        let found = span.bounds().map(|bounds| self.snapshot.range::<&[u8], _>(self.keyspace, bounds));
        found.into_iter().flatten().filter_map(move |guard| {
            let read = guard.into_inner().map_err(|e| unreadable(&e));
            let read = read.and_then(|(key, value): KvPair| Ok((decode(&key, Some(&value))?, key)));
            match read {
                Ok((row, key)) => row.and_then(|row| row.live(now)).map(|row| Ok((key, row))),
                Err(e) => Some(Err(e)),
            }
        })
    }

    /// Rows of a span, read; refused if there are more than `most`.
    pub(super) fn all<T>(
        &self,
        span: &Span,
        most: usize,
        read: impl Fn(&[u8], Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        for row in self.rows(span) {
            let (key, row) = row?;
            if found.len() == most {
                let table = span.table().name();
                return Err(StoreError::Refused(format!("an answer of {table} has more than {most} rows")));
            }
            found.push(read(&key, row)?);
        }
        Ok(found)
    }

    /// The first rows of a span, read.
    pub(super) fn first<T>(
        &self,
        span: &Span,
        limit: usize,
        read: impl Fn(&[u8], Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.rows(span).take(limit).map(|row| row.and_then(|(key, row)| read(&key, row))).collect()
    }
}

/// A key as it is read.
pub(super) type KeyBytes = fjall::UserKey;

fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Row>, StoreError> {
    let Some(value) = value else { return Ok(None) };
    let table = super::key::Table::of(key).ok_or_else(|| crate::rows::corrupt("rows", "key"))?;
    Row::decode(table, value).map(Some)
}

fn unreadable(error: &fjall::Error) -> StoreError {
    StoreError::Unavailable(format!("the embedded store cannot be read: {error}"))
}
