//! `porchlight doctor` on real servers: what is well is said to be, what is broken is named, and nothing else suffers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Output,
};

use porchlight::deployment::{Settings, unique_name};
use porchlight_standins::issuer::Issuer;
use serde_json::Value;

/// Where nobody listens.
fn nowhere() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string()
}

/// The gateway's file: what it is connected to.
fn file(settings: &Settings, issuer: &str) -> String {
    let (kafka, cql, s3) = (settings.kafka(), settings.cql(), settings.s3());
    format!(
        "[kafka]\nbootstrap_servers = {:?}\ntopic_prefix = {:?}\n[cql]\ncontact_points = {:?}\nkeyspace = {:?}\n\
         [s3]\nendpoint = {:?}\npublic_endpoint = {:?}\nbucket = {:?}\nprefix = {:?}\nregion = {:?}\n\
         access_key_id = {:?}\nsecret_access_key = {:?}\n[auth]\nissuer = {issuer:?}\n",
        kafka.bootstrap_servers,
        kafka.topic_prefix,
        cql.contact_points,
        cql.keyspace,
        s3.endpoint,
        s3.endpoint.replace("127.0.0.1", "localhost"),
        s3.bucket,
        s3.prefix,
        s3.region,
        s3.access_key_id,
        s3.secret_access_key,
    )
}

async fn doctor(dir: &Path, toml: &str, more: &[&str]) -> Output {
    let path = dir.join("gateway.toml");
    std::fs::write(&path, toml).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.env_clear().arg("--config").arg(path).args(["doctor", "--of", "gateway"]).args(more);
    command.output().await.unwrap()
}

/// What it says: the exit code, and of each thing how it is and why.
async fn told(dir: &Path, toml: &str, secret: &str) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = doctor(dir, toml, &["--json"]).await;
    for stream in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(stream).contains(secret), "a secret is shown");
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let told = findings.map(|f| (text(f, "verdict"), text(f, "what"), text(f, "sentence"))).collect();
    assert_eq!(report["well"], output.status.success());
    (output.status.code(), told)
}

fn failing(told: &[(String, String, String)]) -> Vec<&str> {
    told.iter().filter(|(verdict, ..)| verdict == "fail").map(|(_, what, _)| what.as_str()).collect()
}

fn says(told: &[(String, String, String)], of: &str, text: &str) {
    let (_, _, sentence) =
        told.iter().find(|(_, what, _)| what == of).unwrap_or_else(|| panic!("{of} is not in {told:?}"));
    assert!(sentence.contains(text), "{of}: {sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_said_to_be_and_each_thing_that_is_broken_is_named_alone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(unique_name("doctor"), support::servers());
    let issuer = Issuer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).await.unwrap();
    let (well, secret) = (file(&settings, issuer.url()), settings.s3().secret_access_key);
    let keyspace = format!("keyspace {}", settings.name);

    // Nothing is made yet.
    let (code, bare) = told(dir.path(), &well, &secret).await;
    let mut expected: Vec<String> =
        porchlight_bus::Topic::ALL.iter().map(|t| format!("topic {}", settings.kafka().topic_name(*t))).collect();
    expected.push(keyspace.clone());
    assert_eq!((code, failing(&bare)), (Some(1), expected.iter().map(String::as_str).collect()));
    says(&bare, &keyspace, "porchlight schema apply");

    porchlight_bus::apply_topics(&settings.kafka(), 4, 1).await.unwrap();
    porchlight_store::apply_schema(&settings.cql(), 1).await.unwrap();
    let (code, now) = told(dir.path(), &well, &secret).await;
    assert_eq!((code, failing(&now)), (Some(0), vec![]), "{now:?}");
    assert_eq!(now.len(), 1 + 6 + 4 + 2 + 1, "{now:?}");
    says(&now, "kafka", "one broker");
    says(&now, "schema", "that of this version");
    says(&now, "conditional write", "applied, refused and applied");
    says(&now, "presigned upload", "a camera can upload");
    says(&now, "issuer", "keys that check signatures");
    let output = doctor(dir.path(), &well, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("HOW ") && text.contains("0 failed"), "{text}");

    // One thing at a time.
    let kafka = well.replace(&settings.kafka().bootstrap_servers, &nowhere());
    let (code, away) = told(dir.path(), &kafka, &secret).await;
    assert_eq!((code, failing(&away)), (Some(1), vec!["kafka"]));
    says(&away, "kafka", "kafka.bootstrap_servers");

    let cql = well.replace(&settings.servers.cassandra, &nowhere());
    let (code, away) = told(dir.path(), &cql, &secret).await;
    assert_eq!((code, failing(&away)), (Some(1), vec!["cql"]));
    says(&away, "cql", "cql.contact_points");

    let key = well.replace(&secret, "another-secret-of-somebody");
    let (code, refused) = told(dir.path(), &key, "another-secret-of-somebody").await;
    let bucket = format!("bucket {}", settings.s3().bucket);
    assert_eq!((code, failing(&refused)), (Some(1), vec![bucket.as_str()]));
    says(&refused, &bucket, "s3.access_key_id");

    let s3 = settings.s3().endpoint.replace("127.0.0.1", "localhost");
    let public = well.replace(&s3, &format!("http://{}", nowhere()));
    let (code, away) = told(dir.path(), &public, &secret).await;
    assert_eq!((code, failing(&away)), (Some(1), vec!["presigned upload"]));
    says(&away, "presigned upload", "s3.public_endpoint");

    let stranger = well.replace(issuer.url(), &format!("http://{}", nowhere()));
    let (code, away) = told(dir.path(), &stranger, &secret).await;
    assert_eq!((code, failing(&away)), (Some(1), vec!["issuer"]));
    says(&away, "issuer", "auth.issuer");

    // What cannot be is refused before anybody is asked.
    let nonsense = well.replace("[kafka]\n", "[kafka]\nca_file = \"/ca.pem\"\n");
    let (code, refused) = told(dir.path(), &nonsense, &secret).await;
    assert_eq!((code, failing(&refused)), (Some(1), vec!["kafka"]));
    says(&refused, "kafka", "kafka.ca_file is set, but kafka.security_protocol is plaintext");

    porchlight_bus::drop_topics(&settings.kafka()).await.unwrap();
    issuer.stop().await;
}
