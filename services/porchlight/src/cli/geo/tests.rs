#![allow(clippy::unwrap_used)]

use std::{
    io::{Cursor, Write},
    path::PathBuf,
};

use clap::Parser as _;
use porchlight_geofence::Point;
use serde_json::{Value, json};

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn command(args: &[&str]) -> Command {
    Line::try_parse_from([&["geo"], args].concat()).unwrap().command
}

/// A folder with one file, which is kept as long as the folder.
fn file(document: &Value) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.geojson");
    std::fs::write(&path, document.to_string()).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn feature(id: Value, properties: Value, ring: Value) -> Value {
    json!({ "type": "Feature", "id": id, "properties": properties,
        "geometry": { "type": "Polygon", "coordinates": [ring] } })
}

fn collection(features: &[Value]) -> Value {
    json!({ "type": "FeatureCollection", "features": features })
}

fn square(west: i32, size: i32) -> Value {
    let east = west + size;
    json!([[west, 0], [east, 0], [east, size], [west, size], [west, 0]])
}

fn bow_tie() -> Value {
    json!([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]])
}

fn located(args: &[&str], input: &str) -> (String, Result<(), Stop>) {
    let Command::Locate(args) = command(&[&["locate"], args].concat()) else { unreachable!() };
    let mut out = Vec::new();
    let done = locate::run(&args, &mut Cursor::new(input), &mut out);
    (String::from_utf8(out).unwrap(), done)
}

fn why(done: Result<(), Stop>) -> String {
    match done {
        Err(Stop::Failed(failure)) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

fn checked(args: &[&str]) -> Result<String, Failure> {
    run(command(&[&["check"], args].concat()))
}

#[test]
fn a_refused_file_is_told_by_name_place_and_pointer_and_drawn() {
    let name = "Bow <&\"'> \u{1b}[2J";
    let (folder, path) = file(&collection(&[
        feature(json!(1), json!({ "name": name }), bow_tie()),
        feature(json!(7), json!({}), json!(3)),
    ]));
    let svg = folder.path().join("out.svg");
    std::fs::write(&svg, "what was there before".repeat(1000)).unwrap();
    let Err(Failure::Found(report)) = checked(&[&path, "--svg", svg.to_str().unwrap()]) else { panic!("accepted") };
    assert!(report.contains("  1  Bow <&\"'> \\u{1b}[2J: the ring crosses itself\n"), "{report}");
    assert!(report.contains("     ring_crosses_itself at 1,1, /features/0/geometry/coordinates/0\n"), "{report}");
    assert!(report.contains("  2  id 7: "), "{report}");
    assert!(report.contains("refused (2 findings): 2 features, 1 part, 0 holes, 4 vertices;"), "{report}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains("<title>Bow &lt;&amp;&quot;&#39;&gt; \u{fffd}[2J</title>"), "{svg}");
    assert!(svg.contains(">1 ring_crosses_itself</text>") && svg.contains(">2 coordinates_malformed</text>"), "{svg}");
    assert_eq!(svg.matches("class=\"mark\"").count(), 1, "what has no place has no circle");
    assert!(svg.ends_with("</svg>\n") && !svg.contains("before"));
}

#[test]
fn what_has_no_place_is_marked_beside_what_has_one() {
    let document = feature(json!(1), json!({}), json!([[3, 4], ["x"], [5, 6]]));
    let beside = outline::place_at(&document, "/geometry/coordinates/0/1");
    assert_eq!(beside, Some((3.0, 4.0)));
    assert_eq!(outline::place_at(&document, "/geometry/coordinates/0/2"), Some((5.0, 6.0)));
    assert_eq!(outline::place_at(&document, "/geometry/type"), None);
    assert_eq!(outline::place_at(&json!({ "coordinates": 3 }), "/coordinates/0"), None);
}

#[test]
fn what_was_changed_in_reading_is_counted() {
    let ring = json!([[0, 0, 5], [1.000_000_04, 0], [1.000_000_01, 0, 9], [1, 1], [0, 1], [0, 0]]);
    let (_folder, path) = file(&feature(Value::Null, json!({ "name": "One" }), ring));
    let report = checked(&[&path]).unwrap();
    assert!(report.contains("  1  One: "), "{report}");
    assert!(report.contains("is accepted: 1 feature, 1 part, 0 holes, 4 vertices;"), "{report}");
    assert!(
        report.contains("2 vertices moved by up to 4.4 mm; dropped: 2 third ordinates, 1 repeated vertex;"),
        "{report}"
    );
    let (_folder, path) = file(&feature(Value::Null, json!({}), bow_tie()));
    let report = checked(&[&path, "--repair", "even-odd"]).unwrap();
    assert!(report.contains("repaired_even_odd at 1,1") && report.contains("repaired: 1 part\n"), "{report}");
    assert!(checked(&[&path, "--repair", "even-odd", "--max-vertices", "3"]).is_err());
}

#[test]
fn the_counts_are_those_of_the_reader() {
    for text in [porchlight_synth::BOSTON, porchlight_synth::MASSACHUSETTS] {
        let options = options(Some(Repair::EvenOdd));
        let features = geojson::read(text, options).unwrap();
        let (outlines, tally) = outline::read(&serde_json::from_slice(text).unwrap());
        assert_eq!(tally.features, features.len());
        assert_eq!(tally.vertices, features.iter().map(|feature| feature.geometry.vertices()).sum::<usize>());
        assert_eq!(tally.parts, features.iter().map(|feature| feature.geometry.parts.len()).sum::<usize>());
        assert!(outlines.iter().zip(&features).all(|(outline, feature)| Some(&outline.name) == feature.name.as_ref()));
    }
}

#[test]
fn every_document_can_be_drawn() {
    let far = json!([[1e300, 0], [1, 1e9], [-1e300, -91], [1e300, 0]]);
    for document in [
        json!(null),
        json!([]),
        json!({ "type": "FeatureCollection" }),
        collection(&[json!(3), json!({ "type": "Feature", "geometry": null })]),
        json!({ "type": "Polygon", "coordinates": [[[0, 0]]] }),
        json!({ "type": "Polygon", "coordinates": [[0, 0], [1, 1], ["x", 3], [], [2, 0]] }),
        json!({ "type": "MultiPolygon", "coordinates": [[], [[]], [[[0, 90], [0, 90]]], 5] }),
        json!({ "type": "GeometryCollection", "geometries": [{ "type": "Polygon", "coordinates": [square(3, 1)] }] }),
        feature(json!(1), json!({}), far),
    ] {
        let (folder, path) = file(&document);
        let svg = folder.path().join("out.svg");
        let Err(Failure::Found(report)) = checked(&[&path, "--svg", svg.to_str().unwrap()]) else {
            panic!("{document} is accepted")
        };
        assert!(report.contains("  1  "), "{report}");
        let svg = std::fs::read_to_string(svg).unwrap();
        assert!(svg.contains(">1 ") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn the_checked_file_is_never_overwritten() {
    let (_folder, path) = file(&feature(json!(1), json!({}), square(0, 1)));
    assert!(matches!(checked(&[&path, "--svg", &path]), Err(Failure::Usage(_))));
    assert!(checked(&[&path]).is_ok());
}

#[test]
fn north_is_up_and_longitude_as_long_as_on_the_ground() {
    let outline = |lat: f64| outline::Outline {
        name: String::new(),
        parts: vec![vec![vec![(0.0, lat), (2.0, lat), (2.0, lat + 1.0)]]],
    };
    let flat = drawing::svg("", &[outline(-0.5)], &[]);
    assert!(flat.contains("d=\"M30.00 500.00L970.00 500.00L970.00 30.00Z\""), "{flat}");
    let far_north = drawing::svg("", &[outline(59.5)], &[]);
    assert!(far_north.contains("d=\"M30.00 970.00L970.00 970.00L970.00 30.00Z\""), "half as wide: {far_north}");
}

#[test]
fn labels_of_one_place_do_not_cover_each_other() {
    let mark = |n| drawing::Mark { label: format!("{n} ring_open"), at: Some((0.0, 0.0)) };
    let marks: Vec<_> = (1..=9).map(mark).collect();
    let svg = drawing::svg("", &[], &marks);
    let mut heights: Vec<&str> = svg.split("<text x=").skip(1).map(|text| text.split('"').nth(3).unwrap()).collect();
    heights.sort_unstable();
    heights.dedup();
    assert_eq!(heights.len(), 9, "{svg}");
}

#[test]
fn each_line_has_the_ids_of_its_owners() {
    let all = [
        feature(json!("west"), json!({ "COUNTY": "A", "N": 1 }), square(0, 2)),
        feature(Value::Null, json!({ "COUNTY": "A", "N": 2 }), square(1, 2)),
        feature(json!(9), json!({ "COUNTY": "B", "N": 3 }), square(2, 2)),
    ];
    let (_folder, path) = file(&collection(&all));
    let input = "\u{feff}Lon,Lat\r\n0.5,0.5\r\n 1.5 , 0.5 \n2.5,5e-1\n-10,0\n3.999999949,1";
    for batch in ["1", "2", "4096"] {
        let (out, done) = located(&[&path, "--batch", batch], input);
        done.unwrap();
        assert_eq!(out, "west\nwest;1\n1;9\n\n9\n");
    }
    let (out, done) = located(&[&path, "--id-property", "COUNTY"], input);
    done.unwrap();
    assert_eq!(out, "A\nA\nA;B\n\nB\n");
    assert_eq!(located(&[&path, "--id-property", "N", "--e7"], "lon_e7,lat_e7\n25000000,5000000\n").0, "2;3\n");
    let told = why(located(&[&path, "--id-property", "TOWN"], input).1);
    assert!(told.contains("feature 0 has no text or number in its property TOWN"), "{told}");
    assert_eq!(located(&[&path], "").0, "");
}

#[test]
fn a_point_is_snapped_as_a_vertex_is() {
    // The border at 1 belongs to the east, and what rounds to it lies on it.
    let (_folder, path) =
        file(&collection(&[feature(json!(0), json!({}), square(0, 1)), feature(json!(1), json!({}), square(1, 1))]));
    let (out, _) = located(&[&path], "0.99999995,0.5\n0.999999949,0.5\n1.00000004,0.5\n");
    assert_eq!(out, "1\n0\n1\n");
}

#[test]
fn the_first_bad_line_ends_it_and_is_told() {
    let (_folder, path) = file(&feature(json!(5), json!({}), square(0, 2)));
    for (bad, word) in [
        ("", "is not `lon,lat` in degrees"),
        ("lon,lat", "is not `lon,lat`"),
        ("1", "is not `lon,lat`"),
        ("1,2,3", "`1,2,3` is not `lon,lat`"),
        ("1;\u{1b}", "`1;\\u{1b}` is not `lon,lat`"),
        ("nan,1", "is not `lon,lat`"),
        ("inf,1", "is not on the globe"),
        ("180.00000001,1", "is not on the globe"),
        ("1,-90.1", "a latitude from -90 to 90"),
        ("-710000000,420000000", "need --e7"),
    ] {
        for batch in ["1", "2", "100"] {
            let (out, done) = located(&[&path, "--batch", batch], &format!("lon,lat\n1,1\n3,3\n{bad}\n1,1\n"));
            assert_eq!(out, "5\n\n", "{bad}");
            let told = why(done);
            assert!(told.starts_with("line 4 of the input: ") && told.contains(word), "{told}");
        }
    }
    for bad in ["1.5,0", "1800000001,0", "0,900000001", "99999999999999999999,0", "9000000000000000000,0"] {
        assert!(why(located(&[&path, "--e7"], bad).1).starts_with("line 1 of the input: "), "{bad}");
    }
    let endless = "1".repeat(1_000_000);
    assert!(why(located(&[&path], &endless).1).contains("more than 256 bytes"));
}

#[test]
fn ids_that_no_line_could_hold_are_refused() {
    for (first, second, word) in
        [("a;b", "c", "semicolon"), ("a\nb", "c", "control"), ("1", "", "both called 1"), ("x", "x", "both called x")]
    {
        let id = |id: &str| if id.is_empty() { Value::Null } else { json!(id) };
        let all = [feature(id(first), json!({}), square(0, 1)), feature(id(second), json!({}), square(1, 1))];
        let (_folder, path) = file(&collection(&all));
        let told = why(located(&[&path], "0,0\n").1);
        assert!(told.contains(word) && told.contains("--id-property"), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_asked_says_what_would_help() {
    let (_folder, path) = file(&feature(json!(5), json!({}), bow_tie()));
    let told = why(located(&[&path], "").1);
    assert!(told.contains("geo check") && told.contains("--repair even-odd"), "{told}");
    let (out, done) = located(&[&path, "--repair", "even-odd"], "0.5,1\n1,1.5\n");
    done.unwrap();
    assert_eq!(out, "5\n\n");
    let missing = PathBuf::from(&path).with_extension("missing");
    assert!(why(located(&[missing.to_str().unwrap()], "").1).contains("No such file"));
    assert!(matches!(run(command(&["bench", missing.to_str().unwrap()])), Err(Failure::Usage(_))));
    let (_folder, empty) = file(&collection(&[]));
    assert!(run(command(&["bench", &empty])).unwrap_err().to_string().contains("has no polygons"));
    assert_eq!(located(&[&empty], "1,1\n").0, "\n", "nobody owns anything");
}

/// Takes so much, and no more.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_what_would_go_on() {
    let Command::Synth(args) = command(&["synth", "--polygons", "10000000"]) else { unreachable!() };
    let Err(Stop::Unwritten(e)) = synth::run(&args, &mut Closing(100_000)) else { panic!("it cannot go on") };
    assert_eq!(e.kind(), io::ErrorKind::BrokenPipe);
    let closed = |_: &mut dyn io::Write| Err(Stop::Unwritten(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(to_stdout(closed).unwrap(), "");
    let full = |_: &mut dyn io::Write| Err(Stop::Unwritten(io::ErrorKind::StorageFull.into()));
    assert!(to_stdout(full).is_err());
}

#[test]
fn a_nation_can_be_measured() {
    let Command::Synth(args) = command(&["synth", "--polygons", "20", "--vertices", "40"]) else { unreachable!() };
    let mut nation = Vec::new();
    synth::run(&args, &mut nation).unwrap();
    let (_folder, path) = file(&serde_json::from_slice(&nation).unwrap());
    let report = run(command(&["bench", &path, "--points", "3000"])).unwrap();
    assert!(report.contains("neighborhoods     20\nvertices          800\n"), "{report}");
    assert!(report.contains("3,000 random points"), "{report}");
}

#[test]
fn the_curve_interleaves_from_the_south_west() {
    let curve = |x, y| bench::along_curve(Point { x, y });
    assert_eq!(curve(i32::MIN, i32::MIN), 0);
    assert_eq!(curve(i32::MIN + 3, i32::MIN), 0b101);
    assert_eq!(curve(i32::MIN, i32::MIN + 3), 0b1010);
    assert_eq!(curve(i32::MAX, i32::MAX), u64::MAX);
}

#[test]
fn numbers_are_grouped() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
