//! The polygons that the gate needs for an alert: the current ones are held in memory, old versions are fetched.

use std::sync::Arc;

use porchlight_domain::{Borders as _, NeighborhoodRef, Point};
use porchlight_neighborhoods::{Neighborhoods, Snapshot};
use porchlight_store::{Read, Registry};

use crate::wait::Wait;

/// Whether the current polygons are loaded and fresh; else a sentence.
pub type Loaded = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The polygons, and where to get those that are missing.
pub struct Polygons {
    held: Neighborhoods,
    registry: Arc<dyn Registry>,
    loaded: Loaded,
}

impl Polygons {
    /// `held` is fed by the table that `loaded` speaks of.
    pub fn new(held: Neighborhoods, registry: Arc<dyn Registry>, loaded: Loaded) -> Self {
        Self { held, registry, loaded }
    }

    /// The polygons of this moment, with all that the gate needs to decide about these neighborhoods.
    ///
    /// # Errors
    /// Something is on its way: ask again. It is never an answer about anybody.
    pub async fn deciding(&self, matched: &[NeighborhoodRef]) -> Result<Arc<Snapshot>, Wait> {
        (self.loaded)().map_err(Wait::polygon)?;
        let snapshot = self.held.snapshot();
        let mut fetched = false;
        for &at in matched {
            match snapshot.current(at.id) {
                None => self.is_gone(at).await?,
                Some(current) if current < at.version => {
                    return Err(Wait::polygon(format!("neighborhood {} is newer than our copy", at.id)));
                }
                // Asked about any point: what counts is whether the version is here.
                Some(_) if snapshot.holds(at, Point { lon_e7: 0, lat_e7: 0 }).is_err() => {
                    self.fetch(at).await?;
                    fetched = true;
                }
                Some(_) => {}
            }
        }
        Ok(if fetched { self.held.snapshot() } else { snapshot })
    }

    /// A neighborhood that we do not hold is deleted, or so new that it has not reached us. The row knows; to take the
    /// second for the first would leave out everybody who lives there.
    async fn is_gone(&self, at: NeighborhoodRef) -> Result<(), Wait> {
        match self.registry.neighborhood(at.id, Read::Quorum).await? {
            Some(record) if !record.deleted => Err(Wait::polygon(format!("neighborhood {} has not reached us", at.id))),
            Some(_) | None => Ok(()),
        }
    }

    async fn fetch(&self, at: NeighborhoodRef) -> Result<(), Wait> {
        match self.registry.neighborhood_at(at).await? {
            Some(record) => {
                self.held.remember(record);
                Ok(())
            }
            None => {
                // Versions are written before they become current, so this is never only late.
                tracing::error!(neighborhood = %at.id, version = at.version.0, "the store lacks a version of a polygon");
                Err(Wait::polygon(format!("version {} of neighborhood {} is lost", at.version.0, at.id)))
            }
        }
    }
}
