//! `porchlight city`: a whole neighborhood-watch network on this machine, with people in it.
//!
//! What starts things ([`founding`], [`crate::deployment`]) knows nothing of what lives in them ([`people`], [`life`]),
//! and neither knows who judges ([`witness`]) or draws ([`screen`]). It stands on servers that are in this process
//! ([`embedded`]) or on real ones; what it keeps is in one [`folder`].

pub mod embedded;
mod folder;
pub mod founding;
mod gauges;
pub mod life;
mod own;
pub mod people;
mod picture;
mod reads;
mod screen;
mod stage;
mod telling;
pub mod web;
pub mod witness;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use porchlight_standins::servers::Servers;
use porchlight_synth::{BOSTON, Evening, MASSACHUSETTS, Settlement, Town, towns};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::deployment::{Service, Settings};
use embedded::Embedded;
use folder::{Folder, Ground};
use founding::City;
use life::Pace;
use stage::Stage;
use web::{Scene, Web};

/// What the page calls it.
const NAME: &str = "City";
/// The towns in which people of the city live: near each other, so that neighbors hear of each other.
const LIVED_IN: [&str; 8] = ["Malden", "Medford", "Everett", "Melrose", "Quincy", "Milton", "Somerville", "Chelsea"];

/// A whole network on this machine, with people who live in it: in this one process, or on real servers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  porchlight city                                  300 homes, 10 events a second, until Ctrl-C
  porchlight city --rate 50 --homes 2000 --seed 7  a busier one, the same every time
  porchlight city --speed 60                       a day goes by in 24 minutes: quiet nights, busy evenings
  porchlight city --no-traffic --data /tmp/city --ready-file /tmp/city.json
                                                   nothing lives in it: for your own apps and tests
  porchlight city --real                           on a Kafka, a Cassandra and an S3 server, a process per service

The ready file names `ingest`, `gateway`, `issuer`, `push_log` (and `push_subscriptions`, where a phone is made).
  curl -X POST ISSUER/token -d '{\"subject\":\"alice\",\"scopes\":[]}' -H 'content-type: application/json'
  curl PUSH_LOG                                    what the phones got, decrypted

It is for trying, developing and testing, and not for people: its issuer mints any token that anybody asks for, and
everything is on one disk, once. The way to servers of your own:
  make city REAL=1                                 the same city on real servers, started for it
  make up                                          those servers alone; `eval` what it prints
  porchlight-gateway --print-default-config        each service on yours: a file is all it takes")]
pub struct Args {
    /// Events a second, from all cameras together; with --speed on average.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
    /// How many households move in.
    #[arg(long, default_value_t = 300, value_name = "N")]
    homes: usize,
    /// The same seed makes the same city.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Let days go by, so many times as fast as real ones: how much happens follows the hour. Without, it is always the
    /// same evening.
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// Start everything, but let nobody live in it: no polygons, no people, no events.
    #[arg(long)]
    no_traffic: bool,
    /// Where the city keeps everything. It wakes up again from it, whatever ended it [default: .dev/city, and
    /// .dev/run/city on real servers].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Begin anew: forget what an earlier city kept there.
    #[arg(long)]
    fresh: bool,
    /// The port of the gateway (people's API, and the page that shows the city); 0: any that is free.
    #[arg(long, default_value_t = 8600, value_name = "N")]
    port: u16,
    /// The port of ingest (cameras' API); 0: any that is free.
    #[arg(long, default_value_t = 8601, value_name = "N")]
    ingest_port: u16,
    /// Trust this token issuer (its base URL) instead of starting one.
    #[arg(long, value_name = "URL", requires = "no_traffic")]
    issuer: Option<String>,
    /// Write the base URLs into this file (JSON) once everything is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Stand on a Kafka, a Cassandra and an S3 server of its own, with a process per service.
    #[arg(long)]
    real: bool,
    /// The same on the servers that `porchlight servers up --dir DIR` started.
    #[arg(long, value_name = "DIR")]
    servers: Option<PathBuf>,
    /// End by itself after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (1.0..=10_000.0).contains(&speed) { Ok(speed) } else { Err("it is from 1 to 10000".into()) }
}

impl Args {
    fn ground(&self) -> Ground {
        if self.real || self.servers.is_some() { Ground::Real } else { Ground::Embedded }
    }

    fn folder(&self) -> PathBuf {
        let default = match self.ground() {
            Ground::Embedded => ".dev/city",
            Ground::Real => ".dev/run/city",
        };
        self.data.clone().unwrap_or_else(|| default.into())
    }

    fn adapt(&self, settings: &mut Settings) {
        settings.ports = BTreeMap::from([(Service::Gateway, self.port), (Service::Ingest, self.ingest_port)]);
        if let Some(issuer) = &self.issuer {
            settings.issuer = issuer.trim_end_matches('/').to_owned();
        }
    }
}

/// Runs a city until Ctrl-C (or SIGTERM), then drains it.
///
/// # Errors
/// A sentence: what could not be started, what did not drain, or what the oracle found.
pub async fn run(args: Args) -> Result<(), String> {
    for (what, port) in [("--port", args.port), ("--ingest-port", args.ingest_port)] {
        check_free(what, port)?;
    }
    let folder = Folder::take(&args.folder(), args.ground(), args.fresh)?;
    let stop = stop_on_signal();
    match args.ground() {
        Ground::Embedded => on_embedded(&args, &folder, stop).await,
        Ground::Real => on_real(&args, &folder, stop).await,
    }
}

/// Before anything is started: in the middle of a start it would be a service that died.
fn check_free(what: &str, port: u16) -> Result<(), String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(e) => {
            Err(format!("port {port} cannot be listened on ({e}): give another with {what} N, or {what} 0 for any"))
        }
    }
}

async fn on_embedded(args: &Args, folder: &Folder, stop: CancellationToken) -> Result<(), String> {
    let ground = Embedded::start(folder.path()).await?;
    let services = folder.path().join("services");
    let (web, page) = Web::new();
    let lived = async {
        let adapt = |settings: &mut Settings| {
            args.adapt(settings);
            ground.adapt(settings, page);
        };
        let (servers, say) = (ground.servers(), |line: &str| say(line));
        let city = City::found_with(&services, folder.name(), servers, |_| 1, adapt, &say).await?;
        live_in(args, city, Some(web), stop.clone()).await
    };
    let lived = in_time(lived, stop.clone()).await;
    ground.stop().await;
    lived
}

async fn on_real(args: &Args, folder: &Folder, stop: CancellationToken) -> Result<(), String> {
    let (dir, owned) = match &args.servers {
        Some(dir) => (dir.clone(), false),
        None => (folder.path().join("servers"), true),
    };
    let services = folder.path().join("services");
    let at = dir.clone();
    let lived = async {
        let servers = if owned {
            say("starting Kafka, Cassandra and the S3 server");
            blocking(move || Servers::up(&at, &|line| say(line))).await?
        } else {
            blocking(move || Servers::attach(&at)).await?
        };
        let adapt = |settings: &mut Settings| args.adapt(settings);
        let city = City::found_with(&services, folder.name(), servers, |_| 1, adapt, &|line| say(line)).await?;
        live_in(args, city, None, stop.clone()).await
    };
    let lived = in_time(lived, stop.clone()).await;
    if owned {
        say("stopping the servers");
        blocking(move || Servers::down(&dir)).await?;
    }
    lived
}

async fn in_time(lived: impl Future<Output = Result<(), String>>, stop: CancellationToken) -> Result<(), String> {
    tokio::select! {
        lived = lived => lived,
        () = impatient(stop) => Err("stopped before it was ready".into()),
    }
}

/// `page`: where the city can be seen, if it has one.
async fn live_in(args: &Args, city: City, page: Option<Web>, stop: CancellationToken) -> Result<(), String> {
    if args.no_traffic {
        if let Some(page) = page {
            page.open(&Scene { name: NAME.to_owned(), ..Scene::default() }, |_| String::new());
        }
        introduce(args, &city)?;
        say("nothing lives here. Ctrl-C ends it");
        let mut own = own::Own::new();
        wait(args, &stop).await;
        if let Some(cost) = own.look().filter(|_| args.ground() == Ground::Embedded) {
            say(&format!("this process: {cost}, with nobody in it"));
        }
        say("draining");
        return city.deployment.stop().await;
    }
    let (settlement, drawn) = populate(args, &city).await?;
    introduce(args, &city)?;
    let mut stage = Stage::new(city, settlement, drawn, args.seed);
    if let Some(page) = page {
        stage.show(page, NAME, args.rate);
    }
    let about = format!(
        "{} homes, {} cameras, {} neighborhoods, seed {}",
        args.homes,
        stage.cameras(),
        stage.neighborhoods(),
        args.seed
    );
    let evening = Evening::new(args.seed, stage.cameras());
    let pace = Pace::new(args.rate, args.speed);
    stage.live(evening, pace, &about, args.seconds.map(Duration::from_secs), stop).await?;
    stage.end().await
}

/// Says where everything is, to people and to programs.
fn introduce(args: &Args, city: &City) -> Result<(), String> {
    let deployment = &city.deployment;
    if args.ground() == Ground::Embedded {
        say(&format!("look at it: {}/", deployment.api(Service::Gateway, 0)));
    }
    say(&format!(
        "people's API: {}   cameras': {}",
        deployment.api(Service::Gateway, 0),
        deployment.api(Service::Ingest, 0)
    ));
    if args.ground() == Ground::Embedded {
        say("for trying, developing and testing: one process, one disk, an issuer that mints any token");
        say("on real servers: porchlight city --real");
    }
    args.ready_file.as_ref().map_or(Ok(()), |file| write_ready(file, city))
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
