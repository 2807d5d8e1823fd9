//! What a GeoJSON file holds, as neighborhoods with names and ids. Pure.

use std::collections::HashMap;

use porchlight_geofence::{
    Geometry,
    geojson::{self, Finding, MAX_FINDINGS, Options},
};
use serde_json::Value;
use uuid::Uuid;

/// The UUIDv5 namespace of ids made from a file's. Changing it makes every import a new set of neighborhoods: never.
const NAMESPACE: Uuid = Uuid::from_u128(0x706f_7263_686c_5067_8874_2e76_3100_0002);

/// Which properties say what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Properties<'a> {
    /// Holds the id; none: the feature's own, or its name.
    pub(super) id: Option<&'a str>,
    /// Holds the name.
    pub(super) name: &'a str,
}

/// A neighborhood to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Feature {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) geometry: Geometry,
    /// What was changed or left out in reading, as lines.
    pub(super) notices: Vec<String>,
}

/// Reads the file named `stem`.
///
/// # Errors
/// What is wrong where, as lines: at least one.
pub(super) fn read(
    json: &[u8],
    stem: &str,
    properties: Properties<'_>,
    repair_even_odd: bool,
) -> Result<Vec<Feature>, Vec<String>> {
    let options = Options { repair_even_odd, ..Options::default() };
    let understood = geojson::read(json, options).map_err(|findings| findings.iter().map(line).collect::<Vec<_>>())?;
    let document: Value = serde_json::from_slice(json).map_err(|e| vec![e.to_string()])?;
    let raw: Vec<(String, &Value)> = match document["features"].as_array() {
        Some(features) => features.iter().enumerate().map(|(n, f)| (format!("/features/{n}"), f)).collect(),
        None => vec![(String::new(), &document)],
    };
    if raw.is_empty() || raw.len() != understood.len() {
        return Err(vec![format!("{} features are there, {} are polygons", raw.len(), understood.len())]);
    }
    let (mut features, mut wrong, mut seen) = (Vec::with_capacity(raw.len()), Vec::new(), HashMap::new());
    for ((pointer, raw), understood) in raw.into_iter().zip(understood) {
        match identify(raw, &pointer, stem, properties) {
            Ok((id, name)) => {
                if let Some(first) = seen.insert(id, pointer.clone()) {
                    wrong.push(format!("{pointer}: has the same id as {first}; choose another with --id-property"));
                }
                let notices = understood.notices.iter().map(line).collect();
                features.push(Feature { id, name, geometry: understood.geometry, notices });
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(features) } else { Err(wrong.into_iter().take(MAX_FINDINGS).collect()) }
}

fn identify(raw: &Value, pointer: &str, stem: &str, properties: Properties<'_>) -> Result<(Uuid, String), String> {
    let name = text(&raw["properties"][properties.name]).ok_or_else(|| {
        format!("{pointer}/properties/{}: there is no name; choose another with --name-property", properties.name)
    })?;
    let id = match properties.id {
        Some(property) => text(&raw["properties"][property])
            .ok_or_else(|| format!("{pointer}/properties/{property}: there is no id; see --id-property"))?,
        None => text(&raw["id"]).unwrap_or_else(|| name.clone()),
    };
    Ok((Uuid::parse_str(&id).unwrap_or_else(|_| derive(stem, &id)), name))
}

/// Two files may number their features alike.
fn derive(stem: &str, id: &str) -> Uuid {
    // The length first: ("ab", "c") and ("a", "bc") must not meet.
    let mut named = (stem.len() as u64).to_be_bytes().to_vec();
    named.extend_from_slice(stem.as_bytes());
    named.extend_from_slice(id.as_bytes());
    Uuid::new_v5(&NAMESPACE, &named)
}

/// RFC 7946 lets an id be a string or a number; 7 and "7" are the same to people.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn line(finding: &Finding) -> String {
    let place = finding.at.map(|(lon, lat)| format!(", at {lon:.7}, {lat:.7}")).unwrap_or_default();
    format!("{}: {} ({}{place})", finding.pointer, finding.message, finding.code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const NAMED: Properties<'_> = Properties { id: None, name: "name" };

    fn square(west: f64) -> Value {
        let east = west + 1.0;
        json!({ "type": "Polygon", "coordinates": [[[west, 0], [east, 0], [east, 1], [west, 1], [west, 0]]] })
    }

    fn feature(id: Value, properties: Value, west: f64) -> Value {
        json!({ "type": "Feature", "id": id, "properties": properties, "geometry": square(west) })
    }

    fn file(features: Vec<Value>) -> Vec<u8> {
        serde_json::to_vec(&json!({ "type": "FeatureCollection", "features": features })).unwrap()
    }

    #[test]
    fn an_id_is_a_uuid_or_made_one_of_the_file_and_itself() {
        let own = Uuid::from_u128(77);
        let json = file(vec![
            feature(json!(own.to_string()), json!({ "name": "A" }), 0.0),
            feature(json!(7), json!({ "name": "B" }), 1.0),
            feature(Value::Null, json!({ "name": "C" }), 2.0),
        ]);
        let here = read(&json, "boston", NAMED, false).unwrap();
        assert_eq!(here[0].id, own);
        assert_eq!(here.iter().map(|f| f.name.as_str()).collect::<String>(), "ABC");
        assert_eq!(read(&json, "boston", NAMED, false).unwrap(), here, "doing it twice is doing it once");
        let there = read(&json, "cambridge", NAMED, false).unwrap();
        assert_eq!(there[0].id, own);
        assert!(there[1].id != here[1].id && there[2].id != here[2].id);
        let text = file(vec![feature(json!("7"), json!({ "name": "renamed" }), 1.0)]);
        assert_eq!(read(&text, "boston", NAMED, false).unwrap()[0].id, here[1].id);
    }

    #[test]
    fn the_id_of_a_file_and_a_feature_never_changes() {
        assert_eq!(derive("boston", "7").to_string(), "80651854-9730-54f4-b630-61ba7b788e0c");
        assert_ne!(derive("ab", "c"), derive("a", "bc"));
    }

    #[test]
    fn other_properties_may_hold_id_and_name() {
        let json = file(vec![feature(json!(1), json!({ "TOWN": "Malden", "TOWN_ID": 165 }), 0.0)]);
        let by_property = Properties { id: Some("TOWN_ID"), name: "TOWN" };
        let read_ = &read(&json, "towns", by_property, false).unwrap()[0];
        assert_eq!((read_.name.as_str(), read_.id), ("Malden", derive("towns", "165")));
        assert!(read(&json, "towns", NAMED, false).unwrap_err()[0].starts_with("/features/0/properties/name"));
        let no_such = Properties { id: Some("GEOID"), ..by_property };
        assert!(read(&json, "towns", no_such, false).unwrap_err()[0].starts_with("/features/0/properties/GEOID"));
    }

    #[test]
    fn two_features_of_one_id_would_replace_each_other() {
        let same = |west| feature(Value::Null, json!({ "name": "Same" }), west);
        let told = read(&file(vec![same(0.0), same(1.0)]), "x", NAMED, false).unwrap_err();
        assert!(told[0].starts_with("/features/1: has the same id as /features/0"), "{told:?}");
    }

    #[test]
    fn a_single_feature_is_a_file_too_and_what_is_no_polygon_is_told_where() {
        let json = serde_json::to_vec(&feature(json!(1), json!({ "name": "One" }), 0.0)).unwrap();
        assert_eq!(read(&json, "x", NAMED, false).unwrap().len(), 1);
        let open = json!({ "type": "Feature", "properties": { "name": "Open" },
            "geometry": { "type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]] } });
        let told = read(&file(vec![open]), "x", NAMED, false).unwrap_err();
        assert!(told[0].starts_with("/features/0/geometry") && told[0].contains("(ring_open"), "{told:?}");
        assert!(read(b"[", "x", NAMED, false).is_err());
        assert!(read(&file(vec![]), "x", NAMED, false).is_err(), "an empty file is a mistake");
    }

    #[test]
    fn crossing_rings_are_taken_if_asked_and_noticed() {
        let bow = json!({ "type": "Feature", "properties": { "name": "Bow" },
            "geometry": { "type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]] } });
        let json = file(vec![bow]);
        assert!(read(&json, "x", NAMED, false).unwrap_err()[0].contains("ring_crosses_itself"));
        assert!(read(&json, "x", NAMED, true).unwrap()[0].notices[0].contains("repaired_even_odd"));
    }
}
