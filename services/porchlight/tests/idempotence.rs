//! Two bodies under each id, raced at three processes in every format, and all of it again after everybody was killed:
//! exactly one of the two becomes an event, whoever asks however often; another device's event of that id is another event.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt as _, future::join_all, stream};
use porchlight::{city::people::Camera, deployment::Service};
use porchlight_bus::{From, Reader, Topic};
use porchlight_domain::{
    Clock, DeviceId, Digest, Event, EventId, ItemId, Kind, Label, Logged, Outcome, Stamped, SystemClock, Timestamp,
};
use porchlight_store::{SeenEvent, Store};
use porchlight_wire::{SentEvent, Wire};
use prost::Message as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Scene, eventually, household};
use uuid::Uuid;

const IDS: usize = 200;
const INGESTS: usize = 3;
/// How many ids are raced at once.
const AT_ONCE: usize = 12;

fn replicas(service: Service) -> usize {
    if service == Service::Ingest { INGESTS } else { 1 }
}

/// One way to say an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Json,
    GzippedJson,
    Ndjson,
    Protobuf,
    GzippedProtobuf,
}

const FORMATS: [Format; 5] =
    [Format::Json, Format::GzippedJson, Format::Ndjson, Format::Protobuf, Format::GzippedProtobuf];

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::GzippedJson => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Protobuf | Self::GzippedProtobuf => "application/x-protobuf",
        }
    }

    fn is_gzipped(self) -> bool {
        matches!(self, Self::GzippedJson | Self::GzippedProtobuf)
    }

    fn write(self, event: &Event, sent_at: Timestamp) -> Vec<u8> {
        let plain = match self {
            Self::Json | Self::GzippedJson => json_of(event, sent_at).to_string().into_bytes(),
            Self::Ndjson => format!("\n{}\r\n", json_of(event, sent_at)).into_bytes(),
            Self::Protobuf | Self::GzippedProtobuf => {
                SentEvent { event: event.clone(), sent_at }.to_message().encode_length_delimited_to_vec()
            }
        };
        if self.is_gzipped() { gzip(&plain) } else { plain }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("in memory")
}

fn json_of(event: &Event, sent_at: Timestamp) -> Value {
    json!({
        "id": event.id,
        "kind": event.kind,
        "labels": event.labels,
        "occurred_at": event.occurred_at,
        "ended_at": event.ended_at,
        "confidence": event.confidence_permille.map(|permille| f64::from(permille) / 1000.0),
        "zone": event.zone,
        "sent_at": sent_at,
    })
}

/// The two bodies of each id. Minutes apart from those of other ids, so that each event is an item of its own, and old
/// enough to be backlog: no phone has to ring hundreds of times for this.
fn pairs() -> Vec<[Event; 2]> {
    let long_ago = SystemClock.now().plus_ms(-3_600_000);
    let pair = |n: i64| {
        let event = Event {
            id: EventId(Uuid::now_v7()),
            kind: Kind::Motion,
            labels: [Label::Person].into_iter().collect(),
            occurred_at: long_ago.plus_ms(-n * 180_000),
            ended_at: Some(long_ago.plus_ms(-n * 180_000 + 4_250)),
            familiar: false,
            confidence_permille: Some(930),
            zone: Some("driveway".into()),
        };
        let mut other = event.clone();
        match n % 3 {
            0 => other.labels = [Label::Person, Label::Animal].into_iter().collect(),
            1 => other.occurred_at = event.occurred_at.plus_ms(1),
            _ => other.zone = None,
        }
        [event, other]
    };
    (0..i64::try_from(IDS).expect("few")).map(pair).collect()
}

/// What an ingest said of one event.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    code: Option<String>,
    received_at: Option<Timestamp>,
}

/// Talks to every ingest as one camera.
struct Line {
    http: reqwest::Client,
    token: String,
    bases: Vec<String>,
}

impl Line {
    fn new(scene: &Scene, camera: &Camera) -> Self {
        let bases = (0..INGESTS).map(|n| scene.city.deployment.api(Service::Ingest, n)).collect();
        Self { http: reqwest::Client::new(), token: camera.line.token().to_owned(), bases }
    }

    /// Waits until each ingest knows the camera.
    async fn is_known(&self) {
        for n in 0..INGESTS {
            eventually("the camera is known", || async {
                // Malformed on purpose: it asks only whether the credential is known.
                let (status, _) = self.post(n, "application/json", false, b"{}".to_vec()).await?;
                (status == 400).then_some(())
            })
            .await;
        }
    }

    async fn post(&self, n: usize, content_type: &str, gzipped: bool, body: Vec<u8>) -> Option<(u16, Value)> {
        let mut request = self.http.post(format!("{}/v1/events", self.bases[n])).bearer_auth(&self.token).body(body);
        request = request.header("content-type", content_type);
        if gzipped {
            request = request.header("content-encoding", "gzip");
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// Sends one event, and again while ingest says that it cannot tell now.
    async fn send(&self, n: usize, format: Format, event: &Event) -> Answer {
        let body = format.write(event, SystemClock.now());
        let (status, said) = eventually("an answer that decides", || async {
            let answer = self.post(n, format.content_type(), format.is_gzipped(), body.clone()).await?;
            (answer.0 != StatusCode::SERVICE_UNAVAILABLE && answer.0 != StatusCode::TOO_MANY_REQUESTS).then_some(answer)
        })
        .await;
        // A batch answers for each event.
        let (status, said) = match said["results"].get(0) {
            Some(one) => (one["status"].as_u64().and_then(|s| s.try_into().ok()).expect("a status"), one.clone()),
            None => (status, said),
        };
        let received_at = said["received_at"].as_str().map(|at| at.parse().expect("RFC 3339"));
        Answer { status, code: said["code"].as_str().map(str::to_owned), received_at }
    }
}

/// Sends of each id, all at once: one body to one ingest, the other to the next, the first in another format to the third.
/// What each body was answered.
async fn race(line: &Line, pairs: &[[Event; 2]], round: usize) -> Vec<Vec<(usize, Answer)>> {
    let one = |(n, pair): (usize, &[Event; 2])| {
        let (n, pair) = (n, pair.clone());
        async move {
            let sends = [0, 1, 0].into_iter().enumerate().map(|(k, which)| {
                let (at, format) = ((n + k + round) % INGESTS, FORMATS[(n + 2 * k + round) % FORMATS.len()]);
                let event = &pair[which];
                async move { (which, line.send(at, format, event).await) }
            });
            join_all(sends).await
        }
    };
    stream::iter(pairs.iter().enumerate()).map(one).buffered(AT_ONCE).collect().await
}

/// The records of one device, by event, in the order of the log.
async fn log(scene: &Scene, device: DeviceId) -> BTreeMap<EventId, Vec<(i32, i64, Stamped)>> {
    let kafka = scene.city.deployment.settings().kafka();
    let mut reader = Reader::open(&kafka, Topic::Events, From::Beginning).await.expect("the log");
    let mut by_event: BTreeMap<EventId, Vec<_>> = BTreeMap::new();
    while let Some(record) = reader.next_existing().await.expect("the log") {
        match Logged::decode(&record.value).expect("what ingest wrote") {
            Logged::Event(stamped) if stamped.device == device => {
                by_event.entry(stamped.event.id).or_default().push((record.partition, record.offset, stamped));
            }
            Logged::Event(_) | Logged::Media(_) => {}
        }
    }
    by_event
}

/// The outcome rows of one device, by event, in the order of the log.
async fn rows(store: &Store, device: DeviceId, ids: &BTreeSet<EventId>) -> BTreeMap<EventId, Vec<SeenEvent>> {
    let days: BTreeSet<i32> = ids.iter().filter_map(|id| id.day()).collect();
    let mut by_event: BTreeMap<EventId, Vec<SeenEvent>> = BTreeMap::new();
    for day in days {
        for seen in store.timeline.seen_on(device, day).await.expect("rows") {
            by_event.entry(seen.event).or_default().push(seen);
        }
    }
    by_event
}

/// One event an id; every other record of it says what it is and where it stands. The items.
async fn judge_rows(scene: &Scene, store: &Store, device: DeviceId, pairs: &[[Event; 2]]) -> BTreeSet<ItemId> {
    let ids: BTreeSet<EventId> = pairs.iter().map(|[event, _]| event.id).collect();
    let log = log(scene, device).await;
    assert_eq!(log.keys().copied().collect::<BTreeSet<_>>(), ids, "every id is in the log, and no other");
    // The last records may still be under way.
    let rows = eventually("each record has its row", || async {
        let rows = rows(store, device, &ids).await;
        let count = |n: usize| (n == log.values().map(Vec::len).sum::<usize>()).then_some(());
        count(rows.values().map(Vec::len).sum()).map(|()| rows)
    })
    .await;
    let mut items = BTreeSet::new();
    for (id, records) in &log {
        let first = &records[0].2;
        let expected: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(n, (partition, offset, stamped))| {
                let outcome = match n {
                    0 => Outcome::Backlog,
                    _ if stamped.digest == first.digest => Outcome::Duplicate,
                    _ => Outcome::Conflict,
                };
                (*partition, *offset, stamped.digest, outcome, n == 0)
            })
            .collect();
        let found: Vec<_> =
            rows[id].iter().map(|r| (r.partition, r.offset, r.digest, r.outcome, r.item.is_some())).collect();
        assert_eq!(found, expected, "{id}");
        let (item, revision) = rows[id][0].item.expect("the event is in an item");
        assert_eq!((item, revision), (ItemId::opened_by(device, *id), 1));
        let stored = store.timeline.item(item).await.expect("the store").expect("the item is there");
        assert_eq!((stored.revision, stored.last_event), (1, *id), "nothing but the event is in it");
        items.insert(item);
    }
    items
}

fn digests(pairs: &[[Event; 2]]) -> BTreeMap<EventId, [Digest; 2]> {
    pairs.iter().map(|[event, other]| (event.id, [event.digest(), other.digest()])).collect()
}

/// A 202 belongs to the log: the body has a record there, received when the answer says.
fn judge_answers(
    answers: &[Vec<(usize, Answer)>],
    pairs: &[[Event; 2]],
    log: &BTreeMap<EventId, Vec<(i32, i64, Stamped)>>,
) {
    for ([event, other], answers) in pairs.iter().zip(answers) {
        let records = &log[&event.id];
        let of_body = [event.digest(), other.digest()];
        assert!(records.iter().all(|(_, _, stamped)| of_body.contains(&stamped.digest)), "one digest in every format");
        for (which, answer) in answers {
            match answer.status {
                202 => {
                    let is_it = |stamped: &Stamped| {
                        stamped.digest == of_body[*which] && Some(stamped.received_at) == answer.received_at
                    };
                    assert!(records.iter().any(|(_, _, stamped)| is_it(stamped)), "{answer:?}: {records:?}");
                }
                409 => {
                    assert_eq!(answer.code.as_deref(), Some("id_conflict"));
                    let of_other = of_body[1 - *which];
                    assert!(records.iter().any(|(_, _, s)| s.digest == of_other), "a conflict with what is there");
                }
                _ => panic!("{answer:?}"),
            }
        }
        assert!(answers.iter().any(|(_, answer)| answer.status == 202), "somebody was first");
    }
}

async fn feed(app: &porchlight::client::Client) -> BTreeSet<ItemId> {
    let items = app.pages("/v1/feed", "items").await.expect("a feed");
    items.iter().map(|item| item["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_two_bodies_under_an_id_are_one_event_wherever_and_however_often_they_are_sent() {
    let mut scene = Scene::new("twice", &["Malden"], replicas).await;
    let owner = scene.settle(&household("owner", "Malden", -71.0662, 42.4251, Some(&[]))).await;
    let neighbor = scene.settle(&household("neighbor", "Malden", -71.0560, 42.4270, Some(&[]))).await;
    let (camera, another) = (&owner.cameras[0], &neighbor.cameras[0]);
    let (device, other_device) = (DeviceId(camera.device), DeviceId(another.device));
    let store = Store::connect(&scene.city.deployment.settings().cql()).await.expect("the store");
    let pairs = pairs();
    let line = Line::new(&scene, camera);
    line.is_known().await;

    // Raced; and whoever decides dies in the middle of it.
    let (half, rest) = pairs.split_at(IDS / 2);
    let mut answers = race(&line, half, 0).await;
    scene.city.deployment.kill(Service::GeoIndex, 0);
    answers.extend(race(&line, rest, 0).await);
    for n in 0..INGESTS {
        scene.city.deployment.kill(Service::Ingest, n);
    }
    let raced = log(&scene, device).await;
    judge_answers(&answers, &pairs, &raced);
    let count = |log: &BTreeMap<EventId, Vec<(i32, i64, Stamped)>>| log.values().map(Vec::len).sum::<usize>();
    let [mut duplicates, mut conflicts] = [0, 0];
    for records in raced.values() {
        let same = records.iter().filter(|(_, _, stamped)| stamped.digest == records[0].2.digest).count();
        duplicates += same - 1;
        conflicts += records.len() - same;
    }
    assert!(duplicates > 0 && conflicts > 0, "they raced: {duplicates} duplicates, {conflicts} conflicts in the log");

    // Everybody is back, and everything comes again: what the log holds first is answered 202, the other 409.
    for (service, n) in [(Service::GeoIndex, 0), (Service::Ingest, 0), (Service::Ingest, 1), (Service::Ingest, 2)] {
        scene.city.deployment.spawn(service, n).expect("started again");
    }
    scene.city.deployment.ready(support::PATIENCE).await.expect("ready again");
    let line = Line::new(&scene, camera);
    line.is_known().await;
    for round in 1..3 {
        let answers = race(&line, &pairs, round).await;
        for ([event, _], answers) in pairs.iter().zip(&answers) {
            let first = &raced[&event.id][0].2;
            for (which, answer) in answers {
                let wins = digests(&pairs)[&event.id][*which] == first.digest;
                let expected = if wins { (202, Some(first.received_at)) } else { (409, None) };
                assert_eq!((answer.status, answer.received_at), expected, "{}: {answer:?}", event.id);
            }
        }
    }
    assert_eq!(count(&log(&scene, device).await), count(&raced), "nothing of it came into the log again");
    let items = judge_rows(&scene, &store, device, &pairs).await;
    assert_eq!(items.len(), IDS);

    // Another device says other things under the same ids, all in one body.
    let line = Line::new(&scene, another);
    line.is_known().await;
    let lines: Vec<String> = pairs.iter().map(|[_, other]| json_of(other, SystemClock.now()).to_string()).collect();
    let body = gzip(lines.join("\n").as_bytes());
    let (status, _) = line.post(0, Format::Ndjson.content_type(), true, body).await.expect("an answer");
    assert_eq!(status, 202, "one device cannot use up another's ids");
    let others = judge_rows(&scene, &store, other_device, &pairs).await;
    assert_eq!(others.len(), IDS);
    assert!(others.is_disjoint(&items));
    assert_eq!((feed(&owner.app).await, feed(&neighbor.app).await), (items, others), "and each household sees its own");

    assert!(scene.city.phones.log(0).is_empty(), "backlog rings nobody up");
    scene.end().await;
}
