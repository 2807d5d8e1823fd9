//! Versions that are current no more: a bounded cache, the longest-kept going first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use porchlight_domain::NeighborhoodRef;
use porchlight_geofence::Geometry;

/// The most versions.
pub(crate) const MAX_VERSIONS: usize = 1024;
/// The most vertices of all of them together (16 MB).
pub(crate) const MAX_VERTICES: usize = 2_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    by_version: HashMap<NeighborhoodRef, Arc<Geometry>>,
    /// Oldest first.
    order: VecDeque<NeighborhoodRef>,
    vertices: usize,
}

impl Past {
    pub(crate) fn get(&self, version: NeighborhoodRef) -> Option<&Geometry> {
        self.by_version.get(&version).map(Arc::as_ref)
    }

    /// Keeps a version; a version never changes, so one that is known is kept as it is.
    pub(crate) fn keep(&mut self, version: NeighborhoodRef, geometry: Arc<Geometry>) {
        if self.by_version.contains_key(&version) {
            return;
        }
        self.vertices += geometry.vertices();
        self.by_version.insert(version, geometry);
        self.order.push_back(version);
        // The newest stays, however large: whoever asked for it is about to use it.
        while (self.order.len() > MAX_VERSIONS || self.vertices > MAX_VERTICES) && self.order.len() > 1 {
            if let Some(gone) = self.order.pop_front().and_then(|version| self.by_version.remove(&version)) {
                self.vertices -= gone.vertices();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use porchlight_domain::{NeighborhoodId, Version};
    use porchlight_geofence::Point;
    use uuid::Uuid;

    use super::*;

    fn version(n: usize) -> NeighborhoodRef {
        NeighborhoodRef { id: NeighborhoodId(Uuid::nil()), version: Version(n as u64) }
    }

    fn of_vertices(n: usize) -> Arc<Geometry> {
        Arc::new(Geometry { parts: vec![vec![vec![Point { x: 0, y: 0 }; n]]] })
    }

    #[test]
    fn it_is_bounded_by_number_and_the_longest_kept_go_first() {
        let mut past = Past::default();
        for n in 0..MAX_VERSIONS + 10 {
            past.keep(version(n), of_vertices(3));
            past.keep(version(n), of_vertices(3));
        }
        assert_eq!((past.order.len(), past.by_version.len()), (MAX_VERSIONS, MAX_VERSIONS));
        assert!(past.get(version(9)).is_none() && past.get(version(10)).is_some());
        assert_eq!(past.vertices, 3 * MAX_VERSIONS);
    }

    #[test]
    fn it_is_bounded_by_vertices_and_always_has_the_newest() {
        let mut past = Past::default();
        for n in 0..5 {
            past.keep(version(n), of_vertices(MAX_VERTICES / 3));
        }
        assert_eq!(past.order.len(), 3);
        past.keep(version(9), of_vertices(MAX_VERTICES + 1));
        assert_eq!((past.order.len(), past.get(version(9)).is_some()), (1, true));
    }
}
