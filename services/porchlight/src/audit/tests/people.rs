//! Alerts against their tasks, tasks against the rows of their people.

use std::collections::{BTreeMap, HashSet};

use porchlight_bus::Topic;
use porchlight_domain::{
    Alert, AlertId, EndpointId, HomeId, HouseholdId, ItemId, Kind, Labels, Lane, NeighborhoodId, NeighborhoodRef,
    PushId, PushTask, Recipient, ResidentId, Timestamp, Version, item::ALERT_TTL_MS,
};
use porchlight_store::{Delivery, DeliveryOutcome, LEDGER_MS};
use proptest::{prelude::*, sample::Index};
use uuid::Uuid;

use super::{
    super::{
        Frontier, Position,
        alerts::Alerts,
        pushes::{self, Covered, Pushes},
        report::{Equation, Wrong},
    },
    NOON, event_id, id, told,
};

/// The alerts of a range, their tasks and the rows of their people.
#[derive(Clone, Debug, Default)]
struct Planned {
    alerts: Vec<(Position, Timestamp, Alert)>,
    tasks: Vec<(Position, Timestamp, PushTask)>,
    rows: Vec<Delivery>,
    planner: Frontier,
    sender: Frontier,
    empty: HashSet<HouseholdId>,
}

fn alert(n: usize, revision: u32, created_at: Timestamp) -> Alert {
    let item = ItemId(id(3, n));
    Alert {
        id: AlertId::of_item(item),
        item,
        event: event_id(n),
        revision,
        shared_revision: 1,
        household: HouseholdId(id(2, n)),
        neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(id(4, 1)), version: Version(1) }],
        lane: Lane::Motion,
        kind: Kind::Motion,
        labels: Labels::NONE,
        shared_labels: Labels::NONE,
        created_at,
        expires_at: created_at.plus_ms(ALERT_TTL_MS),
        stream_only: false,
    }
}

fn at(topic: Topic, offset: usize) -> Position {
    Position { topic, partition: 0, offset: i64::try_from(offset).expect("small") }
}

impl Planned {
    /// For each alert the number of its neighbors and whether its tasks are written twice; each has one person at home.
    fn of(shapes: &[(usize, bool)]) -> Self {
        let mut all = Self::default();
        for (n, (neighbors, twice)) in shapes.iter().enumerate() {
            let written = NOON.plus_ms(i64::try_from(n).expect("small") * 1_000);
            // A revision before it was the household's alone, so neighbors count otherwise.
            let alert = alert(n, 2, written);
            all.alerts.push((at(Topic::Alerts, n), written, alert.clone()));
            let home = Recipient { resident: ResidentId(id(5, n)), home: None };
            let others =
                (0..*neighbors).map(|m| Recipient { resident: ResidentId(id(6, m)), home: Some(HomeId(id(7, m))) });
            let tasks = [
                PushTask { alert: alert.clone(), lane: alert.lane, bucket: 0, recipients: vec![home] },
                PushTask { alert: alert.clone(), lane: Lane::Neighborhood, bucket: 0, recipients: others.collect() },
            ];
            for task in tasks.iter().filter(|task| !task.recipients.is_empty()) {
                for _ in 0..=usize::from(*twice) {
                    let offset = all.tasks.len();
                    all.tasks.push((at(Topic::Pushes, offset), written.plus_ms(50), task.clone()));
                }
                all.rows.extend(task.recipients.iter().map(|to| Self::row(&alert, to, DeliveryOutcome::HandedOver)));
            }
        }
        all.planner.committed = BTreeMap::from([(0, i64::MAX)]);
        all.sender.committed = BTreeMap::from([(0, i64::MAX)]);
        all
    }

    fn row(alert: &Alert, to: &Recipient, outcome: DeliveryOutcome) -> Delivery {
        let as_neighbor = to.home.is_some();
        Delivery {
            push: PushId(Uuid::nil()),
            alert: alert.id,
            revision: if as_neighbor { alert.shared_revision } else { alert.revision },
            resident: to.resident,
            endpoint: EndpointId(to.resident.0),
            outcome,
            as_neighbor,
            alert_created_at: alert.created_at,
            at: alert.created_at.plus_ms(100),
        }
    }

    /// Compares, as a look does.
    fn look(&self, now: Timestamp) -> (Equation, Equation) {
        let (mut alerts, mut pushes) = (Alerts::default(), Pushes::default());
        self.tasks.iter().for_each(|(at, written, task)| pushes.note(*at, *written, task, true));
        self.alerts.iter().for_each(|(at, written, alert)| alerts.note(*at, *written, alert, true));
        let mut of_alerts = alerts.planned(pushes.tasks(), NOON);
        let mut of_pushes = pushes.judge_unreadable(&self.sender);
        let ids: HashSet<AlertId> = alerts.ids().chain(pushes.ids()).collect();
        for id in ids {
            let rows: Vec<Delivery> = self.rows.iter().filter(|row| row.alert == id).cloned().collect();
            let covered = Covered { since: NOON, until: Timestamp(i64::MAX) };
            of_pushes.add(pushes::of_alert(id, pushes.of(id), &rows, covered, &self.sender, now).0);
            alerts.decided(&rows);
        }
        of_alerts.add(alerts.judge(&self.empty, &self.planner, now));
        (of_alerts, of_pushes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_person_to_tell_is_one_term_and_whatever_is_taken_away_is_named(
        shapes in prop::collection::vec((0..6_usize, any::<bool>()), 2..8),
        which: Index,
    ) {
        let whole = Planned::of(&shapes);
        let now = NOON.plus_ms(60_000);
        let (alerts, pushes) = whole.look(now);
        prop_assert!(alerts.is_conserved() && pushes.is_conserved(), "{alerts:?} {pushes:?}");
        prop_assert_eq!((alerts.total, alerts.term("planned")), (shapes.len() as u64, shapes.len() as u64));
        let people: usize = shapes.iter().map(|(neighbors, _)| neighbors + 1).sum();
        prop_assert_eq!((pushes.total, pushes.term("handed_over")), (people as u64, people as u64), "twice is once");

        // A row.
        let mut without = whole.clone();
        let gone = without.rows.remove(which.index(whole.rows.len()));
        let (_, pushes) = without.look(now);
        prop_assert_eq!(pushes.wrong(Wrong::Lost), 1);
        let named = told(&pushes, Wrong::Lost).contains(&format!("to resident {} at pushes.v1/0/", gone.resident));
        prop_assert!(named, "{:?}", pushes);

        // An alert: its tasks have no cause.
        let mut without = whole.clone();
        let (_, _, gone) = without.alerts.remove(which.index(whole.alerts.len()));
        let (alerts, _) = without.look(now);
        let named = told(&alerts, Wrong::Unexplained).starts_with(&format!("a task of alert {}", gone.id));
        prop_assert!(named, "{:?}", alerts);

        // All tasks of an alert: its rows have no cause, and with their rows the alert is lost.
        let mut without = whole.clone();
        without.tasks.retain(|(_, _, task)| task.alert.id != gone.id);
        let (alerts, pushes) = without.look(now);
        let rows = whole.rows.iter().filter(|row| row.alert == gone.id).count();
        prop_assert_eq!((pushes.wrong(Wrong::Unexplained), alerts.is_conserved()), (rows as u64, true));
        without.rows.retain(|row| row.alert != gone.id);
        let (alerts, pushes) = without.look(now);
        prop_assert!(pushes.is_conserved());
        let lost = format!("alert {} revision 2 at alerts.v1/0/", gone.id);
        prop_assert!(told(&alerts, Wrong::Lost).starts_with(&lost), "{:?}", alerts);
    }
}

#[test]
fn what_is_not_committed_by_its_stage_is_in_flight() {
    let mut all = Planned::of(&[(2, false), (2, true)]);
    all.sender.committed = BTreeMap::from([(0, 3)]);
    all.rows.retain(|row| row.alert == all.alerts[0].2.id);
    let (alerts, pushes) = all.look(NOON);
    assert!(alerts.is_conserved() && pushes.is_conserved(), "{pushes:?}");
    assert_eq!((pushes.term("handed_over"), pushes.term("in_flight")), (3, 3));

    all.planner.committed = BTreeMap::from([(0, 1)]);
    all.tasks.truncate(2);
    let (alerts, _) = all.look(NOON);
    assert_eq!((alerts.term("planned"), alerts.term("in_flight")), (1, 1));
}

#[test]
fn an_alert_is_expired_only_if_the_planner_was_late_and_lost_if_it_passed_it_in_time() {
    let mut all = Planned::of(&[(0, false), (0, false)]);
    let (first, late) = (all.alerts[0].2.clone(), NOON.plus_ms(ALERT_TTL_MS * 2));
    all.tasks.retain(|(_, _, task)| task.alert.id != first.id);
    all.rows.retain(|row| row.alert != first.id);
    // The next one was planned while the first was news.
    assert_eq!(all.look(late).0.wrong(Wrong::Lost), 1);
    // The planner was away until after its end.
    all.tasks[0].1 = first.expires_at.plus_ms(1);
    all.rows.iter_mut().for_each(|row| row.at = first.expires_at.plus_ms(2));
    assert_eq!(all.look(late).0.term("expired"), 1);
    // What is news still cannot have expired.
    assert_eq!(all.look(first.expires_at).0.wrong(Wrong::Lost), 1);
    all.empty.insert(first.household);
    assert_eq!(all.look(first.expires_at).0.term("nobody"), 1);
    all.planner.dead.insert(all.alerts[0].0);
    assert_eq!(all.look(first.expires_at).0.term("dead_letter"), 1);
}

#[test]
fn what_phones_are_not_told_of_is_no_alert_here() {
    let mut all = Planned::of(&[(0, false)]);
    all.alerts.push((at(Topic::Alerts, 1), NOON, Alert { stream_only: true, ..alert(9, 1, NOON) }));
    let (alerts, _) = all.look(NOON);
    assert_eq!((alerts.total, alerts.is_conserved()), (1, true));
}

#[test]
fn a_person_with_several_endpoints_counts_once_as_what_was_reached() {
    let mut all = Planned::of(&[(1, false)]);
    let again =
        Delivery { endpoint: EndpointId(id(8, 8)), outcome: DeliveryOutcome::EndpointGone, ..all.rows[0].clone() };
    all.rows.push(again);
    let (_, pushes) = all.look(NOON);
    assert_eq!((pushes.total, pushes.term("handed_over"), pushes.is_conserved()), (2, 2, true));
    // Who moved into the household since is told as one of it.
    all.rows[1].as_neighbor = false;
    all.rows[1].revision = 2;
    assert!(all.look(NOON).1.is_conserved());
    // A week later nothing is left to be found.
    all.rows.clear();
    assert_eq!(all.look(NOON.plus_ms(LEDGER_MS)).1.term("past_retention"), 2);
}

#[test]
fn a_row_of_what_the_log_no_longer_holds_needs_no_task() {
    let mut all = Planned::of(&[(1, false)]);
    all.alerts[0].2.created_at = NOON.plus_ms(-1);
    all.rows.iter_mut().for_each(|row| row.alert_created_at = NOON.plus_ms(-1));
    all.tasks.clear();
    let (alerts, pushes) = all.look(NOON);
    assert!(alerts.is_conserved() && pushes.is_conserved(), "{pushes:?}");
    assert_eq!(alerts.term("planned"), 1, "by its rows");
}
