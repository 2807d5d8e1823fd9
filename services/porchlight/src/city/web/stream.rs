//! `GET /city/stream`: what happens, ten times a second, to every browser that looks.
//!
//! The city only puts things down; ten times a second one frame is made of them, and all browsers get the same bytes. Who
//! does not read fast enough loses nothing silently: the stream ends, and the browser comes again by itself.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use http::header;
use porchlight_domain::{Clock as _, SystemClock};
use serde::Serialize;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a frame is made.
pub(super) const BEAT: Duration = Duration::from_millis(100);
/// How many frames a browser may be behind: some six seconds.
pub(super) const KEPT: usize = 64;
/// The most events, and the most alerts, of one frame: nobody can see more, and a browser must draw it in time.
pub(super) const MOST_OF_A_BEAT: usize = 2_000;
/// The most browsers at once.
pub(super) const MOST_WATCHERS: usize = 64;

/// A revision of an alert.
#[derive(Clone, Debug, Serialize)]
pub struct Alert {
    /// The alert.
    pub id: Uuid,
    /// Its item.
    pub item: Uuid,
    /// The camera: its place in the scene's list.
    pub camera: usize,
    /// The neighborhoods that may hear of it; none if it stays in the house.
    pub neighborhoods: Vec<Uuid>,
    /// Counts from 1.
    pub revision: u32,
}

/// Records behind, by stage.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Lag {
    /// Events that are no items yet.
    pub geo_index: f64,
    /// Alerts without a plan.
    pub plan: f64,
    /// Plans that are not sent.
    pub send: f64,
}

/// The numbers of a second. What is not said to be a rate counts since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    /// How long the city has lived, s.
    pub up_s: u64,
    /// Events accepted a second.
    pub rate: f64,
    /// Events accepted.
    pub accepted: u64,
    /// Alerts that neighbors may hear of.
    pub shared: u64,
    /// Pushes that phones got.
    pub handed_over: u64,
    /// Records behind now, all stages.
    pub lag: f64,
    /// Records behind now.
    pub lag_per_stage: Lag,
    /// From acceptance to the phone; none before the first.
    pub p50_ms: Option<u64>,
    /// The same, of a hundred the slowest but one.
    pub p99_ms: Option<u64>,
    /// Sendings that were tried again.
    pub refused: u64,
    /// Pushes that the oracle judged.
    pub checked: u64,
    /// Pushes that did not come.
    pub missing: u64,
    /// Pushes to somebody who must not hear.
    pub misdirected: u64,
    /// Pushes that came twice as news.
    pub doubled: u64,
    /// Reads that the oracle judged.
    pub reads_checked: u64,
    /// Reads that showed too much or too little.
    pub wrong_reads: u64,
}

/// One beat, as it is sent.
#[derive(Debug, Default, Serialize)]
struct Beat {
    t: i64,
    /// Camera, what, and how many ms into the beat it is to be shown.
    events: Vec<(usize, &'static str, u8)>,
    alerts: Vec<Alert>,
    pushes: u64,
}

/// What waits for the next beat, and those who watch.
#[derive(Debug)]
pub(super) struct Stream {
    waiting: Mutex<Beat>,
    /// The last numbers, for who comes between two.
    latest: Mutex<Option<Bytes>>,
    /// `None` once it is over.
    watchers: Mutex<Option<broadcast::Sender<Bytes>>>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            latest: Mutex::default(),
            watchers: Mutex::new(Some(broadcast::Sender::new(KEPT))),
        }
    }
}

impl Stream {
    pub(super) fn event(&self, camera: usize, what: &'static str, at_ms: i64) {
        // Where in its own tenth of a second it happened: on the page cameras do not blink in step.
        let after = u8::try_from(at_ms.rem_euclid(100)).unwrap_or_default();
        let mut waiting = lock(&self.waiting);
        if waiting.events.len() < MOST_OF_A_BEAT {
            waiting.events.push((camera, what, after));
        }
    }

    pub(super) fn alert(&self, alert: Alert) {
        let mut waiting = lock(&self.waiting);
        if waiting.alerts.len() < MOST_OF_A_BEAT {
            waiting.alerts.push(alert);
        }
    }

    pub(super) fn pushed(&self) {
        lock(&self.waiting).pushes += 1;
    }

    pub(super) fn numbers(&self, numbers: &Numbers) {
        if let Some(frame) = frame("numbers", numbers) {
            *lock(&self.latest) = Some(frame.clone());
            self.send(frame);
        }
    }

    /// Makes a frame of what waits, again and again until `stop`.
    pub(super) async fn beat(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let mut beat = std::mem::take(&mut *lock(&self.waiting));
            beat.t = SystemClock.now().0;
            if let Some(frame) = frame("beat", &beat) {
                self.send(frame);
            }
        }
        // Without a sender every stream comes to its end.
        lock(&self.watchers).take();
    }

    fn send(&self, frame: Bytes) {
        if let Some(watchers) = &*lock(&self.watchers) {
            // An error says that nobody watches.
            let _ = watchers.send(frame);
        }
    }

    /// An answer that goes on until the browser leaves, falls behind, or the city ends; `None`: there are too many.
    pub(super) fn open(self: &Arc<Self>) -> Option<Response> {
        let watching = match &*lock(&self.watchers) {
            Some(watchers) if watchers.receiver_count() >= MOST_WATCHERS => return None,
            Some(watchers) => Some(watchers.subscribe()),
            None => None,
        };
        let latest = lock(&self.latest).clone().unwrap_or_default();
        let opening = Bytes::from([b"retry: 1000\n\n".as_slice(), &latest].concat());
        let frames = stream::unfold((Some(opening), watching), |(opening, watching)| async move {
            if let Some(opening) = opening {
                return Some((opening, (None, watching)));
            }
            let mut watching = watching?;
            match watching.recv().await {
                Ok(frame) => Some((frame, (None, Some(watching)))),
                Err(RecvError::Lagged(_)) => Some((Bytes::from_static(b"event: lagged\ndata: {}\n\n"), (None, None))),
                Err(RecvError::Closed) => None,
            }
        });
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
        let body = Body::from_stream(futures::StreamExt::map(frames, Ok::<_, std::convert::Infallible>));
        Some((headers, body).into_response())
    }
}

/// A server-sent event. JSON as it is written here has no line ends, so it is one line of data.
fn frame(event: &str, data: &impl Serialize) -> Option<Bytes> {
    let json = serde_json::to_string(data).inspect_err(|error| tracing::error!(%error, "it has no JSON form")).ok()?;
    Some(format!("event: {event}\ndata: {json}\n\n").into())
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
