//! What every request passes: its time-out, the net under panics, metrics and one log line, and problems for what is
//! not routed.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Method, header};

use super::{Problem, body::Limits, linger::Lingering};
use crate::{config::HttpConfig, metrics};

#[derive(Clone, Copy)]
struct Shell {
    limits: Limits,
    timeout: Duration,
}

/// Puts a router into the shell: body bounds, time-out (503 `timeout`, 408 `request_timeout` if the client was the slow
/// one), 404 and 405 as problems, panics as 500 problems, metrics by route template, one log line per request at debug
/// (method, route template, status, ms; never a path or a query), and the document at `/openapi.json`. [`super::serve`]
/// does it; tests of a router do it too.
pub fn shell(config: &HttpConfig, router: Router, openapi: &utoipa::openapi::OpenApi) -> Router {
    let document = Bytes::from(openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document has no JSON form");
        String::new()
    }));
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let shell = Shell {
        limits: Limits { body_bytes: config.max_body_bytes, decoded_bytes: config.max_decoded_bytes, deadline: None },
        timeout: Duration::from_millis(config.request_timeout_ms),
    };
    router
        .route("/openapi.json", get(move || std::future::ready((json.clone(), document.clone()))))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::new(405, "method_not_allowed", "see Allow for the methods of this path")
        })
        .layer(middleware::from_fn_with_state(shell, pass))
}

async fn pass(State(shell): State<Shell>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut observed = Observed::new(request.method(), route);
    let deadline = tokio::time::Instant::now() + shell.timeout;
    request.extensions_mut().insert(Limits { deadline: Some(deadline), ..shell.limits });
    // Who asks before sending (Expect: 100-continue) sends nothing after a refusal.
    if !request.headers().contains_key(header::EXPECT) {
        request = request.map(|body| Body::new(Lingering::new(body)));
    }
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = match tokio::time::timeout_at(deadline, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(route = observed.route(), "a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => {
            tracing::warn!(route = observed.route(), "a request was not answered in time");
            Problem::new(503, "timeout", "it took too long; it may or may not be done").retry_after(1).into_response()
        }
    };
    observed.status = response.status().as_u16();
    response
}

/// Counts one request when it ends, however it ends.
struct Observed {
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    status: u16,
}

impl Observed {
    fn new(method: &Method, route: Option<MatchedPath>) -> Self {
        metrics::IN_FLIGHT.inc();
        // 499 stands until an answer is there: a client that goes away drops the future.
        Self { method: name(method), route, started: Instant::now(), status: 499 }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("other", MatchedPath::as_str)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let (method, route, status) = (self.method, self.route(), self.status);
        metrics::IN_FLIGHT.dec();
        metrics::REQUESTS.with_label_values(&[method, route, &status.to_string()]).inc();
        metrics::SECONDS.with_label_values(&[method, route]).observe(seconds);
        tracing::debug!(method, route, status, ms = seconds * 1e3, "request");
    }
}

/// A label is bounded, a method is whatever the client writes.
fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
