//! The one who writes to a table.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, TableEntry, View,
    entries::{Entries, Kept},
    freshness::Freshness,
    snapshot::{Marks, Snapshot},
    snapshots::Snapshots,
};
use crate::{
    BusError, KafkaConfig, Record,
    follower::{Follower, Step},
    metrics::METRICS,
};

/// How often the brokers are asked for the ends of the partitions, at most; a shorter bound on age asks more often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before the topic is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Why following came to its end.
#[derive(Debug)]
enum Over {
    /// The brokers failed it, or the topic is another one now.
    Failed(BusError),
    /// The log is not the one that the snapshot was made of.
    Distrusted(String),
}

impl std::convert::From<BusError> for Over {
    fn from(error: BusError) -> Self {
        Self::Failed(error)
    }
}

/// Keeps a table: the only one who writes to it.
pub(super) struct Keeper<V: TableEntry, F> {
    pub(super) config: KafkaConfig,
    pub(super) shared: Arc<Shared<V>>,
    pub(super) on_change: F,
    pub(super) snapshots: Option<Snapshots>,
}

impl<V: TableEntry, F: FnMut(&[Arc<V>])> Keeper<V, F> {
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep()).await;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.finish(&self.shared.view.load_full()).await;
        }
    }

    async fn keep(&mut self) {
        loop {
            let Err(over) = self.follow().await;
            match over {
                Over::Distrusted(reason) => self.snapshots.iter_mut().for_each(|snapshots| snapshots.distrust(&reason)),
                Over::Failed(error) => {
                    self.shared.availability.away(error.to_string());
                    tokio::time::sleep(REOPEN_AFTER).await;
                }
            }
        }
    }

    /// Follows the topic from its beginning, or from where the snapshot ends, until that cannot go on. It begins
    /// without entries: what is left of an earlier try may be of a log that is no more.
    async fn follow(&mut self) -> Result<Infallible, Over> {
        let opened = Instant::now();
        let mut follower = Follower::connect(&self.config, V::TOPIC, Arc::clone(&self.shared.availability)).await?;
        let ends = follower.ends().to_vec();
        let resumed = match &mut self.snapshots {
            Some(snapshots) => snapshots.resume(&follower).await,
            None => None,
        };
        let (entries, marks) = match resumed {
            Some(Snapshot { entries, marks, .. }) => (entries, marks),
            None => (Entries::new(), Marks::none(ends.len())),
        };
        follower.begin(&marks.starts())?;
        let mut state =
            Following { entries: Arc::new(entries), marks, freshness: Freshness::new(ends.len()), loaded: false };
        state.freshness.ends(&ends, opened);
        self.publish(&mut state);
        let mut tick = tokio::time::interval(ASK_EVERY.min(self.shared.max_age / 3).max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking: Option<JoinHandle<Answer>> = None;
        loop {
            let confirmed = tokio::select! {
                step = follower.step() => match step? {
                    Step::Record(record) => self.accept(record, &mut state)?,
                    Step::End(partition) => {
                        state.marks.ended(partition).map_err(Over::Distrusted)?;
                        let end = usize::try_from(partition).ok().and_then(|index| ends.get(index)).copied();
                        state.freshness.read_up_to(partition, end.unwrap_or_default())
                    }
                },
                _ = tick.tick() => {
                    self.measure();
                    if let Some(snapshots) = &mut self.snapshots {
                        snapshots.keep_up(&self.shared.view.load_full()).await;
                    }
                    asking.get_or_insert_with(|| {
                        let (asked, read, answer) = (Instant::now(), state.freshness.positions(), follower.ask());
                        tokio::spawn(async move { Answer { asked, read, ends: answer.await } })
                    });
                    false
                }
                answer = answered(&mut asking) => {
                    asking = None;
                    let asked = answer.asked;
                    self.judge(answer)?.is_some_and(|ends| state.freshness.ends(&ends, asked))
                }
            };
            if confirmed {
                self.publish(&mut state);
            }
        }
    }

    /// Takes a record in. Whether it confirmed anything.
    fn accept(&mut self, record: Record, state: &mut Following<V>) -> Result<bool, Over> {
        self.shared.records.fetch_add(1, Ordering::Relaxed);
        let (topic, partition, offset) = (V::TOPIC.name(), record.partition, record.offset);
        if offset < state.freshness.position(partition) {
            return Err(made_again(topic, partition, state.freshness.position(partition)).into());
        }
        let marked = state.marks.met(&record).map_err(Over::Distrusted)?;
        let change = read::<V>(&record, self.snapshots.is_some());
        let left_out = change.is_err();
        match change {
            Ok(Change::Put(kept)) => {
                let value = Arc::clone(&kept.value);
                if state.entries.put(kept) && state.loaded {
                    (self.on_change)(&[value]);
                }
            }
            Ok(Change::Remove(key)) => state.entries.remove(&key),
            Err(reason) => {
                METRICS.table_undecodable.with_label_values(&[topic]).inc();
                tracing::error!(topic, partition, offset, reason, "a record is no entry of its table; left out");
            }
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.note(record, !marked, left_out);
        }
        Ok(state.freshness.read_up_to(partition, offset.saturating_add(1)))
    }

    /// What an answer means: the ends; or nothing, for the brokers are away; or that the topic is another one now.
    fn judge(&self, answer: Answer) -> Result<Option<Vec<i64>>, BusError> {
        let (topic, partitions) = (V::TOPIC.name(), answer.read.len());
        match answer.ends {
            // Keys have moved to other partitions: everything is read again.
            Ok(ends) if ends.len() != partitions => {
                Err(BusError::Kafka(format!("{topic} has {} partitions, it had {partitions}", ends.len())))
            }
            Ok(ends) => {
                self.shared.availability.back();
                let shorter = (0..).zip(answer.read.iter().zip(&ends)).find(|(_, (read, end))| end < read);
                match shorter {
                    Some((partition, (read, _))) => Err(made_again(topic, partition, *read)),
                    None => Ok(Some(ends)),
                }
            }
            Err(error) => {
                self.shared.availability.away(error.to_string());
                Ok(None)
            }
        }
    }

    fn publish(&mut self, state: &mut Following<V>) {
        let (topic, confirmed) = (V::TOPIC.name(), state.freshness.confirmed());
        if !state.loaded && confirmed.is_complete() {
            state.loaded = true;
            let records = self.shared.records.load(Ordering::Relaxed);
            tracing::info!(topic, entries = state.entries.len(), records, "table loaded");
            (self.on_change)(&state.entries.all());
        }
        self.shared.view.store(Arc::new(View { entries: Arc::clone(&state.entries), confirmed }));
    }

    fn measure(&self) {
        let (name, view) = ([V::TOPIC.name()], self.shared.view.load());
        let entries = i64::try_from(view.entries.len()).unwrap_or(i64::MAX);
        METRICS.table_entries.with_label_values(&name).set(entries);
        if let Some(age) = view.confirmed.age(Instant::now()) {
            METRICS.table_age.with_label_values(&name).set(age.as_secs_f64());
        }
    }
}

/// What is known of the log that is followed.
struct Following<V: TableEntry> {
    entries: Arc<Entries<V>>,
    marks: Marks,
    freshness: Freshness,
    loaded: bool,
}

/// Where the partitions end.
struct Answer {
    asked: Instant,
    /// Up to where they were read when it was asked: none can end before.
    read: Vec<i64>,
    ends: Result<Vec<i64>, BusError>,
}

/// The answer to the open question; never, if none is open.
async fn answered(asking: &mut Option<JoinHandle<Answer>>) -> Answer {
    match asking {
        Some(answer) => answer.await.unwrap_or_else(|error| Answer {
            asked: Instant::now(),
            read: Vec::new(),
            ends: Err(error.into()),
        }),
        None => std::future::pending().await,
    }
}

fn made_again(topic: &str, partition: i32, read: i64) -> BusError {
    BusError::Kafka(format!("{topic} was made again: partition {partition} was read up to {read}, and is shorter now"))
}

enum Change<V: TableEntry> {
    Put(Kept<V>),
    Remove(V::Key),
}

/// What a record of a table's topic says, or why it says nothing.
fn read<V: TableEntry>(record: &Record, for_snapshots: bool) -> Result<Change<V>, String> {
    let key = record.key.as_deref().and_then(V::key_of).ok_or("its key is none")?;
    if record.value.is_empty() {
        return Ok(Change::Remove(key));
    }
    let value = V::decode(&record.value).map_err(|error| error.to_string())?;
    // Compaction goes by the record's key: under another one the entry would outlive its successors.
    if value.key() != key {
        return Err("its key is not the entry's".into());
    }
    Ok(Change::Put(match for_snapshots {
        true => Kept::read_from(&record.value, value, record.partition),
        false => Kept::new(value, record.partition),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicU64;

    use arc_swap::ArcSwap;
    use porchlight_domain::Device;
    use porchlight_wire::Wire as _;

    use super::{super::freshness::Confirmed, super::tests::device, *};
    use crate::{Topic, client::Availability, config::tests::valid, consumer::Lease};

    type OnChange = fn(&[Arc<Device>]);

    fn keeper() -> (Keeper<Device, OnChange>, Following<Device>) {
        let entries = Arc::new(Entries::new());
        let view = View { entries: Arc::clone(&entries), confirmed: Confirmed::default() };
        let shared = Arc::new(Shared {
            view: ArcSwap::from_pointee(view),
            records: AtomicU64::new(0),
            max_age: Duration::from_secs(3),
            availability: Availability::of("test"),
        });
        let keeper = Keeper { config: valid(), shared, on_change: (|_| ()) as OnChange, snapshots: None };
        let state = Following { entries, marks: Marks::none(1), freshness: Freshness::new(1), loaded: false };
        (keeper, state)
    }

    fn record(offset: i64) -> Record {
        let device = device(1, u64::try_from(offset).unwrap());
        Record {
            topic: Topic::Devices,
            partition: 0,
            offset,
            key: Some(device.id.0.as_bytes().to_vec()),
            value: device.encode(),
            headers: Vec::new(),
            timestamp_ms: 0,
            lease: Lease::default(),
        }
    }

    fn said(over: Over) -> String {
        match over {
            Over::Failed(error) => error.to_string(),
            Over::Distrusted(reason) => panic!("there is no snapshot: {reason}"),
        }
    }

    #[test]
    fn a_record_below_what_was_read_is_of_another_log() {
        let (mut keeper, mut state) = keeper();
        for offset in [0, 1, 5] {
            keeper.accept(record(offset), &mut state).unwrap();
        }
        let again = said(keeper.accept(record(5), &mut state).unwrap_err());
        assert_eq!(again, "kafka: devices.v1 was made again: partition 0 was read up to 6, and is shorter now");
        assert!(keeper.accept(record(6), &mut state).is_ok());
    }

    #[test]
    fn an_end_below_what_was_read_when_it_was_asked_for_is_of_another_log() {
        let (keeper, _) = keeper();
        let answer = |read, ends: &[i64]| Answer { asked: Instant::now(), read, ends: Ok(ends.to_vec()) };
        assert_eq!(keeper.judge(answer(vec![5, 5], &[5, 9])).unwrap(), Some(vec![5, 9]));
        let shorter = keeper.judge(answer(vec![5, 5], &[9, 4])).unwrap_err().to_string();
        assert!(shorter.contains("partition 1 was read up to 5"), "{shorter}");
        let wider = keeper.judge(answer(vec![5], &[5, 0])).unwrap_err().to_string();
        assert_eq!(wider, "kafka: devices.v1 has 2 partitions, it had 1");
        let away = Answer { asked: Instant::now(), read: vec![5], ends: Err(BusError::Kafka("away".into())) };
        assert_eq!(keeper.judge(away).unwrap(), None);
    }
}
