//! TLS and passwords on a real Cassandra, with certificates made here: what is right works, and each thing that is wrong
//! is said.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use porchlight_secrets::Secret;
use porchlight_standins::servers::secure::{Authority, CASSANDRA_USER, NAME, SecureCassandra};
use porchlight_store::{CqlConfig, Store, StoreError, apply_schema, testing::cql};
use tokio::net::{TcpListener, TcpStream};

const LATER_PASSWORD: &str = "opens-nothing-but-this-loopback";

/// A file in the test's own folder.
fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// How it is said that this cannot work.
async fn told(config: CqlConfig) -> String {
    match Store::connect(&config).await {
        Err(StoreError::Unavailable(sentence) | StoreError::Refused(sentence)) => sentence,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it works, and must not"),
    }
}

/// An address that no certificate holds, and that leads to `to`.
async fn elsewhere(to: String) -> String {
    let listener = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cassandra_with_tls_and_passwords_takes_who_is_right_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("a stranger").unwrap());
    let cassandra = tokio::task::block_in_place(|| SecureCassandra::up(&dir.path().join("cassandra"), &authority));
    let cassandra = cassandra.unwrap();
    let password_file = write(dir.path(), "password", &format!("{CASSANDRA_USER}\n"));
    let right = CqlConfig {
        contact_points: vec![cassandra.address()],
        tls: true,
        ca_file: write(dir.path(), "ca.pem", authority.certificate()),
        username: CASSANDRA_USER.into(),
        password_file: password_file.clone(),
        keyspace: "porchlight".into(),
        datacenter: "datacenter1".into(),
        request_timeout_ms: 10_000,
        ..CqlConfig::default()
    };

    // Its first user is made a moment after its port opens.
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = apply_schema(&right, 1).await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let store = Store::connect(&right).await.unwrap();
    store.ping().await.unwrap();
    // By a name of the certificate, where addresses stand in none.
    Store::connect(&CqlConfig { server_name: NAME.into(), ..right.clone() }).await.unwrap().ping().await.unwrap();

    let in_place = CqlConfig { password_file: PathBuf::new(), password: Secret::new("another-word"), ..right.clone() };
    let said = told(in_place).await;
    assert!(said.contains("refuses cql.username and cql.password") && !said.contains("another-word"), "{said}");

    let nobody = CqlConfig { username: String::new(), password_file: PathBuf::new(), ..right.clone() };
    let said = told(nobody).await;
    assert!(said.contains("asks who we are"), "{said}");

    let strangers = write(dir.path(), "stranger.pem", stranger.certificate());
    let said = told(CqlConfig { ca_file: strangers, ..right.clone() }).await;
    assert!(said.contains("no authority of cql.ca_file"), "{said}");

    let said = told(CqlConfig { server_name: "elsewhere.test".into(), ..right.clone() }).await;
    assert!(said.contains("does not hold the name elsewhere.test"), "{said}");

    let misplaced = CqlConfig { contact_points: vec![elsewhere(cassandra.address()).await], ..right.clone() };
    let said = told(misplaced).await;
    assert!(said.contains("does not hold the address"), "{said}");

    let plain = CqlConfig { tls: false, ca_file: PathBuf::new(), ..right.clone() };
    let said = told(plain).await;
    assert!(said.contains("set cql.tls"), "{said}");

    // A password that is changed while a process runs is that of its next connection.
    cql(&right, &format!("ALTER ROLE {CASSANDRA_USER} WITH PASSWORD = '{LATER_PASSWORD}'")).await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    // Old passwords are good for as long as the server remembers them.
    while Store::connect(&right).await.is_ok() {
        assert!(Instant::now() < until, "the old password stays good");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    std::fs::write(&password_file, LATER_PASSWORD).unwrap();
    Store::connect(&right).await.unwrap().ping().await.unwrap();
    // One that stood all the while needs no new connection.
    store.ping().await.unwrap();
}
