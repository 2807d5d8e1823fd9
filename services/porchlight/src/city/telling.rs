//! What the city tells its page: events as they are accepted, alerts as they stand in the log, pushes as phones get them,
//! and once a second the numbers of the screen.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use porchlight_bus::{BusError, From, KafkaConfig, Reader, Topic};
use porchlight_domain::Alert;
use porchlight_standins::phones::Phones;
use porchlight_synth::Town;
use porchlight_wire::Wire as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    life::{Accepted, News},
    people::{Camera, Resident},
    say,
    screen::Frame,
    web::{self, Numbers, Scene, Web},
};

/// How often the phones are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of how many events it is known which camera's they were: those of the last minutes.
const EVENTS_KNOWN: usize = 20_000;

/// Tells a page. Dropped, it stops.
pub(super) struct Telling {
    web: Web,
    seen: Arc<Mutex<Seen>>,
    /// Accepted, when the numbers were told last, and then.
    last: (f64, Duration),
    stop: CancellationToken,
}

/// Which camera an event was of. An alert names the event and not the camera: who hears of it must not learn that.
#[derive(Default)]
struct Seen {
    cameras: HashMap<Uuid, usize>,
    order: VecDeque<Uuid>,
}

impl Seen {
    fn note(&mut self, event: Uuid, camera: usize) {
        self.cameras.insert(event, camera);
        self.order.push_back(event);
        while self.order.len() > EVENTS_KNOWN {
            if let Some(gone) = self.order.pop_front() {
                self.cameras.remove(&gone);
            }
        }
    }
}

impl Telling {
    /// Opens the page of a city and begins to tell. `mint` makes a resident's token.
    pub(super) fn start(
        web: Web,
        scene: &Scene,
        mint: impl Fn(&str) -> String + Send + Sync + 'static,
        residents: &[Resident],
        phones: Arc<Phones>,
        kafka: KafkaConfig,
    ) -> Self {
        web.open(scene, mint);
        let (stop, seen) = (CancellationToken::new(), Arc::<Mutex<Seen>>::default());
        let subjects = residents.iter().filter_map(|r| Some((r.phone.clone()?, r.subject.clone()))).collect();
        let (page, until) = (web.clone(), stop.clone());
        tokio::spawn(async move { page.run(until).await });
        let (page, until) = (web.clone(), stop.clone());
        tokio::spawn(async move { until.run_until_cancelled(tell_pushes(page, phones, subjects)).await });
        let (page, until, events) = (web.clone(), stop.clone(), seen.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = until.run_until_cancelled(tell_alerts(page, kafka, events)).await {
                say(&format!("the page shows no alerts any more: {error}"));
            }
        });
        Self { web, seen, last: (0.0, Duration::ZERO), stop }
    }

    /// An event was accepted, or a clip.
    pub(super) fn news(&self, accepted: &Accepted) {
        let News::Event { body, received_at, .. } = &accepted.news else { return };
        if let Some(event) = body["id"].as_str().and_then(|id| id.parse().ok()) {
            lock(&self.seen).note(event, accepted.camera);
        }
        self.web.event(accepted.camera, what(body), received_at.0);
    }

    /// The numbers of this second.
    pub(super) fn numbers(&mut self, frame: &Frame) {
        let [accepted, _, _, pushes] = frame.totals;
        let (before, at) = self.last;
        let seconds = frame.up.saturating_sub(at).as_secs_f64();
        let rate = if seconds > 0.0 { (accepted - before) / seconds } else { 0.0 };
        self.last = (accepted, frame.up);
        let [geo_index, plan, send] = frame.lag;
        let [checked, missing, misdirected, doubled] = frame.pushes_judged;
        let [reads_checked, wrong_reads] = frame.reads_judged;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        let count = |n: f64| n.max(0.0) as u64;
        let shared = frame.outcomes.iter().find(|(outcome, _)| *outcome == "alerted").map_or(0.0, |(_, n)| *n);
        self.web.numbers(&Numbers {
            up_s: frame.up.as_secs(),
            rate,
            accepted: count(accepted),
            shared: count(shared),
            handed_over: count(pushes),
            lag: geo_index + plan + send,
            lag_per_stage: web::Lag { geo_index, plan, send },
            p50_ms: frame.latency_ms.map(|(p50, _)| p50),
            p99_ms: frame.latency_ms.map(|(_, p99)| p99),
            refused: frame.refused,
            checked,
            missing,
            misdirected,
            doubled,
            reads_checked,
            wrong_reads,
        });
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the page is to show of a city.
pub(super) fn scene(
    name: &str,
    seed: u64,
    rate: f64,
    neighborhoods: &[(Uuid, Town)],
    cameras: &[Camera],
    residents: &[Resident],
) -> Scene {
    let owner: HashMap<Uuid, &str> =
        residents.iter().flat_map(|r| r.cameras.iter().map(|camera| (camera.device, r.subject.as_str()))).collect();
    let of = |camera: &Camera| owner.get(&camera.device).map_or_else(String::new, |&subject| subject.to_owned());
    Scene {
        name: name.to_owned(),
        seed,
        rate,
        neighborhoods: neighborhoods
            .iter()
            .map(|(id, town)| web::Neighborhood { id: *id, name: town.name.clone(), geometry: town.geometry.clone() })
            .collect(),
        cameras: cameras
            .iter()
            .map(|camera| web::Camera { id: camera.device, at: camera.at, home: of(camera) })
            .collect(),
        residents: residents
            .iter()
            .map(|r| web::Resident { subject: r.subject.clone(), home: r.home, verified: r.verified })
            .collect(),
    }
}

/// `ding`, or the foremost of the labels.
fn what(event: &serde_json::Value) -> &'static str {
    if event["kind"] == "ding" {
        return "ding";
    }
    let labels = event["labels"].as_array().into_iter().flatten().filter_map(|label| label.as_str());
    let known = ["person", "package", "vehicle", "animal"];
    labels.filter_map(|label| known.iter().position(|known| *known == label)).min().map_or("motion", |n| known[n])
}

async fn tell_pushes(web: Web, phones: Arc<Phones>, subjects: HashMap<String, String>) {
    let mut next = 0;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for push in phones.log(next) {
            next = push.seq + 1;
            if let Some(subject) = subjects.get(&push.endpoint) {
                web.push(subject, &push.payload, push.received_at_ms);
            }
        }
    }
}

async fn tell_alerts(web: Web, kafka: KafkaConfig, seen: Arc<Mutex<Seen>>) -> Result<(), BusError> {
    let mut log = Reader::open(&kafka, Topic::Alerts, From::End).await?;
    loop {
        let record = log.next().await?;
        // What cannot be read is the business of those who act on it.
        let Ok(alert) = Alert::decode(&record.value) else { continue };
        let camera = lock(&seen).cameras.get(&alert.event.0).copied();
        if let Some(camera) = camera {
            web.alert(web::Alert {
                id: alert.id.0,
                item: alert.item.0,
                camera,
                neighborhoods: alert.neighborhoods.iter().map(|version| version.id.0).collect(),
                revision: alert.revision,
            });
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ding_is_a_ding_and_else_the_foremost_label_counts() {
        for (event, wanted) in [
            (json!({"kind": "ding", "labels": ["person"]}), "ding"),
            (json!({"kind": "motion", "labels": ["vehicle", "person"]}), "person"),
            (json!({"kind": "motion", "labels": ["animal"]}), "animal"),
            (json!({"kind": "motion", "labels": []}), "motion"),
        ] {
            assert_eq!(what(&event), wanted);
        }
    }

    #[test]
    fn of_events_long_ago_it_is_not_remembered_whose_they_were() {
        let mut seen = Seen::default();
        for n in 0..EVENTS_KNOWN as u128 + 5 {
            seen.note(Uuid::from_u128(n), 1);
        }
        assert_eq!((seen.cameras.len(), seen.order.len()), (EVENTS_KNOWN, EVENTS_KNOWN));
        assert!(!seen.cameras.contains_key(&Uuid::from_u128(4)) && seen.cameras.contains_key(&Uuid::from_u128(5)));
    }
}
