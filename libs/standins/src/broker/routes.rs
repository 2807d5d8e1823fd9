//! Which requests are answered, and by what. A client asks for this list first, and goes without what is not in it:
//! transactions, the newer protocol of groups, the deleting of records, and changes to a topic.

use tansu_sans_io::{
    ApiKey as _, ApiVersionsRequest, ApiVersionsResponse, Body, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, Error, ErrorCode, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, RootMessageMeta,
    SyncGroupRequest, api_versions_response::ApiVersion,
};

use super::{fetch, groups::Groups, log::Log, offsets, produce, topics, topics::Node};

/// What answers requests, of whatever connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) node: Node,
    pub(super) log: Log,
    pub(super) groups: Groups,
}

const ANSWERED: [i16; 17] = [
    ApiVersionsRequest::KEY,
    CreateTopicsRequest::KEY,
    DeleteTopicsRequest::KEY,
    DescribeClusterRequest::KEY,
    DescribeConfigsRequest::KEY,
    FetchRequest::KEY,
    FindCoordinatorRequest::KEY,
    HeartbeatRequest::KEY,
    InitProducerIdRequest::KEY,
    JoinGroupRequest::KEY,
    LeaveGroupRequest::KEY,
    ListOffsetsRequest::KEY,
    MetadataRequest::KEY,
    OffsetCommitRequest::KEY,
    OffsetFetchRequest::KEY,
    ProduceRequest::KEY,
    SyncGroupRequest::KEY,
];

impl Broker {
    /// Answers a request. `None`: whoever sent it wants no answer.
    pub(super) async fn answer(&self, client: Option<&str>, request: Body) -> Option<Result<Body, Error>> {
        let Self { node, log, groups } = self;
        Some(Ok(match request {
            Body::ApiVersionsRequest(_) => versions().into(),
            Body::CreateTopicsRequest(request) => topics::create(log, request).into(),
            Body::DeleteTopicsRequest(request) => topics::delete(log, request).into(),
            Body::DescribeClusterRequest(_) => node.cluster().into(),
            Body::DescribeConfigsRequest(request) => topics::settings(log, request).into(),
            Body::FetchRequest(request) => match fetch::fetch(log, &request).await {
                Ok(answer) => answer.into(),
                Err(error) => return Some(Err(error)),
            },
            Body::FindCoordinatorRequest(request) => node.coordinator(request).into(),
            Body::HeartbeatRequest(request) => groups.heartbeat(&request).into(),
            Body::InitProducerIdRequest(request) => producer(log, &request).into(),
            Body::JoinGroupRequest(request) => groups.join(client, request).await.into(),
            Body::LeaveGroupRequest(request) => groups.leave(&request).into(),
            Body::ListOffsetsRequest(request) => offsets::list(log, request).into(),
            Body::MetadataRequest(request) => node.metadata(log, request).into(),
            Body::OffsetCommitRequest(request) => groups.commit(log, request).into(),
            Body::OffsetFetchRequest(request) => offsets::committed(log, request).into(),
            Body::ProduceRequest(request) => {
                let (acks, answer) = (request.acks, produce::produce(log, request));
                if acks == 0 {
                    return None;
                }
                answer.into()
            }
            Body::SyncGroupRequest(request) => groups.sync(request).await.into(),
            other => return Some(Err(Error::Message(format!("a request that is not in the list: {other:?}")))),
        }))
    }
}

fn versions() -> ApiVersionsResponse {
    let all = RootMessageMeta::messages().requests();
    let answered = ANSWERED.iter().filter_map(|key| all.get(key)).map(|meta| {
        let versions = ApiVersion::default().api_key(meta.api_key);
        versions.min_version(meta.version.valid.start).max_version(meta.version.valid.end)
    });
    ApiVersionsResponse::default()
        .error_code(ErrorCode::None.into())
        .api_keys(Some(answered.collect()))
        .throttle_time_ms(Some(0))
        .supported_features(Some(Vec::new()))
        .finalized_features_epoch(Some(-1))
        .finalized_features(Some(Vec::new()))
        .zk_migration_ready(Some(false))
}

/// A producer without transactions is made anew, whoever it was before: so does Kafka.
fn producer(log: &Log, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let made = if request.transactional_id.is_some() { Err(ErrorCode::UnsupportedVersion) } else { log.producer() };
    let code = made.err().unwrap_or(ErrorCode::None);
    let answer = InitProducerIdResponse::default().throttle_time_ms(0).error_code(code.into());
    answer.producer_id(made.unwrap_or(-1)).producer_epoch(if made.is_ok() { 0 } else { -1 })
}
