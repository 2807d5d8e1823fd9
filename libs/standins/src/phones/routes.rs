//! The phones over HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, JsonRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::PublicKey;
use serde::Deserialize;
use serde_json::json;

use super::book::{Book, Fault, Found, Incoming};
use super::message;
use crate::serving::{nothing_here, refuse};

const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
const MAX_WAIT_MS: u64 = 30_000;
/// The longest fcm or apns token.
const MAX_TOKEN: usize = 4096;
const MAX_RECORDED: usize = 16 * 1024;
const MAX_TIMES: u32 = 1_000_000;

pub(super) fn router(book: Arc<Book>) -> Router {
    Router::new()
        .route("/push/{id}", post(push).layer(DefaultBodyLimit::max(message::MAX_BODY)))
        .route("/recorder/{transport}", post(record))
        .route("/subscriptions", post(subscribe))
        .route("/subscriptions/{id}", delete(unsubscribe))
        .route("/log", get(log))
        .route("/shown/{id}", get(shown))
        .route("/faults", post(order_fault))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(MAX_RECORDED))
        .with_state(book)
}

fn bad_request(code: &str, sentence: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, code, sentence)
}

fn unreadable(rejection: &JsonRejection) -> Response {
    refuse(rejection.status(), "invalid_request", rejection.body_text())
}

async fn push(
    State(book): State<Arc<Book>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let subscription = match book.find(&id) {
        Found::Open(subscription) => subscription,
        Found::Gone => return refuse(StatusCode::GONE, "gone", "the subscription has ended"),
        Found::Unknown => return refuse(StatusCode::NOT_FOUND, "not_found", "there is no such subscription"),
    };
    if let Some(answer) = misbehave(&book, &id) {
        return answer;
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), "body_refused", "the body has at most 4096 bytes"),
    };
    match message::read(id, &subscription, &book.url, &headers, &body) {
        Ok(incoming) => {
            let ttl = incoming.ttl.unwrap_or_default();
            let seq = book.receive(incoming);
            let location = format!("{}/message/{seq}", book.url);
            (StatusCode::CREATED, [("location", location), ("ttl", ttl.to_string())]).into_response()
        }
        Err((status, code, sentence)) => refuse(status, code, sentence),
    }
}

/// What `push.recorder_url` posts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    token: String,
    payload: serde_json::Value,
    collapse: String,
    ttl_s: u64,
    priority: String,
}

async fn record(
    State(book): State<Arc<Book>>,
    Path(transport): Path<String>,
    body: Result<Json<Recorded>, JsonRejection>,
) -> Response {
    let transport = match transport.as_str() {
        "fcm" => "fcm",
        "apns" => "apns",
        _ => return nothing_here().await,
    };
    let recorded = match body {
        Ok(Json(recorded)) => recorded,
        Err(rejection) => return unreadable(&rejection),
    };
    if !(1..=MAX_TOKEN).contains(&recorded.token.len()) {
        return bad_request("token_invalid", "a token has 1 to 4096 bytes");
    }
    let Some((payload, tag)) = message::payload(&recorded.payload) else {
        return bad_request("payload_invalid", "a payload is a JSON object");
    };
    if let Some(answer) = misbehave(&book, &recorded.token) {
        return answer;
    }
    let seq = book.receive(Incoming {
        endpoint: recorded.token,
        transport,
        payload,
        tag,
        topic: Some(recorded.collapse),
        ttl: Some(recorded.ttl_s),
        urgency: Some(recorded.priority),
    });
    Json(json!({"seq": seq})).into_response()
}

/// The answer that was ordered for this push, if one was.
fn misbehave(book: &Book, id: &str) -> Option<Response> {
    let (status, wait) = book.fault(id)?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = refuse(status, "ordered_fault", "as ordered");
    if let Some(wait) = wait {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    Some(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    vapid_public_key: Option<String>,
}

async fn subscribe(State(book): State<Arc<Book>>, body: Result<Json<Subscribe>, JsonRejection>) -> Response {
    let sender = match body {
        Ok(Json(request)) => match request.vapid_public_key.as_deref().map(sender_key) {
            None => None,
            Some(Some(key)) => Some(key),
            Some(None) => {
                return bad_request("vapid_public_key_invalid", "it is base64url of an uncompressed P-256 point");
            }
        },
        Err(rejection) => return unreadable(&rejection),
    };
    match book.subscribe(sender) {
        Some(made) => {
            let body = json!({"id": made.id, "url": made.url, "p256dh": made.p256dh, "auth": made.auth});
            (StatusCode::CREATED, Json(body)).into_response()
        }
        None => refuse(StatusCode::INSUFFICIENT_STORAGE, "full", "there is no room for one more subscription"),
    }
}

fn sender_key(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 65)?;
    PublicKey::from_sec1_bytes(&bytes).ok().map(|_| bytes)
}

async fn unsubscribe(State(book): State<Arc<Book>>, Path(id): Path<String>) -> Response {
    if book.unsubscribe(&id) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refuse(StatusCode::NOT_FOUND, "not_found", "there is no such subscription")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

async fn log(State(book): State<Arc<Book>>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let page = match page {
        Ok(Query(page)) => page,
        Err(rejection) => return bad_request("invalid_request", &rejection.body_text()),
    };
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) || page.wait_ms > MAX_WAIT_MS {
        return bad_request("invalid_request", "limit is from 1 to 10000, wait_ms at most 30000");
    }
    if page.wait_ms > 0 {
        book.wait_for(page.after, 1, Duration::from_millis(page.wait_ms)).await;
    }
    let pushes = book.log(page.after, limit);
    let next = pushes.last().map_or(page.after, |last| last.seq + 1);
    Json(json!({"pushes": pushes, "next": next})).into_response()
}

async fn shown(State(book): State<Arc<Book>>, Path(id): Path<String>) -> Response {
    match book.shown(&id) {
        Some(shown) => Json(json!({"shown": shown})).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "not_found", "there is no such phone"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedFault {
    id: Option<String>,
    status: u16,
    times: u32,
    retry_after_s: Option<u64>,
}

async fn order_fault(State(book): State<Arc<Book>>, body: Result<Json<OrderedFault>, JsonRejection>) -> Response {
    let OrderedFault { id, status, times, retry_after_s } = match body {
        Ok(Json(order)) => order,
        Err(rejection) => return unreadable(&rejection),
    };
    if !(300..=599).contains(&status) || !(1..=MAX_TIMES).contains(&times) {
        return bad_request("invalid_request", "status is from 300 to 599, times from 1 to 1000000");
    }
    if book.order(Fault { id, status, times, retry_after_s }) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refuse(StatusCode::INSUFFICIENT_STORAGE, "full", "there are 1000 orders already")
    }
}
