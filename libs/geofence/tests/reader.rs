//! What the GeoJSON reader takes, what it refuses, and where it says so.
#![allow(clippy::unwrap_used)]

mod common;

use common::file;
use porchlight_geofence::{
    Point,
    geojson::{self, Finding, MAX_FINDINGS, Options},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(document: &Value) -> Result<Vec<geojson::Feature>, Vec<Finding>> {
    geojson::read(&serde_json::to_vec(document).unwrap(), Options::default())
}

fn repaired(document: &Value) -> Result<Vec<geojson::Feature>, Vec<Finding>> {
    geojson::read(&serde_json::to_vec(document).unwrap(), Options { repair_even_odd: true, ..Options::default() })
}

fn polygon(rings: Value) -> Value {
    json!({ "type": "Polygon", "coordinates": rings })
}

/// The only finding's code, pointer and place.
fn refusal(document: &Value) -> (&'static str, String, Option<(f64, f64)>) {
    let findings = read(document).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    (findings[0].code, findings[0].pointer.clone(), findings[0].at)
}

#[test]
fn every_form_of_a_neighborhood_is_read() {
    let ring = json!([[0, 0], [1, 0], [1, 1], [0, 0]]);
    let bare = polygon(json!([ring]));
    let multi = json!({ "type": "MultiPolygon", "coordinates": [[ring], [ring]] });
    let feature = json!({ "type": "Feature", "id": 7, "properties": { "name": "Malden" }, "geometry": bare });
    let collection = json!({ "type": "FeatureCollection", "features": [feature, feature] });

    assert_eq!(read(&bare).unwrap()[0].geometry.vertices(), 3);
    assert_eq!(read(&multi).unwrap()[0].geometry.parts.len(), 2);
    let read_feature = &read(&feature).unwrap()[0];
    assert_eq!((read_feature.id.as_deref(), read_feature.name.as_deref()), (Some("7"), Some("Malden")));
    assert_eq!(read(&collection).unwrap().len(), 2);
    assert!(read(&collection).unwrap()[0].notices.is_empty());
}

#[test]
fn both_windings_are_read() {
    let there = polygon(json!([[[0, 0], [4, 0], [4, 4], [0, 0]], [[3, 1], [2, 1], [3, 2], [3, 1]]]));
    let back = polygon(json!([[[0, 0], [4, 4], [4, 0], [0, 0]], [[3, 1], [3, 2], [2, 1], [3, 1]]]));
    for document in [there, back] {
        let geometry = &read(&document).unwrap()[0].geometry;
        assert!(geometry.contains(Point { x: 30_000_000, y: 5_000_000 }));
        assert!(!geometry.contains(Point { x: 28_000_000, y: 12_000_000 }), "in the hole");
    }
}

#[test]
fn coordinates_snap_half_away_from_zero() {
    let ring = json!([[0.00000005, 0.00000004], [1.00000025, -0.00000005], [1, 1], [0.00000005, 0.00000004]]);
    let geometry = &read(&polygon(json!([ring]))).unwrap()[0].geometry;
    assert_eq!(geometry.parts[0][0][0], Point { x: 1, y: 0 });
    assert_eq!(geometry.parts[0][0][1], Point { x: 10_000_003, y: -1 });
}

#[test]
fn third_ordinates_are_dropped_with_one_notice() {
    let document = polygon(json!([[[0, 0], [1, 0, 17], [1, 1, 3.5, 4], [0, 0]]]));
    let feature = &read(&document).unwrap()[0];
    assert_eq!(feature.notices.len(), 1);
    assert_eq!(feature.notices[0].code, "third_ordinate_dropped");
    assert_eq!(feature.notices[0].pointer, "/coordinates/0/1");
}

#[test]
fn what_is_no_geojson_is_refused() {
    assert_eq!(geojson::read(b"{", Options::default()).unwrap_err()[0].code, "json_malformed");
    let deep = "[".repeat(100_000);
    assert_eq!(geojson::read(deep.as_bytes(), Options::default()).unwrap_err()[0].code, "json_malformed");
    for (document, pointer) in [
        (json!(null), "/type"),
        (json!([1, 2]), "/type"),
        (json!({ "type": "Point", "coordinates": [0, 0] }), "/type"),
        (json!({ "type": "FeatureCollection" }), "/features"),
        (json!({ "type": "FeatureCollection", "features": [{ "type": "Polygon" }] }), "/features/0/type"),
        (json!({ "type": "Feature", "geometry": null }), "/geometry/type"),
        (
            json!({ "type": "Feature", "geometry": { "type": "GeometryCollection", "geometries": [] } }),
            "/geometry/type",
        ),
    ] {
        assert_eq!(refusal(&document), ("geojson_type", pointer.into(), None), "{document}");
    }
}

#[test]
fn malformed_coordinates_are_refused_at_their_place() {
    for (coordinates, pointer) in [
        (json!(null), "/coordinates"),
        (json!("x"), "/coordinates"),
        (json!([7]), "/coordinates/0"),
        (json!([[[0, 0], [1], [1, 1], [0, 0]]]), "/coordinates/0/1"),
        (json!([[[0, 0], [1, "0"], [1, 1], [0, 0]]]), "/coordinates/0/1"),
        (json!([[[0, 0], 5, [1, 1], [0, 0]]]), "/coordinates/0/1"),
    ] {
        assert_eq!(refusal(&polygon(coordinates)), ("coordinates_malformed", pointer.into(), None));
    }
    assert_eq!(refusal(&polygon(json!([]))).0, "geometry_empty");
    assert_eq!(refusal(&json!({ "type": "MultiPolygon", "coordinates": [] })).0, "geometry_empty");
    assert_eq!(refusal(&json!({ "type": "MultiPolygon", "coordinates": [[]] })).1, "/coordinates/0");
}

#[test]
fn positions_off_the_globe_are_refused() {
    for (lon, lat) in [(180.1, 0.0), (-181.0, 0.0), (0.0, 90.001), (1e300, 0.0)] {
        let document = polygon(json!([[[0, 0], [lon, lat], [1, 1], [0, 0]]]));
        assert_eq!(refusal(&document), ("position_out_of_range", "/coordinates/0/1".into(), Some((lon, lat))));
    }
}

#[test]
fn short_open_and_flat_rings_are_refused() {
    let short = polygon(json!([[[0, 0], [1, 0], [0, 0]]]));
    assert_eq!(refusal(&short), ("ring_short", "/coordinates/0".into(), None));
    assert_eq!(refusal(&polygon(json!([[]]))).0, "ring_short");
    let open = polygon(json!([[[0, 0], [1, 0], [1, 1], [0, 1]]]));
    assert_eq!(refusal(&open), ("ring_open", "/coordinates/0/3".into(), Some((0.0, 1.0))));
    let flat = polygon(json!([[[0, 0], [1, 1], [2, 2], [0, 0]]]));
    assert_eq!(refusal(&flat), ("ring_without_area", "/coordinates/0".into(), Some((0.0, 0.0))));
    let vanishes = polygon(json!([[[0, 0], [1e-8, 0], [1e-8, 1e-8], [0, 0]]]));
    assert_eq!(refusal(&vanishes).0, "ring_without_area");
    let nearly_closed = polygon(json!([[[0, 0], [1, 0], [1, 1], [1e-9, -1e-9]]]));
    assert!(read(&nearly_closed).is_ok(), "closed as snapped");
}

#[test]
fn a_ring_that_crosses_itself_is_refused_with_the_place_and_read_by_even_odd() {
    let document = polygon(json!([[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]));
    assert_eq!(refusal(&document), ("ring_crosses_itself", "/coordinates/0".into(), Some((1.0, 1.0))));

    let feature = &repaired(&document).unwrap()[0];
    assert_eq!((feature.notices[0].code, feature.notices[0].at), ("repaired_even_odd", Some((1.0, 1.0))));
    let at = |x, y| Point { x: x * 1_000_000, y: y * 1_000_000 };
    assert!(feature.geometry.contains(at(2, 10)) && feature.geometry.contains(at(18, 10)));
    assert!(!feature.geometry.contains(at(10, 2)) && !feature.geometry.contains(at(10, 18)));
}

#[test]
fn a_ring_that_runs_along_itself_is_refused_and_read_by_even_odd() {
    let spike = polygon(json!([[[0, 0], [4, 0], [4, 4], [4, 6], [4, 4], [0, 4], [0, 0]]]));
    assert_eq!(refusal(&spike), ("ring_crosses_itself", "/coordinates/0".into(), Some((4.0, 4.0))));
    assert!(repaired(&spike).is_ok());
    let there_and_back = polygon(json!([[[0, 0], [4, 0], [4, 4], [4, 0], [0, 0], [0, 3], [0, 0]]]));
    assert_eq!(refusal(&there_and_back).0, "ring_without_area");
    assert_eq!(repaired(&there_and_back).unwrap_err()[0].code, "ring_without_area");
}

/// A shell that crosses itself, and a hole beside it: long edges side by side, none of which meets another.
#[test]
fn a_large_hole_beside_a_shell_that_crosses_itself_is_judged() {
    let zigzag = |west: i64, count: i64| -> Vec<Value> {
        (0..count).map(|n| json!([west + n, if n % 2 == 0 { 0 } else { 50_000_000 } + n])).collect()
    };
    let degrees = |ring: Vec<Value>| -> Value {
        let at = |v: &Value| json!([v[0].as_f64().unwrap() / 1e7, v[1].as_f64().unwrap() / 1e7]);
        ring.iter().chain(ring.first()).map(at).collect()
    };
    let mut shell = zigzag(0, 20_000);
    shell.extend([json!([30_000_000, 60_000_000]), json!([31_000_000, 10_000_000]), json!([29_000_000, 20_000_000])]);
    shell.push(json!([32_000_000, 50_000_000]));
    let document = polygon(json!([degrees(shell), degrees(zigzag(40_000_000, 20_000))]));
    let refused = repaired(&document).unwrap_err();
    assert_eq!((refused[0].code, refused[0].pointer.as_str()), ("hole_outside_shell", "/coordinates/1"));
}

#[test]
fn rings_may_touch_in_points() {
    let eight = polygon(json!([[[0, 0], [1, 1], [2, 0], [2, 2], [1, 1], [0, 2], [0, 0]]]));
    let hole_at_a_corner = polygon(json!([[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[0, 0], [2, 1], [1, 2], [0, 0]]]));
    let hole_at_an_edge = polygon(json!([[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[2, 0], [3, 2], [1, 2], [2, 0]]]));
    let holes_that_touch = polygon(json!([
        [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]],
        [[1, 1], [3, 1], [3, 3], [1, 1]],
        [[3, 3], [5, 3], [5, 5], [3, 3]]
    ]));
    for document in [eight, hole_at_a_corner, hole_at_an_edge, holes_that_touch] {
        assert!(read(&document).unwrap()[0].notices.is_empty(), "{document}");
    }
}

#[test]
fn holes_lie_in_their_shell() {
    let shell = json!([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]);
    let outside = polygon(json!([shell, [[1, 1], [2, 1], [2, 2], [1, 1]], [[5, 1], [6, 1], [6, 2], [5, 1]]]));
    assert_eq!(refusal(&outside), ("hole_outside_shell", "/coordinates/2".into(), Some((5.0, 1.0))));
    assert_eq!(repaired(&outside).unwrap_err()[0].code, "hole_outside_shell");
    let around = polygon(json!([shell, [[-1, -1], [5, -1], [5, 5], [-1, 5], [-1, -1]]]));
    assert_eq!(refusal(&around).0, "hole_outside_shell");
    let across = polygon(json!([shell, [[3, 1], [6, 1], [6, 2], [3, 2], [3, 1]]]));
    assert_eq!(refusal(&across), ("rings_cross", "/coordinates/1".into(), Some((4.0, 1.0))));
    assert!(repaired(&across).is_ok());
    let touching_from_outside = polygon(json!([shell, [[4, 2], [6, 1], [6, 3], [4, 2]]]));
    assert_eq!(refusal(&touching_from_outside).0, "hole_outside_shell");
    let the_shell_again = polygon(json!([shell, shell]));
    assert_eq!(refusal(&the_shell_again).0, "rings_cross");
    assert_eq!(repaired(&the_shell_again).unwrap_err()[0].code, "ring_without_area");
}

#[test]
fn what_would_span_the_antimeridian_is_refused() {
    let fiji = polygon(json!([[[177, -17], [-178, -17], [-178, -19], [177, -19], [177, -17]]]));
    assert_eq!(refusal(&fiji), ("antimeridian_ambiguous", "/coordinates/0/1".into(), Some((-178.0, -17.0))));
    let cut = json!({ "type": "MultiPolygon", "coordinates": [
        [[[177, -17], [180, -17], [180, -19], [177, -19], [177, -17]]],
        [[[-180, -17], [-178, -17], [-178, -19], [-180, -19], [-180, -17]]]
    ] });
    let geometry = &read(&cut).unwrap()[0].geometry;
    for x in [1_799_999_999, 1_800_000_000, -1_800_000_000, -1_799_999_999] {
        assert!(geometry.contains(Point { x, y: -180_000_000 }), "{x}");
    }
    let half = polygon(json!([[[-90, 0], [90, 0], [90, 10], [-90, 10], [-90, 0]]]));
    assert!(read(&half).is_ok(), "180 degrees are not more than 180 degrees");
}

#[test]
fn a_ring_round_a_pole_needs_its_edges() {
    let bare = polygon(json!([[[-120, -80], [0, -75], [120, -80], [-120, -80]]]));
    assert_eq!(refusal(&bare), ("ring_around_pole", "/coordinates/0/3".into(), Some((-120.0, -80.0))));
    let from_edge_to_edge = polygon(json!([[[-180, -80], [-60, -75], [60, -75], [180, -80], [-180, -80]]]));
    assert_eq!(refusal(&from_edge_to_edge).0, "ring_around_pole");
    let explicit =
        polygon(json!([[[-180, -90], [-180, -80], [-60, -75], [60, -75], [180, -80], [180, -90], [-180, -90]]]));
    let geometry = &read(&explicit).unwrap()[0].geometry;
    assert!(geometry.contains(Point { x: 5, y: -900_000_000 }));
    assert!(geometry.contains(Point { x: -1_800_000_000, y: -850_000_000 }));
}

#[test]
fn vertices_are_bounded_before_they_are_judged() {
    let ring: Vec<Value> = (0..=10).map(|i| json!([f64::from(i % 10), f64::from((i % 10) * (i % 10))])).collect();
    let document = polygon(json!([ring]));
    let options = |max_vertices| Options { max_vertices, ..Options::default() };
    let text = serde_json::to_vec(&document).unwrap();
    assert!(geojson::read(&text, options(10)).is_ok());
    let findings = geojson::read(&text, options(9)).unwrap_err();
    assert_eq!((findings[0].code, findings[0].pointer.as_str()), ("too_many_vertices", "/coordinates"));
}

#[test]
fn findings_are_bounded() {
    let rings: Vec<Value> = (0..500).map(|_| json!([[0, 0], [0, 0]])).collect();
    let findings = read(&polygon(json!(rings))).unwrap_err();
    assert_eq!(findings.len(), MAX_FINDINGS);
}

#[test]
fn one_feature_refused_refuses_all_and_each_says_why() {
    let good = polygon(json!([[[0, 0], [1, 0], [1, 1], [0, 0]]]));
    let bad = polygon(json!([[[0, 0], [1, 0], [0, 0]]]));
    let feature = |geometry: &Value| json!({ "type": "Feature", "properties": {}, "geometry": geometry });
    let all = json!({ "type": "FeatureCollection", "features": [feature(&bad), feature(&good), feature(&bad)] });
    let pointers: Vec<String> = read(&all).unwrap_err().into_iter().map(|f| f.pointer).collect();
    assert_eq!(pointers, ["/features/0/geometry/coordinates/0", "/features/2/geometry/coordinates/0"]);
}

/// What JTS and Turf call valid is taken; what they call invalid is refused, unless rings only touch in points or parts
/// of one neighborhood overlap, both of which have one meaning here.
#[test]
fn real_and_pathological_files_are_judged_as_their_projects_do() {
    for path in ["../synth/data/boston.geojson", "../synth/data/towns-ma.geojson"] {
        assert!(geojson::read(&file(path), Options::default()).is_ok(), "{path}");
    }
    let (mut valid, mut refused) = (0, 0);
    for (name, expectation) in [("jts", "jts_valid"), ("turf", "turf_valid")] {
        let document: Value = serde_json::from_slice(&file(&format!("tests/data/{name}.geojson"))).unwrap();
        for feature in document["features"].as_array().unwrap() {
            let judged = read(feature);
            match feature["properties"][expectation].as_bool() {
                Some(true) => {
                    assert!(judged.is_ok(), "{} {judged:?}", feature["properties"]);
                    valid += 1;
                }
                Some(false) if judged.is_err() => refused += 1,
                Some(false) | None => {}
            }
        }
    }
    assert!(valid > 200 && refused >= 20, "{valid} valid, {refused} refused");
}

/// Long edges side by side: every box overlaps every other, so that only a sweep ends in good time.
#[test]
fn a_zigzag_of_sixty_thousand_vertices_is_judged() {
    let zigzag = |last: Value| {
        let mut ring: Vec<Value> = Vec::new();
        for i in 0..29_999 {
            let x = f64::from(i) * 1e-6;
            ring.extend([json!([x, 0.0]), json!([x + 50.0, 50.0])]);
        }
        ring.push(last);
        ring.push(ring[0].clone());
        read(&polygon(json!([ring])))
    };
    assert_eq!(zigzag(json!([60.0, -1.0])).unwrap()[0].geometry.vertices(), 59_999);
    let findings = zigzag(json!([60.0, 1.0])).map(|_| ()).unwrap_err();
    assert_eq!(findings[0].code, "ring_crosses_itself");
}

/// Any document that looks a little like GeoJSON.
fn almost_geojson() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(180)),
        Just(json!(-90)),
        any::<f64>().prop_map(|x| json!(x)),
        any::<i64>().prop_map(|x| json!(x)),
        Just(json!("x")),
        Just(Value::Null)
    ];
    let small = prop_oneof![(-3..4).prop_map(|x| json!(x)), number];
    let list = |inner: BoxedStrategy<Value>, n| prop::collection::vec(inner, 0..n).prop_map(Value::Array).boxed();
    let position = list(small.boxed(), 4);
    let ring = list(position, 8);
    let closed = ring.prop_map(|mut ring| {
        let first = ring.get(0).cloned();
        if let (Some(all), Some(first)) = (ring.as_array_mut(), first) {
            all.push(first);
        }
        ring
    });
    let part = list(closed.boxed(), 3);
    let geometry = prop_oneof![
        part.clone().prop_map(|part| json!({ "type": "Polygon", "coordinates": part })),
        list(part, 3).prop_map(|parts| json!({ "type": "MultiPolygon", "coordinates": parts })),
        Just(json!({ "type": "Polygon" }))
    ];
    prop_oneof![
        geometry.clone(),
        geometry.prop_map(|g| json!({ "type": "FeatureCollection", "features": [
            { "type": "Feature", "geometry": g, "properties": { "name": 3 }, "id": {} }
        ] }))
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = geojson::read(&bytes, Options::default());
    }

    #[test]
    fn no_document_makes_it_panic_and_a_refusal_says_where(document in almost_geojson(), repair_even_odd: bool) {
        let text = serde_json::to_vec(&document).unwrap();
        match geojson::read(&text, Options { repair_even_odd, ..Options::default() }) {
            Ok(features) => {
                for feature in features {
                    prop_assert!(feature.geometry.parts.iter().flatten().all(|ring| ring.len() >= 3));
                }
            }
            Err(findings) => {
                prop_assert!((1..=MAX_FINDINGS).contains(&findings.len()));
                for finding in findings {
                    let parent = finding.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                    prop_assert!(document.pointer(parent).is_some(), "{}", finding.pointer);
                }
            }
        }
    }
}
