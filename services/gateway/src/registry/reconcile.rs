//! The reconciler: compares what the topics say with the rows, now and then, and projects each row that a topic is behind
//! of. The last net under the intents: a writer that was paused and resumed after all of them had passed can leave an
//! older record as a key's last one, and compaction would keep that for ever.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use porchlight_bus::{From, KafkaConfig, Reader, TableEntry};
use porchlight_domain::{Device, DeviceId, NeighborhoodId, Version};
use porchlight_store::{Read, Registry, StoreError};
use porchlight_wire::NeighborhoodRecord;
use tokio_util::sync::CancellationToken;

use super::{Registrar, Row, WriteError};
use crate::metrics;

/// Rows looked at between two questions to the store.
const PAGE: usize = 500;

/// A row whose projection is a record of a topic, and whose ids can be listed.
pub trait Fed: Row + TableEntry<Key = <Self as Row>::Id> {
    /// The ids after `after` in the store's own order, deleted rows too.
    fn ids(
        registry: &dyn Registry,
        after: Option<<Self as Row>::Id>,
    ) -> impl Future<Output = Result<Vec<<Self as Row>::Id>, StoreError>> + Send;
}

impl Fed for Device {
    async fn ids(registry: &dyn Registry, after: Option<DeviceId>) -> Result<Vec<DeviceId>, StoreError> {
        registry.device_ids(after, PAGE).await
    }
}

impl Fed for NeighborhoodRecord {
    async fn ids(registry: &dyn Registry, after: Option<NeighborhoodId>) -> Result<Vec<NeighborhoodId>, StoreError> {
        registry.neighborhood_ids(after, PAGE).await
    }
}

impl Registrar {
    /// Projects every row that `fed` (what the topic says: each key's last version) is behind of; how many there were.
    /// A row that is written while this looks counts as well: projecting it once more is harmless.
    ///
    /// # Errors
    /// As a write: the rest is left for the next time.
    pub async fn reconcile<R: Fed>(&self, fed: &HashMap<<R as Row>::Id, Version>) -> Result<u64, WriteError> {
        let (mut drift, mut after) = (0, None);
        loop {
            let ids = R::ids(&*self.registry, after).await?;
            let Some(last) = ids.last().copied() else { return Ok(drift) };
            for id in ids {
                let row = R::read(&*self.registry, id, Read::Quorum).await?;
                let behind = row.is_some_and(|row| fed.get(&id).is_none_or(|fed| *fed < <R as Row>::version(&row)));
                if behind {
                    drift += 1;
                    self.project::<R>(id, Vec::new()).await?;
                }
            }
            after = Some(last);
        }
    }

    async fn reconcile_with_topic<R: Fed>(&self, kafka: &KafkaConfig) -> Result<u64, String> {
        let mut reader = Reader::open(kafka, R::TOPIC, From::Beginning).await.map_err(|e| e.to_string())?;
        let mut fed = HashMap::new();
        while let Some(record) = reader.next_existing().await.map_err(|e| e.to_string())? {
            // The last record of a key counts, whatever its version: that is what compaction leaves for a cold reader.
            // One that is no entry, a tombstone for example, leaves it without any.
            let Some(key) = record.key.as_deref().and_then(R::key_of) else { continue };
            match R::decode(&record.value) {
                Ok(entry) if entry.key() == key => fed.insert(key, <R as Row>::version(&entry)),
                Ok(_) | Err(_) => fed.remove(&key),
            };
        }
        self.reconcile::<R>(&fed).await.map_err(|e| e.to_string())
    }

    /// Reconciles devices and neighborhoods every `every` until `shutdown`.
    pub async fn keep_reconciled(self, kafka: KafkaConfig, every: Duration, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let begun = Instant::now();
            let both = async {
                let devices = self.reconcile_with_topic::<Device>(&kafka).await;
                let neighborhoods = self.reconcile_with_topic::<NeighborhoodRecord>(&kafka).await;
                [(Device::KIND, devices), (NeighborhoodRecord::KIND, neighborhoods)]
            };
            let Some(found) = shutdown.run_until_cancelled(both).await else { return };
            for (kind, drift) in found {
                match drift {
                    Ok(rows) => {
                        metrics::drift(kind, rows);
                        tracing::info!(kind, rows, ms = begun.elapsed().as_millis(), "registry reconciled");
                    }
                    Err(error) => tracing::warn!(kind, error, "the registry was not reconciled"),
                }
            }
        }
    }
}
