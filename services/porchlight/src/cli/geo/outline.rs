//! What a document draws, read leniently: a picture of a refused file is worth most. Decides nothing; what is accepted is
//! the reader's word ([`porchlight_geofence::geojson`]).

use serde_json::Value;

/// Metres in a degree of latitude, about.
const METRES: f64 = 111_195.0;

/// Longitude and latitude as they stand in the file: perhaps nowhere on the globe.
pub(super) type Position = (f64, f64);

/// A feature's polygons, as far as they can be read.
#[derive(Debug, PartialEq)]
pub(super) struct Outline {
    pub(super) name: String,
    /// Each part's rings, each with all its positions.
    pub(super) parts: Vec<Vec<Vec<Position>>>,
}

/// What was counted while reading.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) features: usize,
    pub(super) parts: usize,
    pub(super) holes: usize,
    /// Without the repeated ones.
    pub(super) vertices: usize,
    /// How many vertices do not lie on the grid, and the longest way of one to it.
    pub(super) moved: usize,
    pub(super) moved_metres: f64,
    /// Positions that have a height, or more.
    pub(super) third_ordinates: usize,
    /// Vertices that, as snapped, are the one before.
    pub(super) repeated: usize,
}

/// Reads all that can be drawn.
pub(super) fn read(document: &Value) -> (Vec<Outline>, Tally) {
    let mut tally = Tally::default();
    let mut outlines = Vec::new();
    for (n, feature) in features(document).enumerate() {
        tally.features += 1;
        let mut parts = Vec::new();
        match feature.get("geometry") {
            Some(geometry) => polygons(geometry, &mut parts),
            None => polygons(feature, &mut parts),
        }
        let part = |part: Vec<&Value>| part.into_iter().map(|ring| positions(ring, &mut tally)).collect::<Vec<_>>();
        let parts: Vec<_> = parts.into_iter().map(part).collect();
        for part in &parts {
            tally.parts += 1;
            tally.holes += part.len().saturating_sub(1);
            part.iter().for_each(|ring| count(ring, &mut tally));
        }
        outlines.push(Outline { name: name(feature, n), parts });
    }
    (outlines, tally)
}

/// What people call the feature that a JSON pointer leads into.
pub(super) fn name_at(document: &Value, pointer: &str) -> String {
    let n = match pointer.strip_prefix("/features/") {
        Some(rest) => rest.split('/').next().and_then(|n| n.parse().ok()),
        None => (!is_collection(document)).then_some(0),
    };
    let named = n.and_then(|n| Some(name(features(document).nth(n)?, n)));
    named.unwrap_or_else(|| "the document".to_owned())
}

/// A place for what has none: the first position in or below what a JSON pointer leads to, else beside it.
pub(super) fn place_at(document: &Value, pointer: &str) -> Option<Position> {
    fn first(value: &Value) -> Option<Position> {
        position(value).or_else(|| value.as_array()?.iter().find_map(first))
    }
    let upwards = std::iter::successors(Some(pointer), |pointer| pointer.rsplit_once('/').map(|(parent, _)| parent));
    let coordinates = upwards.take_while(|pointer| pointer.contains("/coordinates"));
    coordinates.filter_map(|pointer| document.pointer(pointer)).find_map(first)
}

fn features(document: &Value) -> impl Iterator<Item = &Value> {
    let list = document.get("features").and_then(Value::as_array).filter(|_| is_collection(document));
    let alone = (document.is_object() && !is_collection(document)).then_some(document);
    list.into_iter().flatten().chain(alone)
}

fn is_collection(document: &Value) -> bool {
    document.get("type").and_then(Value::as_str) == Some("FeatureCollection")
}

fn name(feature: &Value, n: usize) -> String {
    let name = feature.pointer("/properties/name").and_then(Value::as_str).filter(|name| !name.trim().is_empty());
    match (name, feature.get("id")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(Value::String(id))) => format!("id {id}"),
        (None, Some(Value::Number(id))) => format!("id {id}"),
        (None, Some(_) | None) => format!("feature {n}"),
    }
}

/// By how deep the lists are, not by what the type says: the two may differ, and then the lists are what can be drawn.
fn polygons<'a>(geometry: &'a Value, parts: &mut Vec<Vec<&'a Value>>) {
    fn gather<'a>(value: &'a Value, parts: &mut Vec<Vec<&'a Value>>) {
        let Some(members) = value.as_array() else { return };
        if is_ring(value) {
            parts.push(vec![value]);
        } else if members.iter().any(is_ring) {
            parts.push(members.iter().filter(|ring| is_ring(ring)).collect());
        } else {
            members.iter().for_each(|member| gather(member, parts));
        }
    }
    match geometry.get("type").and_then(Value::as_str) {
        Some("Polygon" | "MultiPolygon") => gather(&geometry["coordinates"], parts),
        Some("GeometryCollection") => {
            geometry["geometries"].as_array().into_iter().flatten().for_each(|member| polygons(member, parts));
        }
        Some(_) | None => {}
    }
}

fn is_ring(value: &Value) -> bool {
    value.as_array().is_some_and(|members| members.iter().any(|member| position(member).is_some()))
}

fn position(value: &Value) -> Option<Position> {
    let ordinates = value.as_array()?;
    Some((ordinates.first()?.as_f64()?, ordinates.get(1)?.as_f64()?))
}

fn positions(ring: &Value, tally: &mut Tally) -> Vec<Position> {
    let members = || ring.as_array().into_iter().flatten();
    tally.third_ordinates += members().filter(|member| member.as_array().is_some_and(|all| all.len() > 2)).count();
    members().filter_map(position).collect()
}

fn count(ring: &[Position], tally: &mut Tally) {
    let snap = |degrees: f64| (degrees * 1e7).round() / 1e7;
    let snapped: Vec<Position> = ring.iter().map(|&(lon, lat)| (snap(lon), snap(lat))).collect();
    // Not the last, which is the first again.
    let vertices = match (snapped.first(), snapped.last()) {
        (Some(first), Some(last)) if snapped.len() > 1 && first == last => snapped.len() - 1,
        _ => snapped.len(),
    };
    for (&(lon, lat), &(to_lon, to_lat)) in ring.iter().zip(&snapped).take(vertices) {
        if (lon, lat) != (to_lon, to_lat) {
            let east = (to_lon - lon) * lat.to_radians().cos();
            tally.moved += 1;
            tally.moved_metres = tally.moved_metres.max(east.hypot(to_lat - lat) * METRES);
        }
    }
    // Round the ring: the first may repeat the last that is left.
    let kept = (0..vertices).filter(|&i| snapped[i] != snapped[(i + vertices - 1) % vertices]).count();
    tally.vertices += kept;
    tally.repeated += vertices - kept;
}
