//! One statement past the repositories: see [`crate::testing`].

use crate::{CqlConfig, StoreError};

use super::client::Cql;

/// See [`crate::testing::cql`].
pub(crate) async fn run(config: &CqlConfig, statement: &str) -> Result<Vec<String>, StoreError> {
    let cql = Cql::open_keyspace(config).await?;
    let refused = |e: &dyn std::fmt::Display| StoreError::Refused(format!("{statement}: {e}"));
    let answer = cql.session().query_unpaged(statement, ()).await.map_err(|e| refused(&e))?;
    if !answer.is_rows() {
        return Ok(Vec::new());
    }
    let rows = answer.into_rows_result().map_err(|e| refused(&e))?;
    let texts = rows.rows::<(String,)>().map_err(|e| refused(&e))?;
    texts.map(|row| row.map(|(text,)| text).map_err(|e| refused(&e))).collect()
}
