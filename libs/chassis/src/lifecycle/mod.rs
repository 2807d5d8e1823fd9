//! The life of a process: one manager instance; components with names; SIGTERM or SIGINT turns readiness off, then stops
//! intake, then lets the drains finish within their budget. A component that ends by itself ends the process, with its
//! name in the last log line.

mod entry;

use std::{collections::HashMap, future::Future, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use entry::main;

use crate::health::Health;

/// Which phase of a shutdown ends a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Servers: stop first, finish the requests in hand.
    Intake,
    /// Consumers, senders: drain.
    Work,
    /// Producers, tables, probes, the admin server: last.
    Base,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Intake, Self::Work, Self::Base];

    /// By when of the whole budget a phase should be done. One that is not is left to finish beside those after it: a
    /// stream that does not end must not keep a consumer from draining.
    fn share(self, budget: Duration) -> Duration {
        match self {
            Self::Intake => budget / 2,
            Self::Work => budget * 9 / 10,
            Self::Base => budget,
        }
    }
}

/// Runs the components of one process.
pub struct Manager {
    health: Health,
    drain: Duration,
    tokens: [CancellationToken; 3],
    tasks: JoinSet<Result<(), String>>,
    running: HashMap<Id, (&'static str, Phase)>,
}

impl Manager {
    /// `drain`: the budget of the whole shutdown.
    pub fn new(health: Health, drain: Duration) -> Self {
        Self { health, drain, tokens: Default::default(), tasks: JoinSet::new(), running: HashMap::new() }
    }

    /// The token that is cancelled when `phase` is to stop.
    pub fn token(&self, phase: Phase) -> CancellationToken {
        self.tokens[phase as usize].clone()
    }

    /// Spawns a component. It must end soon after its phase's token is cancelled, and not before.
    pub fn spawn<E: std::fmt::Display + Send + 'static>(
        &mut self,
        name: &'static str,
        phase: Phase,
        component: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async move { component.await.map_err(|e| e.to_string()) });
        self.running.insert(task.id(), (name, phase));
    }

    /// Until SIGTERM/SIGINT (then `Ok` once all is drained) or until a component dies (its name and why).
    ///
    /// # Errors
    /// The component that died, or those that were not done within the budget.
    pub async fn run(self) -> Result<(), String> {
        let mut signals = entry::Signals::listen()?;
        self.run_until(async move { signals.next().await }).await
    }

    /// As [`Manager::run`], with `stop` instead of a signal, for several services in one process and for tests.
    ///
    /// # Errors
    /// As [`Manager::run`].
    pub async fn run_until(mut self, stop: impl Future<Output = &'static str>) -> Result<(), String> {
        let mut faults = Vec::new();
        tokio::select! {
            reason = stop => info!(reason, "stopping"),
            ended = self.next_end() => {
                let fault = match ended {
                    Some((name, _, Ok(()))) => format!("{name} ended by itself"),
                    Some((name, _, Err(why))) => format!("{name} died: {why}"),
                    None => "there is nothing to run".to_owned(),
                };
                warn!(fault, "stopping");
                faults.push(fault);
            }
        }
        // Readiness first: whoever routes to us learns of it while we still answer.
        self.health.stopping();
        let begun = Instant::now();
        for phase in Phase::ALL {
            self.tokens[phase as usize].cancel();
            let by = begun + phase.share(self.drain);
            while self.running.values().any(|(_, p)| *p <= phase) {
                match tokio::time::timeout_at(by, self.next_end()).await {
                    Ok(Some((_, _, Ok(())))) => {}
                    Ok(Some((name, _, Err(why)))) => faults.push(format!("{name} failed while it stopped: {why}")),
                    Ok(None) | Err(_) => break,
                }
            }
        }
        let mut unfinished: Vec<&str> = self.running.values().map(|(name, _)| *name).collect();
        if !unfinished.is_empty() {
            unfinished.sort_unstable();
            faults.push(format!("not done within {} ms: {}", self.drain.as_millis(), unfinished.join(", ")));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    /// The next component that ends, and how; a panic is a death like another.
    async fn next_end(&mut self) -> Option<(&'static str, Phase, Result<(), String>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(e) => (e.id(), Err(panicked(&e))),
        };
        let (name, phase) = self.running.remove(&id).unwrap_or(("unknown", Phase::Base));
        Some((name, phase, result))
    }
}

fn panicked(e: &JoinError) -> String {
    if e.is_panic() { "panicked".into() } else { "was cancelled".into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    const BUDGET: Duration = Duration::from_millis(200);

    fn manager() -> Manager {
        Manager::new(Health::new(), BUDGET)
    }

    async fn at_once() -> &'static str {
        "test"
    }

    #[tokio::test]
    async fn phases_stop_in_order_each_after_the_one_before_is_drained() {
        let (mut manager, order) = (manager(), Arc::new(Mutex::new(Vec::new())));
        for (name, phase) in [("producer", Phase::Base), ("consumer", Phase::Work), ("http", Phase::Intake)] {
            let (token, order) = (manager.token(phase), Arc::clone(&order));
            manager.spawn(name, phase, async move {
                token.cancelled().await;
                tokio::time::sleep(BUDGET / 20).await;
                order.lock().unwrap().push(name);
                Ok::<(), String>(())
            });
        }
        let health = manager.health.clone();
        health.condition("x", None).set(Ok(()));
        assert_eq!(manager.run_until(at_once()).await, Ok(()));
        assert_eq!(*order.lock().unwrap(), ["http", "consumer", "producer"]);
        assert!(health.ready().is_err());
    }

    #[tokio::test]
    async fn a_component_that_ends_dies_or_panics_ends_the_process_and_the_others_drain() {
        for (what, expected) in
            [("ends", "worker ended by itself"), ("errs", "worker died: no disk"), ("panics", "worker died: panicked")]
        {
            let mut manager = manager();
            let (token, drained) = (manager.token(Phase::Intake), Arc::new(Mutex::new(false)));
            let saw = Arc::clone(&drained);
            manager.spawn("http", Phase::Intake, async move {
                token.cancelled().await;
                *saw.lock().unwrap() = true;
                Ok::<(), String>(())
            });
            manager.spawn("worker", Phase::Work, async move {
                match what {
                    "ends" => Ok(()),
                    "errs" => Err("no disk"),
                    _ => panic!("at the disk"),
                }
            });
            assert_eq!(manager.run_until(std::future::pending()).await, Err(expected.into()));
            assert!(*drained.lock().unwrap());
        }
    }

    #[tokio::test]
    async fn what_hangs_is_named_and_does_not_keep_the_rest_from_draining() {
        let (mut manager, drained) = (manager(), Arc::new(Mutex::new(false)));
        manager.spawn("stream", Phase::Intake, std::future::pending::<Result<(), String>>());
        let (token, saw) = (manager.token(Phase::Work), Arc::clone(&drained));
        manager.spawn("consumer", Phase::Work, async move {
            token.cancelled().await;
            *saw.lock().unwrap() = true;
            Ok::<(), String>(())
        });
        let begun = Instant::now();
        assert_eq!(manager.run_until(at_once()).await, Err("not done within 200 ms: stream".into()));
        assert!(*drained.lock().unwrap());
        assert!(begun.elapsed() >= BUDGET, "it had all of its time");
    }

    #[tokio::test]
    async fn a_process_with_nothing_to_run_says_so() {
        assert_eq!(manager().run_until(std::future::pending()).await, Err("there is nothing to run".into()));
    }
}
