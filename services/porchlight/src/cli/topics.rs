//! `porchlight topics`: the topics, and the tables that they feed.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use porchlight_bus::{BusError, KafkaConfig, Producer, Topic, TopicReport};
use porchlight_domain::{Device, DeviceId, NeighborhoodId};
use porchlight_store::{Read, Registry, Store};
use porchlight_wire::{NeighborhoodRecord, Wire};

use super::{
    Config, Failure,
    output::{progress, table},
};

/// How long brokers may take to be reached once more, to say why they were not.
const REACH: Duration = Duration::from_secs(10);
/// How many ids are read at once.
const PAGE: usize = 500;
/// How often a row that others write at the same moment is published again before that is a failure.
const ROUNDS: usize = 8;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make the topics that are missing, and say how those that are there differ from the contract. Changes none.
    #[command(after_help = "Examples:\n  porchlight topics apply\n  porchlight --config production.toml topics apply \
        --partitions 48 --replication 3")]
    Apply {
        /// Partitions of events, alerts and dead letters; the others derive theirs from it.
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// Copies of each partition.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        replication: i32,
    },
    /// Publish every row of a table again, each as it stands. Harmless at any time: for a topic that was lost, or does
    /// not say what the rows say.
    #[command(after_help = "Example:\n  porchlight topics rebuild devices")]
    Rebuild {
        /// Which table.
        table: Rebuilt,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Rebuilt {
    /// Devices and their credentials' hashes.
    Devices,
    /// Polygons.
    Neighborhoods,
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    match command {
        Command::Apply { partitions, replication } => {
            let reports = porchlight_bus::apply_topics(&config.kafka, partitions, replication).await;
            match reports {
                Ok(reports) => Ok(describe(&reports)),
                Err(error) => Err(Failure::Failed(explain(&config.kafka, &error).await)),
            }
        }
        Command::Rebuild { table } => {
            let store = Store::connect(&config.cql).await.map_err(failed)?;
            let producer = Producer::new(&config.kafka).map_err(|e| Failure::Usage(e.to_string()))?;
            let count = match table {
                Rebuilt::Devices => rebuild::<Device>(&*store.registry, &producer).await?,
                Rebuilt::Neighborhoods => rebuild::<NeighborhoodRecord>(&*store.registry, &producer).await?,
            };
            Ok(format!("{count} rows published again\n"))
        }
    }
}

/// The client says that nobody answered; why is asked once more.
async fn explain(kafka: &KafkaConfig, error: &BusError) -> String {
    let why = match porchlight_bus::reach(kafka, REACH).await {
        Ok(_) => format!("kafka.bootstrap_servers is {}", kafka.bootstrap_servers),
        Err(unreachable) => unreachable.to_string(),
    };
    format!("{error}\n({why})")
}

fn failed(e: impl std::fmt::Display) -> Failure {
    Failure::Failed(e.to_string())
}

fn describe(reports: &[TopicReport]) -> String {
    let row = |report: &TopicReport| {
        let state = if report.created { "created" } else { "present" };
        vec![report.name.clone(), report.partitions.to_string(), state.to_owned()]
    };
    let mut text = table(&["TOPIC", "PARTITIONS", "STATE"], &reports.iter().map(row).collect::<Vec<_>>());
    for report in reports {
        for drift in &report.drift {
            text += &format!("{} is not as it should be: {drift}\n", report.name);
        }
    }
    text
}

/// A row whose truth stands in the store and is fed to a topic.
trait Fed: Wire {
    type Id: Copy;
    const TOPIC: Topic;
    fn version(&self) -> u64;
    fn key(id: &Self::Id) -> &[u8];
    async fn ids(registry: &dyn Registry, after: Option<Self::Id>) -> Result<Vec<Self::Id>, Failure>;
    /// Serially: what is in flight is finished first.
    async fn read(registry: &dyn Registry, id: Self::Id) -> Result<Option<Self>, Failure>;
}

impl Fed for Device {
    type Id = DeviceId;
    const TOPIC: Topic = Topic::Devices;
    fn version(&self) -> u64 {
        self.version.0
    }
    fn key(id: &DeviceId) -> &[u8] {
        id.0.as_bytes()
    }
    async fn ids(registry: &dyn Registry, after: Option<DeviceId>) -> Result<Vec<DeviceId>, Failure> {
        registry.device_ids(after, PAGE).await.map_err(failed)
    }
    async fn read(registry: &dyn Registry, id: DeviceId) -> Result<Option<Self>, Failure> {
        registry.device(id, Read::Serial).await.map_err(failed)
    }
}

impl Fed for NeighborhoodRecord {
    type Id = NeighborhoodId;
    const TOPIC: Topic = Topic::Neighborhoods;
    fn version(&self) -> u64 {
        self.version.0
    }
    fn key(id: &NeighborhoodId) -> &[u8] {
        id.0.as_bytes()
    }
    async fn ids(registry: &dyn Registry, after: Option<NeighborhoodId>) -> Result<Vec<NeighborhoodId>, Failure> {
        registry.neighborhood_ids(after, PAGE).await.map_err(failed)
    }
    async fn read(registry: &dyn Registry, id: NeighborhoodId) -> Result<Option<Self>, Failure> {
        registry.neighborhood(id, Read::Serial).await.map_err(failed)
    }
}

async fn rebuild<F: Fed>(registry: &dyn Registry, producer: &Producer) -> Result<u64, Failure> {
    let (mut count, mut after) = (0, None);
    loop {
        let ids = F::ids(registry, after).await?;
        let Some(last) = ids.last() else { return Ok(count) };
        for id in &ids {
            count += u64::from(publish::<F>(registry, producer, *id).await?);
        }
        progress(&format!("{count} rows"));
        after = Some(*last);
    }
}

/// Publishes a row as read, until it stands still: a topic keeps the last record of a key, not the highest version, so
/// that whoever publishes last must have read last. Whether there is such a row.
async fn publish<F: Fed>(registry: &dyn Registry, producer: &Producer, id: F::Id) -> Result<bool, Failure> {
    let Some(mut row) = F::read(registry, id).await? else { return Ok(false) };
    for _ in 0..ROUNDS {
        producer.send(F::TOPIC, Some(F::key(&id)), &row.encode(), &[]).await.map_err(failed)?;
        match F::read(registry, id).await? {
            Some(again) if again.version() > row.version() => row = again,
            Some(_) | None => return Ok(true),
        }
    }
    Err(Failure::Failed("a row is written without end: stop its writer, then do this again".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_told_below_the_table() {
        let report = |topic: Topic, created, drift: &[&str]| TopicReport {
            topic,
            name: topic.name().to_owned(),
            partitions: 12,
            created,
            drift: drift.iter().map(|&s| s.to_owned()).collect(),
        };
        let text = describe(&[
            report(Topic::Events, true, &[]),
            report(Topic::Alerts, false, &["it has 12 partitions, not 24"]),
        ]);
        assert_eq!(
            text,
            "TOPIC      PARTITIONS  STATE\n\
             events.v1  12          created\n\
             alerts.v1  12          present\n\
             alerts.v1 is not as it should be: it has 12 partitions, not 24\n"
        );
    }
}
