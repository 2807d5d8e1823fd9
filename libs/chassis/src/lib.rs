//! What every service rides on, and no domain: configuration, logs, metrics, lifecycle, health, and the HTTP shell with
//! its problems (RFC 9457).

pub mod config;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod telemetry;
pub mod testing;
