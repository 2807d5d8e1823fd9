//! The bytes of a snapshot: the entries of a table, and the record of each partition up to which they were read.
//!
//! A snapshot is fuzzy. The marks are taken first; the entries are copied part by part while the table goes on, and may
//! be newer. That is harmless, for whoever resumes reads the records from the marks on again: versions only rise, and
//! what was before a tombstone does not count after it. So nobody waits for a copy of the whole, and there is none.
//!
//! Layout, integers little-endian: the magic and the version; topic and cluster, each a u16 length and bytes; the time
//! as of which it holds (u64, ms since the Unix epoch); the number of partitions (u32), and for each 0 or 1 (u8) and
//! the mark; for each entry 1 (u8), its partition (u32), the length (u32) and bytes of its record; 0 (u8); the SHA-256
//! of all that.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    TableEntry,
    entries::{Entries, Kept},
};
use crate::Record;

const MAGIC: &[u8; 8] = b"PORCHTAB";
const VERSION: u32 = 1;
/// The longest name of a topic or a cluster.
const MAX_NAME: usize = 512;
/// How old a snapshot may be, ms. Kafka keeps a tombstone for `delete.retention.ms` (24 h by default) for those who are
/// not that far yet: who resumes from further back may never hear of what was removed meanwhile. The difference is for
/// the time that reading takes, and for clocks that were set back.
pub(super) const MAX_AGE_MS: u64 = 12 * 3_600_000;

/// The log that a snapshot is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Log {
    /// The topic's full name.
    pub(super) topic: String,
    /// The cluster's id.
    pub(super) cluster: String,
    /// Where each partition ends.
    pub(super) ends: Vec<i64>,
}

/// A record of a partition: everything before it is in the snapshot. It is read again, and if it is another one now (or
/// gone), the log is not the one that the snapshot was made of: offsets alone would not tell a topic that was made
/// again and has grown as long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) offset: i64,
    timestamp_ms: i64,
    digest: [u8; 32],
}

impl Mark {
    pub(super) fn of(record: &Record) -> Self {
        let key = record.key.as_deref().unwrap_or_default();
        let digest = Sha256::new().chain_update((key.len() as u64).to_le_bytes()).chain_update(key);
        let digest = digest.chain_update(&record.value).finalize().into();
        Self { offset: record.offset, timestamp_ms: record.timestamp_ms, digest }
    }
}

/// A snapshot that was read.
pub(super) struct Snapshot<V: TableEntry> {
    pub(super) entries: Entries<V>,
    pub(super) marks: Marks,
    /// As of when it holds, ms since the Unix epoch.
    pub(super) as_of_ms: u64,
}

/// The marks of all partitions, until they are met.
#[derive(Default)]
pub(super) struct Marks(Vec<Option<Mark>>);

impl Marks {
    /// Of a table that is read from the beginning.
    pub(super) fn none(partitions: usize) -> Self {
        Self(vec![None; partitions])
    }

    /// Where to begin in each partition; `None`: at the oldest record.
    pub(super) fn starts(&self) -> Vec<Option<i64>> {
        self.0.iter().map(|mark| mark.as_ref().map(|mark| mark.offset)).collect()
    }

    /// A record was met. Whether it is a mark, and so nothing new.
    ///
    /// # Errors
    /// It should have been one and is another: a sentence.
    pub(super) fn met(&mut self, record: &Record) -> Result<bool, String> {
        let Some(mark) = self.of(record.partition).and_then(Option::take) else { return Ok(false) };
        if mark == Mark::of(record) { Ok(true) } else { Err(another(record.partition, &mark)) }
    }

    /// The end of a partition was met.
    ///
    /// # Errors
    /// Its mark was not: a sentence.
    pub(super) fn ended(&mut self, partition: i32) -> Result<(), String> {
        let unmet = self.of(partition).and_then(Option::take);
        unmet.map_or(Ok(()), |mark| Err(another(partition, &mark)))
    }

    fn of(&mut self, partition: i32) -> Option<&mut Option<Mark>> {
        usize::try_from(partition).ok().and_then(|index| self.0.get_mut(index))
    }
}

fn another(partition: i32, mark: &Mark) -> String {
    format!("record {} of partition {partition}, up to which it was read, is another one now or gone", mark.offset)
}

/// Writes a snapshot.
///
/// # Errors
/// The writer's; [`io::ErrorKind::Interrupted`] once `stop` is cancelled.
pub(super) fn write<V: TableEntry>(
    to: &mut impl Write,
    log: &Log,
    marks: &[Option<Mark>],
    as_of_ms: u64,
    entries: &Entries<V>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut to = Hashed { inner: to, hash: Sha256::new() };
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    for name in [&log.topic, &log.cluster] {
        to.write_all(&u16::try_from(name.len()).map_err(io::Error::other)?.to_le_bytes())?;
        to.write_all(name.as_bytes())?;
    }
    to.write_all(&as_of_ms.to_le_bytes())?;
    to.write_all(&u32::try_from(marks.len()).map_err(io::Error::other)?.to_le_bytes())?;
    for mark in marks {
        to.write_all(&[u8::from(mark.is_some())])?;
        if let Some(mark) = mark {
            to.write_all(&mark.offset.to_le_bytes())?;
            to.write_all(&mark.timestamp_ms.to_le_bytes())?;
            to.write_all(&mark.digest)?;
        }
    }
    for kept in entries.parts().flatten() {
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bytes = kept.bytes();
        to.write_all(&[1])?;
        to.write_all(&u32::try_from(kept.partition).map_err(io::Error::other)?.to_le_bytes())?;
        to.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
        to.write_all(&bytes)?;
    }
    to.write_all(&[0])?;
    let checksum = to.hash.finalize();
    to.inner.write_all(&checksum)
}

/// Reads a snapshot of `log` and checks it against that, as it is now. Whatever the bytes are: it holds no more of them
/// in memory than one record and the entries.
///
/// # Errors
/// Why it cannot be trusted, a sentence.
pub(super) fn read<V: TableEntry>(from: impl Read, log: &Log, now_ms: u64) -> Result<Snapshot<V>, String> {
    let mut from = Reading(Hashed { inner: from, hash: Sha256::new() });
    if &from.array::<8>()? != MAGIC {
        return Err("it is no snapshot of a table".into());
    }
    match u32::from_le_bytes(from.array()?) {
        VERSION => {}
        version => return Err(format!("its format is version {version}, not {VERSION}")),
    }
    for (what, wanted) in [("topic", &log.topic), ("cluster", &log.cluster)] {
        if from.name()? != wanted.as_bytes() {
            return Err(format!("it is of another {what} than {wanted}"));
        }
    }
    let as_of_ms = u64::from_le_bytes(from.array()?);
    match now_ms.checked_sub(as_of_ms) {
        None => return Err("it is of the future: the clock was set back".into()),
        Some(age) if age > MAX_AGE_MS => return Err(format!("it is {} min old", age / 60_000)),
        Some(_) => {}
    }
    let partitions = u32::from_le_bytes(from.array()?);
    if usize::try_from(partitions) != Ok(log.ends.len()) {
        return Err(format!("it is of {partitions} partitions, and there are {}", log.ends.len()));
    }
    let mut marks = Vec::with_capacity(log.ends.len());
    for (partition, end) in log.ends.iter().enumerate() {
        let mark = from.mark()?;
        if let Some(Mark { offset, .. }) = mark.as_ref().filter(|mark| !(0..*end).contains(&mark.offset)) {
            return Err(format!("partition {partition} ends at {end}, and it was read up to record {offset}"));
        }
        marks.push(mark);
    }
    let (entries, mut record) = (Entries::new(), Vec::new());
    while from.flag()? {
        let partition = u32::from_le_bytes(from.array()?);
        let length = usize::try_from(u32::from_le_bytes(from.array()?)).unwrap_or(usize::MAX);
        if partition >= partitions || length > V::TOPIC.max_record_bytes() {
            return Err(DAMAGED.into());
        }
        record.resize(length, 0);
        from.fill(&mut record)?;
        let value = V::decode(&record).map_err(|error| format!("an entry of it is none: {error}"))?;
        entries.put(Kept::read_from(&record, value, i32::try_from(partition).unwrap_or(i32::MAX)));
    }
    let mut checksum = [0; 32];
    let expected = from.0.hash.finalize();
    from.0.inner.read_exact(&mut checksum).map_err(|error| unreadable(&error))?;
    let more = from.0.inner.read(&mut [0]).map_err(|error| unreadable(&error))?;
    if checksum != *expected || more > 0 {
        return Err(DAMAGED.into());
    }
    Ok(Snapshot { entries, marks: Marks(marks), as_of_ms })
}

const DAMAGED: &str = "it is damaged";

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DAMAGED.into(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// What goes through it is hashed.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Reading<T>(Hashed<T>);

impl<T: Read> Reading<T> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.0.inner.read_exact(bytes).map_err(|error| unreadable(&error))?;
        self.0.hash.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DAMAGED.into()),
        }
    }

    fn name(&mut self) -> Result<Vec<u8>, String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > MAX_NAME {
            return Err(DAMAGED.into());
        }
        let mut name = vec![0; length];
        self.fill(&mut name)?;
        Ok(name)
    }

    fn mark(&mut self) -> Result<Option<Mark>, String> {
        if !self.flag()? {
            return Ok(None);
        }
        let offset = i64::from_le_bytes(self.array()?);
        let timestamp_ms = i64::from_le_bytes(self.array()?);
        Ok(Some(Mark { offset, timestamp_ms, digest: self.array()? }))
    }
}

#[cfg(test)]
mod tests;
