//! `porchlight geo locate`: whose are these points? Holds one batch of them at a time, however many come.

use std::{
    io::{self, BufRead, Read as _},
    path::PathBuf,
};

use porchlight_geofence::{GeofenceIndex, Owners, Point};

use super::{Failure, MAX_INDEXED_BYTES, Repair, Stop, features, index, labels, printable, read_bounded};

/// No point needs a longer line; who sends no line end at all must not fill the memory.
const MAX_LINE: usize = 256;
/// What the first line may be instead of a point.
const HEADERS: [&str; 2] = ["lon,lat", "lon_e7,lat_e7"];
/// How much of a bad line is shown.
const SHOWN: usize = 60;

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// A FeatureCollection or Feature of Polygons and MultiPolygons (RFC 7946).
    file: PathBuf,
    /// The points are whole numbers of 1e-7 degree, not degrees.
    #[arg(long)]
    e7: bool,
    /// How many points are looked up together. Answers come when so many are there, or when the input ends.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// The property that holds a feature's id; else the feature's own `id`, else its place in the file.
    #[arg(long, value_name = "PROPERTY")]
    id_property: Option<String>,
    /// Accept what would be refused, by giving it a meaning.
    #[arg(long, value_enum)]
    repair: Option<Repair>,
}

pub(super) fn run(args: &Args, input: &mut dyn BufRead, out: &mut dyn io::Write) -> Result<(), Stop> {
    let (index, labels) = open(args)?;
    let mut lines = Lines { input, number: 0, line: Vec::new() };
    let most = args.batch as usize;
    let (mut points, mut owners) = (Vec::with_capacity(most), Owners::default());
    loop {
        points.clear();
        let read = fill(&mut points, most, &mut lines, args.e7);
        index.locate_batch(&points, &mut owners);
        for n in 0..points.len() {
            write_owners(out, owners.of(n).iter().map(|ix| labels[ix.0 as usize].as_str()))?;
        }
        // Whoever feeds it line by line waits for the answer.
        out.flush()?;
        if read?.is_end() {
            return Ok(());
        }
    }
}

/// The index, and the labels by place in it.
fn open(args: &Args) -> Result<(GeofenceIndex, Vec<String>), Failure> {
    let json = read_bounded(&args.file, MAX_INDEXED_BYTES)?;
    let features = features(&args.file, &json, args.repair)?;
    let labels = match &args.id_property {
        Some(property) => labels::by_property(&json, property, features.len()),
        None => labels::own(&features),
    };
    let labels = labels.map_err(|why| Failure::Failed(format!("{}: {why}", args.file.display())))?;
    drop(json);
    let index = index(features);
    let mut by_place = vec![String::new(); labels.len()];
    for (id, label) in (0..).zip(labels) {
        if let Some(ix) = index.find(id) {
            by_place[ix.0 as usize] = label;
        }
    }
    Ok((index, by_place))
}

/// Each label once: by a property, several features may have one.
fn write_owners<'a>(out: &mut dyn io::Write, labels: impl Iterator<Item = &'a str> + Clone) -> io::Result<()> {
    for (n, label) in labels.clone().enumerate() {
        if labels.clone().take(n).any(|before| before == label) {
            continue;
        }
        if n > 0 {
            out.write_all(b";")?;
        }
        out.write_all(label.as_bytes())?;
    }
    out.write_all(b"\n")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filled {
    Whole,
    End,
}

impl Filled {
    fn is_end(self) -> bool {
        self == Self::End
    }
}

/// Reads points until there are `most`. After a failure those before it are in `points`.
fn fill(points: &mut Vec<Point>, most: usize, lines: &mut Lines<'_>, e7: bool) -> Result<Filled, Failure> {
    while points.len() < most {
        let number = lines.number + 1;
        let Some(line) = lines.next()? else {
            return Ok(Filled::End);
        };
        if number == 1 && HEADERS.iter().any(|header| line.eq_ignore_ascii_case(header)) {
            continue;
        }
        let point = point(line, e7).map_err(|why| Failure::Failed(format!("line {number} of the input: {why}")))?;
        points.push(point);
    }
    Ok(Filled::Whole)
}

/// Lines of bounded length.
struct Lines<'a> {
    input: &'a mut dyn BufRead,
    /// Of the line that was read last, from 1.
    number: u64,
    line: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<&str>, Failure> {
        self.line.clear();
        self.number += 1;
        let failed =
            |what: &dyn std::fmt::Display| Failure::Failed(format!("line {} of the input: {what}", self.number));
        let bound = MAX_LINE as u64 + 1;
        (&mut *self.input).take(bound).read_until(b'\n', &mut self.line).map_err(|e| failed(&e))?;
        if self.line.len() > MAX_LINE {
            return Err(failed(&format!("it has more than {MAX_LINE} bytes, which no point needs")));
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        let line = std::str::from_utf8(&self.line).map_err(|_| failed(&"it is no text (UTF-8)"))?;
        // Some programs begin a file of text with a mark of its byte order.
        let line = if self.number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        Ok(Some(line.trim()))
    }
}

fn point(line: &str, e7: bool) -> Result<Point, String> {
    let parsed = line.split_once(',').and_then(|(lon, lat)| {
        let (lon, lat) = (lon.trim(), lat.trim());
        if e7 { Some((whole(lon)?, whole(lat)?)) } else { Some((degrees(lon)?, degrees(lat)?)) }
    });
    let Some((x, y)) = parsed else {
        let form = if e7 { "`lon,lat` in whole numbers of 1e-7 degree" } else { "`lon,lat` in degrees" };
        return Err(format!("`{}` is not {form}", shown(line)));
    };
    if x.abs() <= 180.0 && y.abs() <= 90.0 {
        // As the reader of GeoJSON does: a point that is a vertex in the file must be that vertex here.
        return Ok(Point { x: snap(x), y: snap(y) });
    }
    let hint =
        if !e7 && x.fract() == 0.0 && y.fract() == 0.0 { "; whole numbers of 1e-7 degree need --e7" } else { "" };
    let bounds = "a longitude lies from -180 to 180 degrees, a latitude from -90 to 90";
    Err(format!("`{}` is not on the globe: {bounds}{hint}", shown(line)))
}

fn shown(line: &str) -> String {
    printable(&line.chars().take(SHOWN).collect::<String>())
}

/// Infinity parses, and is not on the globe; what is no number is none.
fn degrees(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

/// As degrees, from which [`snap`] comes back to the same number: seven places are far from what a double can tell.
fn whole(text: &str) -> Option<f64> {
    text.parse().ok().map(|number: i64| number as f64 / 1e7)
}

#[allow(clippy::cast_possible_truncation)] // the range was checked
fn snap(degrees: f64) -> i32 {
    (degrees * 1e7).round() as i32
}
