//! The numbers of a process, read from its `/metrics` as any Prometheus would.

use std::{collections::BTreeMap, time::Duration};

/// One reading: every sample by its name with labels, as written.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(BTreeMap<String, f64>);

impl Reading {
    /// Reads a process. A process that does not answer reads as nothing.
    pub(super) async fn take(http: &reqwest::Client, admin: &str) -> Self {
        let asked = http.get(format!("{admin}/metrics")).timeout(Duration::from_secs(2)).send().await;
        match asked {
            Ok(answer) => Self::parse(&answer.text().await.unwrap_or_default()),
            Err(_) => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|l| !l.starts_with('#')).filter_map(sample).collect())
    }

    /// Adds another process's samples to these.
    pub(super) fn add(&mut self, other: Self) {
        for (name, value) in other.0 {
            *self.0.entry(name).or_default() += value;
        }
    }

    /// The sum over a metric's samples whose labels contain `label` (as `key="value"`; empty: all).
    pub(super) fn sum(&self, metric: &str, label: &str) -> f64 {
        let of_metric = self.0.range(metric.to_owned()..).take_while(|(name, _)| name.starts_with(metric));
        of_metric
            .filter(|(name, _)| matches!(name.as_bytes().get(metric.len()), None | Some(b'{')) && name.contains(label))
            .map(|(_, value)| value)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_metric_and_label() {
        let text = "# HELP a x\na_total{outcome=\"x\"} 2\na_total{outcome=\"y\"} 3\na_total_other 9\nb 1.5\n";
        let mut reading = Reading::parse(text);
        reading.add(Reading::parse("b 1\n"));
        assert_eq!(reading.sum("a_total", ""), 5.0);
        assert_eq!(reading.sum("a_total", "outcome=\"y\""), 3.0);
        assert_eq!((reading.sum("b", ""), reading.sum("c", "")), (2.5, 0.0));
    }
}
