//! An event: what a camera says it saw, checked and in one canonical form whatever encoding it came in.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{DeviceId, EventId, HouseholdId, Plan, Point, SharingPolicy, Timestamp};

/// An event older than this when it was sent is backlog: stored, never pushed.
pub const BACKLOG_AGE_MS: i64 = 10 * 60 * 1000;
/// An event older than this when it was sent is refused.
pub const MAX_AGE_MS: i64 = 400 * 86_400_000;
/// How far an event may lie after its own sending (the device's one clock gives both): more is absurd.
pub const MAX_LEAD_MS: i64 = 60 * 1000;
/// The longest happening that one event may span.
pub const MAX_SPAN_MS: i64 = 24 * 3_600_000;

/// What happened at the device: someone rang, or something moved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something moved.
    Motion,
    /// Someone pressed the button.
    Ding,
}

/// What the device recognized. The order is the order of severity, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Something moved, nothing recognized.
    Motion,
    /// An animal.
    Animal,
    /// A vehicle.
    Vehicle,
    /// A package.
    Package,
    /// A person; never who (G7).
    Person,
    /// Someone rang.
    Ding,
}

impl Label {
    /// Every label, lowest severity first.
    pub const ALL: [Self; 6] = [Self::Motion, Self::Animal, Self::Vehicle, Self::Package, Self::Person, Self::Ding];

    /// The word that stands for it in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Motion => "motion",
            Self::Animal => "animal",
            Self::Vehicle => "vehicle",
            Self::Package => "package",
            Self::Person => "person",
            Self::Ding => "ding",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of labels. In JSON: a list of distinct words, lowest severity first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Label>", into = "Vec<Label>")]
pub struct Labels(u8);

impl Labels {
    /// No label.
    pub const NONE: Self = Self(0);

    /// From stored bits; bits that name no label are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0b11_1111)
    }

    /// As bits, bit n being the n-th of [`Label::ALL`].
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub fn contains(self, label: Label) -> bool {
        self.0 & label.bit() != 0
    }

    /// Those in either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both sets.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them, lowest severity first.
    pub fn iter(self) -> impl Iterator<Item = Label> {
        Label::ALL.into_iter().filter(move |l| self.contains(*l))
    }

    /// The most severe.
    pub fn highest(self) -> Option<Label> {
        self.iter().last()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        Self(labels.into_iter().fold(0, |bits, l| bits | l.bit()))
    }
}
impl From<Vec<Label>> for Labels {
    fn from(labels: Vec<Label>) -> Self {
        labels.into_iter().collect()
    }
}
impl From<Labels> for Vec<Label> {
    fn from(labels: Labels) -> Self {
        labels.iter().collect()
    }
}
impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
impl utoipa::PartialSchema for Labels {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <Vec<Label> as utoipa::PartialSchema>::schema()
    }
}
impl utoipa::ToSchema for Labels {}

/// An event in its canonical form. There is no field for a position, a face, a plate or a name, and there never is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Chosen by the device; UUIDv7.
    pub id: EventId,
    /// Rung or moved.
    pub kind: Kind,
    /// What was recognized, possibly nothing.
    pub labels: Labels,
    /// When it began, by the device's clock.
    pub occurred_at: Timestamp,
    /// When it ended, by the device's clock.
    pub ended_at: Option<Timestamp>,
    /// The device knows this visitor: no neighbor is ever told.
    pub familiar: bool,
    /// How sure the device is, in thousandths.
    pub confidence_permille: Option<u16>,
    /// Which of the device's own zones, e.g. `driveway`; the household's eyes only.
    pub zone: Option<String>,
}

/// Why an event is refused. Each variant is one stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The id is no UUIDv7.
    #[error("an event's id is a UUIDv7")]
    IdVersion,
    /// Older than [`MAX_AGE_MS`] when sent.
    #[error("the event is more than 400 days older than its sending")]
    TooOld,
    /// Later than its own sending by more than [`MAX_LEAD_MS`].
    #[error("the event lies more than a minute after its own sending")]
    FromTheFuture,
    /// Ends before it begins, or spans more than a day.
    #[error("an event ends after it begins and within a day")]
    Span,
    /// Not between 0 and 1.
    #[error("confidence lies between 0 and 1")]
    Confidence,
    /// Not a short plain word.
    #[error("a zone is 1 to 32 of a-z, 0-9, - and _")]
    Zone,
}

impl EventError {
    /// The stable code of the problem, and a JSON pointer to the field.
    pub fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::IdVersion => ("event_id_not_uuidv7", "/id"),
            Self::TooOld => ("event_too_old", "/occurred_at"),
            Self::FromTheFuture => ("event_from_the_future", "/occurred_at"),
            Self::Span => ("event_span_invalid", "/ended_at"),
            Self::Confidence => ("confidence_out_of_range", "/confidence"),
            Self::Zone => ("zone_invalid", "/zone"),
        }
    }
}

impl Event {
    /// Thousandths of a confidence between 0 and 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000 by the check
    pub fn confidence(value: f64) -> Result<u16, EventError> {
        if (0.0..=1.0).contains(&value) { Ok((value * 1000.0).round() as u16) } else { Err(EventError::Confidence) }
    }

    /// Checks what no type can: ages, spans, the zone's form. `sent_at` is by the device's clock, as `occurred_at` is.
    pub fn check(&self, sent_at: Timestamp) -> Result<(), EventError> {
        if self.id.day().is_none() {
            return Err(EventError::IdVersion);
        }
        let age = sent_at.since(self.occurred_at);
        if age > MAX_AGE_MS {
            return Err(EventError::TooOld);
        }
        if age < -MAX_LEAD_MS {
            return Err(EventError::FromTheFuture);
        }
        if let Some(end) = self.ended_at
            && !(0..=MAX_SPAN_MS).contains(&end.since(self.occurred_at))
        {
            return Err(EventError::Span);
        }
        if self.confidence_permille.is_some_and(|c| c > 1000) {
            return Err(EventError::Confidence);
        }
        if let Some(zone) = &self.zone
            && !((1..=32).contains(&zone.len())
                && zone.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')))
        {
            return Err(EventError::Zone);
        }
        Ok(())
    }

    /// SHA-256 of the canonical form: JSON, NDJSON, gzip and protobuf of one event agree. When it was sent is not part
    /// of it, for a repeated sending is the same event.
    pub fn digest(&self) -> Digest {
        let mut h = Sha256::new();
        h.update(b"porchlight event 1");
        h.update(self.id.0.as_bytes());
        h.update([self.kind as u8, self.labels.bits(), u8::from(self.familiar)]);
        h.update(self.occurred_at.0.to_be_bytes());
        h.update(self.ended_at.map_or(i64::MIN, |t| t.0).to_be_bytes());
        h.update(self.confidence_permille.unwrap_or(u16::MAX).to_be_bytes());
        h.update(self.zone.as_deref().unwrap_or("").as_bytes());
        Digest(h.finalize().into())
    }

    /// The labels by which a sharing policy judges it: what was recognized, `ding` if rung, `motion` if nothing else.
    pub fn shareable_labels(&self) -> Labels {
        let rung = if self.kind == Kind::Ding { Label::Ding.bit() } else { 0 };
        let all = Labels(self.labels.0 | rung);
        if all.is_empty() { Labels(Label::Motion.bit()) } else { all }
    }
}

/// What stands in the log of a device, in one order: its events, and the media that were completed. One order, so that an
/// item has one writer: a media that moved an item between an event's decision and its finish would take its revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Logged {
    /// An event that was accepted.
    Event(Stamped),
    /// A media whose upload was completed.
    Media(crate::Media),
}

/// SHA-256 of an event's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first eight bytes: enough for a courtesy, not for a decision.
    pub fn short(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:016x}..)", self.short())
    }
}

/// An event as it was accepted: with all that was true of its device at receipt, so that nothing downstream has to
/// know a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// What the device said.
    pub event: Event,
    /// Of [`Event::digest`].
    pub digest: Digest,
    /// Who said it.
    pub device: DeviceId,
    /// Whose device it was at receipt.
    pub household: HouseholdId,
    /// Where the device was at receipt.
    pub point: Point,
    /// What its owner shared at receipt.
    pub policy: SharingPolicy,
    /// What was kept at receipt.
    pub plan: Plan,
    /// When the device sent it, by its clock.
    pub sent_at: Timestamp,
    /// When it was accepted, by ours. Order is by this.
    pub received_at: Timestamp,
}

impl Stamped {
    /// By how many milliseconds our clock is ahead of the device's (plus the way here).
    pub fn skew_ms(&self) -> i64 {
        self.received_at.since(self.sent_at)
    }

    /// How old the event was when it was sent, in milliseconds; the device's skew cancels out.
    pub fn age_ms(&self) -> i64 {
        self.sent_at.since(self.event.occurred_at)
    }

    /// Whether it comes too late to be news.
    pub fn is_backlog(&self) -> bool {
        self.age_ms() > BACKLOG_AGE_MS
    }

    /// The labels under which neighbors may hear of it; none for a familiar visitor, whatever the policy.
    pub fn shared_labels(&self) -> Labels {
        if self.event.familiar { Labels::NONE } else { self.policy.shares(self.event.shareable_labels()) }
    }

    /// When everything kept of it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.received_at.plus_ms(self.plan.retention_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn event() -> Event {
        Event {
            id: EventId(Uuid::parse_str("018f4e5a-0000-7000-8000-000000000000").expect("a literal")),
            kind: Kind::Motion,
            labels: [Label::Person].into_iter().collect(),
            occurred_at: Timestamp(1_000_000),
            ended_at: None,
            familiar: false,
            confidence_permille: Some(930),
            zone: Some("driveway".into()),
        }
    }

    /// Pinned: the digest travels in records that outlive a release.
    #[test]
    fn the_digest_is_pinned_and_every_field_is_in_it() {
        let base = event();
        assert_eq!(format!("{:?}", base.digest()), "Digest(bf8f4901dbce5616..)");
        let mut others = vec![base.clone(); 7];
        others[0].kind = Kind::Ding;
        others[1].labels = Labels::NONE;
        others[2].occurred_at = Timestamp(1_000_001);
        others[3].ended_at = Some(Timestamp(1_000_002));
        others[4].familiar = true;
        others[5].confidence_permille = None;
        others[6].zone = None;
        for other in others {
            assert_ne!(other.digest(), base.digest(), "{other:?}");
        }
    }

    #[test]
    fn absurd_times_are_refused() {
        let e = event();
        let at = |ms: i64| e.check(e.occurred_at.plus_ms(ms));
        assert_eq!(at(0), Ok(()));
        assert_eq!(at(MAX_AGE_MS), Ok(()));
        assert_eq!(at(MAX_AGE_MS + 1), Err(EventError::TooOld));
        assert_eq!(at(-MAX_LEAD_MS - 1), Err(EventError::FromTheFuture));
    }

    #[test]
    fn a_ding_is_shared_by_that_word_and_bare_motion_by_its_own() {
        let mut e = event();
        e.kind = Kind::Ding;
        assert!(e.shareable_labels().contains(Label::Ding));
        e.kind = Kind::Motion;
        e.labels = Labels::NONE;
        assert_eq!(e.shareable_labels().iter().collect::<Vec<_>>(), [Label::Motion]);
    }

    #[test]
    fn a_zone_is_a_word_and_not_a_text() {
        let mut e = event();
        e.zone = Some("Jane Doe".into());
        assert_eq!(e.check(e.occurred_at), Err(EventError::Zone));
    }
}
