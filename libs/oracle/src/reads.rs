//! Judging feeds, items and streams against what follows from the inputs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    World,
    happening::{Course, Happening},
    plane,
    time::millis,
};

/// What was wrong with what one person was shown; empty if all was right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadVerdict {
    /// Items that were looked at or looked for.
    pub checked: usize,
    /// A sentence each.
    pub wrong: Vec<String>,
}

/// How a person stands to an item that they may see.
pub(crate) enum Standing {
    Household,
    /// By these neighborhoods.
    Neighbor(BTreeSet<Uuid>),
}

/// All that an item may hold for a neighbor.
const NEIGHBORS_MEMBERS: [&str; 12] = [
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
    "media",
];

/// What a view must be of.
#[derive(Clone, Copy)]
enum Due {
    /// The latest revision that came about by then, or a later one.
    Latest,
    /// Any revision: the latest follows, or came before.
    Any,
}

impl World {
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
            if received_at_ms(item) < since_ms || self.is_news(person, id, item, until_ms) {
                continue;
            }
            verdict.checked += 1;
            verdict.wrong.extend(self.wrong_with(person, id, item, Due::Latest, until_ms));
        }
        for happening in self.happenings.values().filter(|h| !shown.contains(&h.item)) {
            let Some(course) = self.course_for(person, happening) else { continue };
            if (since_ms..=until_ms).contains(&course.received_at_ms) {
                verdict.checked += 1;
                verdict.wrong.push(format!("{} is not shown", happening.item));
            }
        }
        verdict
    }

    /// Judges the answer to a person who asked for one item: its body, or `None` for the 404. The answer must be of the
    /// latest event or media that the oracle was told of.
    pub fn judge_item(&self, person: &str, item: Uuid, answer: Option<&Value>) -> ReadVerdict {
        let may = self.happenings.get(&item).is_some_and(|h| self.standing(person, h).is_some());
        let wrong = match answer {
            Some(body) => self.wrong_with(person, item, body, Due::Latest, i64::MAX),
            None if may => vec![format!("{item} is withheld")],
            None => Vec::new(),
        };
        ReadVerdict { checked: 1, wrong }
    }

    /// Judges the items that a person was streamed, in their order, without those that the client dropped because it had
    /// them (by id and revision). Each must be what may be shown in the revision that it names; no revision comes twice
    /// or after a later one; and of each item that changed from `since_ms` to `until_ms` the latest revision came.
    ///
    /// Who may see what is judged as the oracle knows it now: judge before you tell of a move, and after it the rest.
    pub fn judge_stream(&self, person: &str, items: &[Value], since_ms: i64, until_ms: i64) -> ReadVerdict {
        let mut verdict = ReadVerdict::default();
        let mut last: BTreeMap<Uuid, u64> = BTreeMap::new();
        for item in items {
            let (Some(id), Some(revision)) = (id_in(item, "id"), item["revision"].as_u64()) else {
                verdict.wrong.push(format!("an item without an id or a revision: {item}"));
                continue;
            };
            match last.insert(id, revision) {
                Some(before) if before == revision => {
                    verdict.wrong.push(format!("{id} is streamed twice in revision {revision}"));
                }
                Some(before) if before > revision => {
                    verdict.wrong.push(format!("{id} goes back from revision {before} to {revision}"));
                    last.insert(id, before);
                }
                Some(_) | None => {}
            }
            let forgotten = received_at_ms(item) < since_ms && !self.happenings.contains_key(&id);
            if forgotten || self.is_news(person, id, item, until_ms) {
                continue;
            }
            verdict.checked += 1;
            verdict.wrong.extend(self.wrong_with(person, id, item, Due::Any, until_ms));
        }
        for happening in self.happenings.values() {
            let Some(course) = self.course_for(person, happening) else { continue };
            if !course.changed(since_ms, until_ms) {
                continue;
            }
            verdict.checked += 1;
            let (due, item) = (course.due(until_ms), happening.item);
            match last.get(&item) {
                None => verdict.wrong.push(format!("{item} is not streamed")),
                Some(shown) if *shown < due => {
                    verdict.wrong.push(format!("{item} is last streamed in revision {shown} of {due}"));
                }
                Some(_) => {}
            }
        }
        verdict
    }

    /// `None`: may not see it at all.
    pub(crate) fn standing(&self, person: &str, happening: &Happening) -> Option<Standing> {
        let person = self.people.get(person)?;
        if person.household == happening.household {
            return Some(Standing::Household);
        }
        let by = person.lives_in(&happening.neighborhoods, &self.neighborhoods);
        (happening.shared.revision() > 0 && !by.is_empty()).then_some(Standing::Neighbor(by))
    }

    fn course_for<'a>(&self, person: &str, happening: &'a Happening) -> Option<&'a Course> {
        match self.standing(person, happening)? {
            Standing::Household => Some(&happening.all),
            Standing::Neighbor(_) => Some(&happening.shared),
        }
    }

    /// Whether an item can be of an event that the oracle was not told of yet: the first, or the first that is shared.
    fn is_news(&self, person: &str, id: Uuid, item: &Value, until_ms: i64) -> bool {
        let known = self.happenings.get(&id).is_some_and(|h| self.standing(person, h).is_some());
        received_at_ms(item) > until_ms && !known
    }

    fn wrong_with(&self, person: &str, id: Uuid, item: &Value, due: Due, until_ms: i64) -> Vec<String> {
        let Some(happening) = self.happenings.get(&id) else {
            return vec![format!("{id} is nothing that happened")];
        };
        match self.standing(person, happening) {
            None => vec![format!("{id} is shown to a stranger")],
            Some(Standing::Household) => self.wrong_course(id, item, &happening.all, due, until_ms),
            Some(Standing::Neighbor(by)) => {
                let mut wrong = self.wrong_course(id, item, &happening.shared, due, until_ms);
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

    /// What is wrong with the number, the labels, the times and the media of an item: it must show exactly what the
    /// revision that it names shows. What changed after `until_ms` may show or not; what the oracle was not told of yet
    /// is not judged.
    fn wrong_course(&self, id: Uuid, item: &Value, course: &Course, due: Due, until_ms: i64) -> Vec<String> {
        let revision = item["revision"].as_u64().unwrap_or_default();
        let media: Vec<_> =
            item["media"].as_array().into_iter().flatten().map(|m| (id_in(m, "id"), m["kind"].as_str())).collect();
        let updated_at_ms = item["updated_at"].as_str().map(millis);
        let ahead = revision.saturating_sub(course.revision());
        if ahead > 0 && until_ms < i64::MAX {
            let unknown = media.iter().filter(|(id, _)| id.is_none_or(|id| !self.media.contains_key(&id))).count();
            if updated_at_ms.is_some_and(|at| at > until_ms) || unknown as u64 >= ahead {
                return Vec::new();
            }
        }
        let mut wrong = Vec::new();
        let at_least = match due {
            Due::Latest => course.due(until_ms).max(1),
            Due::Any => 1,
        };
        if ahead > 0 || revision < at_least {
            wrong.push(format!("{id} shows revision {} of {}", item["revision"], course.revision()));
        }
        let Some(state) = course.at(revision) else { return wrong };
        let labels: BTreeSet<&str> =
            item["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(label) = labels.iter().find(|l| !state.labels.contains(**l)) {
            wrong.push(format!("{id} shows the label {label}"));
        }
        if state.labels.iter().any(|l| !labels.contains(l.as_str())) {
            wrong.push(format!("{id} lacks a label"));
        }
        let named = course.media[..state.media].iter().map(|(id, kind)| (Some(*id), Some(kind.as_str())));
        if !named.eq(media.iter().copied()) {
            wrong.push(format!("{id} shows other media than the {} of its revision", state.media));
        }
        if !course.in_doubt {
            if item["received_at"].as_str().is_some_and(|at| millis(at) != course.received_at_ms) {
                wrong.push(format!("{id} shows another receipt than that of its first event"));
            }
            if updated_at_ms.is_some_and(|at| at != state.updated_at_ms) {
                wrong.push(format!("{id} shows another receipt than that of its latest event"));
            }
        }
        if item["occurred_at"].as_str().is_some_and(|at| millis(at) != state.occurred_at_ms) {
            wrong.push(format!("{id} shows another time than that of its first event"));
        }
        wrong
    }
}

fn received_at_ms(item: &Value) -> i64 {
    item["received_at"].as_str().map_or(i64::MAX, millis)
}

pub(crate) fn members(object: &Value) -> impl Iterator<Item = &String> {
    object.as_object().into_iter().flat_map(|object| object.keys())
}

pub(crate) fn id_in(object: &Value, member: &str) -> Option<Uuid> {
    object[member].as_str()?.parse().ok()
}
