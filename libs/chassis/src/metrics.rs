//! The metrics of the chassis. A name that changes breaks a dashboard: a test pins the list.

use std::sync::LazyLock;

use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, register_histogram_vec, register_int_counter_vec, register_int_gauge,
};

/// Counter: requests answered, by `method`, `route` (the template, or `other`) and `status` (`499`: the client went).
pub const HTTP_REQUESTS: &str = "porchlight_http_requests_total";
/// Histogram, seconds: from the request's head to the answer's head, by `method` and `route`.
pub const HTTP_SECONDS: &str = "porchlight_http_request_duration_seconds";
/// Gauge: requests in hand.
pub const HTTP_IN_FLIGHT: &str = "porchlight_http_requests_in_flight";
/// Gauge: open connections of all servers of the process.
pub const HTTP_CONNECTIONS: &str = "porchlight_http_connections";
/// Gauge: 1 if the process is ready, as of the scrape.
pub const READY: &str = "porchlight_ready";

/// Every name above.
pub const NAMES: [&str; 5] = [HTTP_REQUESTS, HTTP_SECONDS, HTTP_IN_FLIGHT, HTTP_CONNECTIONS, READY];

const ONCE: &str = "the name is valid and registered once";

pub(crate) static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(HTTP_REQUESTS, "Requests answered", &["method", "route", "status"]).expect(ONCE)
});
pub(crate) static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    register_histogram_vec!(HTTP_SECONDS, "Head of request to head of answer", &["method", "route"], buckets)
        .expect(ONCE)
});
pub(crate) static IN_FLIGHT: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(HTTP_IN_FLIGHT, "Requests in hand").expect(ONCE));
pub(crate) static CONNECTIONS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(HTTP_CONNECTIONS, "Open connections").expect(ONCE));
pub(crate) static IS_READY: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!(READY, "1 if the process is ready").expect(ONCE));

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_pinned() {
        assert_eq!(
            super::NAMES,
            [
                "porchlight_http_requests_total",
                "porchlight_http_request_duration_seconds",
                "porchlight_http_requests_in_flight",
                "porchlight_http_connections",
                "porchlight_ready",
            ]
        );
    }
}
