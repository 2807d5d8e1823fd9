//! The API over repositories in memory: what each operation answers, and what it leaves behind.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod contract;
mod devices;
mod endpoints;
mod feed;
mod homes;
mod isolation;
mod media;
mod neighborhoods;
mod registry;
mod service;
mod stream;
mod stream_resume;
