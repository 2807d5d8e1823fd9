//! A timeline, an index of media and a log of alerts in memory, that can die at any call; and records of cameras.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test file uses its part

mod media;
pub mod objects;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use porchlight_bus::{Lease, ProduceError, Record, Topic};
use porchlight_domain::{
    Alert, ContentHash, ContentType, DeviceId, Event, EventId, HouseholdId, Item, ItemId, Kind, Label, Logged, Media,
    MediaId, MediaKind, NeighborhoodId, NeighborhoodRef, Plan, Point, SharingPolicy, Stamped, Timestamp, Version,
    item::GroupKey,
};
use porchlight_geo_index::Alerts;
use porchlight_store::{FeedEntry, FeedOwner, FeedPosition, MediaRow, SeenEvent, StoreError, Sweep, Timeline};
use porchlight_wire::Wire as _;
use uuid::Uuid;

pub const NOON: i64 = 1_800_000_000_000;

/// Where a process dies: after so many calls, before or after the last one took effect.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub after_calls: u32,
    pub with_effect: bool,
}

/// The rows, and when the process dies. A dead process gets nothing done until [`World::revive`].
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    death: Option<Death>,
    failure: Option<StoreError>,
    now: i64,
    rows: Rows,
    sweeps: HashMap<u8, (Uuid, Timestamp, Sweep)>,
    alerts: Vec<Alert>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    pub seen: BTreeMap<(DeviceId, EventId, i32, i64), SeenEvent>,
    items: HashMap<ItemId, Item>,
    pointers: HashMap<GroupKey, (Timestamp, u32, ItemId)>,
    pub feeds: BTreeSet<(String, FeedPosition)>,
    pub media: BTreeMap<MediaId, MediaRow>,
    since: Option<Timestamp>,
}

impl Rows {
    pub fn items(&self) -> Vec<&Item> {
        self.items.values().collect()
    }
}

impl World {
    pub fn revive(&self, death: Option<Death>) {
        self.state.lock().unwrap().death = death;
    }

    /// Every call of the store fails so, until it is set to `None`.
    pub fn fail(&self, failure: Option<StoreError>) {
        self.state.lock().unwrap().failure = failure;
    }

    /// Since when there have been rows at all; at first, always.
    pub fn begun(&self, since: Timestamp) {
        self.state.lock().unwrap().rows.since = Some(since);
    }

    /// What the store takes for the present; at first nothing has ended.
    pub fn set_time(&self, now: Timestamp) {
        self.state.lock().unwrap().now = now.0;
    }

    /// The walk of a shard, as it is kept.
    pub fn sweep(&self, shard: u8) -> Option<Sweep> {
        self.state.lock().unwrap().sweeps.get(&shard).map(|kept| kept.2.clone())
    }

    pub fn rows(&self) -> Rows {
        self.state.lock().unwrap().rows.clone()
    }

    pub fn alerts(&self) -> Vec<Alert> {
        self.state.lock().unwrap().alerts.clone()
    }

    fn call<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state.lock().unwrap();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let dead = || StoreError::Unavailable("dead".into());
        match &mut state.death {
            None => Ok(effect(&mut state)),
            Some(Death { after_calls: 0, with_effect }) => {
                if std::mem::take(with_effect) {
                    effect(&mut state);
                }
                Err(dead())
            }
            Some(death) => {
                death.after_calls -= 1;
                Ok(effect(&mut state))
            }
        }
    }
}

#[async_trait]
impl Timeline for World {
    async fn first_seen(&self, device: DeviceId, event: EventId) -> Result<Option<SeenEvent>, StoreError> {
        self.call(|s| {
            let all = (device, event, i32::MIN, i64::MIN)..=(device, event, i32::MAX, i64::MAX);
            s.rows.seen.range(all).next().map(|(_, seen)| seen.clone())
        })
    }

    async fn record_seen(&self, seen: &SeenEvent) -> Result<(), StoreError> {
        self.call(|s| {
            s.rows.seen.insert((seen.device, seen.event, seen.partition, seen.offset), seen.clone());
        })
    }

    async fn seen_on(&self, _: DeviceId, _: i32) -> Result<Vec<SeenEvent>, StoreError> {
        Err(StoreError::Refused("not asked by this service".into()))
    }

    async fn last_item(&self, group: GroupKey) -> Result<Option<ItemId>, StoreError> {
        self.call(|s| s.rows.pointers.get(&group).map(|p| p.2))
    }

    async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        self.call(|s| s.rows.items.get(&id).cloned())
    }

    async fn put_item(&self, item: &Item) -> Result<(), StoreError> {
        let newer = |at: (Timestamp, u32)| (item.updated_at, item.revision) >= at;
        self.call(|s| {
            if s.rows.items.get(&item.id).is_none_or(|old| newer((old.updated_at, old.revision))) {
                s.rows.items.insert(item.id, item.clone());
            }
            if s.rows.pointers.get(&item.group).is_none_or(|(at, revision, _)| newer((*at, *revision))) {
                s.rows.pointers.insert(item.group, (item.updated_at, item.revision, item.id));
            }
        })
    }

    async fn add_to_feed(&self, owner: FeedOwner, item: &Item) -> Result<(), StoreError> {
        self.call(|s| {
            if let Some(position) = FeedPosition::of(owner, item) {
                s.rows.feeds.insert((format!("{owner:?}"), position));
            }
        })
    }

    async fn feed(
        &self,
        _: FeedOwner,
        _: Option<FeedPosition>,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        Err(StoreError::Refused("not asked by this service".into()))
    }
}

/// The log of alerts of a world.
pub struct Log(pub Arc<World>);

impl Alerts for Log {
    async fn tell(&self, alert: &Alert) -> Result<(), ProduceError> {
        self.0.call(|s| s.alerts.push(alert.clone())).map_err(|e| ProduceError::Unavailable(e.to_string()))
    }
}

pub fn malden() -> NeighborhoodRef {
    NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(3)), version: Version(1) }
}

/// Motion with one label, `at` milliseconds after noon, sent and received at once.
pub fn seen(device: u128, n: u32, at: i64, label: Label, shares: bool) -> Stamped {
    let event = Event {
        id: EventId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_800_000_000 + u64::from(n), 0))),
        kind: Kind::Motion,
        labels: [label].into_iter().collect(),
        occurred_at: Timestamp(NOON + at),
        ended_at: None,
        familiar: false,
        confidence_permille: None,
        zone: None,
    };
    Stamped {
        digest: event.digest(),
        event,
        device: DeviceId(Uuid::from_u128(device)),
        household: HouseholdId(Uuid::from_u128(2)),
        point: Point { lon_e7: 0, lat_e7: 0 },
        policy: if shares { SharingPolicy::sharing([Label::Person]) } else { SharingPolicy::default() },
        plan: Plan::default(),
        sent_at: Timestamp(NOON + at),
        received_at: Timestamp(NOON + at),
    }
}

/// The `n`-th clip (or thumbnail) of an event, completed so many milliseconds after it.
pub fn media(of: &Stamped, kind: MediaKind, n: u8, after_ms: i64) -> Media {
    let sha256 = ContentHash([n; 32]);
    Media {
        id: MediaId::of(of.device, of.event.id, kind, &sha256),
        device: of.device,
        event: of.event.id,
        household: of.household,
        kind,
        content_type: if kind == MediaKind::Clip { ContentType::Mp4 } else { ContentType::Jpeg },
        bytes: 1,
        sha256,
        retention_days: 30,
        received_at: of.received_at.plus_ms(after_ms),
    }
}

pub fn record(offset: i64, stamped: &Stamped) -> Arc<Record> {
    logged(offset, &Logged::Event(stamped.clone()))
}

pub fn media_record(offset: i64, media: &Media) -> Arc<Record> {
    logged(offset, &Logged::Media(media.clone()))
}

pub fn logged(offset: i64, logged: &Logged) -> Arc<Record> {
    let (device, at) = match logged {
        Logged::Event(stamped) => (stamped.device, stamped.received_at),
        Logged::Media(media) => (media.device, media.received_at),
    };
    Arc::new(Record {
        topic: Topic::Events,
        partition: 0,
        offset,
        key: Some(device.0.as_bytes().to_vec()),
        value: logged.encode(),
        headers: Vec::new(),
        timestamp_ms: at.0,
        lease: Lease::default(),
    })
}
