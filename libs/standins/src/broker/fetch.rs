//! Fetches. tansu's own service sleeps and looks again, reads each partition by SQL each time, and gives the record after
//! a hole once for each offset of the hole; this one waits for news, and goes on behind what it has read.

use std::time::Duration;

use rama::{Context, Service};
use tansu_sans_io::{
    ApiKey, ErrorCode, FetchRequest, FetchResponse,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::{FetchableTopicResponse, PartitionData},
    record::deflated::Frame,
};
use tansu_storage::{Error, TopicId};
use tokio::time::{Instant, timeout_at};

use super::engine::{Engine, Topic};

/// The most bytes of one answer, whatever is asked for.
const MOST_BYTES: u32 = 4 << 20;
/// The room that is made for a record that is larger than what a client asks for: above the largest that is taken.
const LARGEST: u32 = 16 << 20;
const NO_ID: [u8; 16] = [0; 16];

/// Answers fetches from an [`Engine`].
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchService;

impl ApiKey for FetchService {
    const KEY: i16 = FetchRequest::KEY;
}

/// An answer in the making.
struct Answer {
    topics: Vec<FetchableTopicResponse>,
    bytes: u32,
    refused: bool,
}

impl Service<Engine, FetchRequest> for FetchService {
    type Response = FetchResponse;
    type Error = Error;

    async fn serve(&self, ctx: Context<Engine>, request: FetchRequest) -> Result<FetchResponse, Error> {
        let engine = ctx.state();
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default());
        let (until, least) = (Instant::now() + wait, u32::try_from(request.min_bytes).unwrap_or_default());
        // Before the first look: what is written after it is news.
        let mut news = engine.news();
        let answer = loop {
            let answer = look(engine, &request).await?;
            let is_due = answer.refused || answer.bytes >= least || Instant::now() >= until;
            if is_due || timeout_at(until, news.changed()).await.is_ok_and(|told| told.is_err()) {
                break answer;
            }
        };
        Ok(FetchResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(Some(ErrorCode::None.into()))
            // No sessions: each request names all that it wants.
            .session_id(Some(0))
            .node_endpoints(Some(Vec::new()))
            .responses(Some(answer.topics)))
    }
}

async fn look(engine: &Engine, request: &FetchRequest) -> Result<Answer, Error> {
    let most = request.max_bytes.and_then(|most| u32::try_from(most).ok()).unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let mut answer = Answer { topics: Vec::new(), bytes: 0, refused: false };
    for asked in request.topics.as_deref().unwrap_or_default() {
        let topic = engine.topic(&TopicId::from(asked)).await?;
        let mut partitions = Vec::new();
        for partition in asked.partitions.as_deref().unwrap_or_default() {
            partitions.push(match &topic {
                Some(topic) if topic.has(partition.partition) => {
                    read(engine, topic, partition, most, &mut answer).await?
                }
                Some(_) => refuse(partition, ErrorCode::UnknownTopicOrPartition, &mut answer),
                None => refuse(partition, missing(asked), &mut answer),
            });
        }
        let id = topic.map_or_else(|| asked.topic_id.unwrap_or(NO_ID), |topic| topic.id.into_bytes());
        let found = FetchableTopicResponse::default().topic(asked.topic.clone()).topic_id(Some(id));
        answer.topics.push(found.partitions(Some(partitions)));
    }
    Ok(answer)
}

fn missing(asked: &FetchTopic) -> ErrorCode {
    if asked.topic.is_some() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId }
}

fn refuse(partition: &FetchPartition, code: ErrorCode, answer: &mut Answer) -> PartitionData {
    answer.refused = true;
    data(partition.partition, code, -1)
}

async fn read(
    engine: &Engine,
    topic: &Topic,
    asked: &FetchPartition,
    most: u32,
    answer: &mut Answer,
) -> Result<PartitionData, Error> {
    let (partition, from) = (asked.partition, asked.fetch_offset);
    let end = engine.end(topic, partition).await?;
    if !(0..=end).contains(&from) {
        answer.refused = true;
        return Ok(data(partition, ErrorCode::OffsetOutOfRange, end));
    }
    let room = most.saturating_sub(answer.bytes).min(u32::try_from(asked.partition_max_bytes).unwrap_or_default());
    let mut batches = Vec::new();
    if from < end && room > 0 {
        batches = engine.read(topic, partition, from, room).await?;
        // A record that is larger than all that is asked for is given alone: else nobody would ever get past it.
        if batches.is_empty() && answer.bytes == 0 {
            batches = engine.read(topic, partition, from, LARGEST).await?;
        }
    }
    let bytes = batches.iter().map(|batch| batch.record_data.len()).sum::<usize>();
    answer.bytes = answer.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    Ok(data(partition, ErrorCode::None, end).records((!batches.is_empty()).then_some(Frame { batches })))
}

fn data(partition: i32, code: ErrorCode, end: i64) -> PartitionData {
    PartitionData::default()
        .partition_index(partition)
        .error_code(code.into())
        .high_watermark(end)
        .last_stable_offset(Some(end))
        .log_start_offset(Some(-1))
        .diverging_epoch(None)
        .current_leader(None)
        .snapshot_id(None)
        .aborted_transactions(Some(Vec::new()))
        .preferred_read_replica(Some(-1))
        .records(None)
}
