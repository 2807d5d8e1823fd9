//! The witness: tells the oracle all that is put in, collects all that comes out, and lets it judge.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use porchlight_geofence::{Geometry, Point, geojson};
use porchlight_oracle::{Device, ObservedPush, Person, ReadVerdict, Verdict, World};
use porchlight_standins::phones::{Phones, Push};
use serde_json::Value;
use uuid::Uuid;

use super::{
    life::News,
    people::{Camera, Resident},
};

/// One deployment's whole course, as the oracle needs it.
#[derive(Debug)]
pub struct Witness {
    world: World,
    pushes: Vec<Push>,
    next: u64,
    /// When the event behind (alert, revision) was received, for the time to the phone.
    latency: Histogram<u64>,
    timed: u64,
    forgotten: usize,
}

impl Default for Witness {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, 600_000, 3).expect("constant bounds");
        Self { world: World::new(), pushes: Vec::new(), next: 0, latency, timed: 0, forgotten: 0 }
    }
}

impl Witness {
    /// A neighborhood that was published.
    pub fn neighborhood(&mut self, id: Uuid, geometry: &Geometry) {
        self.world.neighborhood(id, &geojson::write(geometry));
    }

    /// A resident, as registered from now on, with the cameras.
    pub fn resident(&mut self, resident: &Resident) {
        self.world.person(
            &resident.subject,
            Person {
                household: resident.household,
                home: degrees(resident.home),
                verified: resident.verified,
                endpoints: resident.phone.iter().cloned().collect(),
            },
        );
        for camera in &resident.cameras {
            let device = Device {
                household: resident.household,
                position: degrees(camera.at),
                shares: camera.shares.clone(),
                shares_media: camera.shares_media,
            };
            self.world.device(camera.device, device);
        }
    }

    /// An event that was acknowledged.
    pub fn accepted(&mut self, device: Uuid, body: &Value, received_at_ms: i64) {
        self.world.accepted(device, body, received_at_ms);
    }

    /// What a camera got into the log; the id of a media.
    pub fn note(&mut self, camera: &Camera, news: &News) -> Option<Uuid> {
        match news {
            News::Event { body, received_at, in_doubt } => {
                if *in_doubt {
                    self.world.accepted_in_doubt(camera.device, body, received_at.0);
                } else {
                    self.world.accepted(camera.device, body, received_at.0);
                }
                None
            }
            News::Media { event, file, received_at } => {
                let bytes = file.bytes.len() as u64;
                Some(self.stored(camera.device, *event, file.kind, &file.sha256(), bytes, received_at.0))
            }
        }
    }

    /// A clip or thumbnail that was completed (see [`World::stored`]).
    pub fn stored(
        &mut self,
        device: Uuid,
        event: Uuid,
        kind: &str,
        sha256_hex: &str,
        bytes: u64,
        received_at_ms: i64,
    ) -> Uuid {
        self.world.stored(device, event, kind, sha256_hex, bytes, received_at_ms)
    }

    /// Reads what the phones got since the last time.
    pub fn observe(&mut self, phones: &Phones) {
        let news = phones.log(self.next);
        self.next = news.last().map_or(self.next, |push| push.seq + 1);
        self.pushes.extend(news);
    }

    /// Judges all pushes observed so far; those of events received up to `until_ms` must be there.
    pub fn judge_pushes(&self, until_ms: i64) -> Verdict {
        let observed: Vec<ObservedPush> = self.pushes.iter().map(observed).collect();
        let mut verdict = self.world.judge_pushes(&observed, until_ms);
        verdict.checked += self.forgotten;
        verdict
    }

    /// Judges what every push said: no more than a hint may say, and the truth; a sentence for each that did not.
    pub fn judge_payloads(&self) -> Vec<String> {
        self.pushes.iter().flat_map(|push| self.world.judge_payload(&push.endpoint, &push.payload).wrong).collect()
    }

    /// Judges a whole feed (see [`World::judge_feed`]).
    pub fn judge_feed(&self, subject: &str, items: &[Value], since_ms: i64, until_ms: i64) -> ReadVerdict {
        self.world.judge_feed(subject, items, since_ms, until_ms)
    }

    /// Judges a whole stream (see [`World::judge_stream`]).
    pub fn judge_stream(&self, subject: &str, items: &[Value], since_ms: i64, until_ms: i64) -> ReadVerdict {
        self.world.judge_stream(subject, items, since_ms, until_ms)
    }

    /// Judges what a person was answered about a clip or thumbnail (see [`World::judge_media`]).
    pub fn judge_media(&self, subject: &str, media: Uuid, answer: Option<&Value>, now_ms: i64) -> ReadVerdict {
        self.world.judge_media(subject, media, answer, now_ms)
    }

    /// Whether a person may fetch a clip or thumbnail.
    pub fn may_fetch(&self, subject: &str, media: Uuid) -> bool {
        !self.world.judge_media(subject, media, None, i64::MAX).wrong.is_empty()
    }

    /// The oracle itself.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What reached one phone, oldest first.
    pub fn reached(&self, phone: &str) -> impl Iterator<Item = &Push> {
        self.pushes.iter().filter(move |p| p.endpoint == phone)
    }

    /// How many pushes were observed, those forgotten among them.
    pub fn observed(&self) -> u64 {
        self.next
    }

    /// From acceptance at ingest to the phone, ms: median and 99th percentile; `None` before the first.
    pub fn latency_ms(&mut self) -> Option<(u64, u64)> {
        let received: BTreeMap<(&str, Uuid, u64), i64> = self
            .world
            .expected_pushes()
            .iter()
            .map(|e| ((e.endpoint.as_str(), e.alert, e.revision), e.received_at_ms))
            .collect();
        for push in self.pushes.iter().filter(|p| p.seq >= self.timed) {
            let seen = observed(push);
            if let Some(at) = received.get(&(push.endpoint.as_str(), seen.alert, seen.revision)) {
                self.latency.saturating_record(u64::try_from(push.received_at_ms - at).unwrap_or(0).max(1));
            }
        }
        self.timed = self.next;
        let value = |q| self.latency.value_at_quantile(q);
        (!self.latency.is_empty()).then(|| (value(0.5), value(0.99)))
    }

    /// Forgets what is long judged, so that a city can live for days.
    pub fn forget(&mut self, before_ms: i64) {
        let (alerts, pushes) = self.world.forget(before_ms);
        self.forgotten += pushes;
        self.pushes.retain(|push| !alerts.contains(&observed(push).alert));
    }
}

/// What the oracle has to know of a push.
pub fn observed(push: &Push) -> ObservedPush {
    ObservedPush {
        endpoint: push.endpoint.clone(),
        alert: push.payload["alert"].as_str().and_then(|s| s.parse().ok()).unwrap_or_default(),
        revision: push.payload["revision"].as_u64().unwrap_or_default(),
        silent: push.payload["silent"].as_bool().unwrap_or_default(),
        line: push.payload["line"].as_str().unwrap_or_default().to_owned(),
    }
}

fn degrees(at: Point) -> (f64, f64) {
    (f64::from(at.x) / 1e7, f64::from(at.y) / 1e7)
}
