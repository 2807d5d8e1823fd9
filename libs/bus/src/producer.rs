//! The producer: idempotent, acks=all, one outcome per record.

mod progress;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rdkafka::{
    config::ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};

use crate::{
    BusError, KafkaConfig, Topic,
    client::{Aside, Availability, Names, Quiet},
    metrics::METRICS,
};
use progress::Progress;

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Partition.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
}

/// Why a record was not delivered, or not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    /// The local queue is full: shed and say when to come again.
    #[error("the producer's queue is full")]
    QueueFull,
    /// No delivery report in time: the record may or may not be in the log.
    #[error("no delivery report in time")]
    TimedOut,
    /// This record is refused for good, whatever happens (e.g. too large).
    #[error("refused: {0}")]
    Refused(String),
    /// The brokers are away, or not able to take it now.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl ProduceError {
    fn label(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TimedOut => "timed_out",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What the client's error means. Refused is only what no waiting can mend: a topic that is missing or a right that
    /// is not given can be put in order by an operator.
    fn of(error: &KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Self::QueueFull,
            Some(RDKafkaErrorCode::MessageTimedOut) => Self::TimedOut,
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation,
            ) => Self::Refused(error.to_string()),
            Some(_) | None => Self::Unavailable(error.to_string()),
        }
    }
}

type Client = Aside<FutureProducer<Quiet>>;

/// Cheap to clone. What is still queued when the last clone is dropped is lost: [`Producer::flush`] first.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    config: ClientConfig,
    client: ArcSwap<Client>,
    names: Names,
    wait: Duration,
    availability: Arc<Availability>,
    progress: Progress,
}

impl Producer {
    /// Connects lazily: brokers that are away are no error here.
    ///
    /// # Errors
    /// [`BusError::Config`].
    pub fn new(config: &KafkaConfig) -> Result<Self, BusError> {
        config.check()?;
        let availability = Availability::of("producer");
        let client_config = config.producer_client()?;
        let client = client_config
            .create_with_context(Quiet(Arc::clone(&availability)))
            .map_err(|error| BusError::Config(error.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                config: client_config,
                client: ArcSwap::from_pointee(Aside::new(client)),
                names: Names::of(config),
                wait: config.produce_wait(),
                availability,
                progress: Progress::default(),
            }),
        })
    }

    /// Sends one record and waits for its delivery report (acks=all), at most `produce_wait_ms`. `key: None` is a
    /// keyless record, spread over the partitions; an empty key would put all on one. An empty value is sent as none at
    /// all: a tombstone, by which a compacted topic forgets the key.
    ///
    /// # Errors
    /// [`ProduceError`]; only after `Ok` may anything be acknowledged.
    pub async fn send(
        &self,
        topic: Topic,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<Delivered, ProduceError> {
        let begun = Instant::now();
        let sending = self.inner.progress.begin(begun);
        let outcome = self.deliver(topic, key, value, headers).await;
        if outcome.is_ok() {
            sending.delivered(Instant::now());
        }
        let label = match &outcome {
            Ok(_) => "delivered",
            Err(error) => error.label(),
        };
        METRICS.produced.with_label_values(&[topic.name(), label]).inc();
        if outcome.is_ok() {
            METRICS.produce_seconds.with_label_values(&[topic.name()]).observe(begun.elapsed().as_secs_f64());
        }
        outcome
    }

    async fn deliver(
        &self,
        topic: Topic,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<Delivered, ProduceError> {
        let bytes = key.map_or(0, <[u8]>::len)
            + value.len()
            + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if bytes > topic.max_record_bytes() {
            return Err(ProduceError::Refused(format!(
                "{bytes} bytes, {} takes {}",
                topic.name(),
                topic.max_record_bytes()
            )));
        }
        let name = self.inner.names.full(topic);
        let mut record = FutureRecord::<[u8], [u8]>::to(&name);
        record.key = key;
        record.payload = (!value.is_empty()).then_some(value);
        if !headers.is_empty() {
            record.headers =
                Some(headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
                    all.insert(Header { key, value: Some(*value) })
                }));
        }
        let client = self.inner.client.load_full();
        let delivery = match client.send_result(record) {
            Ok(delivery) => delivery,
            Err((error, _)) => return Err(self.failed(&client, &error)),
        };
        match tokio::time::timeout(self.inner.wait, delivery).await {
            Ok(Ok(Ok(delivery))) => {
                self.inner.availability.back();
                Ok(Delivered { partition: delivery.partition, offset: delivery.offset })
            }
            Ok(Ok(Err((error, _)))) => Err(self.failed(&client, &error)),
            // No report within the wait, or never: the client was replaced while this record was on its way.
            Err(_) | Ok(Err(_)) => Err(ProduceError::TimedOut),
        }
    }

    fn failed(&self, client: &Arc<Client>, error: &KafkaError) -> ProduceError {
        if client.client().fatal_error().is_some() {
            self.replace(client);
        }
        ProduceError::of(error)
    }

    /// An idempotent client that lost its place in the sequence never sends again: a new one takes over. What the old
    /// one had in flight is reported to its senders as not delivered, or not known to be.
    fn replace(&self, dead: &Arc<Client>) {
        let context = Quiet(Arc::clone(&self.inner.availability));
        match self.inner.config.create_with_context::<_, FutureProducer<Quiet>>(context) {
            Ok(new) => {
                let before = self.inner.client.compare_and_swap(dead, Arc::new(Aside::new(new)));
                if Arc::ptr_eq(&before, dead) {
                    tracing::error!("the producer's client met a fatal error and was replaced");
                }
            }
            Err(error) => tracing::error!(%error, "the producer's client met a fatal error; no new one can be made"),
        }
    }

    /// How long records have been on their way without any of them being delivered; zero while reports keep coming, or
    /// nothing is sent. What grows here grows behind brokers that are slow or away: shed what can wait.
    pub fn waiting_for(&self) -> Duration {
        self.inner.progress.waiting_for(Instant::now())
    }

    /// Waits until nothing is in flight, within the budget; the number still in flight.
    pub async fn flush(&self, within: Duration) -> usize {
        let until = Instant::now() + within;
        loop {
            let in_flight = usize::try_from(self.inner.client.load().in_flight_count()).unwrap_or_default();
            if in_flight == 0 || Instant::now() >= until {
                return in_flight;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a broker answers a metadata request within this time (probe in the background by the caller).
    ///
    /// # Errors
    /// Why not, for `/readyz`.
    pub async fn reachable(&self, within: Duration) -> Result<(), String> {
        let client = self.inner.client.load_full();
        let asked = tokio::task::spawn_blocking(move || client.client().fetch_metadata(None, within).map(drop));
        let answer = match asked.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match &answer {
            Ok(()) => self.inner.availability.back(),
            Err(reason) => self.inner.availability.away(reason),
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_waiting_can_mend_is_refused() {
        let of = |code| ProduceError::of(&KafkaError::MessageProduction(code)).label();
        assert_eq!(of(RDKafkaErrorCode::MessageSizeTooLarge), "refused");
        assert_eq!(of(RDKafkaErrorCode::QueueFull), "queue_full");
        assert_eq!(of(RDKafkaErrorCode::MessageTimedOut), "timed_out");
        assert_eq!(of(RDKafkaErrorCode::UnknownTopicOrPartition), "unavailable");
        assert_eq!(of(RDKafkaErrorCode::TopicAuthorizationFailed), "unavailable");
        assert_eq!(of(RDKafkaErrorCode::PurgeQueue), "unavailable");
    }
}
