//! A process that dies at any call and gets its records again, some of them finished before: the rows and the alerts are
//! those of a process that never died.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, future::ready, sync::Arc};

use futures::executor::block_on;
use porchlight_bus::{Handler as _, Outcome, Record};
use porchlight_domain::{
    Alert, AlertId, Digest, HouseholdId, Kind, Label, Logged, ManualClock, MediaId, MediaKind, Stamped, Timestamp,
    media::MAX_EVENT_MEDIA,
};
use porchlight_geo_index::Indexer;
use proptest::prelude::*;
use support::{Death, Log, NOON, Rows, World, logged, malden, media, seen};
use uuid::Uuid;

/// How long after the first event all of it is handled: some alerts have expired by then, some not.
const HANDLED_AT: i64 = NOON + 700_000;

fn handler(world: &Arc<World>) -> Indexer<Log> {
    let clock = Arc::new(ManualClock::at(Timestamp(HANDLED_AT)));
    Indexer::new(
        world.clone(),
        world.clone(),
        Log(world.clone()),
        Box::new(|_| Box::pin(ready(Ok(vec![malden()])))),
        clock,
    )
}

/// What a camera sends, so long after what it sent before.
#[derive(Clone, Debug)]
struct Sent {
    gap_ms: i64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Event(SentEvent),
    Media(SentMedia),
}

/// An event, or a repeat of an earlier one, perhaps with another body.
#[derive(Clone, Debug)]
struct SentEvent {
    device: u128,
    label: usize,
    shares: bool,
    shares_media: bool,
    familiar: bool,
    ding: bool,
    late_ms: i64,
    repeats: Option<(prop::sample::Index, bool)>,
}

/// A media of any event of the log, of one that comes later too. The same content is the same media once more.
#[derive(Clone, Debug)]
struct SentMedia {
    of: prop::sample::Index,
    content: u8,
    thumbnail: bool,
    foreign: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let repeats = prop::option::weighted(0.25, (any::<prop::sample::Index>(), any::<bool>()));
    let late = prop_oneof![8 => Just(0_i64), 1 => Just(30_000), 1 => Just(3_600_000)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let event = (1..=2_u128, 0..5_usize, flags, late, repeats).prop_map(
        |(device, label, (shares, shares_media, familiar, ding), late_ms, repeats)| {
            What::Event(SentEvent { device, label, shares, shares_media, familiar, ding, late_ms, repeats })
        },
    );
    let media = (any::<prop::sample::Index>(), 0..3_u8, any::<bool>(), prop::bool::weighted(0.1))
        .prop_map(|(of, content, thumbnail, foreign)| What::Media(SentMedia { of, content, thumbnail, foreign }));
    (0..90_000_i64, prop_oneof![event, media]).prop_map(|(gap_ms, what)| Sent { gap_ms, what })
}

fn log_of(sent: &[Sent]) -> Vec<Logged> {
    let mut at = 0;
    let times: Vec<Timestamp> = sent
        .iter()
        .map(|sent| {
            at += sent.gap_ms;
            Timestamp(NOON + at)
        })
        .collect();
    let mut events: Vec<Stamped> = Vec::new();
    for (n, (sent, at)) in sent.iter().zip(&times).enumerate() {
        let What::Event(sent) = &sent.what else { continue };
        let mut stamped = match &sent.repeats {
            Some((of, other_body)) if !events.is_empty() => {
                let mut again = of.get(&events).clone();
                if *other_body {
                    again.digest = Digest([u8::try_from(n).unwrap(); 32]);
                }
                again
            }
            Some(_) | None => {
                let label = Label::ALL[sent.label];
                let mut new = seen(sent.device, u32::try_from(n).unwrap(), at.0 - NOON, label, sent.shares);
                new.policy.media = sent.shares_media;
                new.event.familiar = sent.familiar;
                new.event.kind = if sent.ding { Kind::Ding } else { Kind::Motion };
                new.event.occurred_at = new.event.occurred_at.plus_ms(-sent.late_ms);
                new
            }
        };
        stamped.received_at = *at;
        events.push(stamped);
    }
    let never_sent = seen(1, 99, 0, Label::Person, true);
    let mut coming = events.iter();
    let record_of = |(sent, at): (&Sent, &Timestamp)| match &sent.what {
        What::Event(_) => Logged::Event(coming.next().unwrap().clone()),
        What::Media(sent) => {
            let of = if events.is_empty() { &never_sent } else { sent.of.get(&events) };
            let kind = if sent.thumbnail { MediaKind::Thumbnail } else { MediaKind::Clip };
            // Whose it is is no part of a media's id, and one that exists is never another household's.
            let content = if sent.foreign { sent.content + 100 } else { sent.content };
            let mut media = media(of, kind, content, at.since(of.received_at));
            if sent.foreign {
                media.household = HouseholdId(Uuid::from_u128(99));
            }
            Logged::Media(media)
        }
    };
    sent.iter().zip(&times).map(record_of).collect()
}

/// Handles the log from the start; at each death, the next process begins so many records before the one in hand.
fn outcome_of(log: &[Logged], deaths: &[(Death, usize)]) -> (Rows, Vec<Alert>) {
    let log: Vec<Arc<Record>> = log.iter().zip(0..).map(|(record, offset)| logged(offset, record)).collect();
    let world = Arc::new(World::default());
    let mut deaths = deaths.iter();
    let mut next_death = || deaths.next().copied();
    let mut death = next_death();
    world.revive(death.map(|d| d.0));
    let mut process = handler(&world);
    let mut at = 0;
    while at < log.len() {
        match block_on(process.handle(log[at].clone())) {
            Outcome::Done => at += 1,
            Outcome::Retry { .. } => {
                at -= death.expect("only a dead process waits").1.min(at);
                death = next_death();
                world.revive(death.map(|d| d.0));
                process = handler(&world);
            }
            Outcome::Fatal { reason } => panic!("{reason}"),
        }
    }
    (world.rows(), world.alerts())
}

/// The alerts by what they replace each other under; a repeat must be the same alert, except that a media that was
/// completed twice is told by its first completion or by both.
fn distinct(alerts: Vec<Alert>) -> BTreeMap<(AlertId, u32), Alert> {
    let mut distinct = BTreeMap::new();
    for alert in alerts {
        let first = distinct.entry((alert.id, alert.revision)).or_insert_with(|| alert.clone());
        let repeat = Alert { created_at: first.created_at, ..alert };
        assert_eq!(*first, repeat, "a repeated alert says the same");
    }
    distinct
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn g2_a_process_that_dies_anywhere_leaves_what_one_leaves_that_does_not(
        sent in prop::collection::vec(sent(), 1..18),
        deaths in prop::collection::vec((0..35_u32, any::<bool>(), 0..6_usize), 0..8),
    ) {
        let log = log_of(&sent);
        let deaths: Vec<(Death, usize)> = deaths
            .into_iter()
            .map(|(after_calls, with_effect, back)| (Death { after_calls, with_effect }, back))
            .collect();
        let (rows, alerts) = outcome_of(&log, &[]);
        let (rows_after_deaths, alerts_after_deaths) = outcome_of(&log, &deaths);
        prop_assert_eq!(&rows_after_deaths, &rows);
        prop_assert_eq!(distinct(alerts_after_deaths), distinct(alerts.clone()));
        // Each event record of the log has exactly one outcome; each item was told in each of its revisions.
        prop_assert_eq!(rows.seen.len(), log.iter().filter(|r| matches!(r, Logged::Event(_))).count());
        let revisions: u32 = rows.items().iter().map(|item| item.revision).sum();
        prop_assert_eq!(distinct(alerts).len(), usize::try_from(revisions).unwrap());
        check_media(&log, &rows)?;
    }
}

/// Whatever the order: each media of the household stands once in the item of its event, shared as the event was.
fn check_media(log: &[Logged], rows: &Rows) -> Result<(), TestCaseError> {
    let mut named: Vec<MediaId> = rows.items().iter().flat_map(|item| &item.media).map(|m| m.id).collect();
    named.sort();
    let mut expected = Vec::new();
    for media in rows.media.values().map(|row| &row.media) {
        let of = |record: &&Logged| matches!(record, Logged::Event(e) if (e.device, e.event.id) == (media.device, media.event));
        let Some(Logged::Event(event)) = log.iter().find(of) else { continue };
        if media.household != event.household {
            continue;
        }
        expected.push(media.id);
        let shared = rows.items().iter().find_map(|item| item.linked(media.id)).map(|m| m.shared);
        prop_assert_eq!(shared, Some(event.policy.media && !event.shared_labels().is_empty()));
    }
    expected.sort();
    prop_assert_eq!(named, expected);
    Ok(())
}

/// Every single crash point of a short story, without chance, with up to so many records handled once more.
fn every_crash_point(log: &[Logged], alerts: usize, most_back: usize) {
    let expected = outcome_of(log, &[]);
    assert_eq!(distinct(expected.1.clone()).len(), alerts);
    for after_calls in 0..60 {
        for with_effect in [false, true] {
            for back in 0..=most_back {
                let died = outcome_of(log, &[(Death { after_calls, with_effect }, back)]);
                assert_eq!(died.0, expected.0);
                assert_eq!(distinct(died.1), distinct(expected.1.clone()));
            }
        }
    }
}

fn person(n: u32, at: i64) -> Stamped {
    let mut stamped = seen(1, n, at, Label::Person, true);
    stamped.policy = stamped.policy.with_media();
    stamped
}

#[test]
fn g2_every_crash_point_of_two_events_of_one_item() {
    every_crash_point(&[person(1, 500_000), person(2, 510_000)].map(Logged::Event), 2, 1);
}

/// A thumbnail first, a clip between the events, one after them, and a completion that is repeated.
#[test]
fn g2_every_crash_point_of_two_events_and_their_media() {
    let (first, second) = (person(1, 500_000), person(2, 510_000));
    let thumbnail = media(&first, MediaKind::Thumbnail, 1, -10);
    let clips = [media(&first, MediaKind::Clip, 2, 5_000), media(&second, MediaKind::Clip, 3, 5_000)];
    let again = media(&first, MediaKind::Clip, 2, 20_000);
    let log = [
        Logged::Media(thumbnail),
        Logged::Event(first),
        Logged::Media(clips[0].clone()),
        Logged::Event(second),
        Logged::Media(clips[1].clone()),
        Logged::Media(again),
    ];
    every_crash_point(&log, 4, 5);
}

/// More media than their event gathers: the record of one that was left out is met again while the event is unfinished,
/// and must not move its item.
#[test]
fn g2_every_crash_point_of_an_event_after_more_media_than_it_gathers() {
    let event = person(1, 500_000);
    let many = 0..=u8::try_from(MAX_EVENT_MEDIA).unwrap();
    let mut log: Vec<Logged> =
        many.map(|n| Logged::Media(media(&event, MediaKind::Clip, n, i64::from(n) - 1_000))).collect();
    log.push(Logged::Event(event));
    every_crash_point(&log, 1, 9);
}
