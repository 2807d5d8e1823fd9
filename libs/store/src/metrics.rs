//! Metrics of the store, in the default registry. Names are constants: a rename breaks dashboards.

use std::{sync::LazyLock, time::Duration};

use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};

use crate::StoreError;

/// Histogram, seconds: how long a request to the database took, by `operation` ([`Operation::as_str`]) and `table`.
/// Failed ones too; a page of a longer answer is one request.
pub const REQUEST_DURATION: &str = "porchlight_store_request_duration_seconds";
/// Counter: requests that failed, by `operation` and `kind` (`unavailable`, `unknown`, `corrupt`, `refused`).
pub const ERRORS: &str = "porchlight_store_errors_total";

/// What a request asks of the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A read at quorum.
    Read,
    /// A read that finishes conditional writes in flight.
    SerialRead,
    /// A plain write or delete.
    Write,
    /// A conditional write.
    ConditionalWrite,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Read, Self::SerialRead, Self::Write, Self::ConditionalWrite];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::SerialRead => "serial_read",
            Self::Write => "write",
            Self::ConditionalWrite => "conditional_write",
        }
    }
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Unknown(_) => "unknown",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::Refused(_) => "refused",
    }
}

static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        REQUEST_DURATION,
        "How long a request to the database took.",
        &["operation", "table"],
        vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
    )
    .expect("this name is registered here only")
});

static FAILED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(ERRORS, "Requests to the database that failed.", &["operation", "kind"])
        .expect("this name is registered here only")
});

/// Counts one request.
pub(crate) fn observe(operation: Operation, table: &'static str, took: Duration) {
    DURATION.with_label_values(&[operation.as_str(), table]).observe(took.as_secs_f64());
}

/// Counts one failure and gives it back.
pub(crate) fn failed(operation: Operation, error: StoreError) -> StoreError {
    FAILED.with_label_values(&[operation.as_str(), kind(&error)]).inc();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_pinned() {
        observe(Operation::Read, "items", Duration::from_millis(1));
        let _ = failed(Operation::Write, StoreError::Unavailable("test".into()));
        let mut found: Vec<_> = prometheus::gather()
            .iter()
            .filter(|family| family.name().starts_with("porchlight_store_"))
            .map(|family| {
                let labels: Vec<_> = family.get_metric()[0].get_label().iter().map(|l| l.name().to_owned()).collect();
                (family.name().to_owned(), labels.join(","))
            })
            .collect();
        found.sort();
        let expected = [(ERRORS, "kind,operation"), (REQUEST_DURATION, "operation,table")];
        assert_eq!(found, expected.map(|(name, labels)| (name.to_owned(), labels.to_owned())));
        assert_eq!(Operation::ALL.map(Operation::as_str), ["read", "serial_read", "write", "conditional_write"]);
    }
}
