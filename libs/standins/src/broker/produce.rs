//! Records in.

use tansu_sans_io::{
    ErrorCode, ProduceRequest, ProduceResponse,
    produce_request::PartitionProduceData,
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
};

use super::log::Log;

/// Writes what is sent, each partition for itself.
pub(super) fn produce(log: &Log, request: ProduceRequest) -> ProduceResponse {
    let transaction = request.transactional_id.is_some();
    let topics = request.topic_data.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partition_data.unwrap_or_default().into_iter();
        let partitions = partitions.map(|sent| {
            let index = sent.index;
            let written = if transaction { Err(ErrorCode::UnsupportedVersion) } else { write(log, &topic.name, sent) };
            PartitionProduceResponse::default()
                .index(index)
                .error_code(written.err().unwrap_or(ErrorCode::None).into())
                .base_offset(written.unwrap_or(-1))
                .log_append_time_ms(Some(-1))
                .log_start_offset(Some(-1))
                .record_errors(Some(Vec::new()))
                .error_message(None)
                .current_leader(None)
        });
        let partitions = partitions.collect();
        TopicProduceResponse::default().name(topic.name.clone()).partition_responses(Some(partitions))
    });
    let topics = topics.collect();
    ProduceResponse::default().responses(Some(topics)).throttle_time_ms(Some(0)).node_endpoints(None)
}

/// The offset of the first record.
fn write(log: &Log, topic: &str, sent: PartitionProduceData) -> Result<i64, ErrorCode> {
    let batches = sent.records.map(|records| records.batches).unwrap_or_default();
    // Kafka takes one batch of a partition in a request: of two, the first could be there and the second not.
    let Ok([batch]) = <[_; 1]>::try_from(batches) else { return Err(ErrorCode::InvalidRequest) };
    log.append(topic, sent.index, batch)
}
