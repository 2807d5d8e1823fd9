//! What the fuzz targets check, without a fuzzer: their corpus, and what a few thousand small accidents make of it.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../fuzz/checks/index.rs"]
mod index;
#[path = "../fuzz/checks/reader.rs"]
mod reader;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use common::{Dice, file};
use porchlight_geofence::geojson::{self, Options};

/// Of each file.
const ACCIDENTS: usize = 2000;

/// Names and contents, by name.
fn corpus(of: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(of);
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    let read = |name: String| (name.clone(), file(&format!("fuzz/corpus/{of}/{name}")));
    names.into_iter().map(read).collect()
}

/// The dictionary's words: in quotes, with libFuzzer's escapes.
fn words() -> Vec<Vec<u8>> {
    let text = String::from_utf8(file("fuzz/geojson.dict")).unwrap();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|word| word.replace("\\\"", "\"").replace("\\\\", "\\").into_bytes()).collect()
}

fn below(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.next() % (end.max(1) as u64)).unwrap()
}

/// A byte changed, a stretch lost or told twice, a word put in or written over what stands there.
fn accident(bytes: &mut Vec<u8>, words: &[Vec<u8>], dice: &mut Dice) {
    let from = below(dice, bytes.len());
    let to = (from + 1 + below(dice, 24)).min(bytes.len());
    let word = &words[below(dice, words.len())];
    match below(dice, 6) {
        0 if from < bytes.len() => bytes[from] ^= 1 << below(dice, 8),
        1 if from < bytes.len() => bytes[from] = b"0123456789-.,[]{}\"e "[below(dice, 20)],
        2 => drop(bytes.drain(from..to)),
        3 => {
            let twice = bytes[from..to].to_vec();
            let at = below(dice, bytes.len() + 1);
            bytes.splice(at..at, twice);
        }
        4 => drop(bytes.splice(from..to, word.iter().copied())),
        _ => drop(bytes.splice(from..from, word.iter().copied())),
    }
}

/// Each file, and what becomes of it. Of an input that fails nothing else tells.
fn replay(of: &str, accidents: usize, check: impl Fn(&[u8])) {
    let words = words();
    let tried = |name: &str, bytes: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(bytes))) {
            let why = panic.downcast_ref::<String>().map_or("", |why| why);
            panic!("{of}/{name} became {}: {why}", bytes.escape_ascii());
        }
    };
    for (seed, (name, bytes)) in (0..).zip(corpus(of)) {
        tried(&name, &bytes);
        let mut dice = Dice(seed);
        for _ in 0..accidents {
            let mut changed = bytes.clone();
            (0..=below(&mut dice, 4)).for_each(|_| accident(&mut changed, &words, &mut dice));
            tried(&name, &changed);
        }
    }
}

#[test]
fn the_reader_stands_its_corpus() {
    replay("reader", ACCIDENTS, reader::reader);
}

#[test]
fn the_index_stands_its_corpus() {
    replay("index", ACCIDENTS / 10, index::index);
}

/// A file that no longer leads where its name says feeds the fuzzer no more.
#[test]
fn the_corpus_leads_where_its_names_say_and_has_every_code() {
    let mut seen = Vec::new();
    for (name, bytes) in corpus("reader") {
        let read =
            |repair_even_odd| geojson::read(&bytes, Options { max_vertices: reader::MAX_VERTICES, repair_even_odd });
        let mut says = name.split('-');
        match (says.next(), read(false), read(true)) {
            (Some("accepted"), Ok(_), Ok(_)) | (Some("repaired"), Err(_), Ok(_)) => {}
            (Some("refused"), Err(findings), _) if says.next() == Some(findings[0].code) => {
                seen.push(findings[0].code);
            }
            (_, strict, repaired) => panic!("{name}: {strict:?}, {repaired:?}"),
        }
    }
    let missing: Vec<_> = reader::documented().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty() && reader::documented().count() >= 14, "{missing:?}");
}
