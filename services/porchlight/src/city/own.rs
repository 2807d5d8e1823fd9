//! What this process costs, as the kernel counts it (proc_pid_stat(5), proc_pid_status(5)).

use std::time::{Duration, Instant};

/// Of the clock in which the kernel tells a process's time: a constant of its interface.
const TICKS_PER_S: u64 = 100;

/// Looks at this process now and then.
#[derive(Debug)]
pub(super) struct Own {
    at: Instant,
    spent: Duration,
}

/// What it costs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Cost {
    /// Memory that it holds, bytes.
    pub(super) resident: u64,
    /// Of one core, since it was looked at last.
    pub(super) cores: f64,
}

impl Own {
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), spent: spent().unwrap_or_default() }
    }

    /// What it costs; `None` where the kernel does not say.
    pub(super) fn look(&mut self) -> Option<Cost> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident = resident.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
        let (spent, now) = (spent()?, Instant::now());
        let cores = spent.saturating_sub(self.spent).as_secs_f64() / (now - self.at).as_secs_f64().max(0.001);
        (self.at, self.spent) = (now, spent);
        Some(Cost { resident, cores })
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB, {:.0} % of a core", self.resident / 1_000_000, self.cores * 100.0)
    }
}

/// User and system time of all threads.
fn spent() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything; the times are the 14th and 15th field of all, 12th and 13th behind it.
    let behind = stat.rsplit_once(')')?.1;
    let ticks: Option<u64> = behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks? * 1000 / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work() {
        let mut own = Own::new();
        let until = Instant::now() + Duration::from_secs(20);
        // Beside others it may get little of a core.
        while Instant::now() < until && spent().unwrap() < own.spent + Duration::from_millis(100) {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        let cost = own.look().unwrap();
        assert!(cost.cores > 0.0 && cost.resident > 1_000_000, "{cost:?}");
        assert!(cost.to_string().ends_with("% of a core"));
    }
}
