//! The data of the broker: topics, their partitions in files, and what groups have committed. It answers at once and
//! waits for nobody: whatever is written is with the system when a call returns, so that a killed process loses nothing;
//! [`Log::sync`] says when a power cut loses nothing either.

mod batch;
mod commits;
mod partition;
mod producers;
mod segment;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use serde::{Deserialize, Serialize};
use tansu_sans_io::{ErrorCode, record::deflated::Batch};
use tokio::sync::watch;
use uuid::Uuid;

pub(super) use commits::Commit;
use commits::Commits;
pub(super) use partition::Partition;

/// The file that says which topics there are.
const TOPICS: &str = "topics.json";
/// So many names of producers are taken from the disk at once.
const NAMES: i64 = 1000;
/// How long a key whose newest record has no value is told, where a topic does not say so, ms: as in Kafka.
const TOLD_GONE_MS: i64 = 24 * 3_600_000;
/// The largest batch of a topic that does not say, bytes: as in Kafka.
const LARGEST_BATCH: usize = 1_048_588;

/// A topic, as it is made, with all its settings. Nothing of it changes afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) settings: BTreeMap<String, String>,
}

/// What [`TOPICS`] holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Catalogue {
    /// Every name of a producer below this one may be somebody's.
    producers: i64,
    topics: Vec<Made>,
}

/// A topic that is there.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) made: Made,
    partitions: Vec<Mutex<Partition>>,
}

impl Topic {
    fn open(folder: &Path, made: Made) -> io::Result<Self> {
        let folder = folder.join(made.id.to_string());
        let partition = |n: i32| Ok(Mutex::new(Partition::open(folder.join(n.to_string()))?));
        let partitions = (0..made.partitions).map(partition).collect::<io::Result<_>>()?;
        Ok(Self { made, partitions })
    }

    /// One of its partitions, if there is such a one.
    pub(super) fn partition(&self, n: i32) -> Option<MutexGuard<'_, Partition>> {
        let partition = self.partitions.get(usize::try_from(n).ok()?)?;
        Some(partition.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn number<T: std::str::FromStr>(&self, setting: &str) -> Option<T> {
        self.made.settings.get(setting)?.parse().ok()
    }

    fn largest_batch(&self) -> usize {
        self.number("max.message.bytes").unwrap_or(LARGEST_BATCH)
    }

    fn tidy(&self, now_ms: i64) -> io::Result<()> {
        let policy = self.made.settings.get("cleanup.policy").map_or("delete", String::as_str);
        for partition in &self.partitions {
            let mut partition = partition.lock().unwrap_or_else(PoisonError::into_inner);
            if policy.contains("compact") {
                partition.compact(now_ms - self.number("delete.retention.ms").unwrap_or(TOLD_GONE_MS))?;
            }
            if let Some(kept_ms) = self.number::<i64>("retention.ms").filter(|ms| policy.contains("delete") && *ms >= 0)
            {
                partition.expire(now_ms.saturating_sub(kept_ms))?;
            }
        }
        Ok(())
    }
}

/// All of it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// By name.
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    commits: Mutex<Commits>,
    /// The next name of a producer, and the one at which more are to be taken.
    names: Mutex<(i64, i64)>,
    news: watch::Sender<()>,
}

impl Log {
    /// Opens what is in a folder that nobody else has, and makes it if there is nothing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let catalogue = match fs::read(folder.join(TOPICS)) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Catalogue::default(),
            Err(error) => return Err(error),
        };
        let is_there = |id: Uuid| catalogue.topics.iter().any(|made| made.id == id);
        // A topic whose deletion was not finished, or that was never acknowledged.
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok());
            if id.is_some_and(|id| !is_there(id)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let commits = Mutex::new(Commits::open(folder.join("commits"), is_there)?);
        let names = Mutex::new((catalogue.producers, catalogue.producers));
        let open = |made: Made| Ok((made.name.clone(), Arc::new(Topic::open(folder, made)?)));
        let topics = catalogue.topics.into_iter().map(open).collect::<io::Result<_>>()?;
        let (folder, topics, news) = (folder.to_owned(), RwLock::new(topics), watch::Sender::new(()));
        Ok(Self(Arc::new(Inner { folder, topics, commits, names, news })))
    }

    fn known(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Topic>>> {
        self.0.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.0.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever a record was written, or a topic made or deleted.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }

    /// All topics, by their names.
    pub(super) fn topics(&self) -> Vec<Arc<Topic>> {
        self.known().values().cloned().collect()
    }

    /// The topic of this name.
    pub(super) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.known().get(name).cloned()
    }

    /// The topic of this id.
    pub(super) fn topic_of(&self, id: [u8; 16]) -> Option<Arc<Topic>> {
        self.known().values().find(|topic| topic.made.id.into_bytes() == id).cloned()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// There is one of this name, or the disk does not take it.
    pub(super) fn create(&self, made: Made) -> Result<(), ErrorCode> {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.contains_key(&made.name) {
            return Err(ErrorCode::TopicAlreadyExists);
        }
        let topic = Arc::new(Topic::open(&self.0.folder, made).map_err(|error| broken("a topic", &error))?);
        topics.insert(topic.made.name.clone(), Arc::clone(&topic));
        if let Err(error) = self.save(&topics, self.names().1) {
            topics.remove(&topic.made.name);
            return Err(broken("a topic", &error));
        }
        drop(topics);
        self.0.news.send_replace(());
        Ok(())
    }

    /// Deletes a topic, with all that is in it and all that groups have committed of it.
    ///
    /// # Errors
    /// There is none of this name, or the disk does not take it.
    pub(super) fn delete(&self, name: &str) -> Result<Uuid, ErrorCode> {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.remove(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if let Err(error) = self.save(&topics, self.names().1) {
            topics.insert(name.to_owned(), topic);
            return Err(broken("the topics", &error));
        }
        drop(topics);
        self.commits().forget(topic.made.id);
        // It is gone; what is left of its files goes at the next start.
        if let Err(error) = fs::remove_dir_all(self.0.folder.join(topic.made.id.to_string())) {
            tracing::debug!(%error, "the files of a topic are not gone");
        }
        self.0.news.send_replace(());
        Ok(topic.made.id)
    }

    /// Writes a batch; the offset of its first record.
    ///
    /// # Errors
    /// There is no such partition, it is too large, it is not what it says, its producer left one out, or the disk does
    /// not take it.
    pub(super) fn append(&self, topic: &str, partition: i32, batch: Batch) -> Result<i64, ErrorCode> {
        let topic = self.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if batch.record_data.len() > topic.largest_batch() {
            return Err(ErrorCode::MessageTooLarge);
        }
        let mut partition = topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let first = partition.append(batch)?;
        drop(partition);
        self.0.news.send_replace(());
        Ok(first)
    }

    /// A name for a producer, which nobody had before.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn producer(&self) -> Result<i64, ErrorCode> {
        let topics = self.known();
        let mut names = self.names();
        if names.0 == names.1 {
            self.save(&topics, names.1 + NAMES).map_err(|error| broken("the producers", &error))?;
            names.1 += NAMES;
        }
        names.0 += 1;
        Ok(names.0 - 1)
    }

    fn names(&self) -> MutexGuard<'_, (i64, i64)> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, topics: &BTreeMap<String, Arc<Topic>>, producers: i64) -> io::Result<()> {
        let topics = topics.values().map(|topic| topic.made.clone()).collect();
        let text = serde_json::to_vec_pretty(&Catalogue { producers, topics })?;
        let (path, new) = (self.0.folder.join(TOPICS), self.0.folder.join("topics.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.0.folder)?.sync_all()
    }

    /// Keeps what groups have committed.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn commit(&self, commits: Vec<Commit>) -> Result<(), ErrorCode> {
        self.commits().keep(commits).map_err(|error| broken("what a group has committed", &error))
    }

    /// What a group has committed of a partition.
    pub(super) fn committed(&self, group: &str, topic: Uuid, partition: i32) -> Option<Commit> {
        self.commits().of(group, topic, partition).cloned()
    }

    /// All that a group has committed.
    pub(super) fn all_committed(&self, group: &str) -> Vec<Commit> {
        self.commits().all_of(group)
    }

    /// Removes records past their retention, and the older ones of a key in compacted topics.
    pub(super) fn tidy(&self, now_ms: i64) {
        for topic in self.topics() {
            if let Err(error) = topic.tidy(now_ms) {
                tracing::warn!(%error, topic = topic.made.name, "the embedded broker could not tidy up");
            }
        }
    }

    /// Waits until all that was written so far is on the disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn sync(&self) -> io::Result<()> {
        for topic in self.topics() {
            for n in 0..topic.made.partitions {
                // Not while the partition is held: others write meanwhile.
                let files: Vec<File> = topic.partition(n).map(|mut p| p.unsynced().collect()).unwrap_or_default();
                files.iter().try_for_each(File::sync_data)?;
            }
        }
        Ok(())
    }
}

/// What a client is told when the disk fails, which is logged.
pub(super) fn broken(what: &str, error: &io::Error) -> ErrorCode {
    tracing::error!(%error, what, "the embedded broker's disk fails");
    ErrorCode::KafkaStorageError
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{batch::tests::batch, *};

    fn made(name: &str, settings: &[(&str, &str)]) -> Made {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Made { id: Uuid::new_v4(), name: name.to_owned(), partitions: 2, settings }
    }

    #[test]
    fn topics_names_and_commits_are_there_again_and_a_topic_that_is_deleted_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.create(made("a", &[("retention.ms", "5")])).unwrap();
        log.create(made("b", &[])).unwrap();
        assert_eq!(log.create(made("a", &[])), Err(ErrorCode::TopicAlreadyExists));
        let (a, b) = (log.topic("a").unwrap().made.id, log.topic("b").unwrap().made.id);
        assert_eq!(log.append("a", 1, batch(&[("k", "v", 7)], (-1, -1, -1))), Ok(0));
        let none = Err(ErrorCode::UnknownTopicOrPartition);
        for (topic, partition) in [("a", 2), ("a", -1), ("c", 0)] {
            assert_eq!(log.append(topic, partition, batch(&[("k", "v", 7)], (-1, -1, -1))), none);
        }
        let commit = |topic| Commit { group: "g".into(), topic, partition: 1, offset: 1, metadata: None };
        log.commit(vec![commit(a), commit(b)]).unwrap();
        let first = log.producer().unwrap();
        assert_eq!(log.producer(), Ok(first + 1));
        assert_eq!(log.delete("b"), Ok(b));
        assert_eq!(log.delete("b"), Err(ErrorCode::UnknownTopicOrPartition));

        for _ in 0..2 {
            let again = Log::open(dir.path()).unwrap();
            assert!(again.producer().unwrap() > first + 1);
            assert_eq!(again.topics().len(), 1);
            let topic = again.topic_of(a.into_bytes()).unwrap();
            assert_eq!((topic.made.name.as_str(), topic.partition(1).unwrap().end()), ("a", 1));
            assert_eq!(again.committed("g", a, 1), Some(commit(a)));
            assert_eq!(again.all_committed("g"), [commit(a)]);
            assert!(!dir.path().join(b.to_string()).exists());
        }
    }

    #[test]
    fn a_batch_that_is_larger_than_its_topic_takes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.create(made("a", &[("max.message.bytes", "100")])).unwrap();
        let append = |value: &str| log.append("a", 0, batch(&[("k", value, 7)], (-1, -1, -1)));
        assert_eq!(append(&"x".repeat(50)), Ok(0));
        assert_eq!(append(&"x".repeat(150)), Err(ErrorCode::MessageTooLarge));
        log.sync().unwrap();
    }
}
