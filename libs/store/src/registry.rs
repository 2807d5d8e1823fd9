//! Accounts, homes, devices and neighborhoods: mutable things whose row is the truth. Every row here is written by
//! conditional write on its version, always, except the sets of a household and the copies by place.

use async_trait::async_trait;
use porchlight_domain::{
    Cell, Device, DeviceId, Home, HomeId, HouseholdId, NeighborhoodId, NeighborhoodRef, Point, Resident, ResidentId,
    Timestamp, Version,
};
use porchlight_wire::NeighborhoodRecord;

use crate::StoreError;

/// Refuses a write whose version does not follow the one it is to replace: a caller's mistake, in every adapter.
pub(crate) fn check_follows(version: Version, expected: Option<Version>) -> Result<(), StoreError> {
    let wanted = expected.unwrap_or_default().next();
    if version == wanted {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "a row written after version {expected:?} has version {wanted:?}, not {version:?}"
    )))
}

/// Refuses a span of intents that is too long to be read at once.
pub(crate) fn check_span(from: Timestamp, until: Timestamp) -> Result<(), StoreError> {
    if until.since(from) > MAX_INTENT_SPAN_MS {
        return Err(StoreError::Refused("intents are read at most an hour at once".into()));
    }
    Ok(())
}

/// Members of a household that are read at once: far above what one may have (see `porchlight_domain::home`, `device`).
pub(crate) const MAX_MEMBERS: usize = 1_000;
/// Intents of ten seconds that are read at once: far above what is written in them.
pub(crate) const MAX_INTENTS: usize = 200_000;

/// Whether a conditional write took effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is the row now.
    Applied,
    /// Another version stood there: nothing changed.
    Conflict,
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// A quorum's word: may miss a conditional write that is still in flight.
    Quorum,
    /// Serial: finishes what is in flight first. For "publish the row as read again".
    Serial,
}

/// Who and what belongs to a household. All sets are bounded (see `porchlight_domain::home`, `device`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Household {
    /// Its people.
    pub residents: Vec<ResidentId>,
    /// Its homes, deleted ones not among them.
    pub homes: Vec<HomeId>,
    /// Its devices, deleted ones not among them.
    pub devices: Vec<DeviceId>,
}

/// A home as it is stored by place: a copy. The row in `homes` is the truth, and the gate asks it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedHome {
    /// Which home.
    pub home: HomeId,
    /// Whose.
    pub household: HouseholdId,
    /// Where.
    pub point: Point,
    /// Whether residence was verified.
    pub verified: bool,
    /// The people to tell.
    pub residents: Vec<ResidentId>,
    /// The version of the row it is a copy of.
    pub version: Version,
}

/// What an intent is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IntentKind {
    /// A device is being written.
    Device(DeviceId),
    /// A neighborhood is being written.
    Neighborhood(NeighborhoodId),
    /// A home is being written.
    Home(HomeId),
}

/// The longest span that [`Registry::intents`] reads at once, milliseconds. Intents live for ten minutes.
pub const MAX_INTENT_SPAN_MS: i64 = 3_600_000;

/// "I am about to write this row and to publish it": whoever finds an old one publishes the current row again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intent {
    /// What.
    pub kind: IntentKind,
    /// Since when.
    pub at: Timestamp,
}

/// The registry.
///
/// Every `put_*` takes the new value whose `version` is `expected.next()` (or 1 when `expected` is `None`, which
/// inserts only if there is no row) and is applied only if the row stands at `expected`.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Answers if the store does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// An account.
    async fn resident(&self, id: ResidentId) -> Result<Option<Resident>, StoreError>;
    /// Writes an account.
    async fn put_resident(&self, resident: &Resident, expected: Option<Version>) -> Result<Written, StoreError>;

    /// A household; empty if nobody ever joined it.
    async fn household(&self, id: HouseholdId) -> Result<Household, StoreError>;
    /// Adds to a household's people. Doing it twice is doing it once, as for all four below.
    async fn add_resident(&self, household: HouseholdId, resident: ResidentId) -> Result<(), StoreError>;
    /// Adds (`present`) or removes a home of a household.
    async fn set_home(&self, household: HouseholdId, home: HomeId, present: bool) -> Result<(), StoreError>;
    /// Adds (`present`) or removes a device of a household.
    async fn set_device(&self, household: HouseholdId, device: DeviceId, present: bool) -> Result<(), StoreError>;

    /// A home.
    async fn home(&self, id: HomeId, read: Read) -> Result<Option<Home>, StoreError>;
    /// Writes a home.
    async fn put_home(&self, home: &Home, expected: Option<Version>) -> Result<Written, StoreError>;
    /// Writes the copy by place. The write time is the version, so that a late copy never covers a newer one; two copies
    /// of one version must therefore be equal (who changes a home's residents gives the home a new version). A copy
    /// stands against a removal of the same version: a copy too many is judged by the gate, one too few is not told.
    async fn place_home(&self, home: &PlacedHome) -> Result<(), StoreError>;
    /// Removes the copy in a cell that the home has left as of `version`, likewise ordered by version.
    async fn unplace_home(&self, cell: Cell, home: HomeId, version: Version) -> Result<(), StoreError>;
    /// The homes of a cell in the order of their ids, after `after`, at most `limit`.
    async fn homes_in(&self, cell: Cell, after: Option<HomeId>, limit: usize) -> Result<Vec<PlacedHome>, StoreError>;
    /// Homes that wait to be verified, in no order that matters, at most `limit`: for the operator.
    async fn pending_homes(&self, limit: usize) -> Result<Vec<HomeId>, StoreError>;

    /// A device.
    async fn device(&self, id: DeviceId, read: Read) -> Result<Option<Device>, StoreError>;
    /// Writes a device.
    async fn put_device(&self, device: &Device, expected: Option<Version>) -> Result<Written, StoreError>;

    /// A neighborhood as it is now.
    async fn neighborhood(&self, id: NeighborhoodId, read: Read) -> Result<Option<NeighborhoodRecord>, StoreError>;
    /// A neighborhood as it was at a version.
    async fn neighborhood_at(&self, at: NeighborhoodRef) -> Result<Option<NeighborhoodRecord>, StoreError>;
    /// Writes a neighborhood; its version row is written first, so that a version that is current can always be read.
    async fn put_neighborhood(
        &self,
        record: &NeighborhoodRecord,
        expected: Option<Version>,
    ) -> Result<Written, StoreError>;
    /// Every neighborhood's id, deleted ones too, after `after` in the store's own order, at most `limit`.
    async fn neighborhood_ids(
        &self,
        after: Option<NeighborhoodId>,
        limit: usize,
    ) -> Result<Vec<NeighborhoodId>, StoreError>;

    /// Every device's id, deleted ones too, after `after` in the store's own order, at most `limit`.
    async fn device_ids(&self, after: Option<DeviceId>, limit: usize) -> Result<Vec<DeviceId>, StoreError>;

    /// Writes an intent (kept for ten minutes, never deleted early).
    async fn intend(&self, intent: Intent) -> Result<(), StoreError>;
    /// The intents from `from` (included) until `until` (not included), in the order of their times. A span of more than
    /// [`MAX_INTENT_SPAN_MS`] is refused.
    async fn intents(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Intent>, StoreError>;

    /// Whether an account was made operator by the command line.
    async fn is_operator(&self, id: ResidentId) -> Result<bool, StoreError>;
    /// Makes an account operator. `note`: who it is, for people who read the table.
    async fn add_operator(&self, id: ResidentId, note: &str) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_the_one_it_replaces() {
        assert!(check_follows(Version(1), None).is_ok());
        assert!(check_follows(Version(4), Some(Version(3))).is_ok());
        for (version, expected) in [(2, None), (0, None), (3, Some(3)), (5, Some(3)), (2, Some(3))] {
            assert!(check_follows(Version(version), expected.map(Version)).is_err(), "{version} after {expected:?}");
        }
    }
}
