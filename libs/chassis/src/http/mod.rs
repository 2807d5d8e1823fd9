//! The HTTP shell: problems, extractors that answer with problems, body decoding, serving, and the admin endpoints.
//!
//! A request goes through a connection with bounds ([`serve`]), the [`shell`] (time-out, panics, metrics, 404 and 405),
//! then the service's own handler with the extractors [`Body`], [`Json`], [`Path`] and [`Query`].

mod admin;
mod body;
mod json;
mod linger;
mod listener;
mod params;
mod problem;
mod shell;
mod stall;

use std::net::SocketAddr;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use admin::admin;
pub use body::Body;
pub use json::{Json, from_json};
pub use params::{Path, Query};
pub use problem::Problem;
pub use shell::shell;

use crate::config::HttpConfig;

/// Serves `router` (made by utoipa-axum's `OpenApiRouter::split_for_parts`, its document served at `/openapi.json`)
/// inside the [`shell`] until `shutdown`, then finishes the requests in hand.
///
/// An endless answer (a stream of events) must watch the same token, else it is cut when the drain's budget ends.
/// Calls `bound` with the address it listens on.
///
/// # Errors
/// The address cannot be bound, or the address file cannot be written.
pub async fn serve(
    config: &HttpConfig,
    router: Router,
    openapi: utoipa::openapi::OpenApi,
    bound: impl FnOnce(SocketAddr) + Send,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let router = shell(config, router, &openapi);
    let listener = listener::Listener::bind("http", &config.listen, &config.address_file).await?;
    bound(listener.address());
    listener.run(router, shutdown).await;
    Ok(())
}
