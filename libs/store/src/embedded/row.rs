//! Rows: a write time, an end, and what is kept until then. What the database of the other adapter does with timestamps,
//! times to live and tombstones is decided here.

use std::cmp::Ordering;

use porchlight_domain::Timestamp;

use super::key::Table;
use crate::{StoreError, rows::corrupt};

/// The end of what never ends.
pub(super) const NEVER: Timestamp = Timestamp(i64::MAX);

const STONE: u8 = 0;
const LIVE: u8 = 1;
const HEADER: usize = 17;

/// A row, or the stone that stands where one ended or was removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// The write time, or the version of a row that is written by conditional write.
    pub(super) stamp: i64,
    /// Absent from then on. Of a stone: to be forgotten.
    pub(super) ends: Timestamp,
    /// `None`: a stone.
    pub(super) body: Option<Vec<u8>>,
}

/// What a sweep does with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It stays until then.
    Stays(Timestamp),
    /// It ended, and its write time is remembered until then.
    Stone(Timestamp),
    /// Nothing is left of it.
    Goes,
}

impl Row {
    /// A row that is ordered by its write time.
    pub(super) fn new(stamp: i64, ends: Timestamp, body: Vec<u8>) -> Self {
        Self { stamp, ends, body: Some(body) }
    }

    /// A row for which the order of writing is enough.
    pub(super) fn plain(body: Vec<u8>) -> Self {
        Self::new(0, NEVER, body)
    }

    /// A row of a version, by conditional write.
    pub(super) fn of_version(version: i64, body: Vec<u8>) -> Self {
        Self::new(version, NEVER, body)
    }

    /// A removal as of a write time.
    pub(super) fn removed(table: Table, stamp: i64, now: Timestamp) -> Self {
        Self { stamp, ends: now.plus_ms(table.grace_ms()), body: None }
    }

    /// What is kept, if it has not ended.
    pub(super) fn live(self, now: Timestamp) -> Option<Self> {
        (self.body.is_some() && self.ends > now).then_some(self)
    }

    /// Whether this is written where the other stands. At equal write times a removal wins, then the later end, then the
    /// later writer.
    pub(super) fn covers(&self, other: &Self, table: Table, now: Timestamp) -> bool {
        if other.fate(table, now) == Fate::Goes {
            return true;
        }
        match self.stamp.cmp(&other.stamp) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => other.body.is_some() && (self.body.is_none() || self.ends >= other.ends),
        }
    }

    /// What a sweep does with it.
    pub(super) fn fate(&self, table: Table, now: Timestamp) -> Fate {
        if self.ends > now {
            return Fate::Stays(self.ends);
        }
        let forgotten = self.ends.plus_ms(table.grace_ms());
        if self.body.is_some() && forgotten > now { Fate::Stone(forgotten) } else { Fate::Goes }
    }

    /// Into bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let body = self.body.as_deref();
        let mut bytes = Vec::with_capacity(HEADER + body.map_or(0, <[u8]>::len));
        bytes.push(if body.is_some() { LIVE } else { STONE });
        bytes.extend(self.stamp.to_be_bytes());
        bytes.extend(self.ends.0.to_be_bytes());
        bytes.extend(body.unwrap_or_default());
        bytes
    }

    /// Out of bytes.
    pub(super) fn decode(table: Table, bytes: &[u8]) -> Result<Self, StoreError> {
        let parsed = || {
            let (kind, rest) = bytes.split_first()?;
            let (stamp, rest) = rest.split_first_chunk()?;
            let (ends, body) = rest.split_first_chunk()?;
            let body = match *kind {
                LIVE => Some(body.to_vec()),
                STONE if body.is_empty() => None,
                _ => return None,
            };
            Some(Self { stamp: i64::from_be_bytes(*stamp), ends: Timestamp(i64::from_be_bytes(*ends)), body })
        };
        parsed().ok_or_else(|| corrupt(table.name(), "row"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TABLE: Table = Table::Items;
    const NOW: Timestamp = Timestamp(1_000);

    fn row(stamp: i64, ends: i64) -> Row {
        Row::new(stamp, Timestamp(ends), b"x".to_vec())
    }

    #[test]
    fn rows_come_back() {
        for row in [row(-5, 7), row(i64::MAX, 0), Row::plain(Vec::new()), Row::removed(TABLE, 9, NOW)] {
            assert_eq!(Row::decode(TABLE, &row.encode()).unwrap(), row);
        }
    }

    #[test]
    fn bytes_that_mean_nothing_are_corrupt() {
        let stone_with_a_body = [Row::removed(TABLE, 9, NOW).encode(), vec![1]].concat();
        let unknown = [&[2], &row(1, 1).encode()[1..]].concat();
        for bytes in [vec![], vec![1; 16], unknown, stone_with_a_body] {
            let read = Row::decode(TABLE, &bytes);
            assert!(matches!(read, Err(StoreError::Corrupt { table: "items", .. })), "{bytes:?}");
        }
    }

    #[test]
    fn an_older_write_never_covers_a_newer_one() {
        let covers = |new: &Row, old: &Row| new.covers(old, TABLE, NOW);
        assert!(covers(&row(2, 2_000), &row(1, 2_000)) && !covers(&row(1, 9_000), &row(2, 2_000)));
        assert!(covers(&row(1, 2_000), &row(1, 2_000)), "twice is once");
        assert!(!covers(&row(1, 2_000), &row(1, 3_000)) && covers(&row(1, 3_000), &row(1, 2_000)));
        let removed = Row::removed(TABLE, 2, NOW);
        assert!(covers(&removed, &row(2, 9_000)) && !covers(&row(2, 9_000), &removed), "a removal wins");
        assert!(!covers(&removed, &row(3, 9_000)) && covers(&row(3, 9_000), &removed));
    }

    #[test]
    fn g6_what_ended_stands_against_older_rows_until_no_replay_can_bring_one() {
        let grace = TABLE.grace_ms();
        assert!(grace > 72 * 3_600_000, "longer than the log keeps an event");
        let (older, ended) = (row(1, i64::MAX), row(2, 1_000));
        for at in [1_000, 1_000 + grace - 1] {
            assert!(!older.covers(&ended, TABLE, Timestamp(at)));
        }
        assert!(older.covers(&ended, TABLE, Timestamp(1_000 + grace)));
        assert!(older.covers(&ended, Table::EventSeen, NOW), "where nothing is to stand against, nothing is kept");
    }

    #[test]
    fn g6_an_ended_row_becomes_a_stone_and_a_stone_goes() {
        let (grace, at) = (TABLE.grace_ms(), |ms| Timestamp(1_000 + ms));
        let ended = row(2, 1_000);
        assert_eq!(ended.fate(TABLE, at(-1)), Fate::Stays(at(0)));
        assert_eq!(ended.fate(TABLE, at(0)), Fate::Stone(at(grace)));
        assert_eq!(ended.fate(TABLE, at(grace)), Fate::Goes);
        assert_eq!(ended.fate(Table::PushLedger, at(0)), Fate::Goes);
        let stone = Row::removed(TABLE, 2, at(0));
        assert_eq!(
            (stone.fate(TABLE, at(grace - 1)), stone.fate(TABLE, at(grace))),
            (Fate::Stays(at(grace)), Fate::Goes)
        );
        assert_eq!(Row::plain(Vec::new()).fate(TABLE, Timestamp(i64::MAX - 1)), Fate::Stays(NEVER));
    }

    #[test]
    fn g6_there_is_no_moment_of_grace_for_readers() {
        assert_eq!(row(1, 1_001).live(NOW), Some(row(1, 1_001)));
        assert_eq!(row(1, 1_000).live(NOW), None);
        assert_eq!(Row::removed(TABLE, 1, NOW).live(NOW), None);
    }
}
