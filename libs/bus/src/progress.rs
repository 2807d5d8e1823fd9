//! How far the group of a stage is, and what stands in a stretch of time: for audits, asked from outside.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::{
    BusError, From, KafkaConfig, Reader, Record, Span, Topic,
    client::{Aside, Availability, Edge, Names, Quiet, edges, offsets, partition_count},
    ledger::TopicPartition,
};

/// How long each question may take.
const WITHIN: Duration = Duration::from_secs(10);

type Client = BaseConsumer<Quiet>;

/// What the group of `stage` has committed of a topic: by partition, the offset below which all is done. Nothing of a
/// partition that it has not committed yet.
///
/// # Errors
/// [`BusError::Kafka`] if the topic or the brokers are not there.
pub async fn committed(config: &KafkaConfig, stage: &str, topic: Topic) -> Result<BTreeMap<i32, i64>, BusError> {
    let answer = ask(config, stage, topic, |client, names, all| {
        let list = names.list(all.iter().map(|at| (*at, Offset::Invalid)))?;
        Ok(offsets(names, &client.committed_offsets(list, WITHIN)?)?)
    });
    Ok(answer.await?.into_iter().filter_map(|(at, offset)| Some((at.partition, offset?))).collect())
}

/// The records of a topic in a stretch of time, read to their end. A stretch is one of offsets: from the first record
/// of a partition that is not before its beginning (by the record's own timestamp) to before the first that is not
/// before its end, so that each record is in exactly one of two stretches that meet.
pub struct Stretch {
    reader: Reader,
    spans: BTreeMap<i32, Span>,
    cut: Vec<i32>,
    left: BTreeMap<i32, i64>,
}

impl Stretch {
    /// Finds where it begins and ends. Records that come later are not in it, whatever their timestamps.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic or the brokers are not there.
    pub async fn open(config: &KafkaConfig, topic: Topic, from_ms: i64, to_ms: i64) -> Result<Self, BusError> {
        let found = ask(config, "reader", topic, move |client, names, all| find(client, names, all, from_ms, to_ms));
        let found = found.await?;
        let cut = found.iter().filter(|(_, is_cut)| *is_cut).map(|(span, _)| span.partition).collect();
        let spans: BTreeMap<i32, Span> = found.into_iter().map(|(span, _)| (span.partition, span)).collect();
        let mut reader = Reader::open(config, topic, From::Time(from_ms)).await?;
        for span in spans.values().filter(|span| span.is_empty()) {
            reader.leave(span.partition)?;
        }
        let left = spans.values().filter(|span| !span.is_empty()).map(|span| (span.partition, span.to)).collect();
        Ok(Self { reader, spans, cut, left })
    }

    /// Ends each partition where `ends` says, if that is earlier; one that it does not name, where it begins.
    pub(crate) fn end_at(&mut self, ends: &BTreeMap<i32, i64>) -> Result<(), BusError> {
        for span in self.spans.values_mut() {
            span.to = span.to.min(ends.get(&span.partition).copied().unwrap_or_default()).max(span.from);
            if span.is_empty() {
                self.left.remove(&span.partition);
                self.reader.leave(span.partition)?;
            } else {
                self.left.insert(span.partition, span.to);
            }
        }
        Ok(())
    }

    /// Its offsets, by partition.
    pub fn spans(&self) -> &BTreeMap<i32, Span> {
        &self.spans
    }

    /// The partitions of which older records are gone: the stretch may begin earlier than what is kept of them.
    pub fn cut(&self) -> &[i32] {
        &self.cut
    }

    /// The next record; `None` once all are read. The order is that of each partition.
    ///
    /// # Errors
    /// [`BusError::Kafka`] if the topic is gone or may not be read.
    pub async fn next(&mut self) -> Result<Option<Record>, BusError> {
        while !self.left.is_empty() {
            // The log may end before a span does: it was made again, or its last records are past their retention.
            let Some(record) = self.reader.next_existing().await? else { break };
            let Some(to) = self.left.get(&record.partition).copied() else { continue };
            if record.offset + 1 >= to {
                self.left.remove(&record.partition);
                self.reader.leave(record.partition)?;
            }
            let begins = self.spans.get(&record.partition).map_or(i64::MAX, |span| span.from);
            if (begins..to).contains(&record.offset) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// The span of each partition, and whether records before it are gone. Blocks for a few questions.
fn find(
    client: &Client,
    names: &Names,
    all: &[TopicPartition],
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<(Span, bool)>, BusError> {
    let lows: BTreeMap<TopicPartition, i64> = edges(client, names, all, Edge::Low, WITHIN)?.into_iter().collect();
    let highs: BTreeMap<TopicPartition, i64> = edges(client, names, all, Edge::High, WITHIN)?.into_iter().collect();
    // The first offset at or after a time; the end, where there is none.
    let at_time = |ms: i64| -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let asked = names.list(all.iter().map(|at| (*at, Offset::Offset(ms.max(0)))))?;
        let found = offsets(names, &client.offsets_for_times(asked, WITHIN)?)?.into_iter();
        Ok(found.filter_map(|(at, offset)| Some((at, offset.or_else(|| highs.get(&at).copied())?))).collect())
    };
    let (starts, ends) = (at_time(from_ms)?, at_time(to_ms)?);
    let span = |at: &TopicPartition| {
        let (low, from, to) = (*lows.get(at)?, *starts.get(at)?, *ends.get(at)?);
        Some((Span { partition: at.partition, from, to: to.max(from) }, low > 0 && from == low))
    };
    Ok(all.iter().filter_map(span).collect())
}

/// Asks brokers about all partitions of a topic, as a client that knows the group of `stage` and does not join it.
async fn ask<T: Send + 'static>(
    config: &KafkaConfig,
    stage: &str,
    topic: Topic,
    question: impl FnOnce(&Client, &Names, &[TopicPartition]) -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    config.check()?;
    let quiet = Quiet(Availability::of(format!("question about {}", topic.name())));
    let client: Client = config.question_client(stage)?.create_with_context(quiet)?;
    let (client, names) = (Aside::new(client), Names::of(config));
    let asked = client.share();
    let answer = tokio::task::spawn_blocking(move || {
        let count = partition_count(&*asked, &names.full(topic), WITHIN)?;
        let all: Vec<_> = (0..count).map(|partition| TopicPartition { topic, partition }).collect();
        question(&asked, &names, &all)
    })
    .await;
    client.close().await;
    answer?
}
