//! Servers on their way up.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::server::{Kind, Place, Server};

/// How long a server may take until it answers. A busy machine needs a minute; a hung server is told from it by this.
const READY_BOUND: Duration = Duration::from_secs(240);
/// How long each step of asking one may take.
const ASK_BOUND: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
/// Ports are chosen, then used: another process can take one in between.
pub(crate) const TRIES: u32 = 4;
/// How logs say that it has.
pub(crate) const PORT_TAKEN: [&str; 5] = [
    "Address already in use",
    "address already in use",
    "in use by another process",
    "Failed to bind",
    "is not available on 127.0.0.1 and cannot be used",
];

/// Servers on their way up that must find each other: a cluster, or one alone. They get other ports together, for each is
/// told where the others are. Killed when dropped.
pub(crate) struct Start {
    servers: Vec<Server>,
    /// Those of them that do not answer yet.
    waiting: Vec<usize>,
    began: Instant,
    tries: u32,
}

impl Start {
    /// Starts them in `dir`, from their folders in the cache, on these ports (of each of them) or on any.
    pub(crate) fn launch(
        group: Vec<(Box<dyn Kind>, PathBuf)>,
        dir: &Path,
        ports: Option<Vec<Vec<u16>>>,
        progress: &dyn Fn(&str),
    ) -> Result<Self, String> {
        let mut servers: Vec<_> = group.into_iter().map(|(kind, cached)| Server::new(kind, dir, cached)).collect();
        match ports {
            Some(ports) => servers.iter_mut().zip(ports).for_each(|(server, ports)| server.move_to(ports)),
            None => choose_ports(&mut servers)?,
        }
        let mut start = Self { servers, waiting: Vec::new(), began: Instant::now(), tries: 1 };
        start.spawn(progress)?;
        Ok(start)
    }

    /// What was started, in the order in which it was given.
    pub(crate) fn into_servers(self) -> Vec<Server> {
        self.servers
    }

    fn poll(&mut self, progress: &dyn Fn(&str)) -> Result<(), String> {
        for at in std::mem::take(&mut self.waiting) {
            let server = &mut self.servers[at];
            if let Some(how) = server.ended()? {
                let said = server.said();
                if self.tries == TRIES || !PORT_TAKEN.iter().any(|line| said.contains(line)) {
                    return Err(server.failed(&format!("{how} before it answered")));
                }
                progress(&format!("{}: a port was taken meanwhile, trying others", server.name()));
                self.tries += 1;
                self.servers.iter_mut().for_each(Server::kill);
                choose_ports(&mut self.servers)?;
                return self.spawn(progress);
            }
            if server.answers(ASK_BOUND) {
                progress(&format!("{}: answers, after {:.1} s", server.name(), self.began.elapsed().as_secs_f32()));
            } else if self.began.elapsed() > READY_BOUND {
                return Err(server.failed(&format!("does not answer after {} s", READY_BOUND.as_secs())));
            } else {
                self.waiting.push(at);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, progress: &dyn Fn(&str)) -> Result<(), String> {
        let group: Vec<Place> = self.servers.iter().map(|server| server.place().clone()).collect();
        for server in &mut self.servers {
            progress(&format!("{}: starts on 127.0.0.1:{}", server.name(), server.port()));
            server.prepare(&group)?;
            server.spawn()?;
        }
        self.waiting = (0..self.servers.len()).collect();
        Ok(())
    }
}

/// Each gets as many as it listens on.
fn choose_ports(servers: &mut [Server]) -> Result<(), String> {
    let mut ports = free_ports(servers.iter().map(|server| server.kind().ports()).sum())?;
    for server in servers {
        let rest = ports.split_off(server.kind().ports());
        server.move_to(std::mem::replace(&mut ports, rest));
    }
    Ok(())
}

/// Until all of them answer.
pub(crate) fn wait(starts: &mut [Start], progress: &dyn Fn(&str)) -> Result<(), String> {
    while starts.iter().any(|start| !start.waiting.is_empty()) {
        std::thread::sleep(POLL);
        starts.iter_mut().try_for_each(|start| start.poll(progress))?;
    }
    Ok(())
}

/// Whether every one of these ports can be listened on within `bound`: a server that was just killed takes a moment to
/// let go of them.
pub(crate) fn all_free(ports: &[u16], bound: Duration) -> bool {
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
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
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

    struct Fake(&'static str, fn() -> Command);

    impl Kind for Fake {
        fn name(&self) -> &str {
            self.0
        }

        fn source(&self) -> (&'static str, Source) {
            ("fake", Source::Jars { pom: "" })
        }

        fn ports(&self) -> usize {
            2
        }

        fn answers(&self, _: u16, _: Duration) -> bool {
            false
        }

        /// Says where it and the others are.
        fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
            let ports: Vec<_> = group.iter().map(|place| place.ports.clone()).collect();
            std::fs::write(place.home.with_extension("told"), format!("{:?} of {ports:?}", place.ports))
                .map_err(|e| e.to_string())
        }

        fn command(&self, _: &Place) -> Command {
            self.1()
        }
    }

    fn launch(dir: &Path, kinds: Vec<Fake>, progress: &dyn Fn(&str)) -> Start {
        let group = kinds.into_iter().map(|kind| (Box::new(kind) as Box<dyn Kind>, PathBuf::new())).collect();
        Start::launch(group, dir, None, progress).unwrap()
    }

    #[test]
    fn a_port_that_was_taken_is_changed_but_not_for_ever() {
        let kind = Fake("fake", || sh("echo Address already in use; exit 1"));
        let dir = tempfile::tempdir().unwrap();
        let lines = std::cell::RefCell::new(Vec::new());
        let progress = |line: &str| lines.borrow_mut().push(line.to_owned());
        let start = launch(dir.path(), vec![kind], &progress);
        let told = wait(&mut [start], &progress).unwrap_err();
        assert!(told.contains("ended (exit status: 1)"), "{told}");
        assert_eq!(lines.borrow().iter().filter(|l| l.contains("trying others")).count(), 3);
    }

    #[test]
    fn a_server_that_dies_shows_the_end_of_its_log_of_this_start_only() {
        let kind = Fake("fake", || sh("echo out of luck; exit 7"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("fake.log"), "an older story\n").unwrap();
        let start = launch(dir.path(), vec![kind], &|_| {});
        let told = wait(&mut [start], &|_| {}).unwrap_err();
        assert!(told.contains("out of luck") && !told.contains("older story"), "{told}");
    }

    #[test]
    fn one_that_is_not_kept_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let start = launch(dir.path(), vec![Fake("fake", || sh("exec sleep 1000"))], &|_| {});
        let proc = PathBuf::from(format!("/proc/{}", start.servers[0].pid().unwrap()));
        assert!(proc.exists());
        drop(start);
        assert!(!proc.exists());
    }

    #[test]
    fn when_one_of_a_group_must_move_all_are_told_anew_where_the_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let (lives, dies) = (|| sh("exec sleep 1000"), || sh("echo Address already in use; exit 1"));
        let mut start = launch(dir.path(), vec![Fake("lives", lives), Fake("dies", dies)], &|_| {});
        let places = |start: &Start| start.servers.iter().map(|s| s.place().ports.clone()).collect::<Vec<_>>();
        let (before, first) = (places(&start), start.servers[0].pid().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while start.tries == 1 {
            assert!(Instant::now() < deadline, "nobody moved");
            start.poll(&|_| {}).unwrap();
        }
        let after = places(&start);
        assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
        assert!(!Path::new(&format!("/proc/{first}")).exists(), "the other one was stopped as well");
        for (name, own) in ["lives", "dies"].into_iter().zip(&after) {
            let told = std::fs::read_to_string(dir.path().join(format!("{name}.told"))).unwrap();
            assert_eq!(told, format!("{own:?} of {after:?}"));
        }
    }

    #[test]
    fn a_taken_port_is_not_free_and_chosen_ones_are_distinct() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!all_free(&[taken.local_addr().unwrap().port()], Duration::ZERO));
        let ports = free_ports(8).unwrap();
        assert_eq!(ports.iter().collect::<std::collections::HashSet<_>>().len(), 8);
    }
}
