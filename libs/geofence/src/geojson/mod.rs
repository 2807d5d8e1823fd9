//! Reading neighborhoods from GeoJSON (RFC 7946), with every refusal at its place, and writing them.
//!
//! | code | refuses |
//! |---|---|
//! | `json_malformed` | what is no JSON, or is nested deeper than 128 |
//! | `geojson_type` | what is no FeatureCollection, Feature, Polygon or MultiPolygon, or lacks what its type demands |
//! | `geometry_empty` | a MultiPolygon without polygons, a polygon without rings |
//! | `coordinates_malformed` | coordinates that are not lists of lists of numbers, as deep as their type demands |
//! | `position_out_of_range` | a position outside [-180, 180] x [-90, 90] |
//! | `too_many_vertices` | a feature with more vertices than [`Options::max_vertices`] |
//! | `ring_short` | fewer than four positions |
//! | `ring_open` | a last position that is not the first |
//! | `antimeridian_ambiguous` | an edge longer than 180 degrees of longitude, unless it runs along a pole |
//! | `ring_around_pole` | such an edge in a ring that goes round a pole |
//! | `ring_without_area` | a ring, or the rings of a part together, that enclose nothing after snapping |
//! | `ring_crosses_itself` | two edges of a ring that cross, or run along each other |
//! | `rings_cross` | the same of two rings of a polygon |
//! | `hole_outside_shell` | a hole that lies outside its shell |
//!
//! Everything is judged as snapped, for that is what will be matched. `ring_crosses_itself` and `rings_cross` are accepted
//! under [`Options::repair_even_odd`]: even-odd gives such rings one meaning, and they are kept as they are. Rings that
//! touch, or pass through each other, in points only are always accepted. A vertex at 180 stays there; see
//! [`crate::Geometry::contains`] for who owns the antimeridian.
//!
//! Notices: `third_ordinate_dropped`, `repaired_even_odd`.

mod pointer;
mod reader;

use serde_json::{Value, json};

use crate::{Geometry, Point};

/// What was wrong, or noticed.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// Stable code, e.g. `ring_open`.
    pub code: &'static str,
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// One sentence.
    pub message: String,
    /// Where on the ground, degrees (lon, lat), if it has a place.
    pub at: Option<(f64, f64)>,
}

/// A feature as understood.
#[derive(Clone, PartialEq, Debug)]
pub struct Feature {
    /// The feature's own id, as text, if it has one.
    pub id: Option<String>,
    /// `properties.name`, if it is a string.
    pub name: Option<String>,
    /// Snapped; repeated vertices are dropped.
    pub geometry: Geometry,
    /// Dropped third ordinates, repairs.
    pub notices: Vec<Finding>,
}

/// Bounds and choices.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most vertices of one feature.
    pub max_vertices: usize,
    /// Accept rings that cross themselves or each other, by even-odd.
    pub repair_even_odd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_vertices: 60_000, repair_even_odd: false }
    }
}

/// How many findings are worth reporting.
pub const MAX_FINDINGS: usize = 100;

/// Reads a FeatureCollection, Feature, Polygon or MultiPolygon. The caller bounds the size of `json`; memory is a small
/// multiple of it.
///
/// # Errors
/// Every finding that refuses it: at least one, at most [`MAX_FINDINGS`]. One feature refused refuses all.
pub fn read(json: &[u8], options: Options) -> Result<Vec<Feature>, Vec<Finding>> {
    reader::read(json, options)
}

/// Writes a geometry as GeoJSON (a MultiPolygon's `{"type", "coordinates"}`), as snapped: what is shown is what is
/// matched, and reading it again gives the same geometry.
pub fn write(geometry: &Geometry) -> Value {
    let position = |p: &Point| {
        let (lon, lat) = p.degrees();
        json!([lon, lat])
    };
    let ring = |ring: &Vec<Point>| ring.iter().chain(ring.first()).map(position).collect::<Value>();
    let part = |part: &Vec<Vec<Point>>| part.iter().map(ring).collect::<Value>();
    json!({ "type": "MultiPolygon", "coordinates": geometry.parts.iter().map(part).collect::<Value>() })
}
