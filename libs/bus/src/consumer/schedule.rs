//! Which record may be handled now: records of one key in order and one at a time, different keys side by side.
//!
//! Plain and synchronous, over whatever the items are.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::ledger::TopicPartition;

/// What is handled in order: one key of one partition. Records without a key share the lane of their partition.
///
/// The lane outlives an assignment on purpose: when a partition is lost and comes back while an old record of a key is
/// still being handled, the new records of that key wait for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lane {
    pub(crate) at: TopicPartition,
    pub(crate) key: Option<Arc<[u8]>>,
}

/// When a waiting lane may go on; the number keeps two of the same instant apart.
type Due = (Instant, u64);

enum State {
    /// Its first item may start.
    Ready,
    /// Its first item is being handled.
    Running,
    /// Its first item is to be tried again later.
    Waiting,
}

struct Queue<T> {
    /// Never empty: a lane with nothing to do is forgotten.
    items: VecDeque<T>,
    state: State,
}

/// The schedule of one consumer.
pub(crate) struct Schedule<T> {
    queues: HashMap<Lane, Queue<T>>,
    ready: VecDeque<Lane>,
    waiting: BTreeMap<Due, Lane>,
    numbers: u64,
    running: usize,
    side_by_side: usize,
}

impl<T: Clone> Schedule<T> {
    /// At most `side_by_side` lanes run at once. A lane that waits for its next try is not one of them.
    pub(crate) fn new(side_by_side: usize) -> Self {
        Self {
            queues: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            numbers: 0,
            running: 0,
            side_by_side: side_by_side.max(1),
        }
    }

    /// Appends an item to its lane.
    pub(crate) fn push(&mut self, lane: Lane, item: T) {
        if let Some(queue) = self.queues.get_mut(&lane) {
            queue.items.push_back(item);
        } else {
            self.queues.insert(lane.clone(), Queue { items: VecDeque::from([item]), state: State::Ready });
            self.ready.push_back(lane);
        }
    }

    /// The next item to handle, if one may start; it stays the first of its lane until [`Schedule::done`].
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Lane, T)> {
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let lane = entry.remove();
            if let Some(queue) = self.queues.get_mut(&lane) {
                queue.state = State::Ready;
                self.ready.push_back(lane);
            }
        }
        if self.running >= self.side_by_side {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let queue = self.queues.get_mut(&lane)?;
        let item = queue.items.front()?.clone();
        queue.state = State::Running;
        self.running += 1;
        Some((lane, item))
    }

    /// The running item of this lane is finished with: on to the next.
    pub(crate) fn done(&mut self, lane: &Lane) {
        let Some(queue) = self.running_queue(lane) else { return };
        queue.items.pop_front();
        if queue.items.is_empty() {
            self.queues.remove(lane);
        } else {
            queue.state = State::Ready;
            self.ready.push_back(lane.clone());
        }
        self.running -= 1;
    }

    /// The running item of this lane is to be tried again at `at`; nothing of the lane starts before.
    pub(crate) fn retry(&mut self, lane: &Lane, at: Instant) {
        self.numbers += 1;
        let due = (at, self.numbers);
        let Some(queue) = self.running_queue(lane) else { return };
        queue.state = State::Waiting;
        self.waiting.insert(due, lane.clone());
        self.running -= 1;
    }

    /// Forgets what has not started of a partition.
    pub(crate) fn revoke(&mut self, at: TopicPartition) {
        self.queues.retain(|lane, queue| {
            if lane.at != at {
                return true;
            }
            match queue.state {
                State::Running => {
                    queue.items.truncate(1);
                    true
                }
                State::Ready | State::Waiting => false,
            }
        });
        self.ready.retain(|lane| lane.at != at);
        self.waiting.retain(|_, lane| lane.at != at);
    }

    /// Whether anything of a partition is being handled.
    pub(crate) fn is_running(&self, at: TopicPartition) -> bool {
        self.queues.iter().any(|(lane, queue)| lane.at == at && matches!(queue.state, State::Running))
    }

    /// When [`Schedule::start`] may have something that it has not now.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn running_queue(&mut self, lane: &Lane) -> Option<&mut Queue<T>> {
        self.queues.get_mut(lane).filter(|queue| matches!(queue.state, State::Running))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::Topic;

    fn lane(partition: i32, key: u8) -> Lane {
        Lane { at: TopicPartition { topic: Topic::Events, partition }, key: (key > 0).then(|| Arc::from([key])) }
    }

    #[test]
    fn one_key_runs_one_at_a_time_and_two_keys_side_by_side() {
        let (mut schedule, now) = (Schedule::new(8), Instant::now());
        schedule.push(lane(0, 1), "a1");
        schedule.push(lane(0, 1), "a2");
        schedule.push(lane(0, 2), "b1");
        assert_eq!(schedule.start(now).unwrap().1, "a1");
        assert_eq!(schedule.start(now).unwrap().1, "b1");
        assert!(schedule.start(now).is_none(), "a2 waits for a1");
        schedule.done(&lane(0, 1));
        assert_eq!(schedule.start(now).unwrap().1, "a2");
    }

    #[test]
    fn a_retry_holds_its_key_until_it_is_due_and_gives_its_place_to_others() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let later = now + Duration::from_secs(1);
        schedule.push(lane(0, 1), "a1");
        schedule.push(lane(0, 1), "a2");
        schedule.push(lane(0, 2), "b1");
        assert_eq!(schedule.start(now).unwrap().1, "a1");
        schedule.retry(&lane(0, 1), later);
        assert_eq!(schedule.next_due(), Some(later));
        assert_eq!(schedule.start(now).unwrap().1, "b1");
        schedule.done(&lane(0, 2));
        assert!(schedule.start(now).is_none());
        assert_eq!(schedule.start(later).unwrap().1, "a1", "the same again, nothing skipped");
        schedule.done(&lane(0, 1));
        assert_eq!(schedule.start(later).unwrap().1, "a2");
    }

    #[test]
    fn a_lost_partition_that_comes_back_waits_for_what_still_runs() {
        let (mut schedule, now) = (Schedule::new(8), Instant::now());
        schedule.push(lane(0, 1), "old 1");
        schedule.push(lane(0, 1), "old 2");
        schedule.push(lane(1, 1), "other partition");
        assert_eq!(schedule.start(now).unwrap().1, "old 1");
        schedule.revoke(lane(0, 1).at);
        assert!(schedule.is_running(lane(0, 1).at));
        schedule.push(lane(0, 1), "new 1");
        assert_eq!(schedule.start(now).unwrap().1, "other partition");
        assert!(schedule.start(now).is_none());
        schedule.done(&lane(0, 1));
        assert_eq!(schedule.start(now).unwrap().1, "new 1", "old 2 is forgotten");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { partition: i32, key: u8 },
        Start,
        Done(usize),
        Retry(usize, u64),
        Wait(u64),
        Revoke(i32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..2, 0..3u8).prop_map(|(partition, key)| Step::Push { partition, key }),
            6 => Just(Step::Start),
            4 => any::<usize>().prop_map(Step::Done),
            2 => (any::<usize>(), 0..20u64).prop_map(|(which, ms)| Step::Retry(which, ms)),
            2 => (0..20u64).prop_map(Step::Wait),
            1 => (0..2).prop_map(Step::Revoke),
        ]
    }

    proptest! {
        #[test]
        fn any_schedule_keeps_order_and_loses_nothing(
            steps in prop::collection::vec(step(), 0..200),
            side_by_side in 1..4usize,
        ) {
            let mut schedule = Schedule::new(side_by_side);
            let mut now = Instant::now();
            let mut pushed = 0u32;
            // What each lane still owes, in order; what runs; and until when a lane must not start.
            let mut owed: HashMap<Lane, VecDeque<u32>> = HashMap::new();
            let mut running: Vec<Lane> = Vec::new();
            let mut not_before: HashMap<Lane, Instant> = HashMap::new();
            for step in steps {
                match step {
                    Step::Push { partition, key } => {
                        pushed += 1;
                        schedule.push(lane(partition, key), pushed);
                        owed.entry(lane(partition, key)).or_default().push_back(pushed);
                    }
                    Step::Start => {
                        let may = |l: &Lane| !running.contains(l) && not_before.get(l).is_none_or(|t| *t <= now);
                        let startable = owed.iter().any(|(l, items)| !items.is_empty() && may(l));
                        match schedule.start(now) {
                            Some((l, item)) => {
                                prop_assert!(may(&l), "one at a time, and not before it is due");
                                prop_assert_eq!(owed[&l].front(), Some(&item), "in order");
                                running.push(l);
                                prop_assert!(running.len() <= side_by_side);
                            }
                            None => prop_assert!(!startable || running.len() == side_by_side, "never idle without reason"),
                        }
                    }
                    Step::Done(which) if !running.is_empty() => {
                        let l = running.swap_remove(which % running.len());
                        schedule.done(&l);
                        not_before.remove(&l);
                        owed.get_mut(&l).unwrap().pop_front();
                    }
                    Step::Retry(which, ms) if !running.is_empty() => {
                        let l = running.swap_remove(which % running.len());
                        let at = now + Duration::from_millis(ms);
                        schedule.retry(&l, at);
                        not_before.insert(l, at);
                    }
                    Step::Done(_) | Step::Retry(..) => {}
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Revoke(partition) => {
                        schedule.revoke(lane(partition, 1).at);
                        for (l, items) in owed.iter_mut().filter(|(l, _)| l.at.partition == partition) {
                            items.truncate(usize::from(running.contains(l)));
                        }
                        not_before.retain(|l, _| l.at.partition != partition || running.contains(l));
                    }
                }
            }
            // Let everything run out: each owed item is started once, in order.
            for l in running.drain(..) {
                schedule.done(&l);
                owed.get_mut(&l).unwrap().pop_front();
            }
            now += Duration::from_secs(1);
            while let Some((l, item)) = schedule.start(now) {
                prop_assert_eq!(owed.get_mut(&l).unwrap().pop_front(), Some(item));
                schedule.done(&l);
            }
            prop_assert!(owed.values().all(VecDeque::is_empty));
            prop_assert!(schedule.queues.is_empty() && schedule.waiting.is_empty() && schedule.ready.is_empty());
            prop_assert_eq!(schedule.running, 0);
        }
    }
}
