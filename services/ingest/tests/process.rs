//! The binary: bad settings, a Kafka that is away, a drain.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn binary(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight-ingest"));
    command.arg("--config").arg(config).stderr(Stdio::piped()).env_clear();
    // A port where nobody listens: the store of objects is away in all of these.
    command
        .env("PORCHLIGHT_S3__ENDPOINT", "http://127.0.0.1:1")
        .env("PORCHLIGHT_S3__TIMEOUT_MS", "200")
        .env("PORCHLIGHT_S3__ACCESS_KEY_ID", "porchlight")
        .env("PORCHLIGHT_S3__SECRET_ACCESS_KEY", "the secret of s3")
        .env("PORCHLIGHT_MEDIA__GRANT_KEY", porchlight_clips::GrantKey::generate());
    command
}

fn write(folder: &Path, toml: &str) -> PathBuf {
    let path = folder.join("ingest.toml");
    std::fs::write(&path, toml).unwrap();
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_bad_setting_is_one_line_and_exit_64() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, line) in [
        ("[http]\nport = 1\n", "unknown key http.port; allowed here: address_file, listen,"),
        (
            "[http]\nrequest_timeout_ms = 10\n",
            "kafka.produce_wait_ms (6000) must be below http.request_timeout_ms (10)",
        ),
    ] {
        let output = binary(&write(folder.path(), toml)).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let said = stderr(&output);
        assert!(said.starts_with("porchlight-ingest: ") && said.contains(line), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn without_a_grant_key_it_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut binary = binary(&write(folder.path(), ""));
    let output = binary.env_remove("PORCHLIGHT_MEDIA__GRANT_KEY").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = stderr(&output);
    assert!(said.contains("run `porchlight grant-key new`") && said.lines().count() == 1, "{said}");
}

#[test]
fn the_defaults_are_printed_and_are_a_configuration() {
    let output = Command::new(env!("CARGO_BIN_EXE_porchlight-ingest")).arg("--print-default-config").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), porchlight_ingest::DEFAULT_TOML);
}

#[test]
fn an_address_that_is_taken_ends_it_with_the_component_in_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!(
        "[http]\nlisten = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n",
        taken.local_addr().unwrap()
    );
    let output = binary(&write(folder.path(), &toml)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((last["level"].as_str(), last["service"].as_str()), (Some("ERROR"), Some("ingest")));
    assert!(last["reason"].as_str().unwrap().starts_with("http died: http: cannot listen on"), "{last}");
}

/// Kills what it holds, should a test fail on its way.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn without_kafka_it_waits_not_ready_says_so_and_drains() {
    let folder = tempfile::tempdir().unwrap();
    let (http, admin) = (folder.path().join("http.addr"), folder.path().join("admin.addr"));
    let toml = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\naddress_file = {http:?}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\naddress_file = {admin:?}\n\
         [kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n"
    );
    let mut running = Running(Some(binary(&write(folder.path(), &toml)).spawn().unwrap()));
    let begun = Instant::now();
    let (http, admin) = loop {
        assert!(begun.elapsed() < Duration::from_secs(60));
        if let (Ok(http), Ok(admin)) = (std::fs::read_to_string(&http), std::fs::read_to_string(&admin)) {
            break (http, admin);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let client = reqwest::Client::new();
    assert_eq!(client.get(format!("http://{admin}/livez")).send().await.unwrap().status(), 200);
    let unmet = loop {
        assert!(begun.elapsed() < Duration::from_secs(60));
        let response = client.get(format!("http://{admin}/readyz")).send().await.unwrap();
        assert_eq!(response.status(), 503);
        let body: serde_json::Value = response.json().await.unwrap();
        let unmet: Vec<(String, String)> = body["unmet"]
            .as_array()
            .unwrap()
            .iter()
            .map(|u| (u["condition"].as_str().unwrap().to_owned(), u["reason"].as_str().unwrap().to_owned()))
            .collect();
        if unmet.iter().all(|(_, reason)| reason != "starting") {
            break unmet;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let names: Vec<&str> = unmet.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["tail", "devices", "kafka"], "the store of objects is away too, and keeps nobody from events");
    let metrics = client.get(format!("http://{admin}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nporchlight_ingest_storage_up 0\n"), "{metrics}");

    let token = porchlight_domain::Credential {
        device: porchlight_domain::DeviceId(uuid::Uuid::nil()),
        secret: porchlight_domain::Secret::mint(),
    }
    .reveal();
    let request = client.post(format!("http://{http}/v1/events")).bearer_auth(&token).body("{}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["code"], "registry_stale");

    let child = running.0.take().unwrap();
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("condition not met"), "it says what it waits for: {said}");
    assert!(said.contains("the store of objects does not answer"), "{said}");
    assert!(!said.contains("the secret of s3"), "no secret in the log");
    assert!(!said.contains(token.split_once('.').unwrap().1), "no secret in the log");
}
