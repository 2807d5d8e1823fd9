//! Where a table's snapshot stands on disk: one file, whole or not there, of one process at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

const BUFFER_BYTES: usize = 1 << 18;

/// The place of one table's snapshot. While it lives no other process gets the same one.
pub(super) struct Folder {
    folder: PathBuf,
    file: PathBuf,
    temporary: PathBuf,
    /// Held, not read: the system lets go of it however the process ends.
    _lock: File,
}

impl Folder {
    /// Of the table of `topic` in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be used: a sentence.
    pub(super) fn claim(folder: &Path, topic: &str) -> Result<Self, String> {
        let path = |extension: &str| folder.join(format!("{topic}.{extension}"));
        let refused = |error: io::Error| format!("{} cannot be used: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path("lock"));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{} is in use: give each process a folder of its own", folder.display()));
            }
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        Ok(Self { folder: folder.to_owned(), file: path("snapshot"), temporary: path("tmp"), _lock: lock })
    }

    /// The snapshot, if there is one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(&self) -> io::Result<Option<BufReader<File>>> {
        match File::open(&self.file) {
            Ok(file) => Ok(Some(BufReader::with_capacity(BUFFER_BYTES, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a new snapshot in the place of the last one, once it is whole and on the disk. Only its owner may read it.
    ///
    /// # Errors
    /// The system's, or those of `write`: the last snapshot stays.
    pub(super) fn replace(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        let _ = fs::remove_file(&self.temporary);
        let replaced = self.write_and_rename(write);
        if replaced.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        replaced
    }

    fn write_and_rename(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.temporary)?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.file)?;
        // The name, too, is on the disk only after this.
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{io::Read as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn text(folder: &Folder) -> String {
        let mut text = String::new();
        folder.open().unwrap().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_snapshot_is_replaced_whole_or_not_at_all_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("made/here");
        let folder = Folder::claim(&below, "t-devices.v1").unwrap();
        assert!(folder.open().unwrap().is_none());
        folder.replace(|to| to.write_all(b"one")).unwrap();
        assert_eq!(text(&folder), "one");
        let failed = folder.replace(|to| to.write_all(b"tw").and(Err(io::Error::other("no disk"))));
        assert_eq!((failed.unwrap_err().to_string(), text(&folder)), ("no disk".into(), "one".into()));
        // What a killed process left behind is in nobody's way.
        fs::write(&folder.temporary, "half").unwrap();
        folder.replace(|to| to.write_all(b"two")).unwrap();
        assert_eq!(text(&folder), "two");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.file), mode(&below)), (0o600, 0o700));
        assert!(!folder.temporary.exists());
    }

    #[test]
    fn two_never_have_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::claim(dir.path(), "devices.v1").unwrap();
        let second = Folder::claim(dir.path(), "devices.v1").err().unwrap();
        assert!(second.contains("give each process a folder of its own"), "{second}");
        Folder::claim(dir.path(), "neighborhoods.v1").unwrap();
        drop(first);
        Folder::claim(dir.path(), "devices.v1").unwrap();
    }
}
