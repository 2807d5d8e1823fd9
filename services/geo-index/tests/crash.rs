//! A process that dies at any call and gets its records again, some of them finished before: the rows and the alerts are
//! those of a process that never died.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use futures::executor::block_on;
use porchlight_bus::{Handler as _, Outcome, Record};
use porchlight_domain::{Alert, AlertId, Digest, Kind, Label, ManualClock, Stamped, Timestamp};
use porchlight_geo_index::Indexer;
use proptest::prelude::*;
use support::{Death, Log, NOON, Rows, World, malden, record, seen};

/// How long after the first event all of it is handled: some alerts have expired by then, some not.
const HANDLED_AT: i64 = NOON + 700_000;

fn handler(world: &Arc<World>) -> Indexer<Log> {
    let clock = Arc::new(ManualClock::at(Timestamp(HANDLED_AT)));
    Indexer::new(world.clone(), Log(world.clone()), Box::new(|_| Ok(vec![malden()])), clock)
}

/// An event, or a repeat of an earlier one, perhaps with another body.
#[derive(Clone, Debug)]
struct Sent {
    gap_ms: i64,
    device: u128,
    label: usize,
    shares: bool,
    familiar: bool,
    ding: bool,
    late_ms: i64,
    repeats: Option<(prop::sample::Index, bool)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let repeats = prop::option::weighted(0.25, (any::<prop::sample::Index>(), any::<bool>()));
    let late = prop_oneof![8 => Just(0_i64), 1 => Just(30_000), 1 => Just(3_600_000)];
    (0..90_000_i64, 1..=2_u128, 0..5_usize, any::<bool>(), any::<bool>(), any::<bool>(), late, repeats).prop_map(
        |(gap_ms, device, label, shares, familiar, ding, late_ms, repeats)| Sent {
            gap_ms,
            device,
            label,
            shares,
            familiar,
            ding,
            late_ms,
            repeats,
        },
    )
}

fn log_of(sent: &[Sent]) -> Vec<Arc<Record>> {
    let mut at = 0;
    let mut events: Vec<Stamped> = Vec::new();
    for (n, sent) in sent.iter().enumerate() {
        at += sent.gap_ms;
        let mut stamped = match &sent.repeats {
            Some((of, other_body)) if !events.is_empty() => {
                let mut again = of.get(&events).clone();
                if *other_body {
                    again.digest = Digest([u8::try_from(n).unwrap(); 32]);
                }
                again
            }
            Some(_) | None => {
                let mut new = seen(sent.device, u32::try_from(n).unwrap(), at, Label::ALL[sent.label], sent.shares);
                new.event.familiar = sent.familiar;
                new.event.kind = if sent.ding { Kind::Ding } else { Kind::Motion };
                new.event.occurred_at = new.event.occurred_at.plus_ms(-sent.late_ms);
                new
            }
        };
        stamped.received_at = Timestamp(NOON + at);
        events.push(stamped);
    }
    events.iter().zip(0..).map(|(stamped, offset)| record(offset, stamped)).collect()
}

/// Handles the log from the start; at each death, the next process begins so many records before the one in hand.
fn outcome_of(log: &[Arc<Record>], deaths: &[(Death, usize)]) -> (Rows, Vec<Alert>) {
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

/// The alerts by what they replace each other under; a repeat must be the same alert.
fn distinct(alerts: Vec<Alert>) -> BTreeMap<(AlertId, u32), Alert> {
    let mut distinct = BTreeMap::new();
    for alert in alerts {
        let first = distinct.entry((alert.id, alert.revision)).or_insert_with(|| alert.clone());
        assert_eq!(*first, alert, "a repeated alert says the same");
    }
    distinct
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn g2_a_process_that_dies_anywhere_leaves_what_one_leaves_that_does_not(
        sent in prop::collection::vec(sent(), 1..14),
        deaths in prop::collection::vec((0..25_u32, any::<bool>(), 0..4_usize), 0..8),
    ) {
        let log = log_of(&sent);
        let deaths: Vec<(Death, usize)> = deaths
            .into_iter()
            .map(|(after_calls, with_effect, back)| (Death { after_calls, with_effect }, back))
            .collect();
        let (rows, alerts) = outcome_of(&log, &[]);
        let (rows_after_deaths, alerts_after_deaths) = outcome_of(&log, &deaths);
        prop_assert_eq!(&rows_after_deaths, &rows);
        prop_assert_eq!(distinct(alerts_after_deaths), distinct(alerts));
        // Each record of the log has exactly one outcome.
        prop_assert_eq!(rows.seen.len(), log.len());
    }
}

/// Every single crash point of a short story, without chance.
#[test]
fn g2_every_crash_point_of_two_events_of_one_item() {
    let log =
        [record(0, &seen(1, 1, 500_000, Label::Person, true)), record(1, &seen(1, 2, 510_000, Label::Person, true))];
    let expected = outcome_of(&log, &[]);
    assert_eq!(expected.1.len(), 2);
    for after_calls in 0..20 {
        for with_effect in [false, true] {
            for back in 0..2 {
                let died = outcome_of(&log, &[(Death { after_calls, with_effect }, back)]);
                assert_eq!(died.0, expected.0);
                assert_eq!(distinct(died.1), distinct(expected.1.clone()));
            }
        }
    }
}
