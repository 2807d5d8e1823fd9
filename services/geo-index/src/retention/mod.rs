//! The end of clips and thumbnails on disk: the walks of `porchlight_clips::sweep` over all shards, again and again.
//!
//! Who reads is refused at once when a media's time is over, so nothing here is urgent: a store of objects or rows that
//! is away ends no process and makes none unready; it is tried again.

mod records;
mod rounds;

use std::{sync::Arc, time::Duration};

use porchlight_clips::{
    Vault,
    sweep::{self, Records},
};
use porchlight_domain::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use records::{LEASE_MS, StoreRecords};

use crate::{RetentionConfig, metrics};
use rounds::Rounds;

/// How long it waits after a failure, for whatever was away.
const PAUSE: Duration = Duration::from_secs(30);

/// Walks the shards round robin, each no more often than configured, until `stop`.
pub async fn run(
    vault: &Arc<dyn Vault>,
    records: &dyn Records,
    config: &RetentionConfig,
    clock: &dyn Clock,
    stop: &CancellationToken,
) {
    let every = Duration::from_millis(config.every_ms);
    let pause = PAUSE.min(every);
    let now = move || clock.now();
    let mut rounds = Rounds::begin(Instant::now());
    let mut not_before = Instant::now();
    loop {
        let (shard, due) = rounds.next();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due.max(not_before)) => {}
        }
        let begun = Instant::now();
        // A page may take longer than a drain if the store of objects is slow. A walk can be left anywhere: a row is
        // shortened before its object is removed, and the next walk judges the page again.
        let walked = tokio::select! {
            walked = sweep::walk(shard, vault, records, config.pace(), &now, stop) => walked,
            () = stop.cancelled() => {
                metrics::swept("stopped");
                return;
            }
        };
        match walked {
            Ok(Some(swept)) => {
                metrics::swept("swept");
                let sweep::Swept { judged, ended, orphans, unknown } = swept;
                if unknown > 0 {
                    tracing::warn!(
                        shard,
                        unknown,
                        "no row names these stored objects, and they stay while the database is new: if it replaces one that \
                         was lost, restore its rows before it is older than retention.orphan_after_ms"
                    );
                }
                if ended + orphans > 0 {
                    tracing::info!(shard, judged, ended, orphans, "stored objects removed");
                }
                rounds.due(shard, begun + every);
            }
            // It is being walked: that is this round's walk.
            Ok(None) => {
                metrics::swept("held");
                rounds.due(shard, begun + every);
            }
            Err(reason) => {
                metrics::swept("failed");
                tracing::warn!(shard, reason, "a shard of the stored objects could not be walked to its end");
                // The shards that were not tried yet go first, and none at once.
                not_before = Instant::now() + pause;
                rounds.due(shard, not_before);
            }
        }
    }
}
