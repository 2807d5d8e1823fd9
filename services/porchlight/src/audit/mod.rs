//! Conservation: what stands in the log against the rows that say what became of it. Reads only.
//!
//! Three equations, each decided by a plain core ([`events`], [`alerts`], [`pushes`]) from what [`look`] reads: records
//! of events = outcomes; alerts to tell phones of = those that were planned or are over; planned people = outcomes of
//! pushes. What is not done yet stands on the right as in flight.
//!
//! **The order of reading** is what lets it be done while everything runs. What a stage has committed is asked *before*
//! that is read which the stage writes: whatever is committed then has its rows and tasks already, so nothing that is
//! on its way is ever taken for lost. And what is caused is read before its causes are (tasks before alerts), so no
//! task is met whose alert came too late to be read. What does not add up all the same is looked at once more, after a
//! pause: only the second look counts.

mod alerts;
mod events;
mod look;
mod pushes;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use porchlight_bus::{KafkaConfig, Topic};
use porchlight_domain::Timestamp;
use porchlight_store::Store;

pub use look::MOST_HELD;
pub use report::{Equation, Report, Wrong, Wrongs};

/// How long after a first look that does not add up the second one begins.
const PAUSE: Duration = Duration::from_secs(3);

/// Compares log and rows from `from` to before `to`, by the timestamps of the records. `progress` hears what is done, a
/// line at a time.
///
/// In memory at once are some 40 bytes of each record of events, then 150 of each alert and 64 of each planned person.
///
/// # Errors
/// A sentence: Kafka or the store are away, or the range holds more than [`MOST_HELD`] of those.
pub async fn conservation(
    kafka: &KafkaConfig,
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, String> {
    let report = look::look(kafka, store, from, to, progress).await?;
    if report.is_conserved() {
        return Ok(report);
    }
    progress("something does not add up: looking again");
    tokio::time::sleep(PAUSE).await;
    look::look(kafka, store, from, to, progress).await
}

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Position {
    topic: Topic,
    partition: i32,
    offset: i64,
}

/// How far a stage was before the rows were read, and what it gave up.
#[derive(Clone, Debug, Default)]
struct Frontier {
    /// By partition, the offset below which all is done.
    committed: BTreeMap<i32, i64>,
    /// The records that it put aside.
    dead: HashSet<Position>,
}

impl Frontier {
    /// Why nothing need be found of a record.
    fn excuse(&self, at: Position) -> Option<&'static str> {
        if self.dead.contains(&at) {
            return Some("dead_letter");
        }
        let is_done = self.committed.get(&at.partition).is_some_and(|committed| at.offset < *committed);
        (!is_done).then_some("in_flight")
    }

    /// Says what became of a record of which nothing is found. `has_ended`: it need not be found any more.
    fn without_row(&self, at: Position, has_ended: bool, sum: &mut Equation, what: impl FnOnce() -> String) {
        match self.excuse(at).or(has_ended.then_some("past_retention")) {
            Some(term) => sum.count(term),
            None => sum.find(Wrong::Lost, what),
        }
    }
}
