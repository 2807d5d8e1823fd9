//! What a consumer asks out of band, once a second, where blocking is allowed: whether its commits stand, and how far
//! behind it is. A commit that is sent manually never reports back (rust-rdkafka issue 856), so it is asked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset,
    consumer::{Consumer, StreamConsumer},
};

use super::context::GroupContext;
use crate::{
    BusError, Topic,
    client::{Edge, Names, edges, offsets, partition_count},
    ledger::{NextOffset, Sent, TopicPartition},
};

/// How long each question may take.
const WITHIN: Duration = Duration::from_secs(3);

/// What brokers know of one partition.
pub(super) struct Standing {
    pub(super) at: TopicPartition,
    /// What is committed; `None`: nothing yet.
    pub(super) committed: Option<NextOffset>,
    /// The offset that the next record will get.
    pub(super) high: i64,
    /// The oldest offset kept, where nothing is committed: it is read from there.
    pub(super) low: Option<i64>,
}

/// The answers to one round of questions.
pub(super) struct Answers {
    /// When the questions were begun.
    pub(super) asked: Instant,
    /// The commits that had been sent before the questions were: they stand, or they have failed. (Both go to the same
    /// broker over the same connection, which keeps their order.)
    pub(super) sent: Vec<Sent>,
    /// `None` if only the group's coordinator did not answer. While a rebalance waits for a slow member it answers
    /// nobody of the group; that says nothing of the brokers.
    pub(super) standings: Option<Vec<Standing>>,
}

/// Asks. Blocks for a few seconds at most.
///
/// # Errors
/// The brokers do not answer, or a topic is missing.
pub(super) fn ask(
    client: &Arc<StreamConsumer<GroupContext>>,
    names: &Names,
    topics: &[Topic],
    assigned: &[TopicPartition],
    sent: Vec<Sent>,
) -> Result<Answers, BusError> {
    let (client, asked) = (&**client, Instant::now());
    if assigned.is_empty() {
        // Nothing to ask about; but a topic that is missing would look just like a group with members to spare.
        for topic in topics {
            partition_count(client, &names.full(*topic), WITHIN)?;
        }
        return Ok(Answers { asked, sent, standings: Some(Vec::new()) });
    }
    let highs = edges(client, names, assigned, Edge::High, WITHIN)?;
    let list = names.list(assigned.iter().map(|at| (*at, Offset::Invalid)))?;
    let committed = match client.committed_offsets(list, WITHIN).and_then(|answer| offsets(names, &answer)) {
        Ok(committed) => committed,
        Err(error) => {
            tracing::debug!(%error, "the group's coordinator does not answer");
            return Ok(Answers { asked, sent, standings: None });
        }
    };
    let fresh: Vec<_> = committed.iter().filter(|(_, offset)| offset.is_none()).map(|(at, _)| *at).collect();
    let lows = edges(client, names, &fresh, Edge::Low, WITHIN)?;
    let standings = highs.into_iter().map(|(at, high)| Standing {
        at,
        committed: committed.iter().find(|(c, _)| *c == at).and_then(|(_, offset)| offset.map(NextOffset::committed)),
        high,
        low: lows.iter().find(|(l, _)| *l == at).map(|(_, low)| *low),
    });
    Ok(Answers { asked, sent, standings: Some(standings.collect()) })
}
