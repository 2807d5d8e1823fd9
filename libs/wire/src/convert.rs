//! Domain to message and back, one `impl` for each message.

use porchlight_domain as domain;
use porchlight_domain::{
    Alert, ContentHash, ContentType, Device, Digest, Event, Label, Labels, Logged, Media, MediaKind, NeighborhoodRef,
    Plan, Point, PushTask, Recipient, SharingPolicy, Stamped, Timestamp, Version,
};
use uuid::Uuid;

use crate::{NeighborhoodRecord, Wire, WireError, v1};

fn id(bytes: &[u8], field: &'static str) -> Result<Uuid, WireError> {
    Uuid::from_slice(bytes).map_err(|_| WireError::Field(field))
}

fn bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn hash(bytes: Vec<u8>, field: &'static str) -> Result<[u8; 32], WireError> {
    bytes.try_into().map_err(|_| WireError::Field(field))
}

fn point(lon_e7: i32, lat_e7: i32, field: &'static str) -> Result<Point, WireError> {
    let on_the_globe =
        (-1_800_000_000..1_800_000_000).contains(&lon_e7) && (-900_000_000..=900_000_000).contains(&lat_e7);
    if on_the_globe { Ok(Point { lon_e7, lat_e7 }) } else { Err(WireError::Field(field)) }
}

fn kind_to(kind: domain::Kind) -> i32 {
    match kind {
        domain::Kind::Motion => v1::Kind::Motion.into(),
        domain::Kind::Ding => v1::Kind::Ding.into(),
    }
}

fn kind_from(kind: i32) -> Result<domain::Kind, WireError> {
    match v1::Kind::try_from(kind) {
        Ok(v1::Kind::Motion) => Ok(domain::Kind::Motion),
        Ok(v1::Kind::Ding) => Ok(domain::Kind::Ding),
        Ok(v1::Kind::Unspecified) | Err(_) => Err(WireError::Field("kind")),
    }
}

fn labels_to(labels: Labels) -> Vec<i32> {
    labels
        .iter()
        .map(|label| {
            i32::from(match label {
                Label::Motion => v1::Label::Motion,
                Label::Animal => v1::Label::Animal,
                Label::Vehicle => v1::Label::Vehicle,
                Label::Package => v1::Label::Package,
                Label::Person => v1::Label::Person,
                Label::Ding => v1::Label::Ding,
            })
        })
        .collect()
}

fn labels_from(labels: &[i32], field: &'static str) -> Result<Labels, WireError> {
    labels
        .iter()
        .map(|&label| match v1::Label::try_from(label) {
            Ok(v1::Label::Motion) => Ok(Label::Motion),
            Ok(v1::Label::Animal) => Ok(Label::Animal),
            Ok(v1::Label::Vehicle) => Ok(Label::Vehicle),
            Ok(v1::Label::Package) => Ok(Label::Package),
            Ok(v1::Label::Person) => Ok(Label::Person),
            Ok(v1::Label::Ding) => Ok(Label::Ding),
            Ok(v1::Label::Unspecified) | Err(_) => Err(WireError::Field(field)),
        })
        .collect()
}

fn lane_to(lane: domain::Lane) -> i32 {
    i32::from(match lane {
        domain::Lane::Ding => v1::Lane::Ding,
        domain::Lane::Official => v1::Lane::Official,
        domain::Lane::Neighborhood => v1::Lane::Neighborhood,
        domain::Lane::Motion => v1::Lane::Motion,
    })
}

fn lane_from(lane: i32) -> Result<domain::Lane, WireError> {
    match v1::Lane::try_from(lane) {
        Ok(v1::Lane::Ding) => Ok(domain::Lane::Ding),
        Ok(v1::Lane::Official) => Ok(domain::Lane::Official),
        Ok(v1::Lane::Neighborhood) => Ok(domain::Lane::Neighborhood),
        Ok(v1::Lane::Motion) => Ok(domain::Lane::Motion),
        Ok(v1::Lane::Unspecified) | Err(_) => Err(WireError::Field("lane")),
    }
}

fn plan(retention_days: u32, clips: bool) -> Result<Plan, WireError> {
    match u16::try_from(retention_days) {
        Ok(days @ 1..=400) => Ok(Plan { retention_days: days, clips }),
        Ok(_) | Err(_) => Err(WireError::Field("retention_days")),
    }
}

fn policy(labels: &[i32], media: bool) -> Result<SharingPolicy, WireError> {
    Ok(SharingPolicy { neighborhood: labels_from(labels, "neighborhood_labels")?, media })
}

/// An event as a device sends it, with when it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentEvent {
    /// What was sent.
    pub event: Event,
    /// When, by the device's clock.
    pub sent_at: Timestamp,
}

impl Wire for SentEvent {
    type Message = v1::Event;

    fn to_message(&self) -> v1::Event {
        let e = &self.event;
        v1::Event {
            id: bytes(e.id.0),
            kind: kind_to(e.kind),
            labels: labels_to(e.labels),
            occurred_at_ms: e.occurred_at.0,
            ended_at_ms: e.ended_at.map(|t| t.0),
            familiar: e.familiar,
            confidence_permille: e.confidence_permille.map(u32::from),
            zone: e.zone.clone().unwrap_or_default(),
            sent_at_ms: self.sent_at.0,
        }
    }

    fn from_message(m: v1::Event) -> Result<Self, WireError> {
        Ok(Self {
            event: Event {
                id: domain::EventId(id(&m.id, "event.id")?),
                kind: kind_from(m.kind)?,
                labels: labels_from(&m.labels, "event.labels")?,
                occurred_at: Timestamp(m.occurred_at_ms),
                ended_at: m.ended_at_ms.map(Timestamp),
                familiar: m.familiar,
                confidence_permille: m
                    .confidence_permille
                    .map(|c| u16::try_from(c).map_err(|_| WireError::Field("event.confidence_permille")))
                    .transpose()?,
                zone: (!m.zone.is_empty()).then_some(m.zone),
            },
            sent_at: Timestamp(m.sent_at_ms),
        })
    }
}

impl Wire for Stamped {
    type Message = v1::AcceptedEvent;

    fn to_message(&self) -> v1::AcceptedEvent {
        v1::AcceptedEvent {
            event: Some(SentEvent { event: self.event.clone(), sent_at: self.sent_at }.to_message()),
            digest: self.digest.0.to_vec(),
            device_id: bytes(self.device.0),
            household_id: bytes(self.household.0),
            lon_e7: self.point.lon_e7,
            lat_e7: self.point.lat_e7,
            neighborhood_labels: labels_to(self.policy.neighborhood),
            retention_days: self.plan.retention_days.into(),
            clips: self.plan.clips,
            received_at_ms: self.received_at.0,
            neighborhood_media: self.policy.media,
            media: None,
        }
    }

    fn from_message(m: v1::AcceptedEvent) -> Result<Self, WireError> {
        if m.media.is_some() {
            return Err(WireError::Field("media"));
        }
        let sent = SentEvent::from_message(m.event.ok_or(WireError::Field("event"))?)?;
        if sent.event.id.day().is_none() {
            return Err(WireError::Field("event.id"));
        }
        Ok(Self {
            event: sent.event,
            digest: Digest(hash(m.digest, "digest")?),
            device: domain::DeviceId(id(&m.device_id, "device_id")?),
            household: domain::HouseholdId(id(&m.household_id, "household_id")?),
            point: point(m.lon_e7, m.lat_e7, "lon_e7, lat_e7")?,
            policy: policy(&m.neighborhood_labels, m.neighborhood_media)?,
            plan: plan(m.retention_days, m.clips)?,
            sent_at: sent.sent_at,
            received_at: Timestamp(m.received_at_ms),
        })
    }
}

impl Wire for Media {
    type Message = v1::StoredMedia;

    fn to_message(&self) -> v1::StoredMedia {
        v1::StoredMedia {
            media_id: bytes(self.id.0),
            device_id: bytes(self.device.0),
            event_id: bytes(self.event.0),
            household_id: bytes(self.household.0),
            kind: i32::from(match self.kind {
                MediaKind::Clip => v1::MediaKind::Clip,
                MediaKind::Thumbnail => v1::MediaKind::Thumbnail,
            }),
            content_type: self.content_type.as_str().to_owned(),
            bytes: self.bytes,
            sha256: self.sha256.0.to_vec(),
            retention_days: self.retention_days.into(),
            received_at_ms: self.received_at.0,
        }
    }

    fn from_message(m: v1::StoredMedia) -> Result<Self, WireError> {
        let event = domain::EventId(id(&m.event_id, "media.event_id")?);
        if event.day().is_none() {
            return Err(WireError::Field("media.event_id"));
        }
        Ok(Self {
            id: domain::MediaId(id(&m.media_id, "media.media_id")?),
            device: domain::DeviceId(id(&m.device_id, "media.device_id")?),
            event,
            household: domain::HouseholdId(id(&m.household_id, "media.household_id")?),
            kind: match v1::MediaKind::try_from(m.kind) {
                Ok(v1::MediaKind::Clip) => MediaKind::Clip,
                Ok(v1::MediaKind::Thumbnail) => MediaKind::Thumbnail,
                Ok(v1::MediaKind::Unspecified) | Err(_) => return Err(WireError::Field("media.kind")),
            },
            content_type: ContentType::parse(&m.content_type).ok_or(WireError::Field("media.content_type"))?,
            bytes: m.bytes,
            sha256: ContentHash(hash(m.sha256, "media.sha256")?),
            retention_days: plan(m.retention_days, true)?.retention_days,
            received_at: Timestamp(m.received_at_ms),
        })
    }
}

impl Wire for Logged {
    type Message = v1::AcceptedEvent;

    fn to_message(&self) -> v1::AcceptedEvent {
        match self {
            Self::Event(stamped) => stamped.to_message(),
            Self::Media(media) => v1::AcceptedEvent { media: Some(media.to_message()), ..Default::default() },
        }
    }

    fn from_message(mut m: v1::AcceptedEvent) -> Result<Self, WireError> {
        match m.media.take() {
            None => Ok(Self::Event(Stamped::from_message(m)?)),
            // A reader that took both would act twice, one that took either would lose the other.
            Some(_) if m != v1::AcceptedEvent::default() => Err(WireError::Field("media")),
            Some(media) => Ok(Self::Media(Media::from_message(media)?)),
        }
    }
}

impl Wire for Device {
    type Message = v1::DeviceRecord;

    fn to_message(&self) -> v1::DeviceRecord {
        v1::DeviceRecord {
            device_id: bytes(self.id.0),
            chosen_id: bytes(self.chosen.0),
            household_id: bytes(self.household.0),
            home_id: bytes(self.home.0),
            name: self.name.clone(),
            lon_e7: self.point.lon_e7,
            lat_e7: self.point.lat_e7,
            neighborhood_labels: labels_to(self.policy.neighborhood),
            retention_days: self.plan.retention_days.into(),
            clips: self.plan.clips,
            credential_sha256: self.credential.map(Vec::from).unwrap_or_default(),
            deleted: self.deleted,
            version: self.version.0,
            updated_at_ms: self.updated_at.0,
            neighborhood_media: self.policy.media,
        }
    }

    fn from_message(m: v1::DeviceRecord) -> Result<Self, WireError> {
        let credential =
            if m.credential_sha256.is_empty() { None } else { Some(hash(m.credential_sha256, "credential_sha256")?) };
        Ok(Self {
            id: domain::DeviceId(id(&m.device_id, "device_id")?),
            chosen: domain::ChosenId(id(&m.chosen_id, "chosen_id")?),
            household: domain::HouseholdId(id(&m.household_id, "household_id")?),
            home: domain::HomeId(id(&m.home_id, "home_id")?),
            name: m.name,
            point: point(m.lon_e7, m.lat_e7, "lon_e7, lat_e7")?,
            policy: policy(&m.neighborhood_labels, m.neighborhood_media)?,
            plan: plan(m.retention_days, m.clips)?,
            credential,
            deleted: m.deleted,
            version: Version(m.version),
            updated_at: Timestamp(m.updated_at_ms),
        })
    }
}

impl Wire for NeighborhoodRecord {
    type Message = v1::NeighborhoodRecord;

    fn to_message(&self) -> v1::NeighborhoodRecord {
        let ring = |points: &Vec<Point>| {
            let (mut lon, mut lat) = (0_i32, 0_i32);
            let mut ring = v1::neighborhood_record::Ring::default();
            for p in points {
                // Wrapping, for a difference may exceed an i32; adding it back wraps to the same number.
                ring.lon_delta_e7.push(p.lon_e7.wrapping_sub(lon));
                ring.lat_delta_e7.push(p.lat_e7.wrapping_sub(lat));
                (lon, lat) = (p.lon_e7, p.lat_e7);
            }
            ring
        };
        v1::NeighborhoodRecord {
            neighborhood_id: bytes(self.id.0),
            name: self.name.clone(),
            parts: self
                .parts
                .iter()
                .map(|rings| v1::neighborhood_record::Part { rings: rings.iter().map(ring).collect() })
                .collect(),
            deleted: self.deleted,
            version: self.version.0,
            updated_at_ms: self.updated_at.0,
        }
    }

    fn from_message(m: v1::NeighborhoodRecord) -> Result<Self, WireError> {
        let ring = |ring: v1::neighborhood_record::Ring| {
            if ring.lon_delta_e7.len() != ring.lat_delta_e7.len() {
                return Err(WireError::Field("parts.rings"));
            }
            let (mut lon, mut lat) = (0_i32, 0_i32);
            // Of the size that is needed: tables keep it, and collecting results would leave up to as much again unused.
            let mut points = Vec::with_capacity(ring.lon_delta_e7.len());
            for (dx, dy) in ring.lon_delta_e7.iter().zip(&ring.lat_delta_e7) {
                (lon, lat) = (lon.wrapping_add(*dx), lat.wrapping_add(*dy));
                // A polygon may reach +180: only points are folded onto -180.
                let at_180 = lon == 1_800_000_000;
                points.push(if at_180 { Point { lon_e7: lon, lat_e7: lat } } else { point(lon, lat, "parts")? });
            }
            Ok(points)
        };
        Ok(Self {
            id: domain::NeighborhoodId(id(&m.neighborhood_id, "neighborhood_id")?),
            name: m.name,
            parts: m
                .parts
                .into_iter()
                .map(|part| part.rings.into_iter().map(ring).collect())
                .collect::<Result<_, _>>()?,
            deleted: m.deleted,
            version: Version(m.version),
            updated_at: Timestamp(m.updated_at_ms),
        })
    }
}

impl Wire for Alert {
    type Message = v1::Alert;

    fn to_message(&self) -> v1::Alert {
        v1::Alert {
            alert_id: bytes(self.id.0),
            item_id: bytes(self.item.0),
            revision: self.revision,
            shared_revision: self.shared_revision,
            household_id: bytes(self.household.0),
            neighborhoods: self
                .neighborhoods
                .iter()
                .map(|n| v1::NeighborhoodRef { neighborhood_id: bytes(n.id.0), version: n.version.0 })
                .collect(),
            lane: lane_to(self.lane),
            kind: kind_to(self.kind),
            labels: labels_to(self.labels),
            shared_labels: labels_to(self.shared_labels),
            created_at_ms: self.created_at.0,
            expires_at_ms: self.expires_at.0,
            event_id: bytes(self.event.0),
            stream_only: self.stream_only,
        }
    }

    fn from_message(m: v1::Alert) -> Result<Self, WireError> {
        Ok(Self {
            id: domain::AlertId(id(&m.alert_id, "alert_id")?),
            item: domain::ItemId(id(&m.item_id, "item_id")?),
            event: domain::EventId(id(&m.event_id, "event_id")?),
            revision: m.revision,
            shared_revision: m.shared_revision,
            household: domain::HouseholdId(id(&m.household_id, "household_id")?),
            neighborhoods: m
                .neighborhoods
                .iter()
                .map(|n| {
                    Ok(NeighborhoodRef {
                        id: domain::NeighborhoodId(id(&n.neighborhood_id, "neighborhoods")?),
                        version: Version(n.version),
                    })
                })
                .collect::<Result<_, WireError>>()?,
            lane: lane_from(m.lane)?,
            kind: kind_from(m.kind)?,
            labels: labels_from(&m.labels, "labels")?,
            shared_labels: labels_from(&m.shared_labels, "shared_labels")?,
            created_at: Timestamp(m.created_at_ms),
            expires_at: Timestamp(m.expires_at_ms),
            stream_only: m.stream_only,
        })
    }
}

impl Wire for PushTask {
    type Message = v1::PushTask;

    fn to_message(&self) -> v1::PushTask {
        v1::PushTask {
            alert: Some(self.alert.to_message()),
            lane: lane_to(self.lane),
            bucket: self.bucket.into(),
            recipients: self
                .recipients
                .iter()
                .map(|r| v1::push_task::Recipient {
                    resident_id: bytes(r.resident.0),
                    home_id: r.home.map(|h| bytes(h.0)).unwrap_or_default(),
                })
                .collect(),
        }
    }

    fn from_message(m: v1::PushTask) -> Result<Self, WireError> {
        if m.recipients.len() > Self::MAX_RECIPIENTS {
            return Err(WireError::Field("recipients"));
        }
        Ok(Self {
            alert: Alert::from_message(m.alert.ok_or(WireError::Field("alert"))?)?,
            lane: lane_from(m.lane)?,
            bucket: match u8::try_from(m.bucket) {
                Ok(bucket) if bucket < domain::RESIDENT_BUCKETS => bucket,
                Ok(_) | Err(_) => return Err(WireError::Field("bucket")),
            },
            recipients: m
                .recipients
                .iter()
                .map(|r| {
                    let home = if r.home_id.is_empty() {
                        None
                    } else {
                        Some(domain::HomeId(id(&r.home_id, "recipients.home_id")?))
                    };
                    Ok(Recipient { resident: domain::ResidentId(id(&r.resident_id, "recipients")?), home })
                })
                .collect::<Result<_, WireError>>()?,
        })
    }
}
