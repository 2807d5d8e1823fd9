//! Handling once more what a group has done, without the group: a stretch of a topic, in the order of each key.

mod standing;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    BusError, Handler, KafkaConfig, Outcome, Record, Stretch, Topic, committed,
    consumer::schedule::{Lane, Schedule},
    ledger::TopicPartition,
};
use standing::Standing;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A stretch of one partition: the offsets from `from` to below `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Which partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

impl Span {
    /// How many offsets it holds.
    pub fn len(&self) -> u64 {
        u64::try_from(self.to - self.from).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.to <= self.from
    }
}

/// How far a replay is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Offsets that are done, in all partitions.
    pub done: u64,
    /// Offsets there are to do.
    pub of: u64,
    /// Records that can never be handled: told one by one, and passed over.
    pub unreadable: u64,
    /// From which time a next replay would leave out nothing that this one has not done, ms since the Unix epoch;
    /// `None` if all is done.
    pub resume_at_ms: Option<i64>,
}

/// What a replay tells while it runs.
#[derive(Debug)]
pub enum ReplayNews<'a> {
    /// How far it is, once a second.
    Progress(Replayed),
    /// A record that can never be handled. It was put aside when its stage met it first.
    Unreadable {
        /// Which.
        record: &'a Record,
        /// Why, a sentence without personal data.
        reason: &'a str,
    },
    /// A record waits for something that is away, and is tried again.
    Waiting {
        /// For what.
        reason: &'a str,
    },
}

/// What of a topic is handled once more.
pub struct Replay {
    config: KafkaConfig,
    from_ms: i64,
    stretch: Stretch,
}

impl Replay {
    /// Finds the records of `topic` from `from_ms` on (ms since the Unix epoch, by their own timestamps) up to the first
    /// of each partition that is not before `to_ms`, and below what the group of `stage` has committed: what comes after
    /// that is the group's own work.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub async fn find(
        config: &KafkaConfig,
        topic: Topic,
        stage: &str,
        from_ms: i64,
        to_ms: Option<i64>,
    ) -> Result<Self, BusError> {
        let mut stretch = Stretch::open(config, topic, from_ms, to_ms.unwrap_or(i64::MAX)).await?;
        stretch.end_at(&committed(config, stage, topic).await?)?;
        Ok(Self { config: config.clone(), from_ms, stretch })
    }

    /// What will be read: one for each partition.
    pub fn spans(&self) -> Vec<Span> {
        self.stretch.spans().values().copied().collect()
    }

    /// Lets `handler` handle every record: those of one key in their order and one at a time, different keys side by
    /// side (`max_concurrent_keys`). A record that is to be tried again is, without end; nothing is skipped. In hand at
    /// once are no more records and bytes than the configuration allows. Nothing is committed, nothing put aside.
    ///
    /// `stop` ends it early: what runs is finished (within `drain_ms`).
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic is gone or may not be read.
    pub async fn run<H: Handler>(
        self,
        handler: H,
        mut tell: impl FnMut(ReplayNews<'_>),
        stop: CancellationToken,
    ) -> Result<Replayed, BusError> {
        let spans = self.spans();
        let Self { config, from_ms, mut stretch } = self;
        let mut run = Run {
            standing: Standing::new(&spans, from_ms),
            schedule: Schedule::new(config.max_concurrent_keys),
            running: JoinSet::new(),
            handler: Arc::new(handler),
            unreadable: 0,
            bytes: 0,
        };
        let mut tick = tokio::time::interval(TELL_EVERY);
        let mut read_all = false;
        while !run.standing.is_done() {
            run.start();
            let has_room =
                run.standing.in_hand() < config.max_in_flight_records && run.bytes < config.max_in_flight_bytes;
            let due = run.schedule.next_due();
            tokio::select! {
                () = stop.cancelled() => {
                    run.finish_what_runs(config.drain(), &mut tell).await;
                    break;
                }
                record = stretch.next(), if has_room && !read_all => match record? {
                    Some(record) => run.take(record),
                    None => {
                        run.standing.nothing_more();
                        read_all = true;
                    }
                },
                Some(Ok(finished)) = run.running.join_next() => run.finished(finished, &mut tell),
                () = at(due) => {}
                _ = tick.tick() => tell(ReplayNews::Progress(run.replayed())),
            }
        }
        Ok(run.replayed())
    }
}

/// How a try ended.
struct Finished {
    lane: Lane,
    record: Arc<Record>,
    outcome: Outcome,
}

struct Run<H> {
    standing: Standing,
    schedule: Schedule<Arc<Record>>,
    running: JoinSet<Finished>,
    handler: Arc<H>,
    unreadable: u64,
    bytes: usize,
}

impl<H: Handler> Run<H> {
    fn take(&mut self, record: Record) {
        self.standing.take(record.partition, record.offset, record.timestamp_ms);
        self.bytes += record.bytes();
        let at = TopicPartition { topic: record.topic, partition: record.partition };
        let lane = Lane { at, key: record.key.as_deref().map(Arc::from) };
        self.schedule.push(lane, Arc::new(record));
    }

    /// Starts every record that may be handled now.
    fn start(&mut self) {
        while let Some((lane, record)) = self.schedule.start(Instant::now()) {
            let handler = Arc::clone(&self.handler);
            self.running.spawn(async move {
                let handled = async { handler.handle(Arc::clone(&record)).await };
                let outcome = AssertUnwindSafe(handled).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|_| Outcome::Fatal { reason: "the handler panicked".into() });
                Finished { lane, record, outcome }
            });
        }
    }

    fn finished(&mut self, finished: Finished, tell: &mut impl FnMut(ReplayNews<'_>)) {
        let Finished { lane, record, outcome } = finished;
        match outcome {
            Outcome::Done => {}
            Outcome::Fatal { reason } => {
                self.unreadable += 1;
                tell(ReplayNews::Unreadable { record: &record, reason: &reason });
            }
            Outcome::Retry { after, reason } => {
                tell(ReplayNews::Waiting { reason: &reason });
                return self.schedule.retry(&lane, Instant::now() + after);
            }
        }
        self.schedule.done(&lane);
        self.standing.done(record.partition, record.offset);
        self.bytes -= record.bytes();
    }

    /// A handler that was stopped halfway would be met again, and finished then: but what runs takes moments.
    async fn finish_what_runs(&mut self, within: Duration, tell: &mut impl FnMut(ReplayNews<'_>)) {
        let until = tokio::time::Instant::now() + within;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, self.running.join_next()).await {
            if let Ok(finished) = ended {
                self.finished(finished, tell);
            }
        }
    }

    fn replayed(&self) -> Replayed {
        let (done, of) = self.standing.count();
        Replayed { done, of, unreadable: self.unreadable, resume_at_ms: self.standing.resume_at_ms() }
    }
}

/// Waits until then; for ever, if there is no then.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
