//! Tries of records: begun, ended, too long.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::task::{AbortHandle, Id, JoinError};

use super::Loop;
use crate::{
    BusError,
    consumer::{Handler, Outcome, Record, schedule::Lane, status::Working},
    dead_letter::{DeadLetters, Verdict},
    ledger::{Completion, Generation, TopicPartition},
    metrics::METRICS,
};

/// The shortest wait before a next try.
const RETRY_FLOOR: Duration = Duration::from_millis(10);
/// The wait after a try that was aborted because it took too long.
const AFTER_A_STALL: Duration = Duration::from_secs(1);

/// A record with the life of its partition in which it came.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) record: Arc<Record>,
    pub(super) generation: Generation,
}

/// A record's place in the log, and the life of its partition.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: TopicPartition,
    generation: Generation,
    offset: i64,
}

/// A try that has not ended. Its lane is taken until then, also if it was told to abort: what blocks its thread goes
/// on.
pub(super) struct Try {
    pub(super) lane: Lane,
    job: Job,
    since: Instant,
    pub(super) abort: AbortHandle,
}

/// How a try ended, if it was not aborted.
pub(super) enum End {
    Done,
    Buried,
    Retry { after: Duration, reason: String },
    Stalled,
}

impl<H: Handler> Loop<H> {
    /// Starts every record that may be handled now.
    pub(super) fn start(&mut self) {
        while let Some((lane, job)) = self.schedule.start(Instant::now()) {
            let (handler, dead_letters) = (Arc::clone(&self.handler), self.dead_letters.clone());
            let abort = self.running.spawn(attempt(handler, dead_letters, Arc::clone(&job.record), self.stall_after));
            self.tries.insert(abort.id(), Try { lane, job, since: Instant::now(), abort });
        }
    }

    pub(super) fn finished(&mut self, finished: Result<(Id, End), JoinError>) -> Result<(), BusError> {
        // A handler's panic is caught: what does not end by itself was aborted.
        let (id, end) = finished.map_or_else(|aborted| (aborted.id(), None), |(id, end)| (id, Some(end)));
        let Some(Try { lane, job, since, .. }) = self.tries.remove(&id) else { return Ok(()) };
        let place = Place { at: lane.at, generation: job.generation, offset: job.record.offset };
        let outcome = match end {
            None => "aborted",
            Some(End::Done) if self.complete(place)? => {
                for held in self.watch.good() {
                    self.complete(held)?;
                }
                "done"
            }
            Some(End::Buried) if self.ledger.lives(place.at, place.generation) => {
                self.buried(place)?;
                "dead_letter"
            }
            Some(End::Done | End::Buried) => "late",
            Some(End::Retry { after, reason }) => {
                tracing::debug!(stage = self.stage, at = %place.at, offset = place.offset, reason, "to be tried again");
                if self.again(&lane, place, after) { "retry" } else { "late" }
            }
            Some(End::Stalled) => {
                let seconds = since.elapsed().as_secs();
                tracing::error!(
                    stage = self.stage,
                    topic = place.at.topic.name(),
                    partition = place.at.partition,
                    offset = place.offset,
                    seconds,
                    "a handler took longer than kafka.stall_after_ms and was aborted: find out what it waits for"
                );
                self.again(&lane, place, AFTER_A_STALL);
                "stalled"
            }
        };
        // No effect on a lane that waits for its next try.
        self.schedule.done(&lane);
        METRICS.handled.with_label_values(&[self.stage, outcome]).inc();
        Ok(())
    }

    /// Lets a record wait for its next try, if there is to be one here.
    fn again(&mut self, lane: &Lane, place: Place, after: Duration) -> bool {
        let ours = self.ledger.lives(place.at, place.generation) && !self.is_going(place.at);
        if ours {
            self.schedule.retry(lane, Instant::now() + after.max(RETRY_FLOOR));
        }
        ours
    }

    fn complete(&mut self, Place { at, generation, offset }: Place) -> Result<bool, BusError> {
        match self.ledger.complete(at, generation, offset) {
            Completion::Advanced | Completion::Waiting => self.regulate(at).map(|()| true),
            Completion::Refused => Ok(false),
        }
    }

    /// A dead letter is written: what becomes of the offset depends on the others.
    fn buried(&mut self, place: Place) -> Result<(), BusError> {
        match self.watch.dead(place) {
            Verdict::Done(place) => drop(self.complete(place)?),
            Verdict::Held => {
                if self.watch.held() == 1 {
                    tracing::warn!(stage = self.stage, "a run of dead letters: none is committed before a good record");
                }
                self.ledger.hold(place.at, place.generation, place.offset);
                self.regulate(place.at)?;
            }
            Verdict::Stop(reason) => {
                if self.stopping.is_none() {
                    tracing::error!(stage = self.stage, reason, "the consumer stops itself");
                }
                self.stop(Err(BusError::Stopped { stage: self.stage.to_owned(), reason }));
            }
        }
        Ok(())
    }

    /// The try that has been at work for longest.
    pub(super) fn oldest(&self) -> Option<Working> {
        let oldest = self.tries.values().min_by_key(|running| running.since)?;
        Some(Working { at: oldest.lane.at, offset: oldest.job.record.offset, since: oldest.since })
    }
}

/// One try of a record, with the dead letter if there must be one. Only the handler is bounded: a dead letter is tried
/// until it is written.
async fn attempt<H: Handler>(
    handler: Arc<H>,
    dead_letters: DeadLetters,
    record: Arc<Record>,
    stall_after: Duration,
) -> End {
    let timer = METRICS.handle_seconds.with_label_values(&[dead_letters.stage]).start_timer();
    let handled = async { handler.handle(Arc::clone(&record)).await };
    let outcome = tokio::time::timeout(stall_after, AssertUnwindSafe(handled).catch_unwind()).await;
    timer.observe_duration();
    match outcome.map(|caught| caught.unwrap_or_else(|_| Outcome::Fatal { reason: "the handler panicked".into() })) {
        Ok(Outcome::Done) => End::Done,
        Ok(Outcome::Retry { after, reason }) => End::Retry { after, reason },
        Ok(Outcome::Fatal { reason }) => {
            dead_letters.bury(&record, &reason).await;
            End::Buried
        }
        Err(_) => End::Stalled,
    }
}
