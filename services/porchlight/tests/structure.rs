//! The walls: who may name whom. `docs/ARCHITECTURE.md` says why; this fails when somebody walks through one.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Each crate of ours, and those of ours that it may name (in what it ships; tests may name more).
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wire", &["domain"]),
    ("geofence", &[]),
    ("neighborhoods", &["domain", "wire", "geofence"]),
    ("secrets", &[]),
    ("bus", &["domain", "wire", "secrets"]),
    ("store", &["domain", "wire", "secrets"]),
    ("push", &["domain"]),
    ("clips", &["domain", "secrets"]),
    ("chassis", &[]),
    ("standins", &[]),
    ("oracle", &[]),
    ("synth", &["geofence"]),
    ("ingest", &["domain", "wire", "bus", "clips", "chassis"]),
    ("geo-index", &["domain", "wire", "bus", "store", "clips", "neighborhoods", "chassis"]),
    ("notification", &["domain", "wire", "bus", "store", "push", "neighborhoods", "chassis"]),
    ("gateway", &["domain", "wire", "bus", "store", "push", "clips", "neighborhoods", "geofence", "chassis"]),
    (
        "porchlight",
        &[
            "domain",
            "wire",
            "bus",
            "store",
            "push",
            "clips",
            "neighborhoods",
            "geofence",
            "chassis",
            "standins",
            "oracle",
            "synth",
            "ingest",
            "geo-index",
            "notification",
            "gateway",
        ],
    ),
];

/// Client libraries (and what stands in for servers), and the one crate that may name each.
const CLIENTS: &[(&str, &str)] = &[
    ("rdkafka", "bus"),
    ("rdkafka-sys", "bus"),
    ("scylla", "store"),
    ("fjall", "store"),
    ("aws-sdk-s3", "clips"),
    ("aws-credential-types", "clips"),
    ("rcgen", "standins"),
    ("geo", "geofence"),
    // The codec of the embedded broker.
    ("tansu-sans-io", "standins"),
    ("s3s", "standins"),
];

fn short(name: &str) -> &str {
    name.strip_prefix("porchlight-").unwrap_or(name)
}

fn ours() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs in the workspace");
    metadata.packages
}

#[test]
fn the_direction_of_dependencies_holds() {
    let may_name: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let packages = ours();
    let names: BTreeSet<&str> = packages.iter().map(|p| short(&p.name)).collect();
    assert_eq!(names, may_name.keys().copied().collect(), "every crate stands in the table, and no other");
    for package in &packages {
        let allowed = may_name[short(&package.name)];
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let named = short(&dependency.name);
            assert!(
                !names.contains(named) || allowed.contains(&named),
                "{} must not name {named}",
                short(&package.name)
            );
        }
    }
}

#[test]
fn each_client_library_stands_in_one_crate() {
    for package in ours() {
        for dependency in &package.dependencies {
            for (client, only) in CLIENTS {
                assert!(
                    dependency.name != *client || short(&package.name) == *only,
                    "{client} belongs into {only} alone, and {} names it",
                    package.name
                );
            }
        }
    }
}

/// A judge that shares code with the judged shares its mistakes.
#[test]
fn the_oracle_knows_no_crate_of_ours_even_in_its_tests() {
    let packages = ours();
    let oracle = packages.iter().find(|p| short(&p.name) == "oracle").expect("it is there");
    let named: Vec<&str> = oracle.dependencies.iter().map(|d| d.name.as_str()).collect();
    assert!(named.iter().all(|name| !name.starts_with("porchlight")), "{named:?}");
}

#[test]
fn every_crate_says_what_it_owns_and_keeps_the_lints() {
    for package in ours() {
        let description = package.description.as_deref().unwrap_or_default();
        assert!(description.len() > 20 && !description.contains("TODO"), "{} says what it owns", package.name);
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} keeps the workspace's lints", package.name);
        assert_eq!(package.license.as_deref(), Some("Apache-2.0"));
    }
}

/// The places are a peer's C library, beside which the index is measured, and what the index asks of the processor.
#[test]
fn unsafe_code_stands_in_two_places() {
    let needle = concat!("allow(", "unsafe_code)");
    let places = ["geofence/benches/peers/mod.rs", "geofence/src/plane/batch.rs"];
    let all = ours();
    let files = all.iter().flat_map(|p| sources(p.manifest_path.parent().expect("a folder").as_std_path()));
    let with: Vec<_> = files.filter(|file| std::fs::read_to_string(file).expect("text").contains(needle)).collect();
    assert!(with.iter().all(|file| places.iter().any(|place| file.ends_with(place))), "{with:?}");
    assert_eq!(with.len(), places.len());
}

/// One sitting: a file that is longer is two.
#[test]
fn files_stay_short_enough_to_read() {
    let mut long = Vec::new();
    for package in ours() {
        for path in sources(package.manifest_path.parent().expect("a folder").as_std_path()) {
            let lines = std::fs::read_to_string(&path).expect("text").lines().count();
            if lines > 500 {
                long.push(format!("{} has {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

/// A promise whose test is gone is not kept by anything.
#[test]
fn every_test_that_the_promises_name_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let promises = std::fs::read_to_string(root.join("docs/PROMISES.md")).expect("the promises");
    let mut code = String::new();
    for package in ours() {
        for file in sources(package.manifest_path.parent().expect("a folder").as_std_path()) {
            code += &std::fs::read_to_string(file).expect("text");
        }
    }
    // What is promised of the chart is held by functions of helm/checks.
    let chart = std::fs::read_to_string(root.join("helm/checks/chart.py")).expect("the chart's checks");
    code += &chart.replace("\ndef ", "\nfn ");
    let rows = promises.lines().filter(|l| l.starts_with("| ") && l.ends_with("` |"));
    let named: Vec<&str> = rows.filter_map(|row| row.trim_end_matches("` |").rsplit('`').next()).collect();
    assert!(named.len() > 20, "the rows are found: {named:?}");
    let gone: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

/// The Rust files below a folder.
fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
