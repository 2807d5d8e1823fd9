//! Groups of consumers, by the classic protocol. Members are in memory only: after a restart each of them joins anew.
//! What they have committed is in the log.

mod group;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tansu_sans_io::{
    ErrorCode, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
    join_group_response::JoinGroupResponseMember,
    leave_group_response::MemberResponse,
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::log::{Commit, Log};
use group::{Group, Joined, Joining};

/// How often who waits looks whether time has changed anything.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// All groups. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    groups: Mutex<BTreeMap<String, Group>>,
    news: watch::Sender<()>,
}

impl Groups {
    /// Asks a group, or tells it something, as it stands now.
    fn with<T>(&self, group: &str, ask: impl FnOnce(&mut Group, Instant) -> T) -> T {
        let mut groups: MutexGuard<'_, _> = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let (group, now) = (groups.entry(group.to_owned()).or_default(), Instant::now());
        group.tick(now);
        ask(group, now)
    }

    /// Asks again and again, until there is an answer.
    async fn wait<T>(&self, group: &str, mut ask: impl FnMut(&mut Group, Instant) -> Option<T>) -> T {
        let mut news = self.0.news.subscribe();
        loop {
            if let Some(answer) = self.with(group, &mut ask) {
                // What brought the answer is news for all who wait with this one.
                self.0.news.send_replace(());
                return answer;
            }
            let _ = timeout(LOOK_EVERY, news.changed()).await;
        }
    }

    /// Lets somebody in, and answers when the round is over.
    pub(super) async fn join(&self, client: Option<&str>, request: JoinGroupRequest) -> JoinGroupResponse {
        let (name, session) = (request.group_id.as_str(), millis(request.session_timeout_ms));
        if request.member_id.is_empty() {
            let id = format!("{}-{}", client.unwrap_or("member"), Uuid::new_v4());
            self.with(name, |group, now| group.promise(id.clone(), session, now));
            return joined(&id, Err(ErrorCode::MemberIdRequired));
        }
        let protocols = request.protocols.unwrap_or_default().into_iter().map(|p| (p.name, p.metadata)).collect();
        let patience = request.rebalance_timeout_ms.filter(|ms| *ms > 0).map_or(session, millis);
        let wants = Joining { kind: request.protocol_type, protocols, session, patience };
        let member = request.member_id.as_str();
        let over = match self.with(name, |group, now| group.join(member, wants, now)) {
            Ok(over) => over,
            Err(code) => return joined(member, Err(code)),
        };
        self.0.news.send_replace(());
        joined(member, self.wait(name, |group, _| group.joined(member, over)).await)
    }

    /// Takes the leader's shares, and answers with the member's own when they are there.
    pub(super) async fn sync(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let shares = request.assignments.unwrap_or_default().into_iter();
        let shares: Vec<_> = shares.map(|share| (share.member_id, share.assignment)).collect();
        let (member, generation) = (request.member_id.as_str(), request.generation_id);
        let share = self.wait(&request.group_id, |group, now| group.sync(member, generation, &shares, now)).await;
        let (code, share) = match share {
            Ok(share) => (ErrorCode::None, share),
            Err(code) => (code, Bytes::new()),
        };
        SyncGroupResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(code.into())
            .protocol_type(request.protocol_type)
            .protocol_name(request.protocol_name)
            .assignment(share)
    }

    pub(super) fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let (member, generation) = (request.member_id.as_str(), request.generation_id);
        let heard = self.with(&request.group_id, |group, now| group.heartbeat(member, generation, now));
        let code = heard.err().unwrap_or(ErrorCode::None);
        HeartbeatResponse::default().throttle_time_ms(Some(0)).error_code(code.into())
    }

    pub(super) fn leave(&self, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let several = request.members.as_deref().unwrap_or_default().iter().map(|m| m.member_id.as_str());
        let left = request.member_id.as_deref().into_iter().chain(several).map(|member| {
            let was = self.with(&request.group_id, |group, now| group.leave(member, now));
            let code = if was { ErrorCode::None } else { ErrorCode::UnknownMemberId };
            MemberResponse::default().member_id(member.to_owned()).group_instance_id(None).error_code(code.into())
        });
        let left = left.collect();
        self.0.news.send_replace(());
        LeaveGroupResponse::default().throttle_time_ms(Some(0)).error_code(ErrorCode::None.into()).members(Some(left))
    }

    /// Keeps what a member has done, or somebody who is none while the group is empty: all of it, or nothing.
    pub(super) fn commit(&self, log: &Log, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let group = request.group_id.as_str();
        let member = request.member_id.as_deref().unwrap_or_default();
        let generation = request.generation_id_or_member_epoch.unwrap_or(-1);
        let topics = request.topics.unwrap_or_default();
        let mut commits = Vec::new();
        for topic in &topics {
            let Some(found) = log.topic(&topic.name) else { continue };
            for partition in topic.partitions.as_deref().unwrap_or_default() {
                if found.partition(partition.partition_index).is_some() {
                    commits.push(Commit {
                        group: group.to_owned(),
                        topic: found.made.id,
                        partition: partition.partition_index,
                        offset: partition.committed_offset,
                        metadata: partition.committed_metadata.clone(),
                    });
                }
            }
        }
        let there: Vec<_> = commits.iter().map(|commit| (commit.topic, commit.partition)).collect();
        let kept =
            self.with(group, |group, now| group.commit(member, generation, now)).and_then(|()| log.commit(commits));
        let topics = topics.into_iter().map(|topic| {
            let id = log.topic(&topic.name).map(|topic| topic.made.id);
            let partitions = topic.partitions.unwrap_or_default().into_iter().map(|partition| {
                let is_there = id.is_some_and(|id| there.contains(&(id, partition.partition_index)));
                let code = match kept {
                    Ok(()) if is_there => ErrorCode::None,
                    Ok(()) => ErrorCode::UnknownTopicOrPartition,
                    Err(code) => code,
                };
                OffsetCommitResponsePartition::default()
                    .partition_index(partition.partition_index)
                    .error_code(code.into())
            });
            OffsetCommitResponseTopic::default().name(topic.name).partitions(Some(partitions.collect()))
        });
        OffsetCommitResponse::default().throttle_time_ms(Some(0)).topics(Some(topics.collect()))
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

fn joined(member: &str, outcome: Result<Joined, ErrorCode>) -> JoinGroupResponse {
    let answer = JoinGroupResponse::default().throttle_time_ms(Some(0)).member_id(member.to_owned());
    let answer = answer.skip_assignment(Some(false));
    match outcome {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|(id, wants)| {
                JoinGroupResponseMember::default().member_id(id).group_instance_id(None).metadata(wants)
            });
            answer
                .error_code(ErrorCode::None.into())
                .generation_id(joined.generation)
                .protocol_type(Some(joined.kind))
                .protocol_name(Some(joined.protocol))
                .leader(joined.leader)
                .members(Some(members.collect()))
        }
        Err(code) => answer
            .error_code(code.into())
            .generation_id(-1)
            .protocol_type(None)
            .protocol_name(Some(String::new()))
            .leader(String::new())
            .members(Some(Vec::new())),
    }
}
