//! The folder in which a city keeps everything: whose it is, of which form, and how one begins anew.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use crate::deployment::unique_name;

/// The form of the folder that this version makes. A higher one is a newer version's.
const FORM: u32 = 1;
/// Beside what a city keeps; gone through by no restart.
const LOCK: &str = "lock";

/// What a city stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ground {
    /// Broker, store and S3 server in this process.
    Embedded,
    /// Kafka, Cassandra and an S3 server.
    Real,
}

impl Ground {
    fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Real => "real",
        }
    }
}

/// A city's folder, held by this process alone until it is dropped or the process ends, however it does.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Prefix of topics, groups and objects, and the keyspace.
    name: String,
    _lock: File,
}

impl Folder {
    /// Takes the folder, made if there is none. `fresh`: forgets what a city kept there.
    ///
    /// # Errors
    /// A sentence that says what to do: another process has it, it is of a newer version or of another ground, or it
    /// holds what is no city's.
    pub(super) fn take(path: &Path, ground: Ground, fresh: bool) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        fs::create_dir_all(path).map_err(failed)?;
        // Relative paths would mean another place to each process that is told one.
        let path = path.canonicalize().map_err(failed)?;
        let lock = lock(&path)?;
        let form = fs::read_to_string(path.join("form")).ok();
        if form.is_none() && !holds_only_the_lock(&path).map_err(failed)? {
            return Err(format!(
                "{} holds something that is no city's: give an empty folder, or a new one, with --data DIR",
                path.display()
            ));
        }
        if fresh {
            forget(&path).map_err(failed)?;
        } else if let Some(form) = form {
            check(&path, form.trim(), ground)?;
        }
        let name = path.join("name");
        if !name.exists() {
            fs::write(&name, unique_name("city")).map_err(failed)?;
        }
        // Last: a folder without it is one that was not begun.
        fs::write(path.join("form"), format!("{} {FORM}\n", ground.word())).map_err(failed)?;
        let name = fs::read_to_string(&name).map_err(failed)?.trim().to_owned();
        Ok(Self { path, name, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A city wakes up under the name it was founded with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The lock holds for as long as the process lives: a number in a file could be anybody's after a crash.
fn lock(path: &Path) -> Result<File, String> {
    let file = path.join(LOCK);
    let failed = |e: std::io::Error| format!("{}: {e}", file.display());
    let mut lock = File::options().create(true).truncate(false).read(true).write(true).open(&file).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            return Err(format!(
                "a city lives in {} already (process {}): end it first, or found another one with --data DIR",
                path.display(),
                pid.trim()
            ));
        }
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(lock)
}

fn holds_only_the_lock(path: &Path) -> std::io::Result<bool> {
    // A name without a form was a crash's between the two.
    Ok(fs::read_dir(path)?.flatten().all(|entry| entry.file_name() == LOCK || entry.file_name() == "name"))
}

fn check(path: &Path, form: &str, ground: Ground) -> Result<(), String> {
    let (word, number) = form.split_once(' ').unwrap_or((form, ""));
    let Ok(number) = number.parse::<u32>() else {
        return Err(format!("{}/form says {form:?}, which means nothing here: --fresh begins anew", path.display()));
    };
    if number > FORM {
        return Err(format!(
            "{} was made by a newer version (form {number}; this one knows {FORM}): run that version, or begin anew with \
             --fresh, which forgets everything there",
            path.display()
        ));
    }
    if word != ground.word() {
        return Err(format!(
            "{} is the folder of a city on the {word} ground, not the {} one: give another with --data DIR, or begin \
             anew with --fresh, which forgets everything there",
            path.display(),
            ground.word()
        ));
    }
    Ok(())
}

/// The form goes last: a crash in between leaves a city's folder, of which a fresh start forgets the rest.
fn forget(path: &Path) -> std::io::Result<()> {
    let kept = |name: &std::ffi::OsStr| name == LOCK || name == "form";
    for entry in fs::read_dir(path)?.flatten().filter(|entry| !kept(&entry.file_name())) {
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_file(path.join("form")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn take(dir: &Path) -> Result<Folder, String> {
        Folder::take(dir, Ground::Embedded, false)
    }

    #[test]
    fn a_city_wakes_under_its_name_and_a_fresh_one_gets_another() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(&dir.path().join("new")).unwrap().name().to_owned();
        assert_eq!(take(&dir.path().join("new")).unwrap().name(), first);
        fs::create_dir_all(dir.path().join("new/store/deep")).unwrap();
        let fresh = Folder::take(&dir.path().join("new"), Ground::Embedded, true).unwrap();
        assert_ne!(fresh.name(), first);
        assert!(!fresh.path().join("store").exists());
    }

    #[test]
    fn a_second_one_is_refused_while_the_first_lives() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        let refused = take(dir.path()).unwrap_err();
        assert!(refused.contains("already") && refused.contains(&std::process::id().to_string()), "{refused}");
        let refused = Folder::take(dir.path(), Ground::Embedded, true).unwrap_err();
        assert!(refused.contains("already"), "not even a fresh one: {refused}");
        drop(first);
        take(dir.path()).unwrap();
    }

    #[test]
    fn a_newer_form_another_ground_and_a_strangers_folder_are_refused_in_a_sentence_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let name = take(dir.path()).unwrap().name().to_owned();
        let refused = Folder::take(dir.path(), Ground::Real, false).unwrap_err();
        assert!(refused.contains("embedded ground") && refused.contains("--fresh"), "{refused}");
        fs::write(dir.path().join("form"), "embedded 2\n").unwrap();
        let refused = take(dir.path()).unwrap_err();
        assert!(refused.contains("newer version (form 2") && refused.contains("--fresh"), "{refused}");
        fs::write(dir.path().join("form"), "???").unwrap();
        assert!(take(dir.path()).unwrap_err().contains("--fresh"));
        assert_eq!(fs::read_to_string(dir.path().join("name")).unwrap(), name);

        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letters.txt"), "dear").unwrap();
        for fresh in [false, true] {
            let refused = Folder::take(home.path(), Ground::Embedded, fresh).unwrap_err();
            assert!(refused.contains("no city's") && refused.contains("--data"), "{refused}");
        }
        assert_eq!(fs::read_to_string(home.path().join("letters.txt")).unwrap(), "dear");
    }
}
