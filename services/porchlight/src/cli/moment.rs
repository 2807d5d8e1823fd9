//! Times as operators give them: so long ago, or an instant.

use jiff::{Span, SpanRelativeTo};
use porchlight_domain::{Clock as _, SystemClock, Timestamp};

/// What is accepted, for the refusal and for help texts.
const ACCEPTED: &str =
    "give how long ago it was, such as 90m, 2h or 3d, or an RFC 3339 time with an offset, such as 2026-05-01T17:03:00Z";

/// A time: a duration means so long ago, a day has 24 hours. For `value_parser` of clap.
///
/// # Errors
/// A sentence that says what is accepted.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, SystemClock.now())
}

fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let refused = || ACCEPTED.to_owned();
    let span: Span = text.parse().map_err(|_| refused())?;
    // Months and years have no length of their own. `2h ago` says the same as `2h`, though it is negative.
    let ago = span.abs().to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    let ago = i64::try_from(ago.as_millis()).map_err(|_| refused())?;
    Ok(now.plus_ms(-ago))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_duration_is_so_long_ago_and_an_instant_is_itself() {
        let now: Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
        for (text, means) in [
            ("2h", "2026-05-04T10:00:00.000Z"),
            ("2h ago", "2026-05-04T10:00:00.000Z"),
            ("90m", "2026-05-04T10:30:00.000Z"),
            ("1h30m", "2026-05-04T10:30:00.000Z"),
            ("45s", "2026-05-04T11:59:15.000Z"),
            ("3d", "2026-05-01T12:00:00.000Z"),
            ("2026-05-01T19:03:00.25+02:00", "2026-05-01T17:03:00.250Z"),
        ] {
            assert_eq!(moment_at(text, now).map(|t| t.to_string()).as_deref(), Ok(means), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_and_told_what_is_accepted() {
        for text in ["", "2", "yesterday", "1mo", "1y", "2026-05-01T17:03:00", "2026-05-01", "99999999999999999999h"] {
            let refused = moment_at(text, Timestamp(0)).unwrap_err();
            assert!(refused.contains("2h") && refused.contains("RFC 3339"), "{text}: {refused}");
        }
    }
}
