//! `docs/apps/client.mjs`, the client that the page for people who write apps shows, against a city: it gets what is hers.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Killed if the test fails on its way.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_client_reads_and_follows_what_its_person_may_see() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let file = outside.path().join("ready.json");
    let mut city = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    city.args(["city", "--port", "0", "--ingest-port", "0", "--homes", "40", "--rate", "20", "--ready-file"])
        .arg(&file);
    city.arg("--data").arg(outside.path().join("city"));
    let city = city.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let _city = Running(city);
    let until = Instant::now() + PATIENCE;
    let ready: Value = loop {
        assert!(Instant::now() < until, "the city was not ready in time");
        if let Some(ready) = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            break ready;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let base = |name: &str| ready[name].as_str().expect("a URL").to_owned();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apps/client.mjs");
    let mut client = Command::new("node");
    // In Quincy, where many people of this city live, and some share; five items are enough.
    client.args([script, &base("gateway"), &base("issuer"), "alice", "-71.0023", "42.2529", "5"]);
    let client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("node runs");

    // Until her home is verified she is a neighbor of nobody.
    let http = reqwest::Client::new();
    let asked = json!({ "subject": "the-operator", "scopes": ["operator"] });
    let token = http.post(format!("{}/token", base("issuer"))).json(&asked).send().await.expect("an answer");
    let token = token.json::<Value>().await.expect("JSON")["access_token"].as_str().expect("a token").to_owned();
    let pending = format!("{}/v1/operator/homes?state=pending", base("gateway"));
    let home = loop {
        assert!(Instant::now() < until, "her home was not registered in time");
        let homes: Value =
            http.get(&pending).bearer_auth(&token).send().await.expect("an answer").json().await.expect("JSON");
        if let Some(home) = homes["items"][0]["home"].as_str() {
            break home.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let verify = format!("{}/v1/operator/homes/{home}/verify", base("gateway"));
    assert!(http.post(verify).bearer_auth(&token).send().await.expect("an answer").status().is_success());

    let mut client = Running(client);
    let ended = loop {
        if let Some(status) = client.0.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < until, "five items did not come in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let read = |stream: &mut dyn std::io::Read| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text
    };
    let said = read(client.0.stdout.as_mut().expect("piped"));
    assert!(ended.success(), "{said}\n{}", read(client.0.stderr.as_mut().expect("piped")));
    let items: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let different: std::collections::BTreeSet<&str> = items.iter().filter_map(|item| item["item"].as_str()).collect();
    assert_eq!(different.len(), 5, "{said}");
    assert!(items.iter().all(|item| item["scope"] == "neighborhood"), "she has no camera: {said}");
}
