//! Positions on the ground, as integers of 1e-7 degree (about 1 cm), and the coarse forms in which they may leave.

use serde::{Deserialize, Serialize};

/// A position in integers of 1e-7 degree. `-180` and `180` are one meridian: it is stored at `-180`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// Longitude, 1e-7 degree, in `[-1_800_000_000, 1_800_000_000)`.
    pub lon_e7: i32,
    /// Latitude, 1e-7 degree, in `[-900_000_000, 900_000_000]`.
    pub lat_e7: i32,
}

/// Never printed in full: logs hold no place.
impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Point(..)")
    }
}

/// A position in degrees, as JSON carries it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Degrees {
    /// Longitude, degrees east, -180 to 180.
    pub lon: f64,
    /// Latitude, degrees north, -90 to 90.
    pub lat: f64,
}

/// A position that is not on the globe.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position has a lon from -180 to 180 and a lat from -90 to 90")]
pub struct OutOfRange;

impl Point {
    /// Snaps degrees to the grid: `(x * 1e7).round()`, half away from zero.
    #[allow(clippy::cast_possible_truncation)] // the range was checked: both fit i32
    pub fn from_degrees(at: Degrees) -> Result<Self, OutOfRange> {
        if !(-180.0..=180.0).contains(&at.lon) || !(-90.0..=90.0).contains(&at.lat) {
            return Err(OutOfRange);
        }
        let lon = (at.lon * 1e7).round() as i32;
        Ok(Self { lon_e7: if lon == 1_800_000_000 { -lon } else { lon }, lat_e7: (at.lat * 1e7).round() as i32 })
    }

    /// Back to degrees.
    pub fn to_degrees(self) -> Degrees {
        Degrees { lon: f64::from(self.lon_e7) / 1e7, lat: f64::from(self.lat_e7) / 1e7 }
    }

    /// Metres to `other` along the great circle (haversine, mean radius 6 371 008.8 m).
    pub fn distance_m(self, other: Self) -> f64 {
        let (a, b) = (self.to_degrees(), other.to_degrees());
        let (dlat, dlon) = ((b.lat - a.lat).to_radians(), (b.lon - a.lon).to_radians());
        let h = (dlat / 2.0).sin().powi(2)
            + a.lat.to_radians().cos() * b.lat.to_radians().cos() * (dlon / 2.0).sin().powi(2);
        2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
    }

    /// The middle of the 1/200 degree square (about 550 m high) that holds this point: what people outside the
    /// household see. The grid is fixed, so that no number of sightings can be averaged into the true place.
    pub fn coarse(self) -> Self {
        const STEP: i32 = 50_000;
        let snap = |x: i32| x.div_euclid(STEP) * STEP + STEP / 2;
        Self { lon_e7: snap(self.lon_e7), lat_e7: snap(self.lat_e7).min(900_000_000) }
    }
}

/// A square of 2^17 units (0.0131 degree, about 1.4 km high): homes are stored by it, so that a fan-out reads the
/// squares that cover a polygon. The densest city on earth keeps a partition under 10 MB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Cell {
    /// Column: longitude in units, shifted right by [`Cell::SHIFT`].
    pub x: i16,
    /// Row: latitude in units, shifted right by [`Cell::SHIFT`].
    pub y: i16,
}

impl Cell {
    /// Binary logarithm of a cell's side in units of 1e-7 degree.
    pub const SHIFT: u32 = 17;

    /// The cell that holds a point.
    #[allow(clippy::cast_possible_truncation)] // 1.8e9 >> 17 is 13 733: it fits
    pub fn of(p: Point) -> Self {
        Self { x: (p.lon_e7 >> Self::SHIFT) as i16, y: (p.lat_e7 >> Self::SHIFT) as i16 }
    }

    /// One number for the pair, as databases key it.
    pub fn key(self) -> i32 {
        (i32::from(self.x) << 16) | i32::from(self.y as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lon: f64, lat: f64) -> Point {
        Point::from_degrees(Degrees { lon, lat }).expect("on the globe")
    }

    #[test]
    fn the_antimeridian_is_one_meridian() {
        assert_eq!(at(180.0, 10.0), at(-180.0, 10.0));
    }

    #[test]
    fn what_is_not_on_the_globe_is_refused() {
        for (lon, lat) in [(180.1, 0.0), (0.0, -90.01), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Point::from_degrees(Degrees { lon, lat }), Err(OutOfRange));
        }
    }

    #[test]
    fn a_coarse_place_hides_the_place() {
        let (door, corner) = (at(-71.0662, 42.4251), at(-71.0688, 42.4290));
        assert_eq!(door.coarse(), corner.coarse());
        assert_ne!(door.coarse(), door);
    }

    #[test]
    fn distance_is_in_metres() {
        let d = at(-71.0662, 42.4251).distance_m(at(-71.0662, 42.4261));
        assert!((d - 111.2).abs() < 0.5, "{d}");
    }

    #[test]
    fn cells_have_distinct_keys_on_both_sides_of_zero() {
        let keys: std::collections::HashSet<i32> =
            [at(-0.01, -0.01), at(0.01, -0.01), at(-0.01, 0.01), at(0.01, 0.01)].map(|p| Cell::of(p).key()).into();
        assert_eq!(keys.len(), 4);
    }
}
