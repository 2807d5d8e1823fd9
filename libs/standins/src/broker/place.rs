//! Where a broker's data stand: one folder, of one process at a time, and the id of the cluster in it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// The folder of the log in it.
const LOG: &str = "log";
/// The file that is locked, and holds the id of the cluster.
const CLUSTER: &str = "cluster";

/// A folder that is this broker's. While it lives no other process gets it.
pub(super) struct Place {
    /// The id of the cluster: made with the folder, and the same for as long as the folder stands.
    pub(super) cluster: String,
    /// Where the log is.
    pub(super) log: PathBuf,
    /// Held, not read: the system lets go of it however the process ends.
    _lock: File,
}

impl Place {
    /// Takes the folder, which is made (for its owner alone) if it is not there.
    ///
    /// # Errors
    /// A sentence: another process has it, it cannot be used, or the id of its cluster is gone.
    pub(super) fn take(folder: &Path) -> Result<Self, String> {
        let refused = |error: io::Error| format!("{} cannot be used: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        let folder = folder.canonicalize().map_err(refused)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(folder.join(CLUSTER))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{} is in use: give each broker a folder of its own", folder.display()));
            }
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        let cluster = cluster(&mut lock, &folder)?;
        let log = folder.join(LOG);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&log);
        made.and_then(|()| File::open(&folder)?.sync_all()).map_err(refused)?;
        Ok(Self { cluster, log, _lock: lock })
    }
}

/// The id that the folder has; a new one where there are no data yet. Whoever has read the log knows it by this id: with
/// another one it would be another log.
fn cluster(file: &mut File, folder: &Path) -> Result<String, String> {
    let refused = |error: io::Error| format!("{} cannot be used: {error}", folder.join(CLUSTER).display());
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(refused)?;
    if let Ok(id) = Uuid::parse_str(text.trim()) {
        return Ok(id.to_string());
    }
    if folder.join(LOG).read_dir().is_ok_and(|mut files| files.next().is_some()) {
        return Err(format!("{} has data, and no id of a cluster in {CLUSTER}", folder.display()));
    }
    let id = Uuid::new_v4().to_string();
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(id.as_bytes()));
    written.and_then(|()| file.sync_all()).map_err(refused)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cluster_keeps_its_id_and_two_never_have_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Place::take(dir.path()).unwrap();
        let id = first.cluster.clone();
        let second = Place::take(dir.path()).err().unwrap();
        assert!(second.contains("give each broker a folder of its own"), "{second}");
        drop(first);
        assert_eq!(Place::take(dir.path()).unwrap().cluster, id);
        assert_ne!(Place::take(&dir.path().join("other")).unwrap().cluster, id);
        std::fs::write(dir.path().join(LOG).join("topics.json"), "").unwrap();
        std::fs::write(dir.path().join(CLUSTER), "").unwrap();
        let lost = Place::take(dir.path()).err().unwrap();
        assert!(lost.contains("no id of a cluster"), "{lost}");
    }
}
