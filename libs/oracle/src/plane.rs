//! Point in polygon, by the written rule and nothing clever: coordinates snapped to 1e-7 degree, half away from zero; a
//! point on a border counts as moved a hair east, and by an even smaller hair north (at the north pole, south); even-odd
//! over the rings of a part; the union of parts.

use serde_json::Value;

/// Longitude and latitude, 1e-7 degree.
pub(crate) type Point = (i64, i64);

/// A polygon. Without parts, as by default, it holds nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    parts: Vec<Vec<Vec<Point>>>,
    west_south: Point,
    east_north: Point,
}

const NORTH_POLE: i64 = 900_000_000;

/// The middle of the square of 1/200 degree that holds a point: all that a neighbor may see of it.
pub(crate) fn middle_of_square((x, y): Point) -> Point {
    let middle = |c: i64| c.div_euclid(50_000) * 50_000 + 25_000;
    (middle(x), middle(y).min(NORTH_POLE))
}

/// `-180` and `180` are one meridian: points lie at `-180`.
pub(crate) fn snap((lon, lat): (f64, f64)) -> Point {
    let (x, y) = vertex(lon, lat);
    (if x == 1_800_000_000 { -x } else { x }, y)
}

#[allow(clippy::cast_possible_truncation)] // a coordinate in degrees, times 1e7, is far below 2^63
fn vertex(lon: f64, lat: f64) -> Point {
    ((lon * 1e7).round() as i64, (lat * 1e7).round() as i64)
}

impl Shape {
    pub(crate) fn read(geometry: &Value) -> Self {
        let list = |v: &Value| v.as_array().expect("a GeoJSON array").clone();
        let number = |v: Option<&Value>| v.and_then(Value::as_f64).expect("a GeoJSON position");
        let ring = |ring: &Value| {
            let positions = list(ring);
            positions.iter().map(|p| vertex(number(p.get(0)), number(p.get(1)))).collect::<Vec<_>>()
        };
        let part = |part: &Value| list(part).iter().map(ring).collect::<Vec<_>>();
        let coordinates = &geometry["coordinates"];
        let parts: Vec<_> = match geometry["type"].as_str() {
            Some("Polygon") => vec![part(coordinates)],
            Some("MultiPolygon") => list(coordinates).iter().map(part).collect(),
            other => panic!("not a polygon: {other:?}"),
        };
        let all: Vec<Point> = parts.iter().flatten().flatten().copied().collect();
        let of = |axis: fn(&Point) -> i64| {
            let values = all.iter().map(axis);
            (values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
        };
        let ((west, east), (south, north)) = (of(|p| p.0), of(|p| p.1));
        Self { parts, west_south: (west, south), east_north: (east, north) }
    }

    pub(crate) fn holds(&self, point: Point) -> bool {
        let (west, south) = self.west_south;
        let (east, north) = self.east_north;
        let near = (west..=east).contains(&point.0) && (south..=north).contains(&point.1);
        near && self.parts.iter().any(|rings| rings.iter().map(|ring| crossings(ring, point)).sum::<usize>() % 2 == 1)
    }
}

/// How many edges of a ring lie strictly east of the point at its own latitude.
fn crossings(ring: &[Point], (px, py): Point) -> usize {
    let edges = ring.iter().zip(ring.iter().cycle().skip(1));
    edges
        .filter(|((x1, y1), (x2, y2))| {
            let above = |y: i64| if py == NORTH_POLE { y >= py } else { y > py };
            if above(*y1) == above(*y2) {
                return false;
            }
            // The edge meets the point's latitude at x1 + (py - y1) (x2 - x1) / (y2 - y1); east of px, multiplied out.
            let (dx, dy) = (i128::from(x2 - x1), i128::from(y2 - y1));
            let east = i128::from(py - y1) * dx - i128::from(px - x1) * dy;
            if dy > 0 { east > 0 } else { east < 0 }
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn square(west: f64, east: f64) -> Shape {
        Shape::read(&json!({ "type": "Polygon", "coordinates": [[
            [west, 0.0], [east, 0.0], [east, 1.0], [west, 1.0], [west, 0.0]
        ]] }))
    }

    #[test]
    fn a_point_on_the_border_between_two_belongs_to_the_eastern_one_alone() {
        let (west, east) = (square(0.0, 1.0), square(1.0, 2.0));
        let on = snap((1.0, 0.5));
        assert!(!west.holds(on) && east.holds(on));
    }

    #[test]
    fn the_southern_border_is_inside_and_the_northern_one_is_not() {
        let shape = square(0.0, 1.0);
        assert!(shape.holds(snap((0.5, 0.0))) && !shape.holds(snap((0.5, 1.0))));
    }

    #[test]
    fn a_hole_is_outside_and_a_second_part_is_inside() {
        let ring = |w: f64, e: f64| json!([[w, w], [e, w], [e, e], [w, e], [w, w]]);
        let shape = Shape::read(&json!({ "type": "MultiPolygon", "coordinates": [
            [ring(0.0, 9.0), ring(3.0, 6.0)], [ring(20.0, 21.0)]
        ] }));
        assert!(shape.holds(snap((1.0, 1.0))) && !shape.holds(snap((4.0, 4.0))) && shape.holds(snap((20.5, 20.5))));
    }

    #[test]
    fn both_poles_have_an_owner() {
        let north = Shape::read(&json!({ "type": "Polygon", "coordinates": [[
            [-180, 0], [0, 0], [180, 0], [180, 90], [-180, 90], [-180, 0]
        ]] }));
        assert!(north.holds(snap((5.0, 90.0))) && north.holds(snap((180.0, 90.0))) && !north.holds(snap((5.0, -90.0))));
    }

    #[test]
    fn the_middle_of_a_square_is_the_same_from_everywhere_in_it() {
        for (place, middle) in [((0.5, 0.5001), (5_025_000, 5_025_000)), ((-0.0001, -0.0049), (-25_000, -25_000))] {
            assert_eq!(middle_of_square(snap(place)), middle);
        }
    }

    /// Points with owners that were computed apart from any code here.
    #[test]
    fn points_of_boston_are_where_they_are() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let polygons = std::fs::read(format!("{folder}/synth/data/boston.geojson")).expect("a file of ours");
        let polygons: Value = serde_json::from_slice(&polygons).expect("JSON");
        let features = polygons["features"].as_array().expect("a list");
        let shapes: Vec<Shape> = features.iter().map(|feature| Shape::read(&feature["geometry"])).collect();

        let rows = std::fs::File::open(format!("{folder}/geofence/tests/data/truth-boston.csv.gz")).expect("a file");
        let rows = std::io::read_to_string(flate2::read::GzDecoder::new(rows)).expect("text");
        let mut checked = 0;
        for row in rows.lines().skip(1).step_by(29) {
            let fields: Vec<&str> = row.split(',').collect();
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let point = (number(fields[1]), number(fields[2]));
            let owners = (0..).zip(&shapes).filter(|(_, shape)| shape.holds(point)).map(|(n, _)| n);
            let expected = fields[3].split(';').filter(|id| !id.is_empty()).map(number);
            assert!(owners.eq(expected), "{row}");
            checked += 1;
        }
        assert!(checked > 3_000);
    }
}
