//! What an operator wants to know of a database before anything is trusted to it. It asks; whoever asked for it judges.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    client::{Cql, statements},
    errors, migrate,
};
use crate::{CqlConfig, Examination, StoreError, Written, metrics::Operation};

statements! {
    /// A row that belongs to nobody, in a table that every schema has; it ends by itself.
    Probe {
        claim: ConditionalWrite "schema_lock"
            "INSERT INTO schema_lock (name, owner) VALUES (?, ?) IF NOT EXISTS USING TTL 60";
        give_up: ConditionalWrite "schema_lock" "DELETE FROM schema_lock WHERE name = ? IF owner = ?";
    }
}

/// See [`crate::examine`].
pub(crate) async fn run(config: &CqlConfig) -> Result<Examination, StoreError> {
    let timeout = Duration::from_millis(config.request_timeout_ms);
    let cql = Cql::open(config, timeout).await?;
    let state = cql.session().get_cluster_state();
    let of_ours = |datacenter: Option<&str>| datacenter == Some(config.datacenter.as_str());
    let nodes = state.get_nodes_info().iter().filter(|node| of_ours(node.datacenter.as_deref())).count();
    let replication = replication(&cql, config).await?;
    if replication.is_none() {
        return Ok(Examination { nodes, replication, schema: Ok(()), conditional_write: Ok(Duration::ZERO) });
    }
    let cql = Cql::open_keyspace(config).await?;
    let schema = match migrate::check(&cql).await {
        Ok(()) => Ok(()),
        Err(StoreError::Refused(sentence)) => Err(sentence),
        Err(other) => return Err(other),
    };
    let conditional_write = conditional_write(&cql).await.map_err(|e| e.to_string());
    Ok(Examination { nodes, replication, schema, conditional_write })
}

/// How many copies the keyspace has in our data centre; `None`: there is no such keyspace.
async fn replication(cql: &Cql, config: &CqlConfig) -> Result<Option<u32>, StoreError> {
    let query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let answer = cql.session().query_unpaged(query, (&config.keyspace,)).await;
    let rows = answer.map_err(|e| errors::of_executing(&e, Operation::Read))?.into_rows_result();
    let unreadable = |what: &dyn std::fmt::Display| StoreError::Refused(format!("the keyspace cannot be read: {what}"));
    let row = rows.map_err(|e| unreadable(&e))?.maybe_first_row::<(HashMap<String, String>,)>();
    let Some((replication,)) = row.map_err(|e| unreadable(&e))? else { return Ok(None) };
    // SimpleStrategy knows no data centres, and has one number for all of them.
    let copies = replication.get(&config.datacenter).or_else(|| replication.get("replication_factor"));
    Ok(Some(copies.and_then(|copies| copies.parse().ok()).unwrap_or(0)))
}

/// A row that is claimed, cannot be claimed again, and is given up: how long the three took.
async fn conditional_write(cql: &Cql) -> Result<Duration, StoreError> {
    let probe = Probe::prepare(cql).await?;
    let (owner, begun) = (Uuid::new_v4(), Instant::now());
    let name = format!("doctor-{owner}");
    let wrong = |what: &str| StoreError::Refused(format!("{what}: conditional writes do not hold here"));
    match cql.conditional(&probe.claim, (&name, owner)).await? {
        Written::Applied => {}
        Written::Conflict => return Err(wrong("a row that was not there was taken")),
    }
    match cql.conditional(&probe.claim, (&name, Uuid::new_v4())).await? {
        Written::Conflict => {}
        Written::Applied => return Err(wrong("one row was taken twice")),
    }
    match cql.conditional(&probe.give_up, (&name, owner)).await? {
        Written::Applied => Ok(begun.elapsed()),
        Written::Conflict => Err(wrong("a row had another owner than it was given")),
    }
}
