//! Stage `send`: from push tasks to providers.
//!
//! A task's people are told side by side, in rounds. Whoever cannot be told now (a provider or the store is away) comes
//! again in a later round, and after [`SendConfig::retry_within_ms`] with the whole record again: the ledger knows who was
//! told. So a provider that is down holds up nobody of another provider in the same task; later tasks of the same bucket
//! wait behind it until its alerts expire.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use porchlight_bus::{Handler, Lease, Outcome, Record};
use porchlight_domain::{Clock, PushTask, Recipient, Transport};
use porchlight_push::{Provider, Providers};
use porchlight_store::{Deliveries, Registry};
use porchlight_wire::Wire as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::SendConfig,
    metrics::{self, Stage},
    polygons::Polygons,
    wait::{Failures, Wait, What, backoff},
};

mod circuit;
mod gone;
mod person;

use circuit::Circuit;

/// The longest that an unfinished record waits before it is handled again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Who carries pushes to which kind of endpoint.
pub trait Carriers: Send + Sync + 'static {
    /// `None` if this deployment has none.
    fn for_transport(&self, transport: &Transport) -> Option<&dyn Provider>;
}

impl Carriers for Providers {
    fn for_transport(&self, transport: &Transport) -> Option<&dyn Provider> {
        Providers::for_transport(self, transport)
    }
}

/// What a sender works with.
pub struct Means<C> {
    /// People and homes as they are at the moment of sending.
    pub registry: Arc<dyn Registry>,
    /// The ledger.
    pub deliveries: Arc<dyn Deliveries>,
    /// For the gate.
    pub polygons: Arc<Polygons>,
    /// The way to the phones.
    pub carriers: C,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The process is being stopped: begin nothing more.
    pub stop: CancellationToken,
}

/// Handles the records of `pushes`.
pub struct Sender<C> {
    means: Means<C>,
    config: SendConfig,
    failures: Failures,
}

/// Somebody who is not told yet, and not before when.
struct Open {
    recipient: Recipient,
    due: Instant,
}

impl<C: Carriers> Sender<C> {
    /// A sender.
    pub fn new(means: Means<C>, config: SendConfig) -> Self {
        metrics::register();
        Self { means, config, failures: Failures::default() }
    }

    async fn send(&self, task: &PushTask, lease: &Lease) -> Result<(), Wait> {
        let began = Instant::now();
        let give_back_at = began + Duration::from_millis(self.config.retry_within_ms);
        let mut open: Vec<Open> = task.recipients.iter().map(|r| Open { recipient: r.clone(), due: began }).collect();
        for round in 0.. {
            let now = Instant::now();
            let (due, mut later): (Vec<Open>, Vec<Open>) = open.into_iter().partition(|o| o.due <= now);
            let mut why = None;
            for (recipient, wait) in self.round(task, due, lease).await {
                metrics::waited(Stage::Send, wait.what);
                tracing::debug!(event_id = %task.alert.event, alert_id = %task.alert.id, reason = wait.reason, "a push waits");
                let due = Instant::now() + self.until_next(task, &wait, round);
                later.push(Open { recipient, due });
                why = Some(wait);
            }
            let Some(next) = later.iter().map(|o| o.due).min() else { return Ok(()) };
            if next > give_back_at || self.means.stop.is_cancelled() {
                return Err(unfinished(&later, task, next, why));
            }
            self.means.stop.run_until_cancelled(tokio::time::sleep_until(next)).await;
            open = later;
        }
        Ok(())
    }

    /// Tells everybody once; returns those who could not be told, and why.
    async fn round(&self, task: &PushTask, due: Vec<Open>, lease: &Lease) -> Vec<(Recipient, Wait)> {
        let circuit = Circuit::default();
        stream::iter(due)
            .map(|open| async {
                let told = self.tell(task, &open.recipient, &circuit, lease).await;
                told.err().map(|wait| (open.recipient, wait))
            })
            .buffer_unordered(self.config.concurrency)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// A provider's word counts, but nobody waits past the end of the alert: then it is recorded as expired.
    fn until_next(&self, task: &PushTask, wait: &Wait, round: u32) -> Duration {
        let backoff = backoff(round);
        let wanted = match wait.what {
            What::Polygon => wait.after.unwrap_or(backoff),
            What::Store | What::Row | What::Log | What::Provider | What::Lease | What::Stop => {
                wait.after.map_or(backoff, |after| after.max(backoff))
            }
        };
        let left = task.alert.expires_at.since(self.means.clock.now()).saturating_add(1);
        match u64::try_from(left) {
            Ok(left) if left > 0 => wanted.min(Duration::from_millis(left)),
            Ok(_) | Err(_) => wanted,
        }
    }
}

fn unfinished(later: &[Open], task: &PushTask, next: Instant, why: Option<Wait>) -> Wait {
    let (what, why) = why.map_or((What::Provider, "waiting".to_owned()), |w| (w.what, w.reason));
    let reason = format!("{} of {} people are not told yet: {why}", later.len(), task.recipients.len());
    Wait { what, after: Some(next.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)), reason }
}

impl<C: Carriers> Handler for Sender<C> {
    async fn handle(&self, record: Arc<Record>) -> Outcome {
        let task = match PushTask::decode(&record.value) {
            Ok(task) => task,
            Err(error) => {
                metrics::unreadable(Stage::Send);
                return Outcome::Fatal { reason: error.to_string() };
            }
        };
        match self.send(&task, &record.lease).await {
            Ok(()) => {
                self.failures.none();
                Outcome::Done
            }
            Err(wait) => Outcome::Retry { after: self.failures.another(&wait), reason: wait.reason },
        }
    }
}
