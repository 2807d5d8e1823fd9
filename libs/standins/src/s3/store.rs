//! The folder of objects: `buckets/{bucket}/{hash of the key}`, and `uploads/` for what is on its way.
//!
//! - What a bucket's index names is whole, has its name, and both are on the disk. Nothing else is shown to anybody.
//! - Changes of one key happen one after the other, each with the folder's sync before the next: whoever is told that a
//!   key is taken is told of something that stays.
//! - One process at a time: the index is read once, at the start.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    listing::{Index, Listed, Query, Row, page},
    object::{About, Said, Upload, file_name},
};

/// How long the last owner of the folder may take to end.
const LOCK_BOUND: Duration = Duration::from_secs(5);
/// How many changes may go on at once in a bucket: keys share turns.
const TURNS: usize = 64;

/// All buckets.
pub(super) struct Store {
    folder: PathBuf,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
    _only_one: File,
}

/// One bucket.
pub(super) struct Bucket {
    folder: PathBuf,
    uploads: PathBuf,
    index: Mutex<Index>,
    turns: Vec<Mutex<()>>,
}

impl Store {
    /// Takes the folder, removes what a crash left on its way, and reads what is there.
    ///
    /// # Errors
    /// A sentence: another one has the folder, or it cannot be used.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let cannot = |e: io::Error| format!("the folder of objects {} cannot be used: {e}", folder.display());
        make_folder(folder).map_err(cannot)?;
        let only_one = lock(&folder.join("lock")).map_err(cannot)?;
        let (uploads, buckets) = (folder.join("uploads"), folder.join("buckets"));
        match fs::remove_dir_all(&uploads) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
            Ok(()) | Err(_) => {}
        }
        make_folder(&uploads).map_err(cannot)?;
        make_folder(&buckets).map_err(cannot)?;
        sync(folder).map_err(cannot)?;
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&buckets).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            if let (true, Ok(name)) = (entry.path().is_dir(), entry.file_name().into_string()) {
                found.insert(name, Arc::new(Bucket::open(entry.path(), uploads.clone()).map_err(cannot)?));
            }
        }
        Ok(Self { folder: folder.to_owned(), buckets: Mutex::new(found), _only_one: only_one })
    }

    pub(super) fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        held(&self.buckets).get(name).cloned()
    }

    /// Whether it was made: it may be there. The name is one that S3 allows, and so is no path.
    pub(super) fn make_bucket(&self, name: &str) -> io::Result<bool> {
        let mut buckets = held(&self.buckets);
        if buckets.contains_key(name) {
            return Ok(false);
        }
        let all = self.folder.join("buckets");
        make_folder(&all.join(name))?;
        sync(&all)?;
        let bucket = Bucket::open(all.join(name), self.folder.join("uploads"))?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(true)
    }
}

impl Bucket {
    fn open(folder: PathBuf, uploads: PathBuf) -> io::Result<Self> {
        let mut index = Index::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match File::open(&path).and_then(|file| About::read(&file)) {
                Ok(about) if path.file_name().is_some_and(|name| *name == *file_name(&about.key)) => {
                    index.insert(about.key.clone().into_bytes(), listed(&about));
                }
                // No crash leaves such a file. It is not shown, and stays until somebody puts its key again.
                Ok(_) => tracing::warn!(path = %path.display(), "this object's file was renamed: it is left out"),
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "this is no object: it is left out"),
            }
        }
        let turns = std::iter::repeat_with(Mutex::default).take(TURNS).collect();
        Ok(Self { folder, uploads, index: Mutex::new(index), turns })
    }

    pub(super) fn begin(&self) -> io::Result<Upload> {
        Upload::begin(&self.uploads)
    }

    /// Puts what was uploaded under its key: when this answers, it is on the disk. `None` if it must be `new` and the key
    /// is taken.
    pub(super) fn put(&self, upload: Upload, key: String, said: Said, new: bool) -> io::Result<Option<About>> {
        let (temp, about) = upload.finish(key, said)?;
        let name = file_name(&about.key);
        let _turn = self.turn(&name);
        if new && held(&self.index).contains_key(about.key.as_bytes()) {
            return Ok(None);
        }
        temp.persist(self.folder.join(name)).map_err(|e| e.error)?;
        let synced = sync(&self.folder);
        // Even if the disk is failing: the index says what the folder holds.
        held(&self.index).insert(about.key.clone().into_bytes(), listed(&about));
        synced.map(|()| Some(about))
    }

    /// An object's file, which begins with its bytes.
    pub(super) fn read(&self, key: &str) -> io::Result<Option<(File, About)>> {
        if !held(&self.index).contains_key(key.as_bytes()) {
            return Ok(None);
        }
        match File::open(self.folder.join(file_name(key))) {
            // It has just been removed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
            Ok(file) => About::read(&file).map(|about| Some((file, about))),
        }
    }

    /// Removes objects; what is not there is no error.
    pub(super) fn remove(&self, keys: &[String]) -> io::Result<()> {
        for key in keys {
            let name = file_name(key);
            let _turn = self.turn(&name);
            match fs::remove_file(self.folder.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => held(&self.index).remove(key.as_bytes()),
            };
        }
        sync(&self.folder)
    }

    pub(super) fn list(&self, query: &Query<'_>) -> (Vec<Row>, Option<Vec<u8>>) {
        page(&held(&self.index), query)
    }

    /// By the name's first two digits: hashes are spread evenly.
    fn turn(&self, name: &str) -> MutexGuard<'_, ()> {
        let turn = usize::from_str_radix(&name[..2], 16).unwrap_or_default();
        held(&self.turns[turn % TURNS])
    }
}

fn listed(about: &About) -> Listed {
    Listed { bytes: about.bytes, put_at: about.put_at, etag: about.sha256.clone() }
}

/// Nothing that is held here is left half-changed by a panic.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For its owner alone: clips are nobody else's.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Brings a folder's names to the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Held until dropped. A server that was told to end may still be at its last requests.
fn lock(path: &Path) -> io::Result<File> {
    let (file, began) = (File::create(path)?, Instant::now());
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(e)) => return Err(e),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() > LOCK_BOUND => {
                return Err(io::Error::other("another server has it"));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn put(bucket: &Bucket, key: &str, bytes: &[u8], new: bool) -> Option<About> {
        let mut upload = bucket.begin().unwrap();
        upload.write(bytes).unwrap();
        bucket.put(upload, key.to_owned(), Said::default(), new).unwrap()
    }

    fn keys(bucket: &Bucket) -> Vec<String> {
        let query = Query { prefix: "", delimiter: None, from: Vec::new(), limit: 1000 };
        let rows = bucket.list(&query).0.into_iter();
        rows.map(|row| match row {
            Row::Object(key, _) | Row::Prefix(key) => key,
        })
        .collect()
    }

    #[test]
    fn a_store_that_is_opened_again_holds_what_was_put_and_nothing_that_was_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.make_bucket("one").unwrap() && !store.make_bucket("one").unwrap());
        let bucket = store.bucket("one").unwrap();
        let about = put(&bucket, "a", b"1", true).unwrap();
        assert_eq!(put(&bucket, "a", b"2", true), None);
        put(&bucket, "b", b"2", false).unwrap();
        put(&bucket, "c", b"3", false).unwrap();
        bucket.remove(&["b".to_owned(), "never".to_owned()]).unwrap();
        // As a crash leaves it.
        std::mem::forget(bucket.begin().unwrap());
        drop((store, bucket));

        let store = Store::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
        let bucket = store.bucket("one").unwrap();
        assert_eq!(keys(&bucket), ["a", "c"]);
        assert_eq!(bucket.read("a").unwrap().unwrap().1, about);
        assert!(bucket.read("b").unwrap().is_none());
        assert!(store.bucket("two").is_none());
    }

    #[test]
    fn a_file_that_is_no_object_or_another_keys_is_not_shown_and_its_key_can_be_put() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.make_bucket("one").unwrap();
        let bucket = store.bucket("one").unwrap();
        put(&bucket, "a", b"1", true).unwrap();
        let of = |key| dir.path().join("buckets/one").join(file_name(key));
        fs::rename(of("a"), of("b")).unwrap();
        fs::write(of("c"), "half").unwrap();
        drop((store, bucket));

        let bucket = Store::open(dir.path()).unwrap().bucket("one").unwrap();
        assert_eq!(keys(&bucket), [""; 0]);
        for key in ["a", "b", "c"] {
            put(&bucket, key, b"2", true).unwrap();
        }
        assert_eq!(keys(&bucket), ["a", "b", "c"]);
    }

    #[test]
    fn a_folder_that_another_one_has_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _store = Store::open(dir.path()).unwrap();
        let refused = Store::open(dir.path()).err().unwrap();
        assert!(refused.ends_with("another server has it"), "{refused}");
    }
}
