//! The process: what runs, in which order it ends, and how it waits for what it depends on.

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use porchlight_bus::{KafkaConfig, Producer, Table};
use porchlight_chassis::{
    config::HttpConfig,
    health::{Condition, Health},
    http,
    lifecycle::{Manager, Phase},
};
use porchlight_clips::S3;
use porchlight_domain::SystemClock;
use porchlight_neighborhoods::Neighborhoods;
use porchlight_push::Providers;
use porchlight_store::{CqlConfig, Store};
use porchlight_wire::NeighborhoodRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    App, Config,
    app::Parts,
    auth::Tokens,
    registry::Sweeper,
    stream::{self, KafkaAlerts},
};

/// How often what is depended on is probed, and how long one probe may take.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer about the store counts this long: longer than a try to connect and the pause after it.
const STORE_STALE: Duration = Duration::from_secs(30);
/// How often the table's state is looked at: no question to anybody.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two tries to connect to the store: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// A setting that cannot be, or the component that died, in a sentence.
pub async fn run(config: Config) -> Result<(), String> {
    let health = Health::new();
    let mut manager = Manager::new(health.clone(), Duration::from_millis(config.lifecycle.drain_ms));
    start(&config, Router::new(), &health, &mut manager)?;
    manager.run().await
}

/// Puts the gateway's components into a process. The API is served once the store was there for the first time; until
/// then, and whenever something is away that is needed, the process is not ready and says why. `beside`: what is served
/// on the same address beside the API; it has its own rules of who may see it.
///
/// # Errors
/// A setting that cannot be.
pub fn start(config: &Config, beside: Router, health: &Health, manager: &mut Manager) -> Result<(), String> {
    let producer = Producer::new(&config.kafka).map_err(|e| e.to_string())?;
    let tokens = Tokens::new(&config.auth)?;
    let vault = Arc::new(S3::new(&config.s3)?);
    let neighborhoods = Neighborhoods::new();
    let fed = neighborhoods.clone();
    let (table, keep_table) = Table::<NeighborhoodRecord>::start(
        &config.kafka,
        config.gateway.table(),
        move |records| fed.apply(records),
        manager.token(Phase::Base),
    )
    .map_err(|e| e.to_string())?;
    manager.spawn("neighborhoods", Phase::Base, keep_table);
    manager.spawn("admin", Phase::Base, http::admin(&config.admin, health.clone(), manager.token(Phase::Base)));

    let keys = tokens.clone().run(health.condition("issuer", None), manager.token(Phase::Base));
    manager.spawn("issuer", Phase::Base, ended_well(keys));
    let probed = producer.clone();
    let kafka = health.probe(
        "kafka",
        PROBE_EVERY,
        PROBE_TIMEOUT,
        move || {
            let probed = probed.clone();
            async move { probed.reachable(PROBE_TIMEOUT / 2).await }
        },
        manager.token(Phase::Base),
    );
    manager.spawn("kafka probe", Phase::Base, ended_well(kafka));
    let looked_at = table.clone();
    let loaded = health.probe(
        "neighborhoods",
        LOOK_EVERY,
        PROBE_TIMEOUT,
        move || std::future::ready(looked_at.ready()),
        manager.token(Phase::Base),
    );
    manager.spawn("neighborhoods probe", Phase::Base, ended_well(loaded));

    let vapid_public_key = Providers::new(&config.push)?.vapid_public_key().to_owned();
    let (config, every) = (config.clone(), Duration::from_millis(config.gateway.sweep_every_ms));
    let (kafka_config, reconcile_every) =
        (config.kafka.clone(), Duration::from_millis(config.gateway.reconcile_every_ms));
    let listen = config.http.clone();
    let cql = config.cql.clone();
    let (alerts, closing) = (KafkaAlerts::new(&config.kafka), manager.token(Phase::Intake));
    let assemble = move |store| {
        let parts = Parts {
            store,
            vault,
            publisher: Arc::new(producer),
            neighborhoods,
            fresh: Arc::new(move || table.ready()),
            tokens,
            clock: Arc::new(SystemClock),
            vapid_public_key,
            closing,
        };
        App::new(&config, parts)
    };
    let (assembled, app) = watch::channel(None::<App>);
    let condition = health.condition("store", Some(STORE_STALE));
    let store = keep_store(cql, assemble, assembled, condition, manager.token(Phase::Base));
    manager.spawn("store", Phase::Base, ended_well(store));
    let listening = health.condition("api", None);
    manager.spawn("api", Phase::Intake, serve(listen, app.clone(), beside, listening, manager.token(Phase::Intake)));
    let streams = stream(alerts, app.clone(), manager.token(Phase::Work));
    manager.spawn("streams", Phase::Work, ended_well(streams));
    let reconciled = reconcile(reconcile_every, kafka_config, app.clone(), manager.token(Phase::Work));
    manager.spawn("reconciler", Phase::Work, ended_well(reconciled));
    manager.spawn("sweeper", Phase::Work, ended_well(sweep(every, app, manager.token(Phase::Work))));
    Ok(())
}

/// For components that cannot fail.
async fn ended_well(component: impl Future<Output = ()>) -> Result<(), String> {
    component.await;
    Ok(())
}

/// Connects to the store, however long that takes, hands the assembled app on, and probes from then on.
async fn keep_store(
    config: CqlConfig,
    assemble: impl FnOnce(Store) -> App,
    assembled: watch::Sender<Option<App>>,
    condition: Condition,
    shutdown: CancellationToken,
) {
    let (mut backoff, last) = BACKOFF;
    let store = loop {
        let tried = tokio::select! {
            () = shutdown.cancelled() => return,
            tried = Store::connect(&config) => tried,
        };
        match tried {
            Ok(store) => break store,
            // Refused too: the schema may be applied any moment.
            Err(e) => condition.set(Err(e.to_string())),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(last),
        }
    };
    assembled.send_replace(Some(assemble(store.clone())));
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return,
            answer = tokio::time::timeout(PROBE_TIMEOUT, store.ping()) => answer,
        };
        condition.set(match answer {
            Ok(answer) => answer.map_err(|e| e.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
    }
}

/// The app, as soon as there is one; `None` on shutdown.
async fn ready(mut app: watch::Receiver<Option<App>>, shutdown: &CancellationToken) -> Option<App> {
    tokio::select! {
        () = shutdown.cancelled() => None,
        app = app.wait_for(Option::is_some) => app.ok().and_then(|app| app.clone()),
    }
}

async fn serve(
    config: HttpConfig,
    app: watch::Receiver<Option<App>>,
    beside: Router,
    listening: Condition,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let Some(app) = ready(app, &shutdown).await else { return Ok(()) };
    let (router, document) = app.router();
    // Ready means that somebody listens: the store is there a moment before that.
    http::serve(&config, router.merge(beside), document, move |_| listening.set(Ok(())), shutdown).await
}

async fn reconcile(
    every: Duration,
    kafka: KafkaConfig,
    app: watch::Receiver<Option<App>>,
    shutdown: CancellationToken,
) {
    if let Some(app) = ready(app, &shutdown).await {
        app.registrar().clone().keep_reconciled(kafka, every, shutdown).await;
    }
}

async fn stream(alerts: KafkaAlerts, app: watch::Receiver<Option<App>>, shutdown: CancellationToken) {
    if let Some(app) = ready(app, &shutdown).await {
        stream::run(app, alerts, shutdown).await;
    }
}

async fn sweep(every: Duration, app: watch::Receiver<Option<App>>, shutdown: CancellationToken) {
    if let Some(app) = ready(app, &shutdown).await {
        Sweeper::new(app.registrar().clone()).run(every, shutdown).await;
    }
}
