//! Stage `plan`: whom an alert is planned for.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use porchlight_bus::{Handler as _, Outcome, Topic};
use porchlight_domain::{Alert, Lane, NeighborhoodRef, PushTask, ResidentId};
use porchlight_notification::plan::PAGE;
use porchlight_wire::Wire as _;
use support::{Town, alert, neighborhood, record, resident};

async fn planned(town: &Arc<Town>, alert: &Alert) -> Vec<PushTask> {
    let outcome = town.planner().handle(record(Topic::Alerts, alert.encode())).await;
    assert_eq!(outcome, Outcome::Done);
    town.tasks()
}

/// Who through which lane, each as often as planned.
fn people(tasks: &[PushTask]) -> BTreeMap<(ResidentId, &'static str), usize> {
    let mut people = BTreeMap::new();
    for task in tasks {
        for recipient in &task.recipients {
            assert_eq!(recipient.home.is_none(), task.lane != Lane::Neighborhood);
            *people.entry((recipient.resident, task.lane.as_str())).or_default() += 1;
        }
    }
    people
}

fn once(expected: &[(u128, &'static str)]) -> BTreeMap<(ResidentId, &'static str), usize> {
    expected.iter().map(|(n, lane)| ((resident(*n), *lane), 1)).collect()
}

fn malden() -> Vec<NeighborhoodRef> {
    vec![neighborhood(1, 1)]
}

/// The household 1 and neighbor 2 in Malden, 3 in Quincy.
fn two_towns() -> Arc<Town> {
    let town = Town::new();
    for (n, of) in [(1, 1), (2, 1), (3, 2)] {
        town.settle(n, of);
    }
    town
}

#[tokio::test]
async fn g3_an_alert_that_is_not_shared_is_the_households_alone() {
    let town = two_towns();
    assert_eq!(people(&planned(&town, &alert(&[])).await), once(&[(1, "motion")]));
    assert!(town.pages().is_empty(), "no neighbor is even looked for");
}

/// geo-index names no neighborhood for a familiar visitor; nothing else makes one a neighbor's news.
#[tokio::test]
async fn g7_a_familiar_visitor_is_never_planned_for_neighbors() {
    let town = two_towns();
    let familiar = Alert { lane: Lane::Ding, ..alert(&[]) };
    assert_eq!(people(&planned(&town, &familiar).await), once(&[(1, "ding")]));
}

#[tokio::test]
async fn g1_a_shared_alert_reaches_its_polygon_and_nobody_else() {
    let town = two_towns();
    town.settle(4, 1);
    town.unverify(4);
    let tasks = planned(&town, &alert(&malden())).await;
    assert_eq!(people(&tasks), once(&[(1, "motion"), (2, "neighborhood")]), "the household not as its own neighbor");
}

#[tokio::test]
async fn g8_one_person_is_planned_once_however_many_homes_and_neighborhoods() {
    let town = two_towns();
    // Neighborhood 3 covers both towns; person 2 also has a home in Quincy.
    town.draw(3, 1, 1, 3);
    town.add_home(2, 22, 2);
    let tasks = planned(&town, &alert(&[neighborhood(1, 1), neighborhood(3, 1)])).await;
    assert_eq!(people(&tasks), once(&[(1, "motion"), (2, "neighborhood"), (3, "neighborhood")]));
}

#[tokio::test]
async fn g1_who_lives_only_in_the_old_or_only_in_the_new_polygon_is_not_planned() {
    let town = two_towns();
    town.settle(5, 0);
    // Matched when it was Malden alone; now Malden and Quincy, or the town west of Malden and Malden.
    town.draw(1, 2, 1, 3);
    assert_eq!(
        people(&planned(&town, &alert(&malden())).await),
        once(&[(1, "motion"), (2, "neighborhood")]),
        "Quincy joined after the event"
    );
    town.draw(1, 3, 0, 1);
    assert_eq!(people(&planned(&town, &alert(&malden())).await), once(&[(1, "motion")]));
}

#[tokio::test]
async fn a_polygon_that_is_on_its_way_is_waited_for_and_the_household_is_not() {
    let town = two_towns();
    let planner = town.planner();
    // Newer than our copy; and one that never reached us.
    let newer = town.draw_unpublished(1, 2, 1, 3);
    let unknown = town.draw_unpublished(9, 1, 1, 2);
    for (at, late) in [(neighborhood(1, 2), newer), (neighborhood(9, 1), unknown)] {
        let alert = Alert { revision: u32::try_from(at.id.0.as_u128() & 0xf).unwrap(), ..alert(&[at]) };
        for tries in 0..3 {
            let outcome = planner.handle(record(Topic::Alerts, alert.encode())).await;
            assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
            let told = if tries == 0 { once(&[(1, "motion")]) } else { once(&[]) };
            assert_eq!(people(&town.tasks()), told);
        }
        town.neighborhoods.apply(&[Arc::new(late)]);
        assert_eq!(planner.handle(record(Topic::Alerts, alert.encode())).await, Outcome::Done);
        assert!(people(&town.tasks()).contains_key(&(resident(2), "neighborhood")));
    }
}

#[tokio::test]
async fn a_deleted_neighborhood_has_no_neighbors_and_nothing_waits_for_it() {
    let town = two_towns();
    town.undraw(1, 2);
    assert_eq!(people(&planned(&town, &alert(&malden())).await), once(&[(1, "motion")]));
}

#[tokio::test]
async fn an_alert_that_expired_is_not_planned() {
    let town = two_towns();
    town.clock.advance_ms(600_001);
    assert!(planned(&town, &alert(&malden())).await.is_empty());
}

#[tokio::test]
async fn g8_an_alert_for_streams_only_is_planned_for_nobody_and_counted() {
    let counted = || {
        let families = prometheus::gather();
        let alerts = families.iter().find(|f| f.name() == porchlight_notification::metrics::ALERTS).unwrap();
        let of = |m: &&prometheus::proto::Metric| m.get_label().iter().any(|l| l.value() == "stream_only");
        alerts.get_metric().iter().find(of).unwrap().get_counter().get_value()
    };
    let town = two_towns();
    let planner = town.planner();
    let before = counted();
    // Backlog that neighbors may see in their feeds; also one that is expired besides.
    for _ in 0..2 {
        let quiet = Alert { stream_only: true, ..alert(&malden()) };
        assert_eq!(planner.handle(record(Topic::Alerts, quiet.encode())).await, Outcome::Done);
        town.clock.advance_ms(600_001);
    }
    assert!(town.tasks().is_empty());
    assert!(town.pages().is_empty(), "nobody is even looked for");
    assert_eq!(counted() - before, 2.0);
}

#[tokio::test]
async fn a_dense_cell_is_read_page_by_page() {
    let town = Town::new();
    for n in 1..=(2 * PAGE as u128 + 7) {
        town.settle(n, 1);
    }
    let tasks = planned(&town, &alert(&malden())).await;
    assert_eq!(people(&tasks).len(), 2 * PAGE + 7);
    assert!(town.pages().iter().all(|page| *page <= PAGE));
    assert!(tasks.iter().all(|t| t.recipients.iter().all(|r| r.resident.bucket() == t.bucket)));
}

#[tokio::test]
async fn what_is_no_alert_goes_to_the_dead_letters() {
    let outcome = Town::new().planner().handle(record(Topic::Alerts, vec![0xff; 9])).await;
    assert!(matches!(outcome, Outcome::Fatal { .. }));
}

/// A planner that started after an edit knows the old polygon from the store only.
#[tokio::test]
async fn an_old_version_is_fetched_and_one_that_is_lost_is_waited_for() {
    let town = two_towns();
    town.draw_unpublished(7, 1, 1, 2);
    town.draw(7, 2, 1, 3);
    let tasks = planned(&town, &alert(&[neighborhood(7, 1)])).await;
    assert_eq!(people(&tasks), once(&[(1, "motion"), (2, "neighborhood")]));

    town.draw(8, 2, 1, 3);
    let lost = alert(&[neighborhood(8, 1)]);
    let outcome = town.planner().handle(record(Topic::Alerts, lost.encode())).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}
