//! What features are called where only one word is wanted: their ids.

use std::collections::HashMap;

use porchlight_geofence::geojson::Feature;
use serde::Deserialize;
use serde_json::Value;

use super::printable;

/// The properties of a document's features, and nothing else of it: coordinates are most of a file.
#[derive(Deserialize)]
struct Document {
    features: Option<Vec<Properties>>,
    #[serde(default)]
    properties: Value,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    properties: Value,
}

/// Of each feature its own id, else its place in the file.
pub(super) fn own(features: &[Feature]) -> Result<Vec<String>, String> {
    let labels = features.iter().enumerate().map(|(n, feature)| match &feature.id {
        Some(id) if !id.is_empty() => id.clone(),
        Some(_) | None => n.to_string(),
    });
    let labels = checked(labels.collect())?;
    let mut seen = HashMap::with_capacity(labels.len());
    for (n, label) in labels.iter().enumerate() {
        if let Some(first) = seen.insert(label, n) {
            let label = printable(label);
            return Err(format!(
                "features {first} and {n} are both called {label}: choose a property by --id-property"
            ));
        }
    }
    Ok(labels)
}

/// Of each feature what a property holds. Several may hold the same.
pub(super) fn by_property(json: &[u8], property: &str, features: usize) -> Result<Vec<String>, String> {
    let document: Document = serde_json::from_slice(json).map_err(|e| format!("its properties cannot be read: {e}"))?;
    let all = match document.features {
        Some(features) => features.into_iter().map(|feature| feature.properties).collect(),
        None => vec![document.properties],
    };
    if all.len() != features {
        return Err(format!("{} features are there, {features} are polygons", all.len()));
    }
    let label = |(n, properties): (usize, &Value)| match properties.get(property) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) | None => Err(format!("feature {n} has no text or number in its property {}", printable(property))),
    };
    checked(all.iter().enumerate().map(label).collect::<Result<_, _>>()?)
}

/// A line of labels must be readable again.
fn checked(labels: Vec<String>) -> Result<Vec<String>, String> {
    match labels.iter().find(|label| label.contains(';') || label.contains(char::is_control)) {
        Some(label) => Err(format!(
            "the id `{}` has a semicolon or a control character: choose another property by --id-property",
            printable(label)
        )),
        None => Ok(labels),
    }
}
