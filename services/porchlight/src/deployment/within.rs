//! A service within this process: the code and the file of its binary, stopped by a token instead of a signal.

use std::path::PathBuf;

use axum::Router;
use futures::FutureExt as _;
use porchlight_chassis::{config::load, health::Health, lifecycle::Manager};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Service;

#[derive(Debug)]
pub(super) struct Within {
    stop: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

impl Within {
    /// Starts a service from its file. `beside`: what the gateway serves beside its own API.
    pub(super) fn start(service: Service, file: PathBuf, beside: Router) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(service, file, beside, stop.clone()));
        Self { stop, task }
    }

    /// Asks it to drain.
    pub(super) fn terminate(&self) {
        self.stop.cancel();
    }

    /// How it ended; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<Result<(), String>> {
        (&mut self.task).now_or_never().map(|joined| joined.map_err(|e| e.to_string()).flatten())
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

async fn run(service: Service, file: PathBuf, beside: Router, stop: CancellationToken) -> Result<(), String> {
    // Its variables are the deployment's own: those of this process are meant for somebody else.
    fn read<C: DeserializeOwned>(defaults: &str, file: &std::path::Path) -> Result<C, String> {
        load(defaults, Some(file), []).map_err(|e| e.to_string())
    }
    let health = Health::new();
    let managed = |drain_ms: u64| Manager::new(health.clone(), std::time::Duration::from_millis(drain_ms));
    let manager = match service {
        Service::Ingest => porchlight_ingest::assemble(read(porchlight_ingest::DEFAULT_TOML, &file)?, |_| ())?,
        Service::GeoIndex => {
            let config: porchlight_geo_index::Config = read(porchlight_geo_index::DEFAULT_TOML, &file)?;
            let mut manager = managed(config.lifecycle.drain_ms);
            porchlight_geo_index::start(config, &health, &mut manager)?;
            manager
        }
        Service::Notification => {
            let config: porchlight_notification::Config = read(porchlight_notification::DEFAULT_TOML, &file)?;
            let mut manager = managed(config.lifecycle.drain_ms);
            porchlight_notification::start(config, &health, &mut manager)?;
            manager
        }
        Service::Gateway => {
            let config: porchlight_gateway::Config = read(porchlight_gateway::DEFAULT_TOML, &file)?;
            let mut manager = managed(config.lifecycle.drain_ms);
            porchlight_gateway::start(&config, beside, &health, &mut manager)?;
            manager
        }
    };
    manager
        .run_until(async move {
            stop.cancelled().await;
            "asked to"
        })
        .await
}
