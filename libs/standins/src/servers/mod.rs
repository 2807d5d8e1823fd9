//! Real servers on loopback: Kafka 4 and Cassandra 5 from Maven, SeaweedFS (an S3 server) built by Go, all cached outside
//! the tree by the hash of the files that pin them.
//!
//! A folder holds one of each: `kafka/`, `cassandra/` and `seaweedfs/` with configuration and data, `*.log`, `ports.json`
//! (kept, so that they come back where their clients look for them), and `servers.json` while they run. Each process
//! carries its folder on its command line: that, not a process id alone, says whether a process is ours to stop.
//!
//! Kafka and Cassandra ask nobody who they are; the S3 server does, and its key stands in `servers.json` for everybody to
//! read: a fixed one, the same everywhere, that opens nothing but what listens on this machine's loopback.

mod cache;
mod cassandra;
mod kafka;
mod process;
mod s3;
mod seaweedfs;
mod start;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub use s3::S3Server;
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

/// What there is to know of one kind of server.
struct Kind {
    /// Names its folders, its log and its process in [`Servers::pids`].
    name: &'static str,
    /// What it runs from.
    source: cache::Source,
    /// How many ports it listens on; clients use the first.
    ports: usize,
    /// Whether it answers clients, by what its log says since it was started and by asking at its first port.
    answers: fn(log: &str, port: u16) -> bool,
    /// Writes its configuration, and makes its data folder if there is none.
    prepare: fn(&Place) -> Result<(), String>,
    /// What runs it, in its home.
    command: fn(&Place) -> Command,
}

/// Where one server lives.
struct Place {
    /// Configuration and data; the working directory.
    home: PathBuf,
    /// What it runs from: its folder in the cache.
    cached: PathBuf,
    /// On 127.0.0.1.
    ports: Vec<u16>,
}

/// Cassandra first: it takes longest, and Kafka's data folder is made while it starts.
const KINDS: [&Kind; 3] = [&cassandra::KIND, &seaweedfs::KIND, &kafka::KIND];

impl Servers {
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
        for kind in KINDS {
            if let Some(pid) = known.as_ref().and_then(|known| known.running(kind, &dir.join(kind.name))) {
                progress(&format!("{} runs already", kind.name));
                pids.insert(kind.name.to_owned(), pid);
                continue;
            }
            // Before anything starts: a build can take longer than a start may.
            to_start.push((kind, cache::folder(&cache, kind.source.tool(), kind.name, &kind.source, progress)?));
        }
        let mut starts = Vec::new();
        for (kind, cached) in to_start {
            let home = dir.join(kind.name);
            // Left by a start that was killed halfway: it holds the data folder.
            process::stop_all(&process::of_home(&home), STOP_GRACE)?;
            let ports =
                old_ports.get(kind.name).filter(|p| p.len() == kind.ports && start::all_free(p, OLD_PORTS_BOUND));
            starts.push(Start::launch(kind, &dir, cached, ports.cloned(), progress)?);
        }
        start::wait(&mut starts, progress)?;

        let mut ports = old_ports;
        for start in &starts {
            ports.insert(start.name().to_owned(), start.ports().to_vec());
            pids.insert(start.name().to_owned(), start.pid());
        }
        let port = |kind: &Kind| match ports.get(kind.name).and_then(|p| p.first()) {
            Some(port) => Ok(*port),
            None => Err(format!("{} runs in {}, but {PORTS} does not say where", kind.name, dir.display())),
        };
        let servers = Self {
            kafka: format!("127.0.0.1:{}", port(&kafka::KIND)?),
            cassandra: format!("127.0.0.1:{}", port(&cassandra::KIND)?),
            s3: seaweedfs::client(port(&seaweedfs::KIND)?),
            pids,
        };
        write_json(&dir.join(PORTS), &ports)?;
        write_json(&dir.join(DESCRIPTION), &servers)?;
        starts.into_iter().for_each(Start::keep);
        Ok(servers)
    }

    /// Reads `dir/servers.json` and checks that all live.
    ///
    /// # Errors
    /// A sentence: none run there, or one of them does not.
    pub fn attach(dir: &Path) -> Result<Self, String> {
        let servers = Self::read(dir)?;
        let dir = canonical(dir)?;
        match KINDS.iter().find(|kind| servers.running(kind, &dir.join(kind.name)).is_none()) {
            Some(gone) => Err(format!("{} does not run in {} (any more)", gone.name, dir.display())),
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
        let all: Vec<_> = KINDS.iter().flat_map(|kind| process::of_home(&dir.join(kind.name))).collect();
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

    fn running(&self, kind: &Kind, home: &Path) -> Option<u32> {
        let pid = *self.pids.get(kind.name)?;
        process::is_of_home(pid, home).then_some(pid)
    }
}

/// Held until dropped.
fn lock(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|e| at(path, "cannot be written", &e))?;
    file.lock().map_err(|e| at(path, "cannot be locked", &e))?;
    Ok(file)
}

fn canonical(dir: &Path) -> Result<PathBuf, String> {
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
fn write_template(path: &Path, template: &str, values: &[(&str, &dyn std::fmt::Display)]) -> Result<(), String> {
    let text = values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &value.to_string()));
    std::fs::write(path, text).map_err(|e| at(path, "cannot be written", &e))
}

fn at(path: &Path, what: &str, error: &std::io::Error) -> String {
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
            pids: KINDS.map(|kind| (kind.name.to_owned(), std::process::id())).into(),
        };
        write_json(&dir.path().join(DESCRIPTION), &servers).unwrap();
        assert!(Servers::attach(dir.path()).unwrap_err().contains("does not run"));
        Servers::down(dir.path()).unwrap();
        assert!(!dir.path().join(DESCRIPTION).exists());
    }

    #[test]
    fn configurations_are_filled_completely() {
        for kind in KINDS {
            let dir = tempfile::tempdir().unwrap();
            let home = dir.path().join(kind.name);
            // Formatted already, as far as Kafka's `prepare` can see: no Java is run here.
            std::fs::create_dir_all(home.join("data")).unwrap();
            std::fs::write(home.join("data/meta.properties"), "").unwrap();
            let ports = (1..=kind.ports).map(|n| 40_000 + u16::try_from(n).unwrap()).collect::<Vec<_>>();
            let place = Place { home: home.clone(), cached: dir.path().into(), ports: ports.clone() };
            (kind.prepare)(&place).unwrap();
            let files: String = std::fs::read_dir(&home)
                .unwrap()
                .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
                .collect();
            let said = format!("{files} {:?}", (kind.command)(&place));
            for placeholder in ["port}", "access_key"] {
                assert!(!said.contains(placeholder), "{}: a placeholder is left", kind.name);
            }
            for port in ports {
                assert!(said.contains(&port.to_string()), "{}: port {port} is not used", kind.name);
            }
            assert!(said.contains(&process::marker(&home)), "{}: carries no home", kind.name);
        }
    }
}
