#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _};
use porchlight_bus::{KafkaConfig, Letter, LetterName, Origin, Redriven, Topic};
use porchlight_domain::{
    Alert, ChosenId, Device, DeviceId, Event, EventId, HomeId, HouseholdId, Kind, Label, Logged, Plan, Point,
    SharingPolicy, Stamped, Timestamp, Version,
};
use porchlight_wire::{Wire as _, v1};
use prost::Message as _;
use serde_json::Value;
use uuid::Uuid;

use super::{super::Config, Failure, content, list, redrive, select::Filter};

const PREFIX: &str = "t-";

fn kafka() -> KafkaConfig {
    let config: Config = porchlight_chassis::config::load(crate::DEFAULT_TOML, None, []).unwrap();
    KafkaConfig { topic_prefix: PREFIX.into(), ..config.kafka }
}

fn letter(n: i64, topic: &str, stage: &str, reason: &str) -> Letter {
    Letter {
        name: LetterName { partition: 0, offset: n },
        repeats: Vec::new(),
        origin: Origin { topic: topic.into(), partition: 3, offset: 40 + n, stage: stage.into() },
        failed_at: Timestamp(1_790_000_000_000 + n),
        reason: reason.into(),
        bytes: 7,
        redriven: None,
        written_at: Timestamp(1_790_000_000_000 + n),
    }
}

fn redriven(n: i64, topic: &str) -> Letter {
    let redriven = Some(Redriven { at: Timestamp(1_790_000_100_000), partition: 3, offset: 99 });
    Letter { redriven, ..letter(n, topic, "geo-index", "x") }
}

fn args(given: &[&str]) -> Result<redrive::Args, clap::Error> {
    let command = redrive::Args::augment_args(clap::Command::new("redrive"));
    redrive::Args::from_arg_matches(&command.try_get_matches_from([&["redrive"], given].concat())?)
}

fn filter(given: &[&str]) -> Filter {
    let command = Filter::augment_args(clap::Command::new("filter"));
    Filter::from_arg_matches(&command.try_get_matches_from([&["filter"], given].concat()).unwrap()).unwrap()
}

#[test]
fn what_others_wrote_commands_no_terminal() {
    assert_eq!(super::printable("a\u{1b}[2Jb\n\u{9b}c ü"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c ü");
}

#[test]
fn nothing_is_redriven_without_being_named() {
    for refused in [
        &[][..],
        &["--since", "2h"],
        &["--dry-run"],
        &["--limit", "3"],
        &["3:41", "--all"],
        &["3:41", "--stage", "geo-index"],
        &["3:41", "--since", "2h"],
        &["--all", "--stage", "geo-index"],
        &["--all", "--limit", "0"],
        &["3-41"],
    ] {
        assert!(args(refused).is_err(), "{refused:?}");
    }
    for accepted in [
        &["3:41", "3:42", "--dry-run"][..],
        &["--stage", "geo-index", "--reason", "x", "--since", "2h", "--limit", "3"],
        &["--topic", "events.v1"],
        &["--all", "--since", "2h"],
    ] {
        assert!(args(accepted).is_ok(), "{accepted:?}");
    }
    super::super::Cli::command().debug_assert();
}

#[test]
fn a_filter_admits_what_is_like_all_that_it_says() {
    let letter = letter(5, "t-events.v1", "geo-index", "field Kind is missing");
    let admits = |given: &[&str]| filter(given).admits(&letter, &kafka());
    assert!(admits(&[]));
    assert!(admits(&["--stage", "geo-index", "--topic", "events.v1", "--reason", "FIELD kind"]));
    assert!(admits(&["--topic", "t-events.v1", "--since", &letter.failed_at.to_string()]));
    for other in [
        ["--stage", "geo"],
        ["--topic", "alerts.v1"],
        ["--topic", "u-events.v1"],
        ["--reason", "field label"],
        ["--since", &letter.failed_at.plus_ms(1).to_string()],
    ] {
        assert!(!admits(&other), "{other:?}");
    }
    assert!(!admits(&["--stage", "geo-index", "--reason", "another"]), "all of them, not one of them");
}

#[test]
fn the_newest_are_listed_last_and_all_are_counted_by_their_reason() {
    let mut all: Vec<Letter> = (0..3).map(|n| letter(n, "t-events.v1", "geo-index", "not a message")).collect();
    all.push(letter(3, "t-alerts.v1", "notification-plan", &"long ".repeat(40)));
    let letters: Vec<&Letter> = all.iter().collect();
    let text = list::describe(&letters, &letters[2..], 2, false);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("LETTER  FAILED AT"), "{text}");
    assert!(lines[1].starts_with("0:2     2026-09-21T14:13:20.002Z  geo-index"), "{text}");
    assert!(lines[2].starts_with("0:3 ") && lines[2].ends_with('…'), "{text}");
    assert_eq!(lines[3], "2 older ones are not listed: --limit 4 lists them all");
    assert!(lines[6].starts_with("3      geo-index          2026-09-21T14:13:20.002Z  not a message"), "{text}");
    assert!(lines[7].starts_with("1      notification-plan"), "{text}");
    assert_eq!(lines[8], "2 were put back already: --all lists them too");
    assert_eq!(list::describe(&[], &[], 0, false), "no dead letters\n");
}

#[test]
fn a_line_of_json_says_all_but_the_bytes() {
    let mut letter = redriven(1, "t-events.v1");
    letter.repeats.push(LetterName { partition: 0, offset: 9 });
    let line: Value = serde_json::from_str(&list::as_json(&letter)).unwrap();
    assert_eq!((&line["letter"], &line["repeats"][0]), (&"0:1".into(), &"0:9".into()));
    assert_eq!((&line["topic"], &line["offset"], &line["bytes"]), (&"t-events.v1".into(), &41.into(), &7.into()));
    assert_eq!(line["redriven"]["offset"], 99);
}

fn plan<'a>(letters: &'a [Letter], given: &[&str]) -> Result<redrive::Work<'a>, Failure> {
    redrive::Work::plan(letters, &args(given).unwrap(), &kafka())
}

#[test]
fn a_selection_leaves_out_what_was_put_back_and_takes_the_oldest() {
    let mut letters: Vec<Letter> = (0..4).map(|n| letter(n, "t-events.v1", "geo-index", "x")).collect();
    letters[1] = redriven(1, "t-events.v1");
    let work = plan(&letters, &["--all", "--limit", "2"]).unwrap();
    let names: Vec<i64> = work.open().iter().map(|letter| letter.name.offset).collect();
    assert_eq!(names, [0, 2]);
    let said = plan(&letters, &["--all", "--limit", "2", "--dry-run"]).unwrap().report(true).unwrap();
    assert!(said.contains("would be put back onto t-events.v1\n"), "{said}");
    assert!(said.ends_with(
        "2 would be put back, 0 done already, 0 not; 1 more are left by --limit\nnothing was done (--dry-run)\n"
    ));
    let none = plan(&letters, &["--stage", "another"]).unwrap().report(false).unwrap();
    assert_eq!(none, "no dead letters to put back\n");
}

#[test]
fn a_named_letter_is_found_by_all_its_names_once_and_an_unknown_one_is_said_to_be() {
    let mut letters = vec![letter(0, "t-events.v1", "geo-index", "x")];
    letters[0].repeats.push(LetterName { partition: 0, offset: 8 });
    assert_eq!(plan(&letters, &["0:8", "0:0"]).unwrap().open().len(), 1);
    let unknown = plan(&letters, &["0:0", "0:5"]).err().unwrap();
    assert!(matches!(&unknown, Failure::Failed(text) if text.contains("0:5")), "{unknown}");
}

#[test]
fn a_second_redrive_says_it_is_done_and_what_is_not_ours_is_refused() {
    let letters = [redriven(0, "t-events.v1"), letter(1, "u-events.v1", "s", "x"), letter(2, "t-devices.v1", "s", "x")];
    let work = plan(&letters, &["0:0"]).unwrap();
    assert!(work.open().is_empty());
    let said = work.report(false).unwrap();
    assert!(said.contains("done already: put back 2026-09-21T14:15:00.000Z as t-events.v1/3/99"), "{said}");
    let work = plan(&letters, &["--all"]).unwrap();
    assert!(work.open().is_empty(), "nothing of it is tried");
    let Err(Failure::Found(said)) = work.report(false) else { panic!("it is not well") };
    assert!(said.contains("u-events.v1 is no topic of this deployment"), "{said}");
    assert!(said.contains("topics rebuild") && said.ends_with("0 put back, 0 done already, 2 not\n"), "{said}");
}

#[test]
fn a_limit_is_a_number_of_letters() {
    let letters: Vec<Letter> = (0..9).map(|n| letter(n, "t-events.v1", "geo-index", "x")).collect();
    for limit in 1..12_usize {
        let work = plan(&letters, &["--all", "--limit", &NonZeroUsize::new(limit).unwrap().to_string()]).unwrap();
        assert_eq!(work.open().len(), limit.min(9));
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn stamped(point: Point) -> Stamped {
    let event = Event {
        id: EventId(Uuid::now_v7()),
        kind: Kind::Ding,
        labels: [Label::Person].into_iter().collect(),
        occurred_at: Timestamp(1_790_000_000_000),
        ended_at: None,
        familiar: false,
        confidence_permille: None,
        zone: Some("thezone".into()),
    };
    Stamped {
        digest: event.digest(),
        event,
        device: DeviceId(id(1)),
        household: HouseholdId(id(2)),
        point,
        policy: SharingPolicy::default(),
        plan: Plan::default(),
        sent_at: Timestamp(1_790_000_000_500),
        received_at: Timestamp(1_790_000_000_600),
    }
}

fn device(point: Point, credential: [u8; 32]) -> Device {
    Device {
        id: DeviceId(id(1)),
        chosen: ChosenId(id(2)),
        household: HouseholdId(id(3)),
        home: HomeId(id(4)),
        name: "thename".into(),
        point,
        policy: SharingPolicy::default(),
        plan: Plan::default(),
        credential: Some(credential),
        deleted: false,
        version: Version(1),
        updated_at: Timestamp(0),
    }
}

const HERE: Point = Point { lon_e7: -710_662_001, lat_e7: 424_251_003 };
const THERE: Point = Point { lon_e7: 1_234_567_891, lat_e7: -543_210_987 };

/// The test of what is never shown: two records that differ in that alone look the same.
#[test]
fn g1_a_letter_shows_no_place_no_zone_no_name_and_no_hash_of_a_credential() {
    let event = stamped(HERE);
    let elsewhere = Stamped { point: THERE, ..event.clone() };
    let (here, there) = (Logged::Event(event).encode(), Logged::Event(elsewhere).encode());
    let devices = [device(HERE, [7; 32]).encode(), device(THERE, [9; 32]).encode()];
    for (topic, a, b) in [
        (Topic::Events, here.clone(), there.clone()),
        (Topic::Devices, devices[0].clone(), devices[1].clone()),
        // Cut off in the middle they are no messages, and dumped.
        (Topic::Events, here[..here.len() - 1].to_vec(), there[..there.len() - 1].to_vec()),
        (Topic::Devices, devices[0][..devices[0].len() - 1].to_vec(), devices[1][..devices[1].len() - 1].to_vec()),
        // Of another deployment's topic nothing is known.
        (Topic::DeadLetters, here, there),
    ] {
        assert_ne!(a, b);
        let said = content::describe(Some(topic), &a);
        assert_eq!(said, content::describe(Some(topic), &b), "{topic:?}");
        assert!(!said.contains("thezone") && !said.contains("thename"), "{said}");
    }
}

#[test]
fn what_a_service_refused_is_read_all_the_same_and_the_fault_is_told() {
    let mut message = stamped(HERE).to_message();
    message.event.as_mut().unwrap().kind = 9;
    let said = content::describe(Some(Topic::Events), &message.encode_to_vec());
    assert!(said.contains("\"kind\": 9") && said.contains(&id(1).to_string()), "{said}");
    assert!(said.contains("it cannot be handled: field kind is missing or out of range"), "{said}");
    let good = content::describe(Some(Topic::Events), &stamped(HERE).encode());
    let value: Value = serde_json::from_str(&good).unwrap();
    assert_eq!((&value["event"]["kind"], &value["event"]["labels"][0]), (&"ding".into(), &"person".into()));
}

#[test]
fn each_kind_of_record_is_read() {
    let media = v1::AcceptedEvent {
        media: Some(v1::StoredMedia { kind: 1, content_type: "video/mp4".into(), ..Default::default() }),
        ..Default::default()
    };
    let said = content::describe(Some(Topic::Events), &media.encode_to_vec());
    assert!(said.contains("\"kind\": \"clip\"") && said.contains("video/mp4"), "{said}");
    let alert = v1::Alert { lane: 1, alert_id: id(6).as_bytes().to_vec(), revision: 3, ..Default::default() };
    let said = content::describe(Some(Topic::Alerts), &alert.encode_to_vec());
    assert!(said.contains(&id(6).to_string()) && said.contains("\"lane\": \"ding\""), "{said}");
    assert!(Alert::decode(&alert.encode_to_vec()).is_err() && said.contains("it cannot be handled: "), "{said}");
    let recipient = v1::push_task::Recipient { resident_id: id(8).as_bytes().to_vec(), home_id: Vec::new() };
    let push = v1::PushTask { alert: Some(alert), recipients: vec![recipient; 60], ..Default::default() };
    let said = content::describe(Some(Topic::Pushes), &push.encode_to_vec());
    assert!(said.contains(&id(8).to_string()) && said.contains("and 40 more"), "{said}");
}

#[test]
fn of_what_cannot_be_read_the_beginning_is_shown() {
    let said = content::describe(Some(Topic::Events), b"\xff\x00 no message");
    assert!(said.ends_with("\nff 00 20 6e 6f 20 6d 65 73 73 61 67 65  .. no message\n"), "{said}");
    let said = content::describe(None, &[0; 100]);
    assert!(said.ends_with("00  ................\nand 84 bytes more: --raw FILE writes all\n"), "{said}");
}
