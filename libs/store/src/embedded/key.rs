//! Keys: bytes that sort as what they are made of does. All parts but the last are of a fixed length, so that one key is a
//! prefix of another only where it is meant to be.

use std::ops::Bound;

use porchlight_domain::Timestamp;
use uuid::Uuid;

use crate::{StoreError, rows::corrupt};

/// How long it is remembered that a row ended or was removed, and with which write time: ten days, as `gc_grace_seconds` in
/// `schema/`. Longer than the log keeps an event, so that no replay brings the row back.
const GRACE_MS: i64 = 864_000_000;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $code:literal $name:literal $grace:expr;)+) => {
        /// The tables, named as in CQL. The number is the first byte of every key, and for ever that of this table.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(super) enum Table { $($(#[$doc])* $table = $code),+ }

        impl Table {
            /// Every table.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$table),+];

            /// The table that a key is of.
            pub(super) fn of(key: &[u8]) -> Option<Self> {
                match key.first()? { $($code => Some(Self::$table),)+ _ => None }
            }

            /// Its name, for errors and metrics.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$table => $name),+ }
            }

            /// How long an ended row stands against older ones, milliseconds.
            pub(super) fn grace_ms(self) -> i64 {
                match self { $(Self::$table => $grace),+ }
            }
        }
    };
}

tables! {
    Residents = 1 "residents" 0;
    Households = 2 "households" 0;
    Homes = 3 "homes" 0;
    HomesByCell = 4 "homes_by_cell" GRACE_MS;
    PendingHomes = 5 "pending_homes" 0;
    Devices = 6 "devices" 0;
    Neighborhoods = 7 "neighborhoods" 0;
    NeighborhoodVersions = 8 "neighborhood_versions" 0;
    Intents = 9 "intents" 0;
    Operators = 10 "operators" 0;
    /// A key is of one record of the log: every write of it has the same end, and nothing is left to stand against.
    EventSeen = 11 "event_seen" 0;
    Items = 12 "items" GRACE_MS;
    LastItems = 13 "last_items" GRACE_MS;
    Feeds = 14 "feeds" GRACE_MS;
    Media = 15 "media" GRACE_MS;
    MediaByEvent = 16 "media_by_event" GRACE_MS;
    Sweeps = 17 "sweeps" 0;
    /// As in `event_seen`: the end follows from the alert.
    PushLedger = 18 "push_ledger" 0;
    PushesByAlert = 19 "pushes_by_alert" 0;
    /// What the store notes of itself.
    Notes = 20 "notes" 0;
}

/// A key, or the beginning of some.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// The beginning of every key of a table.
    pub(super) fn of(table: Table) -> Self {
        Self(vec![table as u8])
    }

    pub(super) fn uuid(mut self, id: Uuid) -> Self {
        self.0.extend(id.as_bytes());
        self
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// With the sign turned, so that what is below zero sorts first.
    pub(super) fn i64(mut self, n: i64) -> Self {
        self.0.extend((n ^ i64::MIN).to_be_bytes());
        self
    }

    /// Likewise.
    pub(super) fn i32(mut self, n: i32) -> Self {
        self.0.extend((n ^ i32::MIN).to_be_bytes());
        self
    }

    pub(super) fn time(self, at: Timestamp) -> Self {
        self.i64(at.0)
    }

    pub(super) fn table(&self) -> Option<Table> {
        Table::of(&self.0)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The first bytes after all that begin with these.
    fn successor(mut self) -> Bound<Vec<u8>> {
        while let Some(last) = self.0.pop() {
            if let Some(next) = last.checked_add(1) {
                self.0.push(next);
                return Bound::Excluded(self.0);
            }
        }
        Bound::Unbounded
    }
}

/// A range of keys.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Some keys that stand side by side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    table: Table,
    bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl Span {
    /// All that begin with a key.
    pub(super) fn of(table: Table, prefix: Key) -> Self {
        Self { table, bounds: (Bound::Included(prefix.0.clone()), prefix.successor()) }
    }

    /// Those after a key.
    pub(super) fn after(mut self, key: Key) -> Self {
        self.bounds.0 = Bound::Excluded(key.0);
        self
    }

    /// Those from a key on.
    pub(super) fn from(mut self, key: Key) -> Self {
        self.bounds.0 = Bound::Included(key.0);
        self
    }

    /// Those before a key.
    pub(super) fn before(mut self, key: Key) -> Self {
        self.bounds.1 = Bound::Excluded(key.0);
        self
    }

    pub(super) fn table(&self) -> Table {
        self.table
    }

    /// As a range; `None` if nothing can lie in it.
    pub(super) fn bounds(&self) -> Option<Bounds<'_>> {
        let as_bytes = |bound| Bound::map(bound, Vec::as_slice);
        let (from, until) = (as_bytes(self.bounds.0.as_ref()), as_bytes(self.bounds.1.as_ref()));
        let is_empty = match (from, until) {
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(until)) => from >= until,
            _ => false,
        };
        (!is_empty).then_some((from, until))
    }
}

/// The parts of a key, read from the front. A key that is too short is a row that means nothing.
pub(super) struct Parts<'a> {
    table: Table,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(table: Table, key: &'a [u8]) -> Self {
        Self { table, rest: key.get(1..).unwrap_or_default() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (part, rest) = self.rest.split_first_chunk().ok_or_else(|| corrupt(self.table.name(), "key"))?;
        self.rest = rest;
        Ok(*part)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, StoreError> {
        self.take().map(Uuid::from_bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, StoreError> {
        self.take().map(|[byte]| byte)
    }

    pub(super) fn i64(&mut self) -> Result<i64, StoreError> {
        self.take().map(|bytes| i64::from_be_bytes(bytes) ^ i64::MIN)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.i64().map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    type Values = (u128, i64, i32, u8);

    fn key((id, long, short, byte): Values) -> Key {
        Key::of(Table::Items).i64(long).uuid(Uuid::from_u128(id)).i32(short).byte(byte)
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_parts_do(a in any::<Values>(), b in any::<Values>(), same in any::<bool>()) {
            let b = if same { (b.0, a.1, b.2, b.3) } else { b };
            let order = |v: Values| (v.1, Uuid::from_u128(v.0), v.2, v.3);
            prop_assert_eq!(key(a).bytes().cmp(key(b).bytes()), order(a).cmp(&order(b)));
        }

        #[test]
        fn parts_come_back(id in any::<u128>(), at in any::<i64>(), byte in any::<u8>()) {
            let key = Key::of(Table::Feeds).byte(byte).uuid(Uuid::from_u128(id)).time(Timestamp(at));
            let mut parts = Parts::of(Table::Feeds, key.bytes());
            prop_assert_eq!(parts.byte().unwrap(), byte);
            prop_assert_eq!(parts.uuid().unwrap(), Uuid::from_u128(id));
            prop_assert_eq!(parts.time().unwrap(), Timestamp(at));
            prop_assert_eq!(parts.byte().is_err(), true);
        }

        #[test]
        fn a_span_holds_what_begins_with_its_prefix_and_nothing_else(
            prefix in proptest::collection::vec(any::<u8>(), 0..3),
            key in proptest::collection::vec(any::<u8>(), 0..5),
        ) {
            let span = Span::of(Table::Items, Key(prefix.clone()));
            let (from, until) = span.bounds().unwrap();
            let holds = std::ops::RangeBounds::<[u8]>::contains(&(from, until), key.as_slice());
            prop_assert_eq!(holds, key.starts_with(&prefix));
        }
    }

    #[test]
    fn spans_end_where_they_are_told_to() {
        let at = |n| Key::of(Table::Items).i64(n);
        let all = Span::of(Table::Items, Key::of(Table::Items));
        let holds =
            |span: &Span, n| span.bounds().is_some_and(|b| std::ops::RangeBounds::<[u8]>::contains(&b, at(n).bytes()));
        let span = all.clone().from(at(-1)).before(at(2));
        assert_eq!([-2, -1, 1, 2].map(|n| holds(&span, n)), [false, true, true, false]);
        assert!(!holds(&all.clone().after(at(5)), 5) && holds(&all.clone().after(at(5)), 6));
        for (from, until) in [(3, 3), (4, 3)] {
            assert_eq!(all.clone().from(at(from)).before(at(until)).bounds(), None, "a range that runs backwards");
        }
    }

    #[test]
    fn every_table_is_known_by_its_first_byte() {
        for (i, table) in Table::ALL.iter().enumerate() {
            assert_eq!(*table as usize, i + 1, "numbers are never given twice");
            assert_eq!(Key::of(*table).table(), Some(*table));
        }
        assert_eq!((Table::of(&[]), Table::of(&[0]), Table::of(&[200])), (None, None, None));
    }
}
