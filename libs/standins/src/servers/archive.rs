//! What a Java has loaded by the time it serves, kept beside its jars for the next one (AppCDS): it halves a start.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    at,
    cache::Source,
    lock, process,
    server::{Kind, Place},
    start::{self, Start},
};

/// How long a server may take to end in order, which is when it writes.
const END_BOUND: Duration = Duration::from_secs(120);

/// The archive of these jars, if there is one. A Java that it does not fit starts without it.
pub(super) fn of(cached: &Path) -> Option<PathBuf> {
    let archive = path(cached);
    archive.is_file().then_some(archive)
}

fn path(cached: &Path) -> PathBuf {
    cached.with_extension("jsa")
}

/// Makes the archive of the jars of a server, if there is none: it is started once, alone, and ended. Without one all
/// goes on, slower.
pub(crate) fn make(kind: Box<dyn Kind>, cached: &Path, progress: &dyn Fn(&str)) {
    let name = kind.name().to_owned();
    match of(cached).map_or_else(|| record(kind, cached, progress), |_| Ok(())) {
        Ok(()) => {}
        Err(e) => progress(&format!("{name}: its start cannot be made quicker: {e}")),
    }
}

fn record(kind: Box<dyn Kind>, cached: &Path, progress: &dyn Fn(&str)) -> Result<(), String> {
    let _only_one = lock(&cached.with_extension("jsa.lock"))?;
    if of(cached).is_some() {
        return Ok(());
    }
    progress(&format!("{}: a first start, to make the next ones quicker", kind.name()));
    let dir = cached.with_extension("jsa.part");
    let home = dir.join(kind.name());
    // Of a run that was killed.
    process::stop_all(&process::of_home(&home), Duration::ZERO)?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|e| at(&dir, "cannot be removed", &e))?;
    }
    std::fs::create_dir_all(&dir).map_err(|e| at(&dir, "cannot be made", &e))?;
    let written = dir.join("written");
    let recorder = Recorder { kind, to: written.clone() };
    let mut starts = [Start::launch(vec![(Box::new(recorder), cached.to_owned())], &dir, None, progress)?];
    start::wait(&mut starts, progress)?;
    process::stop_all(&process::of_home(&home), END_BOUND)?;
    std::fs::rename(&written, path(cached)).map_err(|e| at(&written, "was not written", &e))?;
    std::fs::remove_dir_all(&dir).map_err(|e| at(&dir, "cannot be removed", &e))
}

/// A server that writes what it has loaded when it ends.
struct Recorder {
    kind: Box<dyn Kind>,
    to: PathBuf,
}

impl Kind for Recorder {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn source(&self) -> (&'static str, Source) {
        self.kind.source()
    }

    fn ports(&self) -> usize {
        self.kind.ports()
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        self.kind.answers(port, bound)
    }

    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
        self.kind.prepare(place, group)
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = self.kind.command(place);
        command.env("JDK_JAVA_OPTIONS", format!("\"-XX:ArchiveClassesAtExit={}\"", self.to.display()));
        command
    }
}
