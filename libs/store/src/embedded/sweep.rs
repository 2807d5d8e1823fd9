//! The end of rows on disk. A filter sees every row that is merged from table to table: what has ended loses its body
//! there, and what needs no remembering goes. Merging happens by itself where much is written; a sweep that wakes rarely
//! merges the rest, if it knows of a row that has ended.

use std::{
    panic::RefUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};
use porchlight_domain::{Clock, Timestamp};

use super::{
    disk::Disk,
    key::{Key, Table},
    row::{Fate, NEVER, Row},
};

/// How often it is asked whether there is something to do.
const WAKE: Duration = Duration::from_secs(30);
/// Between two sweeps, and before the first.
const REST: Duration = Duration::from_secs(600);
/// A sweep that took long is followed by a rest of so many times as long: it costs at most half a percent of a core.
const REST_FACTOR: u32 = 200;
/// How long the making of a table may take.
const ROTATION_PATIENCE: Duration = Duration::from_secs(60);

/// The earliest moment at which a row will have ended, as far as is known.
pub(super) struct Turns {
    next: AtomicI64,
    /// The same, of what the running sweep keeps.
    kept: AtomicI64,
}

impl Default for Turns {
    /// Nobody knows what is in a folder that was just opened.
    fn default() -> Self {
        Self { next: AtomicI64::new(i64::MIN), kept: AtomicI64::new(i64::MAX) }
    }
}

impl Turns {
    /// A row that ends then is being written.
    pub(super) fn expect(&self, ends: Timestamp) {
        self.next.fetch_min(ends.0, Ordering::Relaxed);
    }

    pub(super) fn next(&self) -> Timestamp {
        Timestamp(self.next.load(Ordering::Relaxed))
    }

    fn begin(&self) {
        self.kept.store(NEVER.0, Ordering::Relaxed);
        self.next.store(NEVER.0, Ordering::Relaxed);
    }

    fn keep(&self, ends: Timestamp) {
        self.kept.fetch_min(ends.0, Ordering::Relaxed);
    }

    fn end(&self) {
        self.expect(Timestamp(self.kept.load(Ordering::Relaxed)));
    }

    fn fail(&self) {
        self.expect(Timestamp(i64::MIN));
    }
}

/// Makes the filters of merges.
pub(super) struct Filters {
    clock: Arc<dyn Clock>,
    turns: Arc<Turns>,
}

impl Filters {
    pub(super) fn new(clock: Arc<dyn Clock>, turns: Arc<Turns>) -> Self {
        Self { clock, turns }
    }
}

/// A clock has no state that a panic could leave half done.
impl RefUnwindSafe for Filters {}

impl Factory for Filters {
    fn name(&self) -> &str {
        "ended rows"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter { now: self.clock.now(), turns: Arc::clone(&self.turns) })
    }
}

struct Filter {
    now: Timestamp,
    turns: Arc<Turns>,
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = item.value()?;
        // What means nothing stays, for whoever reads it to say so.
        let Some(table) = Table::of(item.key()) else { return Ok(Verdict::Keep) };
        let Ok(row) = Row::decode(table, &value) else { return Ok(Verdict::Keep) };
        Ok(match row.fate(table, self.now) {
            Fate::Stays(until) => {
                self.turns.keep(until);
                Verdict::Keep
            }
            Fate::Stone(until) => {
                self.turns.keep(until);
                Verdict::ReplaceValue(Row { ends: until, body: None, ..row }.encode().into())
            }
            // Leaves a tombstone where an older table may hold an older row.
            Fate::Goes => Verdict::Remove,
        })
    }
}

impl Disk {
    /// Removes what has ended from the tables. The journal still holds it until 64 MB more were written.
    pub(super) fn sweep(&self) -> Result<(), Box<fjall::Error>> {
        self.turns.begin();
        let swept = self.merge_all();
        match swept {
            Ok(()) => self.turns.end(),
            Err(_) => self.turns.fail(),
        }
        swept
    }

    fn merge_all(&self) -> Result<(), Box<fjall::Error>> {
        self.rotate_and_wait()?;
        self.merge()?;
        // The engine lets go of merged tables only when a later write has gone into one.
        let note = Row::plain(self.now().0.to_be_bytes().to_vec());
        self.commit([(Key::of(Table::Notes).byte(0), note)])?;
        self.rotate_and_wait()
    }

    fn rotate_and_wait(&self) -> Result<(), Box<fjall::Error>> {
        self.rotate()?;
        let until = Instant::now() + ROTATION_PATIENCE;
        while self.is_rotating() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Sweeps now and then, until the other end of `stop` is dropped.
pub(super) fn run(disk: &Disk, stop: &Receiver<()>) {
    let mut rests_until = Instant::now() + REST;
    while stop.recv_timeout(WAKE) == Err(RecvTimeoutError::Timeout) {
        if Instant::now() < rests_until || disk.turns.next() > disk.now() {
            continue;
        }
        let started = Instant::now();
        if let Err(error) = disk.sweep() {
            tracing::warn!(%error, "rows that ended are still on the disk of the embedded store; another sweep follows");
        }
        let took = started.elapsed();
        tracing::debug!(took_ms = took.as_millis(), "swept the embedded store");
        rests_until = Instant::now() + REST.max(took * REST_FACTOR);
    }
}
