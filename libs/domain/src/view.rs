//! What people see of things: the JSON shapes that leave a service. Every field is private and every constructor is
//! this crate's own, so that only the gate makes them.

use serde::Serialize;

use crate::{
    AlertId, ChosenId, ContentHash, ContentType, Device, DeviceId, EventId, Home, HomeId, Item, ItemId, Kind, Labels,
    Media, MediaId, MediaKind, NeighborhoodId, Timestamp, Version,
    item::{ItemMedia, Shared},
    place::Degrees,
};

/// Whose eyes a view is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The household: everything.
    Household,
    /// A neighbor: what is shared, and a coarse place.
    Neighborhood,
}

/// An item as one person may see it.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct ItemView {
    id: ItemId,
    alert: AlertId,
    scope: Scope,
    revision: u32,
    kind: Kind,
    labels: Labels,
    /// When the first event (that this person may know of) was received: the order of feeds.
    received_at: Timestamp,
    /// When the latest event (that this person may know of) was received.
    updated_at: Timestamp,
    /// When it began, by the device's clock.
    occurred_at: Timestamp,
    /// Household only: the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    /// Household only: where the device stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Degrees>,
    /// Household only: whether the device knew the visitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    familiar: Option<bool>,
    /// Household only: whether neighbors can see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
    /// Neighbors only: the middle of a square of about half a kilometre.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<Degrees>,
    /// The neighborhoods by which this person may see it: all of the item's for the household, else those the person
    /// lives in.
    neighborhoods: Vec<NeighborhoodId>,
    /// The clips and thumbnails that this person may fetch, in the order in which they came.
    media: Vec<MediaName>,
}

/// A clip or thumbnail, by the id under which it can be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct MediaName {
    id: MediaId,
    kind: MediaKind,
}

impl From<&ItemMedia> for MediaName {
    fn from(media: &ItemMedia) -> Self {
        Self { id: media.id, kind: media.kind }
    }
}

impl ItemView {
    pub(crate) fn for_household(item: &Item) -> Self {
        Self {
            scope: Scope::Household,
            labels: item.labels,
            revision: item.revision,
            updated_at: item.updated_at,
            device: Some(item.group.device),
            position: Some(item.point.to_degrees()),
            familiar: Some(item.group.familiar),
            shared: Some(item.shared.is_some()),
            about: None,
            neighborhoods: item.neighborhoods.iter().map(|n| n.id).collect(),
            media: item.media.iter().map(MediaName::from).collect(),
            ..Self::common(item)
        }
    }

    /// Built from the shared course alone: the number and times of what stays in the house do not show either.
    pub(crate) fn for_neighbor(item: &Item, shared: &Shared, lives_in: Vec<NeighborhoodId>) -> Self {
        Self {
            scope: Scope::Neighborhood,
            labels: item.shared_labels,
            revision: shared.revision,
            received_at: shared.since,
            updated_at: shared.updated_at,
            occurred_at: shared.occurred_at,
            about: Some(item.point.coarse().to_degrees()),
            neighborhoods: lives_in,
            media: item.media.iter().filter(|m| m.shared).map(MediaName::from).collect(),
            ..Self::common(item)
        }
    }

    fn common(item: &Item) -> Self {
        Self {
            id: item.id,
            alert: AlertId::of_item(item.id),
            scope: Scope::Neighborhood,
            revision: item.revision,
            kind: item.group.kind,
            labels: Labels::NONE,
            received_at: item.opened_at,
            updated_at: item.updated_at,
            occurred_at: item.occurred_at,
            device: None,
            position: None,
            familiar: None,
            shared: None,
            about: None,
            neighborhoods: Vec::new(),
            media: Vec::new(),
        }
    }

    /// The item.
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// Its revision.
    pub fn revision(&self) -> u32 {
        self.revision
    }
}

/// A clip or thumbnail as one person may see it, without the way to its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct MediaView {
    id: MediaId,
    scope: Scope,
    kind: MediaKind,
    content_type: ContentType,
    bytes: u64,
    /// Of the bytes, as they were checked when they were stored.
    sha256: ContentHash,
    /// The item that shows it; absent while its event has not arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemId>,
    /// Household only: of which event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// Household only: when it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Timestamp>,
}

impl MediaView {
    pub(crate) fn for_household(media: &Media, item: Option<ItemId>) -> Self {
        Self {
            scope: Scope::Household,
            item,
            event: Some(media.event),
            received_at: Some(media.received_at),
            ..Self::common(media)
        }
    }

    pub(crate) fn for_neighbor(media: &Media, item: ItemId) -> Self {
        Self { item: Some(item), ..Self::common(media) }
    }

    fn common(media: &Media) -> Self {
        Self {
            id: media.id,
            scope: Scope::Neighborhood,
            kind: media.kind,
            content_type: media.content_type,
            bytes: media.bytes,
            sha256: media.sha256,
            item: None,
            event: None,
            received_at: None,
        }
    }

    /// The media.
    pub fn id(&self) -> MediaId {
        self.id
    }

    /// Whose eyes it is for.
    pub fn scope(&self) -> Scope {
        self.scope
    }
}

/// A home as its household (or the operator who verifies it) sees it.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct HomeView {
    /// The id its household chose.
    id: ChosenId,
    /// The id by which an operator knows it.
    home: HomeId,
    name: String,
    position: Degrees,
    verified: bool,
    /// Since when this place and this state hold.
    since: Timestamp,
    version: Version,
}

impl HomeView {
    pub(crate) fn of(home: &Home) -> Self {
        Self {
            id: home.chosen,
            home: home.id,
            name: home.name.clone(),
            position: home.point.to_degrees(),
            verified: home.verified,
            since: home.since,
            version: home.version,
        }
    }

    /// The row's version: its ETag.
    pub fn version(&self) -> Version {
        self.version
    }
}

/// A device as its household sees it.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct DeviceView {
    /// The id its household chose.
    id: ChosenId,
    /// The id by which items name it; the first half of its credential.
    device: DeviceId,
    home: HomeId,
    name: String,
    position: Degrees,
    /// The labels of which neighbors hear. Empty: the household alone.
    neighborhood_labels: Labels,
    /// Whether neighbors also see the clips and thumbnails of the events that they hear of.
    neighborhood_media: bool,
    retention_days: u16,
    clips: bool,
    /// Whether a credential is valid now.
    has_credential: bool,
    version: Version,
}

impl DeviceView {
    pub(crate) fn of(device: &Device) -> Self {
        Self {
            id: device.chosen,
            device: device.id,
            home: device.home,
            name: device.name.clone(),
            position: device.point.to_degrees(),
            neighborhood_labels: device.policy.neighborhood,
            neighborhood_media: device.policy.media,
            retention_days: device.plan.retention_days,
            clips: device.plan.clips,
            has_credential: device.credential.is_some(),
            version: device.version,
        }
    }

    /// The row's version: its ETag.
    pub fn version(&self) -> Version {
        self.version
    }
}
