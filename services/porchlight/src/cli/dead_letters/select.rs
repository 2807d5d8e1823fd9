//! Which letters are meant.

use clap::Args;
use porchlight_bus::{KafkaConfig, Letter};
use porchlight_domain::Timestamp;

use super::super::moment::moment;

/// What a letter must be like. Empty: any will do.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only what this consumer gave up, such as geo-index.
    #[arg(long)]
    stage: Option<String>,
    /// Only what came from this topic, with this deployment's prefix or without.
    #[arg(long)]
    topic: Option<String>,
    /// Only what failed for a reason that holds this text, in upper or lower case.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only what failed since then: how long ago (90m, 2h, 3d), or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) since: Option<Timestamp>,
}

impl Filter {
    pub(super) fn admits(&self, letter: &Letter, kafka: &KafkaConfig) -> bool {
        let Self { stage, topic, reason, since } = self;
        let origin = &letter.origin;
        let is_topic = |name: &String| {
            *origin.topic == **name || origin.topic.strip_prefix(&kafka.topic_prefix) == Some(name.as_str())
        };
        let is_reason = |text: &String| letter.reason.to_lowercase().contains(&text.to_lowercase());
        stage.as_deref().is_none_or(|stage| *origin.stage == *stage)
            && topic.as_ref().is_none_or(is_topic)
            && reason.as_ref().is_none_or(is_reason)
            && since.is_none_or(|since| letter.failed_at >= since)
    }
}
