//! The rows that go through the mechanism, and what the projection of each is.

use async_trait::async_trait;
use porchlight_bus::Topic;
use porchlight_domain::{
    Cell, Device, DeviceId, Home, HomeId, NeighborhoodId, Timestamp, Version, home::MAX_RESIDENTS,
};
use porchlight_store::{IntentKind, PlacedHome, Read, Registry, StoreError, Written};
use porchlight_wire::{NeighborhoodRecord, Wire};

use crate::owned::Owned as _;

use super::{Registrar, WriteError, decide::cells_left};

/// A row of the registry.
#[async_trait]
pub trait Row: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// Its key.
    type Id: Copy + Eq + std::hash::Hash + Send + Sync + 'static;
    /// Its word in metrics.
    const KIND: &'static str;

    /// Its key.
    fn id(&self) -> Self::Id;
    /// Its version.
    fn version(&self) -> Version;
    /// Whether it only says that the thing is gone.
    fn deleted(&self) -> bool;
    /// At this version, written now.
    #[must_use]
    fn stamped(self, version: Version, now: Timestamp) -> Self;
    /// What is written down before it is.
    fn intent(id: Self::Id) -> IntentKind;

    /// Reads it.
    async fn read(registry: &dyn Registry, id: Self::Id, read: Read) -> Result<Option<Self>, StoreError>;
    /// Writes it if the row stands at `expected`.
    async fn put(&self, registry: &dyn Registry, expected: Option<Version>) -> Result<Written, StoreError>;
    /// Makes topic or copies say what it says. Doing it twice is doing it once.
    async fn project(&self, trail: &[Self], to: &Registrar) -> Result<(), WriteError>;
}

#[async_trait]
impl Row for Device {
    type Id = DeviceId;
    const KIND: &'static str = "device";

    fn id(&self) -> DeviceId {
        self.id
    }
    fn version(&self) -> Version {
        self.version
    }
    fn deleted(&self) -> bool {
        self.deleted
    }
    fn stamped(self, version: Version, now: Timestamp) -> Self {
        Self { version, updated_at: now, ..self }
    }
    fn intent(id: DeviceId) -> IntentKind {
        IntentKind::Device(id)
    }

    async fn read(registry: &dyn Registry, id: DeviceId, read: Read) -> Result<Option<Self>, StoreError> {
        registry.device(id, read).await
    }
    async fn put(&self, registry: &dyn Registry, expected: Option<Version>) -> Result<Written, StoreError> {
        registry.put_device(self, expected).await
    }
    async fn project(&self, _: &[Self], to: &Registrar) -> Result<(), WriteError> {
        Self::set(&*to.registry, self.household, self.id, !self.deleted).await?;
        to.publisher.publish(Topic::Devices, self.id.0.as_bytes(), &self.encode()).await?;
        Ok(())
    }
}

#[async_trait]
impl Row for NeighborhoodRecord {
    type Id = NeighborhoodId;
    const KIND: &'static str = "neighborhood";

    fn id(&self) -> NeighborhoodId {
        self.id
    }
    fn version(&self) -> Version {
        self.version
    }
    fn deleted(&self) -> bool {
        self.deleted
    }
    fn stamped(self, version: Version, now: Timestamp) -> Self {
        Self { version, updated_at: now, ..self }
    }
    fn intent(id: NeighborhoodId) -> IntentKind {
        IntentKind::Neighborhood(id)
    }

    async fn read(registry: &dyn Registry, id: NeighborhoodId, read: Read) -> Result<Option<Self>, StoreError> {
        registry.neighborhood(id, read).await
    }
    async fn put(&self, registry: &dyn Registry, expected: Option<Version>) -> Result<Written, StoreError> {
        registry.put_neighborhood(self, expected).await
    }
    async fn project(&self, _: &[Self], to: &Registrar) -> Result<(), WriteError> {
        to.publisher.publish(Topic::Neighborhoods, self.id.0.as_bytes(), &self.encode()).await?;
        Ok(())
    }
}

#[async_trait]
impl Row for Home {
    type Id = HomeId;
    const KIND: &'static str = "home";

    fn id(&self) -> HomeId {
        self.id
    }
    fn version(&self) -> Version {
        self.version
    }
    fn deleted(&self) -> bool {
        self.deleted
    }
    /// `since` is not the time of writing: a new name moves nobody.
    fn stamped(self, version: Version, _: Timestamp) -> Self {
        Self { version, ..self }
    }
    fn intent(id: HomeId) -> IntentKind {
        IntentKind::Home(id)
    }

    async fn read(registry: &dyn Registry, id: HomeId, read: Read) -> Result<Option<Self>, StoreError> {
        registry.home(id, read).await
    }
    async fn put(&self, registry: &dyn Registry, expected: Option<Version>) -> Result<Written, StoreError> {
        registry.put_home(self, expected).await
    }

    /// The copy by place stands before those of the cells that were left go: at no moment is there none.
    async fn project(&self, trail: &[Self], to: &Registrar) -> Result<(), WriteError> {
        let registry = &*to.registry;
        Self::set(registry, self.household, self.id, !self.deleted).await?;
        if self.deleted {
            registry.unplace_home(Cell::of(self.point), self.id, self.version).await?;
        } else {
            let mut residents = registry.household(self.household).await?.residents;
            residents.truncate(MAX_RESIDENTS);
            let copy = PlacedHome {
                home: self.id,
                household: self.household,
                point: self.point,
                verified: self.verified,
                residents,
                version: self.version,
            };
            registry.place_home(&copy).await?;
        }
        for cell in cells_left(self, trail) {
            registry.unplace_home(cell, self.id, self.version).await?;
        }
        Ok(())
    }
}
