//! What people and operators talk to: accounts, homes, devices, push endpoints, neighborhoods and the feed.
//!
//! A request is answered in four steps: *who asks* ([`auth`], [`accounts`]), *what stands in the store*, *may they see
//! it* ([`borders`], by the gate of `porchlight_domain`), *the view*. What is written goes through one mechanism
//! ([`registry`]): intent, conditional write, projection of the row as read again.

pub mod accounts;
pub mod alerts;
mod api;
pub mod app;
pub mod auth;
pub mod borders;
mod checks;
pub mod config;
pub mod devices;
pub mod endpoints;
pub mod error;
pub mod feed;
pub mod homes;
pub mod items;
pub mod media;
pub mod metrics;
pub mod neighborhoods;
mod owned;
pub mod precondition;
pub mod registry;
mod service;
pub mod stream;

pub use app::App;
pub use config::{Config, DEFAULT_TOML};
pub use error::Error;
pub use service::{run, start};
