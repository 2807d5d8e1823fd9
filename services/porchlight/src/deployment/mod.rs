//! Porchlight's services on this machine: each its own binary and process, or all within this one; each its own
//! configuration file, ports chosen by the system. What lives in them is not known here; the city and the end-to-end tests are.

mod configuration;
mod process;
mod within;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use porchlight_bus::KafkaConfig;
use porchlight_clips::S3Config;
use porchlight_standins::servers::Servers;
use porchlight_store::CqlConfig;

pub use configuration::{Settings, Together};
use process::Process;

/// How long a process may drain before it is killed.
const DRAIN_BOUND: Duration = Duration::from_secs(30);
const NO_SUCH: &str = "no such process";

/// One of the four services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Service {
    /// What cameras talk to.
    Ingest,
    /// From point to neighborhoods.
    GeoIndex,
    /// From alert to phone.
    Notification,
    /// What people talk to.
    Gateway,
}

impl Service {
    /// In the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::GeoIndex, Self::Notification, Self::Ingest];

    /// Its name, as in its binary `porchlight-NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::GeoIndex => "geo-index",
            Self::Notification => "notification",
            Self::Gateway => "gateway",
        }
    }

    fn has_api(self) -> bool {
        match self {
            Self::Ingest | Self::Gateway => true,
            Self::GeoIndex | Self::Notification => false,
        }
    }
}

/// The services of one deployment, each with any number of processes. Dropped without [`Deployment::stop`], it kills
/// them.
#[derive(Debug)]
pub struct Deployment {
    dir: PathBuf,
    settings: Settings,
    processes: BTreeMap<(Service, usize), Process>,
}

impl Deployment {
    /// Makes schema and topics, starts `replicas` processes of each service with their files in `dir`, and waits until
    /// all are ready.
    ///
    /// # Errors
    /// A sentence, with the end of the log of the process that failed.
    pub async fn start(
        dir: &Path,
        settings: Settings,
        replicas: impl Fn(Service) -> usize,
        progress: &dyn Fn(&str),
    ) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        progress("applying the schema");
        porchlight_store::apply_schema(&settings.cql(), 1).await.map_err(|e| e.to_string())?;
        progress("applying the topics");
        let (kafka, partitions, replication) = (settings.kafka(), settings.partitions, settings.replication);
        porchlight_bus::apply_topics(&kafka, partitions, replication).await.map_err(|e| e.to_string())?;

        let mut deployment = Self { dir: dir.to_owned(), settings, processes: BTreeMap::new() };
        for service in Service::ALL {
            for _ in 0..replicas(service) {
                deployment.add(service)?;
            }
        }
        progress("waiting for the services");
        deployment.ready(Duration::from_secs(90)).await?;
        Ok(deployment)
    }

    /// Starts one process more of a service; its number is one above the last.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn add(&mut self, service: Service) -> Result<usize, String> {
        let last = self.processes.range((service, 0)..=(service, usize::MAX)).next_back();
        let n = last.map_or(0, |((_, n), _)| n + 1);
        let process = Process::prepare(&self.dir, service, n, &self.settings)?;
        self.processes.insert((service, n), process);
        self.spawn(service, n)?;
        Ok(n)
    }

    /// Takes a process out, to be ended while the others are seen to.
    ///
    /// # Errors
    /// There is none.
    pub fn part(&mut self, service: Service, n: usize) -> Result<Parting, String> {
        self.processes.remove(&(service, n)).map(Parting).ok_or_else(|| NO_SUCH.into())
    }

    /// What it is connected to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The processes.
    pub fn processes(&self) -> impl Iterator<Item = (Service, usize)> + '_ {
        self.processes.keys().copied()
    }

    /// Base URL of a service's API.
    pub fn api(&self, service: Service, n: usize) -> String {
        self.processes.get(&(service, n)).and_then(Process::api).unwrap_or_default()
    }

    /// Base URL of a process's `/livez`, `/readyz` and `/metrics`.
    pub fn admin(&self, service: Service, n: usize) -> String {
        self.processes.get(&(service, n)).and_then(Process::admin).unwrap_or_default()
    }

    /// Base URLs whose `/metrics` are the numbers of all, none of them twice.
    pub fn numbers(&self) -> Vec<String> {
        let all = self.processes().map(|(service, n)| self.admin(service, n));
        all.take(if self.settings.together.is_some() { 1 } else { usize::MAX }).collect()
    }

    /// The process id of a process that runs.
    pub fn pid(&self, service: Service, n: usize) -> Option<u32> {
        self.processes.get(&(service, n)).and_then(Process::pid)
    }

    /// The log file of a process.
    pub fn log(&self, service: Service, n: usize) -> PathBuf {
        self.processes.get(&(service, n)).map(Process::log).unwrap_or_default()
    }

    /// Starts a process that does not run (again, after [`Deployment::kill`]).
    ///
    /// # Errors
    /// The binary is not there.
    pub fn spawn(&mut self, service: Service, n: usize) -> Result<(), String> {
        self.processes.get_mut(&(service, n)).ok_or(NO_SUCH)?.spawn()
    }

    /// Kills a process at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self, service: Service, n: usize) {
        if let Some(process) = self.processes.get_mut(&(service, n)) {
            process.kill();
        }
    }

    /// Stops a process where it stands (SIGSTOP), on return: it lives, holds what it holds, and does nothing.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, service: Service, n: usize) -> Result<(), String> {
        self.process(service, n)?.freeze()
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self, service: Service, n: usize) -> Result<(), String> {
        self.process(service, n)?.thaw()
    }

    /// Ends a process (SIGTERM) and waits until it has drained; a frozen one goes on for that.
    ///
    /// # Errors
    /// It does not run, or did not drain and exit 0: the end of its log.
    pub async fn terminate(&mut self, service: Service, n: usize) -> Result<(), String> {
        self.process(service, n)?.terminate()?;
        self.processes.get_mut(&(service, n)).ok_or(NO_SUCH)?.wait(DRAIN_BOUND).await
    }

    /// How a process ended by itself, with the end of its log, until it is started again. None: it runs, or was ended
    /// from here.
    pub fn exited(&mut self, service: Service, n: usize) -> Option<String> {
        self.processes.get_mut(&(service, n)).and_then(Process::ended)
    }

    fn process(&self, service: Service, n: usize) -> Result<&Process, String> {
        self.processes.get(&(service, n)).ok_or_else(|| NO_SUCH.into())
    }

    /// Waits until every running process says that it is ready.
    ///
    /// # Errors
    /// One ended, or was not ready in time: what its `/readyz` said last, and the end of its log.
    pub async fn ready(&mut self, within: Duration) -> Result<(), String> {
        let until = tokio::time::Instant::now() + within;
        for process in self.processes.values_mut() {
            process.ready(until).await?;
        }
        Ok(())
    }

    /// The name of a process that has ended by itself, if any.
    pub fn ended(&mut self) -> Option<String> {
        self.processes.values_mut().find_map(Process::ended)
    }

    /// Ends all processes (SIGTERM; intake first, each waits for its drain).
    ///
    /// # Errors
    /// The names of those that did not drain and exit 0.
    pub async fn stop(mut self) -> Result<(), String> {
        let mut failed = Vec::new();
        for service in Service::ALL.into_iter().rev() {
            let ours = || (service, 0)..=(service, usize::MAX);
            for (_, process) in self.processes.range(ours()) {
                // One that does not run has nothing to drain.
                let _ = process.terminate();
            }
            for process in self.processes.range_mut(ours()).map(|(_, p)| p) {
                failed.extend(process.wait(DRAIN_BOUND).await.err());
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
    }
}

/// A process that is no part of its deployment any more. Dropped, it is killed.
#[derive(Debug)]
pub struct Parting(Process);

impl Parting {
    /// Ends it (SIGTERM) and waits so long until it has drained.
    ///
    /// # Errors
    /// It did not, and was killed, or it did not exit 0: the end of its log.
    pub async fn end(mut self, within: Duration) -> Result<(), String> {
        self.0.terminate()?;
        self.0.wait(within).await
    }
}

impl Settings {
    /// Kafka, as the services are told.
    pub fn kafka(&self) -> KafkaConfig {
        KafkaConfig {
            bootstrap_servers: self.servers.kafka.clone(),
            topic_prefix: format!("{}-", self.name),
            group_prefix: format!("{}-", self.name),
            ..configuration::client_defaults().kafka
        }
    }

    /// The database, as the services are told.
    pub fn cql(&self) -> CqlConfig {
        CqlConfig {
            contact_points: vec![self.servers.cassandra.clone()],
            keyspace: self.name.clone(),
            folder: self.together.as_ref().map(|together| together.store.clone()).unwrap_or_default(),
            ..configuration::client_defaults().cql
        }
    }

    /// The store of objects, as the services are told.
    pub fn s3(&self) -> S3Config {
        let server = self.servers.s3.clone();
        S3Config {
            endpoint: server.endpoint,
            region: server.region,
            bucket: server.bucket,
            prefix: format!("{}/", self.name),
            access_key_id: server.access_key_id,
            secret_access_key: server.secret_access_key,
            ..configuration::client_defaults().s3
        }
    }
}

/// A name that no other deployment on the same servers has: of topics, groups and keyspace.
pub fn unique_name(stem: &str) -> String {
    format!("{stem}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12])
}

/// Ends what an earlier, killed, run left in `dir`.
///
/// # Errors
/// A process would not end.
pub fn clear(dir: &Path) -> Result<(), String> {
    process::clear(dir)
}

/// Servers and deployment need no more than this of each other.
impl Settings {
    /// Settings of a deployment named `name` on these servers.
    pub fn new(name: String, servers: Servers) -> Self {
        Self {
            name,
            servers,
            reach: BTreeMap::new(),
            partitions: 4,
            replication: 1,
            group_protocol: configuration::CLASSIC.into(),
            kafka: String::new(),
            issuer: String::new(),
            recorder: String::new(),
            log_filter: "info".into(),
            retention: String::new(),
            gateway: String::new(),
            ports: BTreeMap::new(),
            together: None,
        }
    }
}
