//! The driver's errors as this crate's: whether to call again is decided here and nowhere else.

use ::scylla::errors::{
    ConnectionPoolError, DbError, ExecutionError, MetadataError, NewSessionError, PrepareError, RequestAttemptError,
    SchemaAgreementError, UseKeyspaceError,
};

use super::{client::schema_missing, security};
use crate::{CqlConfig, StoreError, metrics::Operation};

/// An error of connecting.
pub(super) fn of_opening(error: &NewSessionError, config: &CqlConfig) -> StoreError {
    if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error,
    })) = error
        && let Some(sentence) = security::sentence(last_connection_error, config)
    {
        // Neither a password nor a certificate mends itself, and both may be changed at any time: call again.
        return StoreError::Unavailable(sentence);
    }
    match error {
        NewSessionError::EmptyKnownNodesList => StoreError::Refused("cql.contact_points is empty".into()),
        NewSessionError::IllegalConfig(sentence) => StoreError::Refused(sentence.to_string()),
        NewSessionError::UseKeyspaceError(e) => of_keyspace(e),
        NewSessionError::FailedToResolveAnyHostname(_) | NewSessionError::MetadataError(_) => away(error),
        // The driver may add variants; unknown trouble with connecting passes or does not: call again.
        _ => away(error),
    }
}

/// An error of choosing the keyspace: one that is not there is a schema that is not there.
pub(super) fn of_keyspace(error: &UseKeyspaceError) -> StoreError {
    match error {
        UseKeyspaceError::RequestError(RequestAttemptError::DbError(DbError::Invalid, _)) => {
            schema_missing("the keyspace does not exist")
        }
        UseKeyspaceError::BadKeyspaceName(_) | UseKeyspaceError::KeyspaceNameMismatch { .. } => {
            StoreError::Refused(error.to_string())
        }
        UseKeyspaceError::RequestError(_) | UseKeyspaceError::RequestTimeout(_) => away(error),
        _ => away(error),
    }
}

/// An error of preparing a statement about `table`.
pub(super) fn of_preparing(error: &PrepareError, table: &str) -> StoreError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt: RequestAttemptError::DbError(DbError::Invalid, text) } => {
            schema_missing(&format!("table {table} is not what this version expects ({text})"))
        }
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt, Operation::Read),
        PrepareError::ConnectionPoolError(_) | PrepareError::PreparedStatementIdsMismatch => away(error),
        _ => away(error),
    }
}

/// An error of awaiting that all nodes know the schema.
pub(super) fn of_agreement(error: &SchemaAgreementError) -> StoreError {
    away(error)
}

/// An error of a request.
pub(super) fn of_executing(error: &ExecutionError, operation: Operation) -> StoreError {
    match error {
        // Nothing was sent.
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => away(error),
        ExecutionError::BadQuery(_) => StoreError::Refused(error.to_string()),
        ExecutionError::PrepareError(e) => of_preparing(e, "(not prepared)"),
        ExecutionError::LastAttemptError(e) => of_attempt(e, operation),
        ExecutionError::RequestTimeout(_) => in_doubt(error, operation),
        ExecutionError::UseKeyspaceError(e) => of_keyspace(e),
        ExecutionError::SchemaAgreementError(_) | ExecutionError::MetadataError(_) => away(error),
        _ => in_doubt(error, operation),
    }
}

/// Whether a column was not added because it is there. The protocol has no code of its own for it, so the sentence must do:
/// Cassandra's (`AlterTableStatement`), and `ScyllaDB`'s (`alter_table_statement.cc`).
pub(super) fn says_column_exists(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, text)) => {
            (text.starts_with("Column with name '") && text.ends_with("' already exists"))
                || (text.starts_with("Invalid column name ") && text.ends_with(" conflicts with an existing column"))
        }
        // Any other answer leaves the column in doubt.
        _ => false,
    }
}

fn of_attempt(error: &RequestAttemptError, operation: Operation) -> StoreError {
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
            StoreError::Refused(error.to_string())
        }
        // Nothing was sent.
        RequestAttemptError::UnableToAllocStreamId => away(error),
        RequestAttemptError::DbError(answer, _) => match answer {
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::FunctionFailure { .. }
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::ProtocolError => StoreError::Refused(error.to_string()),
            // Refused at the door, before anything was done.
            DbError::IsBootstrapping | DbError::RateLimitReached { .. } => away(error),
            // `Unavailable` and `Overloaded` among them: a conditional write can meet them in its last phase, when it
            // is decided already.
            DbError::Unavailable { .. }
            | DbError::Overloaded
            | DbError::TruncateError
            | DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::Unprepared { .. }
            | DbError::ServerError
            | DbError::Other(_) => in_doubt(error, operation),
            _ => in_doubt(error, operation),
        },
        RequestAttemptError::BrokenConnectionError(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch
        | RequestAttemptError::NonfinishedPagingState => in_doubt(error, operation),
        _ => in_doubt(error, operation),
    }
}

fn away(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// No answer: what is idempotent may simply be asked again, a conditional write may not.
fn in_doubt(error: &dyn std::error::Error, operation: Operation) -> StoreError {
    match operation {
        Operation::Read | Operation::SerialRead | Operation::Write => away(error),
        Operation::ConditionalWrite => StoreError::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::scylla::{errors::WriteType, statement::Consistency};

    use super::*;

    fn answer(error: DbError) -> ExecutionError {
        RequestAttemptError::DbError(error, String::new()).into()
    }

    fn write_timeout() -> DbError {
        let write_type = WriteType::Cas;
        DbError::WriteTimeout { consistency: Consistency::LocalQuorum, received: 1, required: 2, write_type }
    }

    fn no_replicas() -> DbError {
        DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 }
    }

    #[test]
    fn a_conditional_write_without_an_answer_is_unknown_and_any_other_request_may_be_repeated() {
        let timeout = || ExecutionError::RequestTimeout(Duration::from_secs(1));
        for error in [timeout(), answer(write_timeout()), answer(no_replicas()), answer(DbError::Overloaded)] {
            let unknown = of_executing(&error, Operation::ConditionalWrite);
            assert!(matches!(unknown, StoreError::Unknown(_)), "{unknown:?}");
            for operation in [Operation::Read, Operation::SerialRead, Operation::Write] {
                let away = of_executing(&error, operation);
                assert!(matches!(away, StoreError::Unavailable(_)), "{away:?}");
            }
        }
    }

    #[test]
    fn what_was_never_sent_is_not_unknown() {
        for error in [ExecutionError::EmptyPlan, answer(DbError::IsBootstrapping)] {
            let away = of_executing(&error, Operation::ConditionalWrite);
            assert!(matches!(away, StoreError::Unavailable(_)), "{away:?}");
        }
    }

    #[test]
    fn a_column_that_is_there_is_recognized_by_both_sentences_and_no_other() {
        let says = |error, text: &str| {
            says_column_exists(&ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, text.into())))
        };
        assert!(says(DbError::Invalid, "Column with name 'media' already exists"));
        assert!(says(DbError::Invalid, "Invalid column name media because it conflicts with an existing column"));
        for text in [
            "Invalid column name media because it conflicts with a PRIMARY KEY part",
            "Table 'items' already exists",
            "Cannot re-add previously dropped column 'media' of type text, incompatible with previous type int",
            "Table 'porchlight.items' doesn't exist",
        ] {
            assert!(!says(DbError::Invalid, text), "{text}");
        }
        assert!(!says(DbError::ServerError, "Column with name 'media' already exists"));
    }

    #[test]
    fn a_wrong_request_is_refused() {
        for error in [answer(DbError::SyntaxError), answer(DbError::Invalid), answer(DbError::Unauthorized)] {
            for operation in Operation::ALL {
                let refused = of_executing(&error, operation);
                assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_missing_keyspace_and_a_missing_table_say_what_to_do() {
        let invalid = || RequestAttemptError::DbError(DbError::Invalid, "unconfigured table items".into());
        let keyspace = of_opening(
            &NewSessionError::UseKeyspaceError(UseKeyspaceError::RequestError(invalid())),
            &CqlConfig::default(),
        );
        let table = of_preparing(&PrepareError::AllAttemptsFailed { first_attempt: invalid() }, "items");
        for error in [keyspace, table] {
            assert!(
                matches!(&error, StoreError::Refused(s) if s.ends_with("run `porchlight schema apply`")),
                "{error}"
            );
        }
    }
}
