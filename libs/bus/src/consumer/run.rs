//! The loop: one task owns all state. It never stops polling while records are handled, and nothing in it blocks.

mod commits;
mod partitions;
mod tries;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError, KafkaResult};
use tokio::{
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    Consumer, ConsumerStatus, Handler, Lease, Record,
    lease::Pulse,
    member::{Arrival, Member},
    schedule::{Lane, Schedule},
    upkeep::Answers,
};
use crate::{
    BusError,
    client::Availability,
    dead_letter::{DeadLetters, Watch},
    ledger::{Ledger, Load, TopicPartition},
};
use commits::{COMMIT_AGAIN_AFTER, answered};
use partitions::Going;
use tries::{End, Job, Place, Try};

/// How often commits are sent and questions asked.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
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
        tries: HashMap::new(),
        stall_after: config.stall_after(),
        pulse: Pulse::new(Instant::now(), config.lease()),
        leases: HashMap::new(),
        budget: Load { records: config.max_in_flight_records, bytes: config.max_in_flight_bytes },
        watch: Watch::new(config.dead_letter_limits()),
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
    running: JoinSet<End>,
    tries: HashMap<Id, Try>,
    stall_after: Duration,
    pulse: Arc<Pulse>,
    leases: HashMap<TopicPartition, Lease>,
    budget: Load,
    watch: Watch<Place>,
    going: Option<Going>,
    upkeep: Option<JoinHandle<Result<Answers, BusError>>>,
    stopping: Option<Stopping>,
    drain: Duration,
}

enum Event {
    Shutdown,
    Arrived(KafkaResult<Arrival>),
    Finished(Result<(Id, End), JoinError>),
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
                Some(finished) = self.running.join_next_with_id() => Event::Finished(finished),
                answers = answered(&mut self.upkeep) => Event::Answered(answers),
                _ = tick.tick() => Event::Tick,
                () = at(due) => Event::Due,
            };
            let now = Instant::now();
            let overslept = !self.pulse.is_awake(now);
            if overslept {
                self.begin_anew()?;
            }
            let last = self.pulse.polled(now);
            self.status.update().polled = Some(now);
            // What came is of the member that is gone; only that a try ended still says that its lane is free.
            if overslept && !matches!(event, Event::Finished(_)) {
                continue;
            }
            match event {
                Event::Shutdown => self.stop(Ok(())),
                Event::Arrived(Ok(Arrival::Record(record))) => self.received(record)?,
                Event::Arrived(Ok(Arrival::Rebalance(change))) => self.rebalanced(change, last)?,
                Event::Arrived(Err(error)) => self.failed(error)?,
                Event::Finished(finished) => self.finished(finished)?,
                Event::Answered(answers) => self.note(answers),
                Event::Tick => self.keep_up()?,
                Event::Due => {}
            }
        }
        self.end().await
    }

    fn received(&mut self, mut record: Record) -> Result<(), BusError> {
        let at = TopicPartition { topic: record.topic, partition: record.partition };
        if self.is_going(at) {
            return Ok(()); // Not in the ledger, so not done: the next owner reads it.
        }
        let Some(generation) = self.ledger.deliver(at, record.offset, record.bytes()) else { return Ok(()) };
        record.lease = self.leases.get(&at).cloned().unwrap_or_default();
        let lane = Lane { at, key: record.key.as_deref().map(Arc::from) };
        self.schedule.push(lane, Job { record: Arc::new(record), generation });
        self.regulate(at)
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
}

/// Waits until then; for ever, if there is no then.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
