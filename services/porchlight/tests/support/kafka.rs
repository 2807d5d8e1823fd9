//! What stands in a deployment's topics, and how far geo-index is.

use porchlight_bus::{From, KafkaConfig, Reader, Record, Replay, Span, Topic};

use super::eventually;

/// All of a topic.
pub async fn records(kafka: &KafkaConfig, topic: Topic) -> Vec<Record> {
    let mut reader = Reader::open(kafka, topic, From::Beginning).await.expect("the topic");
    let mut all = Vec::new();
    while let Some(record) = reader.next_existing().await.expect("the topic") {
        all.push(record);
    }
    all
}

/// Waits until geo-index has committed all there is; how many records that is.
pub async fn all_committed(kafka: &KafkaConfig) -> usize {
    let all = records(kafka, Topic::Events).await.len();
    eventually("geo-index has committed all", || async {
        let found = Replay::find(kafka, Topic::Events, "geo-index", 0, None).await.ok()?;
        (found.spans().iter().map(Span::len).sum::<u64>() == all as u64).then_some(())
    })
    .await;
    all
}
