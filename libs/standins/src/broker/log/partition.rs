//! A partition: its batches in a row of files, of which the last one is written to.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tansu_sans_io::{
    ErrorCode,
    record::{Record, deflated, inflated},
};

use super::{
    batch::{Head, placed},
    producers::{Producers, Verdict},
    segment::Segment,
};

/// From this length on a file is not written to any more, bytes.
const FULL: u64 = 16 << 20;

/// A partition.
#[derive(Debug)]
pub(in super::super) struct Partition {
    folder: PathBuf,
    /// In order. There is always a last one.
    segments: Vec<Segment>,
    producers: Producers,
    /// The offset up to which no key is there twice.
    compacted: i64,
}

impl Partition {
    /// Opens what is in a folder, which is made if it is not there.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let (mut bases, mut producers) = (Vec::new(), Producers::default());
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("log") => bases.extend(base(&path).map(|base| (base, path))),
                // What was to take the place of a file, and did not come to it.
                _ => fs::remove_file(path)?,
            }
        }
        bases.sort_unstable();
        let mut segments = Vec::with_capacity(bases.len() + 1);
        for (base, path) in bases {
            segments.push(Segment::open(path, base, |head| producers.note(head))?);
        }
        if segments.is_empty() {
            segments.push(Segment::create(&folder, 0)?);
        }
        Ok(Self { folder, segments, producers, compacted: 0 })
    }

    fn last(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// The offset of the next record.
    pub(in super::super) fn end(&self) -> i64 {
        self.segments.last().map_or(0, |last| last.end)
    }

    /// The offset of the oldest record there is; if there is none, the end.
    pub(in super::super) fn start(&self) -> io::Result<i64> {
        let Some(first) = self.segments.iter().find(|segment| segment.length > 0) else { return Ok(self.end()) };
        let (batches, _) = first.read(first.base, 0, true)?;
        Ok(batches.first().and_then(|batch| Head::read(batch)).map_or(first.base, |head| head.first))
    }

    /// Writes a batch; the offset of its first record. It is with the system then, and stays if this process is killed.
    ///
    /// # Errors
    /// It is not what its head says, its producer left one out, or the disk does not take it. Nothing was written.
    pub(in super::super) fn append(&mut self, batch: deflated::Batch) -> Result<i64, ErrorCode> {
        let bytes = placed(batch, self.end());
        let head = Head::read(&bytes).filter(|head| head.is_whole(&bytes)).ok_or(ErrorCode::CorruptMessage)?;
        if let Verdict::Again(offset) = self.producers.judge(&head)? {
            return Ok(offset);
        }
        let folder = self.folder.display().to_string();
        let failed = move |error: io::Error| {
            tracing::error!(%error, folder, "the embedded broker cannot write");
            ErrorCode::KafkaStorageError
        };
        if self.last().length >= FULL {
            self.roll().map_err(&failed)?;
        }
        self.last().append(&head, &bytes).map_err(failed)?;
        self.producers.note(&head);
        Ok(head.first)
    }

    fn roll(&mut self) -> io::Result<()> {
        let next = Segment::create(&self.folder, self.end())?;
        self.segments.push(next);
        Ok(())
    }

    /// The batches that hold records from an offset on, at most `room` bytes of them; if `one`, one of them however
    /// large it is. What is before the oldest record begins with that.
    pub(in super::super) fn read(&self, from: i64, room: usize, one: bool) -> io::Result<Vec<Bytes>> {
        let (mut found, mut left) = (Vec::new(), room);
        let holding = self.segments.partition_point(|segment| segment.end <= from);
        for segment in &self.segments[holding..] {
            let (more, is_all) = segment.read(from, left, one && found.is_empty())?;
            let bytes = more.iter().map(Bytes::len).sum::<usize>();
            found.extend(more);
            left = left.saturating_sub(bytes);
            if left == 0 || !is_all {
                break;
            }
        }
        Ok(found)
    }

    /// The offset and the time of the first record that is at or after a time, ms.
    pub(in super::super) fn since(&self, ms: i64) -> io::Result<Option<(i64, i64)>> {
        let young = |newest: i64| newest >= ms;
        for segment in self.segments.iter().filter(|s| s.times.is_some_and(|(_, newest)| young(newest))) {
            for batch in all(segment)? {
                let Some(head) = Head::read(&batch).filter(|head| young(head.newest_ms)) else { continue };
                let in_batch = inflate(&batch).and_then(|batch| {
                    let time = |record: &Record| batch.base_timestamp + record.timestamp_delta;
                    let record = batch.records.iter().find(|record| young(time(record)))?;
                    Some((head.first + i64::from(record.offset_delta), time(record)))
                });
                return Ok(Some(in_batch.unwrap_or((head.first, head.newest_ms))));
            }
        }
        Ok(None)
    }

    /// Removes the files all of whose records are older than a time, ms. (A file that is written to is closed when it is
    /// `FULL`, or when its first records have become too old.)
    pub(super) fn expire(&mut self, before_ms: i64) -> io::Result<()> {
        if self.last().times.is_some_and(|(oldest, _)| oldest < before_ms) {
            self.roll()?;
        }
        let last = self.segments.len() - 1;
        let gone = self.segments[..last].partition_point(|s| s.times.is_none_or(|(_, newest)| newest < before_ms));
        self.segments.drain(..gone).try_for_each(Segment::remove)
    }

    /// Leaves of each key the newest record, and of those without a value the ones that are younger than a time, ms.
    /// Offsets stay; what has no key is not touched.
    pub(super) fn compact(&mut self, gone_before_ms: i64) -> io::Result<()> {
        if self.compacted == self.end() {
            return Ok(());
        }
        if self.last().length > 0 {
            self.roll()?;
        }
        let closed = self.segments.len() - 1;
        let mut newest: HashMap<Bytes, i64> = HashMap::new();
        for segment in &self.segments[..closed] {
            for batch in all(segment)? {
                for (key, offset) in inflate(&batch).iter().flat_map(keys) {
                    newest.insert(key, offset);
                }
            }
        }
        for segment in &mut self.segments[..closed] {
            let before = all(segment)?;
            let mut after = Vec::with_capacity(before.len());
            for batch in &before {
                after.extend(kept(batch, &newest, gone_before_ms));
            }
            if before != after {
                segment.replace(&after)?;
            }
        }
        for n in (0..closed).rev() {
            if self.segments[n].length == 0 {
                self.segments.remove(n).remove()?;
            }
        }
        self.compacted = self.end();
        Ok(())
    }

    /// The files that a power cut could still take something from.
    pub(super) fn unsynced(&mut self) -> impl Iterator<Item = File> + '_ {
        self.segments.iter_mut().filter_map(Segment::unsynced)
    }
}

fn base(path: &Path) -> Option<i64> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn all(segment: &Segment) -> io::Result<Vec<Bytes>> {
    Ok(segment.read(segment.base, usize::try_from(segment.length).unwrap_or(usize::MAX), true)?.0)
}

/// `None`: it is packed in a way that is not understood here. It is kept as it is.
fn inflate(batch: &Bytes) -> Option<inflated::Batch> {
    inflated::Batch::try_from(deflated::Batch::try_from(batch.clone()).ok()?).ok()
}

fn keys(batch: &inflated::Batch) -> impl Iterator<Item = (Bytes, i64)> + '_ {
    let keyed = batch.records.iter().filter_map(|record| Some((record.key.clone()?, record.offset_delta)));
    keyed.map(|(key, delta)| (key, batch.base_offset + i64::from(delta)))
}

/// What is left of a batch; `None`: nothing.
fn kept(batch: &Bytes, newest: &HashMap<Bytes, i64>, gone_before_ms: i64) -> Option<Bytes> {
    let Some(mut opened) = inflate(batch) else { return Some(batch.clone()) };
    let (first, base, before) = (opened.base_offset, opened.base_timestamp, opened.records.len());
    opened.records.retain(|record| {
        let Some(key) = &record.key else { return true };
        let is_newest = newest.get(key).is_none_or(|offset| *offset == first + i64::from(record.offset_delta));
        is_newest && (record.value.is_some() || base + record.timestamp_delta >= gone_before_ms)
    });
    match opened.records.len() {
        0 => None,
        n if n == before => Some(batch.clone()),
        // What cannot be packed again stays as it was.
        _ => Some(deflated::Batch::try_from(opened).map_or_else(|_| batch.clone(), |left| placed(left, first))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::batch::tests::batch, *};

    const NONE: (i64, i16, i32) = (-1, -1, -1);

    fn open(dir: &Path) -> Partition {
        Partition::open(dir.join("0")).unwrap()
    }

    fn records(partition: &Partition) -> Vec<(i64, String)> {
        let mut found = Vec::new();
        for batch in partition.read(0, usize::MAX / 4, false).unwrap() {
            let batch = inflate(&batch).unwrap();
            found.extend(batch.records.iter().map(|record| {
                let value = record.value.as_deref().unwrap_or_default();
                (batch.base_offset + i64::from(record.offset_delta), String::from_utf8(value.to_vec()).unwrap())
            }));
        }
        found
    }

    fn said(records: &[(i64, &str)]) -> Vec<(i64, String)> {
        records.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
    }

    #[test]
    fn what_was_written_is_read_from_each_offset_on_also_after_it_was_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        for n in 0..3000 {
            let value = format!("{n} {}", "x".repeat(n % 300));
            let at = partition.append(batch(&[("k", &value, 7), ("k", "second", 8)], NONE)).unwrap();
            assert_eq!(at, i64::try_from(n).unwrap() * 2);
        }
        for again in [false, true] {
            if again {
                partition = open(dir.path());
            }
            assert_eq!((partition.start().unwrap(), partition.end()), (0, 6000));
            for from in (0..6000).step_by(61) {
                let head = |batch: &Bytes| Head::read(batch).unwrap();
                let found: Vec<_> = partition.read(from, 2000, true).unwrap().iter().map(head).collect();
                assert!(found[0].first <= from && from <= found[0].last, "{from}: {found:?}");
                assert!(found.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
                assert!(found.iter().map(|head| head.length).sum::<usize>() <= 2000);
            }
            assert_eq!(partition.read(6000, 2000, true).unwrap(), Vec::<Bytes>::new());
            assert_eq!(partition.read(0, 10, false).unwrap(), Vec::<Bytes>::new(), "no room");
            assert_eq!(partition.read(0, 10, true).unwrap().len(), 1, "one, however large");
        }
        assert_eq!(partition.append(batch(&[("k", "v", 9)], NONE)), Ok(6000));
    }

    /// A process that is killed in the midst of a write leaves a part of a batch.
    #[test]
    fn a_torn_end_goes_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        for value in ["a", "b", "c"] {
            partition.append(batch(&[("k", value, 7)], NONE)).unwrap();
        }
        let file = dir.path().join("0").join(format!("{:020}.log", 0));
        let whole = fs::read(&file).unwrap();
        let two = whole.len() / 3 * 2;
        for cut in two..whole.len() {
            fs::write(&file, &whole[..cut]).unwrap();
            let partition = open(dir.path());
            assert_eq!((records(&partition), partition.end()), (said(&[(0, "a"), (1, "b")]), 2), "{cut}");
            assert_eq!(fs::metadata(&file).unwrap().len(), two as u64);
        }
        // A power cut may leave the length of what was written, and not all of its bytes.
        for spoiled in (two + 20..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[spoiled] ^= 0xff;
            fs::write(&file, bytes).unwrap();
            assert_eq!(records(&open(dir.path())), said(&[(0, "a"), (1, "b")]), "{spoiled}");
        }
        let mut zeros = whole[..two].to_vec();
        zeros.extend([0; 5000]);
        fs::write(&file, zeros).unwrap();
        let mut partition = open(dir.path());
        assert_eq!(partition.append(batch(&[("k", "d", 7)], NONE)), Ok(2));
        assert_eq!(records(&open(dir.path())), said(&[(0, "a"), (1, "b"), (2, "d")]));
    }

    #[test]
    fn a_batch_that_is_sent_again_is_there_once_also_after_it_was_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        assert_eq!(partition.append(batch(&[("k", "a", 7)], (5, 0, 0))), Ok(0));
        assert_eq!(partition.append(batch(&[("k", "b", 7)], (5, 0, 1))), Ok(1));
        partition = open(dir.path());
        assert_eq!(partition.append(batch(&[("k", "b", 7)], (5, 0, 1))), Ok(1));
        assert_eq!(partition.append(batch(&[("k", "d", 7)], (5, 0, 3))), Err(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(records(&partition), said(&[(0, "a"), (1, "b")]));
    }

    #[test]
    fn what_is_too_old_goes_and_the_end_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        partition.append(batch(&[("k", "a", 100)], NONE)).unwrap();
        partition.append(batch(&[("k", "b", 200)], NONE)).unwrap();
        partition.expire(150).unwrap();
        assert_eq!(records(&partition), said(&[(0, "a"), (1, "b")]), "a file goes when all of it is too old");
        partition.append(batch(&[("k", "c", 300)], NONE)).unwrap();
        partition.expire(250).unwrap();
        assert_eq!((records(&partition), partition.start().unwrap()), (said(&[(2, "c")]), 2));
        partition.expire(400).unwrap();
        let again = open(dir.path());
        assert_eq!((records(&again), again.start().unwrap(), again.end()), (vec![], 3, 3));
        assert_eq!(again.read(0, 1000, true).unwrap(), Vec::<Bytes>::new());
    }

    #[test]
    fn a_record_is_found_by_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        partition.append(batch(&[("k", "a", 100), ("k", "b", 200)], NONE)).unwrap();
        partition.append(batch(&[("k", "c", 150), ("k", "d", 300)], NONE)).unwrap();
        let found = [0, 100, 101, 200, 201, 300, 301].map(|ms| partition.since(ms).unwrap());
        let (a, b, d) = (Some((0, 100)), Some((1, 200)), Some((3, 300)));
        assert_eq!(found, [a, a, b, b, d, d, None]);
    }

    #[test]
    fn compaction_leaves_the_newest_of_each_key_where_it_stood() {
        let dir = tempfile::tempdir().unwrap();
        let mut partition = open(dir.path());
        partition.append(batch(&[("a", "1", 100), ("b", "1", 100), ("", "keyless", 100)], NONE)).unwrap();
        partition.append(batch(&[("a", "2", 100), ("c", "", 100), ("d", "", 900)], NONE)).unwrap();
        partition.append(batch(&[("b", "2", 100)], NONE)).unwrap();
        partition.compact(500).unwrap();
        let left = said(&[(2, "keyless"), (3, "2"), (5, ""), (6, "2")]);
        assert_eq!(records(&partition), left, "c is gone for good, d is still told");
        partition.append(batch(&[("b", "3", 100)], NONE)).unwrap();
        partition.compact(1000).unwrap();
        assert_eq!(records(&partition), said(&[(2, "keyless"), (3, "2"), (7, "3")]));
        for from in 0..8 {
            let found = partition.read(from, 1000, false).unwrap();
            assert!(
                found.iter().any(|batch| Head::read(batch).unwrap().last == 7),
                "{from}: behind each hole it goes on"
            );
        }
        partition = open(dir.path());
        assert_eq!((records(&partition).len(), partition.end()), (3, 8));
        assert_eq!(partition.append(batch(&[("b", "4", 100)], NONE)), Ok(8));
    }

    #[test]
    fn a_replacement_that_was_not_finished_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).append(batch(&[("a", "1", 100)], NONE)).unwrap();
        fs::write(dir.path().join("0").join(format!("{:020}.new", 0)), "half").unwrap();
        assert_eq!(records(&open(dir.path())), said(&[(0, "1")]));
    }
}
