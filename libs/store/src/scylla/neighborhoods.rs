//! Neighborhoods: versions that never change, and a pointer to the current one.

use std::sync::Arc;

use porchlight_domain::{NeighborhoodId, NeighborhoodRef, Version};
use porchlight_wire::{NeighborhoodRecord, Wire};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    registry::page_of_ids,
};
use crate::{
    Read, StoreError, Written,
    rows::{corrupt, neighborhood_from, version_from, version_to},
};

statements! {
    /// Versions and pointers.
    NeighborhoodStatements {
        current: Read "neighborhoods" "SELECT version FROM neighborhoods WHERE id = ?";
        begin: ConditionalWrite "neighborhoods" "INSERT INTO neighborhoods (version, id) VALUES (?, ?) IF NOT EXISTS";
        advance: ConditionalWrite "neighborhoods" "UPDATE neighborhoods SET version = ? WHERE id = ? IF version = ?";
        first_ids: Read "neighborhoods" "SELECT id FROM neighborhoods LIMIT ?";
        next_ids: Read "neighborhoods" "SELECT id FROM neighborhoods WHERE token(id) > token(?) LIMIT ?";

        version: Read "neighborhood_versions" "SELECT record FROM neighborhood_versions WHERE id = ? AND version = ?";
        decide: ConditionalWrite "neighborhood_versions"
            "INSERT INTO neighborhood_versions (id, version, record) VALUES (?, ?, ?) IF NOT EXISTS";
    }
}

pub(super) struct Neighborhoods {
    cql: Arc<Cql>,
    statements: NeighborhoodStatements,
}

impl Neighborhoods {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { statements: NeighborhoodStatements::prepare(&cql).await?, cql })
    }

    async fn current_version(&self, id: NeighborhoodId, read: Read) -> Result<Option<Version>, StoreError> {
        let row: Option<(i64,)> = self.cql.one(&self.statements.current.fresh(read), (id.0,)).await?;
        row.map(|(version,)| version_from(version, "neighborhoods")).transpose()
    }

    pub(super) async fn current(
        &self,
        id: NeighborhoodId,
        read: Read,
    ) -> Result<Option<NeighborhoodRecord>, StoreError> {
        let Some(version) = self.current_version(id, read).await? else { return Ok(None) };
        match self.at(NeighborhoodRef { id, version }).await? {
            Some(record) => Ok(Some(record)),
            None => Err(corrupt("neighborhoods", "version")),
        }
    }

    pub(super) async fn at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        let row = self.record(at, Read::Quorum).await?;
        row.map(|bytes| neighborhood_from(at, &bytes)).transpose()
    }

    async fn record(&self, at: NeighborhoodRef, read: Read) -> Result<Option<Vec<u8>>, StoreError> {
        let values = (at.id.0, version_to(at.version)?);
        let row: Option<(Vec<u8>,)> = self.cql.one(&self.statements.version.fresh(read), values).await?;
        Ok(row.map(|(bytes,)| bytes))
    }

    /// Two writers of one version must not leave the pointer of one at the record of the other. So the version's row is
    /// written once, by conditional write, and decides; whoever comes second helps the first to move the pointer.
    /// Without the help, a writer that died between the two writes would block the neighborhood for ever.
    pub(super) async fn put(
        &self,
        record: &NeighborhoodRecord,
        expected: Option<Version>,
    ) -> Result<Written, StoreError> {
        // Else a writer that expects a version that never was could decide one that is to come.
        if self.current_version(record.id, Read::Serial).await? != expected {
            return Ok(Written::Conflict);
        }
        let at = NeighborhoodRef { id: record.id, version: record.version };
        let (version, bytes) = (version_to(record.version)?, record.encode());
        let decided = self.cql.conditional(&self.statements.decide, (record.id.0, version, bytes.as_slice())).await?;
        let is_ours = match decided {
            Written::Applied => true,
            Written::Conflict => self.record(at, Read::Serial).await?.is_some_and(|decided| decided == bytes),
        };
        // A conflict here means that somebody helped us.
        match expected {
            None => self.cql.conditional(&self.statements.begin, (version, record.id.0)).await?,
            Some(expected) => {
                let values = (version, record.id.0, version_to(expected)?);
                self.cql.conditional(&self.statements.advance, values).await?
            }
        };
        Ok(if is_ours { Written::Applied } else { Written::Conflict })
    }

    pub(super) async fn ids(
        &self,
        after: Option<NeighborhoodId>,
        limit: usize,
    ) -> Result<Vec<NeighborhoodId>, StoreError> {
        let statements = (&self.statements.first_ids, &self.statements.next_ids);
        let ids: Vec<Uuid> = page_of_ids(&self.cql, statements, after.map(|id| id.0), limit).await?;
        Ok(ids.into_iter().map(NeighborhoodId).collect())
    }
}
