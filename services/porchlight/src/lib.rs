//! The operator's command line, and what the city and the end-to-end tests are made of.

pub mod audit;
pub mod city;
pub mod cli;
pub mod client;
pub mod crash;
pub mod deployment;

/// The commented defaults of the command line: every key there is.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");
