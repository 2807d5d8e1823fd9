//! `porchlight neighborhoods`: polygons from a file, over the gateway's API like anybody's.

mod file;
mod upload;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt as _;

use super::{Failure, output::progress};
use crate::client::Client;
use file::{Feature, Properties};
use upload::{Outcome, upload};

/// How many are sent side by side.
const SIDE_BY_SIDE: usize = 8;
/// The largest file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;
/// How many failures are told one by one.
const MAX_TOLD: usize = 20;
/// How many are sent between two lines of progress.
const PROGRESS_EVERY: usize = 50;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Draw the neighborhoods of a GeoJSON file, or redraw those that have changed. Doing it twice is doing it once.
    ///
    /// Every feature of the file is checked first; if one is refused, nothing is sent.
    #[command(after_help = "Examples:\n  porchlight neighborhoods import boston.geojson --dry-run\n  \
        porchlight neighborhoods import boston.geojson --gateway https://api.example.org --token-file token\n  \
        porchlight neighborhoods import towns.geojson --id-property TOWN_ID --name-property TOWN ...")]
    Import(Import),
}

#[derive(Args, Debug)]
pub(super) struct Import {
    /// A FeatureCollection or Feature of Polygons and MultiPolygons (RFC 7946).
    file: PathBuf,
    /// Where the gateway is.
    #[arg(long, value_name = "URL", required_unless_present = "dry_run")]
    gateway: Option<String>,
    /// Holds an operator's access token.
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    token_file: Option<PathBuf>,
    /// The property that holds a feature's id; else the feature's own `id`, else its name. An id that is no UUID is made
    /// one, together with the file's name: keep both.
    #[arg(long, value_name = "PROPERTY")]
    id_property: Option<String>,
    /// The property that holds what people call it.
    #[arg(long, value_name = "PROPERTY", default_value = "name")]
    name_property: String,
    /// Accept what would be refused, by giving it a meaning.
    #[arg(long, value_enum)]
    repair: Option<Repair>,
    /// Check the file and send nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Repair {
    /// Rings that cross themselves or each other: inside is what an odd number of them encloses.
    EvenOdd,
}

pub(super) async fn run(command: Command) -> Result<String, Failure> {
    let Command::Import(import) = command;
    let features = read(&import)?;
    for (feature, notice) in features.iter().flat_map(|f| f.notices.iter().map(move |notice| (f, notice))) {
        progress(&format!("{}: {notice}", feature.name));
    }
    let (Some(gateway), Some(token_file), false) = (&import.gateway, &import.token_file, import.dry_run) else {
        let vertices: usize = features.iter().map(|feature| feature.geometry.vertices()).sum();
        return Ok(format!("{} neighborhoods, {vertices} vertices: all right. Nothing was sent.\n", features.len()));
    };
    let client = client(gateway, token_file)?;
    send(&client, &features, import.repair.is_some()).await
}

fn read(import: &Import) -> Result<Vec<Feature>, Failure> {
    let path = &import.file;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let properties = Properties { id: import.id_property.as_deref(), name: &import.name_property };
    let json = read_bounded(path, MAX_FILE_BYTES)?;
    file::read(&json, stem, properties, import.repair == Some(Repair::EvenOdd)).map_err(|findings| {
        findings.iter().for_each(|finding| progress(finding));
        Failure::Failed(format!("{} is refused ({} findings): nothing was sent", path.display(), findings.len()))
    })
}

fn client(gateway: &str, token_file: &Path) -> Result<Client, Failure> {
    if !gateway.starts_with("https://") && !gateway.starts_with("http://") {
        return Err(Failure::Usage(format!("--gateway {gateway} is no http or https URL")));
    }
    let token = String::from_utf8(read_bounded(token_file, 64 << 10)?).unwrap_or_default();
    if token.trim().is_empty() {
        return Err(Failure::Usage(format!("{} holds no token", token_file.display())));
    }
    let http = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| Failure::Failed(format!("no HTTP client: {e}")))?;
    Ok(Client::new(&http, gateway.trim_end_matches('/'), token.trim()))
}

pub(super) fn read_bounded(path: &Path, bound: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let unreadable = |e| Failure::Usage(format!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(bound + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bound {
        return Err(Failure::Usage(format!("{} has more than {bound} bytes", path.display())));
    }
    Ok(bytes)
}

async fn send(client: &Client, features: &[Feature], repair: bool) -> Result<String, Failure> {
    let (mut created, mut updated, mut unchanged, mut failures) = (0, 0, 0, Vec::new());
    let mut sent = futures::stream::iter(features)
        .map(|feature| async move { (feature, upload(client, feature, repair).await) })
        .buffer_unordered(SIDE_BY_SIDE);
    let mut done = 0;
    while let Some((feature, outcome)) = sent.next().await {
        match outcome {
            Outcome::Created => created += 1,
            Outcome::Updated => updated += 1,
            Outcome::Unchanged => unchanged += 1,
            Outcome::Failed(why) => failures.push(format!("{} ({}): {why}", feature.name, feature.id)),
            Outcome::NotAllowed(why) => {
                return Err(Failure::Failed(format!("the gateway refuses the token: {why}\nuse an operator's token")));
            }
        }
        done += 1;
        if done % PROGRESS_EVERY == 0 || done == features.len() {
            progress(&format!("{done} of {}", features.len()));
        }
    }
    failures.iter().take(MAX_TOLD).for_each(|failure| progress(failure));
    let failed = failures.len();
    let summary = format!(
        "{} neighborhoods: {created} created, {updated} updated, {unchanged} unchanged, {failed} failed",
        features.len()
    );
    match failed {
        0 => Ok(summary + "\n"),
        _ => Err(Failure::Failed(summary + "\nwhat failed can be tried again with the same command")),
    }
}

#[cfg(test)]
mod tests;
