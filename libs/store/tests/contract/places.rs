//! Homes by place, and those that wait to be verified.

use std::collections::BTreeSet;

use futures::future::join_all;
use porchlight_domain::{Cell, Home, HomeId, HouseholdId, Point, ResidentId, Version};
use porchlight_store::{PlacedHome, Store, Written};

use super::{id, registry::home};

/// A cell of the test's own: the antarctic is wide and empty.
fn empty_cell() -> Point {
    let bytes = id().into_bytes();
    let far = i32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    Point { lon_e7: far * 100, lat_e7: -800_000_000 - i32::from(bytes[3]) * 100_000 }
}

fn placed(home: HomeId, point: Point, version: u64) -> PlacedHome {
    PlacedHome {
        home,
        household: HouseholdId(home.0),
        point,
        verified: true,
        residents: vec![ResidentId(home.0)],
        version: Version(version),
    }
}

async fn versions_in(store: &Store, point: Point) -> Vec<u64> {
    let homes = store.registry.homes_in(Cell::of(point), None, 100).await.unwrap();
    homes.iter().map(|home| home.version.0).collect()
}

pub(super) async fn a_late_copy_does_not_cover_a_newer_one(store: Store) {
    let (home, point) = (HomeId(id()), empty_cell());
    store.registry.place_home(&placed(home, point, 3)).await.unwrap();
    store.registry.place_home(&placed(home, point, 2)).await.unwrap();
    assert_eq!(versions_in(&store, point).await, [3]);
    store.registry.unplace_home(Cell::of(point), home, Version(2)).await.unwrap();
    assert_eq!(versions_in(&store, point).await, [3], "a late removal does not reach it");
    store.registry.unplace_home(Cell::of(point), home, Version(3)).await.unwrap();
    assert_eq!(versions_in(&store, point).await, [3], "a copy stands against the removal of its own version");
    store.registry.place_home(&placed(home, point, 3)).await.unwrap();
    assert_eq!(versions_in(&store, point).await, [3]);
}

pub(super) async fn a_home_that_moves_leaves_its_old_cell(store: Store) {
    let (home, old, new) = (HomeId(id()), empty_cell(), empty_cell());
    store.registry.place_home(&placed(home, old, 1)).await.unwrap();
    store.registry.place_home(&placed(home, new, 2)).await.unwrap();
    store.registry.unplace_home(Cell::of(old), home, Version(2)).await.unwrap();
    assert_eq!(versions_in(&store, old).await, [0; 0]);
    assert_eq!(versions_in(&store, new).await, [2]);
    store.registry.place_home(&placed(home, old, 1)).await.unwrap();
    assert_eq!(versions_in(&store, old).await, [0; 0], "the old copy, come late, stays away");
    // It moves back.
    store.registry.place_home(&placed(home, old, 3)).await.unwrap();
    store.registry.unplace_home(Cell::of(new), home, Version(3)).await.unwrap();
    store.registry.unplace_home(Cell::of(old), home, Version(2)).await.unwrap();
    assert_eq!(versions_in(&store, old).await, [3]);
    assert_eq!(versions_in(&store, new).await, [0; 0]);
}

pub(super) async fn the_homes_of_a_cell_come_in_pages(store: Store) {
    let point = empty_cell();
    // More than a page of the driver, so that a long answer is read to its end.
    let mut all: Vec<PlacedHome> = (0..620).map(|_| placed(HomeId(id()), point, 1)).collect();
    for chunk in all.chunks(64) {
        join_all(chunk.iter().map(|home| store.registry.place_home(home)))
            .await
            .into_iter()
            .collect::<Result<(), _>>()
            .unwrap();
    }
    all.sort_by_key(|home| home.home);
    let whole = store.registry.homes_in(Cell::of(point), None, 1000).await.unwrap();
    assert_eq!(whole, all, "in the order of their ids");
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.registry.homes_in(Cell::of(point), after, 250).await.unwrap();
        assert!(page.len() <= 250);
        after = page.last().map(|home| home.home);
        paged.extend(page);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(store.registry.homes_in(Cell::of(point), None, 0).await.unwrap(), []);
}

pub(super) async fn pending_homes_are_those_that_wait(store: Store) {
    let pending =
        async || -> BTreeSet<HomeId> { store.registry.pending_homes(10_000).await.unwrap().into_iter().collect() };
    let mut waits = home();
    let verified = Home { verified: true, ..home() };
    store.registry.put_home(&waits, None).await.unwrap();
    store.registry.put_home(&verified, None).await.unwrap();
    let found = pending().await;
    assert!(found.contains(&waits.id) && !found.contains(&verified.id));
    assert_eq!(store.registry.pending_homes(1).await.unwrap().len(), 1);
    assert_eq!(store.registry.pending_homes(0).await.unwrap(), []);
    // A writer who lost does not bring it into the list of another's verified home.
    let loser = Home { version: Version(1), ..Home { id: verified.id, ..home() } };
    assert_eq!(store.registry.put_home(&loser, None).await.unwrap(), Written::Conflict);
    assert!(!pending().await.contains(&verified.id));
    waits.verified = true;
    waits.version = Version(2);
    store.registry.put_home(&waits, Some(Version(1))).await.unwrap();
    assert!(!pending().await.contains(&waits.id));
    // It moves, and waits again.
    waits.verified = false;
    waits.version = Version(3);
    store.registry.put_home(&waits, Some(Version(2))).await.unwrap();
    assert!(pending().await.contains(&waits.id));
    waits.deleted = true;
    waits.version = Version(4);
    store.registry.put_home(&waits, Some(Version(3))).await.unwrap();
    assert!(!pending().await.contains(&waits.id));
}
