//! The four repositories in memory, as strict as their traits say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use porchlight_domain::{
    AlertId, Cell, Device, DeviceId, EventId, Home, HomeId, HouseholdId, Item, ItemId, Media, MediaId, NeighborhoodId,
    NeighborhoodRef, PushId, Resident, ResidentId, Timestamp, Version, item::GroupKey,
};
use porchlight_store::{
    Deliveries, Delivery, DeliveryOutcome, FeedEntry, FeedOwner, FeedPosition, Household, Intent, MediaIndex, MediaRow,
    PlacedHome, Read, Registry, SeenEvent, Store, StoreError, Sweep, Timeline, Written,
};
use porchlight_wire::NeighborhoodRecord;
use uuid::Uuid;

/// What a test makes the next conditional write do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is applied, but the answer is lost.
    AppliedUnknown,
    /// It is not applied, and the answer is lost.
    LostUnknown,
}

#[derive(Default)]
pub struct State {
    pub residents: HashMap<ResidentId, Resident>,
    pub households: HashMap<HouseholdId, Household>,
    pub homes: HashMap<HomeId, Home>,
    pub placed: BTreeMap<(i32, HomeId), (Version, Option<PlacedHome>)>,
    pub devices: BTreeMap<DeviceId, Device>,
    pub neighborhoods: BTreeMap<NeighborhoodId, NeighborhoodRecord>,
    pub versions: HashMap<NeighborhoodRef, NeighborhoodRecord>,
    pub intents: Vec<Intent>,
    pub operators: BTreeSet<ResidentId>,
    pub items: HashMap<ItemId, Item>,
    pub seen: HashMap<(DeviceId, EventId), SeenEvent>,
    pub media: HashMap<MediaId, MediaRow>,
    pub feeds: HashMap<FeedOwner, BTreeSet<FeedPosition>>,
    pub deliveries: Vec<Delivery>,
    /// Taken by the next conditional write.
    pub fault: Option<Fault>,
    /// Whether the store answers at all.
    pub away: bool,
    /// Whether it answers everything but which intents there are.
    pub intents_away: bool,
}

/// All four repositories.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub fn store(&self) -> Store {
        Store {
            registry: Arc::new(self.clone()),
            timeline: Arc::new(self.clone()),
            media: Arc::new(self.clone()),
            deliveries: Arc::new(self.clone()),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn ask(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        if state.away { Err(StoreError::Unavailable("away".to_owned())) } else { Ok(state) }
    }

    /// The copies by place that stand, of all cells.
    pub fn copies(&self) -> Vec<PlacedHome> {
        self.state().placed.values().filter_map(|(_, copy)| copy.clone()).collect()
    }
}

fn put(
    state: &mut State,
    stands: Option<Version>,
    expected: Option<Version>,
    new: Version,
    apply: impl FnOnce(&mut State),
) -> Result<Written, StoreError> {
    assert_eq!(new, expected.map_or(Version(1), Version::next), "a version follows the one it replaces");
    let unknown = || Err(StoreError::Unknown("the answer is lost".to_owned()));
    match state.fault.take() {
        Some(Fault::LostUnknown) => return unknown(),
        Some(Fault::AppliedUnknown) => {
            apply(state);
            return unknown();
        }
        None => {}
    }
    if stands != expected {
        return Ok(Written::Conflict);
    }
    apply(state);
    Ok(Written::Applied)
}

fn set<T: PartialEq>(of: &mut Vec<T>, id: T, present: bool) {
    of.retain(|other| *other != id);
    if present {
        of.push(id);
    }
}

#[async_trait]
impl Registry for Memory {
    async fn ping(&self) -> Result<(), StoreError> {
        self.ask().map(|_| ())
    }

    async fn resident(&self, id: ResidentId) -> Result<Option<Resident>, StoreError> {
        Ok(self.ask()?.residents.get(&id).cloned())
    }
    async fn put_resident(&self, resident: &Resident, expected: Option<Version>) -> Result<Written, StoreError> {
        let mut state = self.ask()?;
        let stands = state.residents.get(&resident.id).map(|r| r.version);
        put(&mut state, stands, expected, resident.version, |s| {
            s.residents.insert(resident.id, resident.clone());
        })
    }

    async fn household(&self, id: HouseholdId) -> Result<Household, StoreError> {
        Ok(self.ask()?.households.get(&id).cloned().unwrap_or_default())
    }
    async fn add_resident(&self, household: HouseholdId, resident: ResidentId) -> Result<(), StoreError> {
        set(&mut self.ask()?.households.entry(household).or_default().residents, resident, true);
        Ok(())
    }
    async fn set_home(&self, household: HouseholdId, home: HomeId, present: bool) -> Result<(), StoreError> {
        set(&mut self.ask()?.households.entry(household).or_default().homes, home, present);
        Ok(())
    }
    async fn set_device(&self, household: HouseholdId, device: DeviceId, present: bool) -> Result<(), StoreError> {
        set(&mut self.ask()?.households.entry(household).or_default().devices, device, present);
        Ok(())
    }

    async fn home(&self, id: HomeId, _: Read) -> Result<Option<Home>, StoreError> {
        Ok(self.ask()?.homes.get(&id).cloned())
    }
    async fn put_home(&self, home: &Home, expected: Option<Version>) -> Result<Written, StoreError> {
        let mut state = self.ask()?;
        let stands = state.homes.get(&home.id).map(|h| h.version);
        put(&mut state, stands, expected, home.version, |s| {
            s.homes.insert(home.id, home.clone());
        })
    }
    async fn place_home(&self, home: &PlacedHome) -> Result<(), StoreError> {
        let mut state = self.ask()?;
        let copy = state.placed.entry((Cell::of(home.point).key(), home.home)).or_insert((Version(0), None));
        if home.version >= copy.0 {
            *copy = (home.version, Some(home.clone()));
        }
        Ok(())
    }
    async fn unplace_home(&self, cell: Cell, home: HomeId, version: Version) -> Result<(), StoreError> {
        let mut state = self.ask()?;
        let copy = state.placed.entry((cell.key(), home)).or_insert((Version(0), None));
        if version >= copy.0 {
            *copy = (version, None);
        }
        Ok(())
    }
    async fn homes_in(&self, cell: Cell, after: Option<HomeId>, limit: usize) -> Result<Vec<PlacedHome>, StoreError> {
        let state = self.ask()?;
        let here = state.placed.iter().filter(|((key, id), _)| *key == cell.key() && after.is_none_or(|a| *id > a));
        Ok(here.filter_map(|(_, (_, copy))| copy.clone()).take(limit).collect())
    }
    async fn pending_homes(&self, limit: usize) -> Result<Vec<HomeId>, StoreError> {
        let state = self.ask()?;
        Ok(state.homes.values().filter(|h| !h.verified && !h.deleted).map(|h| h.id).take(limit).collect())
    }

    async fn device(&self, id: DeviceId, _: Read) -> Result<Option<Device>, StoreError> {
        Ok(self.ask()?.devices.get(&id).cloned())
    }
    async fn put_device(&self, device: &Device, expected: Option<Version>) -> Result<Written, StoreError> {
        let mut state = self.ask()?;
        let stands = state.devices.get(&device.id).map(|d| d.version);
        put(&mut state, stands, expected, device.version, |s| {
            s.devices.insert(device.id, device.clone());
        })
    }

    async fn neighborhood(&self, id: NeighborhoodId, _: Read) -> Result<Option<NeighborhoodRecord>, StoreError> {
        Ok(self.ask()?.neighborhoods.get(&id).cloned())
    }
    async fn neighborhood_at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        Ok(self.ask()?.versions.get(&at).cloned())
    }
    async fn put_neighborhood(
        &self,
        record: &NeighborhoodRecord,
        expected: Option<Version>,
    ) -> Result<Written, StoreError> {
        let mut state = self.ask()?;
        let stands = state.neighborhoods.get(&record.id).map(|n| n.version);
        put(&mut state, stands, expected, record.version, |s| {
            s.versions.insert(NeighborhoodRef { id: record.id, version: record.version }, record.clone());
            s.neighborhoods.insert(record.id, record.clone());
        })
    }
    async fn neighborhood_ids(
        &self,
        after: Option<NeighborhoodId>,
        limit: usize,
    ) -> Result<Vec<NeighborhoodId>, StoreError> {
        let state = self.ask()?;
        Ok(state.neighborhoods.keys().filter(|id| after.is_none_or(|a| **id > a)).take(limit).copied().collect())
    }
    async fn device_ids(&self, after: Option<DeviceId>, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        let state = self.ask()?;
        Ok(state.devices.keys().filter(|id| after.is_none_or(|a| **id > a)).take(limit).copied().collect())
    }

    async fn intend(&self, intent: Intent) -> Result<(), StoreError> {
        self.ask()?.intents.push(intent);
        Ok(())
    }
    async fn intents(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Intent>, StoreError> {
        let state = self.ask()?;
        if state.intents_away {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        Ok(state.intents.iter().filter(|i| (from..=until).contains(&i.at)).copied().collect())
    }

    async fn is_operator(&self, id: ResidentId) -> Result<bool, StoreError> {
        Ok(self.ask()?.operators.contains(&id))
    }
    async fn add_operator(&self, id: ResidentId, _: &str) -> Result<(), StoreError> {
        self.ask()?.operators.insert(id);
        Ok(())
    }
}

#[async_trait]
impl Timeline for Memory {
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError> {
        assert!(event.day().is_some(), "the store has days, and takes ids of version 7 alone");
        Ok(self.ask()?.seen.get(&(device, event)).cloned())
    }
    async fn record_seen(&self, _: &SeenEvent) -> Result<(), StoreError> {
        unreachable!("the gateway writes no events")
    }
    async fn seen_on(&self, _: DeviceId, _: i32) -> Result<Vec<SeenEvent>, StoreError> {
        unreachable!("the gateway asks for no events")
    }
    async fn last_item(&self, _: GroupKey) -> Result<Option<ItemId>, StoreError> {
        unreachable!("the gateway groups nothing")
    }

    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        Ok(self.ask()?.items.get(&id).cloned())
    }
    async fn put_item(&self, item: &Item) -> Result<(), StoreError> {
        self.ask()?.items.insert(item.id, item.clone());
        Ok(())
    }
    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError> {
        let Some(position) = FeedPosition::of(owner, item) else { return Ok(()) };
        self.ask()?.feeds.entry(owner).or_default().insert(position);
        Ok(())
    }
    async fn feed(
        &self,
        owner: FeedOwner,
        before: Option<FeedPosition>,
        not_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let state = self.ask()?;
        let Some(feed) = state.feeds.get(&owner) else { return Ok(Vec::new()) };
        let older = feed.iter().rev().filter(|p| before.is_none_or(|b| **p < b) && p.at >= not_before);
        let entry = |p: &FeedPosition| FeedEntry { position: *p, expires_at: Timestamp(i64::MAX) };
        Ok(older.map(entry).take(limit).collect())
    }
}

#[async_trait]
impl MediaIndex for Memory {
    async fn put(&self, media: &Media) -> Result<(), StoreError> {
        let row = MediaRow { media: media.clone(), ends: media.expires_at() };
        self.ask()?.media.entry(media.id).or_insert(row);
        Ok(())
    }
    async fn get(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        Ok(self.ask()?.media.get(&id).cloned())
    }
    async fn of_event(&self, _: DeviceId, _: EventId) -> Result<Vec<Media>, StoreError> {
        unreachable!("the gateway links nothing")
    }
    async fn shorten(&self, media: &Media, ends: Timestamp) -> Result<(), StoreError> {
        if let Some(row) = self.ask()?.media.get_mut(&media.id) {
            row.ends = row.ends.min(ends);
        }
        Ok(())
    }
    async fn all(&self, _: Option<MediaId>, _: usize) -> Result<Vec<MediaRow>, StoreError> {
        unreachable!("the gateway audits nothing")
    }
    async fn since(&self) -> Result<Option<Timestamp>, StoreError> {
        unreachable!("the gateway sweeps no objects")
    }
    async fn take_sweep(&self, _: u8, _: Uuid, _: Timestamp) -> Result<Option<Sweep>, StoreError> {
        unreachable!("the gateway sweeps no objects")
    }
    async fn keep_sweep(&self, _: u8, _: Uuid, _: &Sweep) -> Result<bool, StoreError> {
        unreachable!("the gateway sweeps no objects")
    }
}

#[async_trait]
impl Deliveries for Memory {
    async fn outcome(&self, _: PushId, _: ResidentId, _: Timestamp) -> Result<Option<DeliveryOutcome>, StoreError> {
        unreachable!("the gateway sends nothing")
    }
    async fn record(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.ask()?.deliveries.push(delivery.clone());
        Ok(())
    }
    async fn of_alert(&self, _: AlertId) -> Result<Vec<Delivery>, StoreError> {
        unreachable!("the gateway shows a person their own alone")
    }
    async fn of_alert_to(&self, alert: AlertId, resident: ResidentId) -> Result<Vec<Delivery>, StoreError> {
        let state = self.ask()?;
        Ok(state.deliveries.iter().filter(|d| d.alert == alert && d.resident == resident).cloned().collect())
    }
}
