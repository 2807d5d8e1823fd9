//! The device API: what cameras talk to. It proves the device, checks the event, and answers 202 only when the event is
//! in the log (G2). It grants uploads of clips and thumbnails, and answers 200 to their completion only when the store of
//! objects holds what was granted and the log knows it. It knows devices by heart (a table from `devices.v1`) and nothing
//! of polygons or people.
//!
//! `app` is what the requests share, `api` takes one apart, `media` does so for uploads, `auth` proves the device, `decode` reads the body, `accept` decides about one event,
//! `courtesy` carries it to the `log` and knows (by `recent`) what came lately, `tail` learns that from the log, `shed`
//! says what may pass under load.

mod accept;
mod api;
mod app;
mod auth;
mod config;
mod courtesy;
mod decode;
mod log;
mod media;
pub mod metrics;
mod recent;
mod shed;
mod tail;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use porchlight_bus::{Producer, Table, TableConfig};
use porchlight_chassis::{
    health::Health,
    http,
    lifecycle::{Manager, Phase},
};
use porchlight_clips::{S3, Vault};
use porchlight_domain::{Clock, Device, SystemClock};

pub use api::router;
pub use app::{App, Parts};
pub use auth::Devices;
pub use config::{Config, DEFAULT_TOML, DevicesConfig, IngestConfig, MediaConfig};
pub use log::Log;

/// How old the table's news may be for a credential to count (a revoked one is refused within 5 s).
const DEVICES_MAX_AGE: Duration = Duration::from_secs(3);
const TABLE_PROBE: Duration = Duration::from_millis(500);
const KAFKA_PROBE: Duration = Duration::from_secs(2);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// A component that cannot be or that died, or a drain that was not done in time.
pub async fn run(config: Config) -> Result<(), String> {
    assemble(config, |_| ())?.run().await
}

/// Puts the service together; its manager runs it. `bound` is called with the address of the device API.
///
/// # Errors
/// A setting that a client refuses. Brokers that are away are no error: the service waits, not ready, and says so. A store
/// of objects that is away is not even waited for.
pub fn assemble(config: Config, bound: impl FnOnce(SocketAddr) + Send + 'static) -> Result<Manager, String> {
    let health = Health::new();
    let mut manager = Manager::new(health.clone(), Duration::from_millis(config.lifecycle.drain_ms));
    let base = || Phase::Base;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let producer = Producer::new(&config.kafka).map_err(|e| e.to_string())?;
    let kept = TableConfig { max_age: DEVICES_MAX_AGE, snapshot_dir: config.devices.snapshot_dir.clone() };
    let (devices, table) =
        Table::<Device>::start(&config.kafka, kept, |_| (), manager.token(base())).map_err(|e| e.to_string())?;
    manager.spawn("devices table", base(), table);

    let vault: Arc<dyn Vault> = Arc::new(S3::new(&config.s3)?);
    manager.spawn("storage probe", base(), media::watch(Arc::clone(&vault), manager.token(base())));

    let app = App::new(
        &config.ingest,
        Parts {
            devices: Arc::new(devices.clone()),
            log: Arc::new(producer.clone()),
            vault,
            grant_key: config.media.key()?,
            clock: Arc::clone(&clock),
        },
    );
    if config.ingest.courtesy_tail {
        let known = health.condition("tail", None);
        let tail = tail::run(config.kafka.clone(), app.courtesy.clone(), clock, known, manager.token(base()));
        manager.spawn("tail", base(), tail);
    }

    let probe = health.probe(
        "devices",
        TABLE_PROBE,
        TABLE_PROBE,
        move || std::future::ready(devices.ready()),
        manager.token(base()),
    );
    manager.spawn("devices probe", base(), always_ok(probe));
    let asked = producer.clone();
    let probe = health.probe(
        "kafka",
        KAFKA_PROBE,
        KAFKA_PROBE,
        move || {
            let producer = asked.clone();
            async move { producer.reachable(KAFKA_PROBE * 3 / 4).await }
        },
        manager.token(base()),
    );
    manager.spawn("kafka probe", base(), always_ok(probe));

    // After the last request and before the end: what a client did not wait for is delivered all the same.
    let (stop, budget) = (manager.token(Phase::Work), Duration::from_millis(config.kafka.produce_wait_ms));
    manager.spawn("producer", Phase::Work, async move {
        stop.cancelled().await;
        match producer.flush(budget).await {
            0 => Ok(()),
            left => Err(format!("{left} records were still in flight")),
        }
    });

    manager.spawn("admin", base(), http::admin(&config.admin, health, manager.token(base())));
    let (router, document) = router(app);
    let stop = manager.token(Phase::Intake);
    manager.spawn("http", Phase::Intake, async move { http::serve(&config.http, router, document, bound, stop).await });
    Ok(manager)
}

async fn always_ok(component: impl Future<Output = ()> + Send) -> Result<(), String> {
    component.await;
    Ok(())
}
