//! Alerts and pushes: what people are told, through which lane, and to whom it was planned.

use serde::{Deserialize, Serialize};

use crate::{
    AlertId, Audience, EventId, HomeId, HouseholdId, ItemId, Kind, Label, Labels, NeighborhoodRef, ResidentId,
    Timestamp,
};

/// How urgent a push is. The order is the order of sending, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody is at the household's own door.
    Ding,
    /// An official notice.
    Official,
    /// Something in the neighborhood.
    Neighborhood,
    /// Something moved at the household's own device.
    Motion,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 4] = [Self::Ding, Self::Official, Self::Neighborhood, Self::Motion];

    /// The word that stands for it in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ding => "ding",
            Self::Official => "official",
            Self::Neighborhood => "neighborhood",
            Self::Motion => "motion",
        }
    }
}

/// One revision of what people are told of an item. It holds no place: who may hear of it is said by neighborhoods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// Derived from the item: all revisions share it, and so they replace each other on a phone.
    pub id: AlertId,
    /// What it is about.
    pub item: ItemId,
    /// The event that made this revision: by it one happening is followed through the logs of all services.
    pub event: EventId,
    /// Counts from 1.
    pub revision: u32,
    /// Counts the revisions that neighbors could hear of, from 1; 0: none yet. To them this is *the* revision.
    pub shared_revision: u32,
    /// Whose device it was.
    pub household: HouseholdId,
    /// The neighborhoods that may hear of this revision, each at the version that held the device. Empty: none.
    pub neighborhoods: Vec<NeighborhoodRef>,
    /// The household's lane; neighbors are always told through [`Lane::Neighborhood`].
    pub lane: Lane,
    /// Rung or moved.
    pub kind: Kind,
    /// What the household may know was recognized.
    pub labels: Labels,
    /// What neighbors may know was recognized.
    pub shared_labels: Labels,
    /// When the event behind it was received.
    pub created_at: Timestamp,
    /// Whoever meets it later than this drops it and counts it.
    pub expires_at: Timestamp,
    /// It is no news, or not any more: open streams show the item as it is now, and no phone is told.
    pub stream_only: bool,
}

impl Alert {
    /// Who may hear of this revision.
    pub fn audience(&self) -> Audience {
        Audience { household: self.household, neighborhoods: self.neighborhoods.clone() }
    }
}

/// A planned recipient, and why. The plan is a superset; the gate decides again when it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Who.
    pub resident: ResidentId,
    /// The home that lies in the neighborhood; `None` for the household's own alert.
    pub home: Option<HomeId>,
}

/// An alert and many recipients of one bucket: a record of `pushes.v1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushTask {
    /// What to tell.
    pub alert: Alert,
    /// Whether the recipients are the household or neighbors: one task never mixes them, for their lanes differ.
    pub lane: Lane,
    /// Of all the recipients (see [`ResidentId::bucket`]).
    pub bucket: u8,
    /// At most [`PushTask::MAX_RECIPIENTS`].
    pub recipients: Vec<Recipient>,
}

impl PushTask {
    /// The most recipients of one record: it stays well under a megabyte.
    pub const MAX_RECIPIENTS: usize = 500;
}

/// What a push carries: enough to wake the app, nothing to read over a shoulder. No place, no name, no picture. Only the
/// gate makes one ([`crate::Gate::tell`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Hint {
    alert: AlertId,
    item: ItemId,
    revision: u32,
    kind: Kind,
    lane: Lane,
    /// The tag under which the phone replaces an earlier one.
    collapse: String,
    /// Whether the phone should replace quietly.
    silent: bool,
    /// The key of the line to show, in the app's own language.
    line: String,
    #[serde(skip)]
    expires_at: Timestamp,
}

impl Hint {
    pub(crate) fn for_household(alert: &Alert) -> Self {
        Self::new(alert, alert.revision, alert.lane, "household", alert.labels)
    }

    pub(crate) fn for_neighbor(alert: &Alert) -> Self {
        // To a neighbor the first shared revision is the first news, whatever the household was told before.
        Self::new(alert, alert.shared_revision, Lane::Neighborhood, "neighborhood", alert.shared_labels)
    }

    fn new(alert: &Alert, revision: u32, lane: Lane, scope: &str, labels: Labels) -> Self {
        let what = labels.highest().unwrap_or(Label::Motion);
        Self {
            alert: alert.id,
            item: alert.item,
            revision,
            kind: alert.kind,
            lane,
            collapse: alert.id.0.simple().to_string(),
            silent: revision > 1,
            line: format!("{scope}.{}", what.as_str()),
            expires_at: alert.expires_at,
        }
    }

    /// The alert.
    pub fn alert(&self) -> AlertId {
        self.alert
    }

    /// Its revision, as this recipient counts them: a push is (alert, this, endpoint).
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// The lane it goes through.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The key under which a repeat replaces itself: 32 characters of base64url's alphabet, as RFC 8030 `Topic` wants.
    pub fn collapse(&self) -> &str {
        &self.collapse
    }

    /// Whether it should only replace what is shown.
    pub fn silent(&self) -> bool {
        self.silent
    }

    /// When it is news no more.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
