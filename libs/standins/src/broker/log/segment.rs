//! One file of a partition: batches, one behind the other, as they were sent.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::batch::{HEAD, Head};

/// A place is remembered about every so many bytes: whoever looks for an offset reads so much at most in vain.
const MARK_EVERY: u64 = 16 << 10;

/// A file that is written at its end.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// The offset of the first record that it may have, by which it is named.
    pub(super) base: i64,
    /// The offset of the next record.
    pub(super) end: i64,
    pub(super) length: u64,
    /// The time of its oldest batch and of its youngest record, ms; `None`: it has none.
    pub(super) times: Option<(i64, i64)>,
    /// The first offset and the place of some batches.
    marks: Vec<(i64, u64)>,
    unsynced: bool,
}

impl Segment {
    /// Makes an empty one. A power cut leaves it out or empty.
    pub(super) fn create(folder: &Path, base: i64) -> io::Result<Self> {
        let path = folder.join(format!("{base:020}.log"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        File::open(folder)?.sync_all()?;
        Ok(Self::of(path, file, base))
    }

    fn of(path: PathBuf, file: File, base: i64) -> Self {
        Self { path, file, base, end: base, length: 0, times: None, marks: Vec::new(), unsynced: false }
    }

    /// Reads what is there. A process or a machine that ended in the midst of a batch leaves a part of it, which was not
    /// acknowledged and goes.
    pub(super) fn open(path: PathBuf, base: i64, mut each: impl FnMut(&Head)) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let found = file.metadata()?.len();
        let mut segment = Self::of(path, file.try_clone()?, base);
        let (mut reader, mut batch) = (BufReader::with_capacity(1 << 20, file), Vec::new());
        loop {
            batch.resize(HEAD, 0);
            if !fill(&mut reader, &mut batch)? {
                break;
            }
            let Some(head) = Head::read(&batch).filter(|head| head.first >= segment.end) else { break };
            if segment.length + head.length as u64 > found {
                break;
            }
            batch.resize(head.length, 0);
            if !fill(&mut reader, &mut batch[HEAD..])? || !head.is_whole(&batch) {
                break;
            }
            segment.note(&head);
            each(&head);
        }
        if segment.length < found {
            let (path, lost) = (segment.path.display(), found - segment.length);
            tracing::warn!(%path, lost, "the end of a log was not whole, and is left out");
            segment.file.set_len(segment.length)?;
        }
        Ok(segment)
    }

    fn note(&mut self, head: &Head) {
        if self.marks.last().is_none_or(|(_, at)| self.length - at >= MARK_EVERY) {
            self.marks.push((head.first, self.length));
        }
        let (oldest, newest) = self.times.unwrap_or((head.newest_ms, head.newest_ms));
        self.times = Some((oldest.min(head.newest_ms), newest.max(head.newest_ms)));
        self.length += head.length as u64;
        self.end = head.last + 1;
    }

    /// Writes a batch behind all others. It is with the system afterwards: it stays if this process is killed.
    pub(super) fn append(&mut self, head: &Head, batch: &[u8]) -> io::Result<()> {
        // Where it goes is said, so that what a failed write left is written over by the next.
        self.file.write_all_at(batch, self.length)?;
        self.unsynced = true;
        self.note(head);
        Ok(())
    }

    /// The batches that hold records from an offset on, at most `room` bytes of them; if `one`, one of them however
    /// large it is. And whether there is no further one in this file.
    pub(super) fn read(&self, from: i64, room: usize, one: bool) -> io::Result<(Vec<Bytes>, bool)> {
        let mark = self.marks.partition_point(|(first, _)| *first <= from).saturating_sub(1);
        let mut at = self.marks.get(mark).map_or(self.length, |(_, at)| *at);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut ahead = self.chunk(at, room.saturating_add(usize::try_from(MARK_EVERY).unwrap_or_default()))?;
        while at < self.length {
            if ahead.len() < HEAD {
                ahead = self.chunk(at, HEAD)?;
            }
            let head = Head::read(&ahead).ok_or_else(|| io::Error::other("a batch is not where it was written"))?;
            if head.last >= from {
                if bytes + head.length > room && !(one && found.is_empty()) {
                    break;
                }
                if ahead.len() < head.length {
                    ahead = self.chunk(at, head.length)?;
                }
                if ahead.len() < head.length {
                    return Err(io::Error::other("a batch is not as long as it was written"));
                }
                found.push(ahead.slice(..head.length));
                bytes += head.length;
            }
            at += head.length as u64;
            ahead = ahead.slice(head.length.min(ahead.len())..);
        }
        Ok((found, at >= self.length))
    }

    fn chunk(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.length - at).unwrap_or(usize::MAX).min(most);
        let mut chunk = vec![0; length];
        self.file.read_exact_at(&mut chunk, at)?;
        Ok(chunk.into())
    }

    /// Puts other batches into the place of all that are there. Whenever this ends, either those or these are there.
    pub(super) fn replace(&mut self, batches: &[Bytes]) -> io::Result<()> {
        let written = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&written)?;
        for batch in batches {
            file.write_all(batch)?;
        }
        file.sync_all()?;
        fs::rename(&written, &self.path)?;
        let end = self.end;
        *self = Self::of(std::mem::take(&mut self.path), file, self.base);
        for batch in batches {
            self.note(&Head::read(batch).ok_or_else(|| io::Error::other("a batch without a head"))?);
        }
        self.end = end;
        Ok(())
    }

    /// What must be on the disk so that a power cut loses nothing up to here.
    pub(super) fn unsynced(&mut self) -> Option<File> {
        std::mem::take(&mut self.unsynced).then(|| self.file.try_clone().ok()).flatten()
    }

    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

/// Whether there was enough.
fn fill(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
