//! Keeps the hub right about where people live: every home that changes is announced by an intent, whichever gateway
//! writes it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use porchlight_domain::{Clock, Home, HomeId, HouseholdId, Residence, Timestamp};
use porchlight_store::{IntentKind, Read, Registry, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

use super::hub::Hub;
use crate::owned::living;

/// How often moves are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a home is read again after its intent: the row is written later than that, and clocks differ.
const REPEAT_MS: i64 = 30_000;
/// How far another gateway's clock may be ahead.
const AHEAD_MS: i64 = 5_000;
/// Intents are kept this long.
const INTENTS_KEPT_MS: i64 = 10 * 60_000;
/// How many rows are read side by side.
const SIDE_BY_SIDE: usize = 16;
/// How many homes' households are remembered before all are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// Looks for moves.
pub(super) struct Moves {
    hub: Hub,
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    /// Whose a home is: that never changes.
    households: HashMap<HomeId, HouseholdId>,
    read_until: Option<Timestamp>,
}

impl Moves {
    pub(super) fn new(hub: Hub, registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        Self { hub, registry, clock, households: HashMap::new(), read_until: None }
    }

    /// Looks once a second, for ever.
    pub(super) async fn run(mut self) {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.hub.tidy(self.clock.now());
            if let Err(error) = self.look().await {
                // After a few seconds each stream asks for itself.
                tracing::debug!(%error, "moves could not be looked for");
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let (began, now, open) = (Instant::now(), self.clock.now(), self.hub.households());
        // Who opens a stream reads where they live, and what was announced shortly before is looked at next time.
        let moved = if open.is_empty() { HashSet::new() } else { self.moved(now, &open).await? };
        stream::iter(moved.into_iter().map(Ok))
            .try_for_each_concurrent(SIDE_BY_SIDE, |household| self.read_again(household))
            .await?;
        self.read_until = Some(now);
        self.hub.looked(began);
        Ok(())
    }

    /// Those of the households that may have moved since the last look.
    async fn moved(&mut self, now: Timestamp, open: &HashSet<HouseholdId>) -> Result<HashSet<HouseholdId>, StoreError> {
        let oldest = now.plus_ms(-INTENTS_KEPT_MS);
        let from = self.read_until.unwrap_or(now).plus_ms(-REPEAT_MS);
        if from < oldest {
            // Intents of the time since have ended: nobody knows who moved.
            return Ok(open.clone());
        }
        let intents = self.registry.intents(from, now.plus_ms(AHEAD_MS)).await?;
        let homes: HashSet<HomeId> = intents
            .iter()
            .filter_map(|intent| match intent.kind {
                IntentKind::Home(id) => Some(id),
                IntentKind::Device(_) | IntentKind::Neighborhood(_) => None,
            })
            .collect();
        if self.households.len() > MAX_REMEMBERED {
            self.households.clear();
        }
        self.remember(homes.iter().copied().filter(|id| !self.households.contains_key(id)).collect()).await?;
        Ok(homes.iter().filter_map(|id| self.households.get(id)).filter(|id| open.contains(id)).copied().collect())
    }

    /// A home whose row is not there yet is asked for again next time.
    async fn remember(&mut self, unknown: Vec<HomeId>) -> Result<(), StoreError> {
        let registry = &self.registry;
        let rows: Vec<Option<Home>> = stream::iter(unknown)
            .map(|id| registry.home(id, Read::Quorum))
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        self.households.extend(rows.into_iter().flatten().map(|home| (home.id, home.household)));
        Ok(())
    }

    async fn read_again(&self, household: HouseholdId) -> Result<(), StoreError> {
        let read_at = Instant::now();
        let homes: Vec<Home> = living(&*self.registry, household).await?;
        let residences: Vec<Residence> = homes.iter().map(Residence::from).collect();
        self.hub.lives_at(household, &residences, read_at);
        Ok(())
    }
}
