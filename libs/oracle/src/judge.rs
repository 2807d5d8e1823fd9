//! Judging pushes against what follows from the inputs.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ExpectedPush, ReadVerdict, World,
    happening::Happening,
    reads::{id_in, members},
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

/// All that a push may hold.
const PUSH_MEMBERS: [&str; 8] = ["alert", "item", "revision", "kind", "lane", "collapse", "silent", "line"];

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
            push.revision > course.revision()
        })
    }

    fn says_what_it_may(&self, push: &ObservedPush, due: &ExpectedPush) -> bool {
        let Some(happening) = self.of_alert(push.alert) else { return false };
        let (scope, course) =
            if due.as_neighbor { ("neighborhood", &happening.shared) } else { ("household", &happening.all) };
        let label = push.line.strip_prefix(scope).and_then(|rest| rest.strip_prefix('.'));
        push.silent == (due.revision > 1)
            && label.is_some_and(|l| course.latest().is_some_and(|state| state.labels.contains(l)))
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

    fn of_alert(&self, alert: Uuid) -> Option<&Happening> {
        self.happenings.get(self.item_of_alert.get(&alert)?)
    }
}
