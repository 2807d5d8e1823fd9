//! Shapes made at random, on a small lattice where everything touches everything: the rule does not depend on how a ring
//! is written, the index agrees with brute force, changes lead where building leads, squares cover.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::moved_point_is_in;
use porchlight_geofence::{
    Change, GeofenceIndex, Geometry, Neighborhood, Point, Ring,
    geojson::{self, Options},
};
use proptest::{collection::vec, prelude::*};

fn point(range: std::ops::Range<i32>) -> impl Strategy<Value = Point> {
    (range.clone(), range).prop_map(|(x, y)| Point { x, y })
}

fn ring(range: std::ops::Range<i32>) -> impl Strategy<Value = Ring> {
    vec(point(range), 3..9)
}

fn geometry(range: std::ops::Range<i32>) -> impl Strategy<Value = Geometry> {
    vec(vec(ring(range), 1..3), 1..3).prop_map(|parts| Geometry { parts })
}

/// From a lattice of nine by nine to coordinates of the whole plane.
fn any_geometry() -> impl Strategy<Value = Geometry> {
    prop_oneof![geometry(-4..5), geometry(-1000..1000), geometry(-1_800_000_000..1_800_000_000)]
}

fn lattice() -> impl Iterator<Item = Point> {
    (-5..6).flat_map(|x| (-5..6).map(move |y| Point { x, y }))
}

/// The points worth asking about: vertices, their surroundings, and the middles between them.
fn probes(geometry: &Geometry) -> Vec<Point> {
    let vertices: Vec<Point> = geometry.parts.iter().flatten().flatten().copied().collect();
    let middle = |a: i32, b: i32| i32::try_from(i64::midpoint(a.into(), b.into())).unwrap();
    let middles = vertices.iter().zip(vertices.iter().cycle().skip(1));
    let middles = middles.map(|(a, b)| Point { x: middle(a.x, b.x), y: middle(a.y, b.y) });
    vertices
        .iter()
        .copied()
        .chain(middles)
        .flat_map(|p| [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)].map(|(dx, dy)| Point { x: p.x + dx, y: p.y + dy }))
        .collect()
}

fn numbered(geometries: Vec<Geometry>) -> Vec<Neighborhood> {
    let numbered = geometries.into_iter().zip(0..);
    numbered.map(|(geometry, id)| Neighborhood { id, geometry: Arc::new(geometry) }).collect()
}

proptest! {
    #[test]
    fn both_ways_to_tell_the_rule_agree(geometry in any_geometry()) {
        for p in probes(&geometry) {
            prop_assert_eq!(geometry.contains(p), moved_point_is_in(&geometry, p), "{:?}", p);
        }
    }

    #[test]
    fn g4_how_a_ring_is_written_does_not_matter(ring in ring(-4..5), start in 0_usize..9) {
        let plain = Geometry { parts: vec![vec![ring.clone()]] };
        let mut other = ring.iter().map(|p| Point { x: p.x * 2, y: p.y * 2 }).collect::<Ring>();
        let ends: Vec<Point> = other.iter().cycle().skip(1).take(other.len()).copied().collect();
        // Each edge cut in its middle, the start moved, the winding turned.
        other = other.iter().zip(ends).flat_map(|(a, b)| [*a, Point { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }]).collect();
        let length = other.len();
        other.rotate_left(start % length);
        let turned = Geometry { parts: vec![vec![other.iter().rev().copied().collect()]] };
        let other = Geometry { parts: vec![vec![other]] };
        for p in lattice() {
            let twice = Point { x: 2 * p.x, y: 2 * p.y };
            prop_assert_eq!(plain.contains(p), other.contains(twice));
            prop_assert_eq!(plain.contains(p), turned.contains(twice));
        }
    }

    #[test]
    fn the_index_agrees_with_brute_force(geometries in vec(any_geometry(), 1..6)) {
        let all = numbered(geometries);
        let index = GeofenceIndex::build(&all);
        for p in all.iter().flat_map(|n| probes(&n.geometry)) {
            let found: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
            let expected: Vec<u128> = all.iter().filter(|n| n.geometry.contains(p)).map(|n| n.id).collect();
            prop_assert_eq!(found, expected, "{:?}", p);
        }
    }

    #[test]
    fn changes_one_by_one_lead_where_building_leads(changes in vec((0_u128..5, proptest::option::of(any_geometry())), 0..20)) {
        let mut index = GeofenceIndex::default();
        let mut expected: BTreeMap<u128, Neighborhood> = BTreeMap::new();
        let mut before = Vec::new();
        for (id, geometry) in changes {
            let place = index.find(id);
            before.push((index.clone(), expected.clone()));
            index = match geometry {
                Some(geometry) => {
                    let neighborhood = Neighborhood { id, geometry: Arc::new(geometry) };
                    expected.insert(id, neighborhood.clone());
                    index.apply(Change::Put(neighborhood))
                }
                None => {
                    expected.remove(&id);
                    index.apply(Change::Remove(id))
                }
            };
            if let (Some(before), Some(after)) = (place, index.find(id)) {
                prop_assert_eq!(before, after, "an id keeps its place");
            }
        }
        before.push((index, expected));
        // Every index on the way is still what it was.
        for (index, expected) in before {
            let all: Vec<Neighborhood> = expected.into_values().collect();
            let built = GeofenceIndex::build(&all);
            prop_assert_eq!(index.stats(), built.stats());
            for p in all.iter().flat_map(|n| probes(&n.geometry)).chain(lattice()) {
                let of = |index: &GeofenceIndex| {
                    let mut ids: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
                    ids.sort_unstable();
                    ids
                };
                prop_assert_eq!(of(&index), of(&built));
            }
        }
    }

    #[test]
    fn squares_cover_and_none_is_idle(geometry in geometry(-60..60), shift in 0_u32..6) {
        let cells = geometry.cells(shift);
        prop_assert!(cells.is_sorted() && cells.windows(2).all(|pair| pair[0] != pair[1]));
        let rings: Vec<&Ring> = geometry.parts.iter().flatten().collect();
        for x in -64..64 {
            for y in -64..64 {
                let p = Point { x, y };
                prop_assert!(!geometry.contains(p) || cells.binary_search(&(x >> shift, y >> shift)).is_ok(), "{:?}", p);
            }
        }
        // A square with no point inside has a border through it or within a unit of it.
        let side = 1 << shift;
        for (column, row) in cells {
            let (west, south) = (column * side, row * side);
            let held = (0..side).any(|dx| (0..side).any(|dy| geometry.contains(Point { x: west + dx, y: south + dy })));
            let touched = rings.iter().any(|ring| {
                let ends = ring.iter().cycle().skip(1);
                ring.iter().zip(ends).any(|(a, b)| {
                    a.x.min(b.x) <= west + side && a.x.max(b.x) >= west && a.y.min(b.y) <= south + side && a.y.max(b.y) >= south
                })
            });
            prop_assert!(held || touched, "{column} {row}");
        }
    }

    #[test]
    fn writing_and_reading_is_the_identity(ring in ring(-1_800_000_000..1_800_000_001)) {
        let on_globe: Ring = ring.iter().map(|p| Point { x: p.x / 2, y: p.y / 2 }).collect();
        let text = serde_json::to_vec(&geojson::write(&Geometry { parts: vec![vec![on_globe]] })).unwrap();
        let options = Options { repair_even_odd: true, ..Options::default() };
        if let Ok(features) = geojson::read(&text, options) {
            let again = serde_json::to_vec(&geojson::write(&features[0].geometry)).unwrap();
            prop_assert_eq!(geojson::read(&again, options).unwrap()[0].geometry.clone(), features[0].geometry.clone());
        }
    }
}

#[test]
fn a_town_is_covered_by_few_squares_and_its_middle_is_among_them() {
    let towns = common::neighborhoods("../synth/data/towns-ma.geojson");
    for town in towns {
        let cells = town.geometry.cells(17);
        let vertices = town.geometry.parts.iter().flatten().flatten();
        for p in vertices {
            assert!(cells.contains(&(p.x >> 17, p.y >> 17)));
        }
        let xs: Vec<i32> = cells.iter().map(|c| c.0).collect();
        let ys: Vec<i32> = cells.iter().map(|c| c.1).collect();
        let bounds = (xs.iter().max().unwrap() - xs.iter().min().unwrap() + 1)
            * (ys.iter().max().unwrap() - ys.iter().min().unwrap() + 1);
        assert!(cells.len() <= usize::try_from(bounds).unwrap());
    }
}

#[test]
fn a_polygon_of_the_globe_is_covered() {
    let at = |x: i32, y: i32| Point { x: x * 10_000_000, y: y * 10_000_000 };
    let globe = Geometry {
        parts: vec![vec![vec![at(-180, -90), at(0, -90), at(180, -90), at(180, 90), at(0, 90), at(-180, 90)]]],
    };
    assert_eq!(globe.cells(30).len(), 4 * 2);
    assert_eq!(globe.cells(31).len(), 2 * 2);
}

#[test]
fn an_index_tells_its_size() {
    let index = GeofenceIndex::build(&common::neighborhoods("../synth/data/boston.geojson"));
    assert_eq!(index.stats().neighborhoods, 26);
    assert_eq!(index.stats().vertices, 32_068 - 23, "23 are one with their neighbor once snapped");
    assert!(index.memory_bytes() > index.stats().vertices * 8);
}

/// The index against brute force told another way, on polygons that are hard on purpose.
#[test]
fn g4_pathological_polygons_have_one_meaning() {
    for name in ["georust", "jts", "turf"] {
        let all = common::pathological(&format!("tests/data/{name}.geojson"));
        let index = GeofenceIndex::build(&all);
        for neighborhood in &all {
            let probes = probes(&neighborhood.geometry);
            let some = probes.len().div_ceil(300);
            for p in probes.into_iter().step_by(some).filter(|p| p.x.abs() < 1_800_000_000 && p.y < 900_000_000) {
                let found: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
                assert_eq!(
                    found.contains(&neighborhood.id),
                    moved_point_is_in(&neighborhood.geometry, p),
                    "{name} {}: {p:?}",
                    neighborhood.id
                );
            }
        }
    }
}
