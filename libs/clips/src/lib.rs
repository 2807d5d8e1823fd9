//! Clips and thumbnails in S3-compatible storage: who may put what where (`grant`), the way there and back (`vault`,
//! `s3`), and what is removed when (`sweep`). The only crate that names the S3 client.
//!
//! Invariants: an object is written once, with the length and the SHA-256 that were granted (the server checks both); an
//! object's key is made here from ids alone; a URL to read is made only for what the gate cleared.

mod client;
mod config;
mod credentials;
mod grant;
mod key;
pub mod metrics;
mod outcome;
mod s3;
pub mod sweep;
mod vault;

pub use config::S3Config;
pub use grant::{GRANT_MS, Grant, GrantError, GrantKey};
pub use s3::S3;
pub use vault::{Object, READ_URL_MS, Stat, UPLOAD_URL_MS, Upload, Vault, VaultError};
