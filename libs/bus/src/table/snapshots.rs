//! When a table's snapshot is read and written.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    TableEntry, View,
    folder::Folder,
    snapshot::{self, Log, Mark, Snapshot},
};
use crate::{KafkaConfig, Record, follower::Follower};

/// How long to rest after writing one, in times of what that took: a small table loses a second when it is killed, a
/// large one does not write all the time.
const REST_TIMES: u32 = 100;
const MIN_REST: Duration = Duration::from_secs(1);
const MAX_REST: Duration = Duration::from_secs(60);
/// A snapshot of which nothing has changed is written again when it is as old as this, ms: it would become too old.
const RENEW_AFTER_MS: u64 = 3_600_000;
/// How long the end of a process may wait for the last snapshot. The one before it is a minute older at most.
const END_WITHIN: Duration = Duration::from_millis(1500);

/// How long it took, and as of when it holds: `None` if it could not be written.
type Written = (Duration, Option<u64>);

/// The snapshots of one table.
pub(super) struct Snapshots {
    folder: Arc<Folder>,
    topic: String,
    /// Whether the one on disk was read, or could not be trusted. There is one try: a log that failed a table is read
    /// from its beginning.
    tried: bool,
    /// As of the last opening; `None` if the brokers do not say which cluster they are, which no snapshot could show.
    log: Option<Log>,
    /// The last record read of each partition.
    last: Vec<Option<Arc<Record>>>,
    /// Whether a record was left out: another build may be able to read it, and would not find it in a snapshot.
    left_out: bool,
    /// Whether anything was read that is not on disk.
    changed: bool,
    /// As of when the one on disk holds, ms since the Unix epoch.
    as_of_ms: Option<u64>,
    /// When the next one may be written.
    rested: Instant,
    writing: Option<JoinHandle<Written>>,
    stop: CancellationToken,
}

impl Snapshots {
    /// In this folder; `None` if it is empty. One that cannot be used is said, and done without: what only makes starts
    /// faster must not keep a service from starting.
    pub(super) fn of<V: TableEntry>(folder: &Path, config: &KafkaConfig) -> Option<Self> {
        if folder.as_os_str().is_empty() {
            return None;
        }
        let topic = config.topic_name(V::TOPIC);
        let claimed = Folder::claim(folder, &topic);
        let folder = claimed
            .inspect_err(|reason| tracing::warn!(topic, reason, "the table goes without snapshots"))
            .ok()
            .map(Arc::new)?;
        Some(Self {
            folder,
            topic,
            tried: false,
            log: None,
            last: Vec::new(),
            left_out: false,
            changed: false,
            as_of_ms: None,
            rested: Instant::now(),
            writing: None,
            stop: CancellationToken::new(),
        })
    }

    /// The log is opened: the snapshot to go on from, if there is one that can be trusted.
    pub(super) async fn resume<V: TableEntry>(&mut self, follower: &Follower) -> Option<Snapshot<V>> {
        let ends = follower.ends().to_vec();
        (self.left_out, self.changed) = (false, true);
        self.last = ends.iter().map(|_| None).collect();
        let topic = self.topic.clone();
        self.log = follower.cluster().await.ok().flatten().map(|cluster| Log { topic, cluster, ends });
        if std::mem::replace(&mut self.tried, true) {
            return None;
        }
        let (folder, log) = (Arc::clone(&self.folder), self.log.clone());
        let read = tokio::task::spawn_blocking(move || {
            let file = folder.open().map_err(|error| format!("it cannot be read: {error}"))?;
            let Some(file) = file else { return Ok(None) };
            let log = log.ok_or("the brokers do not say which cluster they are")?;
            snapshot::read(file, &log, now_ms()).map(Some)
        });
        match read.await {
            Ok(Ok(snapshot)) => {
                self.as_of_ms = snapshot.as_ref().map(|snapshot| snapshot.as_of_ms);
                self.changed = snapshot.is_none();
                snapshot
            }
            Ok(Err(reason)) => {
                self.distrust(&reason);
                None
            }
            Err(error) => {
                self.distrust(&error.to_string());
                None
            }
        }
    }

    /// The snapshot that was resumed cannot be trusted after all.
    pub(super) fn distrust(&mut self, reason: &str) {
        self.as_of_ms = None;
        tracing::warn!(topic = self.topic, reason, "the snapshot is not used; reading the whole topic");
    }

    /// A record was read.
    pub(super) fn note(&mut self, record: Record, new: bool, left_out: bool) {
        self.changed |= new;
        self.left_out |= left_out;
        let last = usize::try_from(record.partition).ok().and_then(|index| self.last.get_mut(index));
        if let Some(last) = last {
            *last = Some(Arc::new(record));
        }
    }

    /// Begins to write one if it is time to.
    pub(super) async fn keep_up<V: TableEntry>(&mut self, view: &View<V>) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.written().await;
        }
        let renew = self.as_of_ms.is_none_or(|as_of| now_ms().abs_diff(as_of) > RENEW_AFTER_MS);
        if (self.changed || renew) && Instant::now() >= self.rested {
            self.begin(view);
        }
    }

    /// Writes the last one, within bounds.
    pub(super) async fn finish<V: TableEntry>(&mut self, view: &View<V>) {
        let last = async {
            self.written().await;
            if self.changed {
                self.begin(view);
                self.written().await;
            }
        };
        if tokio::time::timeout(END_WITHIN, last).await.is_err() {
            tracing::info!(topic = self.topic, "no time for the last snapshot");
        }
        self.stop.cancel();
    }

    /// Only what was once read to the end is written, and as of the moment as of which it was: a table that is cut off
    /// writes what it has as being as old as it is.
    fn begin<V: TableEntry>(&mut self, view: &View<V>) {
        let (Some(log), Some(age), None, false) =
            (&self.log, view.confirmed.age(Instant::now()), &self.writing, self.left_out)
        else {
            return;
        };
        let as_of_ms = now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        // Before any entry is copied: see the module `snapshot`.
        let last = self.last.clone();
        let (folder, log, stop) = (Arc::clone(&self.folder), log.clone(), self.stop.clone());
        let entries = Arc::clone(&view.entries);
        self.changed = false;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let marks: Vec<Option<Mark>> = last.iter().map(|last| last.as_deref().map(Mark::of)).collect();
            let written = folder.replace(|to| snapshot::write(to, &log, &marks, as_of_ms, &entries, &stop));
            if let Err(error) = &written
                && !stop.is_cancelled()
            {
                tracing::warn!(topic = log.topic, %error, "the snapshot cannot be written");
            }
            (begun.elapsed(), written.ok().map(|()| as_of_ms))
        }));
    }

    /// Waits for the one that is being written, if one is.
    async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let (took, as_of_ms) = writing.await.unwrap_or((MAX_REST, None));
        self.writing = None;
        // One that cannot be written is not tried, and said, each second.
        let rest = if as_of_ms.is_some() { (took * REST_TIMES).clamp(MIN_REST, MAX_REST) } else { MAX_REST };
        self.rested = Instant::now() + rest;
        self.changed |= as_of_ms.is_none();
        self.as_of_ms = as_of_ms.or(self.as_of_ms);
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
