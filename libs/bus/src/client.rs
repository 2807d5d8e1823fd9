//! What all clients share: where their logs go, whether brokers answer, how they end, and questions about offsets.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::Headers,
};

use crate::{BusError, KafkaConfig, Lease, Record, Topic, ledger::TopicPartition};

/// Whether brokers answer; says so once per change, not once per failed try.
#[derive(Debug)]
pub(crate) struct Availability {
    who: String,
    away: Mutex<Option<String>>,
    /// What the client met last: that all brokers are down says less.
    met: Mutex<Option<String>>,
}

impl Availability {
    /// Of the client that logs as `who`; taken for answering until it is known better.
    pub(crate) fn of(who: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { who: who.into(), away: Mutex::new(None), met: Mutex::new(None) })
    }

    /// Brokers do not answer.
    pub(crate) fn away(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.is_none() {
            tracing::warn!(client = self.who, reason, "kafka does not serve; trying on");
        }
        *away = Some(reason);
    }

    /// A broker answered.
    pub(crate) fn back(&self) {
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.take().is_some() {
            tracing::info!(client = self.who, "kafka serves again");
        }
    }

    /// Who is who could not be settled with a broker, or its name is unknown.
    fn met(&self, reason: &str) {
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn all_down(&self, reason: &str) {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.away(met.unwrap_or_else(|| reason.to_owned()));
    }

    /// Why brokers are taken for away, if they are.
    pub(crate) fn reason(&self) -> Option<String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The client's own log line, as a structured one. Failing connections are said by [`Availability`], once; commits that
/// fail by the consumer, which checks them.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "{line}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => match facility {
            "FAIL" | "ERROR" | "COMMITFAIL" => tracing::debug!(facility, "{line}"),
            _ => tracing::warn!(facility, "{line}"),
        },
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::debug!(facility, "{line}"),
        RDKafkaLogLevel::Debug => tracing::trace!(facility, "{line}"),
    }
}

/// The client's own error, noted.
pub(crate) fn note_error(availability: &Availability, error: &KafkaError, reason: &str) {
    match error {
        KafkaError::Global(RDKafkaErrorCode::AllBrokersDown) => availability.all_down(reason),
        KafkaError::Global(RDKafkaErrorCode::SSL | RDKafkaErrorCode::Authentication | RDKafkaErrorCode::Resolve) => {
            availability.met(reason);
        }
        KafkaError::Global(RDKafkaErrorCode::Fatal) => tracing::error!(client = availability.who, reason, "fatal"),
        _ => tracing::debug!(client = availability.who, %error, reason, "the client reports an error"),
    }
}

/// The context of clients outside a group.
pub(crate) struct Quiet(pub(crate) Arc<Availability>);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note_error(&self.0, &error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// Drops `value` where blocking is allowed: the client's threads are joined in its drop.
pub(crate) fn drop_aside<T: Send + 'static>(value: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
        Err(_) => drop(value),
    }
}

/// A client that is dropped aside. No list of partitions that came out of it may outlive it: the client's drop would
/// wait for it for ever.
pub(crate) struct Aside<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Aside<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(Arc::new(client)))
    }

    /// Another hold on it, for a blocking call.
    pub(crate) fn share(&self) -> Arc<T> {
        Arc::clone(self.0.as_ref().expect("only drop takes it"))
    }

    /// Drops it aside, and waits for that.
    pub(crate) async fn close(mut self) {
        if let Some(client) = self.0.take() {
            let _ = tokio::task::spawn_blocking(move || drop(client)).await;
        }
    }
}

impl<T: Send + Sync + 'static> Deref for Aside<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes it")
    }
}

impl<T: Send + Sync + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop_aside(client);
        }
    }
}

/// From topics to their full names and back.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn of(config: &KafkaConfig) -> Self {
        Self { prefix: config.topic_prefix.clone() }
    }

    /// The full name.
    pub(crate) fn full(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The topic of a full name.
    pub(crate) fn topic(&self, full: &str) -> Option<Topic> {
        let name = full.strip_prefix(&self.prefix)?;
        Topic::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// The client's list of partitions, each at this offset.
    pub(crate) fn list(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, Offset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (at, offset) in partitions {
            list.add_partition_offset(&self.full(at.topic), at.partition, offset)?;
        }
        Ok(list)
    }

    /// Our partitions of a client's list.
    pub(crate) fn partitions(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
        list.elements()
            .iter()
            .filter_map(|e| Some(TopicPartition { topic: self.topic(e.topic())?, partition: e.partition() }))
            .collect()
    }

    /// Our record of a client's message; `None` if it is of no topic of ours.
    pub(crate) fn record(&self, message: &impl Message) -> Option<Record> {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec).unwrap_or_default())).collect()
        });
        Some(Record {
            topic: self.topic(message.topic())?,
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec).unwrap_or_default(),
            headers: headers.unwrap_or_default(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
            lease: Lease::default(),
        })
    }
}

/// Where a partition begins or ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    /// The oldest offset kept.
    Low,
    /// The offset that the next record will get.
    High,
}

/// Asks the brokers for an edge of each partition, in one request for each leader. Blocks up to `within`.
///
/// # Errors
/// The brokers are away, or one partition has no leader.
pub(crate) fn edges<C: ConsumerContext>(
    client: &impl Consumer<C>,
    names: &Names,
    partitions: &[TopicPartition],
    edge: Edge,
    within: Duration,
) -> KafkaResult<Vec<(TopicPartition, i64)>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let asked = match edge {
        Edge::Low => Offset::Beginning,
        Edge::High => Offset::End,
    };
    let answer = client.offsets_for_times(names.list(partitions.iter().map(|at| (*at, asked)))?, within)?;
    offsets(names, &answer)?
        .into_iter()
        .map(|(at, offset)| match offset {
            Some(offset) => Ok((at, offset)),
            None => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable)),
        })
        .collect()
}

/// The plain offsets of a client's answer; `None` where it has none.
///
/// # Errors
/// The first partition that was answered with an error.
pub(crate) fn offsets(names: &Names, list: &TopicPartitionList) -> KafkaResult<Vec<(TopicPartition, Option<i64>)>> {
    let mut all = Vec::with_capacity(list.count());
    for element in list.elements() {
        element.error()?;
        let Some(topic) = names.topic(element.topic()) else { continue };
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        all.push((TopicPartition { topic, partition: element.partition() }, offset));
    }
    Ok(all)
}

/// How many partitions a topic has. Blocks up to `within`.
///
/// # Errors
/// The brokers are away, or the topic is not there.
pub(crate) fn partition_count<C: ConsumerContext>(
    client: &impl Consumer<C>,
    full_name: &str,
    within: Duration,
) -> Result<i32, BusError> {
    let metadata = client.fetch_metadata(Some(full_name), within)?;
    let count = metadata.topics().iter().find(|t| t.name() == full_name).map_or(0, |t| t.partitions().len());
    match i32::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(BusError::Kafka(format!("topic {full_name} does not exist"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_lead_back_to_their_topics_and_foreign_ones_nowhere() {
        let names = Names { prefix: "test7-".into() };
        for topic in Topic::ALL {
            assert_eq!(names.topic(&names.full(topic)), Some(topic));
        }
        assert_eq!(names.topic("events.v1"), None, "another deployment's");
        assert_eq!(names.topic("test7-events.v2"), None);
    }

    #[test]
    fn why_all_brokers_are_down_is_said_rather_than_that_they_are() {
        let availability = Availability::of("test");
        let note = |code, reason| note_error(&availability, &KafkaError::Global(code), reason);
        note(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(availability.reason().as_deref(), Some("1/1 brokers are down"));
        note(RDKafkaErrorCode::Authentication, "SASL authentication error");
        note(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(availability.reason().as_deref(), Some("SASL authentication error"));
        availability.back();
        note(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(availability.reason().as_deref(), Some("1/1 brokers are down"));
    }

    #[test]
    fn a_list_of_partitions_keeps_their_offsets() {
        let names = Names { prefix: "p-".into() };
        let at = |partition| TopicPartition { topic: Topic::Events, partition };
        let list = names.list([(at(0), Offset::Offset(7)), (at(3), Offset::Invalid)]).expect("plain offsets");
        assert_eq!(names.partitions(&list), vec![at(0), at(3)]);
        assert_eq!(offsets(&names, &list).expect("no errors"), vec![(at(0), Some(7)), (at(3), None)]);
    }
}
