//! One server on its way up.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use super::{Kind, Place, process};

/// How long a server may take until it answers. A busy machine needs a minute; a hung server is told from it by this.
const READY_BOUND: Duration = Duration::from_secs(240);
/// Ports are chosen, then used: another process can take one in between.
const TRIES: u32 = 4;
/// How logs say that it has.
const PORT_TAKEN: [&str; 5] = [
    "Address already in use",
    "address already in use",
    "in use by another process",
    "Failed to bind",
    "is not available on 127.0.0.1 and cannot be used",
];

/// A started process; killed when dropped, unless kept.
pub(super) struct Start {
    kind: &'static Kind,
    place: Place,
    log: PathBuf,
    /// Where this try begins in the log.
    log_from: u64,
    child: Child,
    began: Instant,
    tries: u32,
    ready: bool,
    kept: bool,
}

impl Start {
    /// Starts it on these ports, or on any.
    pub(super) fn launch(
        kind: &'static Kind,
        dir: &Path,
        cached: PathBuf,
        ports: Option<Vec<u16>>,
        progress: &dyn Fn(&str),
    ) -> Result<Self, String> {
        let ports = ports.map_or_else(|| free_ports(kind.ports), Ok)?;
        let place = Place { home: dir.join(kind.name), cached, ports };
        let log = dir.join(format!("{}.log", kind.name));
        let (child, log_from) = spawn(kind, &place, &log, progress)?;
        Ok(Self { kind, place, log, log_from, child, began: Instant::now(), tries: 1, ready: false, kept: false })
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name
    }

    pub(super) fn ports(&self) -> &[u16] {
        &self.place.ports
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It may outlive this value, and this process.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn poll(&mut self, progress: &dyn Fn(&str)) -> Result<(), String> {
        let name = self.kind.name;
        let said = process::log_since(&self.log, self.log_from);
        if let Some(status) = self.child.try_wait().map_err(|e| format!("{name}: {e}"))? {
            if self.tries < TRIES && PORT_TAKEN.iter().any(|line| said.contains(line)) {
                progress(&format!("{name}: a port was taken meanwhile, trying others"));
                self.place.ports = free_ports(self.kind.ports)?;
                (self.child, self.log_from) = spawn(self.kind, &self.place, &self.log, progress)?;
                self.tries += 1;
                return Ok(());
            }
            return Err(self.failed(&format!("ended ({status}) before it answered")));
        }
        if (self.kind.answers)(&said, self.place.ports[0]) {
            progress(&format!("{name}: answers, after {:.1} s", self.began.elapsed().as_secs_f32()));
            self.ready = true;
        } else if self.began.elapsed() > READY_BOUND {
            return Err(self.failed(&format!("does not answer after {} s", READY_BOUND.as_secs())));
        }
        Ok(())
    }

    fn failed(&self, how: &str) -> String {
        let (log, tail) = (self.log.display(), process::tail(&self.log, self.log_from));
        format!("{} {how}. The end of {log}:\n{tail}", self.kind.name)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if !self.kept {
            process::kill_and_wait(&mut self.child);
        }
    }
}

/// Until all of them answer.
pub(super) fn wait(starts: &mut [Start], progress: &dyn Fn(&str)) -> Result<(), String> {
    while starts.iter().any(|start| !start.ready) {
        std::thread::sleep(Duration::from_millis(100));
        for start in starts.iter_mut().filter(|start| !start.ready) {
            start.poll(progress)?;
        }
    }
    Ok(())
}

/// Whether every one of these ports can be listened on within `bound`: a server that was just killed takes a moment to
/// let go of them.
pub(super) fn all_free(ports: &[u16], bound: Duration) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        if ports.iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Distinct free ports below those that the system gives to outgoing connections (by its default, 32768): between the
/// choice and the bind lie seconds, in which any connection of this machine could take one of those.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    const FROM: u16 = 15_000;
    const OF: u16 = 17_000;
    let mut held: Vec<(u16, TcpListener)> = Vec::new();
    for _ in 0..1_000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
        let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
        let port = FROM + u16::from_be_bytes([a, b]) % OF;
        // A port that is held already cannot be bound again, so all are distinct.
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|listener| (port, listener)));
    }
    Err(format!("no {count} free ports on 127.0.0.1 from {FROM} on"))
}

fn spawn(kind: &Kind, place: &Place, log: &Path, progress: &dyn Fn(&str)) -> Result<(Child, u64), String> {
    progress(&format!("{}: starts on 127.0.0.1:{}", kind.name, place.ports[0]));
    (kind.prepare)(place)?;
    let log_from = std::fs::metadata(log).map_or(0, |m| m.len());
    Ok((process::spawn((kind.command)(place), log)?, log_from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::cache::Source, *};
    use std::process::Command;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const fn kind(command: fn(&Place) -> Command) -> Kind {
        Kind {
            name: "fake",
            source: Source::Jars { pom: "" },
            ports: 2,
            answers: |log, _| log.contains("ready"),
            prepare: |_| Ok(()),
            command,
        }
    }

    #[test]
    fn a_port_that_was_taken_is_changed_but_not_for_ever() {
        static KIND: Kind = kind(|_| sh("echo Address already in use; exit 1"));
        let dir = tempfile::tempdir().unwrap();
        let lines = std::cell::RefCell::new(Vec::new());
        let progress = |line: &str| lines.borrow_mut().push(line.to_owned());
        let start = Start::launch(&KIND, dir.path(), PathBuf::new(), None, &progress).unwrap();
        let told = wait(&mut [start], &progress).unwrap_err();
        assert!(told.contains("ended (exit status: 1)"), "{told}");
        assert_eq!(lines.borrow().iter().filter(|l| l.contains("trying others")).count(), 3);
    }

    #[test]
    fn a_server_that_dies_shows_the_end_of_its_log_of_this_start_only() {
        static KIND: Kind = kind(|_| sh("echo out of luck; exit 7"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("fake.log"), "an older story\n").unwrap();
        let start = Start::launch(&KIND, dir.path(), PathBuf::new(), None, &|_| {}).unwrap();
        let told = wait(&mut [start], &|_| {}).unwrap_err();
        assert!(told.contains("out of luck") && !told.contains("older story"), "{told}");
    }

    #[test]
    fn one_that_is_not_kept_is_killed() {
        static KIND: Kind = kind(|_| sh("exec sleep 1000"));
        let dir = tempfile::tempdir().unwrap();
        let start = Start::launch(&KIND, dir.path(), PathBuf::new(), None, &|_| {}).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", start.pid()));
        assert!(proc.exists());
        drop(start);
        assert!(!proc.exists());
    }

    #[test]
    fn a_taken_port_is_not_free_and_chosen_ones_are_distinct() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!all_free(&[taken.local_addr().unwrap().port()], Duration::ZERO));
        let ports = free_ports(8).unwrap();
        assert_eq!(ports.iter().collect::<std::collections::HashSet<_>>().len(), 8);
    }
}
