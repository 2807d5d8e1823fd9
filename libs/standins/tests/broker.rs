//! The embedded broker as a process sees it: where its data go, and when it is gone. What clients see of it is in
//! `libs/bus/tests/embedded*.rs`.
#![allow(clippy::unwrap_used)]

use std::{net::TcpStream, os::unix::fs::PermissionsExt as _, path::Path};

use porchlight_standins::broker::EmbeddedBroker;

fn port(broker: &EmbeddedBroker) -> u16 {
    broker.bootstrap().strip_prefix("127.0.0.1:").unwrap().parse().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_go_into_the_folder_whatever_it_is_called_and_are_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain", "with space and ümlaut #1", "deep/er"] {
        let folder = dir.path().join(name);
        let broker = EmbeddedBroker::start(&folder, 0).await.unwrap();
        broker.stop().await;
        assert_eq!(names(&folder), ["cluster", "log"]);
        for (name, mode) in [("cluster", 0o600), ("log", 0o700)] {
            assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, mode);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_once_it_has_started_and_nothing_once_it_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::start(dir.path(), 0).await.unwrap();
    let port = port(&broker);
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    broker.stop().await;
    TcpStream::connect(("127.0.0.1", port)).unwrap_err();

    // Dropped, it ends too; the same port and folder are free again soon.
    let broker = EmbeddedBroker::start(dir.path(), port).await.unwrap();
    drop(broker);
    for _ in 0..500 {
        match EmbeddedBroker::start(dir.path(), port).await {
            Ok(again) => return again.stop().await,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    panic!("a dropped broker does not end");
}
