//! Each alert that phones may be told of becomes push tasks, or is over: plain and synchronous.
//!
//! Nothing is written of an alert that was over before it was planned. That it was is concluded: the planner takes the
//! records of a partition on in their order, so one that planned a later record while this alert was news had this one
//! before it in time, too.

use std::collections::{BTreeMap, HashMap, HashSet};

use porchlight_domain::{Alert, AlertId, HouseholdId, Timestamp};
use porchlight_store::Delivery;

use super::{
    Frontier, Position,
    pushes::Task,
    report::{Equation, Wrong},
};

/// A revision of an alert that phones may be told of: some 150 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    household: HouseholdId,
    /// Its first record: when that was planned says how far the planner was.
    first: Position,
    first_written: Timestamp,
    /// Its last record: a redelivery writes it again.
    last: Position,
    expires_at: Timestamp,
    /// Whether it is of the range, or beside it and known to explain what is.
    counts: bool,
    /// When its first task was written, or its first row.
    planned_at: Option<Timestamp>,
}

/// The alerts of a range.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    told: HashMap<(AlertId, u32), Told>,
    /// From a revision as neighbors count them to the alert's own.
    shared: HashMap<(AlertId, u32), u32>,
    unreadable: Vec<Position>,
}

impl Alerts {
    /// Takes a record in. `counts`: it is of the range.
    pub(super) fn note(&mut self, at: Position, written: Timestamp, alert: &Alert, counts: bool) {
        if alert.stream_only {
            return;
        }
        let told = self.told.entry((alert.id, alert.revision)).or_insert(Told {
            household: alert.household,
            first: at,
            first_written: written,
            last: at,
            expires_at: alert.expires_at,
            counts,
            planned_at: None,
        });
        told.counts |= counts;
        told.last = at;
        if !alert.neighborhoods.is_empty() {
            self.shared.insert((alert.id, alert.shared_revision), alert.revision);
        }
    }

    /// Takes a record in that cannot be read.
    pub(super) fn note_unreadable(&mut self, at: Position, counts: bool) {
        self.unreadable.extend(counts.then_some(at));
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.told.len() + self.unreadable.len()
    }

    /// Takes the tasks in. Of an alert that was created since `since` the log holds the record, if it holds a task.
    pub(super) fn planned<'a>(
        &mut self,
        tasks: impl Iterator<Item = (&'a (AlertId, u32), &'a Task)>,
        since: Timestamp,
    ) -> Equation {
        let mut sum = Equation::default();
        for ((alert, revision), task) in tasks {
            if self.told.contains_key(&(*alert, *revision)) {
                self.was_planned(*alert, *revision, task.written);
            } else if task.counts && task.created_at >= since {
                sum.find(Wrong::Unexplained, || {
                    format!("a task of alert {alert} revision {revision} at {}, without the alert", task.at)
                });
            }
        }
        sum
    }

    /// Takes rows of an alert in: they prove that it was planned, when its tasks are gone from the log.
    pub(super) fn decided(&mut self, rows: &[Delivery]) {
        for row in rows {
            let counted = (row.alert, row.revision);
            let revision = if row.as_neighbor { self.shared.get(&counted).copied() } else { Some(row.revision) };
            if let Some(revision) = revision {
                self.was_planned(row.alert, revision, row.at);
            }
        }
    }

    fn was_planned(&mut self, alert: AlertId, revision: u32, at: Timestamp) {
        if let Some(told) = self.told.get_mut(&(alert, revision)) {
            told.planned_at = Some(told.planned_at.map_or(at, |before| before.min(at)));
        }
    }

    /// The alerts of the range, each once.
    pub(super) fn ids(&self) -> impl Iterator<Item = AlertId> + '_ {
        self.told.iter().filter(|(_, told)| told.counts).map(|((alert, _), _)| *alert)
    }

    /// The households of those of the range that nothing shows to be planned.
    pub(super) fn unplanned(&self) -> HashSet<HouseholdId> {
        self.told.values().filter(|told| told.counts && told.planned_at.is_none()).map(|told| told.household).collect()
    }

    /// Says what became of each. `empty`: the households without people.
    pub(super) fn judge(&self, empty: &HashSet<HouseholdId>, frontier: &Frontier, now: Timestamp) -> Equation {
        let passed = self.passed();
        let mut sum = Equation::default();
        for ((alert, revision), told) in self.told.iter().filter(|(_, told)| told.counts) {
            sum.total += 1;
            let in_time = passed.get(&told.first).is_some_and(|passed_at| *passed_at <= told.expires_at);
            if told.planned_at.is_some() {
                sum.count("planned");
            } else if let Some(term) = frontier.excuse(told.last) {
                sum.count(term);
            } else if empty.contains(&told.household) {
                sum.count("nobody");
            } else if now > told.expires_at && !in_time {
                sum.count("expired");
            } else {
                sum.find(Wrong::Lost, || format!("alert {alert} revision {revision} at {}", told.first));
            }
        }
        for at in &self.unreadable {
            sum.total += 1;
            frontier.without_row(*at, false, &mut sum, || format!("a record that cannot be read at {at}"));
        }
        sum
    }

    /// For the first record of each alert: when the planner had planned some later record of its partition.
    fn passed(&self) -> HashMap<Position, Timestamp> {
        let mut partitions: BTreeMap<i32, Vec<&Told>> = BTreeMap::new();
        for told in self.told.values() {
            partitions.entry(told.first.partition).or_default().push(told);
        }
        let mut passed = HashMap::new();
        for mut partition in partitions.into_values() {
            partition.sort_unstable_by_key(|told| std::cmp::Reverse(told.first.offset));
            let mut earliest: Option<Timestamp> = None;
            for told in partition {
                if let Some(at) = earliest {
                    passed.insert(told.first, at);
                }
                // Planned before it was written: its first record lies before what was read. That says nothing here.
                let planned_at = told.planned_at.filter(|at| *at >= told.first_written);
                earliest = earliest.into_iter().chain(planned_at).min();
            }
        }
        passed
    }
}
