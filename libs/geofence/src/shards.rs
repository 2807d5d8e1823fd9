//! A map that is cheap to copy and change: copies share all but the shards that were changed since.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

/// How many. A change copies one of them, a copy counts up as many references.
const SHARDS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    hasher: RandomState,
    shards: Vec<Arc<HashMap<K, V>>>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let none = Arc::new(HashMap::new());
        Self { hasher: RandomState::new(), shards: vec![none; SHARDS] }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.shards[self.shard(key)].get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let shard = self.shard(&key);
        Arc::make_mut(&mut self.shards[shard]).insert(key, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// Heap bytes of the map itself, as allocated: a slot and a byte of bookkeeping for each place.
    pub(crate) fn memory_bytes(&self) -> usize {
        let slots: usize = self.shards.iter().map(|shard| shard.capacity() * 8 / 7).sum();
        slots * (size_of::<(K, V)>() + 1) + SHARDS * (size_of::<HashMap<K, V>>() + 3 * size_of::<usize>())
    }

    fn shard(&self, key: &K) -> usize {
        usize::from(self.hasher.hash_one(key).to_le_bytes()[0]) % SHARDS
    }
}
