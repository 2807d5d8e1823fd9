//! Whether the store of objects answers: for a gauge and the log, never for readiness. Events go first, and what makes a
//! process ready is what they need.

use std::{convert::Infallible, sync::Arc, time::Duration};

use porchlight_clips::Vault;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics;

const EVERY: Duration = Duration::from_secs(5);

/// Asks until `stop`.
pub(crate) async fn watch(vault: Arc<dyn Vault>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut known = None;
    metrics::STORAGE_UP.set(0);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let answer = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = tokio::time::timeout(EVERY, vault.ping()) => answer,
        };
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", EVERY.as_millis())),
        };
        let up = answer.is_ok();
        metrics::STORAGE_UP.set(up.into());
        if known.replace(up) == Some(up) {
            continue;
        }
        match answer {
            Ok(()) => tracing::info!("the store of objects answers"),
            Err(reason) => tracing::warn!(reason, "the store of objects does not answer; no upload can be completed"),
        }
    }
}
