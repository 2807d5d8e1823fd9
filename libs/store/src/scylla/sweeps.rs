//! The walks over the objects: one row a shard, by conditional write always.

use std::sync::Arc;

use porchlight_domain::{Clock, SystemClock, Timestamp};
use uuid::Uuid;

use super::client::{Cql, statements};
use crate::{
    Read, StoreError, Sweep, Written,
    rows::{
        sweep::{SweepRow, passes_to},
        ts,
    },
};

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
