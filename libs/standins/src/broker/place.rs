//! Where a broker's data stand: one folder, of one process at a time, and the id of the cluster in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// The file of the engine.
const DATA: &str = "broker.db";
/// The file that is locked, and holds the id of the cluster.
const CLUSTER: &str = "cluster";

/// A folder that is this broker's. While it lives no other process gets it.
pub(super) struct Place {
    /// The id of the cluster: made with the folder, and the same for as long as the folder stands.
    pub(super) cluster: String,
    /// What the engine is told to open.
    pub(super) storage: Url,
    /// What the engine writes first; it goes when the last of its connections is closed.
    journal: PathBuf,
    /// Another way to the folder, where its own name cannot stand in a URL.
    _way: Option<TempDir>,
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
        let (storage, way) = address(&folder)?;
        let journal = folder.join(format!("{DATA}-wal"));
        Ok(Self { cluster, storage, journal, _way: way, _lock: lock })
    }

    /// Whether the engine has the data open.
    pub(super) fn is_open(&self) -> bool {
        self.journal.exists()
    }
}

/// The id that the folder has; a new one where there are no data yet. Everything in the engine is kept under it: with
/// another one the topics would be gone.
fn cluster(file: &mut File, folder: &Path) -> Result<String, String> {
    let refused = |error: io::Error| format!("{} cannot be used: {error}", folder.join(CLUSTER).display());
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(refused)?;
    if let Ok(id) = Uuid::parse_str(text.trim()) {
        return Ok(id.to_string());
    }
    if folder.join(DATA).exists() {
        return Err(format!("{} has data, and no id of a cluster in {CLUSTER}", folder.display()));
    }
    let id = Uuid::new_v4().to_string();
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(id.as_bytes()));
    written.and_then(|()| file.sync_all()).map_err(refused)?;
    // The engine makes its file with the rights of any other: here it is this owner's alone from the beginning.
    let data = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(DATA));
    data.and_then(|data| data.sync_all()).and_then(|()| File::open(folder)?.sync_all()).map_err(refused)?;
    Ok(id)
}

/// The URL of the data. The engine puts a URL's path behind the working directory, but for one slash that it takes
/// off: with two of them what is left is an absolute path, which stays what it is. It takes no escapes back, so a
/// folder whose name needs some is reached by a link in a folder whose name needs none.
fn address(folder: &Path) -> Result<(Url, Option<TempDir>), String> {
    if let Some(url) = plain(&folder.join(DATA)) {
        return Ok((url, None));
    }
    let cannot = |error: io::Error| format!("no way to {} can be made: {error}", folder.display());
    let way = tempfile::Builder::new().prefix("porchlight-broker-").tempdir().map_err(cannot)?;
    let link: PathBuf = fs::canonicalize(way.path()).map_err(cannot)?.join("data");
    symlink(folder, &link).map_err(cannot)?;
    match plain(&link.join(DATA)) {
        Some(url) => Ok((url, Some(way))),
        None => Err(format!("neither {} nor {} can stand in a URL", folder.display(), link.display())),
    }
}

/// The URL of an absolute path, if the path comes out of it as it went in.
fn plain(path: &Path) -> Option<Url> {
    let path = path.to_str()?;
    let url = Url::parse(&format!("sqlite:///{path}")).ok()?;
    (url.domain().is_none() && url.query().is_none() && url.path().strip_prefix('/') == Some(path)).then_some(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_absolute_path_comes_out_of_its_url_as_it_went_in_or_a_link_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (url, way) = address(dir.path()).unwrap();
        assert!(way.is_none());
        assert_eq!(url.path(), format!("/{}/{DATA}", dir.path().display()));
        for name in ["with space", "wíth áccent", "with#hash", "with?question", "with%25percent"] {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            let (url, _way) = address(&folder).unwrap();
            let data = Path::new(url.path().strip_prefix('/').unwrap());
            assert_eq!(data.parent().unwrap().canonicalize().unwrap(), folder.canonicalize().unwrap(), "{name}");
        }
    }

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
        fs::write(dir.path().join(CLUSTER), "").unwrap();
        let lost = Place::take(dir.path()).err().unwrap();
        assert!(lost.contains("no id of a cluster"), "{lost}");
    }
}
