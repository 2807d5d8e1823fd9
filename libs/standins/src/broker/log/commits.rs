//! What the groups have committed: in memory, and in a journal of a line each.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The journal is written anew when it has so many lines, and four times as many as there are commits.
const LONG: usize = 10_000;

/// An offset that a group has committed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in super::super) struct Commit {
    pub(in super::super) group: String,
    /// The id of the topic: one that is made again under the same name is another one.
    pub(in super::super) topic: Uuid,
    pub(in super::super) partition: i32,
    pub(in super::super) offset: i64,
    /// Whatever the client wants to keep with it.
    pub(in super::super) metadata: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Commits {
    path: PathBuf,
    file: File,
    lines: usize,
    newest: BTreeMap<(String, Uuid, i32), Commit>,
}

impl Commits {
    /// Reads the journal, and leaves out those of topics that are gone. A last line that is not whole was not
    /// acknowledged.
    pub(super) fn open(path: PathBuf, is_there: impl Fn(Uuid) -> bool) -> io::Result<Self> {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut newest = BTreeMap::new();
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let commit: Commit = serde_json::from_slice(line)?;
            if is_there(commit.topic) {
                newest.insert(key(&commit), commit);
            }
        }
        let (file, lines) = write(&path, newest.values())?;
        Ok(Self { path, file, lines, newest })
    }

    /// Keeps these. They are with the system afterwards, and stay if this process is killed.
    pub(super) fn keep(&mut self, commits: Vec<Commit>) -> io::Result<()> {
        let lines = lines(commits.iter())?;
        let length = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&lines) {
            // Half a line would spoil the next one.
            self.file.set_len(length)?;
            return Err(error);
        }
        self.lines += commits.len();
        self.newest.extend(commits.into_iter().map(|commit| (key(&commit), commit)));
        if self.lines > LONG.max(self.newest.len() * 4) {
            (self.file, self.lines) = write(&self.path, self.newest.values())?;
        }
        Ok(())
    }

    /// What a group has committed of a partition.
    pub(super) fn of(&self, group: &str, topic: Uuid, partition: i32) -> Option<&Commit> {
        self.newest.get(&(group.to_owned(), topic, partition))
    }

    /// All that a group has committed.
    pub(super) fn all_of(&self, group: &str) -> Vec<Commit> {
        self.newest.values().filter(|commit| commit.group == group).cloned().collect()
    }

    /// A topic is gone. In the journal its commits are left out the next time it is read.
    pub(super) fn forget(&mut self, topic: Uuid) {
        self.newest.retain(|(_, of, _), _| *of != topic);
    }
}

fn key(commit: &Commit) -> (String, Uuid, i32) {
    (commit.group.clone(), commit.topic, commit.partition)
}

fn lines<'a>(commits: impl Iterator<Item = &'a Commit>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for commit in commits {
        serde_json::to_writer(&mut lines, commit)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Writes the journal anew.
fn write<'a>(path: &Path, commits: impl Iterator<Item = &'a Commit> + Clone) -> io::Result<(File, usize)> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&new)?;
    file.set_len(0)?;
    file.write_all(&lines(commits.clone())?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok((file, commits.count()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn commit(group: &str, topic: u128, offset: i64) -> Commit {
        Commit { group: group.into(), topic: Uuid::from_u128(topic), partition: 0, offset, metadata: None }
    }

    #[test]
    fn the_newest_of_each_stays_whatever_happens_to_the_process_and_the_journal_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commits");
        let open = || Commits::open(path.clone(), |topic| topic.as_u128() != 9).unwrap();
        let mut commits = open();
        for offset in 0..30_000 {
            commits.keep(vec![commit("g", 1, offset), commit("h", 1, -offset)]).unwrap();
        }
        commits.keep(vec![commit("g", 9, 5)]).unwrap();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONG + 2, "{lines}");
        // Killed in the midst of a line.
        commits.file.write_all(b"{\"group\":\"g\",\"top").unwrap();
        let again = open();
        assert_eq!(again.of("g", Uuid::from_u128(1), 0).map(|c| c.offset), Some(29_999));
        assert_eq!(again.all_of("h").len(), 1);
        assert_eq!(again.of("g", Uuid::from_u128(9), 0), None, "its topic is gone");
        assert_eq!(again.of("g", Uuid::from_u128(1), 1), None);
    }
}
