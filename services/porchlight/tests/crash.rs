//! G2, the short form of `make crash`: real brokers, Cassandra and S3 server of its own, two processes of each service,
//! faults from a seed, a rolling restart, and the count at the end.

use std::path::PathBuf;

use porchlight::crash::{self, Args};

/// `PORCHLIGHT_CRASH_SEED` repeats another run.
fn seed(ours: u64) -> u64 {
    std::env::var("PORCHLIGHT_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(ours)
}

async fn run(faults: usize, seed: u64, group_protocol: &str) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let args = Args {
        faults,
        seed: Some(seed),
        rate: 12.0,
        homes: 24,
        at_once: 2,
        group_protocol: group_protocol.to_owned(),
        data: PathBuf::from(data.path()),
    };
    let report = crash::run(&args, &|_| ()).await.expect("it recovers");
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.count.acknowledged > 200, "a load: {report}");
    assert!(report.count.due > 500, "the oracle had something to judge: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_nothing_acknowledged_is_lost_and_nothing_shown_twice_whatever_dies() {
    run(8, seed(20_261_125), "classic").await;
}
