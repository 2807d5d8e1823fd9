//! Life: cameras that see things at a chosen rate, each sending one event after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use porchlight_domain::{Clock, SystemClock, Timestamp};
use porchlight_synth::Evening;
use serde_json::Value;
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::people::Camera;

/// The most events on their way to ingest at once: what comes on top waits, and the rate sinks.
const MOST_UNDER_WAY: usize = 64;

/// An event that ingest answered 202 to.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Which camera (its place in the list).
    pub camera: usize,
    /// As it was sent.
    pub body: Value,
    /// As ingest answered.
    pub received_at: Timestamp,
}

/// What became of the sendings.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered 202.
    pub accepted: AtomicU64,
    /// Sendings answered otherwise, or not at all; each was tried again.
    pub refused: AtomicU64,
}

/// Sends until `shutdown`, then waits for the answers under way. Events of one camera are sent one after the other, so
/// that the order of the answers is the order of the log.
pub async fn live(
    cameras: Vec<Camera>,
    mut evening: Evening,
    events_per_s: f64,
    accepted: mpsc::Sender<Accepted>,
    tally: Arc<Tally>,
    shutdown: CancellationToken,
) {
    if cameras.is_empty() || events_per_s <= 0.0 {
        shutdown.cancelled().await;
        return;
    }
    let cameras: Vec<Arc<Mutex<Camera>>> = cameras.into_iter().map(|c| Arc::new(Mutex::new(c))).collect();
    let under_way = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let tasks = TaskTracker::new();
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / events_per_s));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = tick.tick() => {}
        }
        let now = u64::try_from(SystemClock.now().0).unwrap_or_default();
        let Some(sighting) = evening.next(now) else { break };
        let Ok(permit) = under_way.clone().acquire_owned().await else { break };
        let camera = cameras[sighting.camera].clone();
        let (accepted, tally) = (accepted.clone(), tally.clone());
        tasks.spawn(async move {
            let camera = camera.lock().await;
            let body = sighting.body(SystemClock.now().0, |ms| Timestamp(ms).to_string());
            if let Some(received_at) = send_until_accepted(&camera, &body, &tally).await {
                tally.accepted.fetch_add(1, Ordering::Relaxed);
                let _ = accepted.send(Accepted { camera: sighting.camera, body, received_at }).await;
            }
            drop((camera, permit));
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Sends one event again and again, under the same id as a camera does, until it is acknowledged: an event without an
/// answer may be in the log, and would be nobody's. `None` after a minute of trying.
pub async fn send_until_accepted(camera: &Camera, body: &Value, tally: &Tally) -> Option<Timestamp> {
    for wait_ms in [100, 200, 400, 800].into_iter().chain(std::iter::repeat_n(1_500, 40)) {
        match send(camera, body).await {
            Ok(received_at) => return Some(received_at),
            Err(_) => tally.refused.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    None
}

/// Sends one event; the receipt that ingest answered.
///
/// # Errors
/// Any answer but 202, or none.
pub async fn send(camera: &Camera, body: &Value) -> Result<Timestamp, String> {
    let answer = camera.line.post("/v1/events", body).await?.ok()?;
    let received_at = answer["received_at"].as_str().and_then(|t| t.parse().ok());
    received_at.ok_or_else(|| format!("202 without received_at: {answer}"))
}
