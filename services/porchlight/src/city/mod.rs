//! `porchlight city`: a whole neighborhood-watch network on this machine, with people in it.
//!
//! What starts things ([`founding`], [`crate::deployment`]) knows nothing of what lives in them ([`people`], [`life`]),
//! and neither knows who judges ([`witness`]) or draws ([`screen`]).

pub mod founding;
mod gauges;
pub mod life;
pub mod people;
mod picture;
mod reads;
mod screen;
mod stage;
pub mod witness;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use porchlight_standins::servers::Servers;
use porchlight_synth::{BOSTON, Evening, MASSACHUSETTS, Settlement, Town, towns};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::deployment::{Service, unique_name};
use founding::City;
use stage::Stage;

/// The towns in which people of the city live: near each other, so that neighbors hear of each other.
const LIVED_IN: [&str; 8] = ["Malden", "Medford", "Everett", "Melrose", "Quincy", "Milton", "Somerville", "Chelsea"];

/// A whole network on this machine: real Kafka, Cassandra and S3 server, one process per service, and people who live in
/// it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  porchlight city                                  300 homes, 10 events a second, until Ctrl-C
  porchlight city --rate 50 --homes 2000 --seed 7  a busier one, the same every time
  porchlight city --no-traffic --data /tmp/city --ready-file /tmp/city/ready.json
                                                   nothing lives in it: for your own apps and tests

The ready file names `ingest`, `gateway`, `issuer`, `push_log` (and `push_subscriptions`, where a phone is made).
  curl -X POST ISSUER/token -d '{\"subject\":\"alice\",\"scopes\":[]}' -H 'content-type: application/json'
  curl PUSH_LOG                                    what the phones got, decrypted

It is for trying, developing and testing: its issuer mints any token that anybody asks for.")]
pub struct Args {
    /// Events a second, from all cameras together.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
    /// How many households move in.
    #[arg(long, default_value_t = 300, value_name = "N")]
    homes: usize,
    /// The same seed makes the same city.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Start everything, but let nobody live in it: no polygons, no people, no events.
    #[arg(long)]
    no_traffic: bool,
    /// Where servers and services keep their data, configuration and logs. A city wakes up again from it.
    #[arg(long, default_value = ".dev/run/city", value_name = "DIR")]
    data: PathBuf,
    /// Write the base URLs into this file (JSON) once everything is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Use the servers that `porchlight servers up --dir DIR` started, instead of own ones.
    #[arg(long, value_name = "DIR")]
    servers: Option<PathBuf>,
    /// End by itself after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

/// Runs a city until Ctrl-C (or SIGTERM), then drains it.
///
/// # Errors
/// A sentence: what could not be started, what did not drain, or what the oracle found.
pub async fn run(args: Args) -> Result<(), String> {
    std::fs::create_dir_all(&args.data).map_err(|e| format!("cannot make {}: {e}", args.data.display()))?;
    // Relative paths would mean another place to each process that is told one.
    let data = args.data.canonicalize().map_err(|e| e.to_string())?;
    let stop = stop_on_signal();
    let servers_dir = args.servers.clone().unwrap_or_else(|| data.join("servers"));
    let owns_servers = args.servers.is_none();

    let lived = tokio::select! {
        lived = live_in(&args, &data, &servers_dir, owns_servers, stop.clone()) => lived,
        () = impatient(stop.clone()) => Err("stopped before it was ready".into()),
    };
    if owns_servers {
        say("stopping the servers");
        let dir = servers_dir.clone();
        blocking(move || Servers::down(&dir)).await?;
    }
    lived
}

async fn live_in(
    args: &Args,
    data: &Path,
    servers_dir: &Path,
    owns_servers: bool,
    stop: CancellationToken,
) -> Result<(), String> {
    let dir = servers_dir.to_owned();
    let servers = if owns_servers {
        say("starting Kafka, Cassandra and the S3 server");
        blocking(move || Servers::up(&dir, &|line| say(line))).await?
    } else {
        blocking(move || Servers::attach(&dir)).await?
    };
    let city = City::found(&data.join("services"), &name_of(data)?, servers, |_| 1, &|line| say(line)).await?;
    if let Some(file) = &args.ready_file {
        write_ready(file, &city)?;
    }
    if args.no_traffic {
        say("ready; nothing lives here. Ctrl-C ends it");
        wait(args, &stop).await;
        say("draining");
        return city.deployment.stop().await;
    }
    let (settlement, drawn) = populate(args, &city).await?;
    let mut stage = Stage::new(city, settlement, drawn, args.seed);
    let about = format!(
        "{} homes, {} cameras, {} neighborhoods, seed {}",
        args.homes,
        stage.cameras(),
        stage.neighborhoods(),
        args.seed
    );
    let evening = Evening::new(args.seed, stage.cameras());
    stage.live(evening, args.rate, &about, args.seconds.map(Duration::from_secs), stop).await?;
    stage.end().await
}

/// Draws the polygons and lets the people move in.
async fn populate(args: &Args, city: &City) -> Result<(Vec<people::Resident>, Vec<(uuid::Uuid, Town)>), String> {
    let all: Vec<Town> = towns(MASSACHUSETTS).into_iter().chain(towns(BOSTON)).collect();
    let begun = Instant::now();
    let drawn = city.draw(&all, |n| progress("drawing neighborhoods", n, all.len())).await?;
    let lived_in: Vec<Town> = all.iter().filter(|t| LIVED_IN.contains(&t.name.as_str())).cloned().collect();
    let settlement = Settlement::new(args.seed, args.homes, &lived_in);
    let total = settlement.households.len();
    let residents =
        city.hall.settle_all(&settlement.households, |n| progress("households moving in", n, total)).await?;
    say(&format!("populated in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok((residents, drawn.into_iter().map(|(id, _)| id).zip(all).collect()))
}

/// A city wakes up under the name it was founded with: of its topics and keyspace.
fn name_of(data: &Path) -> Result<String, String> {
    let file = data.join("name");
    if let Ok(name) = std::fs::read_to_string(&file) {
        return Ok(name.trim().to_owned());
    }
    let name = unique_name("city");
    std::fs::write(&file, &name).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(name)
}

fn write_ready(file: &Path, city: &City) -> Result<(), String> {
    let ready = json!({
        "ingest": city.deployment.api(Service::Ingest, 0),
        "gateway": city.deployment.api(Service::Gateway, 0),
        "issuer": city.issuer.url(),
        "push_log": format!("{}/log", city.phones.url()),
        "push_subscriptions": format!("{}/subscriptions", city.phones.url()),
    });
    // Whoever waits for the file must never read half of it.
    let beside = file.with_extension("tmp");
    let written = std::fs::write(&beside, format!("{ready:#}\n")).and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|e| format!("cannot write {}: {e}", file.display()))
}

async fn wait(args: &Args, stop: &CancellationToken) {
    match args.seconds {
        Some(seconds) => tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        },
        None => stop.cancelled().await,
    }
}

/// The first signal asks for a drain; this gives up on it.
async fn impatient(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(90)).await;
}

fn stop_on_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stop.cancel();
    });
    token
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
}

/// One line of progress, on standard error: standard output is the screen's.
#[allow(clippy::print_stderr)] // a command line speaks to its user
fn say(line: &str) {
    eprintln!("city: {line}");
}

/// Progress of many small steps: some twenty lines, whatever their number.
fn progress(what: &str, n: usize, of: usize) {
    if n == of || n.is_multiple_of((of / 20).max(1)) {
        say(&format!("{what}: {n} of {of}"));
    }
}
