//! The embedded S3 server as a process that is killed (SIGKILL) under puts, again and again.
#![allow(clippy::unwrap_used)]

mod signed;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use porchlight_standins::{
    s3::{Credentials, EmbeddedS3},
    servers::S3Server,
};
use signed::{Client, files, sha256, start};
use tokio::io::AsyncReadExt as _;

const FOLDER: &str = "PORCHLIGHT_TEST_S3_FOLDER";
const ROUNDS: usize = 20;
const PUTTERS: usize = 4;

/// The process that is killed: this very test.
#[tokio::test]
#[ignore = "the test below starts it"]
async fn serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let server = EmbeddedS3::start(&folder.join("objects"), ([127, 0, 0, 1], 0).into(), None).await.unwrap();
    std::fs::write(folder.join("endpoint.part"), server.endpoint()).unwrap();
    std::fs::rename(folder.join("endpoint.part"), folder.join("endpoint")).unwrap();
    // Until whoever started it is gone.
    let _ = tokio::io::stdin().read(&mut [0]).await;
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn spawn(folder: &Path) -> (Killed, Client) {
    let endpoint = folder.join("endpoint");
    let _ = std::fs::remove_file(&endpoint);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serves_until_it_is_killed", "--include-ignored"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (child, began) = (Killed(child), Instant::now());
    while !endpoint.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "it does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let key = Credentials::kept_in(&folder.join("objects")).unwrap();
    let server = S3Server {
        endpoint: std::fs::read_to_string(endpoint).unwrap(),
        bucket: EmbeddedS3::BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: key.access_key_id,
        secret_access_key: key.secret_access_key,
    };
    (child, Client::of(&server))
}

/// Up to 400 kB that nothing else has.
fn body(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = next() % 50_000;
    (0..=words).flat_map(|_| next().to_be_bytes()).collect()
}

/// What each key must hold: the SHA-256 that was acknowledged last, and that of a put without an answer.
#[derive(Default)]
struct Told {
    acknowledged: Option<String>,
    unanswered: Option<String>,
}

/// Puts until the server is gone: new keys, and every third time one that is overwritten again and again.
async fn put_until_it_is_gone(
    client: Client,
    putter: usize,
    round: usize,
    count: Arc<AtomicUsize>,
) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    for n in 0_usize.. {
        let (over, bytes) = (n.is_multiple_of(3), body(((round * 100 + putter) * 10_000 + n) as u64));
        let key = if over { format!("over/{putter}") } else { format!("new/{round}/{putter}/{n}") };
        let sum = sha256(&bytes);
        told.entry(key.clone()).or_default().unanswered = Some(sum.clone());
        match client.try_put(&key, bytes, !over).await {
            Some(status) => assert_eq!(status, 200),
            None => break,
        }
        told.insert(key, Told { acknowledged: Some(sum), unanswered: None });
        count.fetch_add(1, Ordering::Relaxed);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_whole_after_each_of_twenty_kills_and_nothing_is_half() {
    let dir = tempfile::tempdir().unwrap();
    let objects = dir.path().join("objects");
    let (mut told, count, mut on_their_way, mut unanswered) = (BTreeMap::<String, Told>::new(), Arc::default(), 0, 0);
    for round in 0..ROUNDS {
        let (child, client) = spawn(dir.path()).await;
        let before = AtomicUsize::load(&count, Ordering::Relaxed);
        let putters: Vec<_> = (0..PUTTERS)
            .map(|putter| tokio::spawn(put_until_it_is_gone(client.clone(), putter, round, Arc::clone(&count))))
            .collect();
        while count.load(Ordering::Relaxed) < before + PUTTERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(7 * round as u64)).await;
        drop(child);
        on_their_way += files(&objects.join("uploads")).len();

        for of_putter in join_all(putters).await {
            for (key, now) in of_putter.unwrap() {
                let kept = told.entry(key).or_default();
                kept.acknowledged = now.acknowledged.or(kept.acknowledged.take());
                kept.unanswered = now.unanswered;
            }
        }
        let (server, client) = start(&objects).await;
        assert_eq!(files(&objects.join("uploads")), [""; 0]);
        let (listed, _, _) = client.list(&[]).await;
        for (key, told) in &mut told {
            // `get` compares the bytes with the checksum that the server gives.
            let there = client.get(key).await.map(|bytes| sha256(&bytes));
            assert!(
                there == told.acknowledged || (there.is_some() && there == told.unanswered),
                "round {round}, {key}: {there:?}, but {:?} was acknowledged",
                told.acknowledged
            );
            assert_eq!(listed.contains(key), there.is_some(), "{key}");
            unanswered += usize::from(told.unanswered.is_some() && there == told.unanswered);
            *told = Told { acknowledged: there, unanswered: None };
        }
        assert!(listed.iter().all(|key| told.contains_key(key)));
        assert_eq!(files(&objects.join("buckets")).len(), listed.len());
        server.stop().await;
    }
    // Else the kills met nobody at work.
    let acknowledged = count.load(Ordering::Relaxed);
    assert!(on_their_way > 0, "{acknowledged} puts acknowledged, {unanswered} done but not answered, none on its way");
}
