//! The process: what runs, in which order it ends, and how it waits for what it depends on.

use std::{convert::Infallible, sync::Arc, time::Duration};

use porchlight_bus::{BusError, Consumer, Handler, Producer, Table, Topic};
use porchlight_chassis::{
    health::{Condition, Health},
    http,
    lifecycle::{Manager, Phase},
};
use porchlight_domain::SystemClock;
use porchlight_neighborhoods::Neighborhoods;
use porchlight_push::Providers;
use porchlight_store::Store;
use porchlight_wire::NeighborhoodRecord;
use tokio_util::sync::CancellationToken;

use crate::{Config, Means, Planner, Polygons, Sender, metrics};

/// How often what is depended on is probed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a consumer's last word counts.
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
    let providers = Providers::new(&config.push)?;
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

    let producer = Producer::new(&config.kafka).map_err(|e| e.to_string())?;
    let polygons_of = move |store: &Store| {
        let table = table.clone();
        let loaded = Box::new(move || table.ready());
        Arc::new(Polygons::new(neighborhoods.clone(), store.registry.clone(), loaded))
    };

    let condition = health.condition("alerts", Some(STATUS_STALE));
    let stop = manager.token(Phase::Work);
    let (connected, kafka, pushes, polygons) =
        (connection.clone(), config.kafka.clone(), producer.clone(), polygons_of.clone());
    manager.spawn("plan", Phase::Work, async move {
        let Some(store) = connected.established(&stop).await else { return Ok::<(), BusError>(()) };
        let polygons = polygons(&store);
        let planner = Planner::new(store.registry, polygons, pushes.clone(), Arc::new(SystemClock));
        let consumer = Consumer::new(&kafka, "notification-plan", &[Topic::Alerts], planner, pushes)?;
        consume(consumer, &condition, stop).await
    });

    let condition = health.condition("pushes", Some(STATUS_STALE));
    let stop = manager.token(Phase::Work);
    manager.spawn("send", Phase::Work, async move {
        let Some(store) = connection.established(&stop).await else { return Ok::<(), BusError>(()) };
        let means = Means {
            polygons: polygons_of(&store),
            registry: store.registry,
            deliveries: store.deliveries,
            carriers: providers,
            clock: Arc::new(SystemClock),
            stop: stop.clone(),
        };
        let sender = Sender::new(means, config.send);
        let consumer = Consumer::new(&config.kafka, "notification-send", &[Topic::Pushes], sender, producer)?;
        consume(consumer, &condition, stop).await
    });
    Ok(())
}

/// Runs a consumer, and says all the while whether it is well.
async fn consume<H: Handler>(
    consumer: Consumer<H>,
    condition: &Condition,
    stop: CancellationToken,
) -> Result<(), BusError> {
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
    }
}

/// For components that cannot fail.
async fn ended_well(component: impl Future<Output = ()>) -> Result<(), Infallible> {
    component.await;
    Ok(())
}
