//! The folder: who has it, and what format it is of.
//!
//! `lock` is locked while a process has the folder open; `format` names the format, and is written last when a folder is
//! made, so that one without it holds nothing that was ever answered; `db` is the engine's.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use porchlight_domain::Clock;

use super::{core::Core, disk::Disk};
use crate::StoreError;

/// The format of keys and rows that this version reads and writes.
pub(super) const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const FORMAT_WORD: &str = "porchlight embedded store, format ";
const LOCK_FILE: &str = "lock";
const DATABASE: &str = "db";
/// How long to wait for a folder that another store still has: one of this process that was dropped a moment ago, or a
/// process that is dying.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The stores of this process, by folder: services of one process share one.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Core>>>> = LazyLock::new(Mutex::default);

/// What may become of a folder in which there is no store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// One is made.
    Make,
    /// It is refused.
    Refuse,
}

/// Opens the store of a folder, or joins those who have it open in this process; and says whether it was made just now.
pub(super) fn open(folder: &Path, missing: Missing, clock: Arc<dyn Clock>) -> Result<(Arc<Core>, bool), StoreError> {
    let said = |error: &io::Error| unavailable(folder, error);
    match missing {
        Missing::Make => fs::create_dir_all(folder).map_err(|e| said(&e))?,
        Missing::Refuse if !folder.is_dir() => return Err(no_store(folder)),
        Missing::Refuse => {}
    }
    let folder = folder.canonicalize().map_err(|e| said(&e))?;
    // Held while it is opened, so that of two who come at once the second joins the first.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(core) = open.get(&folder).and_then(Weak::upgrade) {
        return Ok((core, false));
    }
    let (disk, made) = open_disk(&folder, missing, clock)?;
    let core = Arc::new(Core::start(disk).map_err(|e| unavailable(&folder, &e))?);
    open.retain(|_, core| core.strong_count() > 0);
    open.insert(folder, Arc::downgrade(&core));
    Ok((core, made))
}

fn open_disk(folder: &Path, missing: Missing, clock: Arc<dyn Clock>) -> Result<(Disk, bool), StoreError> {
    let said = |error: &io::Error| unavailable(folder, error);
    let is_there = folder.join(FORMAT_FILE).try_exists().map_err(|e| said(&e))?;
    if !is_there && missing == Missing::Refuse {
        return Err(no_store(folder));
    }
    if !is_there && !is_ours(folder).map_err(|e| said(&e))? {
        let folder = folder.display();
        return Err(StoreError::Refused(format!(
            "the folder {folder} holds something else than an embedded store: name an empty one (cql.folder)"
        )));
    }
    let lock = lock(folder)?;
    // Again: whoever had the lock may have made it.
    let format = read_format(folder).map_err(|e| said(&e))?;
    if let Some(format) = &format {
        check_format(folder, format)?;
    }
    let database = folder.join(DATABASE);
    if format.is_none() && database.try_exists().map_err(|e| said(&e))? {
        // Its making was broken off.
        fs::remove_dir_all(&database).map_err(|e| said(&e))?;
    }
    let disk = Disk::open(database, folder.to_owned(), lock, clock);
    let disk = disk.map_err(|error| {
        let folder = folder.display();
        StoreError::Unavailable(format!("the embedded store in {folder} cannot be opened: {error}"))
    })?;
    if format.is_none() {
        write_format(folder).map_err(|e| said(&e))?;
    }
    Ok((disk, format.is_none()))
}

fn no_store(folder: &Path) -> StoreError {
    let folder = folder.display();
    StoreError::Refused(format!("there is no embedded store in {folder} (cql.folder): run `porchlight schema apply`"))
}

fn unavailable(folder: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the folder {} of the embedded store: {error}", folder.display()))
}

/// Whether there is nothing in a folder but what a making that was broken off leaves.
fn is_ours(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if ![LOCK_FILE, DATABASE, &temporary()].iter().any(|ours| name == *ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let said = |error: &io::Error| unavailable(folder, error);
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE));
    let file = file.map_err(|e| said(&e))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(said(&error)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => {
                let folder = folder.display();
                return Err(StoreError::Refused(format!(
                    "the embedded store in {folder} is open in another process, and only one may have it: stop that \
                     one, or name another folder (cql.folder)"
                )));
            }
        }
    }
}

fn read_format(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(FORMAT_FILE)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_format(folder: &Path, text: &str) -> Result<(), StoreError> {
    let folder = folder.display();
    match text.strip_prefix(FORMAT_WORD).and_then(|format| format.trim_end().parse::<u32>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(StoreError::Refused(format!(
            "the embedded store in {folder} is of format {newer}, written by a newer version; this one knows {FORMAT}: \
             use the newer version, or name another folder (cql.folder)"
        ))),
        Some(_) | None => Err(StoreError::Refused(format!(
            "the file {FORMAT_FILE} of the embedded store in {folder} names no format that this version knows"
        ))),
    }
}

fn temporary() -> String {
    format!("{FORMAT_FILE}.new")
}

fn write_format(folder: &Path) -> io::Result<()> {
    let new = folder.join(temporary());
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT_WORD}{FORMAT}")?;
    file.sync_all()?;
    fs::rename(new, folder.join(FORMAT_FILE))?;
    File::open(folder)?.sync_all()
}
