//! `porchlight geo bench`: what the index of a file costs on this machine, and what it does.

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use porchlight_geofence::{GeofenceIndex, Owners, Point, geojson::Feature};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{Failure, MAX_INDEXED_BYTES, Repair, features, grouped, index, read_bounded};

/// As `porchlight geo locate` asks.
const BATCH: usize = 4096;
/// Each way is measured so often, and the best counts: whatever else runs here only ever makes it slower.
const ROUNDS: usize = 3;

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// A FeatureCollection or Feature of Polygons and MultiPolygons (RFC 7946).
    file: PathBuf,
    /// How many points are looked up, at random places in the file's bounding box.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    points: u32,
    /// Another seed, other points.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Accept what would be refused, by giving it a meaning.
    #[arg(long, value_enum)]
    repair: Option<Repair>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let json = read_bounded(&args.file, MAX_INDEXED_BYTES)?;
    let read = Instant::now();
    let features = features(&args.file, &json, args.repair)?;
    let read = read.elapsed();
    drop(json);
    let Some((low, high)) = bounds(&features) else {
        return Err(Failure::Failed(format!("{} has no polygons", args.file.display())));
    };
    let built = Instant::now();
    let index = index(features);
    let built = built.elapsed();

    let mut random = StdRng::seed_from_u64(args.seed);
    let mut points: Vec<Point> = (0..args.points)
        .map(|_| Point { x: random.random_range(low.x..=high.x), y: random.random_range(low.y..=high.y) })
        .collect();
    let batches = measure(|| in_batches(&index, &points));
    let singly = measure(|| one_at_a_time(&index, &points));
    points.sort_unstable_by_key(|point| along_curve(*point));
    let sorted = measure(|| in_batches(&index, &points));
    let owners = batches.owners;
    if [singly.owners, sorted.owners] != [owners; 2] {
        return Err(Failure::Failed("the ways to ask do not agree with each other: this is a defect".to_owned()));
    }

    let rate = |measured: &Measured| f64::from(args.points) / measured.best.as_secs_f64() / 1e6;
    let stats = index.stats();
    let unoptimized = if cfg!(debug_assertions) { "\nThis is a debug build: a release build is faster.\n" } else { "" };
    Ok(format!(
        "neighborhoods     {}\nvertices          {}\nread and checked  {}\nbuilt             {}\n\
         index memory      {}\ngeometry memory   {}\n\n\
         {} random points, {} owners; million points a second, one thread, best of {ROUNDS}:\n  \
         in batches        {:.2}\n  one at a time     {:.2}\n  sorted on a curve {:.2}   in batches\n{unoptimized}",
        grouped(stats.neighborhoods),
        grouped(stats.vertices),
        seconds(read),
        seconds(built),
        mebibytes(index.memory_bytes()),
        mebibytes(index.geometry_bytes()),
        grouped(points.len()),
        grouped(owners),
        rate(&batches),
        rate(&singly),
        rate(&sorted),
    ))
}

/// South-west and north-east.
fn bounds(features: &[Feature]) -> Option<(Point, Point)> {
    let mut vertices = features.iter().flat_map(|feature| feature.geometry.parts.iter().flatten().flatten());
    let first = *vertices.next()?;
    Some(vertices.fold((first, first), |(low, high), p| {
        (Point { x: low.x.min(p.x), y: low.y.min(p.y) }, Point { x: high.x.max(p.x), y: high.y.max(p.y) })
    }))
}

struct Measured {
    best: Duration,
    /// How many owners all points had together.
    owners: usize,
}

fn measure(ask: impl Fn() -> usize) -> Measured {
    let mut measured = Measured { best: Duration::MAX, owners: 0 };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        measured.owners = black_box(ask());
        measured.best = measured.best.min(start.elapsed());
    }
    measured
}

fn in_batches(index: &GeofenceIndex, points: &[Point]) -> usize {
    let mut owners = Owners::default();
    let ask = |points: &[Point]| {
        index.locate_batch(points, &mut owners);
        (0..points.len()).map(|n| owners.of(n).len()).sum::<usize>()
    };
    points.chunks(BATCH).map(ask).sum()
}

fn one_at_a_time(index: &GeofenceIndex, points: &[Point]) -> usize {
    points.iter().map(|point| index.locate(*point).count()).sum()
}

/// Z-order: what is near on the ground is mostly near in the list.
pub(super) fn along_curve(point: Point) -> u64 {
    // Moved so that the south-west of the globe comes first.
    let offset = |v: i32| u64::from(v.cast_unsigned() ^ 1 << 31);
    let spread = |v: u64| {
        [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f)]
            .into_iter()
            .chain([(2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)])
            .fold(v, |v, (by, mask): (u32, u64)| (v | v << by) & mask)
    };
    spread(offset(point.x)) | spread(offset(point.y)) << 1
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
