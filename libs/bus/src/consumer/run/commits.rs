//! Commits: sent, asked for, and sent again until they stand.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Loop;
use crate::{
    BusError,
    consumer::{Handler, upkeep::Answers},
    ledger::{NextOffset, Settled},
    metrics::METRICS,
};

/// The shortest wait before a last commit is tried again.
pub(super) const COMMIT_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl<H: Handler> Loop<H> {
    /// Sends what is due for commit, and asks how all stands, unless an earlier question is still open.
    pub(super) fn keep_up(&mut self) -> Result<(), BusError> {
        let oldest = self.oldest();
        let age = oldest.map_or(0.0, |oldest| oldest.since.elapsed().as_secs_f64());
        METRICS.oldest_try.with_label_values(&[self.stage]).set(age);
        self.status.update().working = oldest;
        METRICS.in_hand.with_label_values(&[self.stage]).set(gauge(self.ledger.load().records as u64));
        if self.upkeep.is_none() {
            let due = self.ledger.take_due();
            self.member.commit(&due)?;
            self.upkeep = Some(self.member.ask(self.ledger.assigned(), self.ledger.unconfirmed())?);
        }
        Ok(())
    }

    pub(super) fn note(&mut self, answers: Result<Answers, BusError>) {
        self.upkeep = None;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return self.trouble(&error.to_string()),
        };
        self.availability.back();
        self.status.update().answered = Some(Instant::now());
        let Some(standings) = answers.standings else { return };
        self.pulse.heard(answers.asked);
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

    /// Commits until every frontier stands; for whom the end has begun.
    pub(super) async fn commit_the_last(&mut self) {
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

/// The answers to the open question; never, if none is open.
pub(super) async fn answered(upkeep: &mut Option<JoinHandle<Result<Answers, BusError>>>) -> Result<Answers, BusError> {
    match upkeep {
        Some(open) => open.await?,
        None => std::future::pending().await,
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
