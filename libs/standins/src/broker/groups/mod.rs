//! Groups of consumers, by the classic protocol. tansu's own coordinator answers a join before the others have joined,
//! and takes commits from anybody: partitions would have two owners for a while, and a late commit of the last owner
//! would move that of the next. Members are in memory only: after a restart each of them joins anew. What is committed
//! is kept by the engine.

mod group;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tansu_broker::{
    Result,
    coordinator::group::{Coordinator, OffsetCommit, administrator::Controller},
};
use tansu_sans_io::{
    Body, ErrorCode, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, OffsetCommitResponse, SyncGroupResponse,
    join_group_request::JoinGroupRequestProtocol,
    join_group_response::JoinGroupResponseMember,
    leave_group_request::MemberIdentity,
    leave_group_response::MemberResponse,
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic},
    sync_group_request::SyncGroupRequestAssignment,
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::engine::Engine;
use group::{Group, Joined, Joining};

/// How often who waits looks whether time has changed anything.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// All groups. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    inner: Arc<Inner>,
    /// What is committed.
    offsets: Controller<Engine>,
}

#[derive(Debug)]
struct Inner {
    groups: Mutex<BTreeMap<String, Group>>,
    news: watch::Sender<()>,
}

impl Groups {
    pub(super) fn of(engine: &Engine) -> Result<Self> {
        let inner = Arc::new(Inner { groups: Mutex::default(), news: watch::Sender::new(()) });
        Ok(Self { inner, offsets: Controller::with_storage(engine.clone())? })
    }

    /// Asks a group, or tells it something, as it stands now.
    fn with<T>(&self, group: &str, ask: impl FnOnce(&mut Group, Instant) -> T) -> T {
        let mut groups: MutexGuard<'_, _> = self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let (group, now) = (groups.entry(group.to_owned()).or_default(), Instant::now());
        group.tick(now);
        ask(group, now)
    }

    /// Asks again and again, until there is an answer.
    async fn wait<T>(&self, group: &str, mut ask: impl FnMut(&mut Group, Instant) -> Option<T>) -> T {
        let mut news = self.inner.news.subscribe();
        loop {
            if let Some(answer) = self.with(group, &mut ask) {
                // What brought the answer is news for all who wait with this one.
                self.inner.news.send_replace(());
                return answer;
            }
            let _ = timeout(LOOK_EVERY, news.changed()).await;
        }
    }
}

#[async_trait]
impl Coordinator for Groups {
    async fn join(
        &mut self,
        client: Option<&str>,
        group: &str,
        session_ms: i32,
        rebalance_ms: Option<i32>,
        member: &str,
        _instance: Option<&str>,
        kind: &str,
        protocols: Option<&[JoinGroupRequestProtocol]>,
        _reason: Option<&str>,
    ) -> Result<Body> {
        let session = millis(session_ms);
        if member.is_empty() {
            let id = format!("{}-{}", client.unwrap_or("member"), Uuid::new_v4());
            self.with(group, |group, now| group.promise(id.clone(), session, now));
            return Ok(joined(&id, Err(ErrorCode::MemberIdRequired)));
        }
        let protocols = protocols.unwrap_or_default().iter().map(|p| (p.name.clone(), p.metadata.clone())).collect();
        let patience = rebalance_ms.filter(|ms| *ms > 0).map_or(session, millis);
        let wants = Joining { kind: kind.to_owned(), protocols, session, patience };
        let over = match self.with(group, |group, now| group.join(member, wants, now)) {
            Ok(over) => over,
            Err(code) => return Ok(joined(member, Err(code))),
        };
        self.inner.news.send_replace(());
        Ok(joined(member, self.wait(group, |group, _| group.joined(member, over)).await))
    }

    async fn sync(
        &mut self,
        group: &str,
        generation: i32,
        member: &str,
        _instance: Option<&str>,
        kind: Option<&str>,
        protocol: Option<&str>,
        shares: Option<&[SyncGroupRequestAssignment]>,
    ) -> Result<Body> {
        let shares: Vec<_> =
            shares.unwrap_or_default().iter().map(|s| (s.member_id.clone(), s.assignment.clone())).collect();
        let share = self.wait(group, |group, now| group.sync(member, generation, &shares, now)).await;
        let (code, share) = match share {
            Ok(share) => (ErrorCode::None, share),
            Err(code) => (code, Bytes::new()),
        };
        Ok(SyncGroupResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(code.into())
            .protocol_type(kind.map(ToOwned::to_owned))
            .protocol_name(protocol.map(ToOwned::to_owned))
            .assignment(share)
            .into())
    }

    async fn heartbeat(&mut self, group: &str, generation: i32, member: &str, _instance: Option<&str>) -> Result<Body> {
        let heard = self.with(group, |group, now| group.heartbeat(member, generation, now));
        let code = heard.err().unwrap_or(ErrorCode::None);
        Ok(HeartbeatResponse::default().throttle_time_ms(Some(0)).error_code(code.into()).into())
    }

    async fn leave(&mut self, group: &str, member: Option<&str>, members: Option<&[MemberIdentity]>) -> Result<Body> {
        let all = member.into_iter().chain(members.unwrap_or_default().iter().map(|m| m.member_id.as_str()));
        let left = all.map(|member| {
            let was = self.with(group, |group, now| group.leave(member, now));
            let code = if was { ErrorCode::None } else { ErrorCode::UnknownMemberId };
            MemberResponse::default().member_id(member.to_owned()).group_instance_id(None).error_code(code.into())
        });
        let left = left.collect();
        self.inner.news.send_replace(());
        Ok(LeaveGroupResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(ErrorCode::None.into())
            .members(Some(left))
            .into())
    }

    async fn offset_commit(&mut self, commit: OffsetCommit<'_>) -> Result<Body> {
        let (member, generation) =
            (commit.member_id.unwrap_or_default(), commit.generation_id_or_member_epoch.unwrap_or(-1));
        if let Err(code) = self.with(commit.group_id, |group, now| group.commit(member, generation, now)) {
            return Ok(refused(&commit, code));
        }
        self.offsets.offset_commit(commit).await
    }

    async fn offset_fetch(
        &mut self,
        group: Option<&str>,
        topics: Option<&[OffsetFetchRequestTopic]>,
        groups: Option<&[OffsetFetchRequestGroup]>,
        require_stable: Option<bool>,
    ) -> Result<Body> {
        self.offsets.offset_fetch(group, topics, groups, require_stable).await
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

fn joined(member: &str, outcome: Result<Joined, ErrorCode>) -> Body {
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
    .into()
}

fn refused(commit: &OffsetCommit<'_>, code: ErrorCode) -> Body {
    let topics = commit.topics.unwrap_or_default().iter().map(|topic| {
        let partitions = topic.partitions.as_deref().unwrap_or_default().iter().map(|partition| {
            OffsetCommitResponsePartition::default().partition_index(partition.partition_index).error_code(code.into())
        });
        OffsetCommitResponseTopic::default().name(topic.name.clone()).partitions(Some(partitions.collect()))
    });
    OffsetCommitResponse::default().throttle_time_ms(Some(0)).topics(Some(topics.collect())).into()
}
