//! The jars of the servers, outside the tree, one folder for each content of a `pom.xml`: filled once, never changed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{at, lock, process};

/// How long one download may take.
const FILL_BOUND: Duration = Duration::from_secs(900);
/// A repository that hiccups once is common; one that does so three times is down.
const TRIES: u32 = 3;

/// `$PORCHLIGHT_CACHE`, or `$XDG_CACHE_HOME/porchlight`, or `~/.cache/porchlight`.
pub(super) fn root(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("PORCHLIGHT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("porchlight")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/porchlight")))
        .ok_or("no place for downloads: set PORCHLIGHT_CACHE to a folder")?;
    // The servers run in folders of their own.
    std::path::absolute(&root).map_err(|e| at(&root, "is no path", &e))
}

/// The folder with the jars of a `pom.xml`, filled by `mvn` if nobody has done so yet.
pub(super) fn jars(root: &Path, mvn: &str, name: &str, pom: &str, progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let hash: String = Sha256::digest(pom).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let key = format!("{name}-{hash}");
    let full = root.join(&key);
    if full.is_dir() {
        return Ok(full);
    }
    std::fs::create_dir_all(root).map_err(|e| at(root, "cannot be made", &e))?;
    let _only_one = lock(&root.join(format!("{key}.lock")))?;
    if full.is_dir() {
        return Ok(full);
    }
    progress(&format!("{name}: fetches its jars, once, into {}", full.display()));
    let (part, log) = (root.join(format!("{key}.part")), root.join(format!("{key}.log")));
    for attempt in 1.. {
        match fill(&part, mvn, pom, &log) {
            Ok(()) => break,
            Err(e) if attempt == TRIES => return Err(format!("the jars of {name} cannot be fetched: {e}")),
            Err(_) => progress(&format!("{name}: that failed, once more")),
        }
    }
    std::fs::rename(part.join("jars"), &full).map_err(|e| at(&full, "cannot be made", &e))?;
    // What is left is the pom; the next fill would remove it as well.
    let _ = std::fs::remove_dir_all(&part);
    Ok(full)
}

/// Under the lock of its key: nobody else writes there, what is left of a killed fill is removed.
fn fill(part: &Path, mvn: &str, pom: &str, log: &Path) -> Result<(), String> {
    if part.exists() {
        std::fs::remove_dir_all(part).map_err(|e| at(part, "cannot be removed", &e))?;
    }
    std::fs::create_dir_all(part).map_err(|e| at(part, "cannot be made", &e))?;
    std::fs::write(part.join("pom.xml"), pom).map_err(|e| at(part, "cannot be written", &e))?;
    // Of this try only.
    let _ = std::fs::remove_file(log);
    let mut command = Command::new(mvn);
    command.current_dir(part).args(["-B", "-q", "--strict-checksums", "dependency:copy-dependencies"]);
    command.args(["-DoutputDirectory=jars", "-DincludeScope=runtime"]);
    process::run(command, log, FILL_BOUND)?;
    match std::fs::read_dir(part.join("jars")).map(Iterator::count) {
        Ok(count) if count > 0 => Ok(()),
        Ok(_) | Err(_) => Err(format!("`{mvn}` brought no jars")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A stand-in for Maven that counts its runs in `dir/runs` and then does as the script says.
    fn fake_mvn(dir: &Path, script: &str) -> String {
        let path = dir.join("mvn");
        std::fs::write(&path, format!("#!/bin/sh\necho run >> '{}'\n{script}\n", dir.join("runs").display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn runs(dir: &Path) -> usize {
        std::fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
    }

    #[test]
    fn the_most_special_variable_says_where() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        let all = env(&[("PORCHLIGHT_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]);
        assert_eq!(root(all).unwrap(), Path::new("/a"));
        let xdg = env(&[("PORCHLIGHT_CACHE", ""), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]);
        assert_eq!(root(xdg).unwrap(), Path::new("/b/porchlight"));
        assert_eq!(root(env(&[("HOME", "/c")])).unwrap(), Path::new("/c/.cache/porchlight"));
        assert!(root(env(&[])).unwrap_err().contains("PORCHLIGHT_CACHE"));
    }

    #[test]
    fn two_fillers_download_once() {
        let dir = tempfile::tempdir().unwrap();
        let mvn = fake_mvn(dir.path(), "sleep 0.2; mkdir jars; echo x > jars/a.jar");
        let cache = dir.path().join("cache");
        let fill = || jars(&cache, &mvn, "kafka", "<project/>", &|_| {}).unwrap();
        let (a, b) = std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(fill), scope.spawn(fill));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(a, b);
        assert!(a.join("a.jar").is_file());
        assert_eq!(runs(dir.path()), 1);
        assert_ne!(jars(&cache, &mvn, "kafka", "<project>other</project>", &|_| {}).unwrap(), a);
    }

    #[test]
    fn a_download_that_fails_leaves_nothing_that_looks_filled() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let broken = fake_mvn(dir.path(), "mkdir jars; echo half > jars/a.jar; echo no route to host; exit 1");
        let told = jars(&cache, &broken, "kafka", "<project/>", &|_| {}).unwrap_err();
        assert!(told.contains("no route to host"), "{told}");
        assert_eq!(runs(dir.path()), 3);
        let whole = fake_mvn(dir.path(), "test -e jars && exit 1; mkdir jars; echo x > jars/b.jar");
        let filled = jars(&cache, &whole, "kafka", "<project/>", &|_| {}).unwrap();
        assert!(filled.join("b.jar").is_file() && !filled.join("a.jar").exists());
    }
}
