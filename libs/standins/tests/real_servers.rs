//! A pair of its own, through the ends a pair can meet. Real processes: it takes half a minute and the cache of
//! `make test`.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, net::TcpListener, path::Path};

use porchlight_standins::servers::Servers;

/// Stops the pair even if the test fails.
struct Dir(tempfile::TempDir);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = Servers::down(self.0.path());
    }
}

fn up(dir: &Path) -> (Servers, Vec<String>) {
    let steps = RefCell::new(Vec::new());
    let servers = Servers::up(dir, &|step| steps.borrow_mut().push(step.to_owned())).unwrap();
    (servers, steps.into_inner())
}

#[test]
fn a_pair_comes_back_after_a_kill_and_after_down_and_where_its_ports_were_taken() {
    let dir = Dir(tempfile::tempdir().unwrap());
    let dir = dir.0.path();
    let (first, _) = up(dir);
    assert_eq!(Servers::attach(dir).unwrap(), first);

    let (again, steps) = up(dir);
    assert_eq!(again, first, "a second call attaches");
    assert_eq!(steps.len(), 2, "{steps:?}");

    Servers::kill(dir, "kafka").unwrap();
    assert!(Servers::attach(dir).unwrap_err().contains("kafka does not run"));
    let (back, _) = up(dir);
    assert_eq!((&back.kafka, &back.cassandra), (&first.kafka, &first.cassandra), "clients find it where it was");
    assert_eq!(back.pids["cassandra"], first.pids["cassandra"], "the other one never stopped");
    assert_ne!(back.pids["kafka"], first.pids["kafka"]);

    Servers::down(dir).unwrap();
    assert!(Servers::attach(dir).is_err());
    for pid in back.pids.values() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(line.is_empty(), "process {pid} is left");
    }

    // Another process has its place: it comes up on its data all the same.
    let _taken = (TcpListener::bind(&first.kafka).unwrap(), TcpListener::bind(&first.cassandra).unwrap());
    let (moved, _) = up(dir);
    assert!(moved.kafka != first.kafka && moved.cassandra != first.cassandra);
}
