//! The store's traits over the town: what the service asks for, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{
    AlertId, Cell, Device, DeviceId, Home, HomeId, HouseholdId, NeighborhoodId, NeighborhoodRef, PushId, Resident,
    ResidentId, Timestamp, Version,
};
use porchlight_store::{
    Deliveries, Delivery, DeliveryOutcome, Household, Intent, PlacedHome, Read, Registry, StoreError, Written,
};
use porchlight_wire::NeighborhoodRecord;

use super::Town;

pub(super) struct Rows(pub(super) Arc<Town>);

#[async_trait]
impl Deliveries for Rows {
    async fn outcome(&self, push: PushId, _: ResidentId, _: Timestamp) -> Result<Option<DeliveryOutcome>, StoreError> {
        Ok(self.0.state().ledger.iter().find(|d| d.push == push).map(|d| d.outcome))
    }

    async fn record(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let mut state = self.0.state();
        if state.ledger_stumbles > 0 {
            state.ledger_stumbles -= 1;
            return Err(StoreError::Unavailable("stumbles".into()));
        }
        state.ledger.retain(|d| d.push != delivery.push);
        state.ledger.push(delivery.clone());
        Ok(())
    }

    async fn of_alert(&self, _: AlertId) -> Result<Vec<Delivery>, StoreError> {
        not_asked()
    }

    async fn of_alert_to(&self, _: AlertId, _: ResidentId) -> Result<Vec<Delivery>, StoreError> {
        not_asked()
    }
}

fn not_asked<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("not asked by this service".into()))
}

#[async_trait]
impl Registry for Rows {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn resident(&self, id: ResidentId) -> Result<Option<Resident>, StoreError> {
        Ok(self.0.state().residents.get(&id).cloned())
    }
    async fn put_resident(&self, resident: &Resident, expected: Option<Version>) -> Result<Written, StoreError> {
        let mut state = self.0.state();
        if state.residents.get(&resident.id).map(|r| r.version) != expected {
            return Ok(Written::Conflict);
        }
        state.residents.insert(resident.id, resident.clone());
        Ok(Written::Applied)
    }
    async fn household(&self, id: HouseholdId) -> Result<Household, StoreError> {
        Ok(self.0.state().households.get(&id).cloned().unwrap_or_default())
    }
    async fn add_resident(&self, _: HouseholdId, _: ResidentId) -> Result<(), StoreError> {
        not_asked()
    }
    async fn set_home(&self, _: HouseholdId, _: HomeId, _: bool) -> Result<(), StoreError> {
        not_asked()
    }
    async fn set_device(&self, _: HouseholdId, _: DeviceId, _: bool) -> Result<(), StoreError> {
        not_asked()
    }
    async fn home(&self, id: HomeId, _: Read) -> Result<Option<Home>, StoreError> {
        Ok(self.0.state().homes.get(&id).cloned())
    }
    async fn put_home(&self, _: &Home, _: Option<Version>) -> Result<Written, StoreError> {
        not_asked()
    }
    async fn place_home(&self, _: &PlacedHome) -> Result<(), StoreError> {
        not_asked()
    }
    async fn unplace_home(&self, _: Cell, _: HomeId, _: Version) -> Result<(), StoreError> {
        not_asked()
    }
    async fn homes_in(&self, cell: Cell, after: Option<HomeId>, limit: usize) -> Result<Vec<PlacedHome>, StoreError> {
        let mut state = self.0.state();
        let of_cell = state.placed.iter().filter(|((key, id), _)| *key == cell.key() && after.is_none_or(|a| *id > a));
        let page: Vec<PlacedHome> = of_cell.take(limit).map(|(_, home)| home.clone()).collect();
        state.pages.push(page.len());
        Ok(page)
    }
    async fn pending_homes(&self, _: usize) -> Result<Vec<HomeId>, StoreError> {
        not_asked()
    }
    async fn device(&self, _: DeviceId, _: Read) -> Result<Option<Device>, StoreError> {
        not_asked()
    }
    async fn put_device(&self, _: &Device, _: Option<Version>) -> Result<Written, StoreError> {
        not_asked()
    }
    async fn neighborhood(&self, id: NeighborhoodId, _: Read) -> Result<Option<NeighborhoodRecord>, StoreError> {
        let state = self.0.state();
        Ok(state.versions.values().filter(|r| r.id == id).max_by_key(|r| r.version).cloned())
    }
    async fn neighborhood_at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        Ok(self.0.state().versions.get(&at).cloned())
    }
    async fn put_neighborhood(&self, _: &NeighborhoodRecord, _: Option<Version>) -> Result<Written, StoreError> {
        not_asked()
    }
    async fn neighborhood_ids(&self, _: Option<NeighborhoodId>, _: usize) -> Result<Vec<NeighborhoodId>, StoreError> {
        not_asked()
    }
    async fn device_ids(&self, _: Option<DeviceId>, _: usize) -> Result<Vec<DeviceId>, StoreError> {
        not_asked()
    }
    async fn intend(&self, _: Intent) -> Result<(), StoreError> {
        not_asked()
    }
    async fn intents(&self, _: Timestamp, _: Timestamp) -> Result<Vec<Intent>, StoreError> {
        not_asked()
    }
    async fn is_operator(&self, _: ResidentId) -> Result<bool, StoreError> {
        not_asked()
    }
    async fn add_operator(&self, _: ResidentId, _: &str) -> Result<(), StoreError> {
        not_asked()
    }
}
