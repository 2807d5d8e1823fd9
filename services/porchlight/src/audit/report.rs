//! What an audit found: three equations, each with what does not add up.

use std::{collections::BTreeMap, fmt};

use porchlight_domain::Timestamp;
use serde::Serialize;

use super::Position;

/// How many of each kind of wrong are told one by one.
const MAX_TOLD: usize = 20;
/// The longest bar, characters.
const BAR: u64 = 30;

/// How something can fail to add up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// It is below what its stage has committed, and nothing says what became of it.
    Lost,
    /// A row or a task, of which the log does not hold the record that must be its cause.
    Unexplained,
    /// Two records of one event were both taken for the event.
    DecidedTwice,
    /// Every record of an event was taken for a repeat: of what, nobody knows.
    NeverDecided,
}

impl Wrong {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unexplained => "unexplained",
            Self::DecidedTwice => "decided twice",
            Self::NeverDecided => "never decided",
        }
    }
}

/// Wrongs of one kind: how many, and the first few by their ids and places in the log; never a place on earth.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Wrongs {
    /// How many.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

/// What stands in the log on one side, what became of it on the other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Equation {
    /// How much of it there is.
    pub total: u64,
    /// What became of it: so many of each. What is lost is not among them.
    pub terms: BTreeMap<&'static str, u64>,
    /// What does not add up.
    pub wrong: BTreeMap<Wrong, Wrongs>,
}

impl Equation {
    /// Whether both sides agree and nothing is wrong.
    pub fn is_conserved(&self) -> bool {
        self.wrong.is_empty() && self.total == self.terms.values().sum::<u64>()
    }

    /// How many there are of a kind of wrong.
    pub fn wrong(&self, wrong: Wrong) -> u64 {
        self.wrong.get(&wrong).map_or(0, |wrongs| wrongs.count)
    }

    /// How many it became of.
    pub fn term(&self, term: &str) -> u64 {
        self.terms.get(term).copied().unwrap_or_default()
    }

    pub(super) fn count(&mut self, term: &'static str) {
        *self.terms.entry(term).or_default() += 1;
    }

    pub(super) fn find(&mut self, wrong: Wrong, what: impl FnOnce() -> String) {
        let wrongs = self.wrong.entry(wrong).or_default();
        wrongs.count += 1;
        if wrongs.examples.len() < MAX_TOLD {
            wrongs.examples.push(what());
        }
    }

    /// With the terms and wrongs of a part of it.
    pub(super) fn add(&mut self, part: Self) {
        self.total += part.total;
        for (term, count) in part.terms {
            *self.terms.entry(term).or_default() += count;
        }
        for (wrong, Wrongs { count, examples }) in part.wrong {
            let wrongs = self.wrong.entry(wrong).or_default();
            wrongs.count += count;
            let room = MAX_TOLD - wrongs.examples.len();
            wrongs.examples.extend(examples.into_iter().take(room));
        }
    }

    fn verdict(&self) -> String {
        if self.is_conserved() {
            return "conserved".to_owned();
        }
        let counts = self.wrong.iter().map(|(wrong, wrongs)| format!("{} {}", wrongs.count, wrong.as_str()));
        let mut counts: Vec<String> = counts.collect();
        let told = self.terms.values().sum::<u64>() + self.wrong(Wrong::Lost);
        if told != self.total {
            counts.push(format!("{} of {} counted", told, self.total));
        }
        format!("NOT conserved: {}", counts.join(", "))
    }

    /// A picture of it: the sum, and each summand with a bar.
    fn draw(&self, f: &mut fmt::Formatter<'_>, name: &str, of: &str) -> fmt::Result {
        writeln!(f, "{name}  {} {of}", self.total)?;
        let mut terms: Vec<(&str, u64)> = self.terms.iter().map(|(term, count)| (*term, *count)).collect();
        terms.sort_unstable_by_key(|(term, count)| (std::cmp::Reverse(*count), *term));
        let lost = self.wrong(Wrong::Lost);
        terms.extend((lost > 0).then_some(("LOST", lost)));
        for (n, (term, count)) in terms.into_iter().enumerate() {
            // What is there is seen, however little it is.
            let bar = if count == 0 { 0 } else { (count * BAR / self.total.max(1)).clamp(1, BAR) };
            let bar = "█".repeat(usize::try_from(bar).unwrap_or_default());
            writeln!(f, "  {} {count:>10}  {term:<15} {bar}", if n == 0 { '=' } else { '+' })?;
        }
        writeln!(f, "  {}", self.verdict())?;
        for (wrong, Wrongs { count, examples }) in &self.wrong {
            for example in examples {
                writeln!(f, "    {}: {example}", wrong.as_str())?;
            }
            let more = count - examples.len() as u64;
            if more > 0 {
                writeln!(f, "    and {more} more {}", wrong.as_str())?;
            }
        }
        Ok(())
    }
}

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The range begins here.
    pub from: Timestamp,
    /// And ends before this.
    pub to: Timestamp,
    /// Records of `events.v1` = what became of each.
    pub events: Equation,
    /// Alerts that phones may be told of, each revision once = what became of each.
    pub alerts: Equation,
    /// Planned recipients of each revision of an alert = what became of each.
    pub pushes: Equation,
    /// The rows behind the recipients' outcomes: one for each of their endpoints.
    pub endpoints: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Whether all three add up.
    pub fn is_conserved(&self) -> bool {
        [&self.events, &self.alerts, &self.pushes].into_iter().all(Equation::is_conserved)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from {} to {}\n", self.from, self.to)?;
        self.events.draw(f, "EVENTS", "records of events.v1")?;
        writeln!(f)?;
        self.alerts.draw(f, "ALERTS", "revisions of alerts to tell phones of")?;
        writeln!(f)?;
        self.pushes.draw(f, "PUSHES", "people to tell, for each revision")?;
        if !self.endpoints.is_empty() {
            let rows = self.endpoints.iter().map(|(outcome, count)| format!("{count} {outcome}"));
            writeln!(f, "  by endpoint: {}", rows.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(f, "\n{}", if self.is_conserved() { "conserved" } else { "NOT conserved" })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic.name(), self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_bus::Topic;

    fn report(events: Equation) -> Report {
        let (alerts, pushes) = (Equation::default(), Equation::default());
        Report { from: Timestamp(0), to: Timestamp(1_000), events, alerts, pushes, endpoints: BTreeMap::new() }
    }

    #[test]
    fn both_sides_and_the_verdict_are_seen_at_a_glance() {
        let mut events = Equation { total: 101, ..Equation::default() };
        events.terms = BTreeMap::from([("alerted", 1), ("household_only", 99)]);
        let at = Position { topic: Topic::Events, partition: 3, offset: 41 };
        events.find(Wrong::Lost, || format!("record {at}"));
        let text = report(events).to_string();
        assert!(text.contains("EVENTS  101 records of events.v1\n  =         99  household_only  ████"), "{text}");
        assert!(text.contains("  +          1  alerted         █\n  +          1  LOST            █\n"), "{text}");
        assert!(text.contains("  NOT conserved: 1 lost\n    lost: record events.v1/3/41\n"), "{text}");
        assert!(text.ends_with("\nNOT conserved\n"), "{text}");
    }

    #[test]
    fn sides_that_differ_are_not_conserved_though_nothing_is_found_wrong() {
        let mut events = Equation { total: 2, ..Equation::default() };
        events.count("alerted");
        assert!(!events.is_conserved());
        assert!(report(events.clone()).to_string().contains("NOT conserved: 1 of 2 counted\n"));
        events.count("duplicate");
        let report = report(events);
        assert!(report.is_conserved() && report.to_string().ends_with("\nconserved\n"));
    }

    #[test]
    fn only_the_first_few_are_told_also_when_parts_are_added() {
        let mut sum = Equation::default();
        for _ in 0..3 {
            let mut part = Equation::default();
            (0..9).for_each(|n| part.find(Wrong::Unexplained, || n.to_string()));
            sum.add(part);
        }
        let wrongs = &sum.wrong[&Wrong::Unexplained];
        assert_eq!((wrongs.count, wrongs.examples.len()), (27, MAX_TOLD));
        assert!(report(sum).to_string().contains("    and 7 more unexplained\n"));
    }
}
