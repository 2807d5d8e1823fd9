//! Servers of its own, through the ends they can meet. Real processes: it takes half a minute and the cache of
//! `make test`.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, net::TcpListener, path::Path};

use porchlight_standins::servers::{S3Server, Servers};

/// Stops the servers even if the test fails.
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
fn servers_come_back_after_a_kill_and_after_down_and_where_their_ports_were_taken() {
    let dir = Dir(tempfile::tempdir().unwrap());
    let dir = dir.0.path();
    let (first, _) = up(dir);
    assert_eq!(Servers::attach(dir).unwrap(), first);
    put(&first.s3, "clips/a", b"before the kill");
    opens_to_its_key_alone(&first.s3);

    let (again, steps) = up(dir);
    assert_eq!(again, first, "a second call attaches");
    assert_eq!(steps.len(), 3, "{steps:?}");

    for killed in ["kafka", "seaweedfs"] {
        Servers::kill(dir, killed).unwrap();
    }
    assert!(Servers::attach(dir).unwrap_err().contains("does not run"));
    let (back, _) = up(dir);
    assert_eq!(
        (&back.kafka, &back.cassandra, &back.s3),
        (&first.kafka, &first.cassandra, &first.s3),
        "clients find it where it was"
    );
    assert_eq!(back.pids["cassandra"], first.pids["cassandra"], "the other one never stopped");
    for killed in ["kafka", "seaweedfs"] {
        assert_ne!(back.pids[killed], first.pids[killed]);
    }
    assert_eq!(get(&back.s3, "clips/a"), b"before the kill");
    put(&back.s3, "clips/b", b"after the kill");

    Servers::down(dir).unwrap();
    assert!(Servers::attach(dir).is_err());
    for pid in back.pids.values() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(line.is_empty(), "process {pid} is left");
    }

    // Other processes have their places: they come up on their data all the same.
    let s3_address = first.s3.endpoint.strip_prefix("http://").unwrap();
    let _taken =
        [first.kafka.as_str(), &first.cassandra, s3_address].map(|address| TcpListener::bind(address).unwrap());
    let (moved, _) = up(dir);
    assert!(moved.kafka != first.kafka && moved.cassandra != first.cassandra && moved.s3.endpoint != first.s3.endpoint);
    assert_eq!(get(&moved.s3, "clips/a"), b"before the kill");
    assert_eq!(get(&moved.s3, "clips/b"), b"after the kill");
}

fn put(s3: &S3Server, key: &str, body: &[u8]) {
    let (status, answer) = s3.send("PUT", key, body).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

fn get(s3: &S3Server, key: &str) -> Vec<u8> {
    let (status, answer) = s3.send("GET", key, b"").unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    answer
}

/// The key that is right reads; a wrong secret, a key that nobody has, and nobody at all neither read nor write.
fn opens_to_its_key_alone(s3: &S3Server) {
    assert_eq!(s3.send("GET", "clips/none", b"").unwrap().0, 404);
    let wrong_secret = S3Server { secret_access_key: "guessed".into(), ..s3.clone() };
    let nobodys_key = S3Server { access_key_id: "nobody".into(), ..s3.clone() };
    for other in [wrong_secret, nobodys_key] {
        for (method, key) in [("GET", "clips/a"), ("PUT", "clips/b"), ("DELETE", "clips/a")] {
            assert_eq!(other.send(method, key, b"").unwrap().0, 403, "{method} by {other:?}");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::new();
        let url = |path: &str| format!("{}/{}/{path}", s3.endpoint, s3.bucket);
        for (request, what) in [
            (client.get(url("clips/a")), "reads"),
            (client.get(url("")), "lists"),
            (client.put(url("clips/b")).body("x"), "writes"),
            (client.delete(url("clips/a")), "deletes"),
        ] {
            assert_eq!(request.send().await.unwrap().status(), 403, "a stranger {what}");
        }
    });
    let elsewhere = S3Server { bucket: "of-nobody".into(), ..s3.clone() };
    assert_eq!(elsewhere.send("PUT", "a", b"x").unwrap().0, 404, "a bucket is not made by writing into it");
}
