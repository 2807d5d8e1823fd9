//! `porchlight media`: the clips and thumbnails on disk, and what the rows say of them.

mod audit;
mod sweep;

use std::{num::NonZeroU32, sync::Arc};

use clap::{Args, Subcommand};
use porchlight_clips::{S3, Vault};
use porchlight_geo_index::retention::StoreRecords;
use porchlight_store::Store;
use uuid::Uuid;

use super::{Config, Failure};

/// Longer than the log keeps a completed upload whose row is not written yet.
const ORPHAN_AFTER_MS: i64 = 4 * 86_400_000;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Remove what has ended and what nobody completed, in one whole pass over all objects. The services do the same by
    /// themselves, again and again: this is for those who do not want to wait.
    #[command(after_help = "Examples:\n  porchlight media sweep\n  \
        porchlight --config production.toml media sweep --objects-per-s 50")]
    Sweep(Sweep),
    /// List what rows and objects do not agree on: objects that no row names, rows whose object is not there, objects that
    /// are past their end. Exit code 1 if there is any. Changes nothing.
    #[command(
        after_help = "Examples:\n  porchlight media audit\n  porchlight media audit --orphan-after-ms 3600000   \
        # of uploads too that are an hour old"
    )]
    Audit(Grace),
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Grace {
    /// How old an object that no row names must be to count as abandoned; a younger one is an upload that may still be
    /// completed. DANGER for a sweep: a completed upload has its row only when its record is handled; below what the topic
    /// of events keeps (72 h) clips whose record waits are destroyed.
    #[arg(long, default_value_t = ORPHAN_AFTER_MS, value_name = "MS", value_parser = clap::value_parser!(i64).range(1..))]
    orphan_after_ms: i64,
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Sweep {
    #[command(flatten)]
    grace: Grace,
    /// How many objects are judged in a second, at most.
    #[arg(long, default_value = "500", value_name = "N")]
    objects_per_s: NonZeroU32,
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    let vault: Arc<dyn Vault> = Arc::new(S3::new(&config.s3).map_err(Failure::Usage)?);
    let store = Store::connect(&config.cql).await.map_err(|e| Failure::Failed(e.to_string()))?;
    let orphan_after_ms = match command {
        Command::Sweep(Sweep { grace, .. }) | Command::Audit(grace) => grace.orphan_after_ms,
    };
    let holder = Uuid::new_v4();
    let records = StoreRecords::new(store.media.clone(), store.registry.clone(), holder, orphan_after_ms);
    match command {
        Command::Sweep(Sweep { objects_per_s, .. }) => {
            sweep::run(&vault, records, orphan_after_ms, objects_per_s).await
        }
        Command::Audit(_) => audit::run(&*vault, &*store.media, &records, orphan_after_ms).await,
    }
}
