//! Conditional writes, households, neighborhoods, intents.

use std::collections::BTreeSet;

use futures::future::join_all;
use porchlight_domain::{
    ChosenId, Device, DeviceId, Endpoint, EndpointId, Home, HomeId, HouseholdId, Label, NeighborhoodId,
    NeighborhoodRef, Plan, Point, Resident, ResidentId, SharingPolicy, Timestamp, Transport, Version,
};
use porchlight_store::{Household, Intent, IntentKind, MAX_INTENT_SPAN_MS, Read, Store, StoreError, Written};
use porchlight_wire::NeighborhoodRecord;

use super::{HOUR_MS, id, now};

fn device() -> Device {
    Device {
        id: DeviceId(id()),
        chosen: ChosenId(id()),
        household: HouseholdId(id()),
        home: HomeId(id()),
        name: "Front door".into(),
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        policy: SharingPolicy::sharing([Label::Person]),
        plan: Plan::default(),
        credential: Some([7; 32]),
        deleted: false,
        version: Version(1),
        updated_at: now(),
    }
}

pub(super) fn home() -> Home {
    Home {
        id: HomeId(id()),
        chosen: ChosenId(id()),
        household: HouseholdId(id()),
        name: "Park Street".into(),
        point: Point { lon_e7: -710_662_000, lat_e7: 424_251_000 },
        verified: false,
        deleted: false,
        since: now(),
        version: Version(1),
    }
}

pub(super) async fn a_row_is_inserted_once(store: Store) {
    let device = device();
    assert_eq!(store.registry.put_device(&device, None).await.unwrap(), Written::Applied);
    let other = Device { name: "Back door".into(), ..device.clone() };
    assert_eq!(store.registry.put_device(&other, None).await.unwrap(), Written::Conflict);
    assert_eq!(store.registry.device(device.id, Read::Quorum).await.unwrap(), Some(device));
}

pub(super) async fn a_lost_update_is_refused(store: Store) {
    let first = device();
    store.registry.put_device(&first, None).await.unwrap();
    let mine = Device { name: "Mine".into(), version: Version(2), ..first.clone() };
    let theirs = Device { name: "Theirs".into(), version: Version(2), ..first.clone() };
    assert_eq!(store.registry.put_device(&mine, Some(Version(1))).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.put_device(&theirs, Some(Version(1))).await.unwrap(), Written::Conflict);
    assert_eq!(store.registry.device(first.id, Read::Serial).await.unwrap(), Some(mine));
    let of_nothing = Device { version: Version(4), ..device() };
    assert_eq!(store.registry.put_device(&of_nothing, Some(Version(3))).await.unwrap(), Written::Conflict);
    assert_eq!(store.registry.device(of_nothing.id, Read::Serial).await.unwrap(), None);
}

pub(super) async fn of_many_writers_of_one_version_one_wins(store: Store) {
    let first = home();
    store.registry.put_home(&first, None).await.unwrap();
    let writers: Vec<Home> =
        (0..8).map(|n| Home { name: n.to_string(), version: Version(2), ..first.clone() }).collect();
    let written = join_all(writers.iter().map(|home| store.registry.put_home(home, Some(Version(1))))).await;
    let winners: Vec<&Home> = writers
        .iter()
        .zip(&written)
        .filter(|(_, written)| matches!(written, Ok(Written::Applied) | Err(StoreError::Unknown(_))))
        .map(|(home, _)| home)
        .collect();
    assert_eq!(written.iter().filter(|w| matches!(w, Ok(Written::Applied))).count().max(1), 1, "{written:?}");
    let stands = store.registry.home(first.id, Read::Serial).await.unwrap().unwrap();
    assert!(winners.contains(&&stands), "the row is that of a writer who was not told of a conflict");
}

pub(super) async fn a_version_that_does_not_follow_is_refused(store: Store) {
    let device = device();
    for (version, expected) in [(2, None), (1, Some(Version(1))), (3, Some(Version(1)))] {
        let wrong = Device { version: Version(version), ..device.clone() };
        let answer = store.registry.put_device(&wrong, expected).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{version} after {expected:?}: {answer:?}");
    }
    assert_eq!(store.registry.device(device.id, Read::Serial).await.unwrap(), None);
}

pub(super) async fn residents_keep_their_endpoints(store: Store) {
    let mut resident =
        Resident { id: ResidentId(id()), household: HouseholdId(id()), endpoints: Vec::new(), version: Version(1) };
    assert_eq!(store.registry.resident(resident.id).await.unwrap(), None);
    assert_eq!(store.registry.put_resident(&resident, None).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.resident(resident.id).await.unwrap().as_ref(), Some(&resident));
    let transports = [
        Transport::WebPush { url: "https://push.example/x".into(), p256dh: vec![4; 65], auth: vec![1; 16] },
        Transport::Fcm { token: "token".into() },
        Transport::Apns { token: "00".into(), sandbox: true },
    ];
    let endpoint = |transport| Endpoint {
        id: EndpointId(id()),
        chosen: ChosenId(id()),
        transport,
        registered_at: Timestamp(1_700_000_000_123),
    };
    resident.endpoints = transports.into_iter().map(endpoint).collect();
    resident.version = Version(2);
    assert_eq!(store.registry.put_resident(&resident, Some(Version(1))).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.resident(resident.id).await.unwrap(), Some(resident));
}

pub(super) async fn devices_come_back_as_written(store: Store) {
    let mut device = device();
    store.registry.put_device(&device, None).await.unwrap();
    device.credential = None;
    device.deleted = true;
    device.version = Version(2);
    store.registry.put_device(&device, Some(Version(1))).await.unwrap();
    assert_eq!(store.registry.device(device.id, Read::Quorum).await.unwrap(), Some(device), "a deleted one stays");
}

pub(super) async fn a_serial_read_sees_what_was_just_written(store: Store) {
    let mut device = device();
    store.registry.put_device(&device, None).await.unwrap();
    for version in 2..6 {
        let expected = device.version;
        device.version = Version(version);
        store.registry.put_device(&device, Some(expected)).await.unwrap();
        assert_eq!(store.registry.device(device.id, Read::Serial).await.unwrap().as_ref(), Some(&device));
    }
}

pub(super) async fn a_household_is_a_set(store: Store) {
    let household = HouseholdId(id());
    assert_eq!(store.registry.household(household).await.unwrap(), Household::default());
    let (resident, home, device) = (ResidentId(id()), HomeId(id()), DeviceId(id()));
    for _ in 0..2 {
        store.registry.add_resident(household, resident).await.unwrap();
        store.registry.set_home(household, home, true).await.unwrap();
        store.registry.set_device(household, device, true).await.unwrap();
    }
    let whole = Household { residents: vec![resident], homes: vec![home], devices: vec![device] };
    assert_eq!(store.registry.household(household).await.unwrap(), whole);
    for _ in 0..2 {
        store.registry.set_home(household, home, false).await.unwrap();
        store.registry.set_device(household, device, false).await.unwrap();
    }
    let left = Household { residents: vec![resident], ..Household::default() };
    assert_eq!(store.registry.household(household).await.unwrap(), left);
    store.registry.set_home(household, home, true).await.unwrap();
    assert_eq!(store.registry.household(household).await.unwrap().homes, [home], "it may come back");
}

pub(super) async fn homes_come_back_as_written(store: Store) {
    let mut home = home();
    assert_eq!(store.registry.home(home.id, Read::Quorum).await.unwrap(), None);
    assert_eq!(store.registry.put_home(&home, None).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.home(home.id, Read::Quorum).await.unwrap().as_ref(), Some(&home));
    home.point = Point { lon_e7: -1_800_000_000, lat_e7: 900_000_000 };
    home.deleted = true;
    home.version = Version(2);
    assert_eq!(store.registry.put_home(&home, Some(Version(1))).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.home(home.id, Read::Serial).await.unwrap(), Some(home));
}

fn neighborhood(version: u64, name: &str) -> NeighborhoodRecord {
    let corner = |lon_e7, lat_e7| Point { lon_e7, lat_e7 };
    NeighborhoodRecord {
        id: NeighborhoodId(id()),
        name: name.into(),
        parts: vec![vec![vec![corner(0, 0), corner(100, 0), corner(100, 100)], vec![corner(10, 5), corner(20, 5)]]],
        deleted: false,
        version: Version(version),
        updated_at: now(),
    }
}

pub(super) async fn old_versions_of_a_neighborhood_stay_readable(store: Store) {
    let first = neighborhood(1, "Malden");
    let at = |version| NeighborhoodRef { id: first.id, version: Version(version) };
    assert_eq!(store.registry.neighborhood(first.id, Read::Serial).await.unwrap(), None);
    assert_eq!(store.registry.put_neighborhood(&first, None).await.unwrap(), Written::Applied);
    let second = NeighborhoodRecord { name: "Malden, moved".into(), version: Version(2), ..first.clone() };
    assert_eq!(store.registry.put_neighborhood(&second, Some(Version(1))).await.unwrap(), Written::Applied);
    assert_eq!(store.registry.put_neighborhood(&second, Some(Version(1))).await.unwrap(), Written::Conflict);
    assert_eq!(store.registry.neighborhood(first.id, Read::Quorum).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.registry.neighborhood(first.id, Read::Serial).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.registry.neighborhood_at(at(1)).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.registry.neighborhood_at(at(2)).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.registry.neighborhood_at(at(3)).await.unwrap(), None);
}

/// The pointer and the version it names are of one writer, however many write at once; and a version that is to come is
/// not decided by one who was wrong about the present.
pub(super) async fn a_version_of_a_neighborhood_is_decided_once(store: Store) {
    let first = neighborhood(1, "Quincy");
    store.registry.put_neighborhood(&first, None).await.unwrap();
    let writers: Vec<_> =
        (0..6).map(|n| NeighborhoodRecord { name: n.to_string(), version: Version(2), ..first.clone() }).collect();
    let written =
        join_all(writers.iter().map(|record| store.registry.put_neighborhood(record, Some(Version(1))))).await;
    let applied: Vec<_> =
        writers.iter().zip(&written).filter(|(_, w)| matches!(w, Ok(Written::Applied))).map(|(r, _)| r).collect();
    assert!(applied.len() <= 1, "{written:?}");
    // One who got no answer may have won: the next writer finds it out.
    let current = store.registry.neighborhood(first.id, Read::Serial).await.unwrap().unwrap();
    if let Some(winner) = applied.first() {
        assert_eq!(&&current, winner);
    }
    let named = NeighborhoodRef { id: first.id, version: current.version };
    assert_eq!(store.registry.neighborhood_at(named).await.unwrap(), Some(current));

    let wrong = NeighborhoodRecord { name: "Wrong".into(), version: Version(10), ..first.clone() };
    assert_eq!(store.registry.put_neighborhood(&wrong, Some(Version(9))).await.unwrap(), Written::Conflict);
    let wrong = NeighborhoodRef { id: first.id, version: Version(10) };
    assert_eq!(store.registry.neighborhood_at(wrong).await.unwrap(), None);
}

pub(super) async fn all_ids_are_walked_in_pages(store: Store) {
    let mut expected = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..5 {
        let (device, neighborhood) = (device(), neighborhood(1, "Boston"));
        store.registry.put_device(&device, None).await.unwrap();
        store.registry.put_neighborhood(&neighborhood, None).await.unwrap();
        expected.0.insert(device.id);
        expected.1.insert(neighborhood.id);
    }
    let (mut devices, mut after) = (Vec::new(), None);
    loop {
        let page = store.registry.device_ids(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        after = page.last().copied();
        devices.extend(page);
        if after.is_none() {
            break;
        }
    }
    let (mut neighborhoods, mut after) = (Vec::new(), None);
    loop {
        let page = store.registry.neighborhood_ids(after, 2).await.unwrap();
        after = page.last().copied();
        neighborhoods.extend(page);
        if after.is_none() {
            break;
        }
    }
    let distinct = (BTreeSet::from_iter(devices.clone()), BTreeSet::from_iter(neighborhoods.clone()));
    assert_eq!((distinct.0.len(), distinct.1.len()), (devices.len(), neighborhoods.len()), "each once");
    assert!(distinct.0.is_superset(&expected.0) && distinct.1.is_superset(&expected.1));
}

pub(super) async fn intents_are_read_by_span(store: Store) {
    // Nobody else writes intents of this hour.
    let hour = i64::from(id().as_bytes()[0]) * 256 + i64::from(id().as_bytes()[0]);
    let start = Timestamp(HOUR_MS * (10_000 + hour));
    let device = DeviceId(id());
    let at = |ms| Intent { kind: IntentKind::Device(device), at: start.plus_ms(ms) };
    let (home, neighborhood) = (IntentKind::Home(HomeId(id())), IntentKind::Neighborhood(NeighborhoodId(id())));
    let mut all = vec![at(0), at(9_999), at(10_000), at(25_000)];
    all.push(Intent { kind: home, at: start.plus_ms(25_001) });
    all.push(Intent { kind: neighborhood, at: start.plus_ms(60_000) });
    for intent in &all {
        store.registry.intend(*intent).await.unwrap();
        store.registry.intend(*intent).await.unwrap();
    }
    let read = async |from, until| store.registry.intents(start.plus_ms(from), start.plus_ms(until)).await.unwrap();
    assert_eq!(read(0, 60_001).await, all);
    assert_eq!(read(0, 60_000).await, all[..5], "the end is not included");
    assert_eq!(read(1, 25_000).await, all[1..3]);
    assert_eq!(read(10_000, 10_001).await, all[2..3]);
    assert_eq!(read(10_000, 10_000).await, []);
    let refused = store.registry.intents(start, start.plus_ms(MAX_INTENT_SPAN_MS + 1)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

pub(super) async fn operators_are_made(store: Store) {
    let resident = ResidentId(id());
    assert!(!store.registry.is_operator(resident).await.unwrap());
    for _ in 0..2 {
        store.registry.add_operator(resident, "the first").await.unwrap();
    }
    assert!(store.registry.is_operator(resident).await.unwrap());
    assert!(!store.registry.is_operator(ResidentId(id())).await.unwrap());
    store.ping().await.unwrap();
}
