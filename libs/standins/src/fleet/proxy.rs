//! Toxiproxy: TCP proxies in one process, each of which can be cut and mended over its HTTP API.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::servers::{
    at,
    cache::Source,
    http, process,
    server::{Kind, Place, Server},
    start::{self, PORT_TAKEN, Start, TRIES, free_ports},
};

/// How long each step of asking it may take.
const BOUND: Duration = Duration::from_secs(5);

pub(super) struct Toxiproxy;

impl Toxiproxy {
    pub(super) const NAME: &str = "toxiproxy";
}

impl Kind for Toxiproxy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        let source = Source::Program {
            go_mod: include_str!("../../servers/toxiproxy/go.mod"),
            go_sum: include_str!("../../servers/toxiproxy/go.sum"),
            package: "github.com/Shopify/toxiproxy/v2/cmd/server",
        };
        (Self::NAME, source)
    }

    fn ports(&self) -> usize {
        1
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        let answer = http::send(&format!("127.0.0.1:{port}"), bound, "GET", "/version", &[], b"");
        answer.is_ok_and(|(status, _)| status == 200)
    }

    fn prepare(&self, place: &Place, _: &[Place]) -> Result<(), String> {
        std::fs::create_dir_all(&place.home).map_err(|e| at(&place.home, "cannot be made", &e))
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = Command::new(place.cached.join("server"));
        // Otherwise it tells of every connection.
        command.current_dir(&place.home).env_clear().env("LOG_LEVEL", "warn");
        command.args(["-host", "127.0.0.1", "-port", &place.ports[0].to_string()]);
        // What follows the two dashes it does not look at.
        command.arg("--").arg(process::marker(&place.home));
        command
    }
}

/// The proxies of a [`Toxiproxy`] that runs.
pub(super) struct Proxies {
    server: Server,
}

impl Proxies {
    /// Starts what they live in, in `dir`.
    pub(super) fn up(toxiproxy: (Box<dyn Kind>, PathBuf), dir: &Path, progress: &dyn Fn(&str)) -> Result<Self, String> {
        let mut starts = [Start::launch(vec![toxiproxy], dir, None, progress)?];
        start::wait(&mut starts, progress)?;
        let server = starts.into_iter().flat_map(Start::into_servers).next().ok_or("nothing was started")?;
        Ok(Self { server })
    }

    pub(super) fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Makes a proxy that listens already, and leads nowhere yet: whoever is behind it must know where before it starts.
    /// Its port.
    pub(super) fn open(&self, name: &str) -> Result<u16, String> {
        for tried in 1.. {
            let port = free_ports(1)?[0];
            let wanted = json!({"name": name, "listen": on(port), "upstream": NOWHERE, "enabled": true});
            match self.post("/proxies", &wanted) {
                Err(said) if tried < TRIES && PORT_TAKEN.iter().any(|line| said.contains(line)) => {}
                opened => return opened.map(|()| port),
            }
        }
        unreachable!("the last try returns")
    }

    /// Where it leads.
    pub(super) fn lead(&self, name: &str, port: u16) -> Result<(), String> {
        self.post(&format!("/proxies/{name}"), &json!({"upstream": on(port), "enabled": true}))
    }

    /// Without, its connections are closed and new ones refused.
    pub(super) fn enable(&self, name: &str, enabled: bool) -> Result<(), String> {
        self.post(&format!("/proxies/{name}"), &json!({"enabled": enabled}))
    }

    fn post(&self, path: &str, body: &Value) -> Result<(), String> {
        let cannot = |why: String| format!("the proxies cannot be changed (POST {path}): {why}");
        let (address, body) = (on(self.server.port()), body.to_string());
        let answer = http::send(&address, BOUND, "POST", path, &[], body.as_bytes());
        match answer.map_err(|e| cannot(e.to_string()))? {
            (200 | 201, _) => Ok(()),
            (status, said) => Err(cannot(format!("{status} {}", String::from_utf8_lossy(&said)))),
        }
    }
}

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

fn on(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
