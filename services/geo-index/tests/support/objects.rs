//! A store of objects in memory, and a registry that knows devices.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use async_trait::async_trait;
use porchlight_clips::{Grant, Object, Stat, Upload, Vault, VaultError};
use porchlight_domain::{
    Cell, ChosenId, Cleared, Device, DeviceId, Home, HomeId, HouseholdId, Media, MediaId, NeighborhoodId,
    NeighborhoodRef, Plan, Point, Resident, ResidentId, SharingPolicy, Timestamp, Version, view::MediaView,
};
use porchlight_store::{Household, Intent, PlacedHome, Read, Registry, StoreError, Written};
use porchlight_wire::NeighborhoodRecord;
use uuid::Uuid;

/// The objects by their names.
#[derive(Default)]
pub struct Objects {
    objects: Mutex<BTreeMap<String, Object>>,
    away: Mutex<bool>,
}

impl Objects {
    /// Puts the object of a media.
    pub fn put(&self, media: &Media, put_at: Timestamp) {
        let name = format!("media/{}/{}", media.device, media.id);
        let object = Object { name: name.clone(), media: Some(media.id), put_at, bytes: media.bytes };
        self.objects.lock().unwrap().insert(name, object);
    }

    pub fn has(&self, media: &Media) -> bool {
        self.objects.lock().unwrap().values().any(|o| o.media == Some(media.id))
    }

    /// No call is answered, until it is set to `false`.
    pub fn away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }
}

#[async_trait]
impl Vault for Objects {
    async fn upload(&self, _: &Grant, _: Timestamp) -> Result<Upload, VaultError> {
        Err(VaultError::Refused("not asked by this service".into()))
    }
    async fn read_url(&self, _: &Cleared<MediaView>, _: Timestamp) -> Result<(String, Timestamp), VaultError> {
        Err(VaultError::Refused("not asked by this service".into()))
    }
    async fn stat(&self, _: MediaId) -> Result<Option<Stat>, VaultError> {
        Err(VaultError::Refused("not asked by this service".into()))
    }
    async fn remove(&self, name: &str) -> Result<(), VaultError> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
    async fn remove_media(&self, _: MediaId) -> Result<(), VaultError> {
        Err(VaultError::Refused("not asked by this service".into()))
    }
    async fn list(&self, shard: u8, after: &str, limit: usize) -> Result<Vec<Object>, VaultError> {
        if *self.away.lock().unwrap() {
            return Err(VaultError::Unavailable("away".into()));
        }
        let of_shard = format!("media/{shard:x}");
        let objects = self.objects.lock().unwrap();
        let later = objects.values().filter(|o| o.name.starts_with(&of_shard) && o.name.as_str() > after);
        Ok(later.take(limit).cloned().collect())
    }
    async fn ping(&self) -> Result<(), VaultError> {
        Ok(())
    }
}

/// Devices by their plans, and how often each was asked for.
#[derive(Default)]
pub struct Devices {
    devices: Mutex<HashMap<DeviceId, Device>>,
    asked: Mutex<usize>,
}

impl Devices {
    pub fn set(&self, id: DeviceId, retention_days: u16, deleted: bool) {
        let device = Device {
            id,
            chosen: ChosenId(Uuid::nil()),
            household: HouseholdId(Uuid::from_u128(2)),
            home: HomeId(Uuid::nil()),
            name: String::new(),
            point: Point { lon_e7: 0, lat_e7: 0 },
            policy: SharingPolicy::default(),
            plan: Plan { retention_days, clips: true },
            credential: None,
            deleted,
            version: Version(1),
            updated_at: Timestamp(0),
        };
        self.devices.lock().unwrap().insert(id, device);
    }

    pub fn asked(&self) -> usize {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn not_asked<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("not asked by this service".into()))
}

#[async_trait]
impl Registry for Devices {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn resident(&self, _: ResidentId) -> Result<Option<Resident>, StoreError> {
        not_asked()
    }
    async fn put_resident(&self, _: &Resident, _: Option<Version>) -> Result<Written, StoreError> {
        not_asked()
    }
    async fn household(&self, _: HouseholdId) -> Result<Household, StoreError> {
        not_asked()
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
    async fn home(&self, _: HomeId, _: Read) -> Result<Option<Home>, StoreError> {
        not_asked()
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
    async fn homes_in(&self, _: Cell, _: Option<HomeId>, _: usize) -> Result<Vec<PlacedHome>, StoreError> {
        not_asked()
    }
    async fn pending_homes(&self, _: usize) -> Result<Vec<HomeId>, StoreError> {
        not_asked()
    }
    async fn device(&self, id: DeviceId, _: Read) -> Result<Option<Device>, StoreError> {
        *self.asked.lock().unwrap() += 1;
        Ok(self.devices.lock().unwrap().get(&id).cloned())
    }
    async fn put_device(&self, _: &Device, _: Option<Version>) -> Result<Written, StoreError> {
        not_asked()
    }
    async fn neighborhood(&self, _: NeighborhoodId, _: Read) -> Result<Option<NeighborhoodRecord>, StoreError> {
        not_asked()
    }
    async fn neighborhood_at(&self, _: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError> {
        not_asked()
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
