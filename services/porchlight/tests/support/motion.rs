//! Towns whose borders are drawn again and again, and people who move between them; all of it told to the oracle.

use std::sync::{Arc, Mutex, PoisonError};

use porchlight::{
    city::people::{Resident, TownHall},
    client::position,
};
use porchlight_domain::{Clock, NeighborhoodId, SystemClock, Version};
use porchlight_geofence::{Geometry, Point, geojson};
use porchlight_oracle::{Between, InFlight};
use porchlight_wire::NeighborhoodRecord;
use rand::{Rng as _, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::apps::{put_until_known, until_answered};

/// The corners of a border.
const CORNERS: usize = 12;
/// How far a corner lies from the middle, as parts of the radius.
const CORNER: std::ops::Range<f64> = 0.75..1.0;
/// How far homes lie from it: some within every border, some within some, some within none.
const HOME: std::ops::Range<f64> = 0.2..1.25;
/// East and north, 1e-7 degree: some 1.3 km each way at this latitude.
const RADIUS: (f64, f64) = (160_000.0, 120_000.0);

/// What the oracle is told.
#[derive(Clone)]
pub struct Told(Arc<Mutex<InFlight>>);

impl Told {
    pub fn new(lag_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(InFlight::new(lag_ms))))
    }

    pub fn with<T>(&self, tell: impl FnOnce(&mut InFlight) -> T) -> T {
        tell(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub fn now_ms() -> i64 {
    SystemClock.now().0
}

fn since(from_ms: i64) -> Between {
    Between { from_ms, until_ms: now_ms() }
}

pub fn degrees(at: Point) -> (f64, f64) {
    (f64::from(at.x) / 1e7, f64::from(at.y) / 1e7)
}

/// A neighborhood. Each of its versions is a simple polygon: the corners go round the middle.
pub struct Town {
    pub id: Uuid,
    name: String,
    middle: Point,
    corners: [f64; CORNERS],
}

impl Town {
    pub fn new(name: &str, middle: Point, rng: &mut StdRng) -> Self {
        let corners = std::array::from_fn(|_| rng.random_range(CORNER));
        Self { id: Uuid::new_v4(), name: name.to_owned(), middle, corners }
    }

    /// A place for a home.
    pub fn place(&self, rng: &mut StdRng) -> Point {
        self.at(rng.random_range(0.0..1.0), rng.random_range(HOME))
    }

    /// So far round, and so far away.
    #[allow(clippy::cast_possible_truncation)] // within a degree
    fn at(&self, round: f64, away: f64) -> Point {
        let (sin, cos) = (round * std::f64::consts::TAU).sin_cos();
        let along = |middle: i32, part: f64, radius: f64| middle + (part * away * radius).round() as i32;
        Point { x: along(self.middle.x, cos, RADIUS.0), y: along(self.middle.y, sin, RADIUS.1) }
    }

    fn geometry(&self) -> Geometry {
        #[allow(clippy::cast_precision_loss)] // twelve
        let corner = |(n, away): (usize, &f64)| self.at(n as f64 / CORNERS as f64, *away);
        Geometry { parts: vec![vec![self.corners.iter().enumerate().map(corner).collect()]] }
    }

    /// Its row, before anybody else has written one.
    pub fn first_row(&self) -> NeighborhoodRecord {
        let ring = |ring: &Vec<Point>| {
            ring.iter().map(|p| porchlight_domain::Point { lon_e7: p.x, lat_e7: p.y }).collect::<Vec<_>>()
        };
        NeighborhoodRecord {
            id: NeighborhoodId(self.id),
            name: self.name.clone(),
            parts: self.geometry().parts.iter().map(|part| part.iter().map(ring).collect()).collect(),
            deleted: false,
            version: Version(1),
            updated_at: SystemClock.now(),
        }
    }

    /// Moves one corner and publishes that. It moves far enough to be seen on the grid: what is drawn as it stood gets no
    /// version of its own.
    pub async fn redraw(&mut self, hall: &TownHall, told: &Told, rng: &mut StdRng) {
        let before = self.geometry();
        while self.geometry() == before {
            self.corners[rng.random_range(0..CORNERS)] = rng.random_range(CORNER);
        }
        self.publish(hall, told).await;
    }

    pub async fn publish(&self, hall: &TownHall, told: &Told) {
        let (geometry, from_ms) = (geojson::write(&self.geometry()), now_ms());
        let feature = json!({ "type": "Feature", "properties": { "name": self.name }, "geometry": geometry });
        let path = format!("/v1/neighborhoods/{}", self.id);
        let (answer, _) = until_answered(|| hall.operator(), Method::PUT, &path, &feature).await;
        let version = answer.ok().expect("a polygon")["version"].as_u64().expect("a version");
        told.with(|told| told.version(self.id, version, Some(&geometry), since(from_ms)));
    }

    /// Removes it from the map.
    pub async fn erase(&self, hall: &TownHall, told: &Told) {
        let (path, from_ms) = (format!("/v1/neighborhoods/{}", self.id), now_ms());
        let (answer, again) = until_answered(|| hall.operator(), Method::DELETE, &path, &Value::Null).await;
        assert!(answer.status.is_success() || again && answer.status == StatusCode::NOT_FOUND, "{answer:?}");
        told.with(|told| {
            let version = told.newest(self.id).map_or(1, |version| version + 1);
            told.version(self.id, version, None, since(from_ms));
        });
    }
}

/// Somebody who moves.
pub struct Mover {
    pub resident: Resident,
    /// The home as the household names it, as the operator does, and the version at which it stands.
    chosen: Uuid,
    home: Uuid,
    etag: String,
    moves: u64,
}

impl Mover {
    /// Of a resident whose home is verified.
    pub async fn new(resident: Resident, chosen: Uuid) -> Self {
        let own = resident.app.get(&format!("/v1/homes/{chosen}")).await.expect("an answer");
        let home = own.body["home"].as_str().and_then(|id| id.parse().ok()).expect("a home");
        Self { resident, chosen, home, etag: own.etag().to_owned(), moves: 0 }
    }

    /// Moves there, and is verified there.
    pub async fn go(&mut self, to: Point, hall: &TownHall, told: &Told) {
        self.moves += 1;
        let (name, path) = (format!("Home {}", self.moves), format!("/v1/homes/{}", self.chosen));
        let body = json!({ "name": name, "position": position(to.x, to.y) });
        let (from_ms, app) = (now_ms(), || self.resident.app.clone());
        self.etag = put_until_known(app, &path, &body, self.etag.clone()).await.expect("a home that stays");
        told.with(|told| told.home(&self.resident.subject, None, since(from_ms)));

        let (path, from_ms) = (format!("/v1/operator/homes/{}/verify", self.home), now_ms());
        let (verified, _) = until_answered(|| hall.operator(), Method::POST, &path, &Value::Null).await;
        assert!(verified.status.is_success(), "{verified:?}");
        self.etag = verified.etag().to_owned();
        told.with(|told| told.home(&self.resident.subject, Some(degrees(to)), since(from_ms)));
    }
}
