//! One server: what there is to know of its kind, where it lives, its process.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use rustix::process::Signal;

use super::{cache::Source, process};

/// What there is to know of a server before it lives.
pub(crate) trait Kind: Send + Sync {
    /// Names its folder, its log and its process in [`super::Servers::pids`].
    fn name(&self) -> &str;

    /// What it runs from, and how the cache calls that.
    fn source(&self) -> (&'static str, Source);

    /// How many ports it listens on; clients use the first.
    fn ports(&self) -> usize;

    /// Where those arrive who come through a proxy.
    fn proxied_port(&self, place: &Place) -> u16 {
        place.ports[0]
    }

    /// Whether it answers clients at its first port, and serves them. Each step of asking may take `bound`.
    fn answers(&self, port: u16, bound: Duration) -> bool;

    /// Writes its configuration, and makes its data folder if there is none. `group`: its own place and those of the
    /// servers that it must find, in an order that all of them share.
    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String>;

    /// What runs it, in its home.
    fn command(&self, place: &Place) -> Command;
}

/// Where one server lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Configuration and data; the working directory.
    pub(crate) home: PathBuf,
    /// What it runs from: its folder in the cache.
    pub(crate) cached: PathBuf,
    /// On 127.0.0.1.
    pub(crate) ports: Vec<u16>,
}

/// A server and its process, which is killed when this is dropped, unless it is kept.
pub(crate) struct Server {
    kind: Box<dyn Kind>,
    place: Place,
    log: PathBuf,
    /// Where its last start begins in the log.
    log_from: u64,
    child: Option<Child>,
}

impl Server {
    /// Nothing runs yet, and nowhere. Its home and its log are in `dir`.
    pub(super) fn new(kind: Box<dyn Kind>, dir: &Path, cached: PathBuf) -> Self {
        let place = Place { home: dir.join(kind.name()), cached, ports: Vec::new() };
        let log = dir.join(format!("{}.log", kind.name()));
        Self { kind, place, log, log_from: 0, child: None }
    }

    pub(crate) fn kind(&self) -> &dyn Kind {
        &*self.kind
    }

    pub(crate) fn name(&self) -> &str {
        self.kind.name()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Where clients find it.
    pub(crate) fn port(&self) -> u16 {
        self.place.ports[0]
    }

    /// Where its proxy leads to.
    pub(crate) fn proxied_port(&self) -> u16 {
        self.kind.proxied_port(&self.place)
    }

    /// While nothing runs.
    pub(super) fn move_to(&mut self, ports: Vec<u16>) {
        self.place.ports = ports;
    }

    pub(super) fn prepare(&self, group: &[Place]) -> Result<(), String> {
        self.kind.prepare(&self.place, group)
    }

    /// Starts it; it is prepared, and does not run.
    pub(crate) fn spawn(&mut self) -> Result<(), String> {
        self.log_from = std::fs::metadata(&self.log).map_or(0, |m| m.len());
        self.child = Some(process::spawn(self.kind.command(&self.place), &self.log)?);
        Ok(())
    }

    pub(crate) fn answers(&self, bound: Duration) -> bool {
        self.kind.answers(self.port(), bound)
    }

    /// Its process, unless it has ended.
    fn running(&self) -> Option<&Child> {
        self.child.as_ref().filter(|child| !process::has_ended(child))
    }

    /// Its process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().map(Child::id)
    }

    /// Stops it where it stands; it has done so on return.
    pub(crate) fn freeze(&self) -> Result<(), String> {
        process::freeze(self.must_run()?)
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<(), String> {
        process::signal_child(self.must_run()?, Signal::CONT)
    }

    fn must_run(&self) -> Result<&Child, String> {
        self.running().ok_or_else(|| format!("{} does not run", self.name()))
    }

    /// Kills it, frozen or not, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::kill_and_wait(&mut child);
        }
    }

    /// How it ended, if it did so without being asked to; then nothing of it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<String>, String> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait().map_err(|e| format!("{}: {e}", self.kind.name()))?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status.map(|status| format!("ended ({status})")))
    }

    /// What its log says of the last start.
    pub(super) fn said(&self) -> String {
        process::log_since(&self.log, self.log_from)
    }

    /// A sentence, with the end of its log.
    pub(crate) fn failed(&self, how: &str) -> String {
        let (log, tail) = (self.log.display(), process::tail(&self.log, self.log_from));
        format!("{} {how}. The end of {log}:\n{tail}", self.name())
    }

    /// It may outlive this value, and this process.
    pub(super) fn keep(mut self) {
        self.child = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
