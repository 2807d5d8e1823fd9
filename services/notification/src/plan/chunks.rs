//! Recipients into push tasks: by bucket, bounded, each person once.

use std::collections::HashSet;

use porchlight_domain::{Alert, HomeId, Lane, PushTask, RESIDENT_BUCKETS, Recipient, ResidentId};

/// The most people remembered as planned. Beyond it some may be planned twice, and the ledger drops the repeat: memory
/// stays bounded however many people a neighborhood has.
const REMEMBERED: usize = 200_000;

/// Collects the recipients of one alert through one lane.
#[derive(Debug)]
pub struct Chunks {
    alert: Alert,
    lane: Lane,
    buckets: Vec<Vec<Recipient>>,
    planned: HashSet<ResidentId>,
    count: u64,
}

impl Chunks {
    /// None yet.
    pub fn new(alert: Alert, lane: Lane) -> Self {
        let buckets = (0..RESIDENT_BUCKETS).map(|_| Vec::new()).collect();
        Self { alert, lane, buckets, planned: HashSet::new(), count: 0 }
    }

    /// Adds a person, unless already planned; a task as soon as a bucket is full.
    pub fn add(&mut self, resident: ResidentId, home: Option<HomeId>) -> Option<PushTask> {
        if self.planned.len() >= REMEMBERED {
            self.planned.clear();
        }
        if !self.planned.insert(resident) {
            return None;
        }
        self.count += 1;
        let bucket = &mut self.buckets[usize::from(resident.bucket())];
        bucket.push(Recipient { resident, home });
        (bucket.len() == PushTask::MAX_RECIPIENTS).then(|| {
            let recipients = std::mem::take(bucket);
            task(&self.alert, self.lane, resident.bucket(), recipients)
        })
    }

    /// How many people were added so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is left.
    pub fn rest(self) -> impl Iterator<Item = PushTask> + Send {
        let Self { alert, lane, buckets, .. } = self;
        (0..RESIDENT_BUCKETS)
            .zip(buckets)
            .filter(|(_, recipients)| !recipients.is_empty())
            .map(move |(bucket, recipients)| task(&alert, lane, bucket, recipients))
    }
}

fn task(alert: &Alert, lane: Lane, bucket: u8, recipients: Vec<Recipient>) -> PushTask {
    PushTask { alert: alert.clone(), lane, bucket, recipients }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::{AlertId, EventId, HouseholdId, ItemId, Kind, Labels, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn alert() -> Alert {
        let item = ItemId(Uuid::from_u128(1));
        Alert {
            id: AlertId::of_item(item),
            item,
            revision: 2,
            event: EventId(Uuid::nil()),
            shared_revision: 1,
            household: HouseholdId(Uuid::from_u128(2)),
            neighborhoods: Vec::new(),
            lane: Lane::Motion,
            kind: Kind::Motion,
            labels: Labels::NONE,
            shared_labels: Labels::NONE,
            created_at: Timestamp(0),
            expires_at: Timestamp(600_000),
            stream_only: false,
        }
    }

    fn tasks_of(people: &[u128]) -> Vec<PushTask> {
        let mut chunks = Chunks::new(alert(), Lane::Neighborhood);
        let mut tasks = Vec::new();
        for (n, person) in people.iter().enumerate() {
            tasks.extend(chunks.add(ResidentId(Uuid::from_u128(*person)), Some(HomeId(Uuid::from_u128(n as u128)))));
        }
        tasks.extend(chunks.rest());
        tasks
    }

    #[test]
    fn a_full_bucket_leaves_at_once() {
        // All of one bucket: the last byte is the same.
        let people: Vec<u128> = (0..1_201).map(|n| n << 8).collect();
        let sizes: Vec<usize> = tasks_of(&people).iter().map(|t| t.recipients.len()).collect();
        assert_eq!(sizes, [500, 500, 201]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn g8_everybody_is_in_one_task_of_the_right_bucket(
            people in prop::collection::vec(prop_oneof![0..2_000_u128, (0..2_000_u128).prop_map(|n| n << 6)], 0..3_000),
        ) {
            let tasks = tasks_of(&people);
            let mut planned = Vec::new();
            for task in &tasks {
                prop_assert!((1..=PushTask::MAX_RECIPIENTS).contains(&task.recipients.len()));
                prop_assert_eq!(task.lane, Lane::Neighborhood);
                prop_assert_eq!(&task.alert, &alert());
                for recipient in &task.recipients {
                    prop_assert_eq!(recipient.resident.bucket(), task.bucket);
                    planned.push(recipient.resident.0.as_u128());
                }
            }
            planned.sort_unstable();
            let mut expected = people;
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(planned, expected);
        }
    }
}
