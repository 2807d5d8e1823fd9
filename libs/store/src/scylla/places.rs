//! Homes by place, and the homes that wait to be verified: copies, never written by conditional write, ordered by the
//! version of the home they are copies of.

use std::{ops::Range, sync::Arc};

use porchlight_domain::{Cell, HomeId, Version};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    registry::limit_of,
};
use crate::{
    PlacedHome, StoreError,
    rows::{PlacedRow, placed_at, unplaced_at, version_to},
};

/// Into so many partitions waiting homes are spread.
const PENDING_BUCKETS: u8 = 16;
/// Waiting homes read at once.
const PENDING_PAGE: usize = 200;

statements! {
    /// Places and waiting homes.
    PlaceStatements {
        place: Write "homes_by_cell"
            "INSERT INTO homes_by_cell (cell, home, household, lon_e7, lat_e7, verified, residents, version)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        unplace: Write "homes_by_cell" "DELETE FROM homes_by_cell USING TIMESTAMP ? WHERE cell = ? AND home = ?";
        homes_in: Read "homes_by_cell"
            "SELECT home, household, lon_e7, lat_e7, verified, residents, version FROM homes_by_cell
            WHERE cell = ? AND home > ? LIMIT ?";

        add_pending: Write "pending_homes" "INSERT INTO pending_homes (bucket, home) VALUES (?, ?) USING TIMESTAMP ?";
        remove_pending: Write "pending_homes" "DELETE FROM pending_homes USING TIMESTAMP ? WHERE bucket = ? AND home = ?";
        pending: Read "pending_homes" "SELECT home FROM pending_homes WHERE bucket = ? AND home > ? LIMIT ?";
    }
}

pub(super) struct Places {
    cql: Arc<Cql>,
    statements: PlaceStatements,
}

/// The start of a page: no home has the nil id, for ids are derived (UUIDv5).
fn after_id(after: Option<HomeId>) -> Uuid {
    after.map_or(Uuid::nil(), |home| home.0)
}

impl Places {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { statements: PlaceStatements::prepare(&cql).await?, cql })
    }

    pub(super) async fn place(&self, home: &PlacedHome) -> Result<(), StoreError> {
        let values = (
            Cell::of(home.point).key(),
            home.home.0,
            home.household.0,
            home.point.lon_e7,
            home.point.lat_e7,
            home.verified,
            home.residents.iter().map(|resident| resident.0).collect::<Vec<_>>(),
            version_to(home.version)?,
            placed_at(home.version)?,
        );
        self.cql.write(&self.statements.place, values).await
    }

    pub(super) async fn unplace(&self, cell: Cell, home: HomeId, version: Version) -> Result<(), StoreError> {
        self.cql.write(&self.statements.unplace, (unplaced_at(version)?, cell.key(), home.0)).await
    }

    pub(super) async fn homes_in(
        &self,
        cell: Cell,
        after: Option<HomeId>,
        limit: usize,
    ) -> Result<Vec<PlacedHome>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let values = (cell.key(), after_id(after), limit_of(limit));
        let rows: Vec<PlacedRow> = self.cql.rows(&self.statements.homes_in, values, limit).await?;
        rows.into_iter().map(PlacedHome::try_from).collect()
    }

    /// Adds to or removes from the list of those that wait, as of a version.
    pub(super) async fn set_pending(&self, home: HomeId, version: Version, waits: bool) -> Result<(), StoreError> {
        let bucket = i32::from(home.0.as_bytes()[15] % PENDING_BUCKETS);
        if waits {
            self.cql.write(&self.statements.add_pending, (bucket, home.0, placed_at(version)?)).await
        } else {
            self.cql.write(&self.statements.remove_pending, (unplaced_at(version)?, bucket, home.0)).await
        }
    }

    /// The partitions of the list.
    pub(super) fn pending_buckets() -> Range<u8> {
        0..PENDING_BUCKETS
    }

    /// A page of those that may wait.
    pub(super) async fn maybe_pending(&self, bucket: u8, after: Option<HomeId>) -> Result<Vec<HomeId>, StoreError> {
        let values = (i32::from(bucket), after_id(after), limit_of(PENDING_PAGE));
        let rows: Vec<(Uuid,)> = self.cql.rows(&self.statements.pending, values, PENDING_PAGE).await?;
        Ok(rows.into_iter().map(|(id,)| HomeId(id)).collect())
    }
}
