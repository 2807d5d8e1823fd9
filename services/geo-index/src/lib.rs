//! geo-index: from an accepted event to the item it is part of, the neighborhoods that hold it, and the alert it becomes.
//!
//! It knows polygons and devices' events, and nothing of people. It owns the rows of events, items and feeds, and is the
//! only one who makes alerts of events and links media to items. [`decide`] says what a record means; [`indexer`] reads and
//! writes for it, and [`locate`] asks the polygons. Beside that, [`retention`] removes clips and thumbnails whose time is over.

mod config;
pub mod decide;
pub mod indexer;
pub mod locate;
pub mod metrics;
pub mod retention;
mod service;

pub use config::{Config, DEFAULT_TOML, NeighborhoodsConfig, RetentionConfig};
pub use indexer::{Alerts, Indexer, Untold};
pub use locate::Locate;
pub use service::{run, start};
