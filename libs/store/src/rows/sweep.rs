//! A walk over the objects as a row of `sweeps`.

use ::scylla::{DeserializeRow, value::CqlTimestamp};
use porchlight_domain::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{corrupt, millis};
use crate::{StoreError, Sweep};

const TABLE: &str = "sweeps";

/// A row of `sweeps`.
#[derive(Serialize, Deserialize, DeserializeRow)]
pub(crate) struct SweepRow {
    pub(crate) holder: Uuid,
    #[serde(with = "millis")]
    pub(crate) held_until: CqlTimestamp,
    pub(crate) position: String,
    pub(crate) passes: i64,
}

impl SweepRow {
    /// Whether `holder` may not have it: it is another's, and the other's time is not over.
    pub(crate) fn is_held_against(&self, holder: Uuid, now: Timestamp) -> bool {
        self.holder != holder && self.held_until.0 > now.0
    }

    pub(crate) fn sweep(self) -> Result<Sweep, StoreError> {
        let passes = u64::try_from(self.passes).map_err(|_| corrupt(TABLE, "passes"))?;
        Ok(Sweep { cursor: self.position, passes })
    }
}

pub(crate) fn passes_to(passes: u64) -> Result<i64, StoreError> {
    i64::try_from(passes).map_err(|_| StoreError::Refused("a count of walks does not fit 63 bits".into()))
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
