//! `porchlight geo` as a person runs it: the real program, files, and pipes.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../libs").join(path)
}

fn geo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchlight"));
    command.arg("geo").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(args: &[&str], input: &str) -> Output {
    let mut child = geo(args).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // A program that ends early reads no more: that is no failure of ours.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_made_up_point_has_the_owner_that_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let (nation, points) = (folder.path().join("nation.geojson"), folder.path().join("points.csv"));
    let args = ["synth", "--polygons", "300", "--seed", "7", "--points", points.to_str().unwrap(), "--count", "3000"];
    let made = geo(&args).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    std::fs::write(&nation, &made.stdout).unwrap();
    assert_eq!(text(&made.stdout).lines().count(), 302, "one feature a line");

    let csv = std::fs::read_to_string(&points).unwrap();
    let (mut input, mut owners) = (String::new(), String::new());
    for line in csv.lines() {
        let (point, owner) = line.rsplit_once(',').unwrap();
        writeln!(input, "{point}").unwrap();
        if owner != "owner" {
            writeln!(owners, "{owner}").unwrap();
        }
    }
    assert_eq!(owners.lines().count(), 3000);
    assert!(owners.lines().filter(|owner| !owner.is_empty()).count() > 2500);
    for batch in ["4096", "7"] {
        let found = ran(&["locate", nation.to_str().unwrap(), "--e7", "--batch", batch], &input);
        assert!(found.status.success(), "{}", text(&found.stderr));
        assert!(text(&found.stdout) == owners, "owners differ");
    }
}

#[test]
fn the_truth_about_boston_is_what_is_found() {
    let gz = std::fs::File::open(shipped("geofence/tests/data/truth-boston.csv.gz")).unwrap();
    let mut truth = String::new();
    flate2::read::GzDecoder::new(gz).read_to_string(&mut truth).unwrap();
    let (mut input, mut owners) = (String::new(), String::new());
    for row in truth.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        writeln!(input, "{},{}", fields[1], fields[2]).unwrap();
        writeln!(owners, "{}", fields[3]).unwrap();
    }
    let boston = shipped("synth/data/boston.geojson");
    let found = ran(&["locate", boston.to_str().unwrap(), "--e7", "--repair", "even-odd"], &input);
    assert!(found.status.success(), "{}", text(&found.stderr));
    let wrong = text(&found.stdout).lines().zip(owners.lines()).filter(|(found, owner)| found != owner).count();
    assert_eq!((text(&found.stdout).lines().count(), wrong), (108_000, 0));
}

#[test]
fn a_bow_tie_is_refused_where_it_crosses_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (file, svg) = (folder.path().join("bow.geojson"), folder.path().join("bow.svg"));
    let bow = r#"{"type":"Feature","properties":{"name":"Bow"},"geometry":
        {"type":"Polygon","coordinates":[[[0,0],[2,2],[2,0],[0,2],[0,0]]]}}"#;
    std::fs::write(&file, bow).unwrap();
    let checked = geo(&["check", file.to_str().unwrap(), "--svg", svg.to_str().unwrap()]).output().unwrap();
    let report = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{report}");
    assert!(report.contains("ring_crosses_itself at 1,1, /geometry/coordinates/0"), "{report}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains("class=\"mark\"") && svg.contains(">1 ring_crosses_itself</text>"), "{svg}");
    let repaired = geo(&["check", file.to_str().unwrap(), "--repair", "even-odd"]).output().unwrap();
    assert_eq!(repaired.status.code(), Some(0));
}

#[test]
fn boston_is_accepted_if_repaired() {
    let boston = shipped("synth/data/boston.geojson");
    let checked = geo(&["check", boston.to_str().unwrap(), "--repair", "even-odd"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("is accepted: 26 features, "), "{}", text(&checked.stdout));
}

#[test]
fn the_bad_line_is_named_after_the_answers_before_it() {
    let boston = shipped("synth/data/boston.geojson");
    let args = ["locate", boston.to_str().unwrap(), "--repair", "even-odd"];
    let found = ran(&args, "lon,lat\n-71.0589,42.3601\n0,0\n-71.0589 42.3601\n0,0\n");
    assert_eq!(found.status.code(), Some(1));
    let answers: Vec<&str> = text(&found.stdout).lines().collect();
    assert!(answers.len() == 2 && !answers[0].is_empty() && answers[1].is_empty(), "{answers:?}");
    let told = text(&found.stderr);
    assert!(told.contains("line 4 of the input: `-71.0589 42.3601` is not `lon,lat`"), "{told}");
}

#[test]
fn whoever_closes_the_pipe_ends_it_quietly() {
    let mut child = geo(&["synth", "--polygons", "10000000"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "{\"type\":\"FeatureCollection\",\"features\":[\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), ""));
}

#[test]
fn a_file_that_is_not_there_or_no_geojson_is_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, text_file) = (folder.path().join("missing.geojson"), folder.path().join("text.geojson"));
    std::fs::write(&text_file, "no GeoJSON").unwrap();
    for command in ["check", "locate", "bench"] {
        let told = geo(&[command, missing.to_str().unwrap()]).output().unwrap();
        assert_eq!(told.status.code(), Some(64), "{command}");
        assert!(text(&told.stderr).contains("missing.geojson: No such file"), "{}", text(&told.stderr));
        let told = geo(&[command, text_file.to_str().unwrap()]).output().unwrap();
        assert_eq!(told.status.code(), Some(1), "{command}");
        let said = format!("{}{}", text(&told.stdout), text(&told.stderr));
        assert!(said.contains("json_malformed") && said.contains("refused"), "{said}");
    }
}
