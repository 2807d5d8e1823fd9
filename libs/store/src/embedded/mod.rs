//! The embedded store: the same repositories without a server, in a folder of this process. For a city on one machine.
//!
//! It keeps every meaning of the other adapter: write times, ends, conditional writes, orders, limits, errors. An answered
//! write is on the disk (one `fsync` for all that waited), and what was written at once is there whole or not at all, also
//! after `kill -9` or a power cut, if the disk does as it is told. Conditional writes are decided by the one writer; what
//! was answered is what is read, by everybody.
//!
//! What it cannot do, and CQL can:
//! - One process has the folder; another one is refused, also the command line while the services run.
//! - One disk, one copy: no replication. A lost disk is a lost store, and a process that is down is a store that is away.
//! - One writer: it takes what the disk syncs. A write that fails (a full or broken disk) makes it refuse all writes until
//!   the process is started again; reads go on.
//! - No CQL: nobody looks into it beside the running services.
//! - The bytes of what ended leave the tables with the next merge or sweep (minutes), and the journal when 64 MB more were
//!   written. CQL counts by seconds for readers, and by compactions on disk, too.
//! - Opening reads the journal: up to 64 MB.
//!
//! `folder`: who has the folder. `disk`: the engine, and reading. `writer`: group commit. `sweep`: ends. `key`, `row`: bytes.
//! One file a repository.

mod core;
mod deliveries;
mod disk;
mod folder;
mod key;
mod media;
mod neighborhoods;
mod registry;
mod row;
mod sweep;
mod timeline;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use porchlight_domain::{Clock, SystemClock};

use self::{core::Core, folder::Missing};
use crate::{Store, StoreError};

/// Opens the store of a folder: see [`Store::connect`].
pub(crate) async fn connect(folder: &Path) -> Result<Store, StoreError> {
    let (core, _) = open(folder, Missing::Refuse, Arc::new(SystemClock)).await?;
    tracing::info!(folder = %core.folder().display(), "opened the embedded store");
    Ok(store(core))
}

/// Makes a folder's store if there is none: see [`crate::apply_schema`].
pub(crate) async fn apply_schema(folder: &Path) -> Result<Vec<String>, StoreError> {
    let (_, made) = open(folder, Missing::Make, Arc::new(SystemClock)).await?;
    Ok(if made { vec![format!("format {}", folder::FORMAT)] } else { Vec::new() })
}

async fn open(folder: &Path, missing: Missing, clock: Arc<dyn Clock>) -> Result<(Arc<Core>, bool), StoreError> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || folder::open(&folder, missing, clock)).await;
    opened.map_err(|_| StoreError::Unavailable("the process is stopping".into()))?
}

fn store(core: Arc<Core>) -> Store {
    Store {
        registry: Arc::new(registry::EmbeddedRegistry(Arc::clone(&core))),
        timeline: Arc::new(timeline::EmbeddedTimeline(Arc::clone(&core))),
        media: Arc::new(media::EmbeddedMedia(Arc::clone(&core))),
        deliveries: Arc::new(deliveries::EmbeddedDeliveries(core)),
    }
}
