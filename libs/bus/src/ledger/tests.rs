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

#[derive(Clone, Debug)]
enum Step {
    Assign(i32),
    End(i32),
    Deliver { partition: i32, gap: i64, bytes: usize },
    Complete(usize),
    Commit { held: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3).prop_map(Step::Assign),
        1 => (0..3).prop_map(Step::End),
        6 => (0..3, 1..4i64, 0..50usize).prop_map(|(partition, gap, bytes)| Step::Deliver { partition, gap, bytes }),
        6 => any::<usize>().prop_map(Step::Complete),
        1 => any::<bool>().prop_map(|held| Step::Commit { held }),
    ]
}

/// What a reader of the documentation would write down: every record of every life.
struct Delivered {
    at: TopicPartition,
    generation: Generation,
    offset: i64,
    bytes: usize,
    done: bool,
}

proptest! {
    #[test]
    fn over_any_schedule_the_ledger_agrees_with_a_plain_list(steps in prop::collection::vec(step(), 0..200)) {
        let mut ledger = Ledger::default();
        let mut all: Vec<Delivered> = Vec::new();
        let mut living: BTreeMap<TopicPartition, Generation> = BTreeMap::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Assign(partition) => {
                    let at = TopicPartition { partition, ..AT };
                    living.insert(at, ledger.assign(at));
                }
                Step::End(partition) => {
                    let at = TopicPartition { partition, ..AT };
                    living.remove(&at);
                    ledger.end(at);
                }
                Step::Deliver { partition, gap, bytes } => {
                    let at = TopicPartition { partition, ..AT };
                    next += gap;
                    let generation = ledger.deliver(at, next, bytes);
                    prop_assert_eq!(generation, living.get(&at).copied());
                    if let Some(generation) = generation {
                        all.push(Delivered { at, generation, offset: next, bytes, done: false });
                    }
                }
                Step::Complete(which) if !all.is_empty() => {
                    let which = which % all.len();
                    let record = &mut all[which];
                    let alive = living.get(&record.at) == Some(&record.generation);
                    let completion = ledger.complete(record.at, record.generation, record.offset);
                    prop_assert_eq!(completion == Completion::Refused, record.done || !alive);
                    record.done = true;
                }
                Step::Complete(_) => {}
                Step::Commit { held } => {
                    for sent in ledger.take_due() {
                        prop_assert_eq!(ledger.frontier(sent.at), Some(sent.next));
                        let settled = ledger.settle(sent, held.then_some(sent.next));
                        prop_assert_eq!(settled, if held { Settled::Confirmed } else { Settled::Missing });
                    }
                    prop_assert!(ledger.unconfirmed().is_empty());
                    prop_assert!(!held || ledger.is_all_settled());
                }
            }
            let mut expected = Load::default();
            for (at, generation) in &living {
                let of_life = || all.iter().filter(|d| d.at == *at && d.generation == *generation);
                let frontier = of_life().take_while(|d| d.done).last().map(|d| NextOffset(d.offset + 1));
                prop_assert_eq!(ledger.frontier(*at), frontier);
                expected.records += of_life().skip_while(|d| d.done).count();
                expected.bytes += of_life().filter(|d| !d.done).map(|d| d.bytes).sum::<usize>();
            }
            prop_assert_eq!(ledger.load(), expected);
        }
        for record in &all {
            ledger.complete(record.at, record.generation, record.offset);
        }
        prop_assert_eq!(ledger.load(), Load::default(), "the budget returns to zero");
    }
}
