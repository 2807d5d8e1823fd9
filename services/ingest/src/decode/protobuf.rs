//! Protobuf: messages `porchlight.v1.Event`, each after its length (a varint), as protobuf's own streams are delimited.

use porchlight_chassis::http::Problem;
use porchlight_domain::Timestamp;
use porchlight_wire::{SentEvent, Wire as _, WireError};

use super::{Reading, Unread, checked};

/// The fields of `porchlight.v1.Event` are numbered from 1 to this. protobuf skips what it does not know; the device API
/// refuses it (G7), so the numbers are looked at before the message is decoded.
const LAST_FIELD: u64 = 9;

/// One message of the body, or the rest of it, which cannot be told apart any more.
pub(super) type Frame<'a> = Result<&'a [u8], Broken>;

/// The body breaks off, or holds what is no protobuf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken;

/// The messages of a body. After the first that is broken there is none, for where the next begins is not known.
pub(super) fn frames(mut body: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let frame = varint(&mut body).and_then(|length| take(&mut body, length)).ok_or(Broken);
        if frame.is_err() {
            body = &[];
        }
        Some(frame)
    })
}

pub(super) fn read(frame: Frame<'_>, sent_at: Option<Timestamp>) -> Reading {
    let malformed = || {
        let what = "from here on the body is no sequence of length-delimited porchlight.v1.Event";
        Unread::without_id(Problem::new(400, "malformed_protobuf", what))
    };
    let message = frame.map_err(|Broken| malformed())?;
    if let Some(number) = unknown_field(message).map_err(|Broken| malformed())? {
        let what = format!("field {number} is unknown; an event has fields 1 to {LAST_FIELD}");
        return Err(Unread::without_id(Problem::new(400, "unknown_field", what)));
    }
    match SentEvent::decode(message) {
        Ok(sent) => {
            let sent_at = if sent.sent_at.0 == 0 { sent_at } else { Some(sent.sent_at) };
            checked(sent.event, sent_at)
        }
        Err(WireError::Malformed(_)) => Err(malformed()),
        Err(WireError::Field(field)) => Err(Unread::without_id(field_problem(field))),
    }
}

/// The same code for the same fault, whatever the encoding.
fn field_problem(field: &'static str) -> Problem {
    let (code, what, pointer) = match field {
        "event.id" => ("event_id_invalid", "an event's id is a UUIDv7, 16 bytes", "/id"),
        "kind" => ("kind_invalid", "a kind is motion or ding", "/kind"),
        "event.labels" => ("label_invalid", "a label is one of porchlight.v1.Label, and not unspecified", "/labels"),
        "event.confidence_permille" => ("confidence_out_of_range", "confidence lies between 0 and 1000", "/confidence"),
        other => return Problem::new(422, "invalid_field", format!("field {other} is missing or out of range")),
    };
    Problem::new(422, code, what).at(pointer)
}

/// The number of the first field that an event does not have.
fn unknown_field(mut message: &[u8]) -> Result<Option<u64>, Broken> {
    while !message.is_empty() {
        let key = varint(&mut message).ok_or(Broken)?;
        let number = key >> 3;
        if number == 0 {
            return Err(Broken);
        }
        if number > LAST_FIELD {
            return Ok(Some(number));
        }
        let value = match key & 7 {
            0 => varint(&mut message).map(drop),
            1 => take(&mut message, 8).map(drop),
            2 => varint(&mut message).and_then(|length| take(&mut message, length)).map(drop),
            5 => take(&mut message, 4).map(drop),
            // Groups, gone since proto3, and what never was.
            _ => None,
        };
        value.ok_or(Broken)?;
    }
    Ok(None)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(head)
}

/// Seven bits a byte, lowest first, at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (n, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if n == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * n);
        if byte & 0x80 == 0 {
            *bytes = &bytes[n + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use porchlight_wire::v1;
    use proptest::prelude::*;

    /// Every field by name: a field that is added to the contract stops this from compiling, and raises `LAST_FIELD`.
    fn message() -> v1::Event {
        v1::Event {
            id: uuid::Uuid::parse_str("018f4e5a-0000-7000-8000-000000000000").unwrap().as_bytes().to_vec(),
            kind: v1::Kind::Motion.into(),
            labels: vec![v1::Label::Person.into()],
            occurred_at_ms: 1_777_654_980_250,
            ended_at_ms: Some(1_777_655_040_000),
            familiar: true,
            confidence_permille: Some(930),
            zone: "driveway".into(),
            sent_at_ms: 1_777_654_981_000,
        }
    }

    fn bytes(message: &v1::Event) -> Vec<u8> {
        // The length of this message fits two bytes at most.
        let body = encode(message);
        let length = u8::try_from(body.len()).unwrap();
        let mut framed = if length < 128 { vec![length] } else { vec![length | 0x80, length >> 7] };
        framed.extend(body);
        framed
    }

    fn encode(message: &v1::Event) -> Vec<u8> {
        prost::Message::encode_to_vec(message)
    }

    fn readings(body: &[u8], sent_at: Option<Timestamp>) -> Vec<Reading> {
        frames(body).map(|frame| read(frame, sent_at)).collect()
    }

    #[test]
    fn g7_every_field_of_the_contract_is_known_and_no_other() {
        assert_eq!(unknown_field(&encode(&message())), Ok(None));
        let mut with_more = encode(&message());
        with_more.extend([10 << 3 | 2, 1, b'x']);
        assert_eq!(unknown_field(&with_more), Ok(Some(10)));
        let refused = read(Ok(&with_more), None).unwrap_err();
        assert_eq!((refused.problem.status, refused.problem.code), (400, "unknown_field"));
    }

    #[test]
    fn protobuf_and_json_of_one_event_have_one_digest() {
        let json = br#"{"id":"018f4e5a-0000-7000-8000-000000000000","kind":"motion","labels":["person"],
            "occurred_at":"2026-05-01T17:03:00.250Z","sent_at":"2026-05-01T17:03:01Z",
            "ended_at":"2026-05-01T17:04:00Z","familiar":true,"confidence":0.93,"zone":"driveway"}"#;
        let from_json = super::super::json::read(json, None).unwrap();
        let from_protobuf = readings(&bytes(&message()), None).remove(0).unwrap();
        assert_eq!(from_protobuf, from_json);
        assert_eq!(from_protobuf.event.digest(), from_json.event.digest());
    }

    #[test]
    fn one_bad_record_does_not_spoil_the_rest_and_a_broken_frame_ends_it() {
        let mut bad = message();
        bad.kind = 7;
        let mut body = bytes(&message());
        body.extend(bytes(&bad));
        body.extend(bytes(&message()));
        body.extend([90, 1]);
        let codes: Vec<_> =
            readings(&body, None).into_iter().map(|r| r.map(|_| ()).map_err(|u| u.problem.code)).collect();
        assert_eq!(codes, [Ok(()), Err("kind_invalid"), Ok(()), Err("malformed_protobuf")]);
    }

    #[test]
    fn the_header_stands_in_for_sent_at_and_faults_have_the_codes_of_json() {
        let with = |change: fn(&mut v1::Event)| {
            let mut m = message();
            change(&mut m);
            readings(&bytes(&m), None).remove(0).unwrap_err().problem.code
        };
        let header = Timestamp(1_777_654_982_000);
        let mut silent = message();
        silent.sent_at_ms = 0;
        assert_eq!(readings(&bytes(&silent), Some(header)).remove(0).unwrap().sent_at, header);
        assert_eq!(with(|m| m.sent_at_ms = 0), "sent_at_missing");
        assert_eq!(with(|m| m.id = vec![1]), "event_id_invalid");
        assert_eq!(with(|m| m.id[6] = 0x40), "event_id_not_uuidv7");
        assert_eq!(with(|m| m.labels = vec![0]), "label_invalid");
        assert_eq!(with(|m| m.confidence_permille = Some(1_001)), "confidence_out_of_range");
        assert_eq!(with(|m| m.confidence_permille = Some(70_000)), "confidence_out_of_range");
        assert_eq!(with(|m| m.zone = "Jane Doe".into()), "zone_invalid");
        assert_eq!(with(|m| m.occurred_at_ms = 0), "event_too_old");
    }

    proptest! {
        /// Whatever comes: no panic, and it ends.
        #[test]
        fn any_bytes_are_read_to_an_end(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let readings = readings(&body, Some(Timestamp(0)));
            prop_assert!(readings.len() <= body.len());
        }

        #[test]
        fn varints_come_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            let mut rest = &bytes[..];
            prop_assert_eq!(varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}
