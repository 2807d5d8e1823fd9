//! What a record says, for an operator's eyes: read as loosely as protobuf allows, so that what a service refused can be
//! seen. No places, no zones, no names, no hashes of credentials.

use porchlight_bus::Topic;
use porchlight_domain::{Alert, Device, Logged, PushTask, Timestamp};
use porchlight_wire::{Wire, WireError, v1};
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

/// How much of what cannot be read is shown: enough to tell text from gzip from protobuf. What our services write begins
/// with an id, and up to here there is nothing else in it.
const MAX_DUMPED_BYTES: usize = 16;
/// How many elements of a list are shown.
const MAX_ELEMENTS: usize = 20;

/// A record's value of this topic, in lines.
pub(super) fn describe(topic: Option<Topic>, bytes: &[u8]) -> String {
    let read = match topic {
        Some(Topic::Events) => read::<Logged>(bytes, accepted),
        Some(Topic::Alerts) => read::<Alert>(bytes, |m| alert(&m)),
        Some(Topic::Pushes) => read::<PushTask>(bytes, |m| push(&m)),
        Some(Topic::Devices) => read::<Device>(bytes, |m| device(&m)),
        Some(Topic::Neighborhoods | Topic::DeadLetters) | None => None,
    };
    match read {
        Some((value, None)) => format!("{value:#}\n"),
        Some((value, Some(error))) => format!("{value:#}\nit cannot be handled: {error}\n"),
        None => format!("it is no message of a known kind\n{}", dump(bytes)),
    }
}

/// The message, shown, and why it means nothing in the domain. `None` if it is no such message at all.
fn read<T: Wire>(bytes: &[u8], show: impl Fn(T::Message) -> Value) -> Option<(Value, Option<WireError>)> {
    let message = T::Message::decode(bytes).ok()?;
    Some((show(message), T::decode(bytes).err()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dump(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_DUMPED_BYTES)];
    let pairs: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let letter = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' };
    let letters: String = shown.iter().map(letter).collect();
    let more = match bytes.len() - shown.len() {
        0 => String::new(),
        more => format!("and {more} bytes more: --raw FILE writes all\n"),
    };
    format!("{}  {letters}\n{more}", pairs.join(" "))
}

fn id(bytes: &[u8]) -> Value {
    match Uuid::from_slice(bytes) {
        Ok(id) => json!(id),
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => json!(format!("{} bytes", bytes.len())),
    }
}

fn hash(bytes: &[u8]) -> Value {
    if bytes.len() == 32 { json!(hex(bytes)) } else { json!(format!("{} bytes", bytes.len())) }
}

fn time(ms: i64) -> Value {
    json!(Timestamp(ms))
}

/// The first elements of a list, and how many more there are.
fn some<T>(all: &[T], show: impl Fn(&T) -> Value) -> Value {
    let mut shown: Vec<Value> = all.iter().take(MAX_ELEMENTS).map(show).collect();
    if all.len() > MAX_ELEMENTS {
        shown.push(json!(format!("and {} more", all.len() - MAX_ELEMENTS)));
    }
    Value::Array(shown)
}

/// A value of an enumeration without its prefix; as a number, if it is none.
fn word(number: i32, name: Option<&'static str>, prefix: &str) -> Value {
    name.map_or(json!(number), |name| json!(name.trim_start_matches(prefix).to_lowercase()))
}

fn kind(number: i32) -> Value {
    word(number, v1::Kind::try_from(number).ok().map(|kind| kind.as_str_name()), "KIND_")
}

fn lane(number: i32) -> Value {
    word(number, v1::Lane::try_from(number).ok().map(|lane| lane.as_str_name()), "LANE_")
}

fn labels(all: &[i32]) -> Value {
    some(all, |&number| word(number, v1::Label::try_from(number).ok().map(|label| label.as_str_name()), "LABEL_"))
}

fn accepted(message: v1::AcceptedEvent) -> Value {
    if let Some(media) = message.media {
        let kind = v1::MediaKind::try_from(media.kind).ok().map(|kind| kind.as_str_name());
        return json!({ "media": {
            "id": id(&media.media_id),
            "device": id(&media.device_id),
            "event": id(&media.event_id),
            "household": id(&media.household_id),
            "kind": word(media.kind, kind, "MEDIA_KIND_"),
            "content_type": media.content_type.chars().take(64).collect::<String>(),
            "bytes": media.bytes,
            "sha256": hash(&media.sha256),
            "retention_days": media.retention_days,
            "received_at": time(media.received_at_ms),
        } });
    }
    let event = message.event.map(|event| {
        json!({
            "id": id(&event.id),
            "kind": kind(event.kind),
            "labels": labels(&event.labels),
            "occurred_at": time(event.occurred_at_ms),
            "ended_at": event.ended_at_ms.map(time),
            "familiar": event.familiar,
            "confidence_permille": event.confidence_permille,
            "sent_at": time(event.sent_at_ms),
        })
    });
    json!({
        "event": event,
        "digest": hash(&message.digest),
        "device": id(&message.device_id),
        "household": id(&message.household_id),
        "neighborhood_labels": labels(&message.neighborhood_labels),
        "neighborhood_media": message.neighborhood_media,
        "retention_days": message.retention_days,
        "clips": message.clips,
        "received_at": time(message.received_at_ms),
    })
}

fn alert(message: &v1::Alert) -> Value {
    json!({
        "alert": id(&message.alert_id),
        "item": id(&message.item_id),
        "event": id(&message.event_id),
        "revision": message.revision,
        "shared_revision": message.shared_revision,
        "household": id(&message.household_id),
        "neighborhoods": some(&message.neighborhoods, |n| json!({ "id": id(&n.neighborhood_id), "version": n.version })),
        "lane": lane(message.lane),
        "kind": kind(message.kind),
        "labels": labels(&message.labels),
        "shared_labels": labels(&message.shared_labels),
        "created_at": time(message.created_at_ms),
        "expires_at": time(message.expires_at_ms),
        "stream_only": message.stream_only,
    })
}

fn push(message: &v1::PushTask) -> Value {
    json!({
        "alert": message.alert.as_ref().map(alert),
        "lane": lane(message.lane),
        "bucket": message.bucket,
        "recipients": some(&message.recipients, |r| json!({ "resident": id(&r.resident_id), "home": id(&r.home_id) })),
    })
}

fn device(message: &v1::DeviceRecord) -> Value {
    json!({
        "device": id(&message.device_id),
        "household": id(&message.household_id),
        "home": id(&message.home_id),
        "neighborhood_labels": labels(&message.neighborhood_labels),
        "neighborhood_media": message.neighborhood_media,
        "retention_days": message.retention_days,
        "clips": message.clips,
        "has_credential": !message.credential_sha256.is_empty(),
        "deleted": message.deleted,
        "version": message.version,
        "updated_at": time(message.updated_at_ms),
    })
}
