//! The walks over the objects: one row a shard, by conditional write always.

use std::sync::Arc;

use ::scylla::{DeserializeRow, value::CqlTimestamp};
use porchlight_domain::{Clock, SystemClock, Timestamp};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    codec::{corrupt, ts},
};
use crate::{Read, StoreError, Sweep, Written};

const TABLE: &str = "sweeps";
/// How often a write is tried whose row changed meanwhile or of which no answer came.
const TRIES: usize = 4;

statements! {
    /// The walks.
    SweepStatements {
        find: Read "sweeps" "SELECT holder, held_until, position, passes FROM sweeps WHERE shard = ?";
        begin: ConditionalWrite "sweeps"
            "INSERT INTO sweeps (shard, holder, held_until, position, passes) VALUES (?, ?, ?, '', 0) IF NOT EXISTS";
        take: ConditionalWrite "sweeps"
            "UPDATE sweeps SET holder = ?, held_until = ? WHERE shard = ?
            IF holder = ? AND held_until = ? AND position = ? AND passes = ?";
        keep: ConditionalWrite "sweeps"
            "UPDATE sweeps SET position = ?, passes = ? WHERE shard = ? IF holder = ?";
    }
}

/// A row of `sweeps`.
#[derive(DeserializeRow)]
struct SweepRow {
    holder: Uuid,
    held_until: CqlTimestamp,
    position: String,
    passes: i64,
}

impl SweepRow {
    /// Whether `holder` may not have it: it is another's, and the other's time is not over.
    fn is_held_against(&self, holder: Uuid, now: Timestamp) -> bool {
        self.holder != holder && self.held_until.0 > now.0
    }

    fn sweep(self) -> Result<Sweep, StoreError> {
        let passes = u64::try_from(self.passes).map_err(|_| corrupt(TABLE, "passes"))?;
        Ok(Sweep { cursor: self.position, passes })
    }
}

fn passes_to(passes: u64) -> Result<i64, StoreError> {
    i64::try_from(passes).map_err(|_| StoreError::Refused("a count of walks does not fit 63 bits".into()))
}

/// A write without an answer is settled by the serial read that comes next, which finishes what is in flight.
fn no_answer() -> StoreError {
    StoreError::Unknown("the row of a sweep did not settle".into())
}

pub(super) struct Sweeps {
    cql: Arc<Cql>,
    statements: SweepStatements,
}

impl Sweeps {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { statements: SweepStatements::prepare(&cql).await?, cql })
    }

    async fn find(&self, shard: u8) -> Result<Option<SweepRow>, StoreError> {
        self.cql.one(&self.statements.find.fresh(Read::Serial), (i32::from(shard),)).await
    }

    pub(super) async fn take(&self, shard: u8, holder: Uuid, until: Timestamp) -> Result<Option<Sweep>, StoreError> {
        for _ in 0..TRIES {
            let written = match self.find(shard).await? {
                None => {
                    let values = (i32::from(shard), holder, ts(until));
                    let written = self.cql.conditional(&self.statements.begin, values).await;
                    written.map(|w| (w, Sweep { cursor: String::new(), passes: 0 }))
                }
                Some(row) if row.is_held_against(holder, SystemClock.now()) => return Ok(None),
                // An earlier try of which no answer came.
                Some(row) if row.holder == holder && row.held_until == ts(until) => return row.sweep().map(Some),
                Some(row) => {
                    // On all that was read: else a former holder could move the cursor between the reading and this.
                    let shard = i32::from(shard);
                    let found = (row.holder, row.held_until, row.position.as_str(), row.passes);
                    let values = (holder, ts(until), shard, found.0, found.1, found.2, found.3);
                    let written = self.cql.conditional(&self.statements.take, values).await;
                    let sweep = row.sweep()?;
                    written.map(|w| (w, sweep))
                }
            };
            match written {
                Ok((Written::Applied, sweep)) => return Ok(Some(sweep)),
                Ok((Written::Conflict, _)) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(no_answer())
    }

    pub(super) async fn keep(&self, shard: u8, holder: Uuid, sweep: &Sweep) -> Result<bool, StoreError> {
        let passes = passes_to(sweep.passes)?;
        for _ in 0..TRIES {
            let values = (sweep.cursor.as_str(), passes, i32::from(shard), holder);
            match self.cql.conditional(&self.statements.keep, values).await {
                Ok(written) => return Ok(written == Written::Applied),
                // Applied or not, the holder may write it again; whether it still is the holder, the next answer says.
                Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(no_answer())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(passes: i64) -> SweepRow {
        SweepRow { holder: Uuid::from_u128(1), held_until: CqlTimestamp(100), position: "a".into(), passes }
    }

    #[test]
    fn a_shard_is_another_s_until_its_time_is_over() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(row(0).is_held_against(other, Timestamp(99)));
        assert!(!row(0).is_held_against(other, Timestamp(100)));
        assert!(!row(0).is_held_against(mine, Timestamp(0)));
    }

    #[test]
    fn a_count_that_means_nothing_is_corrupt() {
        assert_eq!(row(3).sweep().unwrap(), Sweep { cursor: "a".into(), passes: 3 });
        assert!(matches!(row(-1).sweep(), Err(StoreError::Corrupt { table: "sweeps", .. })));
        assert!(matches!(passes_to(u64::MAX), Err(StoreError::Refused(_))));
    }
}
