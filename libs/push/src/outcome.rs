//! The outcome taxonomy: what an answer means for the push and for the endpoint. Pure; `DESIGN.md` gives the reasons.

use std::time::Duration;

use porchlight_domain::Timestamp;

/// The longest wait that a provider may ask for; more is cut to it. An alert is no news long before.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What a provider did with a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Took it.
    HandedOver,
    /// Could not now; the same push may go later.
    Retry {
        /// Not before, if the provider said so.
        after: Option<Duration>,
        /// For the log, without token or URL.
        reason: String,
    },
    /// Says that the endpoint exists no more.
    EndpointGone,
    /// Will never take this message; the endpoint is not to blame.
    Refused {
        /// For the log, without token or URL.
        reason: String,
    },
}

impl Sent {
    /// The word that stands for it in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::HandedOver => "handed_over",
            Self::Retry { .. } => "retry",
            Self::EndpointGone => "endpoint_gone",
            Self::Refused { .. } => "refused",
        }
    }

    pub(crate) fn refused(reason: &str) -> Self {
        Self::Refused { reason: reason.to_owned() }
    }
}

/// What came of asking a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It answered.
    Status {
        code: u16,
        /// The header as sent.
        retry_after: Option<String>,
    },
    /// Nothing within the time-out.
    TimedOut,
    /// No connection: no such name, nobody listens, a certificate that does not hold.
    NotConnected,
    /// A connection that broke before the answer.
    Broken,
    /// The endpoint lies where no push may go.
    Blocked,
    /// No request could be made of it.
    Unsendable,
}

/// Judges an answer. Only 404 and 410 speak of the endpoint (RFC 8030, section 7.3): every other 4xx may be our
/// own fault, and a good endpoint never goes for a bad message.
pub(crate) fn judge(answer: &Answer, now: Timestamp) -> Sent {
    let retry = |after, reason: &str| Sent::Retry { after, reason: reason.to_owned() };
    match answer {
        Answer::Status { code, retry_after } => {
            let after = retry_after.as_deref().and_then(|value| read_retry_after(value, now));
            match code {
                200..=299 => Sent::HandedOver,
                404 | 410 => Sent::EndpointGone,
                408 | 425 | 429 | 500..=599 => retry(after, &format!("status {code}")),
                ..=199 | 300..=403 | 405..=407 | 409 | 411..=424 | 426..=428 | 430..=499 | 600.. => {
                    Sent::refused(&format!("status {code}"))
                }
            }
        }
        Answer::TimedOut => retry(None, "timed out"),
        Answer::NotConnected => retry(None, "could not connect"),
        Answer::Broken => retry(None, "the connection broke"),
        Answer::Blocked => Sent::refused("the address is not public"),
        Answer::Unsendable => Sent::refused("no request could be made"),
    }
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. `None` if it is neither.
fn read_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Duration::from_millis(u64::try_from(Timestamp(date.as_millisecond()).since(now)).unwrap_or(0))
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn of(code: u16) -> Sent {
        judge(&Answer::Status { code, retry_after: None }, NOW)
    }

    /// Every status there is, so that no code changes sides unseen.
    #[test]
    fn g8_only_404_and_410_end_an_endpoint() {
        for code in 0..=u16::MAX {
            let word = of(code).as_str();
            let expected = match code {
                404 | 410 => "endpoint_gone",
                408 | 425 | 429 => "retry",
                _ if code / 100 == 2 => "handed_over",
                _ if code / 100 == 5 => "retry",
                _ => "refused",
            };
            assert_eq!(word, expected, "{code}");
        }
    }

    #[test]
    fn g8_a_provider_that_is_away_is_asked_again() {
        for answer in [Answer::TimedOut, Answer::NotConnected, Answer::Broken] {
            assert_eq!(judge(&answer, NOW).as_str(), "retry", "{answer:?}");
        }
        for answer in [Answer::Blocked, Answer::Unsendable] {
            assert_eq!(judge(&answer, NOW).as_str(), "refused", "{answer:?}");
        }
    }

    #[test]
    fn a_wait_is_read_in_both_forms_and_bounded() {
        for (header, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(3600)),
            ("86400", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 07:49:37 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            for code in [429, 503] {
                let sent = judge(&Answer::Status { code, retry_after: Some(header.to_owned()) }, NOW);
                let expected =
                    Sent::Retry { after: seconds.map(Duration::from_secs), reason: format!("status {code}") };
                assert_eq!(sent, expected, "{header:?}");
            }
        }
    }
}
