//! Finishes what writers left half done: every gateway projects the current rows of old intents.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Due, Registrar, Sweep, WriteError};
use crate::metrics;

/// The most intents that are looked at in one turn.
const PER_TURN: usize = 512;
/// How many of them side by side.
const SIDE_BY_SIDE: usize = 8;

/// One gateway's sweeper.
pub struct Sweeper {
    registrar: Registrar,
    sweep: Sweep,
}

impl Sweeper {
    /// It knows of nothing yet: a start looks at ten minutes again, which is harmless.
    pub fn new(registrar: Registrar) -> Self {
        Self { registrar, sweep: Sweep::default() }
    }

    /// A turn every `every`, until `shutdown`.
    pub async fn run(mut self, every: Duration, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let turn = tokio::select! {
                () = shutdown.cancelled() => return,
                turn = self.turn() => turn,
            };
            // Said once for each outage: every second would drown the rest.
            match &turn {
                Ok(()) if failing => tracing::info!("unfinished registry writes are looked after again"),
                Err(why) if !failing => tracing::warn!(%why, "unfinished registry writes must wait"),
                Ok(()) | Err(_) => {}
            }
            failing = turn.is_err();
        }
    }

    /// Reads the new intents and looks at those that are due.
    ///
    /// # Errors
    /// The first failure; what failed stays due.
    pub async fn turn(&mut self) -> Result<(), WriteError> {
        let now = self.registrar.clock.now();
        let (from, until) = self.sweep.window(now);
        let intents = self.registrar.registry.intents(from, until).await?;
        self.sweep.take(&intents, until);
        let due = self.sweep.due(now, PER_TURN);
        metrics::watched(self.sweep.len());

        let registrar = &self.registrar;
        let looked: Vec<(Due, Result<_, WriteError>)> = stream::iter(due)
            .map(|due| async move { (due, registrar.sweep(due.kind, due.done).await) })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        let mut first_failure = Ok(());
        for (due, result) in looked {
            match result {
                Ok(version) => self.sweep.looked(due.kind, version, now),
                Err(e) => first_failure = first_failure.and(Err(e)),
            }
        }
        first_failure
    }
}
