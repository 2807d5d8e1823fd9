//! Where partitions begin and end, where a time is in them, and where groups are.

use std::collections::BTreeMap;

use tansu_sans_io::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetFetchRequest, OffsetFetchResponse,
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
};

use super::log::{Log, broken};

/// What stands for a time in a question: the end, and the oldest record.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Where something is in each partition.
pub(super) fn list(log: &Log, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partitions.unwrap_or_default().into_iter().map(|asked| {
            let found = find(log, &topic.name, asked.partition_index, asked.timestamp);
            let code = found.err().unwrap_or(ErrorCode::None);
            let (offset, time) = found.unwrap_or((-1, -1));
            ListOffsetsPartitionResponse::default()
                .partition_index(asked.partition_index)
                .error_code(code.into())
                .old_style_offsets(Some(vec![offset]))
                .timestamp(Some(time))
                .offset(Some(offset))
                .leader_epoch(Some(0))
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().name(topic.name.clone()).partitions(Some(partitions))
    });
    let topics = topics.collect();
    ListOffsetsResponse::default().throttle_time_ms(Some(0)).topics(Some(topics))
}

/// The offset and the time, ms, of what is asked for; -1: none.
fn find(log: &Log, topic: &str, partition: i32, asked: i64) -> Result<(i64, i64), ErrorCode> {
    let topic = log.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let broken = |error| broken("a partition", &error);
    match asked {
        LATEST => Ok((partition.end(), -1)),
        EARLIEST => Ok((partition.start().map_err(broken)?, -1)),
        ms if ms >= 0 => Ok(partition.since(ms).map_err(broken)?.unwrap_or((-1, -1))),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

/// What a group has committed of a partition: offset and metadata, -1 for nothing.
type Committed = (i32, i64, Option<String>);

/// What groups have committed. A request is of one group (until version 7), or of several.
pub(super) fn committed(log: &Log, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let pairs = |topics: Option<Vec<(String, Option<Vec<i32>>)>>| {
        topics.map(|all| all.into_iter().map(|(name, partitions)| (name, partitions.unwrap_or_default())).collect())
    };
    let one = request.topics.map(|all| all.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    let topics = of_group(log, &request.group_id.unwrap_or_default(), pairs(one)).into_iter().map(|(name, all)| {
        let all = all.into_iter().map(|(partition, offset, metadata)| {
            OffsetFetchResponsePartition::default()
                .partition_index(partition)
                .committed_offset(offset)
                .committed_leader_epoch(Some(-1))
                .metadata(metadata)
                .error_code(ErrorCode::None.into())
        });
        OffsetFetchResponseTopic::default().name(name).partitions(Some(all.collect()))
    });
    let groups = request.groups.unwrap_or_default().into_iter().map(|group| {
        let several = group.topics.map(|all| all.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = of_group(log, &group.group_id, pairs(several)).into_iter().map(|(name, all)| {
            let all = all.into_iter().map(|(partition, offset, metadata)| {
                OffsetFetchResponsePartitions::default()
                    .partition_index(partition)
                    .committed_offset(offset)
                    .committed_leader_epoch(-1)
                    .metadata(metadata)
                    .error_code(ErrorCode::None.into())
            });
            OffsetFetchResponseTopics::default().name(name).partitions(Some(all.collect()))
        });
        let topics = topics.collect();
        OffsetFetchResponseGroup::default()
            .group_id(group.group_id)
            .topics(Some(topics))
            .error_code(ErrorCode::None.into())
    });
    OffsetFetchResponse::default()
        .throttle_time_ms(Some(0))
        .topics(Some(topics.collect()))
        .error_code(Some(ErrorCode::None.into()))
        .groups(Some(groups.collect()))
}

/// `None`: of all there is.
fn of_group(log: &Log, group: &str, asked: Option<Vec<(String, Vec<i32>)>>) -> BTreeMap<String, Vec<Committed>> {
    let mut found = BTreeMap::<String, Vec<Committed>>::new();
    if let Some(asked) = asked {
        for (name, partitions) in asked {
            let topic = log.topic(&name);
            let all = found.entry(name).or_default();
            for partition in partitions {
                let commit = topic.as_ref().and_then(|topic| log.committed(group, topic.made.id, partition));
                let (offset, metadata) = commit.map_or((-1, None), |commit| (commit.offset, commit.metadata));
                all.push((partition, offset, Some(metadata.unwrap_or_default())));
            }
        }
    } else {
        for commit in log.all_committed(group) {
            let Some(topic) = log.topic_of(commit.topic.into_bytes()) else { continue };
            let metadata = Some(commit.metadata.unwrap_or_default());
            found.entry(topic.made.name.clone()).or_default().push((commit.partition, commit.offset, metadata));
        }
    }
    found
}
