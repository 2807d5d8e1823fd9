//! The oracle: who should have been told what, and who may see what, worked out from the inputs alone.
//!
//! It knows no crate of ours: own reading of events, own point-in-polygon, own grouping, own derivation of ids, all by
//! brute force and as plain as can be. A judge that shares code with the judged shares its mistakes. It knows only the
//! written rules:
//!
//! - a household is told of its own events; backlog (older than ten minutes when sent) is stored and told to nobody;
//! - a neighbor is told if the visitor is not familiar, the device's policy names one of the event's labels, and a
//!   *verified* home of theirs lies in a neighborhood that holds the device; one push per endpoint, however many
//!   neighborhoods and homes say so;
//! - a neighbor may see an item as long as such a home lies in such a neighborhood both as it was at the item's latest
//!   event and as it is now;
//! - the events of one device, kind and familiarity, no more than a minute apart by receipt and by occurrence and within
//!   five minutes, are one item; each is a revision; revisions above 1 are silent; neighbors count shared ones only, and
//!   see no label, no time and no number of the others;
//! - a clip or thumbnail that came before its event joins the event's revision; one that comes later is a revision of its
//!   own and changes no time. Neighbors see (and count) it if they were told of its event and the device shared media
//!   then. It is told, silently, if its event was told and the item's latest event is at most ten minutes old.
//!
//! What it is told counts from then on: tell it of every neighborhood, person and device *before* the events that
//! concern them, of edits and moves between the events that they lie between, and of the acceptances and completed
//! uploads of each device in the order of their answers. Then let it judge. Where an edit and an event meet at the same moment, both answers may be
//! right, and it knows one: tests keep them apart.

mod happening;
mod in_flight;
mod judge;
mod media;
mod names;
mod place;
mod plane;
mod reads;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use happening::{Happening, Told};
pub use in_flight::{Between, FlightVerdict, Flown, InFlight};
pub use judge::{ObservedPush, Verdict};
use media::Stored;
use place::{Held, Neighborhoods, Place};
use plane::Shape;
pub use reads::ReadVerdict;

/// The most media that are found to have come before their event.
const MAX_EARLY_MEDIA: usize = 8;

/// A person, as registered.
#[derive(Clone, Debug)]
pub struct Person {
    /// The household they belong to, as the gateway names it.
    pub household: Uuid,
    /// Where they live, degrees (lon, lat).
    pub home: (f64, f64),
    /// Whether their residence was verified. Who has no home, or left it, has none that is verified.
    pub verified: bool,
    /// Their endpoints, by whatever name the receiver gives them.
    pub endpoints: Vec<String>,
}

/// A device, as registered.
#[derive(Clone, Debug)]
pub struct Device {
    /// Whose it is.
    pub household: Uuid,
    /// Where it stands, degrees (lon, lat).
    pub position: (f64, f64),
    /// The labels of which neighbors hear.
    pub shares: Vec<String>,
    /// Whether neighbors also see the clips and thumbnails of the events that they hear of.
    pub shares_media: bool,
}

/// A push that must arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedPush {
    /// Where.
    pub endpoint: String,
    /// Of which alert.
    pub alert: Uuid,
    /// Which revision, as this recipient counts them.
    pub revision: u64,
    /// As the household's own, or as a neighbor.
    pub as_neighbor: bool,
    /// When its event (or the media that made the revision) was received, ms since the Unix epoch.
    pub received_at_ms: i64,
}

/// All that the oracle was told, and what follows from it.
#[derive(Debug, Default)]
pub struct World {
    neighborhoods: Neighborhoods,
    people: BTreeMap<String, Resident>,
    devices: BTreeMap<Uuid, (Device, Place)>,
    /// The item of an event, by device and event.
    seen: BTreeMap<(Uuid, Uuid), Uuid>,
    /// By their ids.
    media: BTreeMap<Uuid, Stored>,
    /// By item.
    happenings: BTreeMap<Uuid, Happening>,
    /// The item that events of (device, kind, familiar) last joined.
    open: BTreeMap<(Uuid, String, bool), Uuid>,
    item_of_alert: BTreeMap<Uuid, Uuid>,
    expected: BTreeSet<ExpectedPush>,
}

#[derive(Debug)]
struct Resident {
    household: Uuid,
    endpoints: Vec<String>,
    /// The verified ones; no other counts.
    homes: Vec<Place>,
}

impl Resident {
    /// Those of the matched neighborhoods that this person may be told of and see things in.
    fn lives_in(&self, matched: &BTreeSet<Held>, neighborhoods: &Neighborhoods) -> BTreeSet<Uuid> {
        self.homes.iter().flat_map(|home| home.shares(matched, neighborhoods)).collect()
    }
}

impl World {
    /// Nobody, nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// A neighborhood, or its polygon from now on: a GeoJSON `Polygon` or `MultiPolygon`.
    ///
    /// # Panics
    /// If it is neither: an oracle that guesses is none.
    pub fn neighborhood(&mut self, id: Uuid, geometry: &Value) {
        self.version(id, Shape::read(geometry));
    }

    /// A neighborhood that is gone from now on.
    pub fn neighborhood_deleted(&mut self, id: Uuid) {
        self.version(id, Shape::default());
    }

    fn version(&mut self, id: Uuid, shape: Shape) {
        let versions = self.neighborhoods.entry(id).or_default();
        let homes = self.people.values_mut().flat_map(|person| &mut person.homes);
        let places = homes.chain(self.devices.values_mut().map(|(_, place)| place));
        places.for_each(|place| place.learn((id, versions.len()), &shape));
        versions.push(shape);
    }

    /// A person, or how they are registered from now on, with this as their only home.
    pub fn person(&mut self, name: &str, person: Person) {
        let homes = if person.verified { vec![self.place(person.home)] } else { Vec::new() };
        let resident = Resident { household: person.household, endpoints: person.endpoints, homes };
        self.people.insert(name.to_owned(), resident);
    }

    /// One more verified home of a person, degrees (lon, lat).
    ///
    /// # Panics
    /// If nobody is known under the name.
    pub fn another_home(&mut self, name: &str, home: (f64, f64)) {
        let home = self.place(home);
        self.people.get_mut(name).expect("a home of a person who was told of").homes.push(home);
    }

    /// A device, or how it is registered from now on.
    pub fn device(&mut self, id: Uuid, device: Device) {
        let place = self.place(device.position);
        self.devices.insert(id, (device, place));
    }

    fn place(&self, at: (f64, f64)) -> Place {
        Place::new(plane::snap(at), &self.neighborhoods)
    }

    /// An event that was acknowledged: the device, its body as it was sent (with `sent_at`, wherever it was sent), and
    /// the receipt that was answered. A second body under an id, or the same again, changes nothing: the first record in
    /// the log is the event.
    ///
    /// # Panics
    /// If the device is unknown or the body could not have been accepted.
    pub fn accepted(&mut self, device: Uuid, body: &Value, received_at_ms: i64) {
        self.event(device, &happening::Event::read(body, received_at_ms, false));
    }

    /// An event that was acknowledged after a sending whose fate is not known: that one may be in the log, with another
    /// receipt. Everything is judged but the receipts that its item shows.
    ///
    /// # Panics
    /// As [`World::accepted`].
    pub fn accepted_in_doubt(&mut self, device: Uuid, body: &Value, received_at_ms: i64) {
        self.event(device, &happening::Event::read(body, received_at_ms, true));
    }

    fn event(&mut self, device: Uuid, event: &happening::Event) {
        if self.seen.contains_key(&(device, event.id)) {
            return;
        }
        let (owner, place) = self.devices.get(&device).expect("an event of a device that was told of");
        let stands_in = place.now(&self.neighborhoods);

        let key = (device, event.kind.clone(), event.familiar);
        let takes = |h: &Happening| h.takes(event, owner.household, place.point);
        let open = self.open.get(&key).filter(|item| self.happenings.get(item).is_some_and(takes));
        let item = open.copied().unwrap_or_else(|| names::item(device, event.id));
        self.open.insert(key, item);
        self.item_of_alert.insert(names::alert(item), item);
        self.seen.insert((device, event.id), item);
        let shared = if stands_in.is_empty() { BTreeSet::new() } else { event.shared(&owner.shares) };
        let mut early: Vec<&Stored> =
            self.media.values().filter(|m| (m.device, m.event) == (device, event.id)).collect();
        early.sort_by_key(|media| (media.received_at_ms, media.id));
        early.truncate(MAX_EARLY_MEDIA);
        let happening = self
            .happenings
            .entry(item)
            .or_insert_with(|| Happening::open(item, device, owner.household, place.point, event));
        let told = happening.absorb(event, shared, stands_in, &early, owner.shares_media);
        self.expect(item, told, event.received_at_ms);
    }

    /// A clip or thumbnail whose upload was completed: of which event of which device, `clip` or `thumbnail`, the SHA-256
    /// in hexadecimal and the length of its bytes, and the receipt that was answered. The same again changes nothing. Its
    /// id is answered.
    ///
    /// # Panics
    /// If the device is unknown, or the SHA-256 is none.
    pub fn stored(
        &mut self,
        device: Uuid,
        event: Uuid,
        kind: &str,
        sha256_hex: &str,
        bytes: u64,
        received_at_ms: i64,
    ) -> Uuid {
        let sha256 = sha256_hex.to_lowercase();
        assert_eq!(sha256.len(), 64, "not a SHA-256 in hexadecimal: {sha256}");
        let id = names::media(device, event, kind, &sha256);
        if self.media.contains_key(&id) {
            return id;
        }
        let (owner, _) = self.devices.get(&device).expect("a media of a device that was told of");
        let household = owner.household;
        let media = Stored { id, device, event, household, kind: kind.to_owned(), sha256, bytes, received_at_ms };
        let item = self.seen.get(&(device, event)).copied();
        let told = item.and_then(|item| self.happenings.get_mut(&item)?.link(&media));
        if let (Some(item), Some(told)) = (item, told) {
            self.expect(item, told, received_at_ms);
        }
        self.media.insert(id, media);
        id
    }

    /// The pushes of an item's latest revision.
    fn expect(&mut self, item: Uuid, told: Told, received_at_ms: i64) {
        let Some(happening) = self.happenings.get(&item).filter(|_| told != Told::Nobody) else { return };
        for person in self.people.values() {
            let own = person.household == happening.household;
            let lives_near = || !person.lives_in(&happening.neighborhoods, &self.neighborhoods).is_empty();
            if !(own || told == Told::Neighbors && lives_near()) {
                continue;
            }
            let course = if own { &happening.all } else { &happening.shared };
            self.expected.extend(person.endpoints.iter().map(|endpoint| ExpectedPush {
                endpoint: endpoint.clone(),
                alert: names::alert(item),
                revision: course.revision(),
                as_neighbor: !own,
                received_at_ms,
            }));
        }
    }

    /// Every push that must arrive, in no order that matters.
    pub fn expected_pushes(&self) -> &BTreeSet<ExpectedPush> {
        &self.expected
    }

    /// How many distinct events were acknowledged.
    pub fn events(&self) -> usize {
        self.seen.len()
    }

    /// How many distinct media were stored.
    pub fn media(&self) -> usize {
        self.media.len()
    }

    /// The item that an acknowledged event of a device is part of.
    pub fn item_of(&self, device: Uuid, event: Uuid) -> Option<Uuid> {
        self.seen.get(&(device, event)).copied()
    }

    /// Forgets the items that saw no event and no media since a time, their media, and their pushes, so that a long life
    /// fits into memory; their alerts, and how many expected pushes that were. A push of one of these alerts is no longer
    /// known: the caller forgets what was observed of them as well.
    pub fn forget(&mut self, before_ms: i64) -> (BTreeSet<Uuid>, usize) {
        let rests = |h: &Happening| h.all.latest().is_none_or(|state| state.since_ms < before_ms);
        let old = |item: &Uuid| self.happenings.get(item).is_none_or(rests);
        let alerts: BTreeSet<Uuid> =
            self.item_of_alert.iter().filter(|(_, item)| old(item)).map(|(alert, _)| *alert).collect();
        for alert in &alerts {
            if let Some(happening) = self.item_of_alert.remove(alert).and_then(|item| self.happenings.remove(&item)) {
                for event in &happening.events {
                    self.seen.remove(&(happening.device, event.id));
                }
            }
        }
        let Self { happenings, open, seen, media, .. } = self;
        open.retain(|_, item| happenings.contains_key(item));
        media.retain(|_, m| m.received_at_ms >= before_ms || seen.contains_key(&(m.device, m.event)));
        let before = self.expected.len();
        self.expected.retain(|e| !alerts.contains(&e.alert));
        (alerts, before - self.expected.len())
    }
}
