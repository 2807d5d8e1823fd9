//! A log of alerts in memory, that can break.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use porchlight_domain::{Alert, Timestamp};
use porchlight_gateway::stream::{AlertLog, Heard};
use tokio::sync::{Notify, watch};

/// The log. All clones are the same.
#[derive(Clone, Default)]
pub struct Alerts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<(Alert, Timestamp)>>,
    more: Notify,
    broken: AtomicBool,
    held: AtomicBool,
    /// How many were met by the gateway.
    met: watch::Sender<usize>,
}

impl Alerts {
    /// An alert that is there before the gateway reads the log.
    pub fn precede(&self, alert: Alert, at: Timestamp) {
        self.0.log.lock().unwrap().push((alert, at));
    }

    /// Appends an alert, and waits until the gateway has met it.
    pub async fn append(&self, alert: Alert, at: Timestamp) {
        let length = {
            let mut log = self.0.log.lock().unwrap();
            log.push((alert, at));
            log.len()
        };
        self.0.more.notify_one();
        self.0.met.subscribe().wait_for(|met| *met >= length).await.unwrap();
    }

    /// Whoever reads it must open it anew.
    pub fn break_off(&self) {
        self.0.broken.store(true, Ordering::SeqCst);
        self.0.more.notify_one();
    }

    /// Whoever opens it from now on waits for ever.
    pub fn hold(&self) {
        self.0.held.store(true, Ordering::SeqCst);
    }

    /// One who reads it.
    pub fn reader(&self) -> AlertsReader {
        AlertsReader { alerts: self.clone(), from: Timestamp(i64::MAX), next: 0, end: None }
    }
}

pub struct AlertsReader {
    alerts: Alerts,
    from: Timestamp,
    next: usize,
    /// What was there at the opening, until it is read.
    end: Option<usize>,
}

#[async_trait]
impl AlertLog for AlertsReader {
    async fn open(&mut self, from: Timestamp) -> Result<(), String> {
        if self.alerts.0.held.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let length = self.alerts.0.log.lock().unwrap().len();
        (self.from, self.next, self.end) = (from, 0, Some(length));
        Ok(())
    }

    async fn next(&mut self) -> Result<Heard, String> {
        let shared = Arc::clone(&self.alerts.0);
        loop {
            // Who asks for more has met what it was given.
            shared.met.send_if_modified(|met| {
                let more = self.next > *met;
                *met = self.next.max(*met);
                more
            });
            if shared.broken.swap(false, Ordering::SeqCst) {
                return Err("broken off".to_owned());
            }
            if self.end.is_some_and(|end| self.next >= end) {
                self.end = None;
                return Ok(Heard::CaughtUp);
            }
            let next = shared.log.lock().unwrap().get(self.next).cloned();
            match next {
                Some((alert, at)) => {
                    self.next += 1;
                    if at >= self.from {
                        return Ok(Heard::Alert(alert, at));
                    }
                }
                None => shared.more.notified().await,
            }
        }
    }
}
