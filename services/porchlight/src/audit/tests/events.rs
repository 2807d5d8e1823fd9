//! Records of `events` against their rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use porchlight_bus::{Span, Topic};
use porchlight_domain::{
    DeviceId, Digest, Event, HouseholdId, Kind, Labels, Logged, MediaId, Outcome, Plan, Point, SharingPolicy, Stamped,
    Timestamp,
};
use porchlight_geo_index::decide::DECISION_KEPT_MS;
use porchlight_store::SeenEvent;
use porchlight_wire::Wire as _;
use proptest::{prelude::*, sample::Index};

use super::{
    super::{
        Frontier, Position,
        events::{self, Events, MediaRecord, Page},
        report::{Equation, Wrong},
    },
    NOON, event_id, id, told,
};

/// A record of `events`, and what geo-index makes of it.
#[derive(Clone, Debug)]
struct Sent {
    at: Position,
    value: Vec<u8>,
    row: Option<SeenEvent>,
}

/// What devices sent: each thing is a device, an event of it and a body, or no event at all.
type Things = Vec<Option<(usize, usize, u8)>>;

/// A log of two partitions, with the outcome of each record: the first of an event is it.
fn log_of(things: &Things) -> (Vec<Sent>, Frontier) {
    let (mut next, mut first) = ([0_i64; 2], HashMap::new());
    let (mut log, mut frontier) = (Vec::new(), Frontier::default());
    for thing in things {
        let partition = thing.map_or(0, |(device, _, _)| device % 2);
        let offset = next[partition];
        next[partition] += 1;
        let at = Position { topic: Topic::Events, partition: i32::try_from(partition).expect("small"), offset };
        let Some((device, event, body)) = *thing else {
            frontier.dead.insert(at);
            log.push(Sent { at, value: b"\xff poison".to_vec(), row: None });
            continue;
        };
        let stamped = Stamped {
            event: Event {
                id: event_id(event),
                kind: Kind::Motion,
                labels: Labels::NONE,
                occurred_at: NOON,
                ended_at: None,
                familiar: false,
                confidence_permille: None,
                zone: None,
            },
            digest: Digest([body; 32]),
            device: DeviceId(id(1, device)),
            household: HouseholdId(id(2, device)),
            point: Point { lon_e7: 1, lat_e7: 2 },
            policy: SharingPolicy::default(),
            plan: Plan { retention_days: 30, clips: false },
            sent_at: NOON,
            received_at: NOON,
        };
        let outcome = match first.get(&(device, event)) {
            None => Outcome::HouseholdOnly,
            Some(known) if *known == body => Outcome::Duplicate,
            Some(_) => Outcome::Conflict,
        };
        first.entry((device, event)).or_insert(body);
        let row = SeenEvent {
            device: stamped.device,
            event: stamped.event.id,
            partition: at.partition,
            offset,
            digest: stamped.digest,
            outcome,
            item: None,
            shares_media: false,
            received_at: NOON,
            expires_at: stamped.expires_at(),
        };
        log.push(Sent { at, value: Logged::Event(stamped).encode(), row: Some(row) });
    }
    frontier.committed = next.iter().zip(0..).map(|(next, partition)| (partition, *next)).collect();
    (log, frontier)
}

/// Compares a log with rows, as a look does: rows are read by device and day.
fn events(log: &[Sent], rows: &[SeenEvent], frontier: &Frontier, now: Timestamp) -> Equation {
    let mut held = Events::default();
    log.iter().for_each(|sent| held.note(sent.at, &sent.value));
    let mut sum = Equation { total: held.count, ..Equation::default() };
    let spans: BTreeMap<i32, Span> =
        (0..2).map(|partition| (partition, Span { partition, from: 0, to: 1_000 })).collect();
    for page in held.pages() {
        sum.add(match page {
            Page::Day { device, day, records } => {
                let of_it: Vec<SeenEvent> =
                    rows.iter().filter(|r| r.device == device && r.event.day() == Some(day)).cloned().collect();
                events::of_a_day((device, &records), &of_it, &spans, frontier, now)
            }
            Page::Media(record) => events::of_media(&record, false, frontier, now),
            Page::Unreadable(at) => events::of_unreadable(at, frontier),
        });
    }
    sum
}

fn rows_of(log: &[Sent]) -> Vec<SeenEvent> {
    log.iter().filter_map(|sent| sent.row.clone()).collect()
}

fn things() -> impl Strategy<Value = Things> {
    let thing = prop_oneof![9 => (0..3_usize, 0..5_usize, 0..2_u8).prop_map(Some), 1 => Just(None)];
    // Each device has two events more at the end: whatever is taken away, its day is still named.
    prop::collection::vec(thing, 0..40).prop_map(|mut things| {
        things.extend((0..6).map(|n| Some((n % 3, 100 + n, 0))));
        things
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_record_of_events_is_one_term_and_whatever_is_taken_away_is_named(things in things(), which: Index) {
        let (log, frontier) = log_of(&things);
        let rows = rows_of(&log);
        let whole = events(&log, &rows, &frontier, NOON);
        prop_assert!(whole.is_conserved(), "{whole:?}");
        prop_assert_eq!(whole.total, things.len() as u64);
        let first = things.iter().flatten().map(|(device, event, _)| (device, event)).collect::<BTreeSet<_>>();
        prop_assert_eq!(whole.term("household_only"), first.len() as u64, "each event once");
        prop_assert_eq!(whole.term("dead_letter"), frontier.dead.len() as u64);

        // A row.
        let gone = which.get(&rows).clone();
        let fewer: Vec<SeenEvent> = rows.iter().filter(|row| **row != gone).cloned().collect();
        let without = events(&log, &fewer, &frontier, NOON);
        prop_assert!(!without.is_conserved());
        let (event, device) = (gone.event, gone.device);
        let place = format!("event {event} of device {device} at events.v1/{}/{}", gone.partition, gone.offset);
        prop_assert_eq!(told(&without, Wrong::Lost), place);

        // A record.
        let n = which.index(log.len());
        let gone = &log[n];
        let fewer: Vec<Sent> = log.iter().filter(|sent| sent.at != gone.at).cloned().collect();
        let without = events(&fewer, &rows, &frontier, NOON);
        prop_assert_eq!(without.total, whole.total - 1);
        prop_assert_eq!(without.is_conserved(), gone.row.is_none(), "a letter alone needs no record: it outlives it");
        if gone.row.is_some() {
            prop_assert_eq!(without.wrong(Wrong::Unexplained), 1);
            let named = told(&without, Wrong::Unexplained).contains(&format!(" at {}:", gone.at));
            prop_assert!(named, "{:?}", without);
        }

        // A letter.
        if let Some(at) = frontier.dead.iter().next() {
            let mut fewer = frontier.clone();
            fewer.dead.remove(at);
            let without = events(&log, &rows, &fewer, NOON);
            prop_assert!(told(&without, Wrong::Lost).ends_with(&at.to_string()));
        }
    }

    #[test]
    fn what_is_not_committed_is_in_flight_and_never_lost(things in things(), done in 0..20_i64) {
        let (log, mut frontier) = log_of(&things);
        frontier.committed.values_mut().for_each(|committed| *committed = done.min(*committed));
        // Of those beyond, some have a row already: a commit comes later than what it says.
        let has_row = |row: &SeenEvent| row.offset < done || row.offset % 3 == 0;
        let rows: Vec<SeenEvent> = rows_of(&log).into_iter().filter(has_row).collect();
        let sum = events(&log, &rows, &frontier, NOON);
        prop_assert_eq!(sum.wrong(Wrong::Lost), 0);
        prop_assert_eq!(sum.terms.values().sum::<u64>(), sum.total);
        let without = log.iter().filter(|sent| sent.row.as_ref().is_some_and(|row| !has_row(row))).count();
        prop_assert_eq!(sum.term("in_flight"), without as u64);
    }
}

#[test]
fn an_event_that_is_decided_twice_or_never_is_found() {
    let (log, frontier) = log_of(&vec![Some((0, 0, 0)), Some((0, 0, 0)), Some((0, 1, 0))]);
    let mut rows = rows_of(&log);
    rows[1].outcome = Outcome::HouseholdOnly;
    let twice = events(&log, &rows, &frontier, NOON);
    assert_eq!((twice.wrong(Wrong::DecidedTwice), twice.is_conserved()), (1, false), "{twice:?}");

    let mut rows = rows_of(&log);
    rows[0].outcome = Outcome::Duplicate;
    let never = events(&log, &rows, &frontier, NOON);
    assert!(told(&never, Wrong::NeverDecided).contains(&event_id(0).to_string()), "{never:?}");
    let later = NOON.plus_ms(DECISION_KEPT_MS);
    assert!(events(&log, &rows, &frontier, later).is_conserved(), "the event's own row may have ended");
}

#[test]
fn a_row_of_another_event_at_a_place_explains_nothing() {
    let (log, frontier) = log_of(&vec![Some((0, 0, 0)), Some((0, 1, 0))]);
    let mut rows = rows_of(&log);
    rows[1].event = event_id(7);
    let sum = events(&log, &rows, &frontier, NOON);
    assert_eq!((sum.wrong(Wrong::Lost), sum.wrong(Wrong::Unexplained)), (1, 1));
    // A row beyond what was read is of a record that came later.
    rows[1] = SeenEvent { offset: 1_000, ..rows_of(&log)[1].clone() };
    let sum = events(&log, &rows, &frontier, NOON);
    assert_eq!((sum.wrong(Wrong::Lost), sum.wrong(Wrong::Unexplained)), (1, 0));
}

#[test]
fn a_row_is_not_asked_for_when_its_time_is_over() {
    let (log, frontier) = log_of(&vec![Some((0, 0, 0))]);
    let ends = NOON.plus_ms(30 * 86_400_000);
    assert_eq!(events(&log, &[], &frontier, ends).term("past_retention"), 1);
    assert_eq!(events(&log, &[], &frontier, ends.plus_ms(-1)).wrong(Wrong::Lost), 1);

    let record = MediaRecord { media: MediaId(id(9, 9)), at: log[0].at, ends };
    assert_eq!(events::of_media(&record, true, &frontier, NOON).term("media"), 1);
    assert_eq!(events::of_media(&record, false, &frontier, NOON).wrong(Wrong::Lost), 1);
    assert_eq!(events::of_media(&record, false, &frontier, ends).term("past_retention"), 1);
}
