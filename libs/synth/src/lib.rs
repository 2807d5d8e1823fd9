//! Towns, homes, cameras and evenings, made from a seed: the same seed gives the same city, down to the last event id.
//!
//! The polygons are real (`data/SOURCES.md`); the people are not, and nothing here is drawn from any.

mod evening;
mod nation;
mod people;
mod towns;

pub use evening::{Evening, Sighting};
pub use nation::Nation;
pub use people::{Camera, Household, Settlement};
pub use towns::{BOSTON, MASSACHUSETTS, Town, towns};
