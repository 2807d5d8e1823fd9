//! A database that is lost, and the way back that docs/OPERATIONS.md describes: the files of a snapshot, the topics drawn
//! from its rows, a replay of what came since. The Cassandra is this test's own; its disk is taken away.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use porchlight::{
    city::people::{Camera, Resident},
    deployment::{Service, Settings},
};
use porchlight_bus::{Topic, drop_topic};
use porchlight_domain::{Clock as _, SystemClock};
use porchlight_standins::fleet::{Fleet, Layout};
use reqwest::StatusCode;
use serde_json::Value;
use support::{
    PATIENCE, Scene, event, eventually, household,
    kafka::{all_committed, records},
    operator::porchlight,
    rows::{Dump, OF_OTHERS},
    servers,
    uploads::{curl, live},
};

const SNAPSHOT: &str = "backup";

/// As step "the keyspace" of the page says, the copy elsewhere included: a folder for each table that has rows.
fn back_up(fleet: &Fleet, keyspace: &str, elsewhere: &Path) {
    fleet.nodetool(&["snapshot", "-t", SNAPSHOT, keyspace]).expect("a snapshot");
    for (table, files) in tables(fleet, keyspace) {
        let to = elsewhere.join(table);
        fs::create_dir_all(&to).expect("a folder");
        for file in fs::read_dir(files.join("snapshots").join(SNAPSHOT)).expect("a snapshot of each table") {
            let file = file.expect("a file");
            fs::copy(file.path(), to.join(file.file_name())).expect("copied");
        }
    }
}

/// The files of all tables, into a database that has none of their rows.
fn restore(fleet: &Fleet, keyspace: &str, from: &Path) {
    for (table, _) in tables(fleet, keyspace) {
        let files = from.join(&table);
        let has_rows = fs::read_dir(&files)
            .expect("a copy of each table")
            .any(|file| file.expect("a file").file_name().to_string_lossy().ends_with("-Data.db"));
        if has_rows {
            let files = files.to_str().expect("UTF-8");
            fleet.nodetool(&["import", "--copy-data", keyspace, &table, files]).expect("imported");
        }
    }
}

/// Each table, and where its files are.
fn tables(fleet: &Fleet, keyspace: &str) -> Vec<(String, PathBuf)> {
    let folders = fs::read_dir(fleet.table_files().expect("a Cassandra").join(keyspace)).expect("a keyspace");
    let found = folders.map(|folder| {
        let folder = folder.expect("a folder");
        let name = folder.file_name().into_string().expect("UTF-8");
        (name.split_once('-').expect("a name and an id").0.to_owned(), folder.path())
    });
    found.collect()
}

async fn feeds(residents: &[Resident]) -> Vec<Vec<Value>> {
    let mut feeds = Vec::new();
    for resident in residents {
        feeds.push(resident.app.pages("/v1/feed", "items").await.expect("a feed"));
    }
    feeds
}

/// All that an owner's feed names can be fetched.
async fn clips_can_be_fetched(owner: &Resident, feed: &[Value], dir: &Path) {
    let named: Vec<&Value> = feed.iter().filter_map(|item| item["media"].as_array()).flatten().collect();
    assert!(named.len() >= 4, "clips and thumbnails, from before the backup and after it: {named:?}");
    for media in named {
        let id = media["id"].as_str().expect("an id").parse().expect("a UUID");
        let shown = owner.app.media(id).await.expect("an answer").ok().expect("shown");
        let (status, bytes) = curl(shown["url"].as_str().expect("a URL"), dir);
        assert!(status == 200 && !bytes.is_empty(), "{status}");
    }
}

/// Steps 3 to 6 of the page.
async fn draw_and_replay(settings: &Settings) {
    for topic in [Topic::Devices, Topic::Neighborhoods] {
        drop_topic(&settings.kafka(), topic).await.expect("dropped");
    }
    let partitions = settings.partitions.to_string();
    eventually("the topics are gone, and made again", || async {
        let said = porchlight(settings, &["topics", "apply", "--partitions", &partitions]).await;
        (said.code == Some(0)).then_some(())
    })
    .await;
    for table in ["devices", "neighborhoods"] {
        let said = porchlight(settings, &["topics", "rebuild", table]).await.well();
        assert!(!said.starts_with("0 rows"), "{table}: {said}");
    }
    for replay in [&["replay", "--from", "3d", "--dry-run"][..], &["replay", "--from", "3d"]] {
        porchlight(settings, replay).await.well();
    }
    let audited = porchlight(settings, &["media", "audit"]).await;
    assert_eq!(audited.code, Some(0), "no clip lost its row: {}{}", audited.out, audited.err);
}

async fn sends(camera: &Camera, labels: &[&str]) -> StatusCode {
    let body = event("motion", labels, SystemClock.now());
    camera.line.post("/v1/events", &body).await.expect("an answer").status
}

/// What an audit calls lost or unexplained, of each.
async fn audit(settings: &Settings, range: &[&str]) -> [(&'static str, u64); 3] {
    let said = porchlight(settings, &[&["audit", "conservation", "--json"], range].concat()).await;
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("no JSON: {}", said.err));
    let wrong = |of: &str| report[of]["wrong"].as_object().expect("kinds of wrong").values();
    ["alerts", "events", "pushes"].map(|of| (of, wrong(of).filter_map(|wrongs| wrongs["count"].as_u64()).sum()))
}

#[tokio::test(flavor = "multi_thread")]
async fn g6_a_lost_database_comes_back_from_a_snapshot_and_a_replay() {
    let disk = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout { cassandra: true, shared: Some(servers()), ..Layout::default() };
    let fleet = tokio::task::block_in_place(|| Fleet::up(&disk.path().join("servers"), layout, &|_| ()));
    let mut fleet = fleet.expect("a Cassandra");
    let mut scene = Scene::on(fleet.direct(), "restore", &["Malden", "Quincy"], |_| 1, |_| {}).await;
    let settings = scene.city.deployment.settings().clone();
    let (kafka, config) = (settings.kafka(), settings.cql());
    let mut residents = Vec::new();
    for (n, (town, lon, lat, shares)) in [
        ("Malden", -71.0662, 42.4251, &["person"][..]),
        ("Malden", -71.0560, 42.4270, &[]),
        ("Quincy", -71.0023, 42.2529, &["animal"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut home = household(&format!("resident {n}"), town, lon, lat, Some(shares));
        (home.cameras[0].clips, home.cameras[0].shares_media) = (n == 0, n == 0);
        residents.push(scene.settle(&home).await);
    }
    let cameras: Vec<Camera> = residents.iter().flat_map(|resident| resident.cameras.iter().cloned()).collect();
    live(&mut scene, &cameras).await;
    scene.all_arrived().await;

    let elsewhere = disk.path().join("elsewhere");
    let backed_up = Dump::of(&OF_OTHERS, &config).await;
    tokio::task::block_in_place(|| back_up(&fleet, &config.keyspace, &elsewhere));

    // Somebody moves in after the backup, and everybody goes on living.
    let late = household("latecomer", "Malden", -71.0700, 42.4280, Some(&["person"]));
    let latecomer = scene.settle(&late).await;
    live(&mut scene, &cameras).await;
    live(&mut scene, &latecomer.cameras).await;
    scene.all_arrived().await;
    let all = all_committed(&kafka).await;
    let (rows, shown) = (Dump::take(&config).await, feeds(&residents).await);
    let told = Dump::of(&["pushes_by_alert"], &config).await;
    let (pushed, alerts) = (scene.city.phones.log(0).len(), records(&kafka, Topic::Alerts).await.len());
    assert!(all > 20 && pushed > 20 && alerts > 0, "{all} {pushed} {alerts}");

    for service in Service::ALL.into_iter().rev() {
        scene.city.deployment.terminate(service, 0).await.expect("drained");
    }
    tokio::task::block_in_place(|| fleet.lose_database()).expect("lost");
    fleet.launch("cassandra").expect("an empty one");
    eventually("it answers", || async { tokio::task::block_in_place(|| fleet.answers("cassandra")).then_some(()) })
        .await;

    porchlight(&settings, &["schema", "apply"]).await.well();
    tokio::task::block_in_place(|| restore(&fleet, &config.keyspace, &elsewhere));
    Dump::of(&OF_OTHERS, &config).await.assert_same(&backed_up);
    draw_and_replay(&settings).await;
    Dump::take(&config).await.with_outcomes_of(&rows).assert_same(&rows);

    let back = SystemClock.now();
    for service in Service::ALL {
        scene.city.deployment.spawn(service, 0).expect("started again");
    }
    scene.city.deployment.ready(PATIENCE).await.expect("ready again");
    let again = feeds(&residents).await;
    assert_eq!(again, shown, "everybody sees what was seen before");
    clips_can_be_fetched(&residents[0], &again[0], disk.path()).await;
    scene.all_arrived().await;
    assert_eq!(scene.city.phones.log(0).len(), pushed, "nobody is told again");
    assert_eq!(records(&kafka, Topic::Alerts).await.len(), alerts, "a replay tells nobody");

    // Who came after the backup is unknown, and comes again.
    assert_eq!(sends(&latecomer.cameras[0], &["person"]).await, StatusCode::UNAUTHORIZED);
    scene.settle(&late).await;
    live(&mut scene, &cameras).await;
    scene.all_arrived().await;
    all_committed(&kafka).await;
    porchlight(&settings, &["audit", "conservation", "--from", &back.to_string()]).await.well();
    // Who was told between the backup and the loss only the lost rows knew.
    let lost = audit(&settings, &["--from", "3d"]).await;
    let told_meanwhile = told.table("pushes_by_alert").len() - backed_up.table("pushes_by_alert").len();
    assert!(told_meanwhile > 0);
    assert_eq!(lost, [("alerts", 0), ("events", 0), ("pushes", told_meanwhile as u64)]);
    scene.end().await;
}
