//! The entries of a table, where many read and one writes.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::TableEntry;

/// In so many parts, each under its own lock, so that a reader waits at most for one insert (or one part's growth) and
/// only if it asks for the same part.
const SHARDS: usize = 64;

/// What is kept of a key.
pub(super) struct Kept<V> {
    pub(super) value: Arc<V>,
    /// The record's bytes where the value's own encoding is not them: another build may read more out of them. Only a
    /// table that writes snapshots keeps them; no build of the same age as the writer's needs them.
    raw: Option<Arc<Vec<u8>>>,
    pub(super) partition: i32,
}

impl<V: TableEntry> Kept<V> {
    /// For a table without snapshots.
    pub(super) fn new(value: V, partition: i32) -> Self {
        Self { value: Arc::new(value), raw: None, partition }
    }

    /// With the bytes that the value was read from, as far as they are needed.
    pub(super) fn read_from(bytes: &[u8], value: V, partition: i32) -> Self {
        let raw = (value.encode() != bytes).then(|| Arc::new(bytes.to_vec()));
        Self { raw, ..Self::new(value, partition) }
    }

    /// The bytes that the value was read from.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        self.raw.as_ref().map_or_else(|| Cow::Owned(self.value.encode()), |raw| Cow::Borrowed(raw.as_slice()))
    }
}

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), raw: self.raw.clone(), partition: self.partition }
    }
}

/// Entries by key, each with the partition it came from.
pub(super) struct Entries<V: TableEntry> {
    shards: Vec<RwLock<HashMap<V::Key, Kept<V>>>>,
    hasher: RandomState,
}

impl<V: TableEntry> Entries<V> {
    pub(super) fn new() -> Self {
        let shards = std::iter::repeat_with(RwLock::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::new() }
    }

    fn shard(&self, key: &V::Key) -> &RwLock<HashMap<V::Key, Kept<V>>> {
        let index = self.hasher.hash_one(key) % self.shards.len() as u64;
        &self.shards[usize::try_from(index).unwrap_or_default()]
    }

    /// The value of a key, and its partition.
    pub(super) fn get(&self, key: &V::Key) -> Option<(Arc<V>, i32)> {
        read(self.shard(key)).get(key).map(|kept| (Arc::clone(&kept.value), kept.partition))
    }

    /// Keeps a value, unless one of the same or a higher version is kept. Whether it was.
    pub(super) fn put(&self, kept: Kept<V>) -> bool {
        let key = kept.value.key();
        match write(self.shard(&key)).entry(key) {
            Entry::Occupied(entry) if entry.get().value.version() >= kept.value.version() => false,
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
    pub(super) fn remove(&self, key: &V::Key) {
        write(self.shard(key)).remove(key);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// All values, in no order.
    pub(super) fn all(&self) -> Vec<Arc<V>> {
        self.parts().flatten().map(|kept| kept.value).collect()
    }

    /// All that is kept, copied part by part: the writer waits for the copy of one part at most, and each part is as of
    /// the moment at which it is asked for.
    pub(super) fn parts(&self) -> impl Iterator<Item = Vec<Kept<V>>> {
        self.shards.iter().map(|shard| read(shard).values().cloned().collect())
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
    use super::{super::tests::device, *};

    #[test]
    fn the_highest_version_stays_whatever_the_order() {
        let entries = Entries::new();
        let put = |version, partition| entries.put(Kept::new(device(1, version), partition));
        assert!(put(2, 0));
        assert!(!put(1, 0), "lower");
        assert!(!put(2, 3), "repeated");
        assert!(put(3, 5));
        assert_eq!(entries.get(&device(1, 0).id), Some((Arc::new(device(1, 3)), 5)));
        entries.remove(&device(1, 0).id);
        assert_eq!((entries.get(&device(1, 0).id), entries.len()), (None, 0));
    }

    #[test]
    fn all_of_many_are_found() {
        let entries = Entries::new();
        for n in 0..1000 {
            entries.put(Kept::new(device(n, 1), 0));
        }
        let mut all: Vec<u128> = entries.all().iter().map(|value| value.id.0.as_u128()).collect();
        all.sort_unstable();
        assert_eq!((all, entries.len()), ((0..1000).collect(), 1000));
    }

    #[test]
    fn the_bytes_of_a_record_stay_what_they_were_even_if_this_build_reads_less_out_of_them() {
        let value = device(1, 1);
        let plain = porchlight_wire::Wire::encode(&value);
        let kept = Kept::read_from(&plain, value.clone(), 0);
        assert!(kept.raw.is_none(), "no second copy");
        assert_eq!(*kept.bytes(), plain);
        // Field 1000, a varint: of a later build.
        let later = [plain, vec![0xc0, 0x3e, 0x01]].concat();
        let value = porchlight_wire::Wire::decode(&later).expect("unknown fields are passed over");
        assert_eq!(*Kept::<porchlight_domain::Device>::read_from(&later, value, 0).bytes(), later);
    }
}
