//! notification: from an alert to the people it may be told to, and from them to their phones.
//!
//! It knows people and homes, and nothing of cameras. Two stages with the log between them: [`plan`] finds who may hear,
//! by homes stored by place; [`send`] asks the gate once more with everything as it is then, and hands over. It owns the
//! ledger of pushes.

mod config;
pub mod metrics;
pub mod plan;
pub mod polygons;
pub mod send;
mod service;
mod wait;

pub use config::{Config, DEFAULT_TOML, NeighborhoodsConfig, SendConfig};
pub use plan::Planner;
pub use polygons::Polygons;
pub use send::{Means, Sender};
pub use service::{run, start};
pub use wait::{Wait, What};
