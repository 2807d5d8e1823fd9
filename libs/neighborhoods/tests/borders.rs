//! What the gate learns of borders, whatever the order in which their versions arrive.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use porchlight_domain::{
    Audience, Borders, Cell, HomeId, HouseholdId, NeighborhoodId, NeighborhoodRef, Point, Residence, Timestamp,
    Undecided, Version, gate::Gate,
};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_wire::NeighborhoodRecord;
use proptest::prelude::*;
use uuid::Uuid;

fn at(lon_e7: i32, lat_e7: i32) -> Point {
    Point { lon_e7, lat_e7 }
}

fn id(n: u128) -> NeighborhoodId {
    NeighborhoodId(Uuid::from_u128(n))
}

fn version(n: u128, version: u64) -> NeighborhoodRef {
    NeighborhoodRef { id: id(n), version: Version(version) }
}

/// The square from (`west`, 0), 100 wide and high.
fn record(n: u128, version: u64, west: i32) -> NeighborhoodRecord {
    NeighborhoodRecord {
        id: id(n),
        name: format!("{n} at {version}"),
        parts: vec![vec![vec![at(west, 0), at(west + 100, 0), at(west + 100, 100), at(west, 100)]]],
        deleted: false,
        version: Version(version),
        updated_at: Timestamp(0),
    }
}

fn deletion(n: u128, version: u64) -> NeighborhoodRecord {
    NeighborhoodRecord { deleted: true, ..record(n, version, 0) }
}

fn holding(records: impl IntoIterator<Item = NeighborhoodRecord>) -> Neighborhoods {
    let neighborhoods = Neighborhoods::new();
    neighborhoods.apply(&records.into_iter().map(Arc::new).collect::<Vec<_>>());
    neighborhoods
}

#[test]
fn g4_a_point_between_two_neighborhoods_is_in_one() {
    let now = holding([record(2, 1, 0), record(1, 1, 100)]).snapshot();
    assert_eq!(now.locate(at(99, 50)), [version(2, 1)]);
    assert_eq!(now.locate(at(100, 50)), [version(1, 1)]);
    assert!(now.locate(at(200, 50)).is_empty());
    assert_eq!(now.name(id(1)), Some("1 at 1"));
    assert_eq!(now.len(), 2);
}

#[test]
fn g4_overlapping_neighborhoods_are_named_in_the_order_of_their_ids() {
    let now = holding([record(3, 7, 0), record(1, 4, 10), record(2, 5, 20)]).snapshot();
    assert_eq!(now.locate(at(50, 50)), [version(1, 4), version(2, 5), version(3, 7)]);
}

#[test]
fn g1_an_edit_counts_at_once_and_the_version_before_it_can_still_be_asked() {
    let neighborhoods = holding([record(1, 1, 0)]);
    let before = neighborhoods.snapshot();
    neighborhoods.apply(&[Arc::new(record(1, 2, 500))]);
    let now = neighborhoods.snapshot();

    assert_eq!(now.current(id(1)), Some(Version(2)));
    assert_eq!(now.holds(version(1, 2), at(50, 50)), Ok(false));
    assert_eq!(now.holds(version(1, 1), at(50, 50)), Ok(true));
    assert_eq!(before.current(id(1)), Some(Version(1)), "what is held does not change");
    assert_eq!(before.locate(at(50, 50)), [version(1, 1)]);
}

#[test]
fn g1_a_version_that_is_not_here_is_no_answer() {
    let neighborhoods = holding([record(1, 3, 0)]);
    for missing in [version(1, 2), version(1, 4), version(2, 1)] {
        assert_eq!(neighborhoods.snapshot().holds(missing, at(50, 50)), Err(Undecided(missing)));
    }
    neighborhoods.remember(record(1, 2, 500));
    let now = neighborhoods.snapshot();
    assert_eq!(now.holds(version(1, 2), at(550, 50)), Ok(true));
    assert_eq!(now.current(id(1)), Some(Version(3)), "what is remembered is not current");
    assert!(now.locate(at(550, 50)).is_empty());
}

#[test]
fn g1_a_deleted_neighborhood_holds_nobody_and_stays_deleted() {
    let neighborhoods = holding([record(1, 1, 0)]);
    neighborhoods.apply(&[Arc::new(deletion(1, 2))]);
    neighborhoods.apply(&[Arc::new(record(1, 1, 0))]);
    let now = neighborhoods.snapshot();
    assert_eq!((now.current(id(1)), now.name(id(1)), now.len()), (None, None, 0));
    assert!(now.is_empty() && now.locate(at(50, 50)).is_empty() && now.cells(id(1)).is_empty());
    assert_eq!(now.holds(version(1, 2), at(50, 50)), Ok(false), "whatever polygon the deletion still carries");
    assert_eq!(now.holds(version(1, 1), at(50, 50)), Ok(true), "an alert in flight may still name it");

    neighborhoods.apply(&[Arc::new(record(1, 3, 0))]);
    assert_eq!(neighborhoods.snapshot().locate(at(50, 50)), [version(1, 3)], "and can come back");
}

#[test]
fn g1_the_gate_asks_both_the_version_that_matched_and_the_one_that_counts() {
    let neighborhoods = holding([record(1, 1, 0)]);
    neighborhoods.apply(&[Arc::new(record(1, 2, 50))]);
    let now = neighborhoods.snapshot();
    let lives_in = |point| {
        let residence = Residence { home: HomeId(Uuid::nil()), point, verified: true };
        let audience = Audience { household: HouseholdId(Uuid::nil()), neighborhoods: vec![version(1, 1)] };
        Gate(now.as_ref()).lives_in(&residence, &audience.neighborhoods)
    };
    assert_eq!(lives_in(at(75, 50)), Ok(true), "in both");
    assert_eq!(lives_in(at(25, 50)), Ok(false), "no longer in it");
    assert_eq!(lives_in(at(125, 50)), Ok(false), "not yet in it when it happened");
}

#[test]
fn cells_cover_every_home_that_the_neighborhood_holds() {
    let far = 3 << Cell::SHIFT;
    let parts = vec![vec![vec![at(-far, -far), at(far, -far), at(0, far)]]];
    let now = holding([NeighborhoodRecord { parts, ..record(1, 1, 0) }]).snapshot();
    let cells = now.cells(id(1));
    for lon in (-far..far).step_by(9_973) {
        for lat in (-far..far).step_by(9_973) {
            let home = at(lon, lat);
            assert!(now.locate(home).is_empty() || cells.contains(&Cell::of(home)));
        }
    }
    assert!(cells.len() < 6 * 7, "not much more than half of the box: {}", cells.len());
    assert!(now.cells(id(2)).is_empty());
}

#[test]
fn many_writers_lose_nothing() {
    let neighborhoods = Neighborhoods::new();
    std::thread::scope(|scope| {
        for writer in 0..4_u128 {
            let neighborhoods = neighborhoods.clone();
            scope.spawn(move || {
                for n in 0..50_u64 {
                    neighborhoods
                        .apply(&[Arc::new(record(writer, n + 1, 0)), Arc::new(record(100 + writer, n + 1, 0))]);
                }
            });
        }
    });
    let now = neighborhoods.snapshot();
    assert_eq!(now.locate(at(1, 1)).len(), 8);
    assert!(now.locate(at(1, 1)).iter().all(|n| n.version == Version(50)));
}

/// Versions of a few neighborhoods; a version is always the same record.
fn history() -> impl Strategy<Value = Vec<NeighborhoodRecord>> {
    let one = (0_u128..20, 1_u64..6).prop_map(|(n, version)| {
        let west = i32::try_from((n * 37 + u128::from(version) * 71) % 400).unwrap();
        if (n + u128::from(version)) % 4 == 0 { deletion(n, version) } else { record(n, version, west) }
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn any_order_in_any_portions_ends_at_the_same(
        (straight, shuffled) in history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle())),
        portion in 1_usize..20,
    ) {
        let all_at_once = holding(straight.clone()).snapshot();
        let in_portions = Neighborhoods::new();
        for portion in shuffled.chunks(portion) {
            in_portions.apply(&portion.iter().cloned().map(Arc::new).collect::<Vec<_>>());
        }
        let in_portions = in_portions.snapshot();
        prop_assert_eq!(all_at_once.len(), in_portions.len());
        for n in 0..20 {
            prop_assert_eq!(all_at_once.current(id(n)), in_portions.current(id(n)));
            prop_assert_eq!(all_at_once.name(id(n)), in_portions.name(id(n)));
            prop_assert_eq!(all_at_once.cells(id(n)), in_portions.cells(id(n)));
            let newest = straight.iter().filter(|r| r.id == id(n)).max_by_key(|r| r.version);
            let living = newest.filter(|r| !r.deleted).map(|r| r.version);
            prop_assert_eq!(in_portions.current(id(n)), living);
        }
        let points: Vec<Point> = (-10..520).step_by(10).map(|lon| at(lon, 50)).collect();
        let one_by_one: Vec<_> = points.iter().map(|point| in_portions.locate(*point)).collect();
        prop_assert_eq!(in_portions.locate_batch(&points), one_by_one);
        for lon in (-10..520).step_by(10) {
            prop_assert_eq!(all_at_once.locate(at(lon, 50)), in_portions.locate(at(lon, 50)));
            for owner in in_portions.locate(at(lon, 50)) {
                prop_assert_eq!(in_portions.holds(owner, at(lon, 50)), Ok(true));
            }
        }
    }
}
