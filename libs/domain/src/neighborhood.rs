//! Neighborhoods as the rest of the domain names them: an id at a version. Their geometry lives in `libs/geofence`.

use serde::{Deserialize, Serialize};

use crate::NeighborhoodId;

/// A version of a mutable thing, counted from 1 by its row. The row is the truth; a feed may repeat or lag.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Version(pub u64);

impl Version {
    /// The version that follows.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A neighborhood as it was at one version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NeighborhoodRef {
    /// Which neighborhood.
    pub id: NeighborhoodId,
    /// Its polygon's version.
    pub version: Version,
}
