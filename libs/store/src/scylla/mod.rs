//! The adapter for ScyllaDB and Cassandra, and the only place that names their driver.
//!
//! LOCAL_QUORUM and LOCAL_SERIAL everywhere; every statement is prepared once, at connect. A row is written by
//! conditional write (LWT) always or never. A conditional write is never repeated by the driver: its second try would
//! meet what the first one wrote and call it a conflict.

mod client;
mod deliveries;
mod errors;
mod examine;
mod media;
mod migrate;
mod neighborhoods;
mod places;
mod raw;
mod registry;
mod security;
mod sweeps;
mod timeline;
mod ttl;
mod writes;

pub(crate) use examine::run as examine;
pub(crate) use migrate::apply as apply_schema;
pub(crate) use raw::run as run_statement;

use std::sync::Arc;

use crate::{CqlConfig, Store, StoreError};
use client::Cql;

/// Connects and prepares every statement: see [`Store::connect`].
pub(crate) async fn connect(config: &CqlConfig) -> Result<Store, StoreError> {
    let cql = Arc::new(Cql::open_keyspace(config).await?);
    migrate::check(&cql).await?;
    let store = Store {
        registry: Arc::new(registry::ScyllaRegistry::prepare(Arc::clone(&cql)).await?),
        timeline: Arc::new(timeline::ScyllaTimeline::prepare(Arc::clone(&cql)).await?),
        media: Arc::new(media::ScyllaMedia::prepare(Arc::clone(&cql)).await?),
        deliveries: Arc::new(deliveries::ScyllaDeliveries::prepare(cql).await?),
    };
    tracing::info!(keyspace = config.keyspace, datacenter = config.datacenter, "connected to the database");
    Ok(store)
}
