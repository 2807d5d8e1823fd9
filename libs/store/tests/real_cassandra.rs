//! The contract and the schema on a real server. `PORCHLIGHT_TEST_SERVERS` names a `servers.json`.

#![allow(clippy::unwrap_used, missing_docs)]

mod contract;

use std::future::Future;

use contract::{DAY_MS, HOUR_MS, id, now};
use porchlight_domain::{
    AlertId, DeviceId, Digest, EndpointId, EventId, HouseholdId, Item, ItemId, Kind, Labels, MediaId, MediaKind,
    Outcome, Point, PushId, ResidentId, Timestamp,
    item::{GroupKey, ItemMedia},
};
use porchlight_store::{
    CqlConfig, Delivery, DeliveryOutcome, FeedOwner, GONE_KEPT_MS, LEDGER_MS, Read, SeenEvent, Store, StoreError,
    apply_schema,
};
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    deserialize::row::DeserializeRow,
    serialize::row::SerializeRow,
};
use uuid::Uuid;

const FILES: [&str; 4] = ["0001_registry", "0002_timeline", "0003_deliveries", "0004_media"];

/// A server, and a keyspace of the test's own.
struct Server {
    config: CqlConfig,
}

impl Server {
    fn new() -> Self {
        let missing = "run make test, or make up and set PORCHLIGHT_TEST_SERVERS";
        let path = std::env::var("PORCHLIGHT_TEST_SERVERS").expect(missing);
        let servers: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect(missing)).expect(missing);
        let node = servers["cassandra"].as_str().expect(missing).to_owned();
        Self {
            config: CqlConfig {
                contact_points: vec![node],
                keyspace: format!("test_{}", Uuid::new_v4().simple()),
                datacenter: "datacenter1".into(),
                request_timeout_ms: 10_000,
                ..CqlConfig::default()
            },
        }
    }

    /// Runs a test, and drops the keyspace whatever becomes of it.
    async fn with<T: Future<Output = ()> + Send + 'static>(test: impl FnOnce(CqlConfig) -> T) {
        let server = Self::new();
        let outcome = tokio::spawn(test(server.config.clone())).await;
        let raw = Raw::connect(&server.config).await;
        raw.session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {}", server.config.keyspace), ()).await.unwrap();
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

/// CQL past the store.
struct Raw {
    session: Session,
    keyspace: String,
}

impl Raw {
    async fn connect(config: &CqlConfig) -> Self {
        let builder = SessionBuilder::new().known_nodes(&config.contact_points).fetch_schema_metadata(false);
        let session = builder.build().await.unwrap();
        Self { session, keyspace: config.keyspace.clone() }
    }

    /// `{}` in the text stands for the keyspace.
    async fn run(&self, cql: &str, values: impl SerializeRow) -> scylla::response::query_result::QueryResult {
        self.session.query_unpaged(cql.replace("{}", &self.keyspace), values).await.unwrap()
    }

    async fn one<R: for<'f, 'm> DeserializeRow<'f, 'm>>(&self, cql: &str, values: impl SerializeRow) -> R {
        self.run(cql, values).await.into_rows_result().unwrap().single_row::<R>().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_a_real_server() {
    Server::with(|config| async move {
        assert_eq!(apply_schema(&config, 1).await.unwrap(), FILES);
        assert_eq!(apply_schema(&config, 1).await.unwrap(), [""; 0], "twice is once");
        let store = Store::connect(&config).await.unwrap();
        let raw = Raw::connect(&config).await;
        g6_a_replay_lengthens_nothing(&store, &raw).await;
        pushes_end_a_week_after_their_event(&store, &raw).await;
        media_end_a_week_after_they_are_gone(&store, &raw).await;
        rows_of_an_older_version_have_no_media(&store, &raw).await;
        the_version_before_works_on_the_tables_of_this_one(&config, &store, &raw).await;
        a_row_that_means_nothing_is_corrupt(&store, &raw).await;
        contract::run(&store).await;
        a_changed_file_is_refused(&config, &raw).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_apply_each_file_once() {
    Server::with(|config| async move {
        let refused = Store::connect(&config).await.err().unwrap();
        assert!(matches!(&refused, StoreError::Refused(s) if s.contains("porchlight schema apply")), "{refused}");
        let (a, b) = tokio::join!(apply_schema(&config, 1), apply_schema(&config, 1));
        let mut applied = [a.unwrap(), b.unwrap()].concat();
        applied.sort();
        assert_eq!(applied, FILES);
        Store::connect(&config).await.unwrap().ping().await.unwrap();

        // One file is missing: a store that is older than this version.
        let raw = Raw::connect(&config).await;
        raw.run("DELETE FROM {}.schema_migrations WHERE name = ? IF EXISTS", (FILES[3],)).await;
        let refused = Store::connect(&config).await.err().unwrap();
        assert!(matches!(&refused, StoreError::Refused(s) if s.contains("porchlight schema apply")), "{refused}");
        // A crash before the file was noted: its statements are simply run again.
        assert_eq!(apply_schema(&config, 1).await.unwrap(), FILES[3..]);
        Store::connect(&config).await.unwrap();
    })
    .await;
}

/// Of the last file, which adds columns to tables that are there, only the first statements were run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_broken_off_is_run_to_its_end() {
    Server::with(|config| async move {
        assert_eq!(apply_schema(&config, 1).await.unwrap(), FILES);
        let raw = Raw::connect(&config).await;
        for broken_off in [
            &["ALTER TABLE {}.event_seen DROP shares_media"][..],
            &["ALTER TABLE {}.event_seen DROP shares_media", "ALTER TABLE {}.items DROP media"],
            &["ALTER TABLE {}.event_seen DROP shares_media", "ALTER TABLE {}.items DROP media", "DROP TABLE {}.sweeps"],
        ] {
            raw.run("DELETE FROM {}.schema_migrations WHERE name = ? IF EXISTS", (FILES[3],)).await;
            for missing in broken_off {
                raw.run(missing, ()).await;
            }
            assert_eq!(apply_schema(&config, 1).await.unwrap(), FILES[3..], "{broken_off:?}");
            Store::connect(&config).await.unwrap();
        }
        // A column that cannot be added for another reason is not taken for done.
        raw.run("DELETE FROM {}.schema_migrations WHERE name = ? IF EXISTS", (FILES[3],)).await;
        raw.run("DROP TABLE {}.event_seen", ()).await;
        let refused = apply_schema(&config, 1).await.err();
        assert!(matches!(&refused, Some(StoreError::Refused(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_data_centre_that_is_not_there_is_named() {
    let mut config = Server::new().config;
    config.datacenter = "atlantis".into();
    for refused in [apply_schema(&config, 1).await.err().unwrap(), Store::connect(&config).await.err().unwrap()] {
        assert!(matches!(&refused, StoreError::Refused(_)), "{refused}");
    }
}

async fn a_changed_file_is_refused(config: &CqlConfig, raw: &Raw) {
    raw.run("UPDATE {}.schema_migrations SET sha256 = 'other' WHERE name = ? IF EXISTS", (FILES[1],)).await;
    for refused in [apply_schema(config, 1).await.err().unwrap(), Store::connect(config).await.err().unwrap()] {
        assert!(matches!(&refused, StoreError::Refused(s) if s.contains(FILES[1])), "{refused}");
    }
}

fn item(expires_at: Timestamp) -> Item {
    let opened_at = now().plus_ms(-HOUR_MS);
    Item {
        id: ItemId(id()),
        group: GroupKey { device: DeviceId(id()), kind: Kind::Motion, familiar: false },
        household: HouseholdId(id()),
        labels: Labels::NONE,
        shared_labels: Labels::NONE,
        point: Point { lon_e7: 1, lat_e7: 2 },
        neighborhoods: Vec::new(),
        revision: 7,
        shared: None,
        opened_at,
        updated_at: opened_at.plus_ms(5),
        occurred_at: opened_at,
        last_occurred_at: opened_at,
        last_event: EventId(Uuid::now_v7()),
        media: Vec::new(),
        expires_at,
    }
}

fn seen(item: &Item, shares_media: bool) -> SeenEvent {
    SeenEvent {
        device: item.group.device,
        event: item.last_event,
        partition: 0,
        offset: 5,
        digest: Digest([1; 32]),
        outcome: Outcome::HouseholdOnly,
        item: Some((item.id, 7)),
        shares_media,
        received_at: item.updated_at,
        expires_at: item.expires_at,
    }
}

/// The write time is that of receipt and the end that of the item, however often and however late it is written again.
/// The item is an hour old: a time to live that were counted from the writing would be an hour too long.
async fn g6_a_replay_lengthens_nothing(store: &Store, raw: &Raw) {
    let item = item(now().plus_ms(DAY_MS));
    let seen = seen(&item, false);
    let device = item.group.device.0;
    let tables = [
        ("items", "labels", "id", item.id.0, item.updated_at.0 * 1000 + 7),
        ("last_items", "item", "device", device, item.updated_at.0 * 1000 + 7),
        ("event_seen", "outcome", "device", device, item.updated_at.0 * 1000),
        ("feeds", "expires_at", "owner", item.household.0, item.opened_at.0 * 1000),
    ];
    for _ in 0..3 {
        store.timeline.put_item(&item).await.unwrap();
        store.timeline.record_seen(&seen).await.unwrap();
        store.timeline.add_to_feed(FeedOwner::Household(item.household), &item).await.unwrap();
        for (table, column, key, value, written_at) in tables {
            let cql =
                format!("SELECT TTL({column}), WRITETIME({column}) FROM {{}}.{table} WHERE {key} = ? ALLOW FILTERING");
            let (ttl, written): (i32, i64) = raw.one(&cql, (value,)).await;
            assert_eq!(written, written_at, "{table}");
            let left_s = item.expires_at.since(now()) / 1000;
            assert!((i64::from(ttl) - left_s).abs() <= 3, "{table}: {ttl} s against {left_s} s");
        }
    }
}

async fn pushes_end_a_week_after_their_event(store: &Store, raw: &Raw) {
    let created = now().plus_ms(-2 * DAY_MS);
    let delivery = Delivery {
        push: PushId(id()),
        alert: AlertId(id()),
        revision: 1,
        resident: ResidentId(id()),
        endpoint: EndpointId(id()),
        outcome: DeliveryOutcome::HandedOver,
        as_neighbor: false,
        alert_created_at: created,
        at: now(),
    };
    store.deliveries.record(&delivery).await.unwrap();
    for (table, key, value) in
        [("push_ledger", "push", delivery.push.0), ("pushes_by_alert", "alert", delivery.alert.0)]
    {
        let cql = format!("SELECT TTL(outcome) FROM {{}}.{table} WHERE {key} = ? ALLOW FILTERING");
        let (ttl,): (i32,) = raw.one(&cql, (value,)).await;
        let expected = (created.0 + LEDGER_MS - now().0) / 1000;
        assert!((i64::from(ttl) - expected).abs() <= 2, "{table}: {ttl} against {expected}");
    }
}

/// In both tables, however often and however late a media is written again, and after it was shortened.
async fn media_end_a_week_after_they_are_gone(store: &Store, raw: &Raw) {
    let media = contract::media::media(DeviceId(id()), EventId(Uuid::now_v7()), now().plus_ms(-2 * DAY_MS));
    let check = async |ends: Timestamp, shortened: Option<Timestamp>| {
        for (table, key, value) in [("media", "id", media.id.0), ("media_by_event", "device", media.device.0)] {
            for column in ["kind", "ends", "sha256"] {
                let cql = format!(
                    "SELECT TTL({column}), WRITETIME({column}), ends FROM {{}}.{table} WHERE {key} = ? ALLOW FILTERING"
                );
                let (ttl, written, found): (i32, i64, scylla::value::CqlTimestamp) = raw.one(&cql, (value,)).await;
                assert_eq!(found.0, ends.0, "{table}");
                let left_s = (ends.0 + GONE_KEPT_MS - now().0) / 1000;
                assert!((i64::from(ttl) - left_s).abs() <= 3, "{table}: {ttl} s against {left_s} s");
                match shortened {
                    None => assert_eq!(written, media.received_at.0 * 1000, "{table}"),
                    Some(at) => assert!((at.0 * 1000..=now().0 * 1000).contains(&written), "{table}: {written}"),
                }
            }
        }
    };
    for _ in 0..2 {
        store.media.put(&media).await.unwrap();
        check(media.expires_at(), None).await;
    }
    for ends in [now().plus_ms(DAY_MS), now().plus_ms(-DAY_MS)] {
        let at = now();
        store.media.shorten(&media, ends).await.unwrap();
        check(ends, Some(at)).await;
        store.media.put(&media).await.unwrap();
        check(ends, Some(at)).await;
    }
}

/// The new columns are null there.
async fn rows_of_an_older_version_have_no_media(store: &Store, raw: &Raw) {
    let item = item(now().plus_ms(DAY_MS));
    store.timeline.put_item(&item).await.unwrap();
    raw.run("DELETE media FROM {}.items WHERE id = ?", (item.id.0,)).await;
    assert_eq!(store.timeline.item(item.id).await.unwrap().as_ref(), Some(&item));

    let seen = seen(&item, true);
    store.timeline.record_seen(&seen).await.unwrap();
    assert_eq!(store.timeline.first_seen(seen.device, seen.event).await.unwrap().as_ref(), Some(&seen));
    let key = (seen.device.0, seen.event.day().unwrap(), seen.event.0, seen.partition, seen.offset);
    raw.run(
        "DELETE shares_media FROM {}.event_seen
        WHERE device = ? AND day = ? AND event = ? AND log_partition = ? AND log_offset = ?",
        key,
    )
    .await;
    let found = store.timeline.first_seen(seen.device, seen.event).await.unwrap();
    assert_eq!(found, Some(SeenEvent { shares_media: false, ..seen }));
}

/// Expand, then contract: while an upgrade is under way the version before goes on, on the tables of this one. It knows
/// every column but those of the last file of the schema (here `items.media`).
async fn the_version_before_works_on_the_tables_of_this_one(config: &CqlConfig, store: &Store, raw: &Raw) {
    let media = ItemMedia { id: MediaId(id()), kind: MediaKind::Clip, shared: true, revision: 7 };
    let item = Item { media: vec![media], ..item(now().plus_ms(DAY_MS)) };
    store.timeline.put_item(&item).await.unwrap();

    // It reads what this version wrote, and what it does not know, it leaves when it writes.
    let (revision,): (i64,) = raw.one("SELECT revision FROM {}.items WHERE id = ?", (item.id.0,)).await;
    assert_eq!(revision, 7);
    raw.run("INSERT INTO {}.items (id, revision) VALUES (?, ?)", (item.id.0, 8_i64)).await;
    let found = store.timeline.item(item.id).await.unwrap();
    assert_eq!(found, Some(Item { revision: 8, ..item }));

    // What a later version applied is no reason not to start, and not to go on.
    let later = "9999_of_a_later_version";
    raw.run("INSERT INTO {}.schema_migrations (name, sha256) VALUES (?, 'x')", (later,)).await;
    raw.run("ALTER TABLE {}.items ADD of_a_later_version text", ()).await;
    let again = Store::connect(config).await.unwrap();
    for store in [store, &again] {
        assert_eq!(store.timeline.item(found.as_ref().unwrap().id).await.unwrap(), found);
    }
    assert_eq!(apply_schema(config, 1).await.unwrap(), [""; 0]);
}

async fn a_row_that_means_nothing_is_corrupt(store: &Store, raw: &Raw) {
    let is_corrupt = |error: StoreError, expected: &str| match error {
        StoreError::Corrupt { table, .. } => assert_eq!(table, expected),
        other => panic!("{other}"),
    };
    let item = item(now().plus_ms(DAY_MS));
    store.timeline.put_item(&item).await.unwrap();
    raw.run("UPDATE {}.items SET kind = 'knock' WHERE id = ?", (item.id.0,)).await;
    is_corrupt(store.timeline.item(item.id).await.unwrap_err(), "items");
    raw.run("DELETE kind FROM {}.items WHERE id = ?", (item.id.0,)).await;
    is_corrupt(store.timeline.item(item.id).await.unwrap_err(), "items");

    let media = contract::media::media(DeviceId(id()), item.last_event, now());
    store.media.put(&media).await.unwrap();
    raw.run("UPDATE {}.media SET kind = 'sound' WHERE id = ?", (media.id.0,)).await;
    is_corrupt(store.media.get(media.id).await.unwrap_err(), "media");
    let key = (media.device.0, media.event.0, scylla::value::CqlTimestamp(media.received_at.0), media.id.0);
    raw.run(
        "UPDATE {}.media_by_event SET bytes = -1 WHERE device = ? AND event = ? AND received_at = ? AND id = ?",
        key,
    )
    .await;
    is_corrupt(store.media.of_event(media.device, media.event).await.unwrap_err(), "media_by_event");
    // Rows of this table are walked by a case of the contract.
    raw.run("DELETE FROM {}.media WHERE id = ?", (media.id.0,)).await;

    let device = DeviceId(id());
    raw.run("INSERT INTO {}.devices (id, record, version) VALUES (?, 0xff, 1)", (device.0,)).await;
    is_corrupt(store.registry.device(device, Read::Quorum).await.unwrap_err(), "devices");

    let resident = ResidentId(id());
    raw.run(
        "INSERT INTO {}.residents (id, household, endpoints, version) VALUES (?, ?, 0xff, 1)",
        (resident.0, resident.0),
    )
    .await;
    is_corrupt(store.registry.resident(resident).await.unwrap_err(), "residents");

    let household = HouseholdId(id());
    raw.run("INSERT INTO {}.households (household, kind, member) VALUES (?, 'cat', ?)", (household.0, household.0))
        .await;
    is_corrupt(store.registry.household(household).await.unwrap_err(), "households");

    // Rows of the table of devices are walked by a case of the contract.
    raw.run("DELETE FROM {}.devices WHERE id = ?", (device.0,)).await;
}

/// No server: the caller may call again.
#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let config = CqlConfig {
        contact_points: vec![free.local_addr().unwrap().to_string()],
        keyspace: "porchlight".into(),
        datacenter: "datacenter1".into(),
        request_timeout_ms: 1000,
        ..CqlConfig::default()
    };
    drop(free);
    for away in [apply_schema(&config, 1).await.err().unwrap(), Store::connect(&config).await.err().unwrap()] {
        assert!(matches!(away, StoreError::Unavailable(_)), "{away}");
    }
}
