//! Readiness: named conditions, each set by whoever knows; a stale answer is "not ready". Liveness tests no dependency.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// All conditions of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopping: bool,
    conditions: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    stale_after: Option<Duration>,
    /// When it was set, and to what; `None`: never yet.
    answer: Option<(Instant, Result<(), String>)>,
}

impl Entry {
    fn met(&self, now: Instant) -> Result<(), String> {
        let Some((at, state)) = &self.answer else { return Err("starting".into()) };
        match self.stale_after {
            Some(limit) if now.duration_since(*at) > limit => Err("no fresh answer".into()),
            Some(_) | None => state.clone(),
        }
    }
}

impl Health {
    /// None yet: not ready until the first condition is.
    pub fn new() -> Self {
        Self::default()
    }

    /// A condition that its owner sets; not ready ("starting") until set. `stale_after`: how long an answer counts;
    /// `None`: until replaced. Asked twice for one name, it is the same condition begun anew.
    pub fn condition(&self, name: &'static str, stale_after: Option<Duration>) -> Condition {
        let mut state = self.state();
        let entry = Entry { name, stale_after, answer: None };
        let index = match state.conditions.iter().position(|c| c.name == name) {
            Some(index) => {
                state.conditions[index] = entry;
                index
            }
            None => {
                state.conditions.push(entry);
                state.conditions.len() - 1
            }
        };
        Condition { health: self.clone(), index }
    }

    /// Probes in the background every `every`, each try bounded by `timeout`; an answer counts for three periods.
    /// The future runs until `shutdown`.
    pub fn probe<F, Fut>(
        &self,
        name: &'static str,
        every: Duration,
        timeout: Duration,
        probe: F,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static + use<F, Fut>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        // The condition stands from now on: nobody is ready before the first probe.
        let condition = self.condition(name, Some(every * 3 + timeout));
        async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let answer = tokio::select! {
                    () = shutdown.cancelled() => return,
                    answer = tokio::time::timeout(timeout, probe()) => answer,
                };
                condition.set(answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis()))));
            }
        }
    }

    /// Turns readiness off for good: first thing on SIGTERM.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    /// `Ok` if every condition is fresh and met; else each unmet one with its reason.
    pub fn ready(&self) -> Result<(), Vec<(&'static str, String)>> {
        self.ready_at(Instant::now())
    }

    fn ready_at(&self, now: Instant) -> Result<(), Vec<(&'static str, String)>> {
        let state = self.state();
        if state.stopping {
            return Err(vec![("lifecycle", "stopping".into())]);
        }
        if state.conditions.is_empty() {
            return Err(vec![("lifecycle", "starting".into())]);
        }
        let unmet: Vec<_> =
            state.conditions.iter().filter_map(|c| c.met(now).err().map(|reason| (c.name, reason))).collect();
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if one did, the answers are whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of one condition.
#[derive(Clone)]
pub struct Condition {
    health: Health,
    index: usize,
}

impl Condition {
    /// Sets it; the reason is shown by `/readyz` and logged when it changes.
    pub fn set(&self, answer: Result<(), String>) {
        let mut state = self.health.state();
        let entry = &mut state.conditions[self.index];
        let changed = entry.answer.as_ref().is_none_or(|(_, before)| *before != answer);
        let name = entry.name;
        entry.answer = Some((Instant::now(), answer.clone()));
        drop(state);
        match (changed, answer) {
            (true, Ok(())) => info!(condition = name, "condition met"),
            (true, Err(reason)) => warn!(condition = name, reason, "condition not met"),
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ready_only_while_every_condition_is_met_and_fresh() {
        let health = Health::new();
        assert_eq!(health.ready(), Err(vec![("lifecycle", "starting".into())]));
        let kafka = health.condition("kafka", Some(Duration::from_secs(3)));
        let table = health.condition("table", None);
        kafka.set(Ok(()));
        assert_eq!(health.ready(), Err(vec![("table", "starting".into())]));
        table.set(Err("loading".into()));
        assert_eq!(health.ready(), Err(vec![("table", "loading".into())]));
        table.set(Ok(()));
        let set = Instant::now();
        assert_eq!(health.ready_at(set + Duration::from_secs(2)), Ok(()));
        let stale = vec![("kafka", "no fresh answer".into())];
        assert_eq!(health.ready_at(set + Duration::from_secs(4)), Err(stale), "the table's answer counts on");
        health.stopping();
        kafka.set(Ok(()));
        assert_eq!(health.ready(), Err(vec![("lifecycle", "stopping".into())]), "for good");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_not_ready_and_one_that_returns_is() {
        let (health, stop) = (Health::new(), CancellationToken::new());
        let (answer, asked) = tokio::sync::watch::channel(false);
        let probe = move || {
            let up = *asked.borrow();
            async move { if up { Ok(()) } else { std::future::pending().await } }
        };
        let (every, timeout) = (Duration::from_millis(10), Duration::from_millis(50));
        let probe = health.probe("store", every, timeout, probe, stop.clone());
        assert_eq!(health.ready(), Err(vec![("store", "starting".into())]), "before it is even polled");
        let task = tokio::spawn(probe);
        let until = |expected: Result<(), Vec<(&'static str, String)>>| {
            let health = health.clone();
            async move {
                let wait = async {
                    while health.ready() != expected {
                        tokio::time::sleep(every / 5).await
                    }
                };
                tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
            }
        };
        until(Err(vec![("store", "no answer within 50 ms".into())])).await;
        answer.send(true).unwrap();
        until(Ok(())).await;
        stop.cancel();
        task.await.unwrap();
    }
}
