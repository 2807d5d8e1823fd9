//! Identifiers. Every one is a UUID in a type of its own, so that a home can never be passed where a household is meant.
//!
//! Three kinds exist: *chosen* by a client ([`ChosenId`], scoped to its owner before use), *derived* as UUIDv5 of what
//! they name (so doing twice is doing once, without a lookup), and *accounts*, derived from issuer and subject.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ContentHash, MediaKind};

/// The UUIDv5 namespace of everything derived here. Changing it changes every identifier: never.
const NAMESPACE: Uuid = Uuid::from_u128(0x706f_7263_686c_5067_8874_2e76_3100_0001);

fn derive(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(96);
    name.extend_from_slice(kind.as_bytes());
    for part in parts {
        // The length first: ("ab", "c") and ("a", "bc") must not meet.
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(s).map($name)
            }
        }
    )+};
}

ids! {
    /// An identifier that a client chose. It means nothing without its owner: scope it before use.
    ChosenId,
    /// An event's identifier as its device chose it (UUIDv7). Unique only together with the [`DeviceId`].
    EventId,
    /// A camera or doorbell, derived from its household and the id its owner chose.
    DeviceId,
    /// The people who share homes and devices.
    HouseholdId,
    /// A place where a household lives, derived from the household and the id its owner chose.
    HomeId,
    /// A person's account, derived from issuer and subject of the token.
    ResidentId,
    /// A polygon with a name. Its operator chose the id; it is unique in a deployment.
    NeighborhoodId,
    /// What a feed shows: one happening, made of the events of one device close in time.
    ItemId,
    /// What people are told of an item. One item has one alert; each change of the item is a revision of it.
    AlertId,
    /// Where a resident's pushes go, derived from the resident and the id the app chose.
    EndpointId,
    /// One revision of one alert to one endpoint: the unit that is sent once.
    PushId,
    /// A clip or thumbnail, derived from device, event, kind and content.
    MediaId,
}

impl EventId {
    /// The day (since the Unix epoch, UTC) that the identifier itself carries; `None` if it is not a UUIDv7.
    ///
    /// First-wins bookkeeping is partitioned by this day and not by a day of arrival, so that every copy of an event
    /// meets the same partition whenever it arrives.
    pub fn day(self) -> Option<i32> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let ms = self.0.as_u128() >> 80;
        i32::try_from(ms / 86_400_000).ok()
    }
}

impl ResidentId {
    /// The account behind a subject of an issuer.
    pub fn of_subject(issuer: &str, subject: &str) -> Self {
        Self(derive("resident", &[issuer.as_bytes(), subject.as_bytes()]))
    }

    /// The bucket of this resident, 0 to 63. There are 64 for ever: partitions of `pushes.v1` divide 64.
    pub fn bucket(self) -> u8 {
        self.0.as_bytes()[15] % RESIDENT_BUCKETS
    }
}

/// How many buckets residents fall into (see [`ResidentId::bucket`]).
pub const RESIDENT_BUCKETS: u8 = 64;

impl HouseholdId {
    /// The household that comes with a new account.
    pub fn founded_by(resident: ResidentId) -> Self {
        Self(derive("household", &[resident.0.as_bytes()]))
    }
}

impl HomeId {
    /// The home that a household knows under a chosen id.
    pub fn scoped(household: HouseholdId, chosen: ChosenId) -> Self {
        Self(derive("home", &[household.0.as_bytes(), chosen.0.as_bytes()]))
    }
}

impl DeviceId {
    /// The device that a household knows under a chosen id.
    pub fn scoped(household: HouseholdId, chosen: ChosenId) -> Self {
        Self(derive("device", &[household.0.as_bytes(), chosen.0.as_bytes()]))
    }
}

impl EndpointId {
    /// The endpoint that a resident knows under a chosen id.
    pub fn scoped(resident: ResidentId, chosen: ChosenId) -> Self {
        Self(derive("endpoint", &[resident.0.as_bytes(), chosen.0.as_bytes()]))
    }
}

impl ItemId {
    /// The item that this event opens.
    pub fn opened_by(device: DeviceId, event: EventId) -> Self {
        Self(derive("item", &[device.0.as_bytes(), event.0.as_bytes()]))
    }
}

impl AlertId {
    /// The alert of an item.
    pub fn of_item(item: ItemId) -> Self {
        Self(derive("alert", &[item.0.as_bytes()]))
    }
}

impl MediaId {
    /// The media of an event with this content. The content is part of the id: what is stored under it never changes,
    /// and another content is another media.
    pub fn of(device: DeviceId, event: EventId, kind: MediaKind, sha256: &ContentHash) -> Self {
        let kind = kind.as_str().as_bytes();
        Self(derive("media", &[device.0.as_bytes(), event.0.as_bytes(), kind, &sha256.0]))
    }
}

impl PushId {
    /// The push of one revision of an alert to an endpoint.
    pub fn of(alert: AlertId, revision: u32, endpoint: EndpointId) -> Self {
        Self(derive("push", &[alert.0.as_bytes(), &revision.to_be_bytes(), endpoint.0.as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_chosen_id_of_two_owners_is_two_things() {
        let chosen = ChosenId(Uuid::from_u128(7));
        let (a, b) = (HouseholdId(Uuid::from_u128(1)), HouseholdId(Uuid::from_u128(2)));
        assert_ne!(DeviceId::scoped(a, chosen), DeviceId::scoped(b, chosen));
        assert_eq!(DeviceId::scoped(a, chosen), DeviceId::scoped(a, chosen));
        assert_ne!(DeviceId::scoped(a, chosen).0, HomeId::scoped(a, chosen).0);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(ResidentId::of_subject("ab", "c"), ResidentId::of_subject("a", "bc"));
    }

    /// Pinned: an identifier that changes orphans everything stored under it.
    #[test]
    fn derivations_are_pinned() {
        let resident = ResidentId::of_subject("https://issuer.example", "alice");
        assert_eq!(resident.to_string(), "fd7a280e-c0fb-5003-929d-a1d6569e52e3");
        assert_eq!(HouseholdId::founded_by(resident).to_string(), "6ff8ee28-6a79-54c6-8bb7-da7bf728f08b");
        let (device, event) = (DeviceId(Uuid::from_u128(1)), EventId(Uuid::from_u128(2)));
        let media = MediaId::of(device, event, MediaKind::Clip, &ContentHash([3; 32]));
        assert_eq!(media.to_string(), "8bc6ae94-5902-517d-a085-e652d03ae703");
        assert_ne!(media, MediaId::of(device, event, MediaKind::Thumbnail, &ContentHash([3; 32])));
        assert_ne!(media, MediaId::of(device, event, MediaKind::Clip, &ContentHash([4; 32])));
    }

    #[test]
    fn the_day_of_an_event_is_read_from_its_uuidv7_only() {
        let v7 = Uuid::parse_str("018f4e5a-0000-7000-8000-000000000000").expect("a literal");
        assert_eq!(EventId(v7).day(), Some(19_849));
        assert_eq!(EventId(Uuid::from_u128(1)).day(), None);
    }
}
