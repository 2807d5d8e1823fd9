//! Judging what was observed against what follows from the inputs.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ExpectedPush, World,
    happening::{Course, Happening},
    plane,
    time::millis,
};

/// A push as a phone received it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObservedPush {
    /// Where.
    pub endpoint: String,
    /// Of which alert.
    pub alert: Uuid,
    /// Which revision, by its payload.
    pub revision: u64,
    /// Whether its payload asks to replace quietly.
    pub silent: bool,
    /// The key of the line to show, e.g. `household.person`.
    pub line: String,
}

/// What became of the pushes that had to arrive, and what else arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Expected pushes that were looked for.
    pub checked: usize,
    /// Had to arrive and did not.
    pub missing: Vec<ExpectedPush>,
    /// Arrived at somebody who should not have got them, or saying what they must not say.
    pub misdirected: Vec<ObservedPush>,
    /// Arrived more than once at one endpoint. At least once is the promise to a provider; that a phone *shows* it once
    /// is judged by its collapse key.
    pub doubled: Vec<ObservedPush>,
    /// Of events that the oracle was not told of yet: neither right nor wrong so far. None when judging at the end.
    pub unjudged: usize,
}

impl Verdict {
    /// Nothing is missing and nothing went astray.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.misdirected.is_empty()
    }
}

/// What was wrong with what one person was shown; empty if all was right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadVerdict {
    /// Items that were looked at or looked for.
    pub checked: usize,
    /// A sentence each.
    pub wrong: Vec<String>,
}

/// How a person stands to an item that they may see.
enum Standing {
    Household,
    /// By these neighborhoods.
    Neighbor(BTreeSet<Uuid>),
}

/// All that a push may hold.
const PUSH_MEMBERS: [&str; 8] = ["alert", "item", "revision", "kind", "lane", "collapse", "silent", "line"];

/// All that an item may hold for a neighbor.
const NEIGHBORS_MEMBERS: [&str; 11] = [
    "id",
    "alert",
    "scope",
    "revision",
    "kind",
    "labels",
    "received_at",
    "updated_at",
    "occurred_at",
    "about",
    "neighborhoods",
];

impl World {
    /// Judges all pushes that were observed. Only events received up to `until_ms` must have arrived by now; later ones
    /// may have, whether the oracle knows of them already or not. With `i64::MAX`, at the end, it knows of all: whatever
    /// it does not expect went astray.
    pub fn judge_pushes(&self, observed: &[ObservedPush], until_ms: i64) -> Verdict {
        let expected: HashMap<_, _> =
            self.expected_pushes().iter().map(|e| ((e.endpoint.as_str(), e.alert, e.revision), e)).collect();
        let mut arrived = HashSet::new();
        let mut verdict = Verdict::default();
        for push in observed {
            let key = (push.endpoint.as_str(), push.alert, push.revision);
            match expected.get(&key) {
                Some(due) if self.says_what_it_may(push, due) => {}
                None if until_ms < i64::MAX && self.may_be_news(push) => verdict.unjudged += 1,
                Some(_) | None => verdict.misdirected.push(push.clone()),
            }
            if !arrived.insert(key) {
                verdict.doubled.push(push.clone());
            }
        }
        // In the order of the set, so that a verdict is the same each time.
        for due in self.expected_pushes().iter().filter(|due| due.received_at_ms <= until_ms) {
            verdict.checked += 1;
            if !arrived.contains(&(due.endpoint.as_str(), due.alert, due.revision)) {
                verdict.missing.push(due.clone());
            }
        }
        verdict
    }

    /// Whether a push can be of an event that the oracle was not told of yet.
    fn may_be_news(&self, push: &ObservedPush) -> bool {
        self.of_alert(push.alert).is_none_or(|happening| {
            let course = if push.line.starts_with("neighborhood.") { &happening.shared } else { &happening.all };
            push.revision > course.revision
        })
    }

    fn says_what_it_may(&self, push: &ObservedPush, due: &ExpectedPush) -> bool {
        let Some(happening) = self.of_alert(push.alert) else { return false };
        let (scope, course) =
            if due.as_neighbor { ("neighborhood", &happening.shared) } else { ("household", &happening.all) };
        let label = push.line.strip_prefix(scope).and_then(|rest| rest.strip_prefix('.'));
        push.silent == (due.revision > 1) && label.is_some_and(|l| course.labels.contains(l))
    }

    /// Judges the whole payload of a push that an endpoint received: that it holds no more than a hint may (no place,
    /// no name, no picture), and says what it must.
    pub fn judge_payload(&self, endpoint: &str, payload: &Value) -> ReadVerdict {
        let mut wrong: Vec<String> = members(payload)
            .filter(|member| !PUSH_MEMBERS.contains(&member.as_str()))
            .map(|member| format!("a push says {member}"))
            .collect();
        let alert = id_in(payload, "alert").unwrap_or_default();
        // The set is ordered by endpoint, alert and revision: a city has too many pushes to look at each for each.
        let first = ExpectedPush {
            endpoint: endpoint.to_owned(),
            alert,
            revision: payload["revision"].as_u64().unwrap_or_default(),
            as_neighbor: false,
            received_at_ms: i64::MIN,
        };
        let due = self.expected.range(&first..).next();
        let due = due.filter(|e| (&e.endpoint, e.alert, e.revision) == (&first.endpoint, alert, first.revision));
        match (due, self.of_alert(alert)) {
            (Some(due), Some(happening)) => {
                let lane = match (due.as_neighbor, happening.kind.as_str()) {
                    (true, _) => "neighborhood",
                    (false, "ding") => "ding",
                    (false, _) => "motion",
                };
                let must = json!({
                    "item": happening.item,
                    "kind": happening.kind,
                    "lane": lane,
                    "collapse": alert.simple().to_string(),
                    "silent": due.revision > 1,
                });
                for (member, value) in must.as_object().into_iter().flatten() {
                    if payload[member] != *value {
                        wrong.push(format!("a push of {alert} says {member} {} and not {value}", payload[member]));
                    }
                }
            }
            (Some(_) | None, _) => wrong.push(format!("a push of {alert} that {endpoint} should not have got")),
        }
        ReadVerdict { checked: 1, wrong }
    }

    /// Judges a whole feed that a person was shown. Items received before `since_ms` are not judged; those of events
    /// received up to `until_ms` must be there, in their latest revision; of what came later some may be.
    pub fn judge_feed(&self, person: &str, items: &[Value], since_ms: i64, until_ms: i64) -> ReadVerdict {
        let mut verdict = ReadVerdict::default();
        let mut shown = BTreeSet::new();
        for item in items {
            let Some(id) = id_in(item, "id") else {
                verdict.wrong.push(format!("an item without an id: {item}"));
                continue;
            };
            if !shown.insert(id) {
                verdict.wrong.push(format!("{id} is shown twice"));
            }
            let received_at_ms = item["received_at"].as_str().map_or(i64::MAX, millis);
            let news = received_at_ms > until_ms && !self.happenings.contains_key(&id);
            if received_at_ms < since_ms || news {
                continue;
            }
            verdict.checked += 1;
            verdict.wrong.extend(self.wrong_with(person, id, item, until_ms));
        }
        for happening in self.happenings.values().filter(|h| !shown.contains(&h.item)) {
            let course = match self.standing(person, happening) {
                Some(Standing::Household) => &happening.all,
                Some(Standing::Neighbor(_)) => &happening.shared,
                None => continue,
            };
            if (since_ms..=until_ms).contains(&course.received_at_ms) {
                verdict.checked += 1;
                verdict.wrong.push(format!("{} is not shown", happening.item));
            }
        }
        verdict
    }

    /// Judges the answer to a person who asked for one item: its body, or `None` for the 404. The answer must be of the
    /// latest event that the oracle was told of.
    pub fn judge_item(&self, person: &str, item: Uuid, answer: Option<&Value>) -> ReadVerdict {
        let may = self.happenings.get(&item).is_some_and(|h| self.standing(person, h).is_some());
        let wrong = match answer {
            Some(body) => self.wrong_with(person, item, body, i64::MAX),
            None if may => vec![format!("{item} is withheld")],
            None => Vec::new(),
        };
        ReadVerdict { checked: 1, wrong }
    }

    fn of_alert(&self, alert: Uuid) -> Option<&Happening> {
        self.happenings.get(self.item_of_alert.get(&alert)?)
    }

    /// `None`: may not see it at all.
    fn standing(&self, person: &str, happening: &Happening) -> Option<Standing> {
        let person = self.people.get(person)?;
        if person.household == happening.household {
            return Some(Standing::Household);
        }
        let by = person.lives_in(&happening.neighborhoods, &self.neighborhoods);
        (happening.shared.revision > 0 && !by.is_empty()).then_some(Standing::Neighbor(by))
    }

    fn wrong_with(&self, person: &str, id: Uuid, item: &Value, until_ms: i64) -> Vec<String> {
        let Some(happening) = self.happenings.get(&id) else {
            return vec![format!("{id} is nothing that happened")];
        };
        match self.standing(person, happening) {
            None => vec![format!("{id} is shown to a stranger")],
            Some(Standing::Household) => wrong_course(id, item, &happening.all, until_ms),
            Some(Standing::Neighbor(by)) => {
                let mut wrong = wrong_course(id, item, &happening.shared, until_ms);
                wrong.extend(
                    members(item)
                        .filter(|member| !NEIGHBORS_MEMBERS.contains(&member.as_str()))
                        .map(|member| format!("{id} shows a neighbor its {member}")),
                );
                let (lon, lat) = plane::middle_of_square(happening.point);
                let is_near = |member: &str, e7: i64| {
                    item["about"][member].as_f64().is_some_and(|degrees| plane::snap((degrees, 0.0)).0 == e7)
                };
                if !is_near("lon", lon) || !is_near("lat", lat) {
                    wrong.push(format!("{id} shows a neighbor another place than the middle of its square"));
                }
                for named in item["neighborhoods"].as_array().into_iter().flatten() {
                    if !named.as_str().and_then(|s| s.parse().ok()).is_some_and(|named| by.contains(&named)) {
                        wrong.push(format!("{id} names a neighborhood where this neighbor does not live"));
                    }
                }
                wrong
            }
        }
    }
}

/// What is wrong with the labels, the number and the times of an item. What is shown of events after `until_ms` may be
/// behind, and ahead of what the oracle was told.
fn wrong_course(id: Uuid, item: &Value, course: &Course, until_ms: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let updated_at_ms = item["updated_at"].as_str().map(millis);
    let settled = course.updated_at_ms <= until_ms;
    let revision = item["revision"].as_u64().unwrap_or_default();
    let ahead = revision > course.revision;
    if ahead && updated_at_ms.is_some_and(|at| at > until_ms) {
        return wrong;
    }
    if revision == 0 || ahead || (settled && revision < course.revision) {
        wrong.push(format!("{id} shows revision {} of {}", item["revision"], course.revision));
    }
    let shown: BTreeSet<&str> = item["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(label) = shown.iter().find(|l| !course.labels.contains(**l)) {
        wrong.push(format!("{id} shows the label {label}"));
    }
    if settled && shown.len() < course.labels.len() {
        wrong.push(format!("{id} lacks a label"));
    }
    if item["received_at"].as_str().is_some_and(|at| millis(at) != course.received_at_ms) {
        wrong.push(format!("{id} shows another receipt than that of its first event"));
    }
    if settled && updated_at_ms.is_some_and(|at| at != course.updated_at_ms) {
        wrong.push(format!("{id} shows another receipt than that of its latest event"));
    }
    if settled && item["occurred_at"].as_str().is_some_and(|at| millis(at) != course.occurred_at_ms) {
        wrong.push(format!("{id} shows another time than that of its first event"));
    }
    wrong
}

fn members(object: &Value) -> impl Iterator<Item = &String> {
    object.as_object().into_iter().flat_map(|object| object.keys())
}

fn id_in(object: &Value, member: &str) -> Option<Uuid> {
    object[member].as_str()?.parse().ok()
}
