//! Bringing the schema up to this version, and checking at connect that it is there.
//!
//! Two callers at once are safe: whoever holds the lock row applies, the other waits and then finds nothing to do. The
//! keyspace and the lock's own table come before any lock can be held; all data definition therefore goes through one
//! node, the one with the lowest id, which does such requests one after the other (at two nodes of a Cassandra at the
//! same time even `IF NOT EXISTS` can make two tables of one name).

use std::{sync::Arc, time::Duration};

use ::scylla::{
    policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::unprepared,
    value::CqlTimestamp,
};
use porchlight_domain::{Clock, SystemClock};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    client::{AGREEMENT_TIMEOUT, Cql, schema_missing, statements},
    errors,
};
use crate::{
    CqlConfig, Read, StoreError, Written,
    metrics::Operation,
    schema::{FILES, File},
};

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the lock outlives its holder's last sign of life. It is renewed before each statement, so it must be longer
/// than a statement and the agreement on it; the number stands in the lock's statements too.
const LOCK_TTL: Duration = Duration::from_secs(60);
const _: () = assert!(LOCK_TTL.as_secs() > STATEMENT_TIMEOUT.as_secs() + AGREEMENT_TIMEOUT.as_secs());
/// How long to wait for another holder: longer than a dead one's lock lives.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);
/// How long a keyspace whose row is there may take to be usable.
const KEYSPACE_PATIENCE: Duration = Duration::from_secs(10);
/// How often to try again meanwhile.
const RETRY: Duration = Duration::from_millis(250);

/// What was applied, when, and the checksum of its statements.
const MIGRATIONS_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, sha256 text, applied_at timestamp)";
/// One row while somebody applies; it ends by itself.
const LOCK_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_lock (name text PRIMARY KEY, owner uuid)";

const APPLIED: &str = "SELECT sha256 FROM schema_migrations WHERE name = ?";

statements! {
    /// The lock and the list of what is applied.
    MigrationStatements {
        take: ConditionalWrite "schema_lock"
            "INSERT INTO schema_lock (name, owner) VALUES ('schema', ?) IF NOT EXISTS USING TTL 60";
        renew: ConditionalWrite "schema_lock"
            "UPDATE schema_lock USING TTL 60 SET owner = ? WHERE name = 'schema' IF owner = ?";
        release: ConditionalWrite "schema_lock" "DELETE FROM schema_lock WHERE name = 'schema' IF owner = ?";
        applied: Read "schema_migrations" APPLIED;
        note: ConditionalWrite "schema_migrations"
            "INSERT INTO schema_migrations (name, sha256, applied_at) VALUES (?, ?, ?) IF NOT EXISTS";
    }
}

/// Refuses a schema that is missing or older than this version. A newer one is fine: files only add.
pub(super) async fn check(cql: &Cql) -> Result<(), StoreError> {
    let applied = cql.prepare(Operation::Read, "schema_migrations", APPLIED).await?;
    for file in FILES {
        match cql.one::<(String,)>(&applied, (file.name,)).await? {
            Some((checksum,)) if checksum == file.checksum() => {}
            Some(_) => return Err(changed(file)),
            None => return Err(schema_missing(&format!("file {} of the schema is not applied", file.name))),
        }
    }
    Ok(())
}

fn changed(file: &File) -> StoreError {
    StoreError::Refused(format!(
        "file {} of the schema was applied with other statements: an applied file never changes, a change is a new file",
        file.name
    ))
}

/// See [`crate::apply_schema`].
pub(crate) async fn apply(config: &CqlConfig, replication: u8) -> Result<Vec<String>, StoreError> {
    if replication == 0 {
        return Err(StoreError::Refused("a keyspace has at least one copy of each row".into()));
    }
    let cql = Cql::open(config, STATEMENT_TIMEOUT).await?;
    let definer = Definer::new(&cql)?;
    definer.keyspace(config, replication).await?;
    for table in [LOCK_TABLE, MIGRATIONS_TABLE] {
        definer.run(table).await?;
    }
    let lock = Lock { statements: MigrationStatements::prepare(&cql).await?, cql: &cql, owner: Uuid::new_v4() };
    lock.take().await?;
    let applied = apply_files(&definer, &lock).await;
    lock.release().await;
    applied
}

async fn apply_files(definer: &Definer<'_>, lock: &Lock<'_>) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    // All are compared before any is applied: a changed file stops the whole.
    for file in FILES {
        match lock.applied(file).await? {
            Some(checksum) if checksum == file.checksum() => {}
            Some(_) => return Err(changed(file)),
            None => missing.push(file),
        }
    }
    let mut applied = Vec::new();
    for file in missing {
        for statement in file.statements() {
            lock.renew().await?;
            definer.run(&statement).await?;
        }
        lock.note(file).await?;
        tracing::info!(file = file.name, "applied a file of the schema");
        applied.push(file.name.to_owned());
    }
    Ok(applied)
}

/// Runs data definition, at one node, and waits until all nodes know of it.
struct Definer<'a> {
    cql: &'a Cql,
    node: Arc<dyn LoadBalancingPolicy>,
}

impl<'a> Definer<'a> {
    fn new(cql: &'a Cql) -> Result<Self, StoreError> {
        let state = cql.session().get_cluster_state();
        let nodes = state.get_nodes_info().iter().filter(|node| node.is_connected());
        let lowest = nodes.min_by_key(|node| node.host_id);
        let lowest = lowest.ok_or_else(|| StoreError::Unavailable("no node is connected".into()))?;
        let node = NodeIdentifier::HostId(lowest.host_id);
        Ok(Self { cql, node: SingleTargetLoadBalancingPolicy::new(node, None) })
    }

    /// Makes the keyspace if there is none, and turns to it.
    async fn keyspace(&self, config: &CqlConfig, replication: u8) -> Result<(), StoreError> {
        let name = &config.keyspace;
        if !self.exists("system_schema.keyspaces WHERE keyspace_name = ?", name).await? {
            let is_scylla = self
                .exists(
                    "system_schema.tables WHERE keyspace_name = ? AND table_name = 'scylla_tables'",
                    "system_schema",
                )
                .await?;
            self.run(&create_keyspace(name, &config.datacenter, replication, is_scylla)).await?;
        }
        // Another caller may be creating it at this moment: its row is there a moment before the node knows of it.
        let until = Instant::now() + KEYSPACE_PATIENCE;
        loop {
            match self.cql.session().use_keyspace(name, false).await.map_err(|e| errors::of_keyspace(&e)) {
                Err(StoreError::Refused(_)) if Instant::now() < until => sleep(RETRY).await,
                answer => return answer,
            }
        }
    }

    async fn exists(&self, what: &str, key: &str) -> Result<bool, StoreError> {
        let query = format!("SELECT keyspace_name FROM {what}");
        let answer = self.cql.session().query_unpaged(query, (key,)).await;
        let answer = answer.map_err(|e| errors::of_executing(&e, Operation::Read))?;
        Ok(answer.into_rows_result().is_ok_and(|rows| rows.rows_num() > 0))
    }

    /// Runs a statement that may have been run before.
    async fn run(&self, cql: &str) -> Result<(), StoreError> {
        let mut statement = unprepared::Statement::new(cql);
        statement.set_load_balancing_policy(Some(Arc::clone(&self.node)));
        // May be repeated: every statement says IF NOT EXISTS, or adds a column.
        statement.set_is_idempotent(true);
        match self.cql.session().query_unpaged(statement, ()).await {
            Ok(_) => {}
            // By an earlier try that was broken off between this statement and the end of its file.
            Err(e) if adds_column(cql) && errors::says_column_exists(&e) => {}
            Err(e) => return Err(errors::of_executing(&e, Operation::Write)),
        }
        self.cql.session().await_schema_agreement().await.map_err(|e| errors::of_agreement(&e))?;
        Ok(())
    }
}

/// Whether a statement adds a column: the one thing of which no word makes a repetition harmless in both databases
/// (ScyllaDB knows no `ADD IF NOT EXISTS`).
fn adds_column(statement: &str) -> bool {
    let words: Vec<&str> = statement.split_whitespace().take(4).collect();
    matches!(words[..], ["ALTER", "TABLE", _, "ADD"])
}

/// The template of the keyspace. ScyllaDB: without tablets, on which conditional writes work only in newer versions.
fn create_keyspace(name: &str, datacenter: &str, replication: u8, is_scylla: bool) -> String {
    let tablets = if is_scylla { " AND tablets = {'enabled': false}" } else { "" };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication}}} AND durable_writes = true{tablets}"
    )
}

/// The lock row: one owner at a time, known by a number of its own.
struct Lock<'a> {
    cql: &'a Cql,
    statements: MigrationStatements,
    owner: Uuid,
}

impl Lock<'_> {
    async fn take(&self) -> Result<(), StoreError> {
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            // An earlier try without an answer may have taken it: then it is ours to renew.
            match self.cql.conditional(&self.statements.take, (self.owner,)).await {
                Ok(Written::Applied) => return Ok(()),
                Ok(Written::Conflict) | Err(StoreError::Unknown(_)) => {
                    if self.is_renewed().await? {
                        return Ok(());
                    }
                }
                Err(e) => return Err(e),
            }
            if Instant::now() >= until {
                return Err(StoreError::Unavailable("another `porchlight schema apply` holds the lock".into()));
            }
            sleep(RETRY).await;
        }
    }

    async fn is_renewed(&self) -> Result<bool, StoreError> {
        match self.cql.conditional(&self.statements.renew, (self.owner, self.owner)).await {
            Ok(written) => Ok(written == Written::Applied),
            Err(StoreError::Unknown(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn renew(&self) -> Result<(), StoreError> {
        if self.is_renewed().await? {
            return Ok(());
        }
        Err(StoreError::Unavailable("the lock of the schema was lost to another `porchlight schema apply`".into()))
    }

    /// A lock that cannot be given back ends by itself.
    async fn release(&self) {
        if let Err(error) = self.cql.conditional(&self.statements.release, (self.owner,)).await {
            tracing::warn!(%error, "the lock of the schema was not released; it ends within {} s", LOCK_TTL.as_secs());
        }
    }

    async fn applied(&self, file: &File) -> Result<Option<String>, StoreError> {
        let serially = self.statements.applied.fresh(Read::Serial);
        Ok(self.cql.one::<(String,)>(&serially, (file.name,)).await?.map(|(checksum,)| checksum))
    }

    async fn note(&self, file: &File) -> Result<(), StoreError> {
        let at = CqlTimestamp(SystemClock.now().0);
        match self.cql.conditional(&self.statements.note, (file.name, file.checksum(), at)).await {
            Ok(Written::Applied | Written::Conflict) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_lives_as_long_in_the_statements_as_in_the_code() {
        let text = include_str!("migrate.rs");
        assert_eq!(text.matches(&format!("USING TTL {} ", LOCK_TTL.as_secs())).count(), 1);
        assert_eq!(text.matches(&format!("USING TTL {}\"", LOCK_TTL.as_secs())).count(), 1);
    }

    #[test]
    fn only_the_addition_of_a_column_may_meet_it() {
        assert!(adds_column("ALTER TABLE items ADD media text"));
        for other in
            ["ALTER TABLE items DROP media", "CREATE TABLE IF NOT EXISTS ADD (a int PRIMARY KEY)", "ALTER TABLE"]
        {
            assert!(!adds_column(other), "{other}");
        }
    }

    #[test]
    fn the_keyspace_names_its_data_centre_and_its_copies() {
        let cql = create_keyspace("porchlight", "datacenter1", 3, false);
        assert!(cql.contains("'NetworkTopologyStrategy', 'datacenter1': 3"), "{cql}");
        assert!(!cql.contains("tablets"), "Cassandra does not know the word: {cql}");
        assert!(create_keyspace("porchlight", "dc", 1, true).ends_with("tablets = {'enabled': false}"));
    }
}
