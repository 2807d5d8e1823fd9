//! The entries of a table, where many read and one writes.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// In so many parts, each under its own lock, so that a reader waits at most for one insert (or one part's growth) and
/// only if it asks for the same part.
const SHARDS: usize = 64;

struct Kept<V> {
    value: Arc<V>,
    version: u64,
    partition: i32,
}

/// Entries by key, each with its version and the partition it came from.
pub(super) struct Entries<K, V> {
    shards: Vec<RwLock<HashMap<K, Kept<V>>>>,
    hasher: RandomState,
}

impl<K: Eq + Hash, V> Entries<K, V> {
    pub(super) fn new() -> Self {
        let shards = std::iter::repeat_with(RwLock::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::new() }
    }

    fn shard(&self, key: &K) -> &RwLock<HashMap<K, Kept<V>>> {
        let index = self.hasher.hash_one(key) % self.shards.len() as u64;
        &self.shards[usize::try_from(index).unwrap_or_default()]
    }

    /// The value of a key, and its partition.
    pub(super) fn get(&self, key: &K) -> Option<(Arc<V>, i32)> {
        read(self.shard(key)).get(key).map(|kept| (Arc::clone(&kept.value), kept.partition))
    }

    /// Keeps a value, unless one of the same or a higher version is kept. Whether it was.
    pub(super) fn put(&self, key: K, version: u64, value: &Arc<V>, partition: i32) -> bool {
        let kept = Kept { value: Arc::clone(value), version, partition };
        match write(self.shard(&key)).entry(key) {
            Entry::Occupied(entry) if entry.get().version >= version => false,
            Entry::Occupied(mut entry) => {
                entry.insert(kept);
                true
            }
            Entry::Vacant(entry) => {
                entry.insert(kept);
                true
            }
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&self, key: &K) {
        write(self.shard(key)).remove(key);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// All values, in no order.
    pub(super) fn all(&self) -> Vec<Arc<V>> {
        let of = |shard: &RwLock<HashMap<K, Kept<V>>>| -> Vec<_> {
            read(shard).values().map(|kept| Arc::clone(&kept.value)).collect()
        };
        self.shards.iter().flat_map(of).collect()
    }
}

// A panic while a lock is held cannot leave a map half changed: nothing between the lock and the change can panic.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_stays_whatever_the_order() {
        let entries = Entries::new();
        assert!(entries.put(1, 2, &Arc::new("v2"), 0));
        assert!(!entries.put(1, 1, &Arc::new("v1"), 0), "lower");
        assert!(!entries.put(1, 2, &Arc::new("v2 again"), 0), "repeated");
        assert!(entries.put(1, 3, &Arc::new("v3"), 5));
        assert_eq!(entries.get(&1), Some((Arc::new("v3"), 5)));
        entries.remove(&1);
        assert_eq!((entries.get(&1), entries.len()), (None, 0));
    }

    #[test]
    fn all_of_many_are_found() {
        let entries = Entries::new();
        for n in 0..1000 {
            entries.put(n, 1, &Arc::new(n), 0);
        }
        let mut all: Vec<i32> = entries.all().iter().map(|value| **value).collect();
        all.sort_unstable();
        assert_eq!((all, entries.len()), ((0..1000).collect(), 1000));
    }
}
