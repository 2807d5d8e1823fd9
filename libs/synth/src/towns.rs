//! Real polygons, as shipped.

use porchlight_geofence::{
    Geometry, Point,
    geojson::{self, Options},
};
use rand::Rng;

/// The 351 cities and towns of Massachusetts, GeoJSON.
pub const MASSACHUSETTS: &[u8] = include_bytes!("../data/towns-ma.geojson");
/// The 26 neighborhoods of Boston, GeoJSON.
pub const BOSTON: &[u8] = include_bytes!("../data/boston.geojson");

/// A polygon with a name.
#[derive(Clone, Debug)]
pub struct Town {
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub geometry: Geometry,
}

/// The towns of a shipped file (read with crossing rings repaired by even-odd: real city data has some).
pub fn towns(geojson: &[u8]) -> Vec<Town> {
    let options = Options { repair_even_odd: true, ..Options::default() };
    geojson::read(geojson, options)
        .expect("the shipped files can be read: a test reads them")
        .into_iter()
        .map(|f| Town { name: f.name.unwrap_or_default(), geometry: f.geometry })
        .collect()
}

impl Town {
    /// A point inside, evenly spread over the bounding box and accepted if the town holds it.
    pub fn random_point(&self, rng: &mut impl Rng) -> Point {
        let (min, max) = self.bounds();
        for _ in 0..100_000 {
            let p = Point { x: rng.random_range(min.x..=max.x), y: rng.random_range(min.y..=max.y) };
            if self.geometry.contains(p) {
                return p;
            }
        }
        // A sliver: its first vertex is as near as anything.
        min
    }

    fn bounds(&self) -> (Point, Point) {
        let vertices = || self.geometry.parts.iter().flatten().flatten();
        let of = |pick: fn(i32, i32) -> i32, axis: fn(&Point) -> i32| vertices().map(axis).reduce(pick).unwrap_or(0);
        (
            Point { x: of(i32::min, |p| p.x), y: of(i32::min, |p| p.y) },
            Point { x: of(i32::max, |p| p.x), y: of(i32::max, |p| p.y) },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_shipped_files_can_be_read_and_lived_in() {
        let (massachusetts, boston) = (towns(MASSACHUSETTS), towns(BOSTON));
        assert_eq!((massachusetts.len(), boston.len()), (351, 26));
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for town in massachusetts.iter().chain(&boston) {
            assert!(town.geometry.contains(town.random_point(&mut rng)), "{}", town.name);
        }
    }
}
