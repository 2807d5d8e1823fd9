//! One session, and the few shapes of request that the repositories make.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc, time::Duration, time::Instant};

use ::scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    deserialize::row::DeserializeRow,
    policies::retry::FallthroughRetryPolicy,
    response::{PagingState, query_result::QueryResult},
    serialize::row::SerializeRow,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
    value::Row,
};

use super::{errors, security};
use crate::{
    CqlConfig, Read, StoreError, Written,
    metrics::{self, Operation},
};

/// Rows in one page of an answer: what is in memory of the driver at once.
const PAGE_ROWS: i32 = 500;
/// How long one connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nodes may take to agree on a schema after a change.
pub(super) const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The sentence for a schema that is missing or older than this version.
pub(super) fn schema_missing(what: &str) -> StoreError {
    StoreError::Refused(format!("{what}: run `porchlight schema apply`"))
}

/// A statement, prepared once, and what is counted of it.
pub(super) struct Statement {
    prepared: PreparedStatement,
    operation: Operation,
    table: &'static str,
}

impl Statement {
    /// The same read, as fresh as asked for.
    pub(super) fn fresh(&self, read: Read) -> Self {
        let (mut prepared, table) = (self.prepared.clone(), self.table);
        match read {
            Read::Quorum => Self { prepared, operation: Operation::Read, table },
            Read::Serial => {
                prepared.set_consistency(Consistency::LocalSerial);
                Self { prepared, operation: Operation::SerialRead, table }
            }
        }
    }
}

/// Declares a struct of statements, and `prepare`, which prepares them all.
macro_rules! statements {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $operation:ident $table:literal $cql:expr;)+ }) => {
        $(#[$doc])*
        struct $name { $($field: $crate::scylla::client::Statement),+ }

        impl $name {
            async fn prepare(cql: &$crate::scylla::client::Cql) -> Result<Self, $crate::StoreError> {
                Ok(Self { $($field: cql.prepare($crate::metrics::Operation::$operation, $table, $cql).await?),+ })
            }
        }
    };
}
pub(super) use statements;

/// A session with its defaults.
pub(super) struct Cql {
    session: Session,
}

fn builder(config: &CqlConfig, request_timeout: Duration) -> Result<SessionBuilder, StoreError> {
    config.check().map_err(StoreError::Refused)?;
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(request_timeout))
        .build();
    let builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .prefer_datacenter(config.datacenter.clone())
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT_TIMEOUT)
        .schema_agreement_timeout(AGREEMENT_TIMEOUT)
        .keyspaces_to_fetch([config.keyspace.clone()])
        .fetch_full_schema_metadata(false);
    security::apply(config, builder)
}

impl Cql {
    /// A session in the configured keyspace.
    pub(super) async fn open_keyspace(config: &CqlConfig) -> Result<Self, StoreError> {
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let session = builder(config, timeout)?.use_keyspace(&config.keyspace, false).build().await;
        Self::opened(session.map_err(|e| errors::of_opening(&e, config))?, config)
    }

    /// A session in no keyspace, with its own time-out, for work on the schema.
    pub(super) async fn open(config: &CqlConfig, request_timeout: Duration) -> Result<Self, StoreError> {
        let session = builder(config, request_timeout)?.build().await;
        Self::opened(session.map_err(|e| errors::of_opening(&e, config))?, config)
    }

    /// Without this check a data centre that is not there would look like an outage of all nodes.
    fn opened(session: Session, config: &CqlConfig) -> Result<Self, StoreError> {
        let state = session.get_cluster_state();
        let found: BTreeSet<&str> = state.get_nodes_info().iter().filter_map(|n| n.datacenter.as_deref()).collect();
        if !found.is_empty() && !found.contains(config.datacenter.as_str()) {
            let wanted = &config.datacenter;
            return Err(StoreError::Refused(format!(
                "no node is of data centre {wanted:?} (cql.datacenter): {found:?}"
            )));
        }
        Ok(Self { session })
    }

    /// The driver's own session, for work on the schema.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Prepares a statement and declares what may be done with it.
    pub(super) async fn prepare(
        &self,
        operation: Operation,
        table: &'static str,
        cql: &str,
    ) -> Result<Statement, StoreError> {
        let mut prepared = self.session.prepare(cql).await.map_err(|e| errors::of_preparing(&e, table))?;
        prepared.set_page_size(PAGE_ROWS);
        match operation {
            // Every plain write sets or removes what its values say, so twice is once.
            Operation::Read | Operation::SerialRead | Operation::Write => prepared.set_is_idempotent(true),
            Operation::ConditionalWrite => {
                prepared.set_is_idempotent(false);
                prepared.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
            }
        }
        Ok(Statement { prepared, operation, table })
    }

    /// A plain write.
    pub(super) async fn write(&self, to: &Statement, values: impl SerializeRow) -> Result<(), StoreError> {
        self.execute(to, values).await.map(|_| ())
    }

    /// A conditional write.
    pub(super) async fn conditional(&self, to: &Statement, values: impl SerializeRow) -> Result<Written, StoreError> {
        let answer = self.execute(to, values).await?;
        applied(answer, to.table).map_err(|e| metrics::failed(to.operation, e))
    }

    /// The one row of a read that has at most one.
    pub(super) async fn one<R>(&self, of: &Statement, values: impl SerializeRow) -> Result<Option<R>, StoreError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let answer = self.execute(of, values).await?;
        let row =
            answer.into_rows_result().map_err(|_| ()).and_then(|rows| rows.maybe_first_row::<R>().map_err(|_| ()));
        row.map_err(|()| metrics::failed(of.operation, unreadable(of.table)))
    }

    /// All rows of a read, page by page; refused if there are more than `most`.
    pub(super) async fn rows<R>(
        &self,
        of: &Statement,
        values: impl SerializeRow + Sync,
        most: usize,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let mut found = Vec::new();
        let mut from = PagingState::start();
        loop {
            let started = Instant::now();
            let page = self.session.execute_single_page(&of.prepared, &values, from).await;
            metrics::observe(of.operation, of.table, started.elapsed());
            let (page, next) =
                page.map_err(|e| metrics::failed(of.operation, errors::of_executing(&e, of.operation)))?;
            read_page(page, &mut found).map_err(|()| metrics::failed(of.operation, unreadable(of.table)))?;
            if found.len() > most {
                let sentence = format!("an answer of {} has more than {most} rows", of.table);
                return Err(metrics::failed(of.operation, StoreError::Refused(sentence)));
            }
            match next.into_paging_control_flow() {
                ControlFlow::Break(()) => return Ok(found),
                ControlFlow::Continue(next) => from = next,
            }
        }
    }

    async fn execute(&self, statement: &Statement, values: impl SerializeRow) -> Result<QueryResult, StoreError> {
        let started = Instant::now();
        let answer = self.session.execute_unpaged(&statement.prepared, values).await;
        metrics::observe(statement.operation, statement.table, started.elapsed());
        answer.map_err(|e| metrics::failed(statement.operation, errors::of_executing(&e, statement.operation)))
    }
}

fn read_page<R>(page: QueryResult, into: &mut Vec<R>) -> Result<(), ()>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let page = page.into_rows_result().map_err(|_| ())?;
    for row in page.rows::<R>().map_err(|_| ())? {
        into.push(row.map_err(|_| ())?);
    }
    Ok(())
}

/// A refused conditional write answers with other columns than an applied one, and the two databases differ in which:
/// only the name `[applied]` is common.
fn applied(answer: QueryResult, table: &'static str) -> Result<Written, StoreError> {
    let rows = answer.into_rows_result().map_err(|_| unreadable(table))?;
    let column = rows.column_specs().get_by_name("[applied]").map(|(index, _)| index);
    let row: Row = rows.first_row().map_err(|_| unreadable(table))?;
    let value = column.and_then(|index| row.columns.get(index)?.as_ref()?.as_boolean());
    match value {
        Some(true) => Ok(Written::Applied),
        Some(false) => Ok(Written::Conflict),
        None => Err(unreadable(table)),
    }
}

/// Without the driver's own text, which may quote a value.
fn unreadable(table: &'static str) -> StoreError {
    StoreError::Corrupt { table, reason: "a column is null or not of the type that this version reads".into() }
}
