//! What several tests share: the real polygons, and the truth told a second way.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::{io::Read as _, path::Path, sync::Arc};

use porchlight_geofence::{
    Geometry, Neighborhood, Point,
    geojson::{self, Options},
};

/// A file of this crate's tests or of `libs/synth`, by its path from here.
pub fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The features of a file, numbered as they stand in it.
pub fn neighborhoods(path: &str) -> Vec<Neighborhood> {
    let features = geojson::read(&file(path), Options::default()).unwrap();
    let numbered = features.into_iter().zip(0..);
    numbered.map(|(feature, id)| Neighborhood { id, geometry: Arc::new(feature.geometry) }).collect()
}

/// The features of another project's file that can be read at all, by even-odd where they cross themselves: nearly all.
pub fn pathological(path: &str) -> Vec<Neighborhood> {
    let options = Options { repair_even_odd: true, ..Options::default() };
    let document: serde_json::Value = serde_json::from_slice(&file(path)).unwrap();
    let features = document["features"].as_array().unwrap();
    let read = |feature| geojson::read(&serde_json::to_vec(feature).unwrap(), options).ok();
    let numbered = features.iter().filter_map(read).flatten().zip(0..);
    let all: Vec<_> = numbered.map(|(feature, id)| Neighborhood { id, geometry: Arc::new(feature.geometry) }).collect();
    assert!(all.len() * 100 > features.len() * 90, "{path}: {} of {}", all.len(), features.len());
    all
}

/// Rows of a truth file: where, and which features own it.
pub fn truth(path: &str) -> Vec<(Point, Vec<u128>)> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&file(path)[..]).read_to_string(&mut text).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let owners = fields[3].split(';').filter(|id| !id.is_empty()).map(|id| id.parse().unwrap());
        (Point { x: fields[1].parse().unwrap(), y: fields[2].parse().unwrap() }, owners.collect())
    };
    text.lines().skip(1).map(row).collect()
}

/// The border rule told a second way: the point moved a hair east and by a smaller hair north, and from there a ray to
/// the *north*. An edge that passes exactly through the point's place is above the moved point if it climbs eastward.
/// Not for points at the north pole or on the antimeridian.
pub fn moved_point_is_in(geometry: &Geometry, p: Point) -> bool {
    geometry.parts.iter().any(|part| {
        let crossed = part.iter().flat_map(|ring| (0..ring.len()).map(move |i| (ring[i], ring[(i + 1) % ring.len()])));
        crossed.filter(|&(a, b)| is_crossed_to_the_north(a, b, p)).count() % 2 == 1
    })
}

fn is_crossed_to_the_north(a: Point, b: Point, p: Point) -> bool {
    let (west, east) = if a.x < b.x { (a, b) } else { (b, a) };
    if !(west.x <= p.x && p.x < east.x) {
        return false;
    }
    let (dx, dy) = (i128::from(east.x) - i128::from(west.x), i128::from(east.y) - i128::from(west.y));
    let edge_above_point = (i128::from(west.y) - i128::from(p.y)) * dx + (i128::from(p.x) - i128::from(west.x)) * dy;
    edge_above_point > 0 || (edge_above_point == 0 && dy > 0)
}

/// A generator that needs no crate and gives the same numbers everywhere (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both possible.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        let span = (i64::from(high) - i64::from(low) + 1).unsigned_abs();
        i32::try_from(i64::from(low) + i64::try_from(self.next() % span).unwrap()).unwrap()
    }
}
