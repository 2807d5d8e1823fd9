//! The second port: liveness, readiness, metrics.

use std::future::Future;

use axum::{Router, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use prometheus::{Encoder as _, TextEncoder};
use tokio_util::sync::CancellationToken;

use super::{Json, Problem, listener::Listener};
use crate::{config::AdminConfig, health::Health, metrics};

/// Serves `/livez`, `/readyz` (200 or 503 with the unmet conditions as JSON) and `/metrics` (the default registry of the
/// crate `prometheus`).
///
/// # Errors
/// The address cannot be bound, or the address file cannot be written.
pub fn admin(
    config: &AdminConfig,
    health: Health,
    shutdown: CancellationToken,
) -> impl Future<Output = Result<(), String>> + Send + 'static + use<> {
    let (listen, address_file) = (config.listen.clone(), config.address_file.clone());
    async move {
        let listener = Listener::bind("admin", &listen, &address_file).await?;
        listener.run(router(health), shutdown).await;
        Ok(())
    }
}

fn router(health: Health) -> Router {
    let for_metrics = health.clone();
    Router::new()
        // It answers, so it lives; what it needs is the business of `/readyz`.
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(move || std::future::ready(readiness(&health))))
        .route("/metrics", get(move || std::future::ready(exposition(&for_metrics))))
        .fallback(|| async { Problem::not_found() })
}

#[derive(serde::Serialize)]
struct Readiness {
    ready: bool,
    unmet: Vec<Unmet>,
}

#[derive(serde::Serialize)]
struct Unmet {
    condition: &'static str,
    reason: String,
}

fn readiness(health: &Health) -> impl IntoResponse + use<> {
    let unmet = health.ready().err().unwrap_or_default();
    let unmet: Vec<_> = unmet.into_iter().map(|(condition, reason)| Unmet { condition, reason }).collect();
    let status = if unmet.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: unmet.is_empty(), unmet }))
}

fn exposition(health: &Health) -> impl IntoResponse + use<> {
    metrics::IS_READY.set(i64::from(health.ready().is_ok()));
    let mut text = Vec::new();
    match TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics have no text form");
            Problem::internal().into_response()
        }
    }
}
