//! From a body to events: three encodings, one canonical form, and a problem of its own for each record that has none.

mod json;
mod protobuf;

use axum::http::{HeaderMap, header};
use porchlight_chassis::http::Problem;
use porchlight_domain::{EventError, EventId, Timestamp};
use porchlight_wire::SentEvent;

pub(crate) use json::EventBody;

/// The header that says when a body was sent, for records that do not say it themselves.
pub(crate) const SENT_AT: &str = "porchlight-sent-at";

/// How a body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// One event.
    Json,
    /// One event a line.
    Ndjson,
    /// Events of `porchlight.v1`, each after its length.
    Protobuf,
}

impl Format {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" => Ok(Self::Ndjson),
            "application/x-protobuf" => Ok(Self::Protobuf),
            _ => Err(Problem::new(
                415,
                "unsupported_media_type",
                "events come as application/json, application/x-ndjson or application/x-protobuf",
            )),
        }
    }
}

/// An event that is refused, with its id as far as that could be read.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Unread {
    pub(crate) id: Option<EventId>,
    pub(crate) problem: Problem,
}

impl Unread {
    fn without_id(problem: Problem) -> Self {
        Self { id: None, problem }
    }
}

/// An event, checked, or why it is none.
pub(crate) type Reading = Result<SentEvent, Unread>;

/// When the body was sent, if its head says so.
pub(crate) fn sent_at(headers: &HeaderMap) -> Result<Option<Timestamp>, Problem> {
    headers
        .get(SENT_AT)
        .map(|value| {
            value.to_str().ok().and_then(|v| v.trim().parse().ok()).ok_or_else(|| {
                Problem::new(422, "time_invalid", "Porchlight-Sent-At is an RFC 3339 time with an offset")
            })
        })
        .transpose()
}

/// Reads the one event of a JSON body.
pub(crate) fn one(body: &[u8], sent_at: Option<Timestamp>) -> Reading {
    json::read(body, sent_at)
}

/// Reads the events of a batch, at most `max` of them.
pub(crate) fn many(
    format: Format,
    body: &[u8],
    sent_at: Option<Timestamp>,
    max: usize,
) -> Result<Vec<Reading>, Problem> {
    let mut readings: Vec<Reading> = match format {
        Format::Json => vec![json::read(body, sent_at)],
        // One more than fits is enough to know.
        Format::Ndjson => json::lines(body).take(max + 1).map(|line| json::read(line, sent_at)).collect(),
        Format::Protobuf => protobuf::frames(body).take(max + 1).map(|frame| protobuf::read(frame, sent_at)).collect(),
    };
    if readings.len() > max {
        return Err(Problem::new(413, "too_many_records", format!("a body here holds at most {max} events")));
    }
    if readings.is_empty() {
        return Err(Problem::new(400, "empty_batch", "there is no event in this body"));
    }
    readings.shrink_to_fit();
    Ok(readings)
}

/// What no encoding can tell by itself.
fn checked(event: porchlight_domain::Event, sent_at: Option<Timestamp>) -> Reading {
    let id = event.id;
    let refuse = |problem| Unread { id: Some(id), problem };
    let sent_at = sent_at.ok_or_else(|| {
        let how = "say when it was sent: sent_at in the event, or the header Porchlight-Sent-At";
        refuse(Problem::new(400, "sent_at_missing", how).at("/sent_at"))
    })?;
    match event.check(sent_at) {
        Ok(()) => Ok(SentEvent { event, sent_at }),
        Err(e) => Err(refuse(event_problem(e))),
    }
}

fn event_problem(e: EventError) -> Problem {
    let (code, pointer) = e.code();
    Problem::new(422, code, e.to_string()).at(pointer)
}
