//! The loop: one task owns all state. It never stops polling while records are handled, and nothing in it blocks.

mod partitions;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::{
    task::{JoinError, JoinHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    Consumer, ConsumerStatus, Handler, Outcome, Record,
    member::{Arrival, Member},
    schedule::{Lane, Schedule},
    upkeep::Answers,
};
use crate::{
    BusError,
    client::Availability,
    dead_letter::{DeadLetters, Watch},
    ledger::{Completion, Generation, Ledger, Load, NextOffset, Settled, TopicPartition},
    metrics::METRICS,
};
use partitions::Going;

/// How often commits are sent and questions asked.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// The shortest wait before a last commit is tried again.
const COMMIT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The shortest wait before a next try.
const RETRY_FLOOR: Duration = Duration::from_millis(10);

/// Runs a consumer to its end.
pub(super) async fn run<H: Handler>(consumer: Consumer<H>, shutdown: CancellationToken) -> Result<(), BusError> {
    let Consumer { config, client, topics, handler, dead_letters, status } = consumer;
    let (stage, names) = (dead_letters.stage, dead_letters.names.clone());
    let availability = Availability::of(stage);
    let member = Member::join(&client, topics, names, Arc::clone(&availability))?;
    let this = Loop {
        stage,
        handler,
        dead_letters,
        status,
        availability,
        member,
        ledger: Ledger::default(),
        schedule: Schedule::new(config.max_concurrent_keys),
        running: JoinSet::new(),
        budget: Load { records: config.max_in_flight_records, bytes: config.max_in_flight_bytes },
        watch: Watch::default(),
        going: None,
        upkeep: None,
        stopping: None,
        drain: config.drain(),
    };
    let status = this.status.clone();
    let ended = this.run(shutdown).await;
    status.update().ended = true;
    ended
}

/// A record with the life of its partition in which it came.
#[derive(Clone)]
struct Job {
    record: Arc<Record>,
    generation: Generation,
}

/// How a try ended.
struct Finished {
    lane: Lane,
    job: Job,
    end: End,
}

enum End {
    Done,
    Buried,
    Retry { after: Duration, reason: String },
}

/// The end has begun: nothing new is started.
struct Stopping {
    since: Instant,
    why: Result<(), BusError>,
}

struct Loop<H> {
    stage: &'static str,
    handler: Arc<H>,
    dead_letters: DeadLetters,
    status: ConsumerStatus,
    availability: Arc<Availability>,
    member: Member,
    ledger: Ledger,
    schedule: Schedule<Job>,
    running: JoinSet<Finished>,
    budget: Load,
    watch: Watch,
    going: Option<Going>,
    upkeep: Option<JoinHandle<Result<Answers, BusError>>>,
    stopping: Option<Stopping>,
    drain: Duration,
}

enum Event {
    Shutdown,
    Arrived(KafkaResult<Arrival>),
    Finished(Result<Finished, JoinError>),
    Answered(Result<Answers, BusError>),
    Tick,
    Due,
}

impl<H: Handler> Loop<H> {
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), BusError> {
        let mut tick = tokio::time::interval(UPKEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.see_off()?;
            match &self.stopping {
                None => self.start(),
                Some(stopping) if self.running.is_empty() || Instant::now() >= self.drained_by(stopping) => break,
                Some(_) => {}
            }
            let due = self.next_due();
            let event = tokio::select! {
                () = shutdown.cancelled(), if self.stopping.is_none() => Event::Shutdown,
                arrival = self.member.next() => Event::Arrived(arrival),
                Some(finished) = self.running.join_next() => Event::Finished(finished),
                answers = answered(&mut self.upkeep) => Event::Answered(answers),
                _ = tick.tick() => Event::Tick,
                () = at(due) => Event::Due,
            };
            self.status.update().polled = Some(Instant::now());
            match event {
                Event::Shutdown => self.stop(Ok(())),
                Event::Arrived(Ok(Arrival::Record(record))) => self.received(record)?,
                Event::Arrived(Ok(Arrival::Rebalance(change))) => self.rebalanced(change)?,
                Event::Arrived(Err(error)) => self.failed(error)?,
                Event::Finished(finished) => self.finished(finished)?,
                Event::Answered(answers) => self.note(answers),
                Event::Tick => self.keep_up()?,
                Event::Due => {}
            }
        }
        self.end().await
    }

    /// Starts every record that may be handled now.
    fn start(&mut self) {
        while let Some((lane, job)) = self.schedule.start(Instant::now()) {
            let (handler, dead_letters) = (Arc::clone(&self.handler), self.dead_letters.clone());
            self.running.spawn(attempt(handler, dead_letters, lane, job));
        }
    }

    fn received(&mut self, record: Record) -> Result<(), BusError> {
        let at = TopicPartition { topic: record.topic, partition: record.partition };
        if self.is_going(at) {
            return Ok(()); // Not in the ledger, so not done: the next owner reads it.
        }
        let Some(generation) = self.ledger.deliver(at, record.offset, record.bytes()) else { return Ok(()) };
        let lane = Lane { at, key: record.key.as_deref().map(Arc::from) };
        self.schedule.push(lane, Job { record: Arc::new(record), generation });
        self.regulate(at)
    }

    fn finished(&mut self, finished: Result<Finished, JoinError>) -> Result<(), BusError> {
        // A handler's panic is caught; what is left is a task that was aborted, at the very end.
        let Ok(Finished { lane, job, end }) = finished else { return Ok(()) };
        let (at, record) = (lane.at, &job.record);
        let buried = matches!(end, End::Buried);
        let outcome = match end {
            End::Retry { after, reason } if self.ledger.lives(at, job.generation) && !self.is_going(at) => {
                tracing::debug!(stage = self.stage, %at, offset = record.offset, reason, "a record is tried again");
                self.schedule.retry(&lane, Instant::now() + after.max(RETRY_FLOOR));
                "retry"
            }
            End::Retry { .. } => {
                self.schedule.done(&lane);
                "late"
            }
            End::Done | End::Buried => {
                self.schedule.done(&lane);
                match self.ledger.complete(at, job.generation, record.offset) {
                    Completion::Advanced | Completion::Waiting => {
                        self.regulate(at)?;
                        if let Some(reason) = self.watch.note(buried) {
                            tracing::error!(stage = self.stage, reason, "the consumer stops itself");
                            self.stop(Err(BusError::Stopped { stage: self.stage.to_owned(), reason }));
                        }
                        if buried { "dead_letter" } else { "done" }
                    }
                    Completion::Refused => "late",
                }
            }
        };
        METRICS.handled.with_label_values(&[self.stage, outcome]).inc();
        Ok(())
    }

    /// Sends what is due for commit, and asks how all stands, unless an earlier question is still open.
    fn keep_up(&mut self) -> Result<(), BusError> {
        METRICS.in_hand.with_label_values(&[self.stage]).set(gauge(self.ledger.load().records as u64));
        if self.upkeep.is_none() {
            let due = self.ledger.take_due();
            self.member.commit(&due)?;
            self.upkeep = Some(self.member.ask(self.ledger.assigned(), self.ledger.unconfirmed())?);
        }
        Ok(())
    }

    fn note(&mut self, answers: Result<Answers, BusError>) {
        self.upkeep = None;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return self.trouble(&error.to_string()),
        };
        self.availability.back();
        self.status.update().answered = Some(Instant::now());
        let Some(standings) = answers.standings else { return };
        for sent in answers.sent {
            let Some(standing) = standings.iter().find(|standing| standing.at == sent.at) else { continue };
            let outcome = match self.ledger.settle(sent, standing.committed) {
                Settled::Confirmed => "confirmed",
                Settled::Missing => {
                    tracing::debug!(stage = self.stage, at = %sent.at, "a commit does not stand; sent again");
                    "failed"
                }
                Settled::Ended => continue,
            };
            METRICS.commits.with_label_values(&[self.stage, outcome]).inc();
        }
        let lag = standings.iter().map(|standing| {
            let done = standing.committed.max(self.ledger.frontier(standing.at)).map(NextOffset::raw);
            let behind = standing.high.saturating_sub(done.or(standing.low).unwrap_or(standing.high));
            u64::try_from(behind).unwrap_or_default()
        });
        let lag = lag.sum();
        METRICS.lag.with_label_values(&[self.stage]).set(gauge(lag));
        let mut seen = self.status.update();
        seen.lag = lag;
        seen.trouble = None;
    }

    fn trouble(&self, reason: &str) {
        self.availability.away(reason);
        self.status.update().trouble = Some(reason.to_owned());
    }

    /// An error of the client. It goes on by itself, unless it says that it cannot.
    fn failed(&self, error: KafkaError) -> Result<(), BusError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) | KafkaError::Canceled => Err(error.into()),
            error => {
                tracing::debug!(stage = self.stage, %error, "the client reports an error");
                self.status.update().trouble = Some(error.to_string());
                Ok(())
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let retry = self.schedule.next_due().filter(|_| self.stopping.is_none());
        let going = self.going.as_ref().map(|going| going.next_due(self.upkeep.is_some()));
        let drained = self.stopping.as_ref().map(|stopping| self.drained_by(stopping));
        [retry, going, drained].into_iter().flatten().min()
    }

    /// Until when handlers may go on; the rest of the budget is for the last commit and for leaving.
    fn drained_by(&self, stopping: &Stopping) -> Instant {
        stopping.since + self.drain * 3 / 4
    }

    fn stop(&mut self, why: Result<(), BusError>) {
        if self.stopping.is_none() {
            self.status.update().ended = true;
            if let Err(error) = self.member.pause(&self.ledger.assigned()) {
                tracing::debug!(stage = self.stage, %error, "not paused while stopping");
            }
            self.stopping = Some(Stopping { since: Instant::now(), why });
        }
    }

    /// Commits what is done, checks that it stands, and leaves the group: all within the drain's budget.
    async fn end(mut self) -> Result<(), BusError> {
        let Some(Stopping { since, why }) = self.stopping.take() else { return Ok(()) };
        self.running.abort_all();
        let until = tokio::time::Instant::from_std(since + self.drain);
        if tokio::time::timeout_at(until, self.commit_the_last()).await.is_err() {
            tracing::warn!(stage = self.stage, "stopped without knowing its last commit: some records come again");
        }
        if tokio::time::timeout_at(until, self.member.leave()).await.is_err() {
            tracing::warn!(stage = self.stage, "stopped before it had left its group");
        }
        why
    }

    async fn commit_the_last(&mut self) {
        while self.upkeep.is_some() || !self.ledger.is_all_settled() {
            if let Err(error) = self.keep_up() {
                return tracing::warn!(stage = self.stage, %error, "the last commit cannot be sent");
            }
            let answers = answered(&mut self.upkeep).await;
            self.note(answers);
            if !self.ledger.is_all_settled() {
                tokio::time::sleep(COMMIT_AGAIN_AFTER).await;
            }
        }
    }
}

/// One try of a record, with the dead letter if there must be one.
async fn attempt<H: Handler>(handler: Arc<H>, dead_letters: DeadLetters, lane: Lane, job: Job) -> Finished {
    let timer = METRICS.handle_seconds.with_label_values(&[dead_letters.stage]).start_timer();
    let handled = async { handler.handle(Arc::clone(&job.record)).await };
    let outcome = AssertUnwindSafe(handled).catch_unwind().await;
    timer.observe_duration();
    let end = match outcome.unwrap_or_else(|_| Outcome::Fatal { reason: "the handler panicked".into() }) {
        Outcome::Done => End::Done,
        Outcome::Retry { after, reason } => End::Retry { after, reason },
        Outcome::Fatal { reason } => {
            dead_letters.bury(&job.record, &reason).await;
            End::Buried
        }
    };
    Finished { lane, job, end }
}

/// The answers to the open question; never, if none is open.
async fn answered(upkeep: &mut Option<JoinHandle<Result<Answers, BusError>>>) -> Result<Answers, BusError> {
    match upkeep {
        Some(open) => open.await?,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever, if there is no then.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
