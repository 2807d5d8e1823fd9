//! What the doctor says of one thing: how it is, and, if it is not well, what is wrong and what to do.

use crate::cli::output::table;

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and is not what a deployment for people should stand on; or it was not looked at.
    Warn,
    /// It does not work, or loses what was promised to be kept.
    Fail,
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What was looked at.
    pub(super) what: String,
    /// What is wrong and what to do; or what is well.
    pub(super) sentence: String,
}

impl Finding {
    pub(super) fn ok(what: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), sentence: sentence.into() }
    }

    pub(super) fn warn(what: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, what: what.into(), sentence: sentence.into() }
    }

    pub(super) fn fail(what: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, what: what.into(), sentence: sentence.into() }
    }
}

/// Whether nothing fails. Warnings do not count.
pub(super) fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Fail)
}

/// For people.
pub(super) fn text(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        vec![verdict.to_owned(), finding.what.clone(), one_line(&finding.sentence)]
    };
    let body = table(&["HOW", "WHAT", "WHY"], &findings.iter().map(row).collect::<Vec<_>>());
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let (fail, warn) = (count(Verdict::Fail), count(Verdict::Warn));
    format!("{body}\n{} looked at, {fail} failed, {warn} to think about\n", findings.len())
}

/// For programs.
pub(super) fn json(findings: &[Finding]) -> String {
    let report = serde_json::json!({ "well": is_well(findings), "findings": findings });
    format!("{report:#}\n")
}

/// A client's own words may have several.
fn one_line(sentence: &str) -> String {
    sentence.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> [Finding; 3] {
        [
            Finding::ok("kafka", "3 brokers"),
            Finding::warn("topic events.v1", "kept once"),
            Finding::fail("cql", "nobody\n answers"),
        ]
    }

    #[test]
    fn the_report_has_one_line_for_each_and_a_count() {
        assert_eq!(
            text(&three()),
            "HOW   WHAT             WHY\n\
             ok    kafka            3 brokers\n\
             warn  topic events.v1  kept once\n\
             FAIL  cql              nobody answers\n\
             \n\
             3 looked at, 1 failed, 1 to think about\n"
        );
    }

    #[test]
    fn a_warning_is_no_failure_and_a_program_is_told_the_same() {
        assert!(is_well(&three()[..2]) && !is_well(&three()));
        let told: serde_json::Value = serde_json::from_str(&json(&three())).unwrap_or_default();
        assert_eq!(told["well"], false);
        assert_eq!(told["findings"][1]["verdict"], "warn");
        assert_eq!(told["findings"][2]["what"], "cql");
    }
}
