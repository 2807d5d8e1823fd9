//! `porchlight city`, as a newcomer runs it: it lives, is judged, drains on a signal and exits 0.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::eventually;

fn city(data: &Path, more: &[&str]) -> Command {
    let servers = PathBuf::from(std::env::var("PORCHLIGHT_TEST_SERVERS").expect("run make test"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.arg("city").arg("--data").arg(data).arg("--servers").arg(servers.parent().expect("a folder")).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().expect("kill runs");
    assert!(sent.success());
}

async fn ended(child: Child) -> Output {
    tokio::task::spawn_blocking(|| child.wait_with_output().expect("an output")).await.expect("waited")
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_city_lives_and_nothing_goes_astray() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let child = city(data.path(), &["--homes", "60", "--rate", "12", "--seconds", "12", "--seed", "3"]).spawn();
    let output = ended(child.expect("started")).await;
    let (screen, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{screen}\n{progress}");
    let last = screen.rfind("PORCHLIGHT CITY").map(|at| &screen[at..]).unwrap_or_default();
    assert!(last.contains("missing 0   misdirected 0"), "{last}");
    assert!(last.contains("wrong 0"), "{last}");
    let checked = last.split("checked ").nth(1).and_then(|s| s.split(' ').next()?.parse::<u64>().ok());
    assert!(checked.is_some_and(|n| n > 50), "the oracle had something to judge: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_without_traffic_says_where_everything_is_and_drains_on_ctrl_c() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let file = data.path().join("ready.json");
    let child = city(data.path(), &["--no-traffic", "--ready-file", file.to_str().expect("text")]).spawn();
    let child = child.expect("started");
    let ready: Value =
        eventually("the ready file", || async { serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok() })
            .await;
    let http = reqwest::Client::new();
    let base = |name: &str| ready[name].as_str().map(str::to_owned).unwrap_or_else(|| panic!("{name} in {ready}"));

    let asked = json!({ "subject": "alice", "scopes": ["operator"] });
    let token = http.post(format!("{}/token", base("issuer"))).json(&asked).send().await.expect("an answer");
    let token: Value = token.json().await.expect("a token");
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let me = http.get(format!("{}/v1/me", base("gateway"))).bearer_auth(&token).send().await.expect("an answer");
    assert_eq!(me.status(), 200);
    assert_eq!(me.json::<Value>().await.expect("JSON")["operator"], true);
    let log = http.get(base("push_log")).send().await.expect("an answer");
    assert_eq!(log.json::<Value>().await.expect("JSON")["pushes"], json!([]));
    let unknown = http.post(format!("{}/v1/events", base("ingest"))).send().await.expect("an answer");
    assert_eq!(unknown.status(), 401);

    interrupt(&child);
    let output = ended(child).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
