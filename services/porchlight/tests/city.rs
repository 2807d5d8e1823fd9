//! `porchlight city`, as a newcomer runs it: it lives, is judged, drains on a signal and exits 0.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

/// What it stands on.
#[derive(Clone, Copy)]
enum On {
    Itself,
    RealServers,
}

fn city(on: On, data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.args(["city", "--data"]).arg(data).args(more);
    for port in ["--port", "--ingest-port"].into_iter().filter(|port| !more.contains(port)) {
        command.args([port, "0"]);
    }
    if let On::RealServers = on {
        let servers = PathBuf::from(std::env::var("PORCHLIGHT_TEST_SERVERS").expect("run make test"));
        command.arg("--servers").arg(servers.parent().expect("a folder"));
    }
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

async fn lives_and_nothing_goes_astray(on: On) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["--homes", "60", "--rate", "12", "--seconds", "12", "--seed", "3"];
    let output = ended(city(on, data.path(), &arguments).spawn().expect("started")).await;
    let (screen, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{screen}\n{progress}");
    let last = screen.rfind("PORCHLIGHT CITY").map(|at| &screen[at..]).unwrap_or_default();
    assert!(last.contains("missing 0   misdirected 0"), "{last}");
    assert!(last.contains("wrong 0"), "{last}");
    let checked = last.split("checked ").nth(1).and_then(|s| s.split(' ').next()?.parse::<u64>().ok());
    assert!(checked.is_some_and(|n| n > 50), "the oracle had something to judge: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_city_lives_and_nothing_goes_astray() {
    lives_and_nothing_goes_astray(On::RealServers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_city_in_one_process_lives_and_nothing_goes_astray() {
    lives_and_nothing_goes_astray(On::Itself).await;
}

/// A city that nobody lives in, and its ready file.
async fn empty_city(on: On, data: &Path, more: &[&str]) -> (Child, Value) {
    let file = data.with_extension("json");
    let _ = std::fs::remove_file(&file);
    let arguments = [&["--no-traffic", "--ready-file", file.to_str().expect("text")], more].concat();
    let mut child = city(on, data, &arguments).spawn().expect("started");
    let mut read = async || {
        if let Ok(Some(status)) = child.try_wait() {
            panic!("it ended: {status}");
        }
        serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()
    };
    for _ in 0..2_000 {
        if let Some(ready) = read().await {
            return (child, ready);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it was not ready in time");
}

async fn says_where_everything_is_and_drains(on: On) {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let (child, ready) = empty_city(on, &outside.path().join("city"), &[]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_city_without_traffic_says_where_everything_is_and_drains_on_ctrl_c() {
    says_where_everything_is_and_drains(On::RealServers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_one_process_does_so_too() {
    says_where_everything_is_and_drains(On::Itself).await;
}

async fn refused(data: &Path, more: &[&str]) -> String {
    let output = ended(city(On::Itself, data, more).spawn().expect("started")).await;
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_a_folder_is_refused_and_so_are_a_newer_folder_and_a_port_that_is_taken() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let data = outside.path().join("city");
    let (child, ready) = empty_city(On::Itself, &data, &[]).await;
    let said = refused(&data, &[]).await;
    assert!(said.contains("already") && said.contains(&child.id().to_string()) && said.contains("--data"), "{said}");
    let port = ready["gateway"].as_str().and_then(|url| url.rsplit(':').next()).expect("a port").to_owned();
    let said = refused(&outside.path().join("other"), &["--port", &port]).await;
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    interrupt(&child);
    assert!(ended(child).await.status.success());

    std::fs::write(data.join("form"), "embedded 99\n").expect("written");
    let said = refused(&data, &["--no-traffic"]).await;
    assert!(said.contains("newer version") && said.contains("--fresh"), "{said}");
    let (child, _) = empty_city(On::Itself, &data, &["--fresh"]).await;
    interrupt(&child);
    assert!(ended(child).await.status.success());
}

/// What a resident has stands again after a start, and is gone after a fresh one.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_wakes_up_from_its_folder_and_a_fresh_one_does_not() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let data = outside.path().join("city");
    let home = format!("/v1/homes/{}", uuid::Uuid::now_v7());
    let http = reqwest::Client::new();
    let mut found = Vec::new();
    for (n, more) in [&[][..], &[], &["--fresh"]].into_iter().enumerate() {
        let (child, ready) = empty_city(On::Itself, &data, more).await;
        let base = |name: &str| ready[name].as_str().map(str::to_owned).expect("a URL");
        let asked = json!({ "subject": "alice", "scopes": [] });
        let token = http.post(format!("{}/token", base("issuer"))).json(&asked).send().await.expect("an answer");
        let token = token.json::<Value>().await.expect("a token")["access_token"].as_str().expect("one").to_owned();
        let url = format!("{}{home}", base("gateway"));
        if n == 0 {
            let body = json!({ "name": "Home", "position": { "lon": -71.06, "lat": 42.42 } });
            let put = http.put(&url).bearer_auth(&token).json(&body).send().await.expect("an answer");
            assert!(put.status().is_success(), "{}", put.status());
        }
        found.push(http.get(&url).bearer_auth(&token).send().await.expect("an answer").status().as_u16());
        interrupt(&child);
        assert!(ended(child).await.status.success());
    }
    assert_eq!(found, [200, 200, 404]);
}
