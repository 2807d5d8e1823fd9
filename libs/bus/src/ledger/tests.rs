use proptest::prelude::*;

use super::*;

const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 0 };

#[test]
fn g2_the_frontier_never_passes_a_record_that_is_not_done() {
    let mut ledger = Ledger::default();
    let life = ledger.assign(AT);
    for offset in [10, 11, 15] {
        assert_eq!(ledger.deliver(AT, offset, 1), Some(life));
    }
    assert_eq!(ledger.complete(AT, life, 15), Completion::Waiting);
    assert_eq!(ledger.complete(AT, life, 11), Completion::Waiting);
    assert_eq!(ledger.frontier(AT), None);
    assert!(ledger.take_due().is_empty());
    assert_eq!(ledger.complete(AT, life, 10), Completion::Advanced);
    assert_eq!(ledger.frontier(AT), Some(NextOffset(16)), "one past the last, over the hole in the offsets");
    assert_eq!(ledger.load(), Load::default());
}

#[test]
fn what_completes_after_its_life_is_refused() {
    let mut ledger = Ledger::default();
    let first = ledger.assign(AT);
    ledger.deliver(AT, 5, 1);
    ledger.end(AT);
    assert_eq!(ledger.complete(AT, first, 5), Completion::Refused);
    let second = ledger.assign(AT);
    ledger.deliver(AT, 5, 1);
    assert_eq!(ledger.complete(AT, first, 5), Completion::Refused, "the same offset, but of the life before");
    assert_eq!(ledger.frontier(AT), None);
    assert_eq!(ledger.complete(AT, second, 5), Completion::Advanced);
    assert_eq!(ledger.complete(AT, second, 5), Completion::Refused, "twice");
}

#[test]
fn a_record_that_comes_again_in_one_life_is_not_handled_again() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.deliver(AT, 1, 1), None, "not assigned");
    ledger.assign(AT);
    assert!(ledger.deliver(AT, 1, 1).is_some());
    assert_eq!(ledger.deliver(AT, 1, 1), None);
    assert_eq!(ledger.deliver(AT, 0, 1), None);
}

#[test]
fn a_partition_pauses_at_its_share_and_resumes_at_half_of_it() {
    let mut ledger = Ledger::default();
    let other = TopicPartition { partition: 1, ..AT };
    let life = ledger.assign(AT);
    ledger.assign(other);
    let budget = Load { records: 8, bytes: 1000 };
    for offset in 0..3 {
        ledger.deliver(AT, offset, 1);
        assert_eq!(ledger.flow(AT, budget), None);
    }
    ledger.deliver(AT, 3, 1);
    assert_eq!(ledger.flow(AT, budget), Some(Flow::Pause));
    assert_eq!(ledger.flow(other, budget), None, "its neighbor goes on");
    ledger.complete(AT, life, 0);
    assert_eq!(ledger.flow(AT, budget), None);
    ledger.complete(AT, life, 1);
    assert_eq!(ledger.flow(AT, budget), Some(Flow::Resume));
    ledger.deliver(AT, 4, 600);
    assert_eq!(ledger.flow(AT, budget), Some(Flow::Pause), "by bytes");
}

#[test]
fn a_commit_that_brokers_do_not_hold_is_due_again() {
    let mut ledger = Ledger::default();
    let life = ledger.assign(AT);
    ledger.deliver(AT, 0, 1);
    ledger.complete(AT, life, 0);
    let sent = ledger.take_due();
    assert_eq!(sent, vec![Sent { at: AT, generation: life, next: NextOffset(1) }]);
    assert!(ledger.take_due().is_empty());
    assert_eq!(ledger.unconfirmed(), sent);
    assert_eq!(ledger.settle(sent[0], None), Settled::Missing);
    assert!(!ledger.is_all_settled());
    assert_eq!(ledger.take_due(), sent);
    assert_eq!(ledger.settle(sent[0], Some(NextOffset(1))), Settled::Confirmed);
    assert!(ledger.is_settled(AT) && ledger.unconfirmed().is_empty());
    ledger.end(AT);
    assert_eq!(ledger.settle(sent[0], Some(NextOffset(1))), Settled::Ended);
}

#[test]
fn a_held_record_stops_the_frontier_and_weighs_nothing() {
    let mut ledger = Ledger::default();
    let life = ledger.assign(AT);
    let budget = Load { records: 2, bytes: 100 };
    for offset in 0..2 {
        ledger.deliver(AT, offset, 100);
    }
    assert_eq!(ledger.flow(AT, budget), Some(Flow::Pause));
    assert_eq!(ledger.hold(AT, life, 0), Completion::Waiting);
    assert_eq!(ledger.hold(AT, life, 0), Completion::Refused, "twice");
    assert_eq!(ledger.load(), Load { records: 1, bytes: 100 });
    assert_eq!(ledger.hold(AT, life, 1), Completion::Waiting);
    assert_eq!(ledger.flow(AT, budget), Some(Flow::Resume), "what ends the run can come");
    assert_eq!(ledger.frontier(AT), None);
    assert_eq!(ledger.complete(AT, life, 0), Completion::Advanced);
    assert_eq!(ledger.complete(AT, life, 1), Completion::Advanced);
    assert_eq!(ledger.hold(AT, life, 1), Completion::Refused, "it is done");
    assert_eq!((ledger.frontier(AT), ledger.load()), (Some(NextOffset(2)), Load::default()));
}

#[derive(Clone, Debug)]
enum Step {
    Assign(i32),
    Revoke(i32),
    Poll {
        partition: i32,
        gap: i64,
        bytes: usize,
    },
    Complete(usize),
    /// To be tried again: nothing changes, which is the point.
    Fail(usize),
    Hold(usize),
    Commit {
        held: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3).prop_map(Step::Assign),
        1 => (0..3).prop_map(Step::Revoke),
        6 => (0..3, 1..4i64, 0..50usize).prop_map(|(partition, gap, bytes)| Step::Poll { partition, gap, bytes }),
        6 => any::<usize>().prop_map(Step::Complete),
        2 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(|held| Step::Commit { held }),
    ]
}

/// What a reader of the documentation would write down: every record of every life.
struct Delivered {
    at: TopicPartition,
    generation: Generation,
    offset: i64,
    bytes: usize,
    state: State,
}

/// The consumer's budget, so small that partitions pause all the time.
const BUDGET: Load = Load { records: 12, bytes: 200 };

/// The ledger beside the plain list, and what the client would know of each partition.
#[derive(Default)]
struct Beside {
    ledger: Ledger,
    all: Vec<Delivered>,
    living: BTreeMap<TopicPartition, Generation>,
    paused: BTreeMap<TopicPartition, bool>,
    frontiers: BTreeMap<TopicPartition, NextOffset>,
    next: i64,
}

impl Beside {
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let at = |partition: i32| TopicPartition { partition, ..AT };
        match *step {
            Step::Assign(partition) => {
                let generation = self.ledger.assign(at(partition));
                self.living.insert(at(partition), generation);
                self.paused.insert(at(partition), false);
                self.frontiers.remove(&at(partition));
            }
            Step::Revoke(partition) => {
                self.living.remove(&at(partition));
                self.frontiers.remove(&at(partition));
                self.ledger.end(at(partition));
            }
            // A paused partition delivers nothing.
            Step::Poll { partition, .. } if self.ledger.is_paused(at(partition)) => {}
            Step::Poll { partition, gap, bytes } => {
                let at = at(partition);
                self.next += gap;
                let generation = self.ledger.deliver(at, self.next, bytes);
                prop_assert_eq!(generation, self.living.get(&at).copied(), "only what is ours is in hand");
                if let Some(generation) = generation {
                    let offset = self.next;
                    self.all.push(Delivered { at, generation, offset, bytes, state: State::Open });
                }
            }
            Step::Complete(_) | Step::Fail(_) | Step::Hold(_) if self.all.is_empty() => {}
            Step::Complete(which) => self.complete(which % self.all.len())?,
            Step::Fail(which) => {
                let count = self.all.len();
                let record = &self.all[which % count];
                let alive = self.living.get(&record.at) == Some(&record.generation);
                let passed = self.ledger.frontier(record.at) > Some(NextOffset(record.offset));
                prop_assert!(!alive || record.state == State::Done || !passed, "the frontier waits for a retry");
            }
            Step::Hold(which) => {
                let count = self.all.len();
                let record = &mut self.all[which % count];
                let alive = self.living.get(&record.at) == Some(&record.generation);
                let held = self.ledger.hold(record.at, record.generation, record.offset);
                prop_assert_eq!(held == Completion::Refused, record.state != State::Open || !alive);
                if record.state == State::Open {
                    record.state = State::Held;
                }
            }
            Step::Commit { held } => {
                for sent in self.ledger.take_due() {
                    prop_assert_eq!(self.ledger.frontier(sent.at), Some(sent.next), "no commit but of a frontier");
                    let settled = self.ledger.settle(sent, held.then_some(sent.next));
                    prop_assert_eq!(settled, if held { Settled::Confirmed } else { Settled::Missing });
                }
                prop_assert!(self.ledger.unconfirmed().is_empty());
                prop_assert!(!held || self.ledger.is_all_settled());
            }
        }
        Ok(())
    }

    fn complete(&mut self, which: usize) -> Result<(), TestCaseError> {
        let record = &mut self.all[which];
        let alive = self.living.get(&record.at) == Some(&record.generation);
        let completion = self.ledger.complete(record.at, record.generation, record.offset);
        let refused = completion == Completion::Refused;
        prop_assert_eq!(refused, record.state == State::Done || !alive, "late or twice is refused");
        record.state = State::Done;
        Ok(())
    }

    /// What holds after every step.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let mut expected = Load::default();
        for (at, generation) in &self.living {
            let of_life = || self.all.iter().filter(|d| d.at == *at && d.generation == *generation);
            let frontier = self.ledger.frontier(*at);
            let run = of_life().take_while(|d| d.state == State::Done).last().map(|d| NextOffset(d.offset + 1));
            prop_assert_eq!(frontier, run, "the frontier is the end of the run of done records");
            prop_assert!(frontier >= self.frontiers.get(at).copied(), "it never goes back within a life");
            self.frontiers.extend(frontier.map(|frontier| (*at, frontier)));
            let waiting = || of_life().skip_while(|d| d.state == State::Done).filter(|d| d.state != State::Held);
            let load = Load {
                records: waiting().count(),
                bytes: waiting().filter(|d| d.state == State::Open).map(|d| d.bytes).sum(),
            };
            expected.records += load.records;
            expected.bytes += load.bytes;

            let share = BUDGET.share(self.living.len());
            let full = load.records >= share.records || load.bytes >= share.bytes;
            let half_empty = load.records <= share.records / 2 && load.bytes <= share.bytes / 2;
            let paused = self.paused.entry(*at).or_default();
            let flow = self.ledger.flow(*at, BUDGET);
            prop_assert_eq!(flow == Some(Flow::Pause), !*paused && full, "paused once, when the share is full");
            prop_assert_eq!(flow == Some(Flow::Resume), *paused && !full && half_empty, "resumed once, at half");
            *paused = self.ledger.is_paused(*at);
        }
        prop_assert_eq!(self.ledger.load(), expected);
        Ok(())
    }
}

proptest! {
    #[test]
    fn over_any_schedule_the_ledger_agrees_with_a_plain_list(steps in prop::collection::vec(step(), 0..200)) {
        let mut beside = Beside::default();
        for step in &steps {
            beside.take(step)?;
            beside.check()?;
        }
        for which in 0..beside.all.len() {
            beside.complete(which)?;
        }
        beside.check()?;
        prop_assert_eq!(beside.ledger.load(), Load::default(), "the budget returns to zero");
        prop_assert!(beside.living.keys().all(|at| !beside.ledger.is_paused(*at)), "and all flows again");
    }
}
