//! `porchlight geo`: the polygons of a file without any server: checked, drawn, asked, measured, and made up.

mod bench;
mod check;
mod drawing;
mod labels;
mod locate;
mod outline;
mod synth;

use std::{
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use clap::Subcommand;
use porchlight_geofence::{
    GeofenceIndex, Neighborhood,
    geojson::{self, Feature, MAX_FINDINGS, Options},
};

use super::{
    Failure,
    neighborhoods::{Repair, read_bounded},
    output::progress,
};

/// The largest file that is checked: what can be imported.
const MAX_CHECKED_BYTES: u64 = super::neighborhoods::MAX_FILE_BYTES;
/// The largest file that is asked or measured.
const MAX_INDEXED_BYTES: u64 = 4 << 30;
/// How many findings are told where they are not what was asked for.
const MAX_TOLD: usize = 5;
/// What is gathered before it is written.
const BUFFER: usize = 1 << 16;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Say what an import would say of a GeoJSON file, and where; draw it with the bad places marked.
    ///
    /// Exit code 0 if it is accepted, 1 if it is refused.
    #[command(after_help = "Examples:\n  porchlight geo check towns.geojson\n  \
        porchlight geo check towns.geojson --svg towns.svg       # look at it in any browser\n  \
        porchlight geo check towns.geojson --repair even-odd     # would it pass like this?")]
    Check(check::Args),
    /// Tell of each point on standard input which features own it: one line in, one line out.
    ///
    /// A line in is `lon,lat`; a first line that says `lon,lat` is skipped. A line out has the ids of the features that
    /// own the point, separated by `;`: a feature's own id, else its place in the file, counted from 0. It is empty if
    /// nobody owns the point. The first line that is no point ends it, with exit code 1.
    #[command(
        after_help = "Examples:\n  echo -71.0589,42.3601 | porchlight geo locate boston.geojson --id-property name\n  \
        porchlight geo locate towns.geojson --id-property TOWN < cameras.csv > owners\n  \
        tail -n +2 points.csv | cut -d, -f1,2 | porchlight geo locate nation.geojson --e7"
    )]
    Locate(locate::Args),
    /// Build the index of a file and measure it on this machine: time, memory, points a second.
    #[command(after_help = "Examples:\n  porchlight geo bench towns.geojson\n  \
        porchlight geo synth --polygons 100000 > nation.geojson && porchlight geo bench nation.geojson --points 5000000")]
    Bench(bench::Args),
    /// Make up a nation of towns that share their borders, and points whose owner is known without asking an index.
    ///
    /// GeoJSON goes to standard output, one feature a line; its ids count from 0. The same seed gives the same nation.
    #[command(after_help = "Examples:\n  porchlight geo synth --polygons 300 > nation.geojson\n  \
        porchlight geo synth --polygons 300 --points points.csv --count 3000 > nation.geojson\n  \
        tail -n +2 points.csv | cut -d, -f1,2 | porchlight geo locate nation.geojson --e7 > found\n  \
        tail -n +2 points.csv | cut -d, -f3 | diff - found && echo every point has its owner")]
    Synth(synth::Args),
}

pub(super) fn run(command: Command) -> Result<String, Failure> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::Locate(args) => to_stdout(|out| locate::run(&args, &mut io::stdin().lock(), out)),
        Command::Bench(args) => bench::run(&args),
        Command::Synth(args) => to_stdout(|out| synth::run(&args, out)),
    }
}

/// Why results stopped to flow.
#[derive(Debug)]
enum Stop {
    /// They could not be written.
    Unwritten(io::Error),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

/// For results that are too many to be held until all is done. Whoever closed the other end has what they wanted.
fn to_stdout(command: impl FnOnce(&mut dyn io::Write) -> Result<(), Stop>) -> Result<String, Failure> {
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let done = command(&mut out);
    // What came before a failure is good.
    let flushed = out.flush().map_err(Stop::Unwritten);
    match done.and(flushed) {
        Ok(()) => Ok(String::new()),
        Err(Stop::Unwritten(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(String::new()),
        Err(Stop::Unwritten(e)) => Err(Failure::Failed(format!("the results cannot be written: {e}"))),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

fn options(repair: Option<Repair>) -> Options {
    Options { repair_even_odd: repair == Some(Repair::EvenOdd), ..Options::default() }
}

/// The features of a file that is to be asked. Nobody uploads it, so that no number of vertices is too many.
fn features(file: &Path, json: &[u8], repair: Option<Repair>) -> Result<Vec<Feature>, Failure> {
    let options = Options { max_vertices: usize::MAX, ..options(repair) };
    geojson::read(json, options).map_err(|findings| {
        for finding in findings.iter().take(MAX_TOLD) {
            progress(&format!("{}: {} ({})", finding.pointer, finding.message, finding.code));
        }
        let is_crossing = |code| ["ring_crosses_itself", "rings_cross"].contains(&code);
        let hint = match repair {
            None if findings.iter().all(|f| is_crossing(f.code)) => "; `--repair even-odd` would take what crosses",
            None | Some(Repair::EvenOdd) => "",
        };
        let (file, many) = (file.display(), findings.len());
        let at_least = if many == MAX_FINDINGS { "at least " } else { "" };
        Failure::Failed(format!(
            "{file} is refused ({at_least}{many} findings): see `porchlight geo check {file}`{hint}"
        ))
    })
}

/// Numbered as they stand in the file: whatever their ids are, none replaces another.
fn index(features: Vec<Feature>) -> GeofenceIndex {
    let numbered = features.into_iter().zip(0..);
    let neighborhoods: Vec<_> =
        numbered.map(|(feature, id)| Neighborhood { id, geometry: Arc::new(feature.geometry) }).collect();
    GeofenceIndex::build(&neighborhoods)
}

/// What a file says must not move the cursor of whoever reads it.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// 1234567 as 1,234,567.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
