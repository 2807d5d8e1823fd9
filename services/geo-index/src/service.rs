//! The process: what runs, in which order it ends, and how it waits for what it depends on.

use std::{convert::Infallible, sync::Arc, time::Duration};

use porchlight_bus::{BusError, Consumer, Producer, Table, Topic};
use porchlight_chassis::{
    health::Health,
    http,
    lifecycle::{Manager, Phase},
};
use porchlight_clips::{S3, Vault};
use porchlight_domain::SystemClock;
use porchlight_neighborhoods::Neighborhoods;
use porchlight_wire::NeighborhoodRecord;

use uuid::Uuid;

use crate::{
    Config, Indexer,
    locate::in_batches,
    metrics,
    retention::{self, StoreRecords},
};

/// How often what is depended on is probed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the consumer's last word counts.
const STATUS_STALE: Duration = Duration::from_secs(5);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// A setting that cannot be, or the component that died, in a sentence.
pub async fn run(config: Config) -> Result<(), String> {
    let health = Health::new();
    let mut manager = Manager::new(health.clone(), Duration::from_millis(config.lifecycle.drain_ms));
    start(config, &health, &mut manager)?;
    manager.run().await
}

/// Puts the service's components into a process. Kafka, the store or its schema may be away: it waits, not ready, and
/// says for what.
///
/// # Errors
/// A setting that cannot be.
pub fn start(config: Config, health: &Health, manager: &mut Manager) -> Result<(), String> {
    metrics::register();
    let vault: Arc<dyn Vault> = Arc::new(S3::new(&config.s3)?);
    let base = manager.token(Phase::Base);
    manager.spawn("admin", Phase::Base, http::admin(&config.admin, health.clone(), base.clone()));

    let neighborhoods = Neighborhoods::new();
    let fed = neighborhoods.clone();
    let (table, keep_table) = Table::<NeighborhoodRecord>::start(
        &config.kafka,
        config.neighborhoods.table(),
        move |records| {
            fed.apply(records);
            metrics::neighborhoods(fed.snapshot().len());
        },
        base.clone(),
    )
    .map_err(|e| e.to_string())?;
    manager.spawn("neighborhoods", Phase::Base, keep_table);
    let probed = table.clone();
    let look = move || std::future::ready(probed.ready());
    let loaded = health.probe("neighborhoods", PROBE_EVERY, PROBE_TIMEOUT, look, base.clone());
    manager.spawn("neighborhoods probe", Phase::Base, ended_well(loaded));

    let (connection, connecting) = porchlight_store::keep_connecting(config.cql.clone(), base.clone());
    manager.spawn("store", Phase::Base, ended_well(connecting));
    let probed = connection.clone();
    let ping = move || {
        let probed = probed.clone();
        async move { probed.probe().await }
    };
    let answers = health.probe("store", PROBE_EVERY, PROBE_TIMEOUT, ping, base);
    manager.spawn("store probe", Phase::Base, ended_well(answers));

    // The store of objects may be away for long: no event waits for it, so it has no probe.
    let (stored, stop) = (connection.clone(), manager.token(Phase::Work));
    manager.spawn(
        "retention",
        Phase::Work,
        ended_well(async move {
            let Some(store) = stored.established(&stop).await else { return };
            let records =
                StoreRecords::new(store.media, store.registry, Uuid::new_v4(), config.retention.orphan_after_ms);
            retention::run(&vault, &records, &config.retention, &SystemClock, &stop).await;
        }),
    );

    let producer = Producer::new(&config.kafka).map_err(|e| e.to_string())?;
    let condition = health.condition("events", Some(STATUS_STALE));
    let stop = manager.token(Phase::Work);
    manager.spawn("geo-index", Phase::Work, async move {
        let Some(store) = connection.established(&stop).await else { return Ok::<(), BusError>(()) };
        let (locate, locating) = in_batches(move || {
            table.ready()?;
            Ok(neighborhoods.snapshot())
        });
        let indexer = Indexer::new(store.timeline, store.media, producer.clone(), locate, Arc::new(SystemClock));
        let consumer = Consumer::new(&config.kafka, "geo-index", &[Topic::Events], indexer, producer)?;
        let status = consumer.status();
        let telling = async {
            loop {
                condition.set(status.ready());
                tokio::time::sleep(PROBE_EVERY).await;
            }
        };
        tokio::select! {
            ended = consumer.run(stop) => ended,
            () = telling => Ok(()),
            () = locating => Ok(()),
        }
    });
    Ok(())
}

/// For components that cannot fail.
async fn ended_well(component: impl Future<Output = ()>) -> Result<(), Infallible> {
    component.await;
    Ok(())
}
