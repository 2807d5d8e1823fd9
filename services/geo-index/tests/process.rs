//! The binary: bad settings, dependencies that are away, a drain.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn binary(folder: &Path, toml: &str) -> Command {
    let file = folder.join("config.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight-geo-index"));
    command.arg("--config").arg(file).stderr(Stdio::piped()).env_clear();
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_bad_setting_is_one_line_and_exit_64() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, line) in [
        ("", "s3.access_key_id is not set"),
        ("[cql]\nkeyspce = \"x\"\n", "unknown key cql.keyspce"),
        (
            "[lifecycle]\ndrain_ms = 1000\n[s3]\naccess_key_id = \"id\"\nsecret_access_key = \"secret\"\n",
            "kafka.drain_ms must be below lifecycle.drain_ms",
        ),
    ] {
        let output = binary(folder.path(), toml).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let said = stderr(&output);
        assert!(said.starts_with("porchlight-geo-index: ") && said.contains(line), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
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
async fn without_its_dependencies_it_waits_not_ready_says_so_and_drains() {
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("admin.addr");
    let toml = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\naddress_file = {address:?}\n\
         [kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[cql]\ncontact_points = [\"127.0.0.1:1\"]\n\
         [s3]\nendpoint = \"http://127.0.0.1:1\"\naccess_key_id = \"id\"\nsecret_access_key = \"secret\"\n"
    );
    let mut running = Running(Some(binary(folder.path(), &toml).spawn().unwrap()));
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let mut unmet = serde_json::Value::Null;
    // Each condition has a reason of its own once it was looked at.
    while ["neighborhoods", "store"].iter().any(|name| !told(&unmet, name)) {
        assert!(begun.elapsed() < PATIENCE, "{unmet}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(admin) = std::fs::read_to_string(&address) else { continue };
        let alive = client.get(format!("http://{admin}/livez")).send().await.unwrap();
        assert_eq!(alive.status(), 200, "a dependency that is away is no reason to be restarted");
        let ready = client.get(format!("http://{admin}/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 503);
        unmet = ready.json().await.unwrap();
    }

    let child = running.0.take().unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("condition not met"), "it says what it waits for: {said}");
}

fn told(readiness: &serde_json::Value, name: &str) -> bool {
    let unmet = readiness["unmet"].as_array();
    unmet.is_some_and(|all| {
        all.iter().any(|u| u["condition"] == name && u["reason"] != "starting" && u["reason"] != "connecting")
    })
}
