//! JSON and NDJSON.

use porchlight_chassis::http::{Problem, from_json};
use porchlight_domain::{Event, EventId, Kind, Label, Labels, Timestamp};
use serde::Deserialize;

use super::{Reading, Unread, checked, event_problem};

/// An event as a device writes it. A position, a face, a plate and a name are unknown fields, and refused.
///
/// Words, times and ids are read as text first, so that a wrong one has a code of its own.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// UUIDv7, chosen by the device. The same id with the same content is the same event, however often it is sent;
    /// with other content it is 409 `id_conflict`.
    #[schema(value_type = EventId)]
    id: String,
    /// What happened.
    #[schema(value_type = Kind)]
    kind: String,
    /// What was recognized.
    #[serde(default)]
    #[schema(value_type = Vec<Label>)]
    labels: Vec<String>,
    /// When it began, by the device's clock.
    #[schema(value_type = Timestamp)]
    occurred_at: String,
    /// When this was sent, by the device's clock; or else in the header `Porchlight-Sent-At`.
    #[schema(value_type = Option<Timestamp>)]
    sent_at: Option<String>,
    /// When it ended, by the device's clock; within a day of its beginning.
    #[schema(value_type = Option<Timestamp>)]
    ended_at: Option<String>,
    /// The device knows this visitor: no neighbor is ever told.
    #[serde(default)]
    familiar: bool,
    /// How sure the device is, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    confidence: Option<f64>,
    /// Which of the device's own zones; for the household's eyes only.
    #[schema(pattern = "^[a-z0-9_-]{1,32}$")]
    zone: Option<String>,
}

/// The lines of a body that hold anything.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

pub(super) fn read(text: &[u8], sent_at: Option<Timestamp>) -> Reading {
    // serde would read a list as the fields in their order; the document says object.
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(Unread::without_id(Problem::new(400, "invalid_field", "an event is a JSON object")));
    }
    let body: EventBody = from_json(text).map_err(Unread::without_id)?;
    let id = EventId(body.id.parse().map_err(|_| {
        Unread::without_id(Problem::new(422, "event_id_invalid", "an event's id is a UUIDv7").at("/id"))
    })?);
    let refuse = |problem| Unread { id: Some(id), problem };
    let sent_at = match &body.sent_at {
        Some(text) => Some(time(text, "/sent_at").map_err(refuse)?),
        None => sent_at,
    };
    checked(event(id, body).map_err(refuse)?, sent_at)
}

fn event(id: EventId, body: EventBody) -> Result<Event, Problem> {
    Ok(Event {
        id,
        kind: kind(&body.kind)?,
        labels: body.labels.iter().enumerate().map(|(n, word)| label(n, word)).collect::<Result<Labels, _>>()?,
        occurred_at: time(&body.occurred_at, "/occurred_at")?,
        ended_at: body.ended_at.as_deref().map(|text| time(text, "/ended_at")).transpose()?,
        familiar: body.familiar,
        confidence_permille: body.confidence.map(Event::confidence).transpose().map_err(event_problem)?,
        zone: body.zone,
    })
}

fn kind(word: &str) -> Result<Kind, Problem> {
    match word {
        "motion" => Ok(Kind::Motion),
        "ding" => Ok(Kind::Ding),
        _ => Err(Problem::new(422, "kind_invalid", "a kind is motion or ding").at("/kind")),
    }
}

fn label(n: usize, word: &str) -> Result<Label, Problem> {
    Label::ALL.into_iter().find(|label| label.as_str() == word).ok_or_else(|| {
        let all = Label::ALL.map(Label::as_str).join(", ");
        Problem::new(422, "label_invalid", format!("a label is one of {all}")).at(format!("/labels/{n}"))
    })
}

fn time(text: &str, pointer: &str) -> Result<Timestamp, Problem> {
    text.parse()
        .map_err(|e: porchlight_domain::time::TimeError| Problem::new(422, "time_invalid", e.to_string()).at(pointer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"{"id":"018f4e5a-0000-7000-8000-000000000000","kind":"motion","labels":["person","person"],
        "occurred_at":"2026-05-01T17:03:00.250Z","sent_at":"2026-05-01T17:03:01Z","ended_at":"2026-05-01T17:04:00Z",
        "familiar":true,"confidence":0.93,"zone":"driveway"}"#;

    #[test]
    fn a_whole_event_is_read_and_the_header_stands_in_for_sent_at() {
        let sent = read(GOOD.as_bytes(), Some(Timestamp(5))).unwrap();
        assert_eq!(sent.sent_at.to_string(), "2026-05-01T17:03:01.000Z", "its own word comes first");
        assert_eq!(sent.event.labels.iter().collect::<Vec<_>>(), [Label::Person]);
        assert_eq!((sent.event.confidence_permille, sent.event.familiar), (Some(930), true));
        let without = GOOD.replace(r#""sent_at":"2026-05-01T17:03:01Z","#, "");
        let header = "2026-05-01T17:03:02Z".parse().unwrap();
        assert_eq!(read(without.as_bytes(), Some(header)).unwrap().sent_at, header);
        assert_eq!(read(without.as_bytes(), None).unwrap_err().problem.code, "sent_at_missing");
    }

    /// There is no code without a case here, and none for two faults.
    #[test]
    fn g7_each_fault_has_its_code_and_points_at_its_field() {
        let swap = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            GOOD.replace(from, to)
        };
        for (text, status, code, pointer) in [
            (swap("\"driveway\"}", "\"driveway\""), 400, "malformed_json", None),
            (swap("\"zone\":", "\"face\":\"x\",\"zone\":"), 400, "unknown_field", Some("/face")),
            (swap("\"zone\":", "\"position\":{},\"zone\":"), 400, "unknown_field", Some("/position")),
            ("[]".into(), 400, "invalid_field", None),
            (swap("true", "\"yes\""), 400, "invalid_field", Some("/familiar")),
            (swap("\"kind\":\"motion\",", ""), 400, "invalid_field", Some("")),
            (swap("018f4e5a-0000", "018f4e5a-00"), 422, "event_id_invalid", Some("/id")),
            (swap("-7000-", "-4000-"), 422, "event_id_not_uuidv7", Some("/id")),
            (swap("\"motion\"", "\"rang\""), 422, "kind_invalid", Some("/kind")),
            (swap("\"person\"]", "\"stranger\"]"), 422, "label_invalid", Some("/labels/1")),
            (swap("2026-05-01T17:03:00.250Z", "yesterday"), 422, "time_invalid", Some("/occurred_at")),
            (swap("2026-05-01T17:03:01Z", "1777654981"), 422, "time_invalid", Some("/sent_at")),
            (swap("2026-05-01T17:04:00Z", "2026-13-01T17:04:00Z"), 422, "time_invalid", Some("/ended_at")),
            (swap("2026-05-01T17:03:01Z", "2027-07-01T17:03:01Z"), 422, "event_too_old", Some("/occurred_at")),
            (swap("2026-05-01T17:03:01Z", "2026-05-01T17:01:01Z"), 422, "event_from_the_future", Some("/occurred_at")),
            (swap("2026-05-01T17:04:00Z", "2026-05-03T17:04:00Z"), 422, "event_span_invalid", Some("/ended_at")),
            (swap("0.93", "1.01"), 422, "confidence_out_of_range", Some("/confidence")),
            (swap("driveway", "Jane Doe"), 422, "zone_invalid", Some("/zone")),
        ] {
            let problem = read(text.as_bytes(), None).unwrap_err().problem;
            let seen = (problem.status, problem.code, problem.pointer.as_deref());
            assert_eq!(seen, (status, code, pointer), "{text}");
        }
    }

    #[test]
    fn lines_may_end_as_windows_ends_them_and_blank_ones_are_none() {
        assert_eq!(lines(b"{1}\r\n\n  \n{2}").collect::<Vec<_>>(), [b"{1}", b"{2}"]);
        assert_eq!(lines(b"").count(), 0);
    }
}
