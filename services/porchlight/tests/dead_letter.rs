//! A record that cannot be handled goes to the dead letters with its origin and its bytes, what follows it is handled, and
//! an operator finds it, reads it and puts it back.

mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use porchlight::{city::people::Camera, deployment::unique_name};
use porchlight_bus::{Consumer, DeadLetter, From, Handler, KafkaConfig, Outcome, Producer, Reader, Record, Topic};
use porchlight_domain::{Clock, EventId, Kind, Label, Logged, Stamped, SystemClock};
use porchlight_wire::Wire as _;
use prost::Message as _;
use serde_json::Value;
use support::{Scene, event, eventually, household};
use tokio_util::sync::CancellationToken;

const POISON: &[u8] = b"\xff\x00 no message";

/// Runs the command line of a deployment, as its operator does.
async fn operator(kafka: &KafkaConfig, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.arg("dead-letters").args(args).stdin(Stdio::null());
    command.env("PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS", &kafka.bootstrap_servers);
    command.env("PORCHLIGHT_KAFKA__TOPIC_PREFIX", &kafka.topic_prefix);
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("waited")
}

/// What it says when all is well.
async fn said(kafka: &KafkaConfig, args: &[&str]) -> String {
    let output = operator(kafka, args).await;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {text}\n{errors}");
    text.into_owned()
}

async fn listed(kafka: &KafkaConfig, args: &[&str]) -> Vec<Value> {
    let text = said(kafka, &[&["list", "--json"], args].concat()).await;
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn name(letter: &Value) -> &str {
    letter["letter"].as_str().expect("a name")
}

async fn records(kafka: &KafkaConfig, topic: Topic) -> Vec<Record> {
    let mut reader = Reader::open(kafka, topic, From::Beginning).await.expect("the topic");
    let mut all = Vec::new();
    while let Some(record) = reader.next_existing().await.expect("the topic") {
        all.push(record);
    }
    all
}

/// Every record of the topics that a redrive writes to, by its place.
async fn places(kafka: &KafkaConfig) -> BTreeSet<(Topic, i32, i64)> {
    let mut all = BTreeSet::new();
    for topic in [Topic::Events, Topic::DeadLetters] {
        all.extend(records(kafka, topic).await.iter().map(|r| (topic, r.partition, r.offset)));
    }
    all
}

/// Puts a letter there by hand, as a service does.
async fn bury(kafka: &KafkaConfig, letter: &DeadLetter) {
    let producer = Producer::new(kafka).expect("a producer");
    producer.send(Topic::DeadLetters, letter.key.as_deref(), &letter.encode_to_vec(), &[]).await.expect("delivered");
}

/// A consumer that notes what it meets, and understands it or not.
struct Notes {
    understands: bool,
    met: Arc<Mutex<Vec<Arc<Record>>>>,
}

impl Handler for Notes {
    async fn handle(&self, record: Arc<Record>) -> Outcome {
        self.met.lock().expect("no panic").push(record);
        if self.understands { Outcome::Done } else { Outcome::Fatal { reason: "not a message".into() } }
    }
}

/// Runs one until it has met so many records, and what it promises of them is durable.
async fn consume(kafka: &KafkaConfig, understands: bool, count: usize) -> Vec<Arc<Record>> {
    let met = Arc::new(Mutex::new(Vec::new()));
    let notes = Notes { understands, met: Arc::clone(&met) };
    let producer = Producer::new(kafka).expect("a producer");
    let consumer = Consumer::new(kafka, "reader", &[Topic::Events], notes, producer).expect("a consumer");
    let stop = CancellationToken::new();
    let running = tokio::spawn(consumer.run(stop.clone()));
    eventually("the records are met", || async { (met.lock().expect("no panic").len() >= count).then_some(()) }).await;
    stop.cancel();
    running.await.expect("no panic").expect("it drains");
    let met = met.lock().expect("no panic");
    met.clone()
}

#[derive(serde::Deserialize)]
struct Defaults {
    kafka: KafkaConfig,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_listed_and_shown_and_goes_back_as_it_was_once() {
    let Defaults { kafka } = porchlight_chassis::config::load(porchlight::DEFAULT_TOML, None, []).expect("defaults");
    let prefix = format!("{}-", unique_name("letters"));
    let bootstrap_servers = support::servers().kafka;
    let kafka = KafkaConfig { bootstrap_servers, topic_prefix: prefix.clone(), group_prefix: prefix.clone(), ..kafka };
    porchlight_bus::apply_topics(&kafka, 3, 1).await.expect("topics");
    // A leader that was just elected may refuse for a moment, and a reader that is opened then says so and ends.
    let nothing = eventually("the new topics are served", || async {
        let output = operator(&kafka, &["list"]).await;
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(nothing.await, b"no dead letters\n");

    // Two that the reader does not understand: it buries both.
    let producer = Producer::new(&kafka).expect("a producer");
    let key = [7_u8; 16];
    for (key, value) in [(Some(key.as_slice()), POISON), (None, b"another".as_slice())] {
        producer.send(Topic::Events, key, value, &[("origin", b"a test")]).await.expect("delivered");
    }
    consume(&kafka, false, 2).await;
    let letters = listed(&kafka, &[]).await;
    let [first, second] = letters.as_slice() else { panic!("{letters:#?}") };
    let poison = if first["bytes"] == POISON.len() { first } else { second };
    let text = said(&kafka, &["list", "--stage", "reader", "--since", "1h", "--limit", "1"]).await;
    assert!(text.contains("1 older ones are not listed") && text.contains("2      reader"), "{text}");
    assert_eq!(said(&kafka, &["list", "--reason", "another reason"]).await, "no dead letters\n");

    // What is in one; its bytes into a new file, for its owner alone.
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("letter.bin");
    let raw = ["show", name(poison), "--raw", file.to_str().expect("text")];
    let shown = said(&kafka, &raw).await;
    assert!(
        shown.contains("ff 00 20 6e") && shown.contains("07070707-0707") && shown.contains("not a message"),
        "{shown}"
    );
    assert!(shown.contains("origin: 6 bytes") && !shown.contains("a test"), "a header of others: {shown}");
    assert_eq!(std::fs::read(&file).expect("the file"), POISON);
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(operator(&kafka, &raw).await.status.code(), Some(64), "nothing is overwritten");

    // Nothing is put back by a rehearsal, or without being named.
    let before = places(&kafka).await;
    let text = said(&kafka, &["redrive", "--all", "--dry-run"]).await;
    assert!(text.contains("2 would be put back") && text.contains("nothing was done"), "{text}");
    assert_eq!(operator(&kafka, &["redrive", "--since", "1h"]).await.status.code(), Some(64));
    assert_eq!(operator(&kafka, &["redrive", "0:999999"]).await.status.code(), Some(1), "nobody is called so");
    assert_eq!(places(&kafka).await, before);

    // The reader is mended, and meets them as they were.
    let text = said(&kafka, &["redrive", "--stage", "reader"]).await;
    assert!(text.contains("2 put back, 0 done already, 0 not"), "{text}");
    let met = consume(&kafka, true, 2).await;
    assert_eq!(met.len(), 2, "and not the ones that it gave up");
    for (letter, key, value) in [(poison, Some(key.to_vec()), POISON), (other(first, second, poison), None, b"another")]
    {
        let back = met.iter().find(|record| record.value == value).expect("met");
        assert_eq!(back.key, key, "no key stays no key");
        let headers = [("origin", b"a test".as_slice()), ("porchlight-redriven", name(letter).as_bytes())];
        assert_eq!(back.headers, headers.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }
    assert_eq!(said(&kafka, &["list"]).await, "no dead letters\n2 were put back already: --all lists them too\n");
    let all = listed(&kafka, &["--all"]).await;
    let offsets: BTreeSet<_> =
        all.iter().map(|l| (l["redriven"]["partition"].as_i64(), l["redriven"]["offset"].as_i64())).collect();
    assert_eq!(offsets, met.iter().map(|r| (Some(r.partition.into()), Some(r.offset))).collect());

    // Again: it is done already. Of another deployment: it is refused. Neither writes anything.
    let foreign = DeadLetter {
        topic: "another-events.v1".into(),
        stage: "reader".into(),
        key: Some(b"k".to_vec()),
        failed_at_ms: SystemClock.now().0,
        ..DeadLetter::default()
    };
    // Buried twice, it is one letter.
    bury(&kafka, &foreign).await;
    bury(&kafka, &foreign).await;
    let before = places(&kafka).await;
    let text = said(&kafka, &["redrive", name(poison)]).await;
    assert!(text.contains("done already: put back") && text.contains("0 put back, 1 done already"), "{text}");
    let letters = listed(&kafka, &[]).await;
    assert_eq!((letters.len(), letters[0]["repeats"].as_array().map(Vec::len)), (1, Some(1)), "{letters:?}");
    for args in [["redrive", name(&letters[0])], ["redrive", "--all"]] {
        let output = operator(&kafka, &args).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("another-events.v1 is no topic of this deployment"), "{text}");
    }
    assert_eq!(places(&kafka).await, before);
    porchlight_bus::drop_topics(&kafka).await.expect("dropped");
}

fn other<'a>(first: &'a Value, second: &'a Value, than: &Value) -> &'a Value {
    if first == than { second } else { first }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_aside_and_the_consumer_goes_on() {
    let mut scene = Scene::new("poison", &["Malden"], |_| 1).await;
    let owner = scene.settle(&household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]))).await;
    let camera = owner.cameras[0].clone();

    let kafka = scene.city.deployment.settings().kafka();
    let producer = Producer::new(&kafka).expect("a producer");
    let key = camera.device.as_bytes().as_slice();
    let poison = producer.send(Topic::Events, Some(key), POISON, &[("origin", b"a test")]).await.expect("delivered");
    // Behind it on the same partition, under the same key.
    scene.send(&camera, &event("ding", &[], SystemClock.now())).await;
    scene.all_arrived().await;

    let record = eventually("the dead letter", || async { records(&kafka, Topic::DeadLetters).await.pop() }).await;
    let letter: DeadLetter = prost::Message::decode(record.value.as_slice()).expect("a dead letter");
    assert_eq!((letter.partition, letter.offset), (poison.partition, poison.offset));
    assert!(letter.topic.ends_with("events.v1"), "{}", letter.topic);
    assert_eq!((letter.stage.as_str(), letter.value.as_slice()), ("geo-index", POISON));
    assert_eq!(letter.key.as_deref(), Some(key));
    assert!(letter.headers.iter().any(|h| h.name == "origin" && h.value == b"a test"));
    let letters = listed(&kafka, &["--stage", "geo-index"]).await;
    assert_eq!(letters[0]["offset"], poison.offset);

    // Put back, poison is poison: it becomes a new letter.
    said(&kafka, &["redrive", name(&letters[0])]).await;
    let again = eventually("the new letter", || async { listed(&kafka, &[]).await.pop() }).await;
    assert!(again["offset"].as_i64() > Some(poison.offset) && name(&again) != name(&letters[0]), "{again}");

    // An event that was given up by mistake is put back, and then put back once more, as after a crash between putting it
    // back and noting that.
    let (body, good) = unheard_of(&kafka, &camera).await;
    let value = Logged::Event(good.clone()).encode();
    let buried = DeadLetter { value, offset: 1 << 40, reason: "by hand".into(), ..letter };
    bury(&kafka, &buried).await;
    let seen = scene.city.phones.log(0).len();
    let letter = listed(&kafka, &["--reason", "by hand"]).await.pop().expect("listed");
    let shown = said(&kafka, &["show", name(&letter)]).await;
    assert!(shown.contains(&good.event.id.to_string()) && shown.contains("\"kind\": \"motion\""), "{shown}");
    for degree in [good.point.lon_e7, good.point.lat_e7] {
        assert!(!shown.contains(&degree.to_string()), "a place: {shown}");
    }
    scene.witness.accepted(camera.device, &body, good.received_at.0);
    said(&kafka, &["redrive", name(&letter)]).await;
    scene.all_arrived().await;
    producer.send(Topic::Events, Some(key), &buried.value, &[]).await.expect("delivered");
    scene.all_arrived().await;
    assert_eq!(scene.city.phones.log(0).len(), seen + 1, "one push");
    let items = owner.app.pages("/v1/feed", "items").await.expect("a feed");
    assert_eq!(items.iter().filter(|item| item["kind"] == "motion").count(), 1, "one item: {items:#?}");
    let verdict = scene.witness.judge_feed(&owner.subject, &items, 0, i64::MAX);
    assert!(verdict.wrong.is_empty(), "{verdict:?}");
    scene.end().await;
}

/// An event of a camera that ingest never saw, as ingest would have accepted it: what the camera sent, and the record.
async fn unheard_of(kafka: &KafkaConfig, camera: &Camera) -> (Value, Stamped) {
    let (body, now) = (event("motion", &["person"], SystemClock.now()), SystemClock.now());
    let log = records(kafka, Topic::Events).await;
    let mut stamped = log
        .iter()
        .find_map(|record| match Logged::decode(&record.value) {
            Ok(Logged::Event(stamped)) if stamped.device.0 == camera.device => Some(stamped),
            Ok(_) | Err(_) => None,
        })
        .expect("an accepted event");
    stamped.event.id = body["id"].as_str().and_then(|id| id.parse::<EventId>().ok()).expect("an id");
    stamped.event.kind = Kind::Motion;
    stamped.event.labels = [Label::Person].into_iter().collect();
    let occurred_at = body["occurred_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    (stamped.event.occurred_at, stamped.sent_at, stamped.received_at) = (occurred_at, occurred_at, now);
    stamped.digest = stamped.event.digest();
    (body, stamped)
}
