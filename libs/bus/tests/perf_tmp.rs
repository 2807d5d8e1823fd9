#![allow(clippy::unwrap_used)]
mod support;
use futures::{FutureExt as _, StreamExt as _};
use porchlight_bus::{Outcome, Producer, Topic, apply_topics, drop_topics};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use support::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perf() {
    let f = std::env::var("PORCHLIGHT_TEST_SERVERS").unwrap();
    let v: serde_json::Value = serde_json::from_slice(&std::fs::read(f).unwrap()).unwrap();
    let config = config(v["kafka"].as_str().unwrap());
    apply_topics(&config, 4, 1).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    let n = 30000;
    let t = Instant::now();
    futures::stream::iter(0..n)
        .for_each_concurrent(2000, |i: i32| {
            let producer = producer.clone();
            async move {
                producer.send(Topic::Events, Some(format!("k{}", i % 500).as_bytes()), &[7; 300], &[]).await.unwrap();
            }
        })
        .await;
    eprintln!("produced {n} in {:?}", t.elapsed());
    for (label, ms, keys) in [("noop", 0u64, 64usize), ("2ms", 2, 64)] {
        let mut config = config.clone();
        config.group_prefix = format!("{}{label}", config.group_prefix);
        config.max_concurrent_keys = keys;
        let count = Arc::new(AtomicU32::new(0));
        let c = count.clone();
        let running = Running::start(&config, &[Topic::Events], move |_| {
            let c = c.clone();
            async move {
                if ms > 0 {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                c.fetch_add(1, Ordering::Relaxed);
                Outcome::Done
            }
            .boxed()
        });
        while count.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let t = Instant::now();
        while count.load(Ordering::Relaxed) < n as u32 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        eprintln!("{label}: {n} in {:?}", t.elapsed());
        running.stop().await.unwrap();
    }
    drop_topics(&config).await.unwrap();
}
