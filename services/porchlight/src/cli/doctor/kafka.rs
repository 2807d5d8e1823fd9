//! What is to be thought of a Kafka. Pure: nothing is asked here.

use porchlight_bus::{Topic, TopicFound, TopicState};

use super::finding::Finding;

/// Copies of each record that a deployment for people keeps: one may be lost, and one more be away.
const COPIES: i32 = 3;
/// Copies of each record that stand before it is acknowledged.
const IN_SYNC: i32 = 2;
const APPLY: &str = "run `porchlight topics apply`";

/// Whether it was reached, and how many brokers there are.
pub(super) fn reached(answer: &Result<usize, String>) -> Finding {
    match answer {
        Ok(1) => Finding::warn("kafka", "one broker: it is lost with its disk, and away with its machine; have three"),
        Ok(2) => Finding::warn("kafka", "two brokers: with one away nothing can be kept safely; have three"),
        Ok(brokers) => Finding::ok("kafka", format!("{brokers} brokers answer")),
        Err(sentence) => Finding::fail("kafka", sentence),
    }
}

/// One finding a topic.
pub(super) fn topics(brokers: usize, states: &[TopicState]) -> Vec<Finding> {
    states.iter().map(|state| topic(brokers, state)).collect()
}

fn topic(brokers: usize, state: &TopicState) -> Finding {
    let what = format!("topic {}", state.name);
    let Some(found) = &state.found else {
        return Finding::fail(
            what,
            format!("it does not exist: {APPLY}, with the partitions and copies that you want"),
        );
    };
    let wrong = wrong(brokers, state.topic, found);
    if !wrong.is_empty() {
        return Finding::fail(what, wrong.join("; "));
    }
    let odd = odd(brokers, found);
    if odd.is_empty() {
        let Found { partitions, copies } = found.into();
        Finding::ok(what, format!("{partitions} partitions, kept {copies} times"))
    } else {
        Finding::warn(what, odd.join("; "))
    }
}

struct Found {
    partitions: usize,
    copies: i32,
}

impl From<&TopicFound> for Found {
    fn from(found: &TopicFound) -> Self {
        Self { partitions: found.partitions, copies: found.replication }
    }
}

/// What loses records, or keeps them from being taken.
fn wrong(brokers: usize, topic: Topic, found: &TopicFound) -> Vec<String> {
    let mut wrong = Vec::new();
    if found.leaderless > 0 {
        let (count, of) = (found.leaderless, found.partitions);
        wrong.push(format!("{count} of {of} partitions have no leader: brokers that keep them are away, start them"));
    }
    if topic == Topic::Pushes && !64_usize.is_multiple_of(found.partitions) {
        wrong.push(format!(
            "{} partitions share out 64 buckets unevenly: make it anew with 1 to 64, a power of two",
            found.partitions
        ));
    }
    if found.replication < COPIES && brokers >= 3 {
        wrong.push(format!(
            "it is kept {} times: a lost disk can lose records that were acknowledged; raise it to {COPIES} \
             (kafka-reassign-partitions), or make it anew by `porchlight topics apply --replication {COPIES}`",
            found.replication
        ));
    }
    for setting in &found.settings {
        let (key, is, wanted) = (setting.key, &setting.found, &setting.wanted);
        let set = format!("{key} is {is}: set it to {wanted} (kafka-configs --alter)");
        match key {
            "min.insync.replicas" => wrong.extend(in_sync(found.replication, is, &set)),
            "unclean.leader.election.enable" if is != wanted => {
                wrong.push(format!("{set}; else a broker that was behind can lead, and what it lacks is lost"));
            }
            "cleanup.policy" if is != wanted => {
                wrong.push(format!("{set}; else it forgets what must be kept, or keeps what must end"));
            }
            "max.message.bytes" if number(is) < number(wanted) => {
                wrong.push(format!("{set}; else large records are refused for ever"));
            }
            "retention.ms" if number(is) < number(wanted) => {
                wrong.push(format!("{set}; else records end before a service that was away has read them"));
            }
            _ => {}
        }
    }
    wrong
}

fn in_sync(replication: i32, is: &str, set: &str) -> Option<String> {
    let is = number(is);
    if is > i64::from(replication) || (is == i64::from(replication) && replication > 1) {
        return Some(format!("{set}; with one broker away nothing would be taken"));
    }
    let short = replication >= COPIES && is < i64::from(IN_SYNC);
    short.then(|| format!("{set}; else what was acknowledged may stand on one disk only"))
}

/// What works, and is not as `topics apply` makes it.
fn odd(brokers: usize, found: &TopicFound) -> Vec<String> {
    let mut odd = Vec::new();
    if found.replication < COPIES && brokers < 3 {
        odd.push(format!("it is kept {} times, of {COPIES}: enough for trying only", found.replication));
    }
    for setting in found.settings.iter().filter(|setting| setting.found != setting.wanted) {
        odd.push(format!(
            "{} is {}, and `porchlight topics apply` would set {}",
            setting.key, setting.found, setting.wanted
        ));
    }
    odd
}

/// Kafka writes -1 for "without end".
fn number(text: &str) -> i64 {
    match text.parse() {
        Ok(-1) | Err(_) => i64::MAX,
        Ok(number) => number,
    }
}

#[cfg(test)]
mod tests {
    use porchlight_bus::TopicSetting;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    fn setting(key: &'static str, wanted: &str) -> TopicSetting {
        TopicSetting { key, wanted: wanted.into(), found: wanted.into() }
    }

    fn as_applied() -> TopicState {
        let settings = vec![
            setting("max.message.bytes", "1048576"),
            setting("min.insync.replicas", "2"),
            setting("unclean.leader.election.enable", "false"),
            setting("cleanup.policy", "delete"),
            setting("retention.ms", "259200000"),
            setting("segment.ms", "21600000"),
        ];
        let found = TopicFound { partitions: 12, leaderless: 0, replication: 3, settings };
        TopicState { topic: Topic::Events, name: "events.v1".into(), found: Some(found) }
    }

    fn judged(brokers: usize, change: impl FnOnce(&mut TopicFound)) -> Finding {
        let mut state = as_applied();
        change(state.found.as_mut().expect("it is there"));
        topic(brokers, &state)
    }

    fn set(key: &'static str, value: &'static str) -> impl FnOnce(&mut TopicFound) {
        move |found| {
            let setting = found.settings.iter_mut().find(|setting| setting.key == key).expect("one of them");
            setting.found = value.into();
        }
    }

    #[test]
    fn a_topic_as_applied_on_three_brokers_is_well() {
        let finding = topic(3, &as_applied());
        assert_eq!(finding, Finding::ok("topic events.v1", "12 partitions, kept 3 times"));
        assert_eq!(reached(&Ok(3)).verdict, Verdict::Ok);
    }

    #[test]
    fn fewer_than_three_brokers_are_for_trying() {
        for brokers in [1, 2] {
            assert_eq!(reached(&Ok(brokers)).verdict, Verdict::Warn);
        }
        let once = judged(1, |found| {
            found.replication = 1;
            found.settings[1] = setting("min.insync.replicas", "1");
        });
        assert_eq!(once.verdict, Verdict::Warn, "{once:?}");
        assert_eq!(reached(&Err("away".into())), Finding::fail("kafka", "away"));
    }

    #[test]
    fn what_can_lose_a_record_fails_by_its_name() {
        for (change, says) in [
            (Box::new(|f: &mut TopicFound| f.replication = 1) as Box<dyn FnOnce(&mut TopicFound)>, "kept 1 times"),
            (Box::new(|f: &mut TopicFound| f.leaderless = 2), "2 of 12 partitions have no leader"),
            (Box::new(set("min.insync.replicas", "1")), "min.insync.replicas is 1: set it to 2"),
            (Box::new(set("min.insync.replicas", "3")), "with one broker away nothing would be taken"),
            (Box::new(set("unclean.leader.election.enable", "true")), "unclean.leader.election.enable is true"),
            (Box::new(set("cleanup.policy", "compact")), "cleanup.policy is compact: set it to delete"),
            (Box::new(set("retention.ms", "3600000")), "retention.ms is 3600000"),
            (Box::new(set("max.message.bytes", "1000")), "max.message.bytes is 1000"),
        ] {
            let finding = judged(3, change);
            assert!(finding.verdict == Verdict::Fail && finding.sentence.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn what_only_differs_is_told() {
        for (key, value) in [("segment.ms", "5"), ("retention.ms", "-1"), ("max.message.bytes", "9999999")] {
            let finding = judged(3, set(key, value));
            assert!(finding.verdict == Verdict::Warn && finding.sentence.contains(key), "{finding:?}");
        }
    }

    #[test]
    fn pushes_share_out_their_buckets_evenly() {
        let of = |partitions| {
            let mut state = as_applied();
            state.topic = Topic::Pushes;
            state.found.as_mut().expect("it is there").partitions = partitions;
            topic(3, &state).verdict
        };
        assert_eq!((of(8), of(12)), (Verdict::Ok, Verdict::Fail));
    }

    #[test]
    fn a_topic_that_is_not_there_says_how_to_make_it() {
        let finding = topic(3, &TopicState { found: None, ..as_applied() });
        assert!(
            finding.verdict == Verdict::Fail && finding.sentence.contains("porchlight topics apply"),
            "{finding:?}"
        );
    }
}
