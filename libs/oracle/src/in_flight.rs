//! Who may and who must be told while polygons are edited, homes move and alerts are on their way.
//!
//! [`World`](crate::World) knows one state after the other, and judges what is kept apart. Here everything happens at
//! once, and nobody outside can say at which instant a change took effect or a decision was made: only between which
//! two. So every change and every decision is a [`Between`], and a pair of an alert and a person is one of three:
//!
//! - *must*: whenever the decision was made, it was yes. One verified home stood there for all of that time, in a
//!   matched polygon, and in that neighborhood at every version that may have counted then;
//! - *must not*: whenever it was made, it was no. At no moment did a home that may have been verified then lie in a
//!   matched polygon and in the version that may have counted at the same moment;
//! - *either*: the decision lay on both sides of a change.
//!
//! A version counts from its writing on; how long those who hold polygons in memory may go by the one before is given.
//! They never go by one that is older than the version that matched. The household of an alert is always told.

mod judge;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use crate::plane::{self, Point, Shape};
pub use judge::FlightVerdict;

/// An instant that is not known better than this, ms since the Unix epoch, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    /// Not before.
    pub from_ms: i64,
    /// Not after.
    pub until_ms: i64,
}

/// An alert as it stands in the log, and what is known of its way.
#[derive(Clone, Debug)]
pub struct Flown {
    /// Its id.
    pub alert: Uuid,
    /// Its revision, as the household counts.
    pub revision: u64,
    /// Its revision, as neighbors count.
    pub shared_revision: u64,
    /// Whose it is.
    pub household: Uuid,
    /// The device whose shared event it is of. `None`: nothing was matched by a place, and what is named is not judged.
    pub device: Option<Uuid>,
    /// The neighborhoods that it names, with their versions.
    pub matched: Vec<(Uuid, u64)>,
    /// From the receipt of its event until it stood in the log.
    pub matching: Between,
    /// When the last planning of it was done; who was not planned was judged by then.
    pub planned_ms: i64,
    /// When the last word on a person was spoken (told, or refused at the moment of sending), by name.
    pub decided_ms: BTreeMap<String, i64>,
}

/// All that was changed, and when.
#[derive(Clone, Debug)]
pub struct InFlight {
    lag_ms: i64,
    /// The versions of each, by number.
    neighborhoods: BTreeMap<Uuid, BTreeMap<u64, Version>>,
    people: BTreeMap<String, Mover>,
    devices: BTreeMap<Uuid, Point>,
}

#[derive(Clone, Debug)]
struct Version {
    shape: Shape,
    written: Between,
}

#[derive(Clone, Debug)]
struct Mover {
    household: Uuid,
    endpoints: Vec<String>,
    /// One after the other, the last for ever.
    states: Vec<State>,
}

/// Where somebody's verified home is; `None`: nowhere, or not verified.
#[derive(Clone, Copy, Debug)]
struct State {
    home: Option<Point>,
    since: Between,
}

impl InFlight {
    /// Nobody, nowhere. `lag_ms`: how long after a version was written some may still go by the one before.
    pub fn new(lag_ms: i64) -> Self {
        Self { lag_ms, neighborhoods: BTreeMap::new(), people: BTreeMap::new(), devices: BTreeMap::new() }
    }

    /// A version of a neighborhood: a GeoJSON `Polygon` or `MultiPolygon`; `None`: from this version on it is gone.
    ///
    /// # Panics
    /// If it is neither, or if versions do not come in their order.
    pub fn version(&mut self, id: Uuid, version: u64, geometry: Option<&Value>, written: Between) {
        let shape = geometry.map(Shape::read).unwrap_or_default();
        let versions = self.neighborhoods.entry(id).or_default();
        if let Some((last, before)) = versions.last_key_value() {
            let follows = *last < version && before.written.until_ms <= written.from_ms;
            assert!(follows, "version {version} of {id}, {written:?}, does not follow {last}, {:?}", before.written);
        }
        versions.insert(version, Version { shape, written });
    }

    /// The newest version of a neighborhood.
    pub fn newest(&self, id: Uuid) -> Option<u64> {
        self.neighborhoods.get(&id)?.last_key_value().map(|(version, _)| *version)
    }

    /// A person without a verified home so far, with endpoints by whatever name the receiver gives them.
    pub fn person(&mut self, name: &str, household: Uuid, endpoints: Vec<String>) {
        let nowhere = State { home: None, since: Between { from_ms: i64::MIN, until_ms: i64::MIN } };
        self.people.insert(name.to_owned(), Mover { household, endpoints, states: vec![nowhere] });
    }

    /// Where a person's one verified home is from then on, degrees (lon, lat). `None`: nowhere, or it waits to be
    /// verified.
    ///
    /// # Panics
    /// If nobody is known under the name, or if moves do not come in their order.
    pub fn home(&mut self, name: &str, home: Option<(f64, f64)>, since: Between) {
        let states = &mut self.people.get_mut(name).expect("a home of a person who was told of").states;
        let last = states.last().map_or(i64::MIN, |state| state.since.until_ms);
        assert!(last <= since.from_ms, "{name} moves before the move before");
        states.push(State { home: home.map(plane::snap), since });
    }

    /// A device that stands where it stands, degrees (lon, lat).
    pub fn device(&mut self, id: Uuid, position: (f64, f64)) {
        self.devices.insert(id, plane::snap(position));
    }

    /// The versions by which somebody may have gone at some moment in between.
    fn counting(&self, id: Uuid, during: Between) -> impl Iterator<Item = (u64, &Shape)> {
        let versions = self.neighborhoods.get(&id);
        versions.into_iter().flat_map(move |versions| {
            versions.iter().filter_map(move |(number, version)| {
                let next = versions.range(number + 1..).next();
                let until_ms = next.map_or(i64::MAX, |(_, next)| next.written.until_ms + self.lag_ms);
                Between { from_ms: version.written.from_ms, until_ms }.and(during)?;
                Some((*number, &version.shape))
            })
        })
    }

    fn shape(&self, (id, version): (Uuid, u64)) -> Option<&Shape> {
        self.neighborhoods.get(&id)?.get(&version).map(|version| &version.shape)
    }

    /// Whether some home of a person ever lay in some version of one of these: there was something to decide.
    fn are_concerned(&self, mover: &Mover, ids: &BTreeSet<Uuid>) -> bool {
        let versions = || ids.iter().filter_map(|id| self.neighborhoods.get(id)).flat_map(BTreeMap::values);
        mover.states.iter().filter_map(|state| state.home).any(|home| versions().any(|v| v.shape.holds(home)))
    }
}

impl Between {
    /// What both have in common.
    fn and(self, other: Self) -> Option<Self> {
        let (from_ms, until_ms) = (self.from_ms.max(other.from_ms), self.until_ms.min(other.until_ms));
        (from_ms <= until_ms).then_some(Self { from_ms, until_ms })
    }
}

impl Mover {
    /// The verified homes that there may have been at some moment in between, each with the span in which it may.
    fn possible(&self, during: Between) -> impl Iterator<Item = (Point, Between)> {
        self.spans().filter_map(move |(state, next)| {
            let until_ms = next.map_or(i64::MAX, |next| next.since.until_ms);
            Some((state.home?, Between { from_ms: state.since.from_ms, until_ms }.and(during)?))
        })
    }

    /// The verified home that there was all the time in between, if that is certain.
    fn certain(&self, during: Between) -> Option<Point> {
        let stood = |state: &State, next: Option<&State>| {
            state.since.until_ms < during.from_ms && next.is_none_or(|next| during.until_ms < next.since.from_ms)
        };
        self.spans().find(|(state, next)| stood(state, *next)).and_then(|(state, _)| state.home)
    }

    fn spans(&self) -> impl Iterator<Item = (&State, Option<&State>)> {
        let after = self.states.iter().skip(1).map(Some).chain([None]);
        self.states.iter().zip(after)
    }
}
