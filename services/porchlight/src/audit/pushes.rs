//! Each planned recipient of each revision of an alert has an outcome: plain and synchronous.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use porchlight_domain::{AlertId, PushTask, ResidentId, Timestamp};
use porchlight_store::{Delivery, DeliveryOutcome, LEDGER_MS};

use super::{
    Frontier, Position,
    report::{Equation, Wrong},
};

/// From the outcome that says most to the one that says least: a person with several endpoints counts as the first of
/// them that there is.
const MOST_FIRST: [DeliveryOutcome; 6] = [
    DeliveryOutcome::HandedOver,
    DeliveryOutcome::Refused,
    DeliveryOutcome::EndpointGone,
    DeliveryOutcome::Expired,
    DeliveryOutcome::NotAllowed,
    DeliveryOutcome::NoEndpoint,
];

/// A person to tell one revision of an alert: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    pub(super) resident: ResidentId,
    pub(super) revision: u32,
    pub(super) shared_revision: u32,
    /// The last record of it: planning twice is planning once.
    pub(super) at: Position,
    pub(super) created_at: Timestamp,
    /// Whether it is of the range, or beside it and known to explain what is.
    pub(super) counts: bool,
}

impl Planned {
    /// Whether a row is of this telling: neighbors count the shared revisions, and who is one is decided at sending.
    fn is_told_by(&self, row: &Delivery) -> bool {
        let revision = if row.as_neighbor { self.shared_revision } else { self.revision };
        row.resident == self.resident && row.revision == revision
    }
}

/// The tasks of one revision of an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Task {
    /// One of them.
    pub(super) at: Position,
    /// When the first of them was written.
    pub(super) written: Timestamp,
    pub(super) created_at: Timestamp,
    /// Whether one of them is of the range.
    pub(super) counts: bool,
}

/// The planned recipients of a range, by alert.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    planned: HashMap<AlertId, Vec<Planned>>,
    tasks: HashMap<(AlertId, u32), Task>,
    unreadable: Vec<Position>,
    people: usize,
}

impl Pushes {
    /// Takes a task in. `counts`: it is of the range.
    pub(super) fn note(&mut self, at: Position, written: Timestamp, task: &PushTask, counts: bool) {
        let alert = &task.alert;
        let first = Task { at, written, created_at: alert.created_at, counts };
        let known = self.tasks.entry((alert.id, alert.revision)).or_insert(first);
        known.written = known.written.min(written);
        known.counts |= counts;
        self.people += task.recipients.len();
        self.planned.entry(alert.id).or_default().extend(task.recipients.iter().map(|recipient| Planned {
            resident: recipient.resident,
            revision: alert.revision,
            shared_revision: alert.shared_revision,
            at,
            created_at: alert.created_at,
            counts,
        }));
    }

    /// Takes a record in that cannot be read: nobody knows whom it was for.
    pub(super) fn note_unreadable(&mut self, at: Position, counts: bool) {
        self.unreadable.extend(counts.then_some(at));
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.people + self.tasks.len() + self.unreadable.len()
    }

    /// The tasks, by alert and revision.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&(AlertId, u32), &Task)> {
        self.tasks.iter()
    }

    /// The alerts of which a task is of the range.
    pub(super) fn ids(&self) -> impl Iterator<Item = AlertId> + '_ {
        self.tasks.iter().filter(|(_, task)| task.counts).map(|((alert, _), _)| *alert)
    }

    /// Those planned for an alert.
    pub(super) fn of(&self, alert: AlertId) -> &[Planned] {
        self.planned.get(&alert).map_or(&[], Vec::as_slice)
    }

    /// Says what became of the records that cannot be read.
    pub(super) fn judge_unreadable(&self, frontier: &Frontier) -> Equation {
        let mut sum = Equation { total: self.unreadable.len() as u64, ..Equation::default() };
        for at in &self.unreadable {
            frontier.without_row(*at, false, &mut sum, || format!("a record that cannot be read at {at}"));
        }
        sum
    }
}

/// Between which moments the log holds every task, so that a row without one is unexplained: of alerts that were
/// created since the first, and decided before the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// Compares those planned for an alert with all its rows; the sum, and how many rows of each outcome it is made of.
/// `now`: not earlier than the reading of the rows.
pub(super) fn of_alert(
    alert: AlertId,
    planned: &[Planned],
    rows: &[Delivery],
    covered: Covered,
    frontier: &Frontier,
    now: Timestamp,
) -> (Equation, BTreeMap<&'static str, u64>) {
    let (mut sum, mut endpoints) = (Equation::default(), BTreeMap::new());
    let mut by_person: HashMap<ResidentId, Vec<&Delivery>> = HashMap::new();
    rows.iter().for_each(|row| by_person.entry(row.resident).or_default().push(row));
    // Who was planned twice is to be told once; it is in flight for as long as the last task is.
    let mut distinct: BTreeMap<(ResidentId, u32), Planned> = BTreeMap::new();
    for p in planned {
        let known = distinct.entry((p.resident, p.revision)).or_insert(*p);
        *known =
            Planned { counts: known.counts || p.counts, ..*if p.at.offset > known.at.offset { p } else { &*known } };
    }
    let mut explained = BTreeSet::new();
    for p in distinct.values() {
        let told: Vec<&&Delivery> =
            by_person.get(&p.resident).into_iter().flatten().filter(|row| p.is_told_by(row)).collect();
        explained.extend(told.iter().map(|row| (row.resident, row.revision, row.endpoint)));
        if !p.counts {
            continue;
        }
        sum.total += 1;
        for row in &told {
            *endpoints.entry(row.outcome.as_str()).or_default() += 1;
        }
        match MOST_FIRST.into_iter().find(|outcome| told.iter().any(|row| row.outcome == *outcome)) {
            Some(outcome) => sum.count(outcome.as_str()),
            None => frontier.without_row(p.at, p.created_at.plus_ms(LEDGER_MS) <= now, &mut sum, || {
                format!("alert {alert} revision {} to resident {} at {}", p.revision, p.resident, p.at)
            }),
        }
    }
    for row in rows.iter().filter(|row| row.alert_created_at >= covered.since && row.at < covered.until) {
        if !explained.contains(&(row.resident, row.revision, row.endpoint)) {
            sum.find(Wrong::Unexplained, || {
                let (revision, resident, outcome) = (row.revision, row.resident, row.outcome.as_str());
                format!("a row of alert {alert} revision {revision} to resident {resident}, {outcome}, without a task")
            });
        }
    }
    (sum, endpoints)
}
