//! Putting what is in letters back.

use porchlight_domain::{Clock as _, SystemClock};
use porchlight_wire::v1::dead_letter::Redriven as RedrivenMessage;
use prost::Message as _;

use super::{LetterName, Redriven};
use crate::{BusError, DeadLetter, KafkaConfig, ProduceError, Producer, Topic, client::Names};

/// The header of a record that was put back: the name of the letter that held it.
const REDRIVEN_HEADER: &str = "porchlight-redriven";

/// Why a letter was not put back, or not noted as put back.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Its topic is not one of this deployment.
    #[error("refused: {topic} is no topic of this deployment (kafka.topic_prefix is \"{prefix}\")")]
    Foreign {
        /// The topic it came from.
        topic: String,
        /// The prefix of this deployment.
        prefix: String,
    },
    /// Its topic takes no old records.
    #[error("refused: the last record of a key counts in {0}, and this one is old; see porchlight topics rebuild")]
    Feed(String),
    /// It is not known to be in its topic.
    #[error("not known to be put back: {0}")]
    NotPutBack(ProduceError),
    /// It is in its topic, and still listed as if it were not.
    #[error("put back as {topic}/{partition}/{offset}, but that could not be noted ({error}): do not redrive it again")]
    NotNoted {
        /// The topic it came from.
        topic: String,
        /// The partition it is in now.
        partition: i32,
        /// Its offset there.
        offset: i64,
        /// Why not.
        error: ProduceError,
    },
}

impl RedriveError {
    /// Whether the brokers do not take records now, so that the next letter would not fare better.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Feed(_) | Self::NotPutBack(ProduceError::Refused(_)) => false,
            Self::NotPutBack(_) | Self::NotNoted { .. } => true,
        }
    }
}

/// Puts what is in letters back onto the topics that they came from.
pub struct Redriver {
    config: KafkaConfig,
    producer: Producer,
}

impl Redriver {
    /// For letters of this deployment.
    ///
    /// # Errors
    /// [`BusError::Config`].
    pub fn new(config: &KafkaConfig) -> Result<Self, BusError> {
        Ok(Self { config: config.clone(), producer: Producer::new(config)? })
    }

    /// The topic that a letter goes back to, by the full name in it.
    ///
    /// # Errors
    /// [`RedriveError::Foreign`], [`RedriveError::Feed`].
    pub fn target(config: &KafkaConfig, full_name: &str) -> Result<Topic, RedriveError> {
        match Names::of(config).topic(full_name) {
            Some(topic @ (Topic::Events | Topic::Alerts | Topic::Pushes)) => Ok(topic),
            Some(Topic::Devices | Topic::Neighborhoods) => Err(RedriveError::Feed(full_name.to_owned())),
            // Nobody consumes dead letters: none of them becomes one.
            Some(Topic::DeadLetters) | None => {
                let (topic, prefix) = (full_name.to_owned(), config.topic_prefix.clone());
                Err(RedriveError::Foreign { topic, prefix })
            }
        }
    }

    /// Puts a letter's key, value and headers back as they were, and notes that in the topic of dead letters; both are
    /// durable when it returns. A crash between the two leaves it listed, so that it may be put back twice: whoever
    /// handles it takes the second for a repeat, by its identity.
    ///
    /// # Errors
    /// [`RedriveError`].
    pub async fn redrive(&self, name: LetterName, letter: &DeadLetter) -> Result<Redriven, RedriveError> {
        let topic = Self::target(&self.config, &letter.topic)?;
        let name = name.to_string();
        // One that comes back a second time names its last letter; that one's headers name the letter before.
        let headers = letter.headers.iter().filter(|header| header.name != REDRIVEN_HEADER);
        let headers: Vec<(&str, &[u8])> = headers
            .map(|header| (header.name.as_str(), header.value.as_slice()))
            .chain([(REDRIVEN_HEADER, name.as_bytes())])
            .collect();
        let key = letter.key.as_deref();
        let put_back = self.producer.send(topic, key, &letter.value, &headers).await;
        let put_back = put_back.map_err(RedriveError::NotPutBack)?;
        let redriven = Redriven { at: SystemClock.now(), partition: put_back.partition, offset: put_back.offset };
        let note = note(letter, redriven).encode_to_vec();
        let noted = self.producer.send(Topic::DeadLetters, key, &note, &[(REDRIVEN_HEADER, name.as_bytes())]).await;
        match noted {
            Ok(_) => Ok(redriven),
            Err(error) => Err(RedriveError::NotNoted {
                topic: letter.topic.clone(),
                partition: put_back.partition,
                offset: put_back.offset,
                error,
            }),
        }
    }
}

/// The record that says that a letter was put back.
pub(super) fn note(letter: &DeadLetter, redriven: Redriven) -> DeadLetter {
    let Redriven { at, partition, offset } = redriven;
    DeadLetter {
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        stage: letter.stage.clone(),
        key: letter.key.clone(),
        redriven: Some(RedrivenMessage { at_ms: at.0, partition, offset }),
        ..DeadLetter::default()
    }
}
