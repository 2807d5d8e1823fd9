//! Items: what a feed shows. The events of one device close in time are one item with revisions, and each revision may
//! be told to somebody.

use crate::{
    Alert, AlertId, Audience, DeviceId, EventId, HouseholdId, ItemId, Kind, Labels, Lane, Media, MediaId, MediaKind,
    NeighborhoodRef, Point, Stamped, Timestamp, media::MAX_ITEM_MEDIA,
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
    /// Counts the shared events, and the shared media that came later, from 1.
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

/// A clip or thumbnail of one of an item's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemMedia {
    /// Which.
    pub id: MediaId,
    /// Clip or thumbnail.
    pub kind: MediaKind,
    /// Whether neighbors may see it: its event was shared, and the device's policy shared media, when it was received.
    pub shared: bool,
    /// The item's revision that it came with.
    pub revision: u32,
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
    /// Counts the events, and the media that came later than their event, from 1.
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
    /// The clips and thumbnails of its events, in the order in which they came; at most [`MAX_ITEM_MEDIA`].
    pub media: Vec<ItemMedia>,
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
                media: Vec::new(),
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

    /// With the media that came before their event, which made this revision: they join it, and are no further one.
    #[must_use]
    pub fn gather<'a>(mut self, media: impl IntoIterator<Item = &'a Media>, shared: bool) -> Self {
        for media in media {
            if self.has_room_for(media.id) {
                self.media.push(ItemMedia { id: media.id, kind: media.kind, shared, revision: self.revision });
            }
        }
        self
    }

    /// With a media that came later than its event: a revision of its own, to neighbors too if it is shared. `None` if
    /// it is there already, or there is no room.
    ///
    /// The item's times stay: they are those of its events, and a late clip does not make two happenings one.
    pub fn link(&self, media: &Media, shared: bool) -> Option<Self> {
        if !self.has_room_for(media.id) {
            return None;
        }
        let mut item = self.clone();
        item.revision += 1;
        if let Some(course) = item.shared.as_mut().filter(|_| shared) {
            course.revision += 1;
        }
        Some(item.gather([media], shared))
    }

    /// The revision with which a media came; `None` if it is not this item's.
    pub fn linked(&self, media: MediaId) -> Option<ItemMedia> {
        self.media.iter().copied().find(|m| m.id == media)
    }

    fn has_room_for(&self, media: MediaId) -> bool {
        self.media.len() < MAX_ITEM_MEDIA && self.linked(media).is_none()
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
    pub fn outcome(&self, stamped: &Stamped, now: Timestamp) -> (Outcome, Alert) {
        // This event's own sharing, not the item's: a revision that adds only what stays in the house is told only there.
        let shared = !self.neighborhoods.is_empty() && !stamped.shared_labels().is_empty();
        let alert = self.alert(stamped.event.id, shared, stamped.received_at, stamped.received_at);
        let outcome = match shared {
            _ if stamped.is_backlog() => Outcome::Backlog,
            _ if now > alert.expires_at => Outcome::Expired,
            true => Outcome::Alerted,
            false => Outcome::HouseholdOnly,
        };
        (outcome, Alert { stream_only: !outcome.tells(), ..alert })
    }

    /// Whether neighbors may see the media of the event that made this revision.
    pub fn shares_media(&self, stamped: &Stamped) -> bool {
        stamped.policy.media && !self.neighborhoods.is_empty() && !stamped.shared_labels().is_empty()
    }

    /// What is told of the revision that a late media made. `of_event`: what became of its event. Phones are told only
    /// if they were told of the event, and only while the item is news: a clip that comes an hour later rings nobody up.
    pub fn alert_of_media(&self, media: &Media, of_event: Outcome, now: Timestamp) -> Alert {
        let shared = self.linked(media.id).is_some_and(|m| m.shared);
        let alert = self.alert(media.event, shared, media.received_at, self.updated_at);
        Alert { stream_only: !of_event.tells() || now > alert.expires_at, ..alert }
    }

    fn alert(&self, event: EventId, shared: bool, created_at: Timestamp, news_since: Timestamp) -> Alert {
        Alert {
            id: AlertId::of_item(self.id),
            item: self.id,
            event,
            revision: self.revision,
            shared_revision: self.shared.map_or(0, |s| s.revision),
            household: self.household,
            neighborhoods: if shared { self.neighborhoods.clone() } else { Vec::new() },
            lane: if self.group.kind == Kind::Ding { Lane::Ding } else { Lane::Motion },
            kind: self.group.kind,
            labels: self.labels,
            shared_labels: self.shared_labels,
            created_at,
            expires_at: news_since.plus_ms(ALERT_TTL_MS),
            stream_only: false,
        }
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

    /// Whether phones are told of an event with this outcome.
    pub fn tells(self) -> bool {
        match self {
            Self::HouseholdOnly | Self::Alerted => true,
            Self::Backlog | Self::Suppressed | Self::Expired | Self::Duplicate | Self::Conflict | Self::DeadLetter => {
                false
            }
        }
    }

    /// The outcome that a stored word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == word)
    }
}
