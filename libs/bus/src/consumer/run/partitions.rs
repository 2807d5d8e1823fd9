//! Partitions that come, go, pause and go on.

use std::time::{Duration, Instant};

use super::{COMMIT_AGAIN_AFTER, Loop};
use crate::{
    BusError,
    consumer::{Handler, Lease, context::Rebalance},
    ledger::{Flow, TopicPartition},
    metrics::METRICS,
};

/// How long partitions that go wait for those of their records that are being handled, and for the last commit to
/// stand. The whole group waits as long.
const GRACE: Duration = Duration::from_secs(2);

/// Partitions on their way to another member.
pub(super) struct Going {
    partitions: Vec<TopicPartition>,
    /// What is not done and committed then is left to the next owner.
    until: Instant,
    /// Not before then is the last commit tried (again).
    commit_at: Instant,
}

impl Going {
    /// When there may be something to do, besides what events tell; `asked`: a question is open.
    pub(super) fn next_due(&self, asked: bool) -> Instant {
        if !asked && self.commit_at > Instant::now() { self.commit_at.min(self.until) } else { self.until }
    }
}

impl<H: Handler> Loop<H> {
    /// The group answered, after `since`: else the change had come with the poll before.
    pub(super) fn rebalanced(&mut self, change: Rebalance, since: Instant) -> Result<(), BusError> {
        let count = |change: &str, partitions: &[TopicPartition]| {
            METRICS.rebalanced.with_label_values(&[self.stage, change]).inc_by(partitions.len() as u64);
            tracing::info!(stage = self.stage, change, partitions = partitions.len(), "rebalanced");
        };
        match change {
            Rebalance::Assign(partitions) => {
                count("assigned", &partitions);
                self.status.update().joined = true;
                self.pulse.heard(since);
                for at in &partitions {
                    self.ledger.assign(*at);
                    self.leases.insert(*at, Lease::granted(&self.pulse));
                }
                self.member.take(&partitions)?;
                if self.stopping.is_some() {
                    self.member.pause(&partitions)?;
                }
                self.regulate_all()
            }
            Rebalance::Revoke(partitions) => {
                count("given_back", &partitions);
                self.pulse.heard(since); // A lease lasts through the grace, however long the members were waited for.
                for at in &partitions {
                    self.schedule.revoke(*at);
                }
                let now = Instant::now();
                self.going = Some(Going { partitions, until: now + GRACE, commit_at: now });
                Ok(())
            }
            Rebalance::Lost(partitions) => {
                count("lost", &partitions);
                self.status.update().joined = false;
                self.going = None;
                self.let_go(&partitions)
            }
        }
    }

    /// The loop has not polled for longer than its session: the process was stopped, or its threads were taken. The
    /// group may have given everything to others without this member knowing: nothing that is in hand counts any more,
    /// and a new member reads from where the group stands.
    pub(super) fn begin_anew(&mut self) -> Result<(), BusError> {
        tracing::warn!(
            stage = self.stage,
            "not polled for longer than kafka.session_timeout_ms: others may be at its records, so it begins anew"
        );
        METRICS.overslept.with_label_values(&[self.stage]).inc();
        self.forget(&self.ledger.assigned());
        self.going = None;
        self.upkeep = None;
        self.status.update().joined = false;
        if self.stopping.is_none() {
            self.member = self.member.anew()?;
        }
        Ok(())
    }

    /// Gives partitions back once none of their records is being handled and what is done is committed, or the grace is
    /// over, or they are lost all the same.
    pub(super) fn see_off(&mut self) -> Result<(), BusError> {
        let Some(Going { partitions, until, commit_at }) = &mut self.going else { return Ok(()) };
        let now = Instant::now();
        if now < *until && !self.member.has_lost() {
            if partitions.iter().any(|at| self.schedule.is_running(*at)) {
                return Ok(());
            }
            if !partitions.iter().all(|at| self.ledger.is_settled(*at)) {
                if self.upkeep.is_none() && now >= *commit_at {
                    *commit_at = now + COMMIT_AGAIN_AFTER;
                    self.keep_up()?;
                }
                return Ok(());
            }
        }
        let partitions = self.going.take().map(|going| going.partitions).unwrap_or_default();
        self.let_go(&partitions)
    }

    fn let_go(&mut self, partitions: &[TopicPartition]) -> Result<(), BusError> {
        // The client remembers a pause beyond the assignment.
        let paused: Vec<_> = partitions.iter().copied().filter(|at| self.ledger.is_paused(*at)).collect();
        self.member.resume(&paused)?;
        self.forget(partitions);
        self.member.give_back(partitions)?;
        self.regulate_all()
    }

    /// Ends the life of partitions here. What is still being handled is aborted, as by a crash: from now on somebody
    /// else may be handling it.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            if let Some(lease) = self.leases.remove(at) {
                lease.end();
            }
            self.schedule.revoke(*at);
            self.ledger.end(*at);
        }
        self.tries.values().filter(|t| partitions.contains(&t.lane.at)).for_each(|t| t.abort.abort());
        self.watch.forget(|place| partitions.contains(&place.at));
    }

    pub(super) fn is_going(&self, at: TopicPartition) -> bool {
        self.going.as_ref().is_some_and(|going| going.partitions.contains(&at))
    }

    /// Pauses or resumes a partition, as its share of the budget says.
    pub(super) fn regulate(&mut self, at: TopicPartition) -> Result<(), BusError> {
        if self.stopping.is_none() {
            match self.ledger.flow(at, self.budget) {
                Some(Flow::Pause) => self.member.pause(&[at])?,
                Some(Flow::Resume) => self.member.resume(&[at])?,
                None => {}
            }
        }
        Ok(())
    }

    fn regulate_all(&mut self) -> Result<(), BusError> {
        self.ledger.assigned().into_iter().try_for_each(|at| self.regulate(at))
    }
}
