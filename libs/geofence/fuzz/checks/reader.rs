//! What the reader promises for any bytes. Included by the fuzz target and by `tests/corpus.rs`.

use porchlight_geofence::geojson::{self, Feature, Finding, MAX_FINDINGS, Options};
use serde_json::Value;

/// Few, so that no input is slow because it is large.
pub(crate) const MAX_VERTICES: usize = 1000;

/// The codes in the table of the reader's own documentation: what stands nowhere there must not come out.
pub(crate) fn documented() -> impl Iterator<Item = &'static str> {
    let rows = include_str!("../../src/geojson/mod.rs").lines();
    rows.filter_map(|row| row.strip_prefix("//! | `")?.split('`').next())
}

const NOTICES: [&str; 2] = ["third_ordinate_dropped", "repaired_even_odd"];

pub(crate) fn reader(bytes: &[u8]) {
    let [strict, repaired] = [false, true].map(|repair_even_odd| {
        let options = Options { max_vertices: MAX_VERTICES, repair_even_odd };
        let judged = geojson::read(bytes, options);
        match &judged {
            Ok(features) => features.iter().for_each(|feature| accepted(feature, options)),
            Err(findings) => refused(bytes, findings),
        }
        judged
    });
    if strict.is_ok() {
        assert_eq!(strict, repaired, "there is nothing to repair");
    }
}

fn accepted(feature: &Feature, options: Options) {
    assert!(feature.geometry.vertices() <= options.max_vertices);
    for ring in feature.geometry.parts.iter().flatten() {
        assert!(ring.len() >= 3 && ring.iter().zip(ring.iter().cycle().skip(1)).all(|(a, b)| a != b), "{ring:?}");
    }
    assert!(feature.notices.len() <= MAX_FINDINGS);
    for notice in &feature.notices {
        assert!(NOTICES.contains(&notice.code), "{notice:?}");
        assert!(notice.pointer.starts_with('/'), "{notice:?}");
        assert!(options.repair_even_odd || notice.code != "repaired_even_odd", "{notice:?}");
    }
    let written = geojson::write(&feature.geometry).to_string();
    let again = geojson::read(written.as_bytes(), options).expect("what was accepted is accepted");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].geometry, feature.geometry);
}

fn refused(bytes: &[u8], findings: &[Finding]) {
    assert!((1..=MAX_FINDINGS).contains(&findings.len()));
    let document: Option<Value> = serde_json::from_slice(bytes).ok();
    for finding in findings {
        assert!(documented().any(|code| code == finding.code), "{finding:?}");
        assert_eq!(finding.code == "json_malformed", document.is_none(), "{finding:?}");
        let pointer = &finding.pointer;
        assert!(if document.is_none() { pointer.is_empty() } else { pointer.starts_with('/') }, "{finding:?}");
        // The last step may name what is missing; the last two do for the type of a geometry that is missing.
        let parent = |pointer: &str| pointer.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        assert!(document.iter().all(|d| d.pointer(&parent(&parent(pointer))).is_some()), "{finding:?}");
    }
}
