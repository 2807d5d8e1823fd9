//! The contract on the embedded store, and the folder that it is in.

#![allow(clippy::unwrap_used, missing_docs)]

mod contract;

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use contract::{id, now};
use futures::future::join_all;
use porchlight_domain::{HomeId, ResidentId};
use porchlight_store::{CqlConfig, Intent, IntentKind, Store, StoreError, apply_schema, testing};
use tempfile::TempDir;

/// Names the folder to a second process of this test.
const FOLDER: &str = "PORCHLIGHT_TEST_STORE_FOLDER";

/// The configuration of a store in a folder: the other keys mean nothing then.
fn config(folder: &Path) -> CqlConfig {
    CqlConfig { folder: folder.to_owned(), ..CqlConfig::default() }
}

/// A store in a folder of the test's own.
async fn made() -> (TempDir, CqlConfig) {
    let folder = TempDir::new().unwrap();
    let config = config(folder.path());
    assert_eq!(apply_schema(&config, 1).await.unwrap(), ["format 1"]);
    (folder, config)
}

async fn refused(config: &CqlConfig) -> String {
    let answers = [Store::connect(config).await.err().unwrap(), apply_schema(config, 1).await.err().unwrap()];
    let [StoreError::Refused(said), StoreError::Refused(again)] = answers else { panic!("{answers:?}") };
    assert_eq!(said, again);
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_the_embedded_store() {
    let (_folder, config) = made().await;
    contract::run(&Store::connect(&config).await.unwrap()).await;
}

/// Services of one process share, by whatever path they name the folder; the last one closes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_of_a_process_share_one_store() {
    let (folder, config) = made().await;
    let other_name = self::config(&folder.path().join("x/.."));
    fs::create_dir(folder.path().join("x")).unwrap();
    let stores = join_all([&config, &other_name, &config].map(Store::connect)).await;
    let stores: Vec<Store> = stores.into_iter().map(Result::unwrap).collect();
    let operator = ResidentId(id());
    stores[0].registry.add_operator(operator, "x").await.unwrap();
    for store in &stores {
        assert!(store.registry.is_operator(operator).await.unwrap(), "at once");
    }
    assert_eq!(apply_schema(&config, 1).await.unwrap(), [""; 0], "also while it is open");
    let last = stores.into_iter().next_back().unwrap();
    last.ping().await.unwrap();
    drop(last);
    // Closed: somebody else may lock it, as soon as its threads have ended.
    let lock = File::open(folder.path().join("lock")).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while lock.try_lock().is_err() {
        assert!(Instant::now() < until, "the folder is still held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lock.unlock().unwrap();
    assert!(Store::connect(&config).await.unwrap().registry.is_operator(operator).await.unwrap());
}

/// Not a test of its own: the second process of the one below.
#[tokio::test]
async fn a_second_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let said = refused(&config(Path::new(&folder))).await;
    assert!(said.contains("another process") && said.contains("cql.folder"), "{said}");
    assert!(said.contains(Path::new(&folder).canonicalize().unwrap().to_str().unwrap()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused() {
    let (folder, config) = made().await;
    let store = Store::connect(&config).await.unwrap();
    let other = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_second_process"]).env(FOLDER, folder.path()).stdout(Stdio::null());
        child.status().unwrap().success()
    };
    assert!(tokio::task::block_in_place(other));
    store.ping().await.unwrap();
    drop(store);
    assert!(!tokio::task::block_in_place(other), "it is not refused any more");
}

#[tokio::test]
async fn a_folder_of_another_format_is_refused() {
    let (folder, config) = made().await;
    let format = folder.path().join("format");
    let ours = fs::read_to_string(&format).unwrap();
    for (theirs, says) in [(ours.replace('1', "2"), "newer version"), ("nonsense".into(), "no format")] {
        fs::write(&format, theirs).unwrap();
        let said = refused(&config).await;
        assert!(said.contains(says) && said.contains(folder.path().to_str().unwrap()), "{said}");
    }
    fs::write(&format, ours).unwrap();
    Store::connect(&config).await.unwrap();
}

#[tokio::test]
async fn a_store_is_made_by_applying_the_schema_and_nowhere_else() {
    let parent = TempDir::new().unwrap();
    for folder in [parent.path().join("a/b"), parent.path().to_owned()] {
        let missing = Store::connect(&config(&folder)).await.err().unwrap();
        assert!(matches!(&missing, StoreError::Refused(s) if s.contains("porchlight schema apply")), "{missing}");
    }
    let folder = parent.path().join("a/b");
    assert_eq!(apply_schema(&config(&folder), 1).await.unwrap(), ["format 1"]);
    assert_eq!(apply_schema(&config(&folder), 1).await.unwrap(), [""; 0], "twice is once");
    // Somebody else's folder.
    let said = apply_schema(&config(parent.path()), 1).await.err().unwrap();
    assert!(matches!(&said, StoreError::Refused(s) if s.contains("something else")), "{said}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "it is left as it was");
}

/// Nothing was ever answered from a folder without a format.
#[tokio::test]
async fn a_making_that_was_broken_off_is_begun_anew() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("db")).unwrap();
    for file in ["lock", "format.new", "db/0.jnl"] {
        fs::write(folder.path().join(file), "half").unwrap();
    }
    assert_eq!(apply_schema(&config(folder.path()), 1).await.unwrap(), ["format 1"]);
    Store::connect(&config(folder.path())).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn it_understands_no_cql() {
    let (_folder, config) = made().await;
    let said = testing::cql(&config, "SELECT JSON * FROM items").await.err().unwrap();
    assert!(matches!(&said, StoreError::Refused(s) if s.contains("no CQL")), "{said}");
}

/// A restart of a small city does not wait for its store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_opens_well_within_a_second() {
    let (_folder, config) = made().await;
    let store = Store::connect(&config).await.unwrap();
    let start = now();
    for chunk in 0..20 {
        let intents = (0..500).map(|n| {
            let kind = IntentKind::Home(HomeId(id()));
            store.registry.intend(Intent { kind, at: start.plus_ms(chunk * 500 + n) })
        });
        join_all(intents).await.into_iter().collect::<Result<(), _>>().unwrap();
    }
    drop(store);
    // The best of three: others work on this machine, too.
    let mut took = Duration::MAX;
    for _ in 0..3 {
        // Until the threads of the last one have let go of it.
        while File::open(config.folder.join("lock")).unwrap().try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let opening = Instant::now();
        let store = Store::connect(&config).await.unwrap();
        took = took.min(opening.elapsed());
        let found = store.registry.intents(start, start.plus_ms(20_000)).await.unwrap();
        assert_eq!(found.len(), 10_000);
    }
    assert!(took < Duration::from_millis(700), "{took:?}");
}
