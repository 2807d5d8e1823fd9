//! Which neighborhoods hold a point: exactly, on every point, by integers. Pure and synchronous; knows no other crate of
//! ours.
//!
//! [`geometry`](Geometry) has the rule, [`geojson`] what is accepted as a neighborhood, [`index`](GeofenceIndex) the
//! way to ask about many of them at once. `DESIGN.md` beside this crate says why each is as it is.

mod cover;
pub mod geojson;
mod geometry;
mod index;
mod plane;
mod rings;
mod shards;

pub use geometry::{Geometry, Point, Ring};
pub use index::{Change, GeofenceIndex, Neighborhood, NeighborhoodIx, Owners, Stats};
pub use plane::Counts as Cells;
