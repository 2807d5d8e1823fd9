//! What a household has a bounded number of: homes and devices.

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use porchlight_domain::{Device, DeviceId, Home, HomeId, HouseholdId, device::MAX_DEVICES, home::MAX_HOMES};
use porchlight_store::{Household, Read, Registry, StoreError};

use crate::{Error, registry::Row};

/// How many rows of one household are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// A row that belongs to a household, which knows it by a set.
#[async_trait]
pub(crate) trait Owned: Row<Id: PartialEq> {
    /// How many a household may have.
    const MAX: usize;
    /// The code of the refusal to have more.
    const TOO_MANY: &'static str;

    /// Those of a household; there may be ids without a row among them.
    fn of(household: Household) -> Vec<Self::Id>;
    /// Adds it to the household's set, or removes it.
    async fn set(
        registry: &dyn Registry,
        household: HouseholdId,
        id: Self::Id,
        present: bool,
    ) -> Result<(), StoreError>;
}

#[async_trait]
impl Owned for Home {
    const MAX: usize = MAX_HOMES;
    const TOO_MANY: &'static str = "too_many_homes";

    fn of(household: Household) -> Vec<HomeId> {
        household.homes
    }
    async fn set(registry: &dyn Registry, household: HouseholdId, id: HomeId, present: bool) -> Result<(), StoreError> {
        registry.set_home(household, id, present).await
    }
}

#[async_trait]
impl Owned for Device {
    const MAX: usize = MAX_DEVICES;
    const TOO_MANY: &'static str = "too_many_devices";

    fn of(household: Household) -> Vec<DeviceId> {
        household.devices
    }
    async fn set(
        registry: &dyn Registry,
        household: HouseholdId,
        id: DeviceId,
        present: bool,
    ) -> Result<(), StoreError> {
        registry.set_device(household, id, present).await
    }
}

/// The living rows of a household.
///
/// # Errors
/// The store is away.
pub(crate) async fn living<R: Owned>(registry: &dyn Registry, household: HouseholdId) -> Result<Vec<R>, StoreError> {
    let rows = rows::<R>(registry, ids::<R>(registry, household).await?).await?;
    Ok(rows.into_iter().filter_map(|(_, row)| row).collect())
}

/// Whether the household's set has it.
///
/// # Errors
/// The store is away.
pub(crate) async fn known<R: Owned>(
    registry: &dyn Registry,
    household: HouseholdId,
    id: R::Id,
) -> Result<bool, StoreError> {
    Ok(ids::<R>(registry, household).await?.contains(&id))
}

/// Makes room for one that the household's set does not have yet, by adding it.
///
/// # Errors
/// 422 if there is no room; the store is away.
pub(crate) async fn claim<R: Owned>(registry: &dyn Registry, household: HouseholdId, id: R::Id) -> Result<(), Error> {
    let mut ids = ids::<R>(registry, household).await?;
    if ids.len() >= R::MAX {
        // Claimed by requests that never wrote a row: such an id makes room. If its row comes after all, it is added again.
        for (id, row) in rows::<R>(registry, ids.clone()).await? {
            if row.is_none() {
                R::set(registry, household, id, false).await?;
                ids.retain(|other| *other != id);
            }
        }
    }
    if ids.len() >= R::MAX {
        return Err(too_many::<R>());
    }
    R::set(registry, household, id, true).await?;
    // Others may claim at the same moment: who then finds too many gives way.
    if self::ids::<R>(registry, household).await?.len() > R::MAX {
        R::set(registry, household, id, false).await?;
        return Err(too_many::<R>());
    }
    Ok(())
}

fn too_many<R: Owned>() -> Error {
    Error::unprocessable(R::TOO_MANY, "", format!("a household has at most {}; delete one first", R::MAX))
}

async fn ids<R: Owned>(registry: &dyn Registry, household: HouseholdId) -> Result<Vec<R::Id>, StoreError> {
    registry.household(household).await.map(R::of)
}

/// Each id with its living row, if there is one.
async fn rows<R: Owned>(registry: &dyn Registry, ids: Vec<R::Id>) -> Result<Vec<(R::Id, Option<R>)>, StoreError> {
    let row = |id| async move {
        let row = R::read(registry, id, Read::Quorum).await?;
        Ok((id, row.filter(|row| !row.deleted())))
    };
    stream::iter(ids).map(row).buffered(SIDE_BY_SIDE).try_collect().await
}
