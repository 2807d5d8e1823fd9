//! Life: cameras that see things at a chosen rate, each sending one thing after the other: events, and of some of them a
//! thumbnail.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use porchlight_domain::{Clock, SystemClock, Timestamp};
use porchlight_synth::{Evening, Sighting};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{people::Camera, picture};
use crate::client::{Answer, MediaFile};

/// The most events on their way to ingest at once: what comes on top waits, and the rate sinks. A camera that cannot be
/// heard for a minute keeps what it has to say.
const MOST_UNDER_WAY: usize = 1_024;

/// What a camera got into the log.
#[derive(Clone, Debug)]
pub enum News {
    /// An event that ingest answered 202 to.
    Event {
        /// As it was sent.
        body: Value,
        /// As ingest answered.
        received_at: Timestamp,
        /// Whether an earlier sending, whose fate is not known, may be the one that counts.
        in_doubt: bool,
    },
    /// A clip or thumbnail that ingest answered 200 to when it was completed.
    Media {
        /// Of which event.
        event: Uuid,
        /// As it was put.
        file: MediaFile,
        /// As ingest answered.
        received_at: Timestamp,
    },
}

/// What a camera got into the log, and which (its place in the list).
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Which camera.
    pub camera: usize,
    /// What.
    pub news: News,
}

/// What became of the sendings.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events answered 202.
    pub accepted: AtomicU64,
    /// Clips and thumbnails completed.
    pub stored: AtomicU64,
    /// Sendings answered otherwise, or not at all; each was tried again.
    pub refused: AtomicU64,
    /// Events, clips and thumbnails that were tried for so long in vain that the camera gave up.
    pub given_up: AtomicU64,
    /// Why the first few were refused: a sentence each.
    pub why: std::sync::Mutex<Vec<String>>,
}

/// More reasons than these are only counted.
const MAX_REASONS: usize = 8;

impl Tally {
    fn refuse(&self, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < MAX_REASONS {
            reasons.push(why);
        }
    }
}

/// How much happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    events_per_s: f64,
    /// How many times as fast as real ones days go by, if they do.
    speed: Option<f64>,
}

/// The hour at which a city begins, if days go by in it.
const FIRST_HOUR: f64 = 17.0;
/// How much happens in each hour of a day, of what does on average: asleep, off to work, deliveries, home again.
const HOURS: [f64; 24] = [
    0.25, 0.15, 0.1, 0.1, 0.15, 0.35, 0.8, 1.3, 1.2, 0.9, 0.95, 1.1, 1.2, 1.1, 1.15, 1.5, 1.8, 2.0, 1.9, 1.7, 1.5, 1.3,
    0.9, 0.6,
];

impl Pace {
    /// `events_per_s` all the time, or on the average of days that go by `speed` times as fast as real ones.
    pub fn new(events_per_s: f64, speed: Option<f64>) -> Self {
        Self { events_per_s, speed }
    }

    fn is_still(self) -> bool {
        self.events_per_s <= 0.0
    }

    /// The hour of the city's day, 0 to 24, so long after its beginning; `None` where days do not go by.
    pub fn hour(self, since: Duration) -> Option<f64> {
        self.speed.map(|speed| (FIRST_HOUR + since.as_secs_f64() * speed / 3600.0) % 24.0)
    }

    /// How long after an event the next one follows.
    fn gap(self, since: Duration) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 23
        let share = self.hour(since).map_or(1.0, |hour| HOURS[hour as usize % 24]);
        Duration::from_secs_f64(1.0 / (self.events_per_s * share))
    }
}

/// Sends until `shutdown`, then waits for the answers under way. What one camera sends is sent one after the other, so
/// that the order of the answers is the order of the log. Cameras that store clips put thumbnails of half of their events,
/// some of them before the event itself.
pub async fn live(
    cameras: Vec<Camera>,
    mut evening: Evening,
    pace: Pace,
    accepted: mpsc::Sender<Accepted>,
    tally: Arc<Tally>,
    shutdown: CancellationToken,
) {
    if cameras.is_empty() || pace.is_still() {
        shutdown.cancelled().await;
        return;
    }
    let cameras: Vec<Arc<Mutex<Camera>>> = cameras.into_iter().map(|c| Arc::new(Mutex::new(c))).collect();
    let under_way = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let tasks = TaskTracker::new();
    let begun = Instant::now();
    let mut due = begun;
    loop {
        // What could not be sent in time is sent as soon as it can be.
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep_until(due) => {}
        }
        due += pace.gap(due - begun);
        let now = u64::try_from(SystemClock.now().0).unwrap_or_default();
        let Some(sighting) = evening.next(now) else { break };
        let Ok(permit) = under_way.clone().acquire_owned().await else { break };
        let camera = cameras[sighting.camera].clone();
        let (accepted, tally) = (accepted.clone(), tally.clone());
        tasks.spawn(async move {
            let camera = camera.lock().await;
            for thing in things(&sighting, &camera) {
                let sent = match thing {
                    Thing::Event => {
                        let body = sighting.body(SystemClock.now().0, |ms| Timestamp(ms).to_string());
                        send_event(&camera, body, &tally).await
                    }
                    Thing::Thumbnail => {
                        let file = picture::thumbnail(&sighting.id.to_string());
                        store_until_completed(&camera, sighting.id, file, &tally).await
                    }
                };
                match sent {
                    Some(news) => drop(accepted.send(Accepted { camera: sighting.camera, news }).await),
                    None => drop(tally.given_up.fetch_add(1, Ordering::Relaxed)),
                }
            }
            drop((camera, permit));
        });
    }
    tasks.close();
    tasks.wait().await;
}

#[derive(Clone, Copy)]
enum Thing {
    Event,
    Thumbnail,
}

/// What a camera sends of a sighting, in order. By its id, so that an evening is the same whatever cameras can do.
fn things(sighting: &Sighting, camera: &Camera) -> &'static [Thing] {
    match sighting.id.as_bytes()[15] % 8 {
        0 if camera.clips => &[Thing::Thumbnail, Thing::Event],
        1..4 if camera.clips => &[Thing::Event, Thing::Thumbnail],
        _ => &[Thing::Event],
    }
}

/// How long to wait before each next try: in all five minutes.
fn waits() -> impl Iterator<Item = Duration> {
    [100, 200, 400, 800].into_iter().chain(std::iter::repeat_n(1_500, 200)).map(Duration::from_millis)
}

/// Sends one event again and again, under the same id as a camera does, until it is acknowledged: an event without an
/// answer may be in the log, and would be nobody's. `None` after five minutes of trying.
pub async fn send_until_accepted(camera: &Camera, body: &Value, tally: &Tally) -> Option<Timestamp> {
    send_until_known(camera, body, tally).await.map(|(received_at, _)| received_at)
}

async fn send_event(camera: &Camera, body: Value, tally: &Tally) -> Option<News> {
    let (received_at, in_doubt) = send_until_known(camera, &body, tally).await?;
    tally.accepted.fetch_add(1, Ordering::Relaxed);
    Some(News::Event { body, received_at, in_doubt })
}

/// The receipt, and whether it is in doubt.
async fn send_until_known(camera: &Camera, body: &Value, tally: &Tally) -> Option<(Timestamp, bool)> {
    let mut in_doubt = false;
    for wait in waits() {
        let answer = camera.line.post("/v1/events", body).await;
        in_doubt |= answer.as_ref().map_or(true, |answer| answer.status.is_server_error());
        match answer.and_then(received_at) {
            Ok(received_at) => return Some((received_at, in_doubt)),
            Err(why) => tally.refuse(why),
        };
        tokio::time::sleep(wait).await;
    }
    None
}

/// Puts a clip or thumbnail of an event and completes it, again and again, as a camera does. `None` after five minutes of
/// trying.
pub async fn store_until_completed(camera: &Camera, event: Uuid, file: MediaFile, tally: &Tally) -> Option<News> {
    for wait in waits() {
        match store(camera, event, &file).await {
            Ok(received_at) => {
                tally.stored.fetch_add(1, Ordering::Relaxed);
                return Some(News::Media { event, file, received_at });
            }
            Err(why) => tally.refuse(why),
        };
        tokio::time::sleep(wait).await;
    }
    None
}

/// Puts a clip or thumbnail of an event and completes it; the receipt that ingest answered.
///
/// # Errors
/// What was refused, or had no answer.
pub async fn store(camera: &Camera, event: Uuid, file: &MediaFile) -> Result<Timestamp, String> {
    let grant = camera.line.grant(event, file).await?.ok()?;
    match camera.line.put_file(&grant, file.bytes.clone()).await? {
        // An earlier try, whose answer was lost, has put it.
        status if status.is_success() || status == StatusCode::PRECONDITION_FAILED => {}
        status => return Err(format!("the store of objects answered {status}")),
    }
    received_at(camera.line.complete(&grant).await?)
}

fn received_at(answer: Answer) -> Result<Timestamp, String> {
    let answer = answer.ok()?;
    let received_at = answer["received_at"].as_str().and_then(|t| t.parse().ok());
    received_at.ok_or_else(|| format!("an answer without received_at: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_hours_and_on_average_as_much_happens_as_was_asked_for() {
        let pace = Pace::new(10.0, Some(60.0));
        assert_eq!(pace.hour(Duration::ZERO), Some(17.0));
        assert_eq!(pace.hour(Duration::from_secs(8 * 60)), Some(1.0), "an hour a minute");
        assert!(pace.gap(Duration::from_secs(10 * 60)) > 10 * pace.gap(Duration::ZERO), "at three in the night");
        let day = Duration::from_secs(24 * 60);
        let (mut at, mut events) = (Duration::ZERO, 0.0);
        while at < day {
            at += pace.gap(at);
            events += 1.0;
        }
        let average = events / day.as_secs_f64();
        assert!((9.5..10.5).contains(&average), "{average} a second");
        let steady = Pace::new(10.0, None);
        assert_eq!((steady.hour(day), steady.gap(day)), (None, Duration::from_millis(100)));
    }
}
