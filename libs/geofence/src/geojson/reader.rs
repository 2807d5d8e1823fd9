//! The reader: from a JSON document to features, or to what is wrong with it.

use std::ops::ControlFlow;

use serde_json::Value;

use super::{Feature, Finding, MAX_FINDINGS, Options, pointer::Pointer};
use crate::{
    Geometry, Point, Ring,
    geometry::edges,
    rings::{self, Crossing},
};

const HALF_TURN: i64 = 1_800_000_000;
const POLE: i32 = 900_000_000;
/// How many pairs of edges of one polygon are looked at for a reason why a hole lies outside its shell.
const PATIENCE: usize = 5_000_000;

pub(super) fn read(json: &[u8], options: Options) -> Result<Vec<Feature>, Vec<Finding>> {
    let document: Value = serde_json::from_slice(json).map_err(|e| {
        let message = format!("this is no JSON: {e}");
        vec![Finding { code: "json_malformed", pointer: String::new(), message, at: None }]
    })?;
    let mut reader = Reader { options, findings: Vec::new(), notices: Vec::new() };
    let mut features = Vec::new();
    // A break says only that there are findings enough.
    let _ = reader.document(&document, &mut features);
    if reader.findings.is_empty() { Ok(features) } else { Err(reader.findings) }
}

struct Reader {
    options: Options,
    findings: Vec<Finding>,
    /// Of the feature that is being read.
    notices: Vec<Finding>,
}

/// A value, or `None` where a finding stands for it; a break when there are findings enough.
type Outcome<T> = ControlFlow<(), Option<T>>;

impl Reader {
    fn refuse<T>(&mut self, code: &'static str, at: &Pointer<'_>, message: impl Into<String>) -> Outcome<T> {
        self.refuse_at(code, at, message, None)
    }

    fn refuse_at<T>(
        &mut self,
        code: &'static str,
        pointer: &Pointer<'_>,
        message: impl Into<String>,
        at: Option<(f64, f64)>,
    ) -> Outcome<T> {
        self.findings.push(Finding { code, pointer: pointer.to_string(), message: message.into(), at });
        if self.findings.len() < MAX_FINDINGS { ControlFlow::Continue(None) } else { ControlFlow::Break(()) }
    }

    fn notice(&mut self, code: &'static str, pointer: &Pointer<'_>, message: String, at: Option<(f64, f64)>) {
        if self.notices.len() < MAX_FINDINGS {
            self.notices.push(Finding { code, pointer: pointer.to_string(), message, at });
        }
    }

    fn document(&mut self, document: &Value, features: &mut Vec<Feature>) -> ControlFlow<()> {
        let root = Pointer::ROOT;
        match kind(document) {
            Some("FeatureCollection") => {
                let pointer = root.key("features");
                let Some(list) = document.get("features").and_then(Value::as_array) else {
                    let _: Option<()> =
                        self.refuse("geojson_type", &pointer, "a FeatureCollection has a list of features")?;
                    return ControlFlow::Continue(());
                };
                for (i, feature) in list.iter().enumerate() {
                    features.extend(self.feature(feature, &pointer.index(i))?);
                }
            }
            Some("Feature") => features.extend(self.feature(document, &root)?),
            Some(_) | None => {
                let geometry = self.geometry(document, &root)?;
                let notices = std::mem::take(&mut self.notices);
                features.extend(geometry.map(|geometry| Feature { id: None, name: None, geometry, notices }));
            }
        }
        ControlFlow::Continue(())
    }

    fn feature(&mut self, feature: &Value, pointer: &Pointer<'_>) -> Outcome<Feature> {
        if kind(feature) != Some("Feature") {
            return self.refuse("geojson_type", &pointer.key("type"), "a FeatureCollection's members are Features");
        }
        let geometry = feature.get("geometry").unwrap_or(&Value::Null);
        let geometry = self.geometry(geometry, &pointer.key("geometry"))?;
        let notices = std::mem::take(&mut self.notices);
        let id = match feature.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
        };
        let name = feature.pointer("/properties/name").and_then(Value::as_str).map(str::to_owned);
        ControlFlow::Continue(geometry.map(|geometry| Feature { id, name, geometry, notices }))
    }

    fn geometry(&mut self, geometry: &Value, pointer: &Pointer<'_>) -> Outcome<Geometry> {
        let coordinates = geometry.get("coordinates").unwrap_or(&Value::Null);
        let place = pointer.key("coordinates");
        // Counted before anything is judged: judging costs more than counting.
        let (count, multi) = match kind(geometry) {
            Some("Polygon") => (vertices(coordinates), false),
            Some("MultiPolygon") => (list(coordinates).iter().map(vertices).sum(), true),
            Some(_) | None => {
                let message = "a neighborhood is a Polygon or a MultiPolygon";
                return self.refuse("geojson_type", &pointer.key("type"), message);
            }
        };
        if count > self.options.max_vertices {
            let message = format!("{count} vertices; at most {} are taken", self.options.max_vertices);
            return self.refuse("too_many_vertices", &place, message);
        }
        let parts = if multi {
            self.each(coordinates, &place, "a MultiPolygon has a list of polygons", Self::part)?
        } else {
            self.part(coordinates, &place)?.map(|part| vec![part])
        };
        match parts {
            Some(parts) if parts.is_empty() => self.refuse("geometry_empty", &place, "there is no polygon"),
            parts => ControlFlow::Continue(parts.map(|parts| Geometry { parts })),
        }
    }

    /// Reads every member of a list: all of them, or none if a finding stands for one.
    fn each<T>(
        &mut self,
        value: &Value,
        pointer: &Pointer<'_>,
        expected: &str,
        read: impl Fn(&mut Self, &Value, &Pointer<'_>) -> Outcome<T>,
    ) -> Outcome<Vec<T>> {
        let Some(members) = value.as_array() else {
            return self.refuse("coordinates_malformed", pointer, expected);
        };
        let mut all = Some(Vec::with_capacity(members.len()));
        for (i, member) in members.iter().enumerate() {
            match (read(self, member, &pointer.index(i))?, &mut all) {
                (Some(member), Some(all)) => all.push(member),
                (Some(_), None) => {}
                (None, _) => all = None,
            }
        }
        ControlFlow::Continue(all)
    }

    /// A polygon: its shell and its holes, each sound, and sound together.
    fn part(&mut self, value: &Value, pointer: &Pointer<'_>) -> Outcome<Vec<Ring>> {
        let Some(part) = self.each(value, pointer, "a polygon has a list of rings", Self::ring)? else {
            return ControlFlow::Continue(None);
        };
        let Some((shell, holes)) = part.split_first() else {
            return self.refuse("geometry_empty", pointer, "a polygon has a shell");
        };
        let crossing = rings::first_crossing(&part);
        if let Some(crossing) = crossing {
            let (code, message) = describe(crossing);
            let ring = pointer.index(crossing.rings.1);
            if !self.options.repair_even_odd {
                return self.refuse_at(code, &ring, message, Some(crossing.at));
            }
            self.notice("repaired_even_odd", &ring, format!("{message}: read by even-odd"), Some(crossing.at));
            if rings::enclose_nothing(&part) {
                return self.refuse("ring_without_area", pointer, "the rings cancel each other: nothing is enclosed");
            }
        }
        let (mut sound, mut patience) = (true, PATIENCE);
        for (i, hole) in (1..).zip(holes) {
            let mut excused = || crossing.is_some() && rings::cross(hole, shell, &mut patience);
            if !rings::lies_in(hole, shell) && !excused() {
                let at = hole.first().map(|p| p.degrees());
                let _: Option<()> =
                    self.refuse_at("hole_outside_shell", &pointer.index(i), "the hole lies outside its shell", at)?;
                sound = false;
            }
        }
        ControlFlow::Continue(sound.then_some(part))
    }

    fn ring(&mut self, value: &Value, pointer: &Pointer<'_>) -> Outcome<Ring> {
        let Some(mut ring) = self.each(value, pointer, "a ring has a list of positions", Self::position)? else {
            return ControlFlow::Continue(None);
        };
        let (Some(&first), Some(&last), true) = (ring.first(), ring.last(), ring.len() >= 4) else {
            let message = "a ring has at least four positions, the last of them the first again";
            return self.refuse("ring_short", pointer, message);
        };
        if first != last {
            let message = "the last position of a ring is the first again";
            return self.refuse_at("ring_open", &pointer.index(ring.len() - 1), message, Some(last.degrees()));
        }
        ring.pop();
        if let Some(i) = edges(&ring).position(|(a, b)| is_ambiguous(a, b)) {
            let (code, message) = if goes_round_a_pole(&ring) {
                (
                    "ring_around_pole",
                    "a ring round a pole goes there and back along the antimeridian, and along the pole",
                )
            } else {
                ("antimeridian_ambiguous", "an edge spans more than 180 degrees: cut the polygon at the antimeridian")
            };
            let at = edges(&ring).nth(i).map(|(_, b)| b.degrees());
            return self.refuse_at(code, &pointer.index(i + 1), message, at);
        }
        ring.dedup();
        while ring.len() > 1 && ring.first() == ring.last() {
            ring.pop();
        }
        if rings::enclose_nothing(std::slice::from_ref(&ring)) {
            return self.refuse_at("ring_without_area", pointer, "the ring encloses nothing", Some(first.degrees()));
        }
        ControlFlow::Continue(Some(ring))
    }

    fn position(&mut self, value: &Value, pointer: &Pointer<'_>) -> Outcome<Point> {
        let ordinates: Option<Vec<f64>> = list(value).iter().map(Value::as_f64).collect();
        let (lon, lat) = match ordinates.as_deref() {
            Some([lon, lat]) => (*lon, *lat),
            Some([lon, lat, _, ..]) => {
                let known = self.notices.iter().any(|notice| notice.code == "third_ordinate_dropped");
                if !known {
                    self.notice("third_ordinate_dropped", pointer, "heights mean nothing here".into(), None);
                }
                (*lon, *lat)
            }
            Some([] | [_]) | None => {
                return self.refuse("coordinates_malformed", pointer, "a position is a list of longitude and latitude");
            }
        };
        match snap(lon, lat) {
            Some(point) => ControlFlow::Continue(Some(point)),
            None => {
                let message = "a longitude lies from -180 to 180, a latitude from -90 to 90";
                self.refuse_at("position_out_of_range", pointer, message, Some((lon, lat)))
            }
        }
    }
}

/// To the grid, half away from zero.
#[allow(clippy::cast_possible_truncation)] // the range was checked: both fit i32
fn snap(lon: f64, lat: f64) -> Option<Point> {
    let on_globe = (-180.0..=180.0).contains(&lon) && (-90.0..=90.0).contains(&lat);
    on_globe.then(|| Point { x: (lon * 1e7).round() as i32, y: (lat * 1e7).round() as i32 })
}

fn kind(object: &Value) -> Option<&str> {
    object.get("type").and_then(Value::as_str)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |members| members)
}

/// How many vertices a polygon has, without the repeated last ones.
fn vertices(part: &Value) -> usize {
    list(part).iter().map(|ring| list(ring).len().saturating_sub(1)).sum()
}

/// Whether an edge could as well be meant the other way round the globe. Along a pole both ways are the same place.
fn is_ambiguous(a: Point, b: Point) -> bool {
    let along_a_pole = a.y == b.y && a.y.abs() == POLE;
    (i64::from(a.x) - i64::from(b.x)).abs() > HALF_TURN && !along_a_pole
}

/// Whether the shorter ways between its vertices lead once round the globe.
fn goes_round_a_pole(ring: &[Point]) -> bool {
    let shorter = |a: Point, b: Point| {
        let way = i64::from(b.x) - i64::from(a.x);
        (way + HALF_TURN).rem_euclid(2 * HALF_TURN) - HALF_TURN
    };
    edges(ring).map(|(a, b)| shorter(a, b)).sum::<i64>() != 0
}

fn describe(crossing: Crossing) -> (&'static str, &'static str) {
    match (crossing.rings.0 == crossing.rings.1, crossing.along) {
        (true, false) => ("ring_crosses_itself", "the ring crosses itself"),
        (true, true) => ("ring_crosses_itself", "the ring runs along itself"),
        (false, false) => ("rings_cross", "two rings cross"),
        (false, true) => ("rings_cross", "two rings run along each other"),
    }
}
