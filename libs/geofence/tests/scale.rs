//! The index where it is crowded: many points, many vertices, many holes, many owners of one place, long edges side by
//! side; and changes in the midst of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::{Dice, moved_point_is_in, neighborhoods};
use porchlight_geofence::{Change, GeofenceIndex, Geometry, Neighborhood, Owners, Point, Ring};

fn at(x: i32, y: i32) -> Point {
    Point { x, y }
}

/// A jagged quadrangle lattice, all of it shared vertex by vertex; and every vertex.
fn lattice(dice: &mut Dice, corner: Point, step: i32, along: i32) -> (Vec<Neighborhood>, Vec<Point>) {
    let shake = |dice: &mut Dice| dice.between(-step / 4, step / 4);
    let mut rows: Vec<Vec<Point>> = Vec::new();
    for y in 0..=along {
        rows.push(
            (0..=along)
                .map(|x| {
                    let inner = |n: i32| (1..along).contains(&n);
                    let dx = if inner(x) { shake(dice) } else { 0 };
                    at(corner.x + x * step + dx, corner.y + y * step + if inner(y) { shake(dice) } else { 0 })
                })
                .collect(),
        );
    }
    let mut all = Vec::new();
    for (south, north) in rows.iter().zip(&rows[1..]) {
        for (s, n) in south.windows(2).zip(north.windows(2)) {
            let ring = vec![s[0], s[1], n[1], n[0]];
            all.push(Neighborhood {
                id: all.len().try_into().unwrap(),
                geometry: Arc::new(Geometry { parts: vec![vec![ring]] }),
            });
        }
    }
    (all, rows.into_iter().flatten().collect())
}

/// All around some points, and anywhere in a square.
fn probes(dice: &mut Dice, round: &[Point], corner: Point, side: i32, anywhere: usize) -> Vec<Point> {
    let near = round.iter().flat_map(|p| [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)].map(|(x, y)| at(p.x + x, p.y + y)));
    let mut all: Vec<Point> = near.collect();
    let mut random = |low: i32| dice.between(low, low + side - 1);
    all.extend((0..anywhere).map(|_| at(random(corner.x), random(corner.y))));
    all
}

fn owners(index: &GeofenceIndex, p: Point) -> Vec<u128> {
    let mut ids: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
    ids.sort_unstable();
    ids
}

/// Both ways to ask say what brute force, told a second way, says.
fn agrees_with_brute_force(all: &[Neighborhood], points: &[Point]) {
    let index = GeofenceIndex::build(all);
    let mut batch = Owners::default();
    index.locate_batch(points, &mut batch);
    assert_eq!(batch.len(), points.len());
    for (n, p) in points.iter().enumerate() {
        let mut expected: Vec<u128> = all.iter().filter(|n| moved_point_is_in(&n.geometry, *p)).map(|n| n.id).collect();
        expected.sort_unstable();
        assert_eq!(owners(&index, *p), expected, "{p:?}");
        assert!(index.locate(*p).eq(batch.of(n).iter().copied()), "{p:?} in a batch");
    }
}

fn one(id: u128, parts: Vec<Vec<Ring>>) -> Neighborhood {
    Neighborhood { id, geometry: Arc::new(Geometry { parts }) }
}

#[test]
fn g4_a_million_points_of_a_partition_have_exactly_one_owner_each() {
    for (seed, step) in [(1, 40), (2, 9_000), (3, 700_000)] {
        let mut dice = Dice(seed);
        let corner = at(-711_000_000, 423_000_000);
        let (all, vertices) = lattice(&mut dice, corner, step, 40);
        let index = GeofenceIndex::build(&all);
        let side = 40 * step;
        let mut points = probes(&mut dice, &vertices, corner, side, 300_000);
        // Exactly on edges: where they are halved on the grid.
        for neighborhood in &all {
            let ring = &neighborhood.geometry.parts[0][0];
            points.extend((0..4).filter_map(|n| {
                let (a, b) = (ring[n], ring[(n + 1) % 4]);
                ((a.x + b.x) % 2 == 0 && (a.y + b.y) % 2 == 0)
                    .then(|| at(i32::midpoint(a.x, b.x), i32::midpoint(a.y, b.y)))
            }));
        }
        points.retain(|p| (0..side).contains(&(p.x - corner.x)) && (0..side).contains(&(p.y - corner.y)));
        assert!(points.len() > 300_000);
        let mut batch = Owners::default();
        index.locate_batch(&points, &mut batch);
        for (n, p) in points.iter().enumerate() {
            assert_eq!(batch.of(n).len(), 1, "{p:?} of {step}");
            if n % 200 == 0 {
                assert!(moved_point_is_in(&index.neighborhood(batch.of(n)[0]).geometry, *p), "{p:?} of {step}");
            }
        }
    }
}

/// A sheet with all of its tiles, of which a change builds a few.
#[test]
fn changes_in_a_crowded_place_lead_where_building_leads() {
    let mut dice = Dice(11);
    let corner = at(-700_000_000, 400_000_000);
    let (step, along) = (12_000, 110);
    let (all, vertices) = lattice(&mut dice, corner, step, along);
    let mut now: BTreeMap<u128, Neighborhood> = all.iter().map(|n| (n.id, n.clone())).collect();
    let mut index = GeofenceIndex::build(&all);
    let before = index.clone();
    let points: Vec<Point> = probes(&mut dice, &vertices, corner, step * along, 5_000);
    let first: Vec<_> = points.iter().map(|p| owners(&before, *p)).collect();
    for n in 0..30_u128 {
        let id = u128::from(dice.next()) % u128::try_from(all.len()).unwrap();
        let geometry = now.get(&id).map(|n| n.geometry.clone()).unwrap_or_default();
        let change = match n % 3 {
            0 => None,
            // A vertex less; and a square that covers many others, with a hole round the corner that was drawn.
            1 => geometry.parts.first().map(|part| vec![vec![part[0][..3].to_vec()]]),
            // Tiles that it holds as a whole, without an edge of it.
            2 if n % 2 == 0 => Some(vec![vec![vec![
                at(corner.x - 2_000_000, corner.y - 2_000_000),
                at(corner.x + 3_000_000, corner.y - 2_000_000),
                at(corner.x + 3_000_000, corner.y + 3_000_000),
                at(corner.x - 2_000_000, corner.y + 3_000_000),
            ]]]),
            _ => {
                let (x, y) =
                    (dice.between(corner.x, corner.x + step * 100), dice.between(corner.y, corner.y + step * 100));
                let square = |x: i32, y: i32, side: i32| {
                    vec![at(x, y), at(x + side, y), at(x + side, y + side), at(x, y + side)]
                };
                Some(vec![vec![square(x, y, step * 9), square(x + step, y + step, step * 2)]])
            }
        };
        index = match change {
            None => {
                now.remove(&id);
                index.apply(Change::Remove(id))
            }
            Some(parts) => {
                now.insert(id, one(id, parts.clone()));
                index.apply(Change::Put(one(id, parts)))
            }
        };
    }
    let living: Vec<Neighborhood> = now.into_values().collect();
    let built = GeofenceIndex::build(&living);
    assert_eq!(index.stats(), built.stats());
    for (p, first) in points.iter().zip(first) {
        assert_eq!(owners(&index, *p), owners(&built, *p), "{p:?}");
        assert_eq!(owners(&before, *p), first, "the index before is what it was, at {p:?}");
    }
}

#[test]
fn g4_a_ring_of_sixteen_thousand_vertices_is_right() {
    let mut dice = Dice(5);
    let count = 16_000;
    let ring: Ring = (0..count)
        .map(|n| {
            let angle = f64::from(n) / f64::from(count) * std::f64::consts::TAU;
            let far = f64::from(dice.between(600_000, 900_000));
            #[allow(clippy::cast_possible_truncation)]
            at((far * angle.cos()) as i32 + 50_000_000, (far * angle.sin()) as i32 - 30_000_000)
        })
        .collect();
    let some: Vec<Point> = ring.iter().copied().step_by(40).collect();
    let points = probes(&mut dice, &some, at(49_000_000, -31_000_000), 2_000_000, 1_500);
    agrees_with_brute_force(&[one(1, vec![vec![ring]])], &points);
}

#[test]
fn g4_a_part_with_nine_hundred_holes_is_right() {
    let mut dice = Dice(6);
    let mut part = vec![vec![at(0, 0), at(3_000_000, 0), at(3_000_000, 3_000_000), at(0, 3_000_000)]];
    for n in 0..900 {
        let (x, y) = (n % 30 * 100_000 + 5_000, n / 30 * 100_000 + 5_000);
        part.push(vec![at(x, y), at(x + dice.between(1, 80_000), y), at(x, y + dice.between(1, 80_000))]);
    }
    let some: Vec<Point> = part.iter().flatten().copied().step_by(7).collect();
    let points = probes(&mut dice, &some, at(-10, -10), 3_000_020, 2_000);
    agrees_with_brute_force(&[one(1, vec![part])], &points);
}

/// More owners of one place than a leaf has bits for, some of them with two parts that overlap.
#[test]
fn g4_neighborhoods_that_overlap_all_hold_a_point() {
    let mut dice = Dice(7);
    for (count, reach) in [(3, 50), (12, 2_000), (40, 30_000), (90, 2_000_000)] {
        let mut shape =
            || -> Ring { (0..5).map(|_| at(dice.between(-reach, reach), dice.between(-reach, reach))).collect() };
        let all: Vec<Neighborhood> =
            (0..count).map(|id| one(id, (0..=id % 3).map(|_| vec![shape()]).collect())).collect();
        let vertices: Vec<Point> =
            all.iter().flat_map(|n| n.geometry.parts.iter().flatten().flatten().copied()).collect();
        let points = probes(&mut dice, &vertices, at(-reach, -reach), 2 * reach, 500);
        agrees_with_brute_force(&all, &points);
    }
}

/// Cutting does not part edges that lie side by side for their whole length: it has to end all the same.
#[test]
fn a_bundle_of_long_edges_stays_small_and_right() {
    let mut dice = Dice(8);
    let zigzag: Ring = (0..8_000).map(|n| at(n, if n % 2 == 0 { 0 } else { 30_000_000 })).collect();
    let star: Ring = (0..1_600)
        .map(|n| if n % 2 == 0 { at(70_000_000, 70_000_000) } else { at(60_000_000 + n * 120, 90_000_000) })
        .collect();
    let all = [one(1, vec![vec![zigzag.clone()]]), one(2, vec![vec![star]])];
    let index = GeofenceIndex::build(&all);
    let bytes = index.memory_bytes() / index.stats().vertices;
    assert!(bytes < 1_500, "{bytes} bytes for each vertex");
    let some: Vec<Point> = zigzag.into_iter().step_by(497).chain([at(70_000_000, 70_000_000)]).collect();
    let mut points = probes(&mut dice, &some, at(0, 0), 20_000, 100);
    points.extend((0..200).map(|_| at(dice.between(60_000_000, 71_000_000), dice.between(70_000_000, 90_000_000))));
    agrees_with_brute_force(&all, &points);
}

/// The files of other projects, mirrored, turned, shifted and scaled.
#[test]
fn g4_pathological_files_are_right_however_they_are_turned() {
    type Turn = fn(i64, i64) -> (i64, i64);
    let turns: [(&str, Turn); 6] = [
        ("as it is", |x, y| (x, y)),
        ("mirrored", |x, y| (-x, y)),
        ("turned by 90 degrees", |x, y| (-y / 2, x / 2)),
        ("shifted", |x, y| (x / 4 + 612_345_671, y / 4 - 376_543_219)),
        ("a sixteenth", |x, y| (x.div_euclid(16), y.div_euclid(16))),
        ("one part in a thousand", |x, y| (x / 1000, y / 1000)),
    ];
    for path in ["tests/data/turf.geojson", "tests/data/jts.geojson"] {
        let all = common::pathological(path);
        for (name, turn) in turns {
            let turned = |p: &Point| {
                let (x, y) = turn(i64::from(p.x), i64::from(p.y));
                at(i32::try_from(x).unwrap(), i32::try_from(y).unwrap())
            };
            for neighborhood in all.iter().filter(|n| n.geometry.vertices() < 900) {
                let part = |part: &Vec<Ring>| part.iter().map(|ring| ring.iter().map(turned).collect()).collect();
                let here = one(neighborhood.id, neighborhood.geometry.parts.iter().map(part).collect());
                let index = GeofenceIndex::build(std::slice::from_ref(&here));
                let vertices = here.geometry.parts.iter().flatten().flatten();
                for p in vertices.flat_map(|p| [at(p.x, p.y), at(p.x - 1, p.y), at(p.x + 1, p.y - 1)]).take(150) {
                    let found = !owners(&index, p).is_empty();
                    assert_eq!(found, moved_point_is_in(&here.geometry, p), "{path} {}, {name}: {p:?}", here.id);
                }
            }
        }
    }
}

#[test]
fn a_block_that_is_cut_short_and_points_of_all_the_world_have_their_owners() {
    let mut dice = Dice(9);
    let all = neighborhoods("../synth/data/towns-ma.geojson");
    let index = GeofenceIndex::build(&all);
    let mut batch = Owners::default();
    for count in [0, 1, 63, 64, 65, 200] {
        for reach in [1_000, 1_000_000, 1_800_000_000] {
            let round = at(-711_000_000, 424_000_000);
            let mut near = |v: i32, most: i64| {
                let v = i64::from(v) + i64::from(dice.between(-reach, reach));
                i32::try_from(v.clamp(-most, most)).unwrap()
            };
            let points: Vec<Point> =
                (0..count).map(|_| at(near(round.x, 1_800_000_000), near(round.y, 900_000_000))).collect();
            index.locate_batch(&points, &mut batch);
            assert_eq!((batch.len(), batch.is_empty()), (count, count == 0));
            for (n, p) in points.iter().enumerate() {
                assert!(index.locate(*p).eq(batch.of(n).iter().copied()), "{p:?}");
            }
        }
    }
}
