//! The offset ledger: which records of a partition are in hand, and up to where everything is done.
//!
//! Records complete in any order; what may be committed is the *frontier*: one past the last record of the unbroken run
//! of done ones. An offset beyond it would skip a record that is not done. Each assignment of a partition is a life of
//! its own, with a generation: what completes after its life has ended is refused, for another member reads it again.
//!
//! Plain and synchronous; it never panics.

use std::collections::{BTreeMap, VecDeque};

use crate::Topic;

/// A partition of one of our topics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct TopicPartition {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic.name(), self.partition)
    }
}

/// The offset to commit: the first one *not* done. A type of its own, because one client call takes the last done
/// offset and the next takes this, and both are integers (rust-rdkafka issue 851).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct NextOffset(i64);

impl NextOffset {
    /// What follows a done record.
    pub(crate) fn after(offset: i64) -> Self {
        Self(offset.saturating_add(1))
    }

    /// As brokers hold it.
    pub(crate) fn committed(raw: i64) -> Self {
        Self(raw)
    }

    /// As brokers want it.
    pub(crate) fn raw(self) -> i64 {
        self.0
    }
}

/// Which assignment of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u64);

/// What a consumer, or one partition of it, may have in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Load {
    /// Records delivered and not yet passed by the frontier: a record that is done behind a gap still counts, so the
    /// distance between what is read and what is committed stays bounded. Held ones do not count: see [`Ledger::hold`].
    pub(crate) records: usize,
    /// Bytes of records that are neither done nor held.
    pub(crate) bytes: usize,
}

impl Load {
    /// The share of one of `partitions`. Each has its own, so one that waits does not hold up the others.
    pub(crate) fn share(self, partitions: usize) -> Self {
        let n = partitions.max(1);
        Self { records: (self.records / n).max(1), bytes: (self.bytes / n).max(1) }
    }
}

/// What to tell the client of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// Fetch no more for now.
    Pause,
    /// Fetch again.
    Resume,
}

/// What became of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Completion {
    /// The frontier moved.
    Advanced,
    /// Noted; an earlier record is not done yet.
    Waiting,
    /// Of an ended life, or not in hand: nothing changed.
    Refused,
}

/// A commit that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) at: TopicPartition,
    pub(crate) generation: Generation,
    pub(crate) next: NextOffset,
}

/// Whether brokers hold what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// They do.
    Confirmed,
    /// They do not: it is due again.
    Missing,
    /// The life it was of has ended.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Held,
    Done,
}

struct InHand {
    offset: i64,
    bytes: usize,
    state: State,
}

struct Life {
    generation: Generation,
    /// Ascending by offset; the first is not done.
    in_hand: VecDeque<InHand>,
    /// Of the open ones.
    bytes: usize,
    held: usize,
    last_delivered: Option<i64>,
    frontier: Option<NextOffset>,
    sent: Option<NextOffset>,
    confirmed: Option<NextOffset>,
    paused: bool,
}

/// The ledger of one consumer.
#[derive(Default)]
pub(crate) struct Ledger {
    lives: BTreeMap<TopicPartition, Life>,
    generations: u64,
}

impl Ledger {
    /// Begins a life. One that still stands is ended.
    pub(crate) fn assign(&mut self, at: TopicPartition) -> Generation {
        self.generations += 1;
        let generation = Generation(self.generations);
        let life = Life {
            generation,
            in_hand: VecDeque::new(),
            bytes: 0,
            held: 0,
            last_delivered: None,
            frontier: None,
            sent: None,
            confirmed: None,
            paused: false,
        };
        self.lives.insert(at, life);
        generation
    }

    /// Ends a life: nothing of it is in hand any more, and what completes later is refused.
    pub(crate) fn end(&mut self, at: TopicPartition) {
        self.lives.remove(&at);
    }

    /// A record came. `None` if the partition is not ours, or the record was delivered before in this life.
    pub(crate) fn deliver(&mut self, at: TopicPartition, offset: i64, bytes: usize) -> Option<Generation> {
        let life = self.lives.get_mut(&at)?;
        if life.last_delivered.is_some_and(|last| offset <= last) {
            return None;
        }
        life.last_delivered = Some(offset);
        life.in_hand.push_back(InHand { offset, bytes, state: State::Open });
        life.bytes = life.bytes.saturating_add(bytes);
        Some(life.generation)
    }

    /// A record is done.
    pub(crate) fn complete(&mut self, at: TopicPartition, generation: Generation, offset: i64) -> Completion {
        let Some(life) = self.life(at, generation) else { return Completion::Refused };
        if !life.advance(offset, State::Done) {
            return Completion::Refused;
        }
        let before = life.frontier;
        while let Some(record) = life.in_hand.pop_front_if(|record| record.state == State::Done) {
            life.frontier = Some(NextOffset::after(record.offset));
        }
        if life.frontier == before { Completion::Waiting } else { Completion::Advanced }
    }

    /// Nothing is left to do for a record, but it must not be committed yet: the frontier waits until it is completed.
    /// It weighs nothing from now on: what ends the wait is a later record, and the budget must not keep that one out.
    /// Whoever holds bounds how many.
    pub(crate) fn hold(&mut self, at: TopicPartition, generation: Generation, offset: i64) -> Completion {
        let held = self.life(at, generation).is_some_and(|life| life.advance(offset, State::Held));
        if held { Completion::Waiting } else { Completion::Refused }
    }

    fn life(&mut self, at: TopicPartition, generation: Generation) -> Option<&mut Life> {
        self.lives.get_mut(&at).filter(|life| life.generation == generation)
    }

    /// Whether this life of the partition still stands.
    pub(crate) fn lives(&self, at: TopicPartition, generation: Generation) -> bool {
        self.lives.get(&at).is_some_and(|life| life.generation == generation)
    }

    /// The partitions assigned now.
    pub(crate) fn assigned(&self) -> Vec<TopicPartition> {
        self.lives.keys().copied().collect()
    }

    /// The offset up to which everything is done, if anything is.
    pub(crate) fn frontier(&self, at: TopicPartition) -> Option<NextOffset> {
        self.lives.get(&at)?.frontier
    }

    /// What is in hand, in all partitions.
    pub(crate) fn load(&self) -> Load {
        self.lives.values().fold(Load::default(), |sum, life| Load {
            records: sum.records + life.weighing(),
            bytes: sum.bytes + life.bytes,
        })
    }

    /// Whether a partition should be paused or resumed, given the consumer's whole budget. Resuming waits until half of
    /// the share is free: each pause throws away what the client has prefetched.
    pub(crate) fn flow(&mut self, at: TopicPartition, budget: Load) -> Option<Flow> {
        let share = budget.share(self.lives.len());
        let life = self.lives.get_mut(&at)?;
        let (records, bytes) = (life.weighing(), life.bytes);
        if !life.paused && (records >= share.records || bytes >= share.bytes) {
            life.paused = true;
            Some(Flow::Pause)
        } else if life.paused && records <= share.records / 2 && bytes <= share.bytes / 2 {
            life.paused = false;
            Some(Flow::Resume)
        } else {
            None
        }
    }

    /// Whether a partition is paused.
    pub(crate) fn is_paused(&self, at: TopicPartition) -> bool {
        self.lives.get(&at).is_some_and(|life| life.paused)
    }

    /// The commits to send: every frontier that moved since it was last sent. They count as sent.
    pub(crate) fn take_due(&mut self) -> Vec<Sent> {
        self.lives.iter_mut().filter_map(|(at, life)| life.take_due(*at)).collect()
    }

    /// The commits that brokers have not confirmed, as last sent.
    pub(crate) fn unconfirmed(&self) -> Vec<Sent> {
        let unconfirmed = |(at, life): (&TopicPartition, &Life)| {
            let next = life.sent.filter(|sent| Some(*sent) > life.confirmed)?;
            Some(Sent { at: *at, generation: life.generation, next })
        };
        self.lives.iter().filter_map(unconfirmed).collect()
    }

    /// What brokers answered about a commit that was sent.
    pub(crate) fn settle(&mut self, sent: Sent, committed: Option<NextOffset>) -> Settled {
        let Some(life) = self.life(sent.at, sent.generation) else { return Settled::Ended };
        if committed >= Some(sent.next) {
            life.confirmed = life.confirmed.max(committed);
            Settled::Confirmed
        } else {
            life.sent = life.confirmed;
            Settled::Missing
        }
    }

    /// Whether a partition's frontier is confirmed, or there is none.
    pub(crate) fn is_settled(&self, at: TopicPartition) -> bool {
        self.lives.get(&at).is_none_or(|life| life.frontier <= life.confirmed)
    }

    /// Whether every frontier is confirmed.
    pub(crate) fn is_all_settled(&self) -> bool {
        self.lives.keys().all(|at| self.is_settled(*at))
    }
}

impl Life {
    /// Moves a record on; `false` if it is not in hand, or was there already.
    fn advance(&mut self, offset: i64, state: State) -> bool {
        let Ok(index) = self.in_hand.binary_search_by_key(&offset, |record| record.offset) else { return false };
        let Some(record) = self.in_hand.get_mut(index) else { return false };
        match (record.state, state) {
            (State::Open, State::Held) => {
                self.bytes = self.bytes.saturating_sub(record.bytes);
                self.held += 1;
            }
            (State::Open, State::Done) => self.bytes = self.bytes.saturating_sub(record.bytes),
            (State::Held, State::Done) => self.held = self.held.saturating_sub(1),
            (_, State::Open) | (State::Held, State::Held) | (State::Done, _) => return false,
        }
        record.state = state;
        true
    }

    /// The records that count in the budget.
    fn weighing(&self) -> usize {
        self.in_hand.len().saturating_sub(self.held)
    }

    fn take_due(&mut self, at: TopicPartition) -> Option<Sent> {
        let next = self.frontier.filter(|frontier| Some(*frontier) > self.sent)?;
        self.sent = Some(next);
        Some(Sent { at, generation: self.generation, next })
    }
}

#[cfg(test)]
mod tests;
