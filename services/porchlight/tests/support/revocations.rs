//! Devices whose owners change them from several phones at once: one issues and revokes credentials, another renames it
//! and changes what it shares. What was acknowledged is kept in mind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use porchlight::{
    city::people::{Camera, Resident},
    client::{Client, position},
};
use porchlight_domain::Credential;
use porchlight_synth::Household;
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::apps::{Fate, once, put_until_known, until_answered};

/// How long any ingest may take to hear of what was acknowledged.
pub const PROMISE: Duration = Duration::from_secs(5);

/// Where the services are, and how many edits were acknowledged.
#[derive(Clone)]
pub struct Reach {
    pub gateways: Vec<String>,
    pub ingest: String,
    pub acknowledged: Arc<AtomicUsize>,
}

/// A device as its owner's phone knows it.
#[derive(Clone)]
pub struct Gadget {
    pub device: Uuid,
    path: String,
    home: Uuid,
    at: porchlight_geofence::Point,
    app: Client,
    http: reqwest::Client,
    /// What was issued last, unless it was revoked since.
    pub current: Option<String>,
    /// All that was acknowledged as replaced or revoked.
    pub dead: Vec<String>,
    /// Whether it was acknowledged as removed.
    pub removed: bool,
}

/// What an owner does about a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A new one, which replaces the one before.
    Issue,
    /// No more.
    Revoke,
    /// The whole device goes.
    Remove,
}

/// What an ingest says to a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Known,
    Refused,
    CannotTell,
}

impl Gadget {
    pub fn new(owner: &Resident, home: &Household, camera: &Camera) -> Self {
        Self {
            device: camera.device,
            path: format!("/v1/devices/{}", camera.chosen),
            home: home.home,
            at: camera.at,
            app: owner.app.clone(),
            http: reqwest::Client::new(),
            current: Some(camera.line.token().to_owned()),
            dead: Vec::new(),
            removed: false,
        }
    }

    /// The hash under which a row holds the credential that was issued last.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.current.as_deref().and_then(Credential::parse).map(|credential| credential.secret.hash())
    }

    /// The act, with what it needs to be called.
    fn call(&self, act: Act) -> (Method, String) {
        match act {
            Act::Issue => (Method::POST, format!("{}/credentials", self.path)),
            Act::Revoke => (Method::DELETE, format!("{}/credentials", self.path)),
            Act::Remove => (Method::DELETE, self.path.clone()),
        }
    }

    /// Acts until that is acknowledged, at any gateway.
    pub async fn act(&mut self, act: Act, reach: &Reach, rng: &mut StdRng) {
        let (method, path) = self.call(act);
        let (answer, again) = until_answered(|| self.app.at(reach.any_gateway(rng)), method, &path, &Value::Null).await;
        let is_gone = act == Act::Remove && again && answer.status == StatusCode::NOT_FOUND;
        assert!(answer.status.is_success() || is_gone, "{act:?}: {answer:?}");
        self.dead.extend(self.current.take());
        self.current = answer.body["credential"].as_str().map(str::to_owned);
        assert_eq!(self.current.is_some(), act == Act::Issue);
        self.removed |= act == Act::Remove;
        reach.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Acts once, and does not ask again whatever comes. Whether there was an answer; without one nothing is known.
    pub async fn act_once(&mut self, act: Act, reach: &Reach, rng: &mut StdRng) -> bool {
        let (method, path) = self.call(act);
        match once(&self.app.at(reach.any_gateway(rng)), method, &path, &Value::Null).await {
            Fate::Answered(answer) => {
                assert!(answer.status.is_success(), "{act:?}: {answer:?}");
                self.dead.extend(self.current.take());
                self.current = answer.body["credential"].as_str().map(str::to_owned);
                true
            }
            Fate::Unknown => false,
        }
    }

    /// Asks an ingest by a body that is malformed on purpose: nothing comes of it.
    pub async fn ask(&self, ingest: &str, credential: &str) -> Word {
        let camera = Client::new(&self.http, ingest, credential);
        match camera.post("/v1/events", &json!({})).await.map(|answer| answer.status) {
            Ok(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => Word::Known,
            Ok(StatusCode::UNAUTHORIZED) => Word::Refused,
            Ok(StatusCode::SERVICE_UNAVAILABLE) | Err(_) => Word::CannotTell,
            Ok(other) => panic!("ingest answers {other}"),
        }
    }

    /// Asks until the ingest says so; how long that took.
    pub async fn until(&self, ingest: &str, credential: &str, word: Word) -> Duration {
        let begun = Instant::now();
        while self.ask(ingest, credential).await != word {
            assert!(begun.elapsed() < 4 * PROMISE, "{}: {word:?} is not said", self.device);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }
}

impl Reach {
    fn any_gateway(&self, rng: &mut StdRng) -> &str {
        self.gateways.choose(rng).map_or("", String::as_str)
    }
}

/// The phone that issues and revokes: so many acts, each looked after at the ingest. The longest that it took there.
pub async fn replace(mut gadget: Gadget, acts: usize, reach: Reach, mut rng: StdRng) -> (Gadget, Duration) {
    let mut slowest = Duration::ZERO;
    for n in 0..acts {
        let act = match (gadget.current.is_some(), rng.random_range(0..100)) {
            (true, 0..30) => Act::Revoke,
            (true, 30..40) if n + 1 == acts => Act::Remove,
            _ => Act::Issue,
        };
        let before = gadget.current.clone();
        gadget.act(act, &reach, &mut rng).await;
        if let Some(before) = before {
            slowest = slowest.max(gadget.until(&reach.ingest, &before, Word::Refused).await);
        }
        if let Some(current) = &gadget.current {
            slowest = slowest.max(gadget.until(&reach.ingest, current, Word::Known).await);
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
    }
    (gadget, slowest)
}

/// Another phone of the same people: it renames the device and changes what it shares, so many times, on the version
/// that it read last.
pub async fn rename(gadget: Gadget, times: usize, reach: Reach, mut rng: StdRng) {
    let mut etag = "\"0\"".to_owned();
    for n in 0..times {
        let body = json!({
            "name": format!("Door {n} {}", rng.random_range(0..1_000_000)),
            "home": gadget.home,
            "position": position(gadget.at.x, gadget.at.y),
            "neighborhood_labels": if rng.random_bool(0.5) { json!(["person"]) } else { json!([]) },
            "retention_days": rng.random_range(1..=400),
        });
        let any = || gadget.app.at(reach.any_gateway(&mut rng));
        // Removed by the other phone.
        let Some(put) = put_until_known(any, &gadget.path, &body, etag).await else { return };
        etag = put;
        reach.acknowledged.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
    }
}
