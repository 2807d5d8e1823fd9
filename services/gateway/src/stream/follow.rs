//! Follows the log of alerts: each is met once, its item is loaded once, and the streams it concerns share it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::FuturesOrdered};
use porchlight_bus::{From, KafkaConfig, Reader, Topic};
use porchlight_domain::{Alert, Clock, Timestamp};
use porchlight_store::Timeline;
use porchlight_wire::Wire as _;
use tokio::time::Instant;

use super::{
    hub::Hub,
    ring::KEPT_MS,
    routes::StreamId,
    slot::{Loaded, Note},
};
use crate::metrics;

/// How many items are loaded side by side; the streams get them in the order of the log all the same.
const SIDE_BY_SIDE: usize = 32;
/// Between two tries to open the log: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What a log gives.
pub enum Heard {
    /// An alert, and when it was appended.
    Alert(Alert, Timestamp),
    /// All is read that was there when the log was opened. Said once after each opening.
    CaughtUp,
}

/// A log of alerts.
#[async_trait]
pub trait AlertLog: Send + 'static {
    /// Begins to read, or begins anew, with what was appended at `from`.
    ///
    /// # Errors
    /// A sentence; it may be tried again.
    async fn open(&mut self, from: Timestamp) -> Result<(), String>;

    /// What comes next, whenever it comes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A sentence: nothing will come until it is opened anew.
    async fn next(&mut self) -> Result<Heard, String>;
}

/// `alerts.v1`, read by assignment: every gateway hears every alert.
pub struct KafkaAlerts {
    config: KafkaConfig,
    reader: Option<Reader>,
    caught_up: bool,
}

impl KafkaAlerts {
    /// Of this deployment; not opened yet.
    pub fn new(config: &KafkaConfig) -> Self {
        Self { config: config.clone(), reader: None, caught_up: false }
    }
}

#[async_trait]
impl AlertLog for KafkaAlerts {
    async fn open(&mut self, from: Timestamp) -> Result<(), String> {
        self.reader = None;
        let reader = Reader::open(&self.config, Topic::Alerts, From::Time(from.0)).await.map_err(|e| e.to_string())?;
        (self.reader, self.caught_up) = (Some(reader), false);
        Ok(())
    }

    async fn next(&mut self) -> Result<Heard, String> {
        let reader = self.reader.as_mut().ok_or("it is not open")?;
        loop {
            let record = if self.caught_up {
                reader.next().await.map_err(|e| e.to_string())?
            } else {
                match reader.next_existing().await.map_err(|e| e.to_string())? {
                    Some(record) => record,
                    None => {
                        self.caught_up = true;
                        return Ok(Heard::CaughtUp);
                    }
                }
            };
            match Alert::decode(&record.value) {
                Ok(alert) => return Ok(Heard::Alert(alert, Timestamp(record.timestamp_ms))),
                // The planner keeps its bytes aside, and says so.
                Err(error) => {
                    let (partition, offset) = (record.partition, record.offset);
                    tracing::warn!(%error, partition, offset, "an alert cannot be read, and is on no stream");
                }
            }
        }
    }
}

/// Feeds the hub.
pub(super) struct Follower {
    hub: Hub,
    timeline: Arc<dyn Timeline>,
    clock: Arc<dyn Clock>,
    /// Until when nothing of the log was missed.
    heard_until: Option<Timestamp>,
}

impl Follower {
    pub(super) fn new(hub: Hub, timeline: Arc<dyn Timeline>, clock: Arc<dyn Clock>) -> Self {
        Self { hub, timeline, clock, heard_until: None }
    }

    /// Follows the log for ever, through all that breaks.
    pub(super) async fn run(mut self, mut log: impl AlertLog) {
        let (first, last) = BACKOFF;
        let mut backoff = first;
        loop {
            let from = self.clock.now().plus_ms(-KEPT_MS);
            let why = match log.open(from).await {
                Ok(()) => {
                    self.hub.reads_from(from, self.heard_until.is_none_or(|until| until < from));
                    backoff = first;
                    let why = self.follow(&mut log).await;
                    self.heard_until = Some(self.clock.now());
                    why
                }
                Err(why) => why,
            };
            tracing::warn!(why, "the log of alerts cannot be followed; streams get no news until it can");
            if let Some(until) = self.heard_until {
                metrics::stream_lag(self.clock.now().since(until));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(last);
        }
    }

    /// Follows an open log until it breaks; why.
    async fn follow(&self, log: &mut impl AlertLog) -> String {
        let mut loading = FuturesOrdered::new();
        let why = loop {
            tokio::select! {
                biased;
                Some(loaded) = loading.next() => self.deliver(loaded).await,
                heard = log.next(), if loading.len() < SIDE_BY_SIDE => match heard {
                    Ok(Heard::Alert(alert, log_at)) => {
                        let now = self.clock.now();
                        metrics::stream_lag(now.since(log_at));
                        let streams = self.hub.meet(&alert, log_at, now);
                        if !streams.is_empty() {
                            loading.push_back(self.load(streams, alert, log_at));
                        }
                    }
                    Ok(Heard::CaughtUp) => self.hub.catches_up(),
                    Err(why) => break why,
                },
            }
        };
        while let Some(loaded) = loading.next().await {
            self.deliver(loaded).await;
        }
        why
    }

    async fn load(&self, streams: Vec<StreamId>, alert: Alert, log_at: Timestamp) -> (Vec<StreamId>, Note) {
        let at = Instant::now();
        // If the store is away now, each stream tries when it is sent.
        let loaded = self.timeline.item(alert.item).await.ok().map(|item| Loaded { item: item.map(Arc::new), at });
        (streams, Note { item: alert.item, log_at, loaded })
    }

    /// Whoever can keep up is given the chance to, however many alerts come at once.
    async fn deliver(&self, (streams, note): (Vec<StreamId>, Note)) {
        self.hub.deliver(&streams, &note);
        tokio::task::yield_now().await;
    }
}
