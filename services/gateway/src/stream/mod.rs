//! `GET /v1/feed/stream`: the feed as it comes (server-sent events).
//!
//! The log of alerts is followed once for all streams ([`follow`]). An alert only says that there is something to look
//! at: its item is loaded once, goes into the queues of the streams that it may concern ([`routes`], [`hub`]), and each
//! stream asks the gate when it sends ([`session`]), with the viewer as they live then ([`moves`]). What was told in the
//! last minutes is kept ([`ring`]) for who comes again.

mod cursor;
mod follow;
mod frames;
mod hub;
mod moves;
mod ring;
mod routes;
mod sent;
mod session;
mod slot;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, header};
use porchlight_chassis::http::Problem;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{App, Error, accounts::Caller, api::Refused};
use follow::Follower;
use moves::Moves;
use session::Session;
use slot::Known;

pub use follow::{AlertLog, Heard, KafkaAlerts};
pub use hub::Hub;

/// Feeds the streams of this gateway until `shutdown`.
pub async fn run(app: App, log: impl AlertLog, shutdown: CancellationToken) {
    let hub = app.streams.clone();
    let follower = Follower::new(hub.clone(), app.store.timeline.clone(), app.clock.clone());
    let moves = Moves::new(hub, app.store.registry.clone(), app.clock.clone());
    shutdown.run_until_cancelled(futures::future::join(follower.run(log), moves.run())).await;
}

/// What happens, as it happens
///
/// Server-sent events. `event: item` holds an item, or a revision of one, as the caller may see it at that moment; its
/// `id` is a cursor. A client that comes again with the last one as `Last-Event-ID` gets all since, from a minute
/// before: it drops what it has by the item's `id` and `revision`. Without it the stream begins a minute ago. The
/// comment `live` follows when what was missed is sent; further comments only say that the connection is there.
/// `event: resync` says that more may have been missed than is kept: read `/v1/feed`, the stream goes on.
/// `event: closed` is the last one, with a `reason`: `token_expired` (come again with a new token), `slow_reader` or
/// `going_away` (come again).
#[utoipa::path(get, path = "/v1/feed/stream", tag = "feed", operation_id = "stream_feed", security(("oidc" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was read")),
    responses(
        (status = 200, description = "Events, until one side ends it; never cached", body = String,
            content_type = "text/event-stream",
            headers(("Cache-Control" = String, description = "`no-store`"),
                ("X-Accel-Buffering" = String, description = "`no`: for proxies that would hold events back"))),
        (status = 400, description = "`cursor_invalid`: Last-Event-ID is not ours", body = Problem,
            content_type = "application/problem+json"),
        (status = 429, description = "`too_many_streams`: the caller has as many as they may; see Retry-After",
            body = Problem, content_type = "application/problem+json"),
        Refused,
        (status = 503, description = "As everywhere; and `too_many_streams`: this gateway has as many as it may, \
            `stream_catching_up`: it has just begun; see Retry-After", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn open(caller: Caller, State(app): State<App>, headers: HeaderMap) -> Result<Response, Error> {
    let now = app.clock.now();
    let cursor = headers.get("last-event-id").filter(|id| !id.is_empty());
    // A cursor cannot be ahead of the log; by a clock that is, nothing may be skipped.
    let from = cursor.map(|id| cursor::read(id.as_bytes())).transpose()?.map_or(now, |log_at| log_at.min(now));
    let expires_in = caller.token_expires_in();
    let read_at = Instant::now();
    let viewer = caller.viewer(&*app.store.registry).await?;
    // Polygons that may be outdated judge nobody: refused at once, and not in the middle of a stream.
    app.guard.neighborhoods_of(&viewer)?;
    let seat = app.streams.open(Known { viewer, read_at }).await?;
    let session = Session::new(app, seat, from, expires_in);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(session.frames())).into_response())
}
