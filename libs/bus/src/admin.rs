//! Making the topics.

use std::time::{Duration, Instant};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode,
};

use crate::{
    BusError, KafkaConfig, Topic,
    client::{Aside, Availability, Quiet},
    topic::Keeps,
};

/// How long each request may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long new topics may take until every partition has a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
/// An old segment of a delete-policy topic is closed after this part of the retention. Only closed segments are
/// deleted: so nothing stands on disk longer than the retention and this part of it.
const SEGMENTS_PER_RETENTION: u64 = 12;

type Client = Aside<AdminClient<Quiet>>;

/// What was done for one topic.
#[derive(Debug, Clone)]
pub struct TopicReport {
    /// Which.
    pub topic: Topic,
    /// Its full name.
    pub name: String,
    /// Its partitions now.
    pub partitions: i32,
    /// Whether it was made just now.
    pub created: bool,
    /// What is not as the contract says, in sentences; empty if all is well.
    pub drift: Vec<String>,
}

/// Makes what is missing (`partitions` for delete-policy topics; tables' topics get a quarter, at least 1; pushes a
/// divisor of 64), changes nothing that is there, reports drift. Safe to run twice and at once. When it returns, every
/// partition has a leader.
///
/// # Errors
/// [`BusError::Config`] for counts below 1; [`BusError::Kafka`] if the brokers are away or refuse.
pub async fn apply_topics(
    config: &KafkaConfig,
    partitions: i32,
    replication: i32,
) -> Result<Vec<TopicReport>, BusError> {
    config.check()?;
    if partitions < 1 || replication < 1 {
        return Err(BusError::Config("partitions and replication are at least 1".into()));
    }
    let client = connect(config)?;
    let created = create(&client, config, partitions, replication).await?;
    let shapes = shapes(&client, config).await?;
    let names: Vec<String> = Topic::ALL.into_iter().map(|topic| config.topic_name(topic)).collect();
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(WITHIN));
    let described = client.describe_configs(&resources, &options).await?;
    let reports = Topic::ALL.into_iter().zip(names).zip(shapes).zip(described);
    reports
        .map(|(((topic, name), shape), settings)| {
            let settings = settings.map_err(|code| BusError::Kafka(format!("settings of {name}: {code}")))?;
            let wanted = Shape { partitions: topic.partitions(partitions), replication };
            let mut drift = shape.drift(wanted);
            drift.extend(settings_drift(topic, wanted.replication, &settings));
            Ok(TopicReport { topic, partitions: shape.partitions, created: created.contains(&topic), name, drift })
        })
        .collect()
}

/// Deletes every topic of this deployment's prefix, with all that is in it: for tests and trials.
///
/// # Errors
/// [`BusError::Config`] for an empty prefix, which would be the real thing; [`BusError::Kafka`] if the brokers are away.
pub async fn drop_topics(config: &KafkaConfig) -> Result<(), BusError> {
    delete(config, &Topic::ALL).await
}

/// Deletes one topic of this deployment's prefix, as [`drop_topics`] does all.
///
/// # Errors
/// Those of [`drop_topics`].
pub async fn drop_topic(config: &KafkaConfig, topic: Topic) -> Result<(), BusError> {
    delete(config, &[topic]).await
}

async fn delete(config: &KafkaConfig, topics: &[Topic]) -> Result<(), BusError> {
    if config.topic_prefix.is_empty() {
        return Err(BusError::Config("topics without a prefix are not dropped".into()));
    }
    let client = connect(config)?;
    let names: Vec<String> = topics.iter().map(|topic| config.topic_name(*topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN));
    for result in client.delete_topics(&names, &options).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => return Err(BusError::Kafka(format!("deleting {name}: {code}"))),
        }
    }
    Ok(())
}

fn connect(config: &KafkaConfig) -> Result<Client, BusError> {
    Ok(Aside::new(config.admin_client()?.create_with_context(Quiet(Availability::of("admin")))?))
}

/// Creates all topics; those that were not there before.
async fn create(
    client: &Client,
    config: &KafkaConfig,
    partitions: i32,
    replication: i32,
) -> Result<Vec<Topic>, BusError> {
    let names: Vec<String> = Topic::ALL.into_iter().map(|topic| config.topic_name(topic)).collect();
    let settings: Vec<_> = Topic::ALL.into_iter().map(|topic| settings(topic, replication)).collect();
    let new: Vec<NewTopic<'_>> = Topic::ALL
        .into_iter()
        .zip(&names)
        .zip(&settings)
        .map(|((topic, name), settings)| {
            let new = NewTopic::new(name, topic.partitions(partitions), TopicReplication::Fixed(replication));
            settings.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN));
    let mut created = Vec::new();
    for (topic, result) in Topic::ALL.into_iter().zip(client.create_topics(&new, &options).await?) {
        match result {
            Ok(_) => created.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(BusError::Kafka(format!("creating {name}: {code}"))),
        }
    }
    Ok(created)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    partitions: i32,
    replication: i32,
}

impl Shape {
    fn drift(self, wanted: Self) -> Vec<String> {
        let mut drift = Vec::new();
        if self.partitions != wanted.partitions {
            drift.push(format!("it has {} partitions, not {}", self.partitions, wanted.partitions));
        }
        if self.replication != wanted.replication {
            drift.push(format!("it is kept {} times, not {}", self.replication, wanted.replication));
        }
        drift
    }
}

/// The shape of every topic, once all partitions have leaders.
async fn shapes(client: &Client, config: &KafkaConfig) -> Result<Vec<Shape>, BusError> {
    let names: Vec<String> = Topic::ALL.into_iter().map(|topic| config.topic_name(topic)).collect();
    let until = Instant::now() + LEADERS_WITHIN;
    loop {
        let (shared, names) = (client.share(), names.clone());
        let shapes = tokio::task::spawn_blocking(move || shapes_now(&shared, &names));
        let missing = match shapes.await?? {
            Ok(shapes) => return Ok(shapes),
            Err(missing) => missing,
        };
        if Instant::now() >= until {
            return Err(BusError::Kafka(format!("{missing} has no leader yet")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The shapes, or the name of a topic that is not ready.
fn shapes_now(client: &AdminClient<Quiet>, names: &[String]) -> Result<Result<Vec<Shape>, String>, BusError> {
    let metadata = client.inner().fetch_metadata(None, WITHIN)?;
    let shape = |name: &String| {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name)?;
        let partitions = topic.partitions();
        let led = !partitions.is_empty() && partitions.iter().all(|p| p.error().is_none() && p.leader() >= 0);
        let replication = partitions.iter().map(|p| p.replicas().len()).min().unwrap_or_default();
        led.then(|| Shape {
            partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
            replication: i32::try_from(replication).unwrap_or(i32::MAX),
        })
    };
    Ok(names.iter().map(|name| shape(name).ok_or_else(|| name.clone())).collect())
}

/// What a topic is set to.
fn settings(topic: Topic, replication: i32) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("max.message.bytes", topic.max_batch_bytes().to_string()),
        // With three replicas an acknowledged record stands on two before it is acknowledged.
        ("min.insync.replicas", if replication >= 3 { "2" } else { "1" }.to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    match topic.keeps() {
        Keeps::For { ms } => all.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", ms.to_string()),
            ("segment.ms", (ms / SEGMENTS_PER_RETENTION).to_string()),
        ]),
        Keeps::Newest { older_gone_after_ms } => all.extend([
            ("cleanup.policy", "compact".to_owned()),
            ("max.compaction.lag.ms", older_gone_after_ms.to_string()),
        ]),
    }
    all
}

/// A topic as it stands.
#[derive(Clone, Debug)]
pub struct TopicState {
    /// Which.
    pub topic: Topic,
    /// Its full name.
    pub name: String,
    /// What was found; `None`: it is not there.
    pub found: Option<TopicFound>,
}

/// What a topic is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicFound {
    /// How many partitions.
    pub partitions: usize,
    /// How many of them have no leader now.
    pub leaderless: usize,
    /// How many copies the partition with the fewest has.
    pub replication: i32,
    /// What [`apply_topics`] would set with as many copies, and what is set.
    pub settings: Vec<TopicSetting>,
}

/// One setting of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSetting {
    /// Kafka's name for it.
    pub key: &'static str,
    /// What [`apply_topics`] would set.
    pub wanted: String,
    /// What is set.
    pub found: String,
}

/// Looks at every topic of the contract, and changes nothing.
///
/// # Errors
/// [`BusError`]: a setting that cannot be, brokers that are away, or that do not let us ask.
pub async fn inspect_topics(config: &KafkaConfig) -> Result<Vec<TopicState>, BusError> {
    config.check()?;
    let client = connect(config)?;
    let shared = client.share();
    let metadata = tokio::task::spawn_blocking(move || shared.inner().fetch_metadata(None, WITHIN)).await??;
    let mut states = Vec::new();
    for topic in Topic::ALL {
        let name = config.topic_name(topic);
        let found = match metadata.topics().iter().find(|t| t.name() == name && !t.partitions().is_empty()) {
            Some(there) => {
                let partitions = there.partitions();
                let copies = partitions.iter().map(|p| p.replicas().len()).min().unwrap_or_default();
                let replication = i32::try_from(copies).unwrap_or(i32::MAX);
                Some(TopicFound {
                    partitions: partitions.len(),
                    leaderless: partitions.iter().filter(|p| p.leader() < 0).count(),
                    replication,
                    settings: settings_found(&client, &name, topic, replication).await?,
                })
            }
            None => None,
        };
        states.push(TopicState { topic, name, found });
    }
    Ok(states)
}

async fn settings_found(
    client: &Client,
    name: &str,
    topic: Topic,
    replication: i32,
) -> Result<Vec<TopicSetting>, BusError> {
    let options = AdminOptions::new().request_timeout(Some(WITHIN));
    let described = client.describe_configs(&[ResourceSpecifier::Topic(name)], &options).await?;
    let described = described.into_iter().next().ok_or_else(|| BusError::Kafka(format!("no settings of {name}")))?;
    let described = described.map_err(|code| BusError::Kafka(format!("settings of {name}: {code}")))?;
    let found = |key: &str| described.get(key).and_then(|entry| entry.value.clone());
    let all = settings(topic, replication).into_iter();
    Ok(all.filter_map(|(key, wanted)| Some(TopicSetting { key, wanted, found: found(key)? })).collect())
}

fn settings_drift(topic: Topic, replication: i32, found: &ConfigResource) -> Vec<String> {
    let wanted = settings(topic, replication).into_iter();
    wanted
        .filter_map(|(key, wanted)| {
            let found = found.get(key)?.value.as_deref()?;
            (found != wanted).then(|| format!("{key} is {found}, not {wanted}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    fn of(topic: Topic, replication: i32, key: &str) -> Option<String> {
        settings(topic, replication).into_iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    #[test]
    fn g6_every_topic_ends_or_is_compacted() {
        assert_eq!(of(Topic::Events, 1, "retention.ms").as_deref(), Some("259200000"));
        assert_eq!(of(Topic::Alerts, 1, "retention.ms").as_deref(), Some("259200000"));
        assert_eq!(of(Topic::Pushes, 1, "retention.ms").as_deref(), Some("86400000"));
        assert_eq!(of(Topic::DeadLetters, 1, "retention.ms").as_deref(), Some("1209600000"));
        for table in [Topic::Devices, Topic::Neighborhoods] {
            assert_eq!(of(table, 1, "cleanup.policy").as_deref(), Some("compact"));
            assert!(of(table, 1, "max.compaction.lag.ms").is_some());
        }
    }

    #[test]
    fn g2_three_replicas_acknowledge_with_two() {
        assert_eq!(of(Topic::Events, 3, "min.insync.replicas").as_deref(), Some("2"));
        assert_eq!(of(Topic::Events, 1, "min.insync.replicas").as_deref(), Some("1"));
    }

    /// Where Strimzi makes the topics, they are those that `apply_topics` would make. What the chart renders is compared
    /// with the files in `helm/golden`.
    #[test]
    fn the_chart_makes_the_topics_of_the_contract() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../helm/golden/strimzi-scylla.yaml");
        let golden = std::fs::read_to_string(golden).expect("what the chart renders");
        for topic in Topic::ALL {
            let named = format!("  topicName: {}", topic.name());
            let made = golden
                .split("\n---\n")
                .find(|object| object.lines().any(|line| line == named))
                .unwrap_or_else(|| panic!("{} has no object", topic.name()));
            let stands = |line: String| assert!(made.lines().any(|l| l.trim() == line), "{}: {line}", topic.name());
            stands(format!("partitions: {}", topic.partitions(24)));
            stands("replicas: 3".to_owned());
            settings(topic, 3).into_iter().for_each(|(key, value)| stands(format!("{key}: {value}")));
        }
    }

    #[test]
    fn drift_is_said_in_sentences() {
        let entry = |name: &str, value: &str| ConfigEntry {
            name: name.into(),
            value: Some(value.into()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        let mut entries: Vec<_> = settings(Topic::Pushes, 1).iter().map(|(k, v)| entry(k, v)).collect();
        let specifier = || OwnedResourceSpecifier::Topic("t-pushes.v1".into());
        let as_wanted = ConfigResource { specifier: specifier(), entries };
        assert!(settings_drift(Topic::Pushes, 1, &as_wanted).is_empty());
        entries = vec![entry("retention.ms", "5")];
        let drift = settings_drift(Topic::Pushes, 1, &ConfigResource { specifier: specifier(), entries });
        assert_eq!(drift, ["retention.ms is 5, not 86400000"]);
        let (is, wanted) = (Shape { partitions: 3, replication: 1 }, Shape { partitions: 12, replication: 1 });
        assert_eq!(is.drift(wanted), ["it has 3 partitions, not 12"]);
    }
}
