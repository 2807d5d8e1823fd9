//! `porchlight replay`: what geo-index has handled is handled once more, by its own code, and nobody is told.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use porchlight_bus::{KafkaConfig, Replay, ReplayNews, Replayed, Span, Table, Topic, group_has_members};
use porchlight_domain::{SystemClock, Timestamp};
use porchlight_geo_index::{Indexer, Locate, Untold, locate::in_batches};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_store::Store;
use porchlight_wire::NeighborhoodRecord;
use tokio_util::sync::CancellationToken;

use super::{
    Config, Failure,
    moment::moment,
    output::{progress, table},
};

/// Whose work is done again.
const STAGE: &str = "geo-index";
/// How old the last word from the brokers may be before the polygons count as stale: a record waits then.
const POLYGONS_MAX_AGE: Duration = Duration::from_secs(10);
/// How long the polygons may take to be loaded.
const POLYGONS_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked whether geo-index was started meanwhile.
const GUARD_EVERY: Duration = Duration::from_secs(2);
/// Between two lines that say the same.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How many records that cannot be read are told one by one.
const MAX_TOLD: u64 = 20;

/// Handle again what geo-index has handled: the same decisions, the same rows, and nobody is told.
///
/// A row is written as of the receipt of its event and for what is left of its time, so a replay over rows that are there
/// changes nothing, lengthens nothing, and brings nothing back that was erased or has ended. It is for rows that were lost
/// or spoiled.
///
/// geo-index must be stopped (every process of it): two writers of one item would undo each other. Everything else may
/// run, and the log keeps what cameras send. Only what geo-index has committed is replayed; the rest is its own work.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(after_help = "Examples:
  porchlight replay --from 3d --dry-run     how much that would be; geo-index may run
  porchlight replay --from 2h
  porchlight replay --from 2026-05-01T17:00:00Z --to 2026-05-01T18:00:00Z

After a loss of the database:
  Replay from the oldest record (--from 3d: the log keeps 72 h; what is older is lost with the rows), over tables of which
  nothing or all is left: empty event_seen, items, last_items, feeds, media and media_by_event first if only some are
  lost. Neighborhoods must be in their topic (`porchlight topics rebuild neighborhoods`).
  The rows are what they were, but for: an event that is news no more has the outcome `expired` instead of `alerted` or
  `household_only`; an item lies in the neighborhoods as they are drawn now; an item that had begun before the oldest
  record begins there; a clip that was ended early ends as its plan says (the next sweep ends it again).
  ERASE AGAIN what was erased in the last 72 h: what marks an erased row was lost with the database.

Records that cannot be read are counted and passed over: they are dead letters already. While something is away the
records wait for it. Ctrl-C prints how to go on; doing anything twice is doing it once.")]
pub(super) struct Args {
    /// From when on: so long ago (`2h`, `3d`), or an RFC 3339 time. By when a record was written to the log.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Timestamp,
    /// Until when: the first record that is not before it is not replayed any more.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// Say what would be replayed, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: Args, config: Config) -> Result<String, Failure> {
    if args.to.is_some_and(|to| to <= args.from) {
        return Err(Failure::Usage("--to must be later than --from".into()));
    }
    let kafka = &config.kafka;
    if !args.dry_run {
        refuse_beside_geo_index(kafka).await?;
    }
    let to_ms = args.to.map(|to| to.0);
    let replay =
        Replay::find(kafka, Topic::Events, STAGE, args.from.0, to_ms).await.map_err(|e| no_kafka(kafka, &e))?;
    let spans = replay.spans();
    if args.dry_run || spans.iter().all(Span::is_empty) {
        return Ok(describe(&spans));
    }
    let store = Store::connect(&config.cql).await.map_err(failed)?;
    let stop = CancellationToken::new();
    let polygons = Polygons::load(kafka, &stop).await?;
    let indexer = Indexer::of_replays(store.timeline, store.media, polygons.locate(), Arc::new(SystemClock));
    let replayed = watched(args, replay, indexer, kafka, &stop).await;
    // The table ends with it.
    stop.cancel();
    replayed
}

/// Runs it until it is done, somebody stops it, or geo-index comes back.
async fn watched(
    args: Args,
    replay: Replay,
    indexer: Indexer<Untold>,
    kafka: &KafkaConfig,
    stop: &CancellationToken,
) -> Result<String, Failure> {
    let halt = stop.child_token();
    let came_back = AtomicBool::new(false);
    let mut teller = Teller::new(Instant::now());
    let begun = Instant::now();
    let ended = {
        let run = replay.run(indexer, |news| teller.tell(&news, Instant::now()), halt.clone());
        tokio::select! {
            ended = run => ended,
            never = guard(kafka, &halt, &came_back) => match never {},
        }
    };
    let (replayed, why) = match ended {
        Ok(replayed) if came_back.load(Ordering::Relaxed) => {
            (replayed, "geo-index was started: two writers of one item would undo each other".to_owned())
        }
        Ok(replayed) => (replayed, "stopped".to_owned()),
        Err(error) => (teller.last, error.to_string()),
    };
    match replayed.resume_at_ms {
        None => Ok(summary(replayed, begun.elapsed())),
        Some(ms) => Err(Failure::Failed(format!(
            "{why}. {} of {} records are done. Go on with:\n  porchlight replay --from {}{}",
            replayed.done,
            replayed.of,
            Timestamp(ms),
            args.to.map(|to| format!(" --to {to}")).unwrap_or_default(),
        ))),
    }
}

/// Halts the replay when somebody asks for it, or when geo-index came back. Never ends.
async fn guard(kafka: &KafkaConfig, halt: &CancellationToken, came_back: &AtomicBool) -> Infallible {
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => halt.cancel(),
            () = tokio::time::sleep(GUARD_EVERY) => {}
        }
        // Brokers that do not answer say nothing of geo-index, which cannot begin without them either.
        if let Ok(true) = group_has_members(kafka, STAGE, Topic::Events).await {
            came_back.store(true, Ordering::Relaxed);
            halt.cancel();
        }
    }
}

async fn refuse_beside_geo_index(kafka: &KafkaConfig) -> Result<(), Failure> {
    match group_has_members(kafka, STAGE, Topic::Events).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Failed(format!(
            "geo-index runs (its group {}{STAGE} has members): stop every process of it first, for two writers of one \
             item would undo each other. The log keeps everything meanwhile.\nOne that was killed counts until its \
             session is over (kafka.session_timeout_ms): try again then.",
            kafka.group_prefix
        ))),
        Err(error) => Err(no_kafka(kafka, &error)),
    }
}

fn no_kafka(kafka: &KafkaConfig, error: &porchlight_bus::BusError) -> Failure {
    Failure::Failed(format!("{error}\n(kafka.bootstrap_servers is {})", kafka.bootstrap_servers))
}

fn failed(e: impl std::fmt::Display) -> Failure {
    Failure::Failed(e.to_string())
}

/// The polygons as geo-index holds them: loaded to the end, and followed.
struct Polygons {
    table: Table<NeighborhoodRecord>,
    neighborhoods: Neighborhoods,
}

impl Polygons {
    async fn load(kafka: &KafkaConfig, stop: &CancellationToken) -> Result<Self, Failure> {
        let neighborhoods = Neighborhoods::new();
        let fed = neighborhoods.clone();
        let on_change = move |records: &[Arc<NeighborhoodRecord>]| fed.apply(records);
        let started = Table::<NeighborhoodRecord>::start(kafka, POLYGONS_MAX_AGE, on_change, stop.clone());
        let (table, keep) = started.map_err(|e| Failure::Usage(e.to_string()))?;
        tokio::spawn(keep);
        let until = Instant::now() + POLYGONS_WITHIN;
        while let Err(reason) = table.ready() {
            if Instant::now() > until {
                return Err(Failure::Failed(reason));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        progress(&format!("{} neighborhoods loaded", neighborhoods.snapshot().len()));
        Ok(Self { table, neighborhoods })
    }

    /// Answers until the runtime ends.
    fn locate(self) -> Locate {
        let (locate, answering) = in_batches(move || {
            self.table.ready()?;
            Ok(self.neighborhoods.snapshot())
        });
        tokio::spawn(answering);
        locate
    }
}

/// Tells whoever watches, and not too often.
struct Teller {
    begun: Instant,
    last: Replayed,
    told: Option<Instant>,
    waiting: Option<Instant>,
    unreadable: u64,
}

impl Teller {
    fn new(now: Instant) -> Self {
        Self { begun: now, last: Replayed::default(), told: None, waiting: None, unreadable: 0 }
    }

    fn tell(&mut self, news: &ReplayNews<'_>, now: Instant) {
        if let Some(line) = self.line(news, now) {
            progress(&line);
        }
    }

    fn line(&mut self, news: &ReplayNews<'_>, now: Instant) -> Option<String> {
        let is_due = |last: Option<Instant>| last.is_none_or(|last| now.duration_since(last) >= TELL_EVERY);
        match news {
            ReplayNews::Progress(replayed) => {
                self.last = *replayed;
                is_due(self.told).then(|| {
                    self.told = Some(now);
                    pace(*replayed, now.duration_since(self.begun))
                })
            }
            ReplayNews::Waiting { reason } => is_due(self.waiting).then(|| {
                self.waiting = Some(now);
                format!("waiting: {reason}")
            }),
            ReplayNews::Unreadable { record, reason } => {
                self.unreadable += 1;
                let (topic, partition, offset) = (record.topic.name(), record.partition, record.offset);
                (self.unreadable <= MAX_TOLD)
                    .then(|| format!("{topic}/{partition}/{offset} cannot be read, and is passed over: {reason}"))
            }
        }
    }
}

/// One line of progress.
fn pace(replayed: Replayed, took: Duration) -> String {
    let Replayed { done, of, .. } = replayed;
    let took_ms = took.as_millis().max(1);
    let rate = u128::from(done) * 1000 / took_ms;
    let percent = done * 100 / of.max(1);
    let left = match u128::from(of.saturating_sub(done)).checked_div(rate) {
        Some(seconds) => format!("{} left", length(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))),
        None => "time left unknown".to_owned(),
    };
    format!("{done} of {of} records ({percent} %), {rate} a second, {left}")
}

/// In whole seconds, as people say it.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

fn describe(spans: &[Span]) -> String {
    let row = |span: &Span| {
        vec![span.partition.to_string(), span.from.to_string(), span.to.to_string(), span.len().to_string()]
    };
    let records: u64 = spans.iter().map(Span::len).sum();
    let rows: Vec<_> = spans.iter().map(row).collect();
    let table = table(&["PARTITION", "FROM", "TO", "RECORDS"], &rows);
    format!("{table}{records} records that geo-index has committed would be replayed. Nothing was written.\n")
}

fn summary(replayed: Replayed, took: Duration) -> String {
    let Replayed { of, unreadable, .. } = replayed;
    let unreadable = match unreadable {
        0 => String::new(),
        n => {
            format!(" {n} could not be read and were passed over: see `porchlight dead-letters list --stage {STAGE}`.")
        }
    };
    format!("{of} records replayed in {}, and nobody was told.{unreadable}\n", length(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(done: u64, of: u64, unreadable: u64) -> Replayed {
        Replayed { done, of, unreadable, resume_at_ms: (done < of).then_some(5) }
    }

    #[test]
    fn progress_tells_rate_and_time_left() {
        assert_eq!(
            pace(replayed(500, 2_000, 0), Duration::from_secs(10)),
            "500 of 2000 records (25 %), 50 a second, 30s left"
        );
        assert!(pace(replayed(0, 10, 0), Duration::ZERO).ends_with("0 a second, time left unknown"));
        assert_eq!([59, 61, 7_260].map(|s| length(Duration::from_secs(s))), ["59s", "1m01s", "2h01m"]);
    }

    #[test]
    fn a_dry_run_counts_and_a_summary_says_what_was_passed_over() {
        let spans = [Span { partition: 0, from: 3, to: 8 }, Span { partition: 1, from: 2, to: 2 }];
        let text = describe(&spans);
        assert!(text.contains("0          3     8   5\n") && text.contains("\n5 records that"), "{text}");
        let clean = summary(replayed(9, 9, 0), Duration::from_secs(1));
        assert_eq!(clean, "9 records replayed in 1s, and nobody was told.\n");
        assert!(summary(replayed(9, 9, 2), Duration::ZERO).contains(" 2 could not be read"));
    }

    #[test]
    fn the_same_is_not_told_all_the_time() {
        let begun = Instant::now();
        let mut teller = Teller::new(begun);
        let at = |s: u64| begun + Duration::from_secs(s);
        let mut waits = |s| teller.line(&ReplayNews::Waiting { reason: "away" }, at(s)).is_some();
        assert_eq!([0, 1, 4, 5, 6].map(&mut waits), [true, false, false, true, false]);
        let mut goes = |s| teller.line(&ReplayNews::Progress(replayed(s, 9, 0)), at(s)).is_some();
        assert_eq!([0, 1, 5].map(&mut goes), [true, false, true]);
        assert_eq!(teller.last.done, 5);
    }
}
