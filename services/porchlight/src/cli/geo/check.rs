//! `porchlight geo check`: what the reader of neighborhoods says of a file, for a person.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use porchlight_geofence::geojson::{self, Finding, MAX_FINDINGS, Options};
use serde_json::Value;

use super::{
    Failure, MAX_CHECKED_BYTES, Repair,
    drawing::{self, Mark},
    grouped, options,
    outline::{self, Position, Tally},
    printable, read_bounded,
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// A FeatureCollection or Feature of Polygons and MultiPolygons (RFC 7946).
    file: PathBuf,
    /// Accept what would be refused, by giving it a meaning.
    #[arg(long, value_enum)]
    repair: Option<Repair>,
    /// The most vertices of one feature.
    #[arg(long, value_name = "N", default_value_t = Options::default().max_vertices)]
    max_vertices: usize,
    /// Draw the file, each feature in its color and each bad place with its number, even if the file is refused.
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let json = read_bounded(&args.file, MAX_CHECKED_BYTES)?;
    let read = geojson::read(&json, Options { max_vertices: args.max_vertices, ..options(args.repair) });
    let accepted = read.is_ok();
    let findings = match read {
        Ok(features) => features.into_iter().flat_map(|feature| feature.notices).collect(),
        Err(findings) => findings,
    };
    // What is no JSON has a finding that says so, and nothing to draw.
    let document: Value = serde_json::from_slice(&json).unwrap_or_default();
    drop(json);
    let (outlines, tally) = outline::read(&document);
    if let Some(out) = &args.svg {
        if is_same(out, &args.file) {
            return Err(Failure::Usage(format!("--svg {} would replace the file that is checked", out.display())));
        }
        let svg = drawing::svg(&args.file.to_string_lossy(), &outlines, &marks(&findings, &document));
        std::fs::write(out, svg).map_err(|e| Failure::Usage(format!("{} cannot be written: {e}", out.display())))?;
    }
    let mut report = told(&findings, &document);
    report += &summary(&args.file, accepted, &findings, &tally);
    if accepted { Ok(report) } else { Err(Failure::Found(report)) }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn marks(findings: &[Finding], document: &Value) -> Vec<Mark> {
    let mark = |(finding, n): (&Finding, usize)| Mark {
        label: format!("{n} {}", finding.code),
        at: finding.at.or_else(|| outline::place_at(document, &finding.pointer)),
    };
    findings.iter().zip(1..).take(MAX_FINDINGS).map(mark).collect()
}

fn told(findings: &[Finding], document: &Value) -> String {
    let mut text = String::new();
    for (finding, n) in findings.iter().zip(1..).take(MAX_FINDINGS) {
        let name = printable(&outline::name_at(document, &finding.pointer));
        let place = finding.at.map(|at| format!(" at {}", lat_lon(at))).unwrap_or_default();
        let pointer = if finding.pointer.is_empty() { "the whole document" } else { &finding.pointer };
        // A string can always be written to.
        let _ = writeln!(text, "{n:>3}  {name}: {}", printable(&finding.message));
        let _ = writeln!(text, "     {}{place}, {pointer}", finding.code);
    }
    match findings.len().saturating_sub(MAX_FINDINGS) {
        0 => {}
        more => text += &format!("     and {} more\n", grouped(more)),
    }
    text
}

/// As maps take it: latitude first. Seven places are all that counts.
fn lat_lon((lon, lat): Position) -> String {
    let degrees = |v: f64| {
        let text = if v.abs() < 1e4 { format!("{v:.7}") } else { return format!("{v:e}") };
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    };
    format!("{},{}", degrees(lat), degrees(lon))
}

fn summary(file: &Path, accepted: bool, findings: &[Finding], tally: &Tally) -> String {
    let verdict = match (accepted, findings.len()) {
        (true, _) => "accepted".to_owned(),
        // The reader looks for no more.
        (false, MAX_FINDINGS) => format!("refused ({MAX_FINDINGS} findings, perhaps more)"),
        (false, 1) => "refused (1 finding)".to_owned(),
        (false, many) => format!("refused ({many} findings)"),
    };
    let repaired = findings.iter().filter(|finding| accepted && finding.code == "repaired_even_odd").count();
    let by = match tally.moved_metres * 1e3 {
        _ if tally.moved == 0 => String::new(),
        // What decimal fractions are in binary, and no more.
        hair if hair < 0.1 => " by less than 0.1 mm".to_owned(),
        most => format!(" by up to {most:.1} mm"),
    };
    format!(
        "{} is {verdict}: {}, {}, {}, {}; snapped to 1e-7 degree: {} moved{by}; dropped: {}, {}; repaired: {}\n",
        printable(&file.to_string_lossy()),
        count(tally.features, "feature", "features"),
        count(tally.parts, "part", "parts"),
        count(tally.holes, "hole", "holes"),
        count(tally.vertices, "vertex", "vertices"),
        count(tally.moved, "vertex", "vertices"),
        count(tally.third_ordinates, "third ordinate", "third ordinates"),
        count(tally.repeated, "repeated vertex", "repeated vertices"),
        count(repaired, "part", "parts"),
    )
}

fn count(n: usize, one: &str, several: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { several })
}
