//! Real servers on loopback: Kafka 4 and Cassandra 5 from Maven, SeaweedFS (an S3 server) built by Go, all cached outside
//! the tree by the hash of the files that pin them.
//!
//! A folder holds one of each: `kafka/`, `cassandra/` and `seaweedfs/` with configuration and data, `*.log`, `ports.json`
//! (kept, so that they come back where their clients look for them), and `servers.json` while they run. Each process
//! carries its folder on its command line: that, not a process id alone, says whether a process is ours to stop.
//!
//! Kafka and Cassandra ask nobody who they are; the S3 server does, and its key stands in `servers.json` for everybody to
//! read: a fixed one, the same everywhere, that opens nothing but what listens on this machine's loopback.

pub(crate) mod archive;
mod authority;
pub(crate) mod cache;
pub(crate) mod cassandra;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod process;
mod s3;
pub(crate) mod seaweedfs;
pub mod secure;
pub(crate) mod server;
pub(crate) mod start;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use cassandra::Cassandra;
use kafka::Broker;
pub use s3::S3Server;
use seaweedfs::SeaweedFs;
use server::{Kind, Place, Server};
use start::Start;

/// How long a server may take to stop by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the ports of the last run are waited for before others are chosen.
const OLD_PORTS_BOUND: Duration = Duration::from_secs(3);
/// What tells others that servers run.
const DESCRIPTION: &str = "servers.json";
/// The ports of the last run.
const PORTS: &str = "ports.json";

/// Servers that run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Servers {
    /// Kafka's `bootstrap.servers`.
    pub kafka: String,
    /// Cassandra's `host:port`.
    pub cassandra: String,
    /// The S3 server.
    pub s3: S3Server,
    /// Process ids, by name.
    pub pids: BTreeMap<String, u32>,
}

/// Cassandra first: it takes longest, and Kafka's data folder is made while it starts.
fn kinds() -> [Box<dyn Kind>; 3] {
    [Box::new(Cassandra), Box::new(SeaweedFs), Box::new(Broker::alone())]
}

/// Their names.
const NAMES: [&str; 3] = [Cassandra::NAME, SeaweedFs::NAME, Broker::ALONE];

impl Servers {
    /// Fills the cache, so that servers can be started where there is no network. `progress` gets one line per step.
    ///
    /// # Errors
    /// A sentence.
    pub fn fetch(progress: &dyn Fn(&str)) -> Result<(), String> {
        let cache = cache::root(|name| std::env::var_os(name))?;
        kinds().iter().try_for_each(|kind| cache::folder_of(&cache, &**kind, progress).map(drop))
    }

    /// Starts all side by side with their data and logs in `dir`, waits until they answer, writes `dir/servers.json`;
    /// fills the cache first. `progress` gets one line per step. A server of this dir that runs already is kept, one
    /// that is gone (killed, for example) comes back on its data and, if they are free, its ports.
    ///
    /// # Errors
    /// A sentence, with the end of the server's log. What this call has started is stopped again.
    pub fn up(dir: &Path, progress: &dyn Fn(&str)) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| at(dir, "cannot be made", &e))?;
        let dir = canonical(dir)?;
        let _only_one = lock(&dir.join("lock"))?;
        let cache = cache::root(|name| std::env::var_os(name))?;
        let known = Self::read(&dir).ok();
        let old_ports: BTreeMap<String, Vec<u16>> = read_json(&dir.join(PORTS)).unwrap_or_default();

        let (mut to_start, mut pids) = (Vec::new(), BTreeMap::new());
        for kind in kinds() {
            let name = kind.name().to_owned();
            if let Some(pid) = known.as_ref().and_then(|known| known.running(&name, &dir)) {
                progress(&format!("{name} runs already"));
                pids.insert(name, pid);
                continue;
            }
            // Before anything starts: a build can take longer than a start may.
            let cached = cache::folder_of(&cache, &*kind, progress)?;
            to_start.push((kind, cached));
        }
        let mut starts = Vec::new();
        for (kind, cached) in to_start {
            // Left by a start that was killed halfway: it holds the data folder.
            process::stop_all(&process::of_home(&dir.join(kind.name())), STOP_GRACE)?;
            let ports = old_ports.get(kind.name());
            let ports = ports.filter(|p| p.len() == kind.ports() && start::all_free(p, OLD_PORTS_BOUND)).cloned();
            starts.push(Start::launch(vec![(kind, cached)], &dir, ports.map(|ports| vec![ports]), progress)?);
        }
        start::wait(&mut starts, progress)?;

        let started: Vec<Server> = starts.into_iter().flat_map(Start::into_servers).collect();
        let mut ports = old_ports;
        for server in &started {
            ports.insert(server.name().to_owned(), server.place().ports.clone());
            pids.extend(server.pid().map(|pid| (server.name().to_owned(), pid)));
        }
        let port = |name: &str| match ports.get(name).and_then(|p| p.first()) {
            Some(port) => Ok(*port),
            None => Err(format!("{name} runs in {}, but {PORTS} does not say where", dir.display())),
        };
        let servers = Self {
            kafka: format!("127.0.0.1:{}", port(Broker::ALONE)?),
            cassandra: format!("127.0.0.1:{}", port(Cassandra::NAME)?),
            s3: seaweedfs::client(port(SeaweedFs::NAME)?),
            pids,
        };
        write_json(&dir.join(PORTS), &ports)?;
        write_json(&dir.join(DESCRIPTION), &servers)?;
        started.into_iter().for_each(Server::keep);
        Ok(servers)
    }

    /// Reads `dir/servers.json` and checks that all live.
    ///
    /// # Errors
    /// A sentence: none run there, or one of them does not.
    pub fn attach(dir: &Path) -> Result<Self, String> {
        let servers = Self::read(dir)?;
        let dir = canonical(dir)?;
        match NAMES.iter().find(|name| servers.running(name, &dir).is_none()) {
            Some(gone) => Err(format!("{gone} does not run in {} (any more)", dir.display())),
            None => Ok(servers),
        }
    }

    /// Stops every server of this dir and waits; their data stay. None there is no error.
    ///
    /// # Errors
    /// One would not stop.
    pub fn down(dir: &Path) -> Result<(), String> {
        if !dir.exists() {
            return Ok(());
        }
        let dir = canonical(dir)?;
        let _only_one = lock(&dir.join("lock"))?;
        let all: Vec<_> = NAMES.iter().flat_map(|name| process::of_home(&dir.join(name))).collect();
        process::stop_all(&all, STOP_GRACE)?;
        match std::fs::remove_file(dir.join(DESCRIPTION)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(at(&dir.join(DESCRIPTION), "cannot be removed", &e))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Kills (SIGKILL) the server `name` (as in [`Servers::pids`]) of this dir and waits until it is gone; [`Servers::up`]
    /// brings it back. For tests of what survives.
    ///
    /// # Errors
    /// It would not go, or there is no such dir.
    pub fn kill(dir: &Path, name: &str) -> Result<(), String> {
        process::stop_all(&process::of_home(&canonical(dir)?.join(name)), Duration::ZERO)
    }

    fn read(dir: &Path) -> Result<Self, String> {
        read_json(&dir.join(DESCRIPTION)).ok_or_else(|| format!("no servers run in {}", dir.display()))
    }

    fn running(&self, name: &str, dir: &Path) -> Option<u32> {
        let pid = *self.pids.get(name)?;
        process::is_of_home(pid, &dir.join(name)).then_some(pid)
    }
}

/// Held until dropped.
fn lock(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|e| at(path, "cannot be written", &e))?;
    file.lock().map_err(|e| at(path, "cannot be locked", &e))?;
    Ok(file)
}

pub(crate) fn canonical(dir: &Path) -> Result<PathBuf, String> {
    dir.canonicalize().map_err(|e| at(dir, "cannot be opened", &e))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Whole or not at all: others wait for the file to appear.
fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    let part = path.with_extension("part");
    std::fs::write(&part, text + "\n").map_err(|e| at(&part, "cannot be written", &e))?;
    std::fs::rename(&part, path).map_err(|e| at(path, "cannot be written", &e))
}

/// Fills a template's `{port}` and the like, and writes it.
pub(crate) fn write_template(
    path: &Path,
    template: &str,
    values: &[(&str, &dyn std::fmt::Display)],
) -> Result<(), String> {
    let text = values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &value.to_string()));
    std::fs::write(path, text).map_err(|e| at(path, "cannot be written", &e))
}

pub(crate) fn at(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{} {what}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_without_servers_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for dir in [dir.path(), &dir.path().join("never-made")] {
            assert!(Servers::attach(dir).unwrap_err().starts_with("no servers run in "));
            Servers::down(dir).unwrap();
        }
    }

    #[test]
    fn a_process_id_that_belongs_to_another_is_not_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let servers = Servers {
            kafka: "127.0.0.1:1".into(),
            cassandra: "127.0.0.1:2".into(),
            s3: seaweedfs::client(3),
            pids: NAMES.map(|name| (name.to_owned(), std::process::id())).into(),
        };
        write_json(&dir.path().join(DESCRIPTION), &servers).unwrap();
        assert!(Servers::attach(dir.path()).unwrap_err().contains("does not run"));
        Servers::down(dir.path()).unwrap();
        assert!(!dir.path().join(DESCRIPTION).exists());
    }

    #[test]
    fn configurations_are_filled_completely() {
        let nodes = (1..=3).map(|id| Box::new(Broker::nth(id, 30_000 + id)) as Box<dyn Kind>);
        assert!(kinds().iter().map(|kind| kind.name()).eq(NAMES));
        let groups = kinds().into_iter().map(|kind| vec![kind]).chain([nodes.collect()]);
        for group in groups {
            let dir = tempfile::tempdir().unwrap();
            let mut port = 40_000;
            let places: Vec<Place> = (group.iter())
                .map(|kind| {
                    port += 100;
                    let ports = (port..).take(kind.ports()).collect();
                    Place { home: dir.path().join(kind.name()), cached: dir.path().into(), ports }
                })
                .collect();
            for (kind, place) in group.iter().zip(&places) {
                // Formatted already, as far as Kafka's `prepare` can see: no Java is run here.
                std::fs::create_dir_all(place.home.join("data")).unwrap();
                std::fs::write(place.home.join("data/meta.properties"), "").unwrap();
                kind.prepare(place, &places).unwrap();
                let files: String = std::fs::read_dir(&place.home)
                    .unwrap()
                    .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
                    .collect();
                let (said, name) = (format!("{files} {:?}", kind.command(place)), kind.name());
                for placeholder in ["port}", "={", "access_key"] {
                    assert!(!said.contains(placeholder), "{name}: a placeholder is left");
                }
                for port in &place.ports {
                    assert!(said.contains(&port.to_string()), "{name}: port {port} is not used");
                }
                assert!(said.contains(&process::marker(&place.home)), "{name}: carries no home");
            }
        }
    }
}
