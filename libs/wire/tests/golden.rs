//! Golden bytes: what one release wrote, every later one must read, and write the same. A difference here is a break of
//! the contract: give the topic a new version instead.
//!
//! `GOLDEN=write cargo test -p porchlight-wire` writes the files of *new* messages; it never touches one that is there.

use std::{fmt::Debug, path::PathBuf};

use porchlight_domain::{
    Alert, AlertId, ChosenId, ContentHash, ContentType, Device, DeviceId, Event, EventId, HomeId, HouseholdId, ItemId,
    Kind, Label, Lane, Logged, Media, MediaId, MediaKind, NeighborhoodId, NeighborhoodRef, Plan, Point, PushTask,
    Recipient, ResidentId, SharingPolicy, Stamped, Timestamp, Version,
};
use porchlight_wire::{NeighborhoodRecord, SentEvent, Wire, WireError, v1};
use prost::Message;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn event() -> Event {
    Event {
        id: EventId(Uuid::parse_str("0192f0a0-1111-7000-8000-000000000001").expect("a literal")),
        kind: Kind::Ding,
        labels: [Label::Person, Label::Package].into_iter().collect(),
        occurred_at: Timestamp(1_790_000_000_000),
        ended_at: Some(Timestamp(1_790_000_009_000)),
        familiar: true,
        confidence_permille: Some(875),
        zone: Some("porch".into()),
    }
}

fn stamped() -> Stamped {
    Stamped {
        digest: event().digest(),
        event: event(),
        device: DeviceId(id(1)),
        household: HouseholdId(id(2)),
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        policy: SharingPolicy::sharing([Label::Person]),
        plan: Plan { retention_days: 30, clips: true },
        sent_at: Timestamp(1_790_000_010_000),
        received_at: Timestamp(1_790_000_010_250),
    }
}

fn media() -> Media {
    let sha256 = ContentHash([9; 32]);
    Media {
        id: MediaId::of(DeviceId(id(1)), event().id, MediaKind::Clip, &sha256),
        device: DeviceId(id(1)),
        event: event().id,
        household: HouseholdId(id(2)),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 1_234_567,
        sha256,
        retention_days: 30,
        received_at: Timestamp(1_790_000_020_000),
    }
}

fn device() -> Device {
    Device {
        id: DeviceId(id(1)),
        chosen: ChosenId(id(11)),
        household: HouseholdId(id(2)),
        home: HomeId(id(3)),
        name: "front door".into(),
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        policy: SharingPolicy::sharing([Label::Person]),
        plan: Plan::default(),
        credential: Some([7; 32]),
        deleted: false,
        version: Version(4),
        updated_at: Timestamp(1_790_000_000_000),
    }
}

fn neighborhood() -> NeighborhoodRecord {
    let ring = |points: &[(i32, i32)]| points.iter().map(|&(lon_e7, lat_e7)| Point { lon_e7, lat_e7 }).collect();
    NeighborhoodRecord {
        id: NeighborhoodId(id(5)),
        name: "Malden".into(),
        parts: vec![
            vec![
                ring(&[(-1_800_000_000, -100), (1_800_000_000, -100), (1_800_000_000, 100), (-1_800_000_000, 100)]),
                ring(&[(10, 10), (20, 10), (20, 20)]),
            ],
            vec![ring(&[(0, 500), (5, 500), (5, 505)])],
        ],
        deleted: false,
        version: Version(2),
        updated_at: Timestamp(1_790_000_000_000),
    }
}

fn alert() -> Alert {
    Alert {
        id: AlertId(id(6)),
        item: ItemId(id(7)),
        revision: 3,
        event: event().id,
        shared_revision: 1,
        household: HouseholdId(id(2)),
        neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(id(5)), version: Version(2) }],
        lane: Lane::Ding,
        kind: Kind::Ding,
        labels: [Label::Person, Label::Ding].into_iter().collect(),
        shared_labels: [Label::Person].into_iter().collect(),
        created_at: Timestamp(1_790_000_010_250),
        expires_at: Timestamp(1_790_000_610_250),
        stream_only: false,
    }
}

fn task() -> PushTask {
    PushTask {
        alert: alert(),
        lane: Lane::Neighborhood,
        bucket: 63,
        recipients: vec![
            Recipient { resident: ResidentId(id(8)), home: Some(HomeId(id(9))) },
            Recipient { resident: ResidentId(id(10)), home: None },
        ],
    }
}

fn dead_letter() -> v1::DeadLetter {
    v1::DeadLetter {
        topic: "events.v1".into(),
        partition: 3,
        offset: 41,
        stage: "geo-index".into(),
        reason: "not a message".into(),
        key: Some(vec![1, 2]),
        value: vec![0xff, 0x00],
        headers: vec![v1::dead_letter::Header { name: "replay".into(), value: vec![1] }],
        failed_at_ms: 1_790_000_010_250,
        redriven: None,
    }
}

fn redriven_letter() -> v1::DeadLetter {
    v1::DeadLetter {
        reason: String::new(),
        value: Vec::new(),
        headers: Vec::new(),
        failed_at_ms: 0,
        redriven: Some(v1::dead_letter::Redriven { at_ms: 1_790_000_020_500, partition: 3, offset: 57 }),
        ..dead_letter()
    }
}

/// The golden bytes of a message, as hexadecimal in a file of its own.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    if !path.exists() && std::env::var_os("GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, hex(bytes) + "\n").expect("the folder is writable");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{name} has no golden bytes"));
    let written = written.trim();
    assert_eq!(hex(bytes), written, "{name}: this release writes other bytes");
    (0..written.len()).step_by(2).map(|i| u8::from_str_radix(&written[i..i + 2], 16).expect("hexadecimal")).collect()
}

fn holds<T: Wire + PartialEq + Debug>(name: &str, value: &T) {
    let read = T::decode(&golden(name, &value.encode())).expect("golden bytes can be read");
    assert_eq!(&read, value, "{name}: this release reads another value");
}

#[test]
fn every_message_has_golden_bytes() {
    holds("event", &SentEvent { event: event(), sent_at: Timestamp(1_790_000_010_000) });
    holds("accepted_event", &stamped());
    // What was written before there were media is read as ever.
    holds("accepted_event", &Logged::Event(stamped()));
    holds("media", &media());
    holds("logged_media", &Logged::Media(media()));
    let policy = SharingPolicy::sharing([Label::Person]).with_media();
    holds("accepted_event_sharing_media", &Stamped { policy, ..stamped() });
    holds("device_sharing_media", &Device { policy, ..device() });
    holds("alert_stream_only", &Alert { stream_only: true, ..alert() });
    holds("device", &device());
    holds("neighborhood", &neighborhood());
    holds("alert", &alert());
    holds("push_task", &task());
    for (name, letter) in [("dead_letter", dead_letter()), ("dead_letter_redriven", redriven_letter())] {
        let bytes = golden(name, &letter.encode_to_vec());
        assert_eq!(v1::DeadLetter::decode(bytes.as_slice()).expect("golden bytes can be read"), letter);
    }
}

#[test]
fn bytes_that_mean_nothing_are_refused_by_the_field() {
    assert!(matches!(Stamped::decode(b"\xff\xff"), Err(WireError::Malformed(_))));
    assert!(matches!(Stamped::decode(b""), Err(WireError::Field("event"))));
    let refused = |change: fn(&mut v1::AcceptedEvent)| {
        let mut message = stamped().to_message();
        change(&mut message);
        Stamped::from_message(message).expect_err("refused").to_string()
    };
    let both = v1::AcceptedEvent { media: Some(media().to_message()), ..stamped().to_message() };
    assert!(
        matches!(Logged::from_message(both.clone()), Err(WireError::Field("media"))),
        "an event or a media, never both"
    );
    assert!(matches!(Stamped::from_message(both), Err(WireError::Field("media"))));
    assert!(refused(|m| m.digest.truncate(31)).contains("digest"));
    assert!(refused(|m| m.lat_e7 = 900_000_001).contains("lat_e7"));
    assert!(refused(|m| m.retention_days = 0).contains("retention_days"));
    assert!(refused(|m| m.event.as_mut().expect("is there").kind = 9).contains("kind"));
    assert!(refused(|m| m.event.as_mut().expect("is there").id = vec![0; 16]).contains("event.id"));
}

proptest::proptest! {
    /// A consumer meets any bytes: it must say no, and never panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = Stamped::decode(&bytes);
        let _ = Logged::decode(&bytes);
        let _ = Device::decode(&bytes);
        let _ = NeighborhoodRecord::decode(&bytes);
        let _ = Alert::decode(&bytes);
        let _ = PushTask::decode(&bytes);
    }
}
