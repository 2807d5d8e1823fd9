//! Events, and which of them are one happening.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::{place::Held, plane::Point, time::millis};

const MINUTE_MS: i64 = 60_000;

/// An event as its device sent it, and when it was received.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) familiar: bool,
    labels: BTreeSet<String>,
    occurred_at_ms: i64,
    sent_at_ms: i64,
    received_at_ms: i64,
}

impl Event {
    pub(crate) fn read(body: &Value, received_at_ms: i64) -> Self {
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

/// What may be known of a happening: by its household, of all events; by neighbors, of the shared ones alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// Counts the events.
    pub(crate) revision: u64,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) received_at_ms: i64,
    pub(crate) updated_at_ms: i64,
    pub(crate) occurred_at_ms: i64,
}

impl Course {
    fn absorb(&mut self, event: &Event, labels: BTreeSet<String>) {
        if self.revision == 0 {
            self.received_at_ms = event.received_at_ms;
            self.updated_at_ms = event.received_at_ms;
            self.occurred_at_ms = event.occurred_at_ms;
        }
        self.revision += 1;
        self.labels.extend(labels);
        self.updated_at_ms = self.updated_at_ms.max(event.received_at_ms);
        self.occurred_at_ms = self.occurred_at_ms.min(event.occurred_at_ms);
    }
}

/// What a feed shows as one item.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) item: Uuid,
    pub(crate) device: Uuid,
    pub(crate) household: Uuid,
    pub(crate) point: Point,
    pub(crate) kind: String,
    pub(crate) events: Vec<Uuid>,
    pub(crate) all: Course,
    /// Of revision 0: the household's alone.
    pub(crate) shared: Course,
    /// The neighborhoods that held the device, as of the latest event.
    pub(crate) neighborhoods: BTreeSet<Held>,
    last_occurred_at_ms: i64,
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
            && event.received_at_ms - self.all.updated_at_ms <= MINUTE_MS
            && event.received_at_ms - self.all.received_at_ms <= 5 * MINUTE_MS
            && (event.occurred_at_ms - self.last_occurred_at_ms).abs() <= MINUTE_MS
    }

    pub(crate) fn absorb(&mut self, event: &Event, shared: BTreeSet<String>, stands_in: BTreeSet<Held>) {
        self.events.push(event.id);
        if !shared.is_empty() {
            self.shared.absorb(event, shared);
        }
        self.all.absorb(event, event.labels.clone());
        self.neighborhoods = stands_in;
        self.last_occurred_at_ms = self.last_occurred_at_ms.max(event.occurred_at_ms);
    }
}
