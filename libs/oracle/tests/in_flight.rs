//! Judging what is decided while things change: cases worked out by hand. Times in ms; a lag of 1000.

use std::collections::BTreeMap;

use porchlight_oracle::{Between, FlightVerdict, Flown, InFlight, ObservedPush};
use serde_json::{Value, json};
use uuid::Uuid;

const LAG_MS: i64 = 1_000;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn between(from_ms: i64, until_ms: i64) -> Between {
    Between { from_ms, until_ms }
}

/// From `west` to `east`, between the equator and the first degree north.
fn block(west: f64, east: f64) -> Value {
    json!({ "type": "Polygon", "coordinates": [[[west, 0.0], [east, 0.0], [east, 1.0], [west, 1.0], [west, 0.0]]] })
}

/// Neighborhood 100 from 0 to 1 since long ago, with the device of household 1 in its middle; Ann lives in its west.
fn town() -> InFlight {
    let mut town = InFlight::new(LAG_MS);
    town.version(id(100), 1, Some(&block(0.0, 1.0)), between(0, 10));
    town.device(id(10), (0.5, 0.5));
    town.person("owner", id(1), vec!["owner's phone".into()]);
    town.person("ann", id(2), vec!["ann's phone".into()]);
    town.home("ann", Some((0.2, 0.5)), between(0, 10));
    town
}

/// Received at 10,000, in the log at 10,050, planned at 10,100.
fn alert(version: u64) -> Flown {
    Flown {
        alert: id(7),
        revision: 4,
        shared_revision: 2,
        household: id(1),
        device: Some(id(10)),
        matched: vec![(id(100), version)],
        matching: between(10_000, 10_050),
        planned_ms: 10_100,
        decided_ms: BTreeMap::new(),
    }
}

fn push(to: &str, revision: u64, line: &str) -> ObservedPush {
    let endpoint = format!("{to}'s phone");
    ObservedPush { endpoint, alert: id(7), revision, silent: revision > 1, line: line.into() }
}

fn owners() -> ObservedPush {
    push("owner", 4, "household.person")
}

fn anns() -> ObservedPush {
    push("ann", 2, "neighborhood.person")
}

#[derive(Debug, PartialEq)]
enum Duty {
    Must,
    MustNot,
    Either,
    Unconcerned,
}

/// What the one neighbor is owed; checked by judging with her push and without it, in both directions.
fn anns_duty(town: &InFlight, alert: &Flown) -> Duty {
    let alerts = [alert.clone()];
    let (told, untold) = (town.judge(&alerts, &[owners(), anns()]), town.judge(&alerts, &[owners()]));
    assert_eq!((told.own, told.missing.len(), untold.misdirected.len()), (1, 0, 0));
    match (told.must, told.must_not, told.either, told.misdirected.len(), untold.missing.len()) {
        (1, 0, 0, 0, 1) => Duty::Must,
        (0, 1, 0, 1, 0) => Duty::MustNot,
        (0, 0, 1, 0, 0) => Duty::Either,
        (0, 0, 0, 1, 0) => Duty::Unconcerned,
        other => panic!("{other:?} is no judgment"),
    }
}

#[test]
fn who_lives_there_all_the_time_must_be_told_and_who_never_did_must_not() {
    let mut town = town();
    assert_eq!(anns_duty(&town, &alert(1)), Duty::Must);
    town.home("ann", Some((1.5, 0.5)), between(500, 510));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::MustNot, "she moved away long before");
    let mut elsewhere = InFlight::new(LAG_MS);
    elsewhere.version(id(100), 1, Some(&block(0.0, 1.0)), between(0, 10));
    elsewhere.person("owner", id(1), vec!["owner's phone".into()]);
    elsewhere.person("ann", id(2), vec!["ann's phone".into()]);
    elsewhere.home("ann", Some((1.5, 0.5)), between(0, 10));
    let unplaced = Flown { device: None, ..alert(1) };
    assert_eq!(anns_duty(&elsewhere, &unplaced), Duty::Unconcerned, "nobody could think that she lives there");
}

#[test]
fn a_move_counts_somewhere_between_sending_it_and_its_answer() {
    for (moved, duty) in [
        (between(9_000, 9_999), Duty::MustNot),
        (between(9_000, 10_000), Duty::Either),
        (between(10_050, 10_060), Duty::Either),
        (between(10_100, 10_200), Duty::Either),
        (between(10_101, 10_200), Duty::Must),
    ] {
        let mut town = town();
        town.home("ann", Some((1.5, 0.5)), moved);
        assert_eq!(anns_duty(&town, &alert(1)), duty, "{moved:?}");
    }
}

#[test]
fn a_home_that_waits_to_be_verified_is_nowhere() {
    let mut town = town();
    town.home("ann", None, between(9_000, 9_010));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::MustNot);
    town.home("ann", Some((0.3, 0.5)), between(9_020, 9_030));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::Must);
    town.home("ann", None, between(10_020, 10_030));
    town.home("ann", Some((0.3, 0.5)), between(10_040, 10_050));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::Either, "for a moment she was not verified");
}

#[test]
fn the_last_word_on_a_person_ends_the_time_in_which_it_can_have_been_decided() {
    let mut town = town();
    town.home("ann", Some((1.5, 0.5)), between(12_000, 12_010));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::Must);
    let late = Flown { decided_ms: [("ann".to_owned(), 12_005)].into(), ..alert(1) };
    assert_eq!(anns_duty(&town, &late), Duty::Either);
}

#[test]
fn a_version_may_lag_and_after_the_lag_it_counts_for_certain() {
    for (written, duty) in [
        (between(8_000, 8_999), Duty::MustNot),
        (between(8_000, 9_000), Duty::Either),
        (between(10_100, 10_110), Duty::Either),
        (between(10_101, 10_110), Duty::Must),
    ] {
        let mut town = town();
        town.version(id(100), 2, Some(&block(0.4, 1.0)), written);
        // What matched is the older version: a home must lie in that one and in the one that counts.
        let alert = Flown { device: None, ..alert(1) };
        assert_eq!(anns_duty(&town, &alert), duty, "{written:?}");
    }
}

#[test]
fn who_lives_only_in_the_newer_of_two_versions_must_not_be_told() {
    let mut town = town();
    town.version(id(100), 2, Some(&block(0.0, 2.0)), between(9_500, 9_510));
    town.home("ann", Some((1.5, 0.5)), between(500, 510));
    let lagging = Flown { device: None, ..alert(1) };
    assert_eq!(anns_duty(&town, &lagging), Duty::MustNot);
    assert_eq!(anns_duty(&town, &alert(2)), Duty::Must, "nobody goes by an older one than that which matched");
}

#[test]
fn which_half_of_the_rule_kept_somebody_out_is_counted() {
    let halves = |town: &InFlight| {
        let verdict = town.judge(&[Flown { device: None, ..alert(1) }], &[owners()]);
        [verdict.must_not, verdict.only_before, verdict.only_after]
    };
    let mut left = town();
    left.version(id(100), 2, Some(&block(0.4, 2.0)), between(2_000, 2_010));
    assert_eq!(halves(&left), [1, 1, 0], "she lives in the first alone");
    left.home("ann", Some((1.5, 0.5)), between(3_000, 3_010));
    assert_eq!(halves(&left), [1, 0, 1], "now in the second alone");
    left.home("ann", Some((5.0, 0.5)), between(4_000, 4_010));
    assert_eq!(halves(&left), [1, 0, 0]);
}

#[test]
fn a_place_and_a_version_that_never_met_do_not_count_together() {
    let mut town = town();
    town.version(id(100), 2, Some(&block(0.4, 1.0)), between(2_000, 2_010));
    town.version(id(100), 3, Some(&block(0.0, 1.0)), between(10_080, 10_085));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::Either, "the third brings her in again");
    town.home("ann", Some((1.5, 0.5)), between(10_060, 10_070));
    assert_eq!(anns_duty(&town, &alert(1)), Duty::MustNot, "she was gone before the third was drawn");
}

#[test]
fn a_neighborhood_that_is_gone_holds_nobody() {
    let mut town = town();
    town.version(id(100), 2, None, between(8_000, 8_010));
    assert_eq!(anns_duty(&town, &Flown { device: None, ..alert(1) }), Duty::MustNot);
    town.version(id(100), 3, Some(&block(0.0, 1.0)), between(8_020, 8_030));
    assert_eq!(anns_duty(&town, &alert(3)), Duty::Must, "drawn again");
}

#[test]
fn one_of_several_neighborhoods_is_enough() {
    let mut town = town();
    town.version(id(101), 5, Some(&block(0.0, 0.6)), between(0, 10));
    town.version(id(100), 2, Some(&block(0.4, 1.0)), between(9_500, 9_510));
    let both = Flown { matched: vec![(id(100), 1), (id(101), 5)], ..alert(1) };
    assert_eq!(anns_duty(&town, &both), Duty::Must);
}

fn judged(alerts: &[Flown], pushes: &[ObservedPush]) -> FlightVerdict {
    town().judge(alerts, pushes)
}

#[test]
fn the_household_is_told_as_such_and_by_its_own_count() {
    assert_eq!(judged(&[alert(1)], &[anns()]).missing.len(), 1, "the owner is not told");
    let right = judged(&[alert(1)], &[owners(), anns()]);
    assert!(right.is_clean() && (right.own, right.must) == (1, 1), "{right:?}");
    for wrong in [
        push("owner", 2, "household.person"),
        push("owner", 4, "neighborhood.person"),
        push("ann", 2, "household.person"),
        push("ann", 4, "neighborhood.person"),
        push("bob", 2, "neighborhood.person"),
        ObservedPush { alert: id(8), ..anns() },
        ObservedPush { silent: false, ..anns() },
    ] {
        let verdict = judged(&[alert(1)], &[owners(), anns(), wrong.clone()]);
        assert_eq!(verdict.misdirected, [wrong]);
    }
}

#[test]
fn an_alert_that_stands_in_the_log_twice_may_be_decided_by_either() {
    let mut town = town();
    town.version(id(100), 2, Some(&block(0.4, 1.0)), between(10_060, 10_070));
    let again = Flown { matched: vec![(id(100), 2)], matching: between(10_000, 10_090), ..alert(2) };
    assert_eq!(anns_duty(&town, &again), Duty::MustNot);
    let verdict = town.judge(&[again, alert(1)], &[owners(), anns()]);
    assert!(verdict.is_clean() && verdict.either == 1 && verdict.either_told == 1, "{verdict:?}");
    assert!(verdict.strict_share() < 0.1);
}

#[test]
fn an_alert_names_what_held_its_device_when_it_was_matched() {
    let named = |town: &InFlight, matched: &[(u128, u64)]| {
        let matched = matched.iter().map(|(n, version)| (id(*n), *version)).collect();
        town.judge(&[Flown { matched, ..alert(1) }], &[]).mismatched.len()
    };
    let mut town = town();
    assert_eq!([named(&town, &[(100, 1)]), named(&town, &[]), named(&town, &[(100, 1), (100, 1)])], [0, 1, 1]);
    town.version(id(100), 2, Some(&block(0.0, 0.9)), between(9_900, 9_910));
    assert_eq!([named(&town, &[(100, 1)]), named(&town, &[(100, 2)])], [0, 0], "within the lag");
    town.version(id(100), 3, Some(&block(0.6, 0.9)), between(10_020, 10_030));
    assert_eq!([named(&town, &[(100, 3)]), named(&town, &[])], [1, 0], "the third does not hold it");
    town.version(id(100), 4, Some(&block(0.0, 0.9)), between(10_051, 10_060));
    assert_eq!(named(&town, &[(100, 4)]), 1, "it was not drawn yet");
    let later = Flown { matching: between(11_100, 11_200), ..alert(1) };
    assert_eq!(town.judge(&[later], &[]).mismatched.len(), 1, "the first does not count any more");
}
