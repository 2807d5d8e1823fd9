//! Which topics there are, what they are set to, and where they are: all on the one node.

use std::net::SocketAddr;

use tansu_sans_io::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, ErrorCode, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse,
    create_topics_request::CreatableTopic,
    create_topics_response::CreatableTopicResult,
    delete_topics_response::DeletableTopicResult,
    describe_cluster_response::DescribeClusterBroker,
    describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult},
    find_coordinator_response::Coordinator,
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
};
use uuid::Uuid;

use super::log::{Log, Made, Topic};

/// Its only node, the same for ever.
const NODE: i32 = 1;
/// The most partitions of a topic: each is a folder.
const MOST_PARTITIONS: i32 = 1000;
/// What may be done with a topic or the cluster is not said.
const NOT_SAID: i32 = i32::MIN;
const NO_ID: [u8; 16] = [0; 16];
/// What stands for a topic among the kinds of things that have settings, and for "set for this topic".
const OF_TOPIC: i8 = 2;
const SET_FOR_TOPIC: i8 = 1;

/// The node, as clients are told of it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) cluster: String,
    pub(super) address: SocketAddr,
}

impl Node {
    fn host(&self) -> String {
        self.address.ip().to_string()
    }

    fn port(&self) -> i32 {
        i32::from(self.address.port())
    }

    pub(super) fn cluster(&self) -> DescribeClusterResponse {
        let node = DescribeClusterBroker::default().broker_id(NODE).host(self.host()).port(self.port()).rack(None);
        DescribeClusterResponse::default()
            .throttle_time_ms(0)
            .error_code(ErrorCode::None.into())
            .error_message(None)
            .endpoint_type(Some(1))
            .cluster_id(self.cluster.clone())
            .controller_id(NODE)
            .brokers(Some(vec![node]))
            .cluster_authorized_operations(NOT_SAID)
    }

    /// Who looks after a group (a request is of one until version 3, or of several): always this node.
    pub(super) fn coordinator(&self, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let several = request.coordinator_keys.unwrap_or_default().into_iter().map(|key| {
            Coordinator::default()
                .key(key)
                .node_id(NODE)
                .host(self.host())
                .port(self.port())
                .error_code(ErrorCode::None.into())
                .error_message(None)
        });
        FindCoordinatorResponse::default()
            .throttle_time_ms(Some(0))
            .error_code(Some(ErrorCode::None.into()))
            .error_message(None)
            .node_id(Some(NODE))
            .host(Some(self.host()))
            .port(Some(self.port()))
            .coordinators(Some(several.collect()))
    }

    /// The topics that are asked for; all, if none is named.
    pub(super) fn metadata(&self, log: &Log, request: MetadataRequest) -> MetadataResponse {
        let topics = match request.topics {
            None => log.topics().iter().map(|topic| describe(topic)).collect(),
            Some(asked) => asked
                .into_iter()
                .map(|asked| match (asked.name, asked.topic_id.unwrap_or(NO_ID)) {
                    (Some(name), _) => log.topic(&name).map_or_else(
                        || unknown(Some(name), NO_ID, ErrorCode::UnknownTopicOrPartition),
                        |topic| describe(&topic),
                    ),
                    (None, id) => log
                        .topic_of(id)
                        .map_or_else(|| unknown(None, id, ErrorCode::UnknownTopicId), |topic| describe(&topic)),
                })
                .collect(),
        };
        let node = MetadataResponseBroker::default().node_id(NODE).host(self.host()).port(self.port()).rack(None);
        MetadataResponse::default()
            .throttle_time_ms(Some(0))
            .brokers(Some(vec![node]))
            .cluster_id(Some(self.cluster.clone()))
            .controller_id(Some(NODE))
            .topics(Some(topics))
            .cluster_authorized_operations(Some(NOT_SAID))
    }
}

fn described(name: Option<String>, id: [u8; 16], code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .error_code(code.into())
        .name(name)
        .topic_id(Some(id))
        .is_internal(Some(false))
        .topic_authorized_operations(Some(NOT_SAID))
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..topic.made.partitions).map(|partition| {
        MetadataResponsePartition::default()
            .error_code(ErrorCode::None.into())
            .partition_index(partition)
            .leader_id(NODE)
            .leader_epoch(Some(0))
            .replica_nodes(Some(vec![NODE]))
            .isr_nodes(Some(vec![NODE]))
            .offline_replicas(Some(Vec::new()))
    });
    described(Some(topic.made.name.clone()), topic.made.id.into_bytes(), ErrorCode::None)
        .partitions(Some(partitions.collect()))
}

fn unknown(name: Option<String>, id: [u8; 16], code: ErrorCode) -> MetadataResponseTopic {
    described(name, id, code).partitions(Some(Vec::new()))
}

/// Makes topics, each for itself.
pub(super) fn create(log: &Log, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let only_validate = request.validate_only.unwrap_or_default();
    let topics = request.topics.unwrap_or_default().into_iter().map(|wanted| {
        let name = wanted.name.clone();
        let made = new(wanted).and_then(|made| match log.topic(&made.name) {
            Some(_) => Err((ErrorCode::TopicAlreadyExists, "there is one of this name")),
            None if only_validate => Ok((made.id, made.partitions)),
            None => {
                let (id, partitions) = (made.id, made.partitions);
                log.create(made).map(|()| (id, partitions)).map_err(|code| (code, "it could not be written"))
            }
        });
        let (code, why) = made.as_ref().err().copied().map_or((ErrorCode::None, None), |(code, why)| (code, Some(why)));
        let (id, partitions) = made.unwrap_or((Uuid::nil(), -1));
        CreatableTopicResult::default()
            .name(name)
            .topic_id(Some(id.into_bytes()))
            .error_code(code.into())
            .error_message(why.map(str::to_owned))
            .topic_config_error_code(Some(ErrorCode::None.into()))
            .num_partitions(Some(partitions))
            .replication_factor(Some(if code == ErrorCode::None { 1 } else { -1 }))
            .configs(Some(Vec::new()))
    });
    let topics = topics.collect();
    CreateTopicsResponse::default().throttle_time_ms(Some(0)).topics(Some(topics))
}

fn new(wanted: CreatableTopic) -> Result<Made, (ErrorCode, &'static str)> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=249).contains(&wanted.name.len()) || !wanted.name.chars().all(is_plain) || wanted.name.starts_with("..") {
        return Err((ErrorCode::InvalidTopicException, "a name has letters, digits, '.', '_' and '-'"));
    }
    let partitions = if wanted.num_partitions == -1 { 1 } else { wanted.num_partitions };
    if !(1..=MOST_PARTITIONS).contains(&partitions) {
        return Err((ErrorCode::InvalidPartitions, "a topic has from 1 to 1000 partitions here"));
    }
    if !matches!(wanted.replication_factor, -1 | 1) || wanted.assignments.is_some_and(|all| !all.is_empty()) {
        return Err((ErrorCode::InvalidReplicationFactor, "there is one node, which has one copy"));
    }
    let settings = wanted.configs.unwrap_or_default().into_iter();
    let settings = settings.filter_map(|setting| Some((setting.name, setting.value?))).collect();
    Ok(Made { id: Uuid::new_v4(), name: wanted.name, partitions, settings })
}

/// Deletes topics, each for itself. A request has their names (until version 5), or names and ids.
pub(super) fn delete(log: &Log, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = request.topic_names.unwrap_or_default().into_iter().map(Ok);
    let others = request.topics.unwrap_or_default().into_iter().map(|topic| topic.name.ok_or(topic.topic_id));
    let responses = named.chain(others).map(|asked| {
        let name = match asked {
            Ok(name) => Ok(name),
            Err(id) => log.topic_of(id).map(|topic| topic.made.name.clone()).ok_or(ErrorCode::UnknownTopicId),
        };
        let deleted = name.clone().and_then(|name| log.delete(&name));
        DeletableTopicResult::default()
            .name(name.ok())
            .topic_id(Some(deleted.map_or(NO_ID, Uuid::into_bytes)))
            .error_code(deleted.err().unwrap_or(ErrorCode::None).into())
            .error_message(None)
    });
    let responses = responses.collect();
    DeleteTopicsResponse::default().throttle_time_ms(Some(0)).responses(Some(responses))
}

/// What topics were made with.
pub(super) fn settings(log: &Log, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.unwrap_or_default().into_iter().map(|asked| {
        let is_asked = |key: &str| asked.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|k| k == key));
        let topic = (asked.resource_type == OF_TOPIC).then(|| log.topic(&asked.resource_name)).flatten();
        let is_missing = asked.resource_type == OF_TOPIC && topic.is_none();
        let code = if is_missing { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::None };
        let set = topic.iter().flat_map(|topic| &topic.made.settings).filter(|(key, _)| is_asked(key));
        let set = set.map(|(key, value)| {
            DescribeConfigsResourceResult::default()
                .name(key.clone())
                .value(Some(value.clone()))
                .read_only(true)
                .is_default(Some(false))
                .config_source(Some(SET_FOR_TOPIC))
                .is_sensitive(false)
                .synonyms(Some(Vec::new()))
                .config_type(Some(0))
                .documentation(None)
        });
        let set = set.collect();
        DescribeConfigsResult::default()
            .error_code(code.into())
            .error_message(None)
            .resource_type(asked.resource_type)
            .resource_name(asked.resource_name.clone())
            .configs(Some(set))
    });
    let results = results.collect();
    DescribeConfigsResponse::default().throttle_time_ms(0).results(Some(results))
}
