//! The page on a real city: what a browser sees of the map and of a resident's phone, where the phone's content comes from
//! the gateway by that resident's own token. The same tests as on the made-up city that `.ci/page` runs.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longer than a city takes to be founded.
const PATIENCE: Duration = Duration::from_secs(120);

/// Killed if the test fails on its way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn city(outside: &Path) -> (Running, String) {
    let file = outside.join("ready.json");
    let mut city = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    city.args(["city", "--port", "0", "--ingest-port", "0", "--homes", "60", "--rate", "6", "--ready-file"]).arg(&file);
    city.arg("--data").arg(outside.join("city"));
    let city = city.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let city = Running(city.expect("started"));
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "the city was not ready in time");
        let ready: Option<serde_json::Value> =
            std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(ready) = ready {
            return (city, ready["gateway"].as_str().expect("a URL").to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn g1_a_browser_sees_the_city_and_a_foreign_resident_sees_nothing_of_it() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    if !page.join("node_modules").exists() {
        let installed = Command::new("npm").args(["ci", "--silent"]).current_dir(&page).status();
        assert!(installed.expect("npm runs").success(), "the browser's driver is installed");
    }
    let outside = tempfile::tempdir().expect("a temporary folder");
    let (_city, url) = city(outside.path());
    let mut browser = Command::new("node");
    browser.args(["--test", "--test-concurrency=1", "tests/browser/map.test.mjs", "tests/browser/phone.test.mjs"]);
    let output = browser.current_dir(&page).env("PAGE_URL", url).stdin(Stdio::null()).output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let passed =
        said.lines().filter_map(|line| line.split_once("pass ")).filter_map(|(_, n)| n.trim().parse::<u32>().ok());
    assert!(passed.sum::<u32>() >= 10, "they ran: {said}");
}
