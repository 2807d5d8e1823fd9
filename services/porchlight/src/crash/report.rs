//! What a run showed: for each kind of fault what it cost, and at the end what must be zero.

use std::{collections::BTreeMap, fmt};

use super::plan::{Fault, Group, Hurt};

/// A fault that was done, with the span of time for which it counts: until all is well again. Milliseconds since the
/// Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Which.
    pub fault: Fault,
    /// When it began.
    pub from_ms: i64,
    /// When it was undone.
    pub undone_ms: i64,
    /// When what was hurt was ready again.
    pub well_ms: i64,
    /// Sendings that were refused, or had no answer, meanwhile.
    pub refused: u64,
}

/// The moments at which something reached its end, in order, ms since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub struct Moments(Vec<i64>);

impl FromIterator<i64> for Moments {
    fn from_iter<T: IntoIterator<Item = i64>>(moments: T) -> Self {
        let mut sorted: Vec<i64> = moments.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl Moments {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many lie in a span, both ends included.
    fn within(&self, from_ms: i64, to_ms: i64) -> usize {
        self.0.partition_point(|&at| at <= to_ms).saturating_sub(self.0.partition_point(|&at| at < from_ms))
    }

    /// The longest time without any that overlaps a span, ms: its ends may lie outside. Before the first and after the
    /// last there is no gap, for nobody knows what would have come.
    fn longest_gap(&self, from_ms: i64, to_ms: i64) -> i64 {
        let first = self.0.partition_point(|&at| at < from_ms).saturating_sub(1);
        let gaps = self.0[first..].windows(2).take_while(|pair| pair[0] <= to_ms);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// What was counted at the end.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Distinct events answered 202.
    pub acknowledged: usize,
    /// Distinct clips and thumbnails answered 200.
    pub stored: usize,
    /// Distinct events in the log.
    pub in_log: usize,
    /// When what was acknowledged and is not in the log, or has no row, was acknowledged.
    pub lost: Moments,
    /// When a phone showed for a second time what it had shown.
    pub shown_twice: Moments,
    /// Pushes that reached the phones, those replaced in place among them.
    pub pushes: u64,
    /// Pushes that were due.
    pub due: usize,
    /// Pushes that were due and did not come.
    pub missing: usize,
    /// Pushes to somebody who must not have got them, or that say what they must not say; feeds with what they must not
    /// show. A sentence each.
    pub strangers: Vec<String>,
    /// Records in no stage's hands yet.
    pub lag: u64,
    /// Events given up by their cameras: it is not known whether they are in the log.
    pub given_up: u64,
    /// What the audit of conservation says, if it does not add up.
    pub not_conserved: Option<String>,
    /// Processes that ended without being asked to, with the end of their logs.
    pub died: Vec<String>,
    /// The most memory that a process of each service ever held, bytes.
    pub most_memory: BTreeMap<&'static str, u64>,
}

/// The most memory that a process of a service may hold, bytes: no run of any length may need more.
const MEMORY_BOUND: u64 = 512 << 20;

/// A run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it follows from.
    pub seed: u64,
    /// Events a second.
    pub rate: f64,
    /// `classic` or `consumer`.
    pub group_protocol: String,
    /// How long there was load, s.
    pub seconds: u64,
    /// What was done.
    pub faults: Vec<Done>,
    /// When events were acknowledged.
    pub acknowledged: Moments,
    /// When pushes came.
    pub pushed: Moments,
    /// The end.
    pub count: Count,
}

/// What still counts for a fault after all is well again: what was under way arrives.
const AFTERMATH_MS: i64 = 5_000;

impl Report {
    /// What is not as it must be, a sentence each. None: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let Count { lost, shown_twice, missing, strangers, lag, given_up, died, most_memory, .. } = &self.count;
        let mut failures = Vec::new();
        let mut none = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        };
        none(lost.0.len() as u64, "acknowledged and lost");
        none(shown_twice.0.len() as u64, "shown twice");
        none(*missing as u64, "pushes missing");
        none(strangers.len() as u64, "seen by a stranger or saying what is not so");
        none(*lag, "records still wait in some stage");
        none(*given_up, "events given up by their cameras");
        none(died.len() as u64, "processes ended without being asked to");
        let fat = most_memory.iter().filter(|(_, bytes)| **bytes > MEMORY_BOUND);
        failures.extend(fat.map(|(name, bytes)| format!("{name} held {} MiB", bytes >> 20)));
        failures.extend(self.count.not_conserved.clone());
        failures.extend(died.iter().chain(strangers).take(20).cloned());
        failures
    }

    /// The table of faults: markdown, which reads well in a terminal too.
    fn table(&self) -> String {
        let mut kinds: BTreeMap<(Hurt, Group), Vec<&Done>> = BTreeMap::new();
        for done in &self.faults {
            kinds.entry((done.fault.hurt, done.fault.target.group())).or_default().push(done);
        }
        let mut rows = vec![
            ["fault", "times", "refused", "lost", "shown twice", "longest gap in", "longest gap out", "back after"]
                .map(str::to_owned),
        ];
        rows.extend(kinds.iter().map(|((hurt, group), done)| self.row(&format!("{hurt} {group}"), done)));
        rows.push(self.row("all", &self.faults.iter().collect::<Vec<_>>()));
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for (n, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells
                .map(|(i, (cell, width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
            text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
            if n == 0 {
                let lines = widths.iter().enumerate().map(|(i, width)| match i {
                    0 => "-".repeat(*width),
                    _ => format!("{}:", "-".repeat(width - 1)),
                });
                text += &format!("| {} |\n", lines.collect::<Vec<_>>().join(" | "));
            }
        }
        text
    }

    fn row(&self, name: &str, faults: &[&Done]) -> [String; 8] {
        let Count { lost, shown_twice, .. } = &self.count;
        let spans = || faults.iter().map(|done| (done.from_ms, done.well_ms + AFTERMATH_MS));
        let sum = |moments: &Moments| spans().map(|(from, to)| moments.within(from, to)).sum::<usize>().to_string();
        let longest = |moments: &Moments| {
            seconds(spans().map(|(from, to)| moments.longest_gap(from, to)).max().unwrap_or_default())
        };
        [
            name.to_owned(),
            faults.len().to_string(),
            faults.iter().map(|done| done.refused).sum::<u64>().to_string(),
            sum(lost),
            sum(shown_twice),
            longest(&self.acknowledged),
            longest(&self.pushed),
            seconds(faults.iter().map(|done| done.well_ms - done.undone_ms).max().unwrap_or_default()),
        ]
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { acknowledged, stored, in_log, pushes, due, most_memory, .. } = &self.count;
        writeln!(f, "{}", self.table())?;
        writeln!(
            f,
            "seed {}, {} faults in {} s at {} events a second, group protocol {}",
            self.seed,
            self.faults.len(),
            self.seconds,
            self.rate,
            self.group_protocol
        )?;
        writeln!(
            f,
            "{acknowledged} events and {stored} clips acknowledged, {in_log} events in the log, {due} pushes due, {pushes} came"
        )?;
        let memory = most_memory.iter().map(|(name, bytes)| format!("{name} {} MiB", bytes >> 20));
        writeln!(f, "most memory: {}", memory.collect::<Vec<_>>().join(", "))?;
        let failures = self.failures();
        if failures.is_empty() {
            writeln!(f, "lost 0, shown twice 0, missing 0, seen by a stranger 0, conserved, nothing waits: passed")
        } else {
            writeln!(f, "FAILED:")?;
            failures.iter().try_for_each(|failure| writeln!(f, "  {failure}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{crash::plan::Target, deployment::Service};

    fn done(hurt: Hurt, target: Target, from_ms: i64) -> Done {
        let fault = Fault { hurt, target, calm: Duration::ZERO, hold: Duration::from_secs(1) };
        Done { fault, from_ms, undone_ms: from_ms + 1_000, well_ms: from_ms + 3_500, refused: 2 }
    }

    fn report(count: Count) -> Report {
        let ingest = Target::Service(Service::Ingest, 0);
        Report {
            seed: 5,
            rate: 10.0,
            group_protocol: "classic".to_owned(),
            seconds: 60,
            faults: vec![
                done(Hurt::Kill, ingest, 10_000),
                done(Hurt::Kill, Target::Service(Service::Ingest, 1), 40_000),
                done(Hurt::Freeze, Target::Broker(2), 70_000),
            ],
            acknowledged: (0..100).map(|n| n * 1_000).filter(|at| !(41_000..45_000).contains(at)).collect(),
            pushed: (0..100).map(|n| n * 1_000).collect(),
            count,
        }
    }

    #[test]
    fn a_gap_may_begin_before_its_span_and_end_after_it() {
        let moments: Moments = [30, 0, 10].into_iter().collect();
        assert_eq!(moments.longest_gap(12, 15), 20);
        assert_eq!(moments.longest_gap(0, 5), 10);
        assert_eq!(moments.longest_gap(31, 99), 0, "after the last nobody knows");
        assert_eq!(Moments::default().longest_gap(0, 99), 0);
        assert_eq!((moments.within(10, 30), moments.within(11, 29)), (2, 0));
    }

    #[test]
    fn each_kind_of_fault_has_its_row() {
        let text = report(Count::default()).to_string();
        let cells = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).expect("a row");
            line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cells("| kill ingest")[1..9], ["kill ingest", "2", "4", "0", "0", "5.0 s", "1.0 s", "2.5 s"]);
        assert_eq!(cells("| freeze a broker")[2], "1");
        assert_eq!(cells("| all")[2], "3");
        assert!(text.ends_with("passed\n"), "{text}");
    }

    #[test]
    fn each_thing_that_must_be_zero_fails_the_run_if_it_is_not() {
        let failing: [fn(&mut Count); 9] = [
            |c| c.lost = [12_000].into_iter().collect(),
            |c| c.shown_twice = [12_000].into_iter().collect(),
            |c| c.missing = 1,
            |c| c.strangers.push("somebody".to_owned()),
            |c| c.lag = 1,
            |c| c.given_up = 1,
            |c| c.died.push("ingest-0 ended".to_owned()),
            |c| c.most_memory = [("ingest", MEMORY_BOUND + 1)].into(),
            |c| c.not_conserved = Some("1 lost".to_owned()),
        ];
        assert!(report(Count::default()).failures().is_empty());
        for fail in failing {
            let mut count = Count::default();
            fail(&mut count);
            let report = report(count);
            assert!(!report.failures().is_empty() && report.to_string().contains("FAILED"), "{report}");
        }
    }
}
