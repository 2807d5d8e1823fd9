//! Whether anybody works for a stage, asked from outside.

use std::time::Duration;

use rdkafka::{
    Offset,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    BusError, KafkaConfig, Topic,
    client::{Aside, Availability, Names, Quiet},
    committed,
    ledger::TopicPartition,
};

/// How long the question may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Whether the group of `stage` has members now. One that was killed is a member until its session is over. A group that
/// has committed nothing of `topic` is not asked, and has none.
///
/// What is committed is committed once more: brokers take that from an outsider only while the group is empty, whatever
/// protocol its members speak. (Asking for a list of members knows the classic protocol only: it would call a busy
/// group of the other one empty.)
///
/// # Errors
/// [`BusError::Kafka`] if the topic or the brokers are not there.
pub async fn group_has_members(config: &KafkaConfig, stage: &str, topic: Topic) -> Result<bool, BusError> {
    let Some((partition, offset)) = committed(config, stage, topic).await?.pop_first() else { return Ok(false) };
    let quiet = Quiet(Availability::of(format!("question about {stage}")));
    let client: BaseConsumer<Quiet> = config.question_client(stage)?.create_with_context(quiet)?;
    let (client, names) = (Aside::new(client), Names::of(config));
    let asked = client.share();
    let commit = tokio::task::spawn_blocking(move || {
        let list = names.list([(TopicPartition { topic, partition }, Offset::Offset(offset))])?;
        asked.commit(&list, CommitMode::Sync)
    });
    match tokio::time::timeout(WITHIN, commit).await {
        Ok(Ok(Ok(()))) => Ok(false),
        Ok(Ok(Err(error))) if is_refused(&error) => Ok(true),
        Ok(Ok(Err(error))) => Err(error.into()),
        Ok(Err(ended)) => Err(ended.into()),
        Err(_) => Err(BusError::Kafka(format!("nobody answers for the group {}", config.group_name(stage)))),
    }
}

fn is_refused(error: &KafkaError) -> bool {
    match error {
        KafkaError::ConsumerCommit(code) => matches!(
            code,
            RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::StaleMemberEpoch
        ),
        _ => false,
    }
}
