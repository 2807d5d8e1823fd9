//! Items: what a feed shows. The events of one device close in time are one item with revisions, and each revision may
//! be told to somebody.

use crate::{
    Alert, AlertId, Audience, DeviceId, EventId, HouseholdId, ItemId, Kind, Labels, Lane, NeighborhoodRef, Point,
    Stamped, Timestamp,
};

/// Two events of a device are one happening if no more than this lies between them, both by receipt and by occurrence
/// (by receipt alone, the flushed backlog of a night would be one item).
pub const GROUP_GAP_MS: i64 = 60_000;
/// An item takes no further events after this: a tree in the wind is not one item for a day.
pub const GROUP_SPAN_MS: i64 = 300_000;
/// How long an alert is news.
pub const ALERT_TTL_MS: i64 = 10 * 60_000;

/// Which events can be of one item: those of one device, one kind and one answer to "is it somebody known". A ding
/// after motion is news and not a silent revision; a familiar visitor never joins an item that neighbors see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupKey {
    /// The device.
    pub device: DeviceId,
    /// Rung or moved.
    pub kind: Kind,
    /// Somebody known.
    pub familiar: bool,
}

impl GroupKey {
    /// The group that an event belongs to.
    pub fn of(stamped: &Stamped) -> Self {
        Self { device: stamped.device, kind: stamped.event.kind, familiar: stamped.event.familiar }
    }
}

/// The course of an item as neighbors may know it: of the shared events only, so that not even their number or their
/// times tell of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    /// Counts the shared events, from 1.
    pub revision: u32,
    /// When the first shared event was received. Neighborhoods' feeds are ordered by it; it never changes.
    pub since: Timestamp,
    /// When the latest shared event was received.
    pub updated_at: Timestamp,
    /// When the first shared event occurred, by the device's clock.
    pub occurred_at: Timestamp,
}

impl Shared {
    fn after(before: Option<Self>, stamped: &Stamped) -> Self {
        match before {
            None => Self {
                revision: 1,
                since: stamped.received_at,
                updated_at: stamped.received_at,
                occurred_at: stamped.event.occurred_at,
            },
            Some(before) => Self {
                revision: before.revision + 1,
                updated_at: before.updated_at.max(stamped.received_at),
                occurred_at: before.occurred_at.min(stamped.event.occurred_at),
                ..before
            },
        }
    }
}

/// One happening. It never leaves a service as it is: see [`crate::view::ItemView`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Derived from the event that opened it.
    pub id: ItemId,
    /// Which events may still join.
    pub group: GroupKey,
    /// Whose it is.
    pub household: HouseholdId,
    /// All that was recognized so far.
    pub labels: Labels,
    /// Those of the labels that neighbors may know of.
    pub shared_labels: Labels,
    /// Where the device stood.
    pub point: Point,
    /// The neighborhoods that held the point, as of the latest event.
    pub neighborhoods: Vec<NeighborhoodRef>,
    /// Counts the events, from 1.
    pub revision: u32,
    /// What neighbors may know of its course; `None` while it is the household's alone.
    pub shared: Option<Shared>,
    /// When the first event was received. The household's feed is ordered by it; it never changes.
    pub opened_at: Timestamp,
    /// When the latest event was received.
    pub updated_at: Timestamp,
    /// When the first event occurred, by the device's clock.
    pub occurred_at: Timestamp,
    /// When the latest event occurred, by the device's clock.
    pub last_occurred_at: Timestamp,
    /// The latest event.
    pub last_event: EventId,
    /// When everything of it ends.
    pub expires_at: Timestamp,
}

impl Item {
    /// The item after this event: `open`, with one revision more, if the event is of the same happening; else a new one.
    ///
    /// `matched`: the neighborhoods that hold the device's point now.
    pub fn absorb(open: Option<Self>, stamped: &Stamped, matched: &[NeighborhoodRef]) -> Self {
        let shared = if matched.is_empty() { Labels::NONE } else { stamped.shared_labels() };
        let labels = stamped.event.shareable_labels();
        match open.filter(|item| item.takes(stamped)) {
            None => Self {
                id: ItemId::opened_by(stamped.device, stamped.event.id),
                group: GroupKey::of(stamped),
                household: stamped.household,
                labels,
                shared_labels: shared,
                point: stamped.point,
                neighborhoods: matched.to_vec(),
                revision: 1,
                shared: (!shared.is_empty()).then(|| Shared::after(None, stamped)),
                opened_at: stamped.received_at,
                updated_at: stamped.received_at,
                occurred_at: stamped.event.occurred_at,
                last_occurred_at: stamped.event.occurred_at,
                last_event: stamped.event.id,
                expires_at: stamped.expires_at(),
            },
            Some(mut item) => {
                item.revision += 1;
                item.labels = item.labels.union(labels);
                item.shared_labels = item.shared_labels.union(shared);
                if !shared.is_empty() {
                    item.shared = Some(Shared::after(item.shared, stamped));
                }
                item.neighborhoods = matched.to_vec();
                item.updated_at = item.updated_at.max(stamped.received_at);
                item.occurred_at = item.occurred_at.min(stamped.event.occurred_at);
                item.last_occurred_at = item.last_occurred_at.max(stamped.event.occurred_at);
                item.last_event = stamped.event.id;
                item
            }
        }
    }

    fn takes(&self, stamped: &Stamped) -> bool {
        self.group == GroupKey::of(stamped)
            && self.household == stamped.household
            && self.point == stamped.point
            && stamped.received_at.since(self.updated_at) <= GROUP_GAP_MS
            && stamped.received_at.since(self.opened_at) <= GROUP_SPAN_MS
            && stamped.event.occurred_at.since(self.last_occurred_at).abs() <= GROUP_GAP_MS
    }

    /// Who may ever see it.
    pub fn audience(&self) -> Audience {
        let neighborhoods = if self.shared.is_some() { self.neighborhoods.clone() } else { Vec::new() };
        Audience { household: self.household, neighborhoods }
    }

    /// What becomes of the event that made this revision, and what is told of it.
    pub fn outcome(&self, stamped: &Stamped, now: Timestamp) -> (Outcome, Option<Alert>) {
        let expires_at = stamped.received_at.plus_ms(ALERT_TTL_MS);
        if stamped.is_backlog() {
            return (Outcome::Backlog, None);
        }
        if now > expires_at {
            return (Outcome::Expired, None);
        }
        // This event's own sharing, not the item's: a revision that adds only what stays in the house is told only there.
        let shared = !self.neighborhoods.is_empty() && !stamped.shared_labels().is_empty();
        let alert = Alert {
            id: AlertId::of_item(self.id),
            item: self.id,
            event: stamped.event.id,
            revision: self.revision,
            shared_revision: self.shared.map_or(0, |s| s.revision),
            household: self.household,
            neighborhoods: if shared { self.neighborhoods.clone() } else { Vec::new() },
            lane: if self.group.kind == Kind::Ding { Lane::Ding } else { Lane::Motion },
            kind: self.group.kind,
            labels: self.labels,
            shared_labels: self.shared_labels,
            created_at: stamped.received_at,
            expires_at,
        };
        (if shared { Outcome::Alerted } else { Outcome::HouseholdOnly }, Some(alert))
    }
}

/// What became of an accepted event. Each record of the log has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// Told to the household alone.
    HouseholdOnly,
    /// Told to the household and to neighbors.
    Alerted,
    /// Stored; too old to be news when it was sent.
    Backlog,
    /// Stored; the alert was held back by a rule.
    Suppressed,
    /// Stored; it was news no more when it was handled.
    Expired,
    /// The same event again: nothing done.
    Duplicate,
    /// Another body under an id that is taken: nothing done, shown to the owner.
    Conflict,
    /// Could not be read: kept aside with its bytes.
    DeadLetter,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::HouseholdOnly,
        Self::Alerted,
        Self::Backlog,
        Self::Suppressed,
        Self::Expired,
        Self::Duplicate,
        Self::Conflict,
        Self::DeadLetter,
    ];

    /// The word that stands for it in rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HouseholdOnly => "household_only",
            Self::Alerted => "alerted",
            Self::Backlog => "backlog",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The outcome that a stored word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == word)
    }
}
