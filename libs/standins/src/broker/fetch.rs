//! Records out. Who asks waits for news, and for nothing else.

use std::time::Duration;

use tansu_sans_io::{
    Error, ErrorCode, FetchRequest, FetchResponse,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::{FetchableTopicResponse, PartitionData},
    record::deflated::{Batch, Frame},
};
use tokio::time::{Instant, timeout_at};

use super::log::{Log, Topic, broken};

/// The most bytes of one answer, whatever is asked for; a record that is larger is given alone.
const MOST_BYTES: usize = 4 << 20;
const NO_ID: [u8; 16] = [0; 16];

/// An answer in the making.
struct Answer {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    refused: bool,
}

/// Answers when there is enough, when something is refused, or when the wait is over.
///
/// # Errors
/// What was written is no batch any more.
pub(super) async fn fetch(log: &Log, request: &FetchRequest) -> Result<FetchResponse, Error> {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default());
    let (until, least) = (Instant::now() + wait, usize::try_from(request.min_bytes).unwrap_or_default());
    // Before the first look: what is written after it is news.
    let mut news = log.news();
    let answer = loop {
        let answer = look(log, request)?;
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

fn look(log: &Log, request: &FetchRequest) -> Result<Answer, Error> {
    let most = request.max_bytes.and_then(|most| usize::try_from(most).ok()).unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let mut answer = Answer { topics: Vec::new(), bytes: 0, refused: false };
    for asked in request.topics.as_deref().unwrap_or_default() {
        let topic = match (&asked.topic, asked.topic_id) {
            (Some(name), _) if !name.is_empty() => log.topic(name),
            (_, id) => log.topic_of(id.unwrap_or(NO_ID)),
        };
        let mut partitions = Vec::new();
        for partition in asked.partitions.as_deref().unwrap_or_default() {
            partitions.push(match &topic {
                Some(topic) => read(topic, partition, most, &mut answer)?,
                None => refuse(partition, missing(asked), -1, &mut answer),
            });
        }
        let id = topic.map_or_else(|| asked.topic_id.unwrap_or(NO_ID), |topic| topic.made.id.into_bytes());
        let found = FetchableTopicResponse::default().topic(asked.topic.clone()).topic_id(Some(id));
        answer.topics.push(found.partitions(Some(partitions)));
    }
    Ok(answer)
}

fn missing(asked: &FetchTopic) -> ErrorCode {
    if asked.topic.is_some() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId }
}

fn refuse(partition: &FetchPartition, code: ErrorCode, end: i64, answer: &mut Answer) -> PartitionData {
    answer.refused = true;
    data(partition.partition, code, end)
}

fn read(topic: &Topic, asked: &FetchPartition, most: usize, answer: &mut Answer) -> Result<PartitionData, Error> {
    let (number, from) = (asked.partition, asked.fetch_offset);
    let Some(partition) = topic.partition(number) else {
        return Ok(refuse(asked, ErrorCode::UnknownTopicOrPartition, -1, answer));
    };
    let end = partition.end();
    // What is before the oldest record begins with that: a hole is a hole, wherever it is.
    if !(0..=end).contains(&from) {
        return Ok(refuse(asked, ErrorCode::OffsetOutOfRange, end, answer));
    }
    let room = most.saturating_sub(answer.bytes).min(usize::try_from(asked.partition_max_bytes).unwrap_or_default());
    // A record that is larger than all that is asked for is given alone: else nobody would ever get past it.
    let found = match partition.read(from, room, answer.bytes == 0) {
        Ok(found) => found,
        Err(error) => return Ok(refuse(asked, broken("a partition", &error), end, answer)),
    };
    drop(partition);
    answer.bytes += found.iter().map(|batch| batch.len()).sum::<usize>();
    let batches = found.into_iter().map(Batch::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(data(number, ErrorCode::None, end).records((!batches.is_empty()).then_some(Frame { batches })))
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
