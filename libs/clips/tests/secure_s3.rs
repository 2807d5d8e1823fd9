//! A real S3 server over TLS, with certificates made here: the named authority is trusted besides the system's, and the
//! presigned way of a client is the same.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use porchlight_clips::{Grant, S3, S3Config, Vault as _, VaultError};
use porchlight_domain::{ContentHash, ContentType, DeviceId, EventId, MediaKind, Timestamp};
use porchlight_standins::servers::secure::{Authority, SecureS3};
use sha2::Digest as _;
use uuid::Uuid;

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Of six bytes.
fn grant() -> Grant {
    Grant {
        device: DeviceId(Uuid::new_v4()),
        event: EventId(Uuid::now_v7()),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 6,
        sha256: ContentHash(sha2::Sha256::digest(b"a clip").into()),
        expires_at: Timestamp(i64::MAX),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_over_tls_takes_who_is_right_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("a stranger").unwrap());
    let server = tokio::task::block_in_place(|| SecureS3::up(&dir.path().join("s3"), &authority)).unwrap();
    let client = server.client();
    let secret_file = write(dir.path(), "secret", &client.secret_access_key);
    let right = S3Config {
        endpoint: client.endpoint.clone(),
        public_endpoint: String::new(),
        region: client.region,
        bucket: client.bucket,
        prefix: String::new(),
        path_style: true,
        access_key_id: client.access_key_id,
        secret_access_key: String::new(),
        secret_access_key_file: secret_file,
        ca_file: write(dir.path(), "ca.pem", authority.certificate()),
        timeout_ms: 20_000,
    };
    let s3 = S3::new(&right).unwrap();
    s3.ping().await.unwrap();
    let (grant, body) = (grant(), b"a clip".as_slice());
    let upload = s3.upload(&grant, Timestamp(i64::try_from(now().as_millis()).unwrap())).await.unwrap();
    assert!(upload.url.starts_with(&client.endpoint), "{}", upload.url);
    let trusted = reqwest::Certificate::from_pem(authority.certificate().as_bytes()).unwrap();
    let camera = reqwest::Client::builder().add_root_certificate(trusted).build().unwrap();
    let put = upload.headers.iter().fold(camera.put(&upload.url), |put, (name, value)| put.header(name, value));
    assert_eq!(put.body(body).send().await.unwrap().status(), 200);
    assert_eq!(s3.stat(grant.media()).await.unwrap().unwrap().bytes, grant.bytes);
    s3.remove_media(grant.media()).await.unwrap();

    let strangers = write(dir.path(), "stranger.pem", stranger.certificate());
    let misnamed = client.endpoint.replace("127.0.0.1", "localhost");
    for (wrong, says) in [
        (S3Config { ca_file: strangers, ..right.clone() }, "no authority of s3.ca_file"),
        (S3Config { endpoint: misnamed, ..right.clone() }, "does not hold the name of s3.endpoint"),
        (S3Config { endpoint: client.endpoint.replace("https", "http"), ..right.clone() }, "status 400"),
    ] {
        let told = S3::new(&wrong).unwrap().ping().await.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
    let other = S3Config { secret_access_key: "another".into(), secret_access_key_file: PathBuf::new(), ..right };
    let told = S3::new(&other).unwrap().ping().await;
    assert!(matches!(told, Err(VaultError::Refused(_))), "{told:?}");
}
