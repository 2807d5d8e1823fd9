//! Servers of one run's own, that may be hurt: brokers, a Cassandra, an S3 server, and a proxy before each of them.
//!
//! They are the servers of [`crate::servers`], started in the same way, but nobody else's: they are killed, frozen and cut
//! off, and end with whoever started them. A broker knows two ways to itself. Whoever asks it past the proxy is sent on
//! past the proxies; whoever asks it through the proxy is sent on through them.

mod database;
mod proxy;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

pub use crate::servers::process::freeze;
use crate::servers::{
    S3Server, Servers, archive, at, cache, canonical,
    cassandra::Cassandra,
    kafka::Broker,
    process,
    seaweedfs::{self, SeaweedFs},
    server::{Kind, Server},
    start::{self, Start},
};
use database::Administered;
use proxy::{Proxies, Toxiproxy};

/// How long each of the at most two steps of [`Fleet::answers`] may take.
const ANSWER_BOUND: Duration = Duration::from_millis(400);
/// How long a port that must be the same again is waited for.
const OLD_PORT_BOUND: Duration = Duration::from_secs(3);
/// The most brokers of a fleet.
const MOST_BROKERS: u16 = 3;

/// Servers of one run's own, that may be hurt. Dropped, it kills everything that it started.
pub struct Fleet {
    /// Each, and the port of the proxy before it.
    servers: Vec<(Server, u16)>,
    proxies: Proxies,
    shared: Option<Servers>,
    /// One fleet a folder. Held until the servers are gone: fields are dropped in their order.
    _only_one: File,
}

/// Which servers there are to be.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Kafka nodes: 3 (a cluster that keeps three copies, of which two must be written), 1, or 0.
    pub brokers: usize,
    /// Whether it has a Cassandra of its own.
    pub cassandra: bool,
    /// Whether it has an S3 server of its own.
    pub s3: bool,
    /// Where what it has not of its own is taken from, without a proxy. Not there either: its address is empty.
    pub shared: Option<Servers>,
}

impl Layout {
    fn brokers(&self) -> Result<u16, String> {
        match self.brokers {
            0 => Ok(0),
            1 => Ok(1),
            3 => Ok(MOST_BROKERS),
            other => Err(format!("{other} brokers: it must be 3, 1 or 0")),
        }
    }
}

impl Fleet {
    /// Starts them with their data and logs in `dir`, waits until all answer; each broker has joined its cluster then.
    /// Fills the cache first. `progress` gets one line per step. What an earlier run, killed, left running in `dir` is
    /// killed.
    ///
    /// # Errors
    /// A sentence, with the end of the server's log: what this call has started is killed again. Or another fleet lives
    /// in `dir`.
    pub fn up(dir: &Path, layout: Layout, progress: &dyn Fn(&str)) -> Result<Self, String> {
        let brokers = layout.brokers()?;
        std::fs::create_dir_all(dir).map_err(|e| at(dir, "cannot be made", &e))?;
        let dir = canonical(dir)?;
        let only_one = lock(&dir)?;
        clear(&dir)?;
        let cache = cache::root(|name| std::env::var_os(name))?;
        let cached = |kind: Box<dyn Kind>| {
            let folder = cache::folder_of(&cache, &*kind, progress)?;
            Ok::<_, String>((kind, folder))
        };

        // All that is filled or built comes first: it can take longer than a start may.
        let toxiproxy = cached(Box::new(Toxiproxy))?;
        let mut groups: Vec<Vec<(Box<dyn Kind>, PathBuf)>> = Vec::new();
        if layout.cassandra {
            let cassandra = cached(Box::new(Administered))?;
            archive::make(Box::new(Cassandra), &cassandra.1, progress);
            groups.push(vec![cassandra]);
        }
        if layout.s3 {
            groups.push(vec![cached(Box::new(SeaweedFs))?]);
        }
        if brokers > 0 {
            let (alone, jars) = cached(Box::new(Broker::alone()))?;
            archive::make(alone, &jars, progress);
        }

        let proxies = Proxies::up(toxiproxy, &dir, progress)?;
        let mut opened = Vec::new();
        for (kind, _) in groups.iter().flatten() {
            opened.push(proxies.open(kind.name())?);
        }
        let mut cluster = Vec::new();
        for id in 1..=brokers {
            let port = proxies.open(&Broker::name_of(id))?;
            opened.push(port);
            cluster.push(cached(Box::new(Broker::nth(id, port)))?);
        }
        groups.push(cluster);

        let mut starts = Vec::new();
        for group in groups {
            starts.push(Start::launch(group, &dir, None, progress)?);
        }
        start::wait(&mut starts, progress)?;
        let servers: Vec<_> = starts.into_iter().flat_map(Start::into_servers).zip(opened).collect();
        for (server, _) in &servers {
            proxies.lead(server.name(), server.proxied_port())?;
        }
        Ok(Self { servers, proxies, shared: layout.shared, _only_one: only_one })
    }

    /// How they are reached past the proxies: for whoever counts at the end.
    pub fn direct(&self) -> Servers {
        self.reached(|server, _| server.port())
    }

    /// How they are reached through the proxies. Kafka: bootstrap and advertised addresses both lie behind them.
    pub fn proxied(&self) -> Servers {
        self.reached(|_, proxy| proxy)
    }

    fn reached(&self, port: impl Fn(&Server, u16) -> u16) -> Servers {
        let nowhere = S3Server {
            endpoint: String::new(),
            bucket: String::new(),
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: String::new(),
        };
        let mut servers = self.shared.clone().unwrap_or_else(|| Servers {
            kafka: String::new(),
            cassandra: String::new(),
            s3: nowhere,
            pids: BTreeMap::new(),
        });
        let mut brokers = Vec::new();
        for (server, proxy) in &self.servers {
            let port = port(server, *proxy);
            match server.name() {
                Cassandra::NAME => servers.cassandra = format!("127.0.0.1:{port}"),
                SeaweedFs::NAME => servers.s3 = seaweedfs::client(port),
                _ => brokers.push(format!("127.0.0.1:{port}")),
            }
            servers.pids.extend(server.pid().map(|pid| (server.name().to_owned(), pid)));
        }
        if !brokers.is_empty() {
            servers.kafka = brokers.join(",");
        }
        servers
    }

    /// The names of the servers: `kafka-1` and on, `cassandra`, `seaweedfs`.
    pub fn names(&self) -> Vec<String> {
        self.servers.iter().map(|(server, _)| server.name().to_owned()).collect()
    }

    /// The process id of a server that runs, frozen or not.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.server(name).ok()?.pid()
    }

    /// Kills a server (SIGKILL), frozen or not, and waits until it is gone. One that does not run stays so.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn kill(&mut self, name: &str) -> Result<(), String> {
        self.server_mut(name)?.kill();
        Ok(())
    }

    /// Stops a server where it stands (SIGSTOP), on return: its connections stay open, and nothing comes back on them.
    ///
    /// # Errors
    /// There is none of this name, or it does not run.
    pub fn freeze(&self, name: &str) -> Result<(), String> {
        self.server(name)?.freeze()
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// There is none of this name, or it does not run.
    pub fn thaw(&self, name: &str) -> Result<(), String> {
        self.server(name)?.thaw()
    }

    /// Starts a server that does not run again, on its data and its ports. It does not wait: see [`Fleet::answers`].
    ///
    /// # Errors
    /// There is none of this name, it runs, it cannot be started, or somebody else took one of its ports.
    pub fn launch(&mut self, name: &str) -> Result<(), String> {
        let server = self.server_mut(name)?;
        if server.pid().is_some() {
            return Err(format!("{name} runs already"));
        }
        server.kill();
        if !start::all_free(&server.place().ports, OLD_PORT_BOUND) {
            return Err(format!("{name} cannot come back: one of its ports {:?} is taken", server.place().ports));
        }
        server.spawn()
    }

    /// Whether a server answers one quick question (less than a second) at its direct port. A broker that does is in its
    /// cluster.
    pub fn answers(&self, name: &str) -> bool {
        self.server(name).is_ok_and(|server| server.answers(ANSWER_BOUND))
    }

    /// Closes a server's proxied connections and refuses new ones. Direct ones go on.
    ///
    /// # Errors
    /// There is none of this name, or the proxy does not do it.
    pub fn cut(&self, name: &str) -> Result<(), String> {
        self.proxies.enable(self.server(name)?.name(), false)
    }

    /// Ends a [`Fleet::cut`].
    ///
    /// # Errors
    /// There is none of this name, or the proxy does not do it.
    pub fn mend(&self, name: &str) -> Result<(), String> {
        self.proxies.enable(self.server(name)?.name(), true)
    }

    /// Stops everything and waits. By SIGKILL: nobody needs its data any more.
    ///
    /// # Errors
    /// A server had ended by itself: the end of its log.
    pub fn down(mut self) -> Result<(), String> {
        let all = self.servers.iter_mut().map(|(server, _)| server).chain([self.proxies.server()]);
        let mut failed = Vec::new();
        for server in all {
            failed.extend(server.ended()?.map(|how| server.failed(&how)));
            server.kill();
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
    }

    fn server(&self, name: &str) -> Result<&Server, String> {
        let mut servers = self.servers.iter().map(|(server, _)| server);
        servers.find(|server| server.name() == name).ok_or_else(|| self.no_such(name))
    }

    fn server_mut(&mut self, name: &str) -> Result<&mut Server, String> {
        let none = self.no_such(name);
        let mut servers = self.servers.iter_mut().map(|(server, _)| server);
        servers.find(|server| server.name() == name).ok_or(none)
    }

    fn no_such(&self, name: &str) -> String {
        format!("there is no {name} here; there are: {}", self.names().join(", "))
    }
}

/// Somebody else's servers are not waited for: they may live as long as they like.
fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| at(&path, "cannot be written", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("another fleet lives in {}", dir.display())),
        Err(TryLockError::Error(e)) => Err(at(&path, "cannot be locked", &e)),
    }
}

/// Kills whatever carries a home of this folder: under the lock, nobody else's.
fn clear(dir: &Path) -> Result<(), String> {
    let names = [Toxiproxy::NAME, Cassandra::NAME, SeaweedFs::NAME].map(str::to_owned);
    let names = names.into_iter().chain((1..=MOST_BROKERS).map(Broker::name_of));
    let left: Vec<_> = names.flat_map(|name| process::of_home(&dir.join(name))).collect();
    process::stop_all(&left, Duration::ZERO)
}
