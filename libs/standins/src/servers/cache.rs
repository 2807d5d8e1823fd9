//! What the servers run from, outside the tree: one folder for each content of the files that pin it (a `pom.xml`; a
//! `go.mod` with its `go.sum`), filled once, never changed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{at, lock, process, server::Kind};

/// How long one fill may take: a build from source takes five minutes of two idle cores, and these may be busy.
const FILL_BOUND: Duration = Duration::from_secs(2_700);
/// Where a fill puts what it makes, beside the files that pin it.
const FILLED: &str = "filled";
/// A repository that hiccups once is common; one that does so three times is down.
const TRIES: u32 = 3;

/// `$PORCHLIGHT_CACHE`, or `$XDG_CACHE_HOME/porchlight`, or `~/.cache/porchlight`.
pub(crate) fn root(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("PORCHLIGHT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("porchlight")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/porchlight")))
        .ok_or("no place for downloads: set PORCHLIGHT_CACHE to a folder")?;
    // The servers run in folders of their own.
    std::path::absolute(&root).map_err(|e| at(&root, "is no path", &e))
}

/// What fills a folder.
pub(crate) enum Source {
    /// The jars that a `pom.xml` names, and those that they need, by Maven.
    Jars {
        /// Names versions; the repository's checksums are enforced.
        pom: &'static str,
    },
    /// A program, built from source by Go. Its own caches stay where it keeps them.
    Program {
        /// Names the versions of every module that takes part.
        go_mod: &'static str,
        /// Their checksums.
        go_sum: &'static str,
        /// The import path of its main package, whose last part names the program.
        package: &'static str,
    },
}

impl Source {
    /// What fills it, on the PATH.
    fn tool(&self) -> &'static str {
        match self {
            Self::Jars { .. } => "mvn",
            Self::Program { .. } => "go",
        }
    }

    /// The files that pin the content.
    fn files(&self) -> Vec<(&'static str, &'static str)> {
        match *self {
            Self::Jars { pom } => vec![("pom.xml", pom)],
            Self::Program { go_mod, go_sum, .. } => vec![("go.mod", go_mod), ("go.sum", go_sum)],
        }
    }

    fn what_it_does(&self) -> &'static str {
        match self {
            Self::Jars { .. } => "fetching its jars",
            Self::Program { .. } => "building it from source (this takes minutes)",
        }
    }

    /// To be run beside the files; fills [`FILLED`].
    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        match self {
            Self::Jars { .. } => {
                command.args(["-B", "-q", "--strict-checksums", "dependency:copy-dependencies"]);
                command.args([&format!("-DoutputDirectory={FILLED}"), "-DincludeScope=runtime"]);
            }
            Self::Program { package, .. } => {
                // Nothing but these two files says what is built: no workspace around the cache, no other toolchain.
                command.env("GOWORK", "off").env("GOTOOLCHAIN", "local");
                command.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]);
                command.args(["-o", &format!("{FILLED}/"), package]);
            }
        }
        command
    }
}

/// The folder that a server runs from, filled by its tool if nobody has done so yet.
pub(crate) fn folder_of(root: &Path, kind: &dyn Kind, progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let (name, source) = kind.source();
    folder(root, source.tool(), name, &source, progress)
}

/// The folder of a source, filled by `tool` if nobody has done so yet.
fn folder(root: &Path, tool: &str, name: &str, source: &Source, progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let mut hash = Sha256::new();
    source.files().iter().for_each(|(_, text)| hash.update(text));
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
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
    progress(&format!("{name}: {}, once, into {}", source.what_it_does(), full.display()));
    let (part, log) = (root.join(format!("{key}.part")), root.join(format!("{key}.log")));
    for attempt in 1.. {
        match fill(&part, tool, source, &log) {
            Ok(()) => break,
            Err(e) if attempt == TRIES => return Err(format!("{name}: {} failed: {e}", source.what_it_does())),
            Err(_) => progress(&format!("{name}: that failed, once more")),
        }
    }
    std::fs::rename(part.join(FILLED), &full).map_err(|e| at(&full, "cannot be made", &e))?;
    // What is left are the files that pin it; the next fill would remove them as well.
    let _ = std::fs::remove_dir_all(&part);
    Ok(full)
}

/// Under the lock of its key: nobody else writes there, what is left of a killed fill is removed.
fn fill(part: &Path, tool: &str, source: &Source, log: &Path) -> Result<(), String> {
    if part.exists() {
        std::fs::remove_dir_all(part).map_err(|e| at(part, "cannot be removed", &e))?;
    }
    std::fs::create_dir_all(part).map_err(|e| at(part, "cannot be made", &e))?;
    for (name, text) in source.files() {
        std::fs::write(part.join(name), text).map_err(|e| at(&part.join(name), "cannot be written", &e))?;
    }
    // Of this try only.
    let _ = std::fs::remove_file(log);
    let mut command = source.command(tool);
    command.current_dir(part);
    process::run(command, log, FILL_BOUND)?;
    match std::fs::read_dir(part.join(FILLED)).map(Iterator::count) {
        Ok(count) if count > 0 => Ok(()),
        Ok(_) | Err(_) => Err(format!("`{tool}` brought nothing")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const JARS: Source = Source::Jars { pom: "<project/>" };

    /// A stand-in for Maven or Go that counts its runs in `dir/runs` and then does as the script says.
    fn fake_tool(dir: &Path, script: &str) -> String {
        let path = dir.join("tool");
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
        let tool = fake_tool(dir.path(), "sleep 0.2; mkdir filled; echo x > filled/a.jar");
        let cache = dir.path().join("cache");
        let fill = || folder(&cache, &tool, "kafka", &JARS, &|_| {}).unwrap();
        let (a, b) = std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(fill), scope.spawn(fill));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(a, b);
        assert!(a.join("a.jar").is_file());
        assert_eq!(runs(dir.path()), 1);
        let other = Source::Jars { pom: "<project>other</project>" };
        assert_ne!(folder(&cache, &tool, "kafka", &other, &|_| {}).unwrap(), a);
    }

    #[test]
    fn a_download_that_fails_leaves_nothing_that_looks_filled() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let broken = fake_tool(dir.path(), "mkdir filled; echo half > filled/a.jar; echo no route to host; exit 1");
        let told = folder(&cache, &broken, "kafka", &JARS, &|_| {}).unwrap_err();
        assert!(told.contains("no route to host"), "{told}");
        assert_eq!(runs(dir.path()), 3);
        let whole = fake_tool(dir.path(), "test -e filled && exit 1; mkdir filled; echo x > filled/b.jar");
        let filled = folder(&cache, &whole, "kafka", &JARS, &|_| {}).unwrap();
        assert!(filled.join("b.jar").is_file() && !filled.join("a.jar").exists());
    }

    #[test]
    fn a_program_is_built_beside_both_of_its_files_and_anew_when_either_changes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let go = fake_tool(dir.path(), "mkdir filled; cat go.mod go.sum > filled/weed; echo $@ >> filled/weed");
        let source = |go_mod, go_sum| Source::Program { go_mod, go_sum, package: "example.org/weed" };
        let lines = std::cell::RefCell::new(Vec::new());
        let progress = |line: &str| lines.borrow_mut().push(line.to_owned());
        let built = |source| folder(&cache, &go, "seaweedfs", &source, &progress).unwrap();
        let first = built(source("module a\n", "a v1 h1:x\n"));
        let text = std::fs::read_to_string(first.join("weed")).unwrap();
        assert!(text.starts_with("module a\na v1 h1:x\nbuild -mod=readonly "), "{text}");
        assert!(text.ends_with("-o filled/ example.org/weed\n"), "{text}");
        assert!(lines.borrow()[0].contains("takes minutes"), "{lines:?}");
        assert_eq!(built(source("module a\n", "a v1 h1:x\n")), first);
        assert_eq!(runs(dir.path()), 1);
        assert_ne!(built(source("module a\n", "a v1 h1:y\n")), first);
        assert_ne!(built(source("module b\n", "a v1 h1:x\n")), first);
    }
}
