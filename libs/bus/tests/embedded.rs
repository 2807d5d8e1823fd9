//! The suites that run against Kafka, on the embedded broker: to the bus they are the same.
#![allow(clippy::duplicate_mod)] // each suite brings what it shares with the others

#[path = "real_bus.rs"]
mod bus;
#[path = "real_consumer.rs"]
mod consumer;
#[path = "real_replay.rs"]
mod replay;
#[path = "real_table.rs"]
mod table;
#[path = "real_table_snapshot.rs"]
mod table_snapshot;
