//! No wrong answer on any row of the truth files, nor on the same data turned, mirrored, shifted and scaled.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{moved_point_is_in, neighborhoods, truth};
use porchlight_geofence::{GeofenceIndex, Geometry, Neighborhood, Owners, Point};

fn every_row_is_right(polygons: &str, rows: &str) {
    let neighborhoods = neighborhoods(polygons);
    let index = GeofenceIndex::build(&neighborhoods);
    let rows = truth(rows);
    assert_eq!(rows.len(), 108_000);

    let points: Vec<Point> = rows.iter().map(|(p, _)| *p).collect();
    let mut owners = Owners::default();
    index.locate_batch(&points, &mut owners);
    for (n, (point, expected)) in rows.iter().enumerate() {
        let ids: Vec<u128> = owners.of(n).iter().map(|&ix| index.neighborhood(ix).id).collect();
        assert_eq!(&ids, expected, "row {n}, {point:?}");
        assert!(index.locate(*point).eq(owners.of(n).iter().copied()), "row {n}: one at a time");
        if n % 10 == 0 {
            for neighborhood in &neighborhoods {
                let expected = expected.contains(&neighborhood.id);
                assert_eq!(neighborhood.geometry.contains(*point), expected, "row {n}, without an index");
            }
        }
    }
}

#[test]
fn g4_every_truth_row_of_boston_is_right() {
    every_row_is_right("../synth/data/boston.geojson", "tests/data/truth-boston.csv.gz");
}

#[test]
fn g4_every_truth_row_of_the_massachusetts_towns_is_right() {
    every_row_is_right("../synth/data/towns-ma.geojson", "tests/data/truth-towns-ma.csv.gz");
}

/// The truth rows know one orientation; brute force told a second way judges the others.
#[test]
fn g4_boston_turned_mirrored_shifted_and_scaled_is_right() {
    let boston = neighborhoods("../synth/data/boston.geojson");
    let center = Point { x: -710_600_000, y: 423_300_000 };
    type Turn = fn(i64, i64) -> (i64, i64);
    let turns: [(&str, Turn); 8] = [
        ("mirrored east and west", |x, y| (-x, y)),
        ("mirrored north and south", |x, y| (x, -y)),
        ("turned by 90 degrees", |x, y| (-y, x)),
        ("turned by 180 degrees", |x, y| (-x, -y)),
        ("shifted", |x, y| (x + 1_234_567_891, y - 876_543_219)),
        ("a sixteenth", |x, y| (x.div_euclid(16), y.div_euclid(16))),
        ("sixteenfold", |x, y| (x * 16, y * 16)),
        ("the whole globe", |x, y| (x * 700, y * 700)),
    ];
    let rows: Vec<Point> = truth("tests/data/truth-boston.csv.gz").into_iter().map(|(p, _)| p).collect();
    for (name, turn) in turns {
        let turned = |p: Point| {
            let (x, y) = turn(i64::from(p.x) - i64::from(center.x), i64::from(p.y) - i64::from(center.y));
            Some(Point { x: i32::try_from(x).ok()?, y: i32::try_from(y).ok()? })
        };
        let geometry = |g: &Geometry| Geometry {
            parts: g
                .parts
                .iter()
                .map(|part| part.iter().map(|ring| ring.iter().map(|&p| turned(p).unwrap()).collect()).collect())
                .collect(),
        };
        let all: Vec<Neighborhood> =
            boston.iter().map(|n| Neighborhood { id: n.id, geometry: Arc::new(geometry(&n.geometry)) }).collect();
        let index = GeofenceIndex::build(&all);
        // Rows of every kind: they stand in blocks.
        for p in rows.iter().step_by(97).filter_map(|&p| turned(p)) {
            let found: Vec<u128> = index.locate(p).map(|ix| index.neighborhood(ix).id).collect();
            let expected: Vec<u128> = all.iter().filter(|n| moved_point_is_in(&n.geometry, p)).map(|n| n.id).collect();
            assert_eq!(found, expected, "{name}: {p:?}");
        }
    }
}
