//! Events, which of them are one happening, and the clips and thumbnails that join it.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::{media::Stored, place::Held, plane::Point, time::millis};

const MINUTE_MS: i64 = 60_000;
/// How long after an item's latest event a late media of it is still told of.
const NEWS_MS: i64 = 10 * MINUTE_MS;
/// The most media that an item names.
const MAX_MEDIA: usize = 64;

/// An event as its device sent it, and when it was received.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) familiar: bool,
    labels: BTreeSet<String>,
    occurred_at_ms: i64,
    sent_at_ms: i64,
    pub(crate) received_at_ms: i64,
    /// Another sending than the one that was answered may be the one that counts.
    in_doubt: bool,
}

impl Event {
    pub(crate) fn read(body: &Value, received_at_ms: i64, in_doubt: bool) -> Self {
        let text = |member: &str| body[member].as_str().unwrap_or_else(|| panic!("an event without {member}"));
        let kind = text("kind").to_owned();
        let mut labels: BTreeSet<String> =
            body["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        if kind == "ding" {
            labels.insert("ding".into());
        }
        if labels.is_empty() {
            labels.insert("motion".into());
        }
        Self {
            id: text("id").parse().expect("an event's id is a UUID"),
            familiar: body["familiar"].as_bool().unwrap_or(false),
            occurred_at_ms: millis(text("occurred_at")),
            sent_at_ms: millis(text("sent_at")),
            kind,
            labels,
            received_at_ms,
            in_doubt,
        }
    }

    pub(crate) fn is_backlog(&self) -> bool {
        self.sent_at_ms - self.occurred_at_ms > 10 * MINUTE_MS
    }

    /// The labels of which neighbors may hear.
    pub(crate) fn shared(&self, policy: &[String]) -> BTreeSet<String> {
        if self.familiar {
            return BTreeSet::new();
        }
        self.labels.iter().filter(|l| policy.contains(l)).cloned().collect()
    }
}

/// What an item showed in one of its revisions.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// When what made it was received: an event, or a media that came later than its event.
    pub(crate) since_ms: i64,
    pub(crate) labels: BTreeSet<String>,
    /// When the latest event was received: a media changes no time.
    pub(crate) updated_at_ms: i64,
    pub(crate) occurred_at_ms: i64,
    /// How many of the course's media.
    pub(crate) media: usize,
}

/// What may be known of a happening: by its household, of all events and media; by neighbors, of the shared ones alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// Of revision 1 and so on.
    states: Vec<State>,
    /// (id, kind), in the order in which they came.
    pub(crate) media: Vec<(Uuid, String)>,
    /// When the first event was received.
    pub(crate) received_at_ms: i64,
    /// Whether the receipt of one of its events is not known for certain.
    pub(crate) in_doubt: bool,
}

impl Course {
    /// Counts the events, and the media that came later than their event.
    pub(crate) fn revision(&self) -> u64 {
        self.states.len() as u64
    }

    /// What is shown in a revision, or in the nearest one there is; `None` before the first.
    pub(crate) fn at(&self, revision: u64) -> Option<&State> {
        let index = usize::try_from(revision).ok()?.clamp(1, self.states.len().max(1)) - 1;
        self.states.get(index)
    }

    pub(crate) fn latest(&self) -> Option<&State> {
        self.states.last()
    }

    /// The revision that must have come about by then.
    pub(crate) fn due(&self, until_ms: i64) -> u64 {
        self.states.iter().take_while(|state| state.since_ms <= until_ms).count() as u64
    }

    /// Whether it changed in between, both included.
    pub(crate) fn changed(&self, since_ms: i64, until_ms: i64) -> bool {
        self.states.iter().any(|state| (since_ms..=until_ms).contains(&state.since_ms))
    }

    fn absorb(&mut self, event: &Event, labels: BTreeSet<String>, with: &[&Stored]) {
        self.media.extend(with.iter().map(|media| media.name()));
        let mut state = self.states.last().cloned().unwrap_or_else(|| {
            self.received_at_ms = event.received_at_ms;
            State {
                since_ms: event.received_at_ms,
                labels: BTreeSet::new(),
                updated_at_ms: event.received_at_ms,
                occurred_at_ms: event.occurred_at_ms,
                media: 0,
            }
        });
        state.since_ms = event.received_at_ms;
        state.labels.extend(labels);
        state.updated_at_ms = state.updated_at_ms.max(event.received_at_ms);
        state.occurred_at_ms = state.occurred_at_ms.min(event.occurred_at_ms);
        state.media = self.media.len();
        self.states.push(state);
        self.in_doubt |= event.in_doubt;
    }

    fn link(&mut self, media: &Stored) {
        let Some(mut state) = self.states.last().cloned() else { return };
        self.media.push(media.name());
        state.since_ms = media.received_at_ms;
        state.media = self.media.len();
        self.states.push(state);
    }
}

/// An event that joined, and what was decided of it when it was received.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) id: Uuid,
    told: bool,
    shares_media: bool,
}

/// What a feed shows as one item.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) item: Uuid,
    pub(crate) device: Uuid,
    pub(crate) household: Uuid,
    pub(crate) point: Point,
    pub(crate) kind: String,
    pub(crate) events: Vec<Joined>,
    pub(crate) all: Course,
    /// Without a revision: the household's alone.
    pub(crate) shared: Course,
    /// The neighborhoods that held the device, as of the latest event.
    pub(crate) neighborhoods: BTreeSet<Held>,
    last_occurred_at_ms: i64,
}

/// Who is told of a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Nobody,
    Household,
    /// The household, and neighbors.
    Neighbors,
}

impl Happening {
    pub(crate) fn open(item: Uuid, device: Uuid, household: Uuid, point: Point, event: &Event) -> Self {
        Self {
            item,
            device,
            household,
            point,
            kind: event.kind.clone(),
            events: Vec::new(),
            all: Course::default(),
            shared: Course::default(),
            neighborhoods: BTreeSet::new(),
            last_occurred_at_ms: event.occurred_at_ms,
        }
    }

    /// Whether an event of the same device, kind and familiarity is of this happening.
    pub(crate) fn takes(&self, event: &Event, household: Uuid, point: Point) -> bool {
        self.household == household
            && self.point == point
            && event.received_at_ms - self.updated_at_ms() <= MINUTE_MS
            && event.received_at_ms - self.all.received_at_ms <= 5 * MINUTE_MS
            && (event.occurred_at_ms - self.last_occurred_at_ms).abs() <= MINUTE_MS
    }

    /// When its latest event was received.
    fn updated_at_ms(&self) -> i64 {
        self.all.latest().map_or(i64::MIN, |state| state.updated_at_ms)
    }

    /// One revision: the event with the media that came before it. `shares_media`: whether neighbors, if they hear of the
    /// event, also see its media.
    pub(crate) fn absorb(
        &mut self,
        event: &Event,
        shared: BTreeSet<String>,
        stands_in: BTreeSet<Held>,
        early: &[&Stored],
        shares_media: bool,
    ) -> Told {
        let early = &early[..early.len().min(MAX_MEDIA - self.all.media.len())];
        let told = match (event.is_backlog(), shared.is_empty()) {
            (true, _) => Told::Nobody,
            (false, true) => Told::Household,
            (false, false) => Told::Neighbors,
        };
        let shares_media = shares_media && !shared.is_empty();
        self.events.push(Joined { id: event.id, told: told != Told::Nobody, shares_media });
        if !shared.is_empty() {
            self.shared.absorb(event, shared, if shares_media { early } else { &[] });
        }
        self.all.absorb(event, event.labels.clone(), early);
        self.neighborhoods = stands_in;
        self.last_occurred_at_ms = self.last_occurred_at_ms.max(event.occurred_at_ms);
        told
    }

    /// One revision more: a media that came later than its event; `None` if there is no room for it.
    pub(crate) fn link(&mut self, media: &Stored) -> Option<Told> {
        let event = self.events.iter().find(|event| event.id == media.event)?;
        if self.all.media.len() >= MAX_MEDIA {
            return None;
        }
        let (told, shares_media) = (event.told, event.shares_media);
        self.all.link(media);
        if shares_media {
            self.shared.link(media);
        }
        let is_news = told && media.received_at_ms - self.updated_at_ms() <= NEWS_MS;
        Some(match (is_news, shares_media) {
            (false, _) => Told::Nobody,
            (true, false) => Told::Household,
            (true, true) => Told::Neighbors,
        })
    }
}
