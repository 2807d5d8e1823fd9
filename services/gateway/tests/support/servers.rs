//! A keyspace, topics and a prefix of the test's own on real servers. Keyspace and topics are dropped at its end; what it
//! puts under its prefix it removes itself.

use std::{future::Future, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use porchlight_bus::{apply_topics, drop_topics};
use porchlight_gateway::Config;
use porchlight_store::apply_schema;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use uuid::Uuid;

/// Runs a test with the settings that name its own keyspace and topics, and drops both whatever becomes of it.
pub async fn with<T: Future<Output = ()>>(issuer: &str, test: impl FnOnce(Vec<(&'static str, String)>) -> T) {
    let missing = "run make test, or make up and set PORCHLIGHT_TEST_SERVERS";
    let path = std::env::var("PORCHLIGHT_TEST_SERVERS").expect(missing);
    let servers: Value = serde_json::from_slice(&std::fs::read(path).expect(missing)).expect(missing);
    let node = servers["cassandra"].as_str().expect(missing).to_owned();
    let s3 = |key: &str| servers["s3"][key].as_str().expect(missing).to_owned();
    let name = format!("gateway_{}", Uuid::new_v4().simple());
    let settings = vec![
        ("CQL__CONTACT_POINTS", format!("[\"{node}\"]")),
        ("CQL__KEYSPACE", name.clone()),
        ("CQL__REQUEST_TIMEOUT_MS", "10000".to_owned()),
        ("KAFKA__BOOTSTRAP_SERVERS", servers["kafka"].as_str().expect(missing).to_owned()),
        ("KAFKA__TOPIC_PREFIX", format!("{name}-")),
        ("KAFKA__GROUP_PREFIX", format!("{name}-")),
        ("KAFKA__MESSAGE_TIMEOUT_MS", "8000".to_owned()),
        ("KAFKA__PRODUCE_WAIT_MS", "9000".to_owned()),
        ("S3__ENDPOINT", s3("endpoint")),
        ("S3__REGION", s3("region")),
        ("S3__BUCKET", s3("bucket")),
        ("S3__ACCESS_KEY_ID", s3("access_key_id")),
        ("S3__SECRET_ACCESS_KEY", s3("secret_access_key")),
        ("S3__PREFIX", format!("{name}/")),
    ];
    let config = read(issuer, &settings);
    let (schema, topics) = tokio::join!(apply_schema(&config.cql, 1), apply_topics(&config.kafka, 4, 1));
    schema.unwrap();
    topics.unwrap();
    let outcome = AssertUnwindSafe(test(settings)).catch_unwind().await;
    drop_topics(&config.kafka).await.unwrap();
    drop_keyspace(&node, &name).await;
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure);
    }
}

/// The configuration with these settings.
pub fn read(issuer: &str, settings: &[(&'static str, String)]) -> Config {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    super::config(issuer, &settings)
}

/// Two frames of the CQL binary protocol (version 4): only `libs/store` may name a client library.
async fn drop_keyspace(node: &str, keyspace: &str) {
    fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[4, 0, 0, 0, opcode][..], &length, body].concat()
    }
    async fn answer(node: &mut TcpStream) -> u8 {
        let mut header = [0; 9];
        node.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes(*header.last_chunk().unwrap());
        node.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
        header[4]
    }
    const STARTUP: &[u8] = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0";
    const LOCAL_QUORUM_NO_FLAGS: &[u8] = &[0, 6, 0];
    let mut node = TcpStream::connect(node).await.unwrap();
    node.write_all(&frame(1, STARTUP)).await.unwrap();
    assert_eq!(answer(&mut node).await, 2, "READY");
    let query = format!("DROP KEYSPACE IF EXISTS {keyspace}");
    let length = u32::try_from(query.len()).unwrap().to_be_bytes();
    node.write_all(&frame(7, &[&length, query.as_bytes(), LOCAL_QUORUM_NO_FLAGS].concat())).await.unwrap();
    assert_eq!(answer(&mut node).await, 8, "RESULT");
}
