//! `porchlight geo synth`: a nation that was never there, and points whose owner is known. Holds one town at a time.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use porchlight_geofence::geojson;
use porchlight_synth::Nation;

use super::{BUFFER, Failure, Stop};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// How many towns.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    polygons: u32,
    /// About how many vertices each town has: a multiple of four, and fewer where towns are tiny.
    #[arg(long, value_name = "V", default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    vertices: u32,
    /// Another seed, another nation.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Write points with their owner to this file, as CSV: `lon_e7,lat_e7,owner`. Half of them lie near a border, on it,
    /// or in a vertex of it. One that nobody owns has an empty owner.
    #[arg(long, value_name = "FILE", requires = "count")]
    points: Option<PathBuf>,
    /// How many points.
    #[arg(long, value_name = "M", requires = "points")]
    count: Option<u64>,
}

pub(super) fn run(args: &Args, out: &mut dyn io::Write) -> Result<(), Stop> {
    let nation = Nation::new(args.seed, args.polygons, args.vertices);
    if let (Some(file), Some(count)) = (&args.points, args.count) {
        write_points(&nation, file, count)
            .map_err(|e| Failure::Failed(format!("{} cannot be written: {e}", file.display())))?;
    }
    out.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[\n")?;
    for town in 0..nation.towns() {
        let geometry = geojson::write(&nation.town(town));
        // By hand: in an object of serde_json's, what the feature is would come after all its coordinates.
        let feature = format_args!(
            "{{\"type\":\"Feature\",\"id\":{town},\"properties\":{{\"name\":\"Town {town}\"}},\"geometry\":{geometry}}}"
        );
        let end = if town + 1 == nation.towns() { "\n" } else { ",\n" };
        write!(out, "{feature}{end}")?;
    }
    Ok(out.write_all(b"]}\n")?)
}

fn write_points(nation: &Nation, file: &Path, count: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, File::create(file)?);
    writeln!(out, "lon_e7,lat_e7,owner")?;
    for n in 0..count {
        let (point, owner) = nation.point(n);
        let owner = owner.map(|town| town.to_string()).unwrap_or_default();
        writeln!(out, "{},{},{owner}", point.x, point.y)?;
    }
    out.flush()
}
