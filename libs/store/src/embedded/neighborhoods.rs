//! Neighborhoods: versions that never change, and a pointer to the current one. Both are written at once, so the pointer
//! and the version that it names are of one writer.

use porchlight_domain::{NeighborhoodId, NeighborhoodRef};
use porchlight_wire::{NeighborhoodRecord, Wire};

use super::{
    core::Core,
    disk::View,
    key::{Key, Table},
    registry::{by_id, put as put_row},
    row::Row,
};
use crate::{
    Read, StoreError, Written,
    rows::{corrupt, neighborhood_from, version_from, version_to},
};

fn version_key(at: NeighborhoodRef) -> Result<Key, StoreError> {
    Ok(by_id(Table::NeighborhoodVersions, at.id.0).i64(version_to(at.version)?))
}

fn read(view: &View<'_>, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
    let row = view.row(&version_key(at)?)?;
    row.map(|row| neighborhood_from(at, &row.body.unwrap_or_default())).transpose()
}

pub(super) async fn current(
    core: &Core,
    id: NeighborhoodId,
    fresh: Read,
) -> Result<Option<NeighborhoodRecord>, StoreError> {
    core.read_as(fresh, Table::Neighborhoods, move |view| {
        let Some(pointer) = view.row(&by_id(Table::Neighborhoods, id.0))? else { return Ok(None) };
        let version = version_from(pointer.stamp, "neighborhoods")?;
        match read(view, NeighborhoodRef { id, version })? {
            Some(record) => Ok(Some(record)),
            None => Err(corrupt("neighborhoods", "version")),
        }
    })
    .await
}

pub(super) async fn at(core: &Core, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
    core.read(Table::NeighborhoodVersions, move |view| read(view, at)).await
}

pub(super) async fn put(
    core: &Core,
    record: &NeighborhoodRecord,
    expected: Option<porchlight_domain::Version>,
) -> Result<Written, StoreError> {
    let at = NeighborhoodRef { id: record.id, version: record.version };
    let (key, bytes) = (version_key(at)?, record.encode());
    core.conditional(Table::Neighborhoods, move |change| {
        let pointer = by_id(Table::Neighborhoods, at.id.0);
        let written = put_row(change, pointer, expected, at.version, Vec::new())?;
        if written == Written::Applied {
            change.set(key, Row::plain(bytes));
        }
        Ok(written)
    })
    .await
}
