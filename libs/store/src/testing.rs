//! Helps tests that look past the repositories: at write times and times to live, or at rows that are lost on purpose.

use crate::{CqlConfig, StoreError};

/// Runs one statement in the keyspace; the answer's one column of text, such as that of `SELECT JSON`. It is read in one
/// piece: for tests, whose tables are small.
///
/// # Errors
/// [`StoreError::Unavailable`] while no node answers, [`StoreError::Refused`] with the database's own words, or because
/// the store is the embedded one.
pub async fn cql(config: &CqlConfig, statement: &str) -> Result<Vec<String>, StoreError> {
    if let Some(folder) = config.embedded() {
        let folder = folder.display();
        return Err(StoreError::Refused(format!("the embedded store in {folder} (cql.folder) understands no CQL")));
    }
    crate::scylla::run_statement(config, statement).await
}
