//! `porchlight crash`: a whole network under a steady load, hurt at random moments, and counted at the end.
//!
//! What comes when is decided by [`plan`]; [`ground`] does it; [`count`] looks past everything that was hurt; [`report`]
//! says what each kind of fault cost, and whether what must be zero is zero.

pub mod count;
mod ground;
pub mod plan;
pub mod report;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use porchlight_domain::{Clock as _, SystemClock, Timestamp};
use porchlight_standins::fleet::{Fleet, Layout};
use porchlight_store::Store;
use porchlight_synth::{Evening, MASSACHUSETTS, Settlement, towns};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    audit,
    city::{
        founding::City,
        life::{self, Pace, Tally},
        people::Camera,
        witness::Witness,
    },
    deployment::{Service, Settings, unique_name},
};
use count::Observer;
use ground::Ground;
use plan::{BROKERS, Fault, Group, Hurt, Plan, REPLICAS, Target};
pub use report::Report;

/// The towns in which everybody lives: near each other, so that neighbors hear of each other.
const LIVED_IN: [&str; 2] = ["Malden", "Medford"];
/// Of the delete-policy topics: several for each of two processes.
const PARTITIONS: i32 = 6;
/// How long there is load before the first fault and after the last.
const CALM: Duration = Duration::from_secs(3);
/// How long nothing may come nearer to its end, once no fault is on, before that is a failure.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is asked of a run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  porchlight crash                           40 faults, a new seed each time
  porchlight crash --faults 200 --seed 7     a long run that can be had again
  porchlight crash --group-protocol consumer

It starts servers of its own (three brokers, Cassandra, an S3 server, a proxy before each) and two processes of each
service, and sends events at a steady rate. At random moments it kills (SIGKILL), freezes (SIGSTOP for 20 s) or cuts off
one of them, and brings it back; at last every process is restarted in turn, as an upgrade does. Then all is counted by
readers that go past the services and the proxies. Exit code 1 if anything acknowledged was lost, shown twice, missing, or
seen by a stranger.")]
pub struct Args {
    /// How many faults.
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub faults: usize,
    /// The same seed brings the same faults in the same order. By default a new one, which is printed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Events a second, from all cameras together.
    #[arg(long, default_value_t = 12.0, value_name = "N")]
    pub rate: f64,
    /// How many households there are.
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub homes: usize,
    /// How many faults may be on at once, of different kinds of victims.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub at_once: u8,
    /// How consumers share their work: `classic` (cooperative-sticky) or `consumer` (KIP-848).
    #[arg(long, default_value = "classic", value_parser = ["classic", "consumer"])]
    pub group_protocol: String,
    /// Where servers and services keep their data, configuration and logs; emptied first.
    #[arg(long, default_value = ".dev/run/crash", value_name = "DIR")]
    pub data: PathBuf,
}

/// Runs to the end. `say` gets a line for each step.
///
/// # Errors
/// A sentence: something could not be started, or does not recover. What must be zero and is not stands in the report.
pub async fn run(args: &Args, say: &(dyn Fn(&str) + Sync)) -> Result<Report, String> {
    let seed = args.seed.unwrap_or_else(|| u64::try_from(SystemClock.now().0).unwrap_or_default() % 1_000_000);
    say(&format!("seed {seed}"));
    let fresh = |dir: &Path| match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot empty {}: {e}", dir.display())),
        Ok(()) | Err(_) => std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display())),
    };
    fresh(&args.data)?;
    let data = args.data.canonicalize().map_err(|e| e.to_string())?;
    let layout = Layout { brokers: BROKERS, cassandra: true, s3: true, shared: None };
    let fleet = tokio::task::block_in_place(|| Fleet::up(&data.join("servers"), layout, &|line| say(line)))?;
    let adapt = |settings: &mut Settings| {
        settings.partitions = PARTITIONS;
        settings.replication = i32::try_from(BROKERS).unwrap_or(1);
        settings.group_protocol.clone_from(&args.group_protocol);
    };
    let name = unique_name("crash");
    let (place, tell) = (data.join("city"), |line: &str| say(line));
    let city = City::found_with(&place, &name, fleet.proxied(), |_| REPLICAS, adapt, &tell).await?;
    let City { deployment, phones, hall, issuer: _issuer } = city;
    let direct = Settings { servers: fleet.direct(), ..deployment.settings().clone() };

    say("people move in");
    let lived_in: Vec<_> =
        towns(MASSACHUSETTS).into_iter().filter(|town| LIVED_IN.contains(&town.name.as_str())).collect();
    let mut witness = Witness::default();
    for town in &lived_in {
        let id = crate::city::founding::neighborhood_id(&town.name);
        hall.publish(id, &town.name, &town.geometry).await?;
        witness.neighborhood(id, &town.geometry);
    }
    let residents = hall.settle_all(&Settlement::new(seed, args.homes, &lived_in).households, |_| {}).await?;
    residents.iter().for_each(|resident| witness.resident(resident));
    let cameras: Vec<Camera> = residents.iter().flat_map(|resident| resident.cameras.iter().cloned()).collect();

    let ground = Arc::new(Ground::new(deployment, fleet));
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let since = SystemClock.now();
    let (accepted, news) = mpsc::channel(4_096);
    let evening = Evening::new(seed, cameras.len());
    let load = tokio::spawn(life::live(
        cameras.clone(),
        evening,
        Pace::new(args.rate, None),
        accepted,
        tally.clone(),
        stop.clone(),
    ));
    let observer = tokio::spawn(Observer::new(phones, cameras, witness).observe(news));
    let looking = tokio::spawn(look_after(ground.clone(), stop.clone()));

    let hurt = hurt(args, seed, &ground, &tally, say).await;
    stop.cancel();
    let faults = hurt?;
    let seconds = u64::try_from(SystemClock.now().since(since) / 1_000).unwrap_or_default();
    say("no more faults and no more events; what is under way arrives");
    load.await.map_err(|e| e.to_string())?;
    looking.await.map_err(|e| e.to_string())??;
    let mut observer = observer.await.map_err(|e| e.to_string())?;
    ground.all_ready().await?;
    let calm = Instant::now();
    let lag = settle(&ground, &mut observer).await;
    say(&format!("caught up after {} s; counting", calm.elapsed().as_secs()));
    let mut count = observer.count(&direct, &residents, since.0).await?;
    count.lag = lag;
    count.given_up = tally.given_up.load(Ordering::Relaxed);
    count.not_conserved = conserved(&direct, since, say).await?;
    (count.died, count.most_memory) = ground.toll().await;
    let (acknowledged, pushed) = (observer.moments_in(), observer.moments_out());
    let ground = Arc::into_inner(ground).ok_or("somebody still hurts it")?;
    ground.end().await?;
    Ok(Report {
        seed,
        rate: args.rate,
        group_protocol: args.group_protocol.clone(),
        seconds,
        faults,
        acknowledged,
        pushed,
        count,
    })
}

/// All faults of the plan, then every process restarted in turn.
async fn hurt(
    args: &Args,
    seed: u64,
    ground: &Arc<Ground>,
    tally: &Arc<Tally>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<report::Done>, String> {
    tokio::time::sleep(CALM).await;
    let all = args.faults + Service::ALL.len() * REPLICAS;
    let mut done = Vec::new();
    let mut under_way: JoinSet<Result<report::Done, String>> = JoinSet::new();
    let mut hurt_now: BTreeSet<Group> = BTreeSet::new();
    let mut collect = |ended: Result<Result<report::Done, String>, tokio::task::JoinError>,
                       hurt_now: &mut BTreeSet<Group>|
     -> Result<(), String> {
        let one = ended.map_err(|e| e.to_string())??;
        hurt_now.remove(&one.fault.target.group());
        done.push(one);
        #[allow(clippy::cast_precision_loss)]
        let took = |ms: i64| ms as f64 / 1e3;
        say(&format!(
            "{:>3}/{all}  {} {}: {:.1} s, back after {:.1} s, {} refused; {} acknowledged so far",
            done.len(),
            one.fault.hurt,
            one.fault.target.group(),
            took(one.undone_ms - one.from_ms),
            took(one.well_ms - one.undone_ms),
            one.refused,
            tally.accepted.load(Ordering::Relaxed),
        ));
        Ok(())
    };
    for fault in Plan::new(seed).take(args.faults) {
        tokio::time::sleep(fault.calm).await;
        while under_way.len() >= usize::from(args.at_once) || hurt_now.contains(&fault.target.group()) {
            if let Some(ended) = under_way.join_next().await {
                collect(ended, &mut hurt_now)?;
            }
        }
        hurt_now.insert(fault.target.group());
        let (ground, tally) = (ground.clone(), tally.clone());
        under_way.spawn(async move { ground.suffer(fault, &tally).await });
    }
    while let Some(ended) = under_way.join_next().await {
        collect(ended, &mut hurt_now)?;
    }
    tokio::time::sleep(CALM).await;
    say("a rolling restart");
    for service in Service::ALL {
        for n in 0..REPLICAS {
            let target = Target::Service(service, n);
            let fault = Fault { hurt: Hurt::Restart, target, calm: Duration::ZERO, hold: Duration::ZERO };
            collect(Ok(ground.suffer(fault, tally).await), &mut hurt_now)?;
        }
    }
    tokio::time::sleep(CALM).await;
    Ok(done)
}

async fn look_after(ground: Arc<Ground>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
        ground.look().await?;
    }
    Ok(())
}

/// Waits until nothing is missing and nothing waits, as long as it becomes less; what waits still.
async fn settle(ground: &Ground, observer: &mut Observer) -> u64 {
    let mut least = u64::MAX;
    let mut until = Instant::now() + PATIENCE;
    loop {
        observer.look();
        let lag = ground.lag().await.unwrap_or(u64::MAX);
        let missing = observer.witness.judge_pushes(i64::MAX).missing.len() as u64;
        let left = lag.saturating_add(missing);
        if left == 0 || Instant::now() > until {
            observer.look();
            return lag;
        }
        if left < least {
            (least, until) = (left, Instant::now() + PATIENCE);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the audit of conservation finds, if it does not add up.
async fn conserved(
    settings: &Settings,
    from: Timestamp,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<String>, String> {
    let store = Store::connect(&settings.cql()).await.map_err(|e| e.to_string())?;
    let report = audit::conservation(&settings.kafka(), &store, from, SystemClock.now(), say).await?;
    Ok((!report.is_conserved()).then(|| report.to_string()))
}
