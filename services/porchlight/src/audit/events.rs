//! Each record of `events.v1` has one outcome: plain and synchronous.

use std::collections::{BTreeMap, HashMap};

use porchlight_bus::{Span, Topic};
use porchlight_domain::{DeviceId, EventId, Logged, MediaId, Outcome, Timestamp};
use porchlight_geo_index::decide::DECISION_KEPT_MS;
use porchlight_store::{GONE_KEPT_MS, SeenEvent};
use porchlight_wire::Wire as _;

use super::{
    Frontier, Position,
    report::{Equation, Wrong},
};

/// An event's record: 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EventRecord {
    pub(super) event: EventId,
    pub(super) at: Position,
    /// When its row ends.
    pub(super) ends: Timestamp,
}

/// A media's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MediaRecord {
    pub(super) media: MediaId,
    pub(super) at: Position,
    /// When its row ends.
    pub(super) ends: Timestamp,
}

/// What of the log is compared with one reading of rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// The records of one device whose event ids carry one day.
    Day { device: DeviceId, day: i32, records: Vec<EventRecord> },
    /// A media's record.
    Media(MediaRecord),
    /// A record that is none of ours to read.
    Unreadable(Position),
}

/// What the log holds.
#[derive(Debug, Default)]
pub(super) struct Events {
    days: HashMap<(DeviceId, i32), Vec<EventRecord>>,
    others: Vec<Page>,
    pub(super) count: u64,
}

impl Events {
    /// Takes a record in, without its contents.
    pub(super) fn note(&mut self, at: Position, value: &[u8]) {
        self.count += 1;
        match Logged::decode(value) {
            Ok(Logged::Event(stamped)) => {
                let ends = stamped.expires_at().max(stamped.received_at.plus_ms(DECISION_KEPT_MS));
                let record = EventRecord { event: stamped.event.id, at, ends };
                // What is decoded has a day.
                let day = stamped.event.id.day().unwrap_or_default();
                self.days.entry((stamped.device, day)).or_default().push(record);
            }
            Ok(Logged::Media(media)) => {
                let ends = media.expires_at().plus_ms(GONE_KEPT_MS);
                self.others.push(Page::Media(MediaRecord { media: media.id, at, ends }));
            }
            Err(_) => self.others.push(Page::Unreadable(at)),
        }
    }

    pub(super) fn pages(self) -> Vec<Page> {
        let days = self.days.into_iter().map(|((device, day), records)| Page::Day { device, day, records });
        days.chain(self.others).collect()
    }
}

/// Compares the records of a device's day with all rows of it. `spans`: the offsets that were read; `now`: not earlier
/// than the reading of the rows.
pub(super) fn of_a_day(
    (device, records): (DeviceId, &[EventRecord]),
    rows: &[SeenEvent],
    spans: &BTreeMap<i32, Span>,
    frontier: &Frontier,
    now: Timestamp,
) -> Equation {
    let mut sum = Equation::default();
    let mut by_place: HashMap<(i32, i64, EventId), &SeenEvent> =
        rows.iter().map(|row| ((row.partition, row.offset, row.event), row)).collect();
    // Of each event in the log: how many rows say that they are it, and whether all its records have rows.
    let mut decided: BTreeMap<EventId, (usize, bool)> = BTreeMap::new();
    for record in records {
        let (_, complete) = decided.entry(record.event).or_insert((0, true));
        match by_place.remove(&(record.at.partition, record.at.offset, record.event)) {
            Some(row) => sum.count(row.outcome.as_str()),
            None => {
                *complete = false;
                frontier.without_row(record.at, record.ends <= now, &mut sum, || {
                    format!("event {} of device {device} at {}", record.event, record.at)
                });
            }
        }
    }
    for row in by_place.into_values() {
        if spans.get(&row.partition).is_some_and(|span| (span.from..span.to).contains(&row.offset)) {
            sum.find(Wrong::Unexplained, || {
                let at = Position { topic: Topic::Events, partition: row.partition, offset: row.offset };
                format!("a row of event {} of device {device} at {at}: another record stands there, or none", row.event)
            });
        }
    }
    for row in rows.iter().filter(|row| is_the_event(row.outcome)) {
        if let Some((times, _)) = decided.get_mut(&row.event) {
            *times += 1;
        }
    }
    for (event, (times, complete)) in decided {
        if times > 1 {
            sum.find(Wrong::DecidedTwice, || {
                format!("event {event} of device {device}: {times} of its rows are the event")
            });
        }
        if times == 0 && complete && !may_have_ended(event, now) {
            sum.find(Wrong::NeverDecided, || {
                format!("event {event} of device {device}: each of its rows is the repeat of another")
            });
        }
    }
    sum
}

/// Whether a row with this outcome says that its record is the event.
fn is_the_event(outcome: Outcome) -> bool {
    match outcome {
        Outcome::HouseholdOnly | Outcome::Alerted | Outcome::Backlog | Outcome::Suppressed | Outcome::Expired => true,
        Outcome::Duplicate | Outcome::Conflict | Outcome::DeadLetter => false,
    }
}

/// Whether the row of an event that nobody repeated in time may have ended: its repeats' rows end later. An event is
/// not received before its id is made.
fn may_have_ended(event: EventId, now: Timestamp) -> bool {
    let made_at = event.day().map_or(Timestamp(0), |day| Timestamp(i64::from(day) * 86_400_000));
    made_at.plus_ms(DECISION_KEPT_MS) <= now
}

/// Compares a media's record with whether there is a row of it.
pub(super) fn of_media(record: &MediaRecord, has_row: bool, frontier: &Frontier, now: Timestamp) -> Equation {
    let mut sum = Equation::default();
    if has_row {
        sum.count("media");
    } else {
        let what = || format!("media {} at {}", record.media, record.at);
        frontier.without_row(record.at, record.ends <= now, &mut sum, what);
    }
    sum
}

/// Says what became of a record that cannot be read.
pub(super) fn of_unreadable(at: Position, frontier: &Frontier) -> Equation {
    let mut sum = Equation::default();
    frontier.without_row(at, false, &mut sum, || format!("a record that cannot be read at {at}"));
    sum
}
