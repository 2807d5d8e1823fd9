//! The judgment: what had to be, what must not be, and what was.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Between, Flown, InFlight, Mover};
use crate::{
    ObservedPush,
    plane::{Point, Shape},
};

/// What became of the pairs of an alert's revision and a person's endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlightVerdict {
    /// Of an alert's own household: always told.
    pub own: usize,
    /// Neighbors who had to be told.
    pub must: usize,
    /// Those who must not be told, of whom a home ever lay in some version of what the alert names: those of whom
    /// something old or new could be taken for the present.
    pub must_not: usize,
    /// Of these, those whose home lay in a neighborhood as it was matched, and no more as it was then.
    pub only_before: usize,
    /// Of these, those whose home lay in a neighborhood as it was then, and not as it was matched.
    pub only_after: usize,
    /// Those of whom both would be right.
    pub either: usize,
    /// How many of [`FlightVerdict::either`] were told.
    pub either_told: usize,
    /// Had to arrive and did not.
    pub missing: Vec<String>,
    /// Arrived where they must not.
    pub misdirected: Vec<ObservedPush>,
    /// What alerts name wrongly: a version that did not count or does not hold the device; or lack.
    pub mismatched: Vec<String>,
}

impl FlightVerdict {
    /// Nothing is missing, misdirected or mismatched.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.misdirected.is_empty() && self.mismatched.is_empty()
    }

    /// The share of the neighbors' pairs of whom one answer alone was right, from 0 to 1.
    #[allow(clippy::cast_precision_loss)] // a share of some thousands
    pub fn strict_share(&self) -> f64 {
        let strict = self.must + self.must_not;
        strict as f64 / (strict + self.either).max(1) as f64
    }
}

/// In the order in which one outweighs the other, should an alert stand in the log twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Duty {
    /// Not for this one, and nobody could think so.
    Unconcerned,
    MustNot(Half),
    Either,
    Must,
    /// Must, as the household.
    Own,
}

/// Which half of the rule, if one alone, a home fulfilled all the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Half {
    Neither,
    AsMatched,
    AsItCounts,
}

/// (endpoint, alert, revision).
type Key<'a> = (&'a str, Uuid, u64);

impl InFlight {
    /// Judges every push that was observed by every alert that stands in the log.
    pub fn judge(&self, alerts: &[Flown], pushes: &[ObservedPush]) -> FlightVerdict {
        let mut duties: BTreeMap<Key<'_>, Duty> = BTreeMap::new();
        let mut verdict = FlightVerdict::default();
        let mut concerned = BTreeMap::new();
        for flown in alerts {
            verdict.mismatched.extend(self.mismatches(flown));
            let named: BTreeSet<Uuid> = flown.matched.iter().map(|(id, _)| *id).collect();
            for (name, mover) in &self.people {
                let (duty, revision) = if mover.household == flown.household {
                    (Duty::Own, flown.revision)
                } else {
                    let concerned = concerned
                        .entry((name.as_str(), named.clone()))
                        .or_insert_with(|| self.are_concerned(mover, &named));
                    (self.duty(flown, name, mover, *concerned), flown.shared_revision)
                };
                for endpoint in &mover.endpoints {
                    let kept = duties.entry((endpoint, flown.alert, revision)).or_insert(duty);
                    *kept = duty.max(*kept);
                }
            }
        }
        let mut arrived = BTreeSet::new();
        for push in pushes {
            let key = (push.endpoint.as_str(), push.alert, push.revision);
            arrived.insert(key);
            let scope = match duties.get(&key) {
                Some(Duty::Own) => "household.",
                Some(Duty::Must | Duty::Either) => "neighborhood.",
                Some(Duty::MustNot(_) | Duty::Unconcerned) | None => "",
            };
            if scope.is_empty() || !push.line.starts_with(scope) || push.silent != (push.revision > 1) {
                verdict.misdirected.push(push.clone());
            }
        }
        for (key, duty) in &duties {
            let told = arrived.contains(key);
            match duty {
                Duty::Own => verdict.own += 1,
                Duty::Must => verdict.must += 1,
                Duty::MustNot(half) => {
                    verdict.must_not += 1;
                    verdict.only_before += usize::from(*half == Half::AsMatched);
                    verdict.only_after += usize::from(*half == Half::AsItCounts);
                }
                Duty::Either => {
                    verdict.either += 1;
                    verdict.either_told += usize::from(told);
                }
                Duty::Unconcerned => {}
            }
            if !told && matches!(duty, Duty::Own | Duty::Must) {
                let (endpoint, alert, revision) = key;
                verdict.missing.push(format!("revision {revision} of {alert} at {endpoint} ({duty:?})"));
            }
        }
        verdict
    }

    fn duty(&self, flown: &Flown, name: &str, mover: &Mover, concerned: bool) -> Duty {
        let until_ms = flown.decided_ms.get(name).copied().unwrap_or(flown.planned_ms);
        let during = Between { from_ms: flown.matching.from_ms, until_ms };
        let matched = |home: Point| {
            let holds = move |at: &&(Uuid, u64)| self.shape(**at).is_some_and(|shape| shape.holds(home));
            flown.matched.iter().filter(holds)
        };
        let home = mover.certain(during);
        if home.is_some_and(|home| matched(home).any(|at| self.newer(*at, during).all(|shape| shape.holds(home)))) {
            return Duty::Must;
        }
        let may = mover
            .possible(during)
            .any(|(home, stood)| matched(home).any(|at| self.newer(*at, stood).any(|shape| shape.holds(home))));
        match (concerned, may) {
            (_, true) => Duty::Either,
            (true, false) => Duty::MustNot(home.map_or(Half::Neither, |home| self.half(flown, home, during))),
            (false, false) => Duty::Unconcerned,
        }
    }

    /// Of a home that fulfilled at most one half.
    fn half(&self, flown: &Flown, home: Point, during: Between) -> Half {
        let counts = |at: &(Uuid, u64)| {
            let mut newer = self.newer(*at, during).peekable();
            newer.peek().is_some() && newer.all(|shape| shape.holds(home))
        };
        if flown.matched.iter().any(|at| self.shape(*at).is_some_and(|shape| shape.holds(home))) {
            Half::AsMatched
        } else if flown.matched.iter().any(counts) {
            Half::AsItCounts
        } else {
            Half::Neither
        }
    }

    /// The versions that may have counted in between, none older than the one that matched.
    fn newer(&self, (id, matched): (Uuid, u64), during: Between) -> impl Iterator<Item = &Shape> {
        self.counting(id, during).filter(move |(version, _)| *version >= matched).map(|(_, shape)| shape)
    }

    /// What is wrong with the neighborhoods that an alert names.
    fn mismatches(&self, flown: &Flown) -> Vec<String> {
        let Some(point) = flown.device.and_then(|id| self.devices.get(&id)) else { return Vec::new() };
        let mut wrong = Vec::new();
        for (id, versions) in &self.neighborhoods {
            let of = |at: &&(Uuid, u64)| at.0 == *id;
            let named: Vec<u64> = flown.matched.iter().filter(of).map(|(_, version)| *version).collect();
            let mut counting = self.counting(*id, flown.matching);
            let known = versions
                .first_key_value()
                .is_some_and(|(_, first)| first.written.until_ms.saturating_add(self.lag_ms) < flown.matching.from_ms);
            let what = match named.as_slice() {
                [] if known && counting.all(|(_, shape)| shape.holds(*point)) => "is not named, and holds the device",
                [version] if !counting.any(|(n, shape)| n == *version && shape.holds(*point)) => {
                    "is named by a version that did not count then, or does not hold the device"
                }
                [] | [_] => continue,
                [..] => "is named twice",
            };
            wrong.push(format!("{id} {what}: revision {} of {}, {named:?}", flown.revision, flown.alert));
        }
        wrong
    }
}
