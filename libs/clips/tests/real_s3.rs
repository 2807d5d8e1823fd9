//! The vault against a real S3 server. `PORCHLIGHT_TEST_SERVERS` names a `servers.json`.
#![allow(clippy::unwrap_used)]

mod vault;

use porchlight_clips::S3Config;

async fn server() -> (S3Config, ()) {
    let file =
        std::env::var("PORCHLIGHT_TEST_SERVERS").expect("run make test, or make up and set PORCHLIGHT_TEST_SERVERS");
    let servers: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let text = |key: &str| servers["s3"][key].as_str().unwrap();
    let (id, secret) = (text("access_key_id"), text("secret_access_key"));
    (vault::config(text("endpoint"), text("bucket"), text("region"), id, secret), ())
}

try_all!(server);
