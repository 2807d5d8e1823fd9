//! In a partition of the plane each point has exactly one owner, vertices and points on edges included, at every scale.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Dice, moved_point_is_in};
use porchlight_geofence::{GeofenceIndex, Geometry, Neighborhood, Point, Ring};

const GLOBE: (Point, Point) =
    (Point { x: -1_800_000_000, y: -900_000_000 }, Point { x: 1_800_000_000, y: 900_000_000 });

/// A shaken lattice of quadrangles between two corners, some of them round a diamond that belongs to another; every ring
/// with a start, a winding and extra vertices of its own; the quadrangles thrown together into a few neighborhoods.
struct Partition {
    neighborhoods: Vec<Neighborhood>,
    /// Every vertex, and points exactly on edges.
    on_borders: Vec<Point>,
}

fn partition(dice: &mut Dice, (min, max): (Point, Point), columns: i32, rows: i32) -> Partition {
    // Every coordinate is a multiple of 4 from the corner on, so that quarters of edges are exact.
    let (width, height) = ((max.x / 2 - min.x / 2) / columns / 2 * 4, (max.y / 2 - min.y / 2) / rows / 2 * 4);
    let mut lattice = vec![vec![min; usize::try_from(rows + 1).unwrap()]; usize::try_from(columns + 1).unwrap()];
    for (i, column) in (0..).zip(&mut lattice) {
        for (j, p) in (0..).zip(column) {
            let mut shake = |step: i32, n: i32, of: i32| {
                let room = if n == 0 || n == of { 0 } else { step / 20 };
                4 * dice.between(-room, room)
            };
            let along =
                |from: i32, step: i32, n: i32| i32::try_from(i64::from(from) + i64::from(step) * i64::from(n)).unwrap();
            p.x = along(min.x, width, i) + shake(width, i, columns);
            p.y = along(min.y, height, j) + shake(height, j, rows);
        }
    }
    let mut parts: [Vec<Vec<Ring>>; 7] = Default::default();
    let mut on_borders = Vec::new();
    let mut dress = |ring: Ring, dice: &mut Dice| {
        let mut dressed = Ring::new();
        for (i, &a) in ring.iter().enumerate() {
            let b = ring[(i + 1) % ring.len()];
            dressed.push(a);
            for quarter in [1, 2, 3] {
                let between =
                    |a: i32, b: i32| i32::try_from(i64::from(a) + (i64::from(b) - i64::from(a)) / 4 * quarter).unwrap();
                let p = Point { x: between(a.x, b.x), y: between(a.y, b.y) };
                on_borders.push(p);
                if dice.next().is_multiple_of(3) {
                    dressed.push(p);
                }
            }
            on_borders.push(a);
        }
        let start = usize::try_from(dice.next() % u64::try_from(dressed.len()).unwrap()).unwrap();
        dressed.rotate_left(start);
        if dice.next().is_multiple_of(2) {
            dressed.reverse();
        }
        dressed
    };
    for pair in lattice.windows(2) {
        for (west, east) in pair[0].windows(2).zip(pair[1].windows(2)) {
            let quad = vec![west[0], east[0], east[1], west[1]];
            let mut part = vec![dress(quad, dice)];
            let owner = usize::try_from(dice.next() % 7).unwrap();
            if dice.next().is_multiple_of(4) {
                let middle = Point {
                    x: west[0].x + (east[1].x / 2 - west[0].x / 2) / 4 * 4,
                    y: west[0].y + (east[1].y / 2 - west[0].y / 2) / 4 * 4,
                };
                let reach = |size: i32| size / 40 * 4;
                let at = |dx: i32, dy: i32| Point { x: middle.x + dx * reach(width), y: middle.y + dy * reach(height) };
                let diamond = vec![at(-1, 0), at(0, -1), at(1, 0), at(0, 1)];
                part.push(dress(diamond.clone(), dice));
                parts[(owner + 1) % 7].push(vec![dress(diamond, dice)]);
            }
            parts[owner].push(part);
        }
    }
    let numbered = parts.into_iter().zip(0..);
    let neighborhoods =
        numbered.map(|(parts, id)| Neighborhood { id, geometry: Arc::new(Geometry { parts }) }).collect();
    Partition { neighborhoods, on_borders }
}

fn each_point_has_one_owner(seed: u64, corners: (Point, Point), columns: i32, rows: i32) {
    let mut dice = Dice(seed);
    let Partition { neighborhoods, on_borders } = partition(&mut dice, corners, columns, rows);
    let index = GeofenceIndex::build(&neighborhoods);
    let (min, max) =
        (on_borders.iter().min_by_key(|p| p.x).unwrap().x, on_borders.iter().max_by_key(|p| p.x).unwrap().x);
    let (south, north) = (on_borders.iter().map(|p| p.y).min().unwrap(), on_borders.iter().map(|p| p.y).max().unwrap());
    let random = (0..20_000).map(|_| Point { x: dice.between(min, max - 1), y: dice.between(south, north - 1) });
    let near: Vec<Point> = on_borders
        .iter()
        .flat_map(|p| [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)].map(|(dx, dy)| Point { x: p.x + dx, y: p.y + dy }))
        .collect();
    let whole_globe = corners == GLOBE;
    let mut checked = 0;
    for (n, p) in random.chain(near).enumerate() {
        // The outer border of anything but a globe has owners on one side only.
        let inside = if whole_globe {
            (min..=max).contains(&p.x) && (south..=north).contains(&p.y)
        } else {
            (min..max).contains(&p.x) && (south..north).contains(&p.y)
        };
        let owners: Vec<_> = index.locate(p).collect();
        assert_eq!(owners.len(), usize::from(inside), "{p:?} of partition {seed}");
        let told_otherwise = n % 50 == 0 && p.x < max && p.y < north;
        if told_otherwise && inside {
            assert!(moved_point_is_in(&index.neighborhood(owners[0]).geometry, p), "{p:?} of partition {seed}");
        }
        checked += usize::from(inside);
    }
    assert!(checked > 20_000);
}

#[test]
fn g4_each_point_of_a_city_has_one_owner() {
    for seed in 0..5 {
        let corner = Point { x: -711_000_000, y: 423_000_000 };
        each_point_has_one_owner(seed, (corner, Point { x: -710_000_000, y: 424_000_000 }), 17, 23);
    }
}

#[test]
fn g4_each_point_of_a_courtyard_has_one_owner() {
    for seed in 10..15 {
        each_point_has_one_owner(seed, (Point { x: -1000, y: -1000 }, Point { x: 1000, y: 1000 }), 11, 9);
    }
}

#[test]
fn g4_each_point_of_the_globe_has_one_owner_poles_and_antimeridian_included() {
    for seed in 20..25 {
        each_point_has_one_owner(seed, GLOBE, 12, 6);
    }
}

#[test]
fn g4_each_point_of_a_continent_has_one_owner() {
    for seed in 30..32 {
        let corner = Point { x: 300_000_000, y: -700_000_000 };
        each_point_has_one_owner(seed, (corner, Point { x: 1_500_000_000, y: 400_000_000 }), 40, 30);
    }
}
