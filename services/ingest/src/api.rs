//! The device API over HTTP.

use axum::{
    Router,
    extract::{FromRequest as _, Request, State},
    http::StatusCode,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use porchlight_chassis::http::{Body, Json, Problem};
use porchlight_domain::{Device, EventId, Timestamp};
use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{
        OpenApi,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    accept::{Accepted, accept},
    app::App,
    decode::{self, EventBody, Format, Reading, Unread},
    media,
    metrics::{self, Outcome},
    shed::Level,
};

/// How many events of one batch are on their way to the log at once.
const BATCH_CONCURRENCY: usize = 256;

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Porchlight device API", description = "What cameras and doorbells talk to."))]
struct Document;

/// The routes and their document.
pub fn router(app: App) -> (Router, OpenApi) {
    let mut document = Document::openapi();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The device's credential, as issued once to its owner."))
        .build();
    document.components.get_or_insert_default().add_security_scheme("device", SecurityScheme::Http(scheme));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(post_events))
        .routes(routes!(media::grant_upload))
        .routes(routes!(media::complete_upload))
        .with_state(app)
        .split_for_parts()
}

/// The answer to a body: of one event, or of each event of a batch.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
enum EventsAnswer {
    /// To `application/json`.
    One(Accepted),
    /// To a batch.
    Batch(BatchAnswer),
}

/// What became of each event of a batch, in its order.
#[derive(serde::Serialize, ToSchema)]
struct BatchAnswer {
    results: Vec<RecordAnswer>,
}

/// What became of one event of a batch.
#[derive(serde::Serialize, ToSchema)]
struct RecordAnswer {
    /// Its place in the body, from 0; blank lines do not count.
    index: usize,
    /// Its id; null if that could not be read.
    id: Option<EventId>,
    /// The status that it would have got alone.
    status: u16,
    /// If refused: the stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// If refused: what is wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// If refused: a JSON pointer into the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// If accepted: when we received it (the first time).
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Timestamp>,
    /// If accepted: by how many milliseconds our clock is ahead of the device's.
    #[serde(skip_serializing_if = "Option::is_none")]
    skew_ms: Option<i64>,
}

/// Sends events.
///
/// 202 means that every event of the body is kept. A batch with a refused event is 207, with an answer for each: the
/// refused do not touch the others. The same event may be sent any number of times under its id and gets the same answer;
/// another event under that id is 409 `id_conflict` (for certain if the first was acknowledged more than a second and
/// less than 15 minutes ago; later the first one counts all the same).
#[utoipa::path(
    post,
    path = "/v1/events",
    operation_id = "post_events",
    params(
        ("Porchlight-Sent-At" = Option<Timestamp>, Header, description = "When the body was sent, for events without `sent_at`."),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip` or `zstd`."),
    ),
    request_body(
        description = "One event; or one a line; or messages `porchlight.v1.Event`, each after its length as a varint.",
        content(
            (EventBody = "application/json"),
            (String = "application/x-ndjson"),
            (Vec<u8> = "application/x-protobuf"),
        ),
    ),
    responses(
        (status = 202, description = "All is kept.", body = EventsAnswer),
        (status = 207, description = "A batch: some events are refused.", body = BatchAnswer),
        (status = 400, description = "`malformed_json`, `malformed_protobuf`, `malformed_encoding`, `unknown_field`, `invalid_field`, `sent_at_missing`, `empty_batch`, `body_incomplete`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`credential_missing`, `credential_invalid`", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`id_conflict`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`, `too_many_records`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`, `unsupported_encoding`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`event_id_invalid`, `event_id_not_uuidv7`, `kind_invalid`, `label_invalid`, `time_invalid`, `event_too_old`, `event_from_the_future`, `event_span_invalid`, `confidence_out_of_range`, `zone_invalid`, `invalid_field`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`shedding`: motion waits while dings go first. With Retry-After.", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `registry_stale`, `log_full`, `log_timeout`, `log_unavailable`, `timeout`. With Retry-After.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("device" = [])),
)]
async fn post_events(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    app.events(request).await.inspect_err(count_refusal)
}

impl App {
    async fn events(&self, request: Request) -> Result<Response, Problem> {
        let (credential, place) = self.admit(request.headers())?;
        let format = Format::of(request.headers())?;
        let sent_at = decode::sent_at(request.headers())?;
        let Body(body) = Body::from_request(request, &()).await?;
        // A body may have taken its time: what is stamped is what is true of the device at receipt.
        let device = self.prove(&credential)?;
        let received_at = self.clock.now();
        match format {
            Format::Json => {
                let reading = decode::one(&body, sent_at);
                let accepted = self.judge(&device, reading, received_at, place.level()).await.map_err(|u| u.problem)?;
                Ok((StatusCode::ACCEPTED, Json(EventsAnswer::One(accepted))).into_response())
            }
            Format::Ndjson | Format::Protobuf => {
                let readings = decode::many(format, &body, sent_at, self.max_batch_records)?;
                Ok(self.batch(&device, readings, received_at, place.level()).await)
            }
        }
    }

    /// `buffered` polls the events in their order, so that they stand in the log as in the body.
    async fn batch(&self, device: &Device, readings: Vec<Reading>, received_at: Timestamp, level: Level) -> Response {
        let judged: Vec<Result<Accepted, Unread>> = stream::iter(readings)
            .map(|reading| self.judge(device, reading, received_at, level))
            .buffered(BATCH_CONCURRENCY)
            .inspect(|judged| {
                if let Err(unread) = judged {
                    count_refusal(&unread.problem);
                }
            })
            .collect()
            .await;
        let retry_after = judged.iter().filter_map(|j| j.as_ref().err()?.problem.retry_after_s).max();
        let all_kept = judged.iter().all(Result::is_ok);
        let results = judged.into_iter().enumerate().map(|(index, judged)| record_answer(index, judged)).collect();
        let status = if all_kept { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
        let mut response = (status, Json(EventsAnswer::Batch(BatchAnswer { results }))).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    async fn judge(
        &self,
        device: &Device,
        reading: Reading,
        received_at: Timestamp,
        level: Level,
    ) -> Result<Accepted, Unread> {
        let sent = reading.inspect_err(|_| metrics::event(None, Outcome::Refused))?;
        let id = sent.event.id;
        accept(&self.courtesy, self.log.as_ref(), device, sent, received_at, level)
            .await
            .map_err(|problem| Unread { id: Some(id), problem })
    }
}

/// By its code.
pub(crate) fn count_refusal(problem: &Problem) {
    metrics::REFUSED.with_label_values(&[problem.code]).inc();
}

fn record_answer(index: usize, judged: Result<Accepted, Unread>) -> RecordAnswer {
    match judged {
        Ok(accepted) => RecordAnswer {
            index,
            id: Some(accepted.id),
            status: 202,
            code: None,
            detail: None,
            pointer: None,
            received_at: Some(accepted.received_at),
            skew_ms: Some(accepted.skew_ms),
        },
        Err(Unread { id, problem }) => RecordAnswer {
            index,
            id,
            status: problem.status,
            code: Some(problem.code),
            detail: Some(problem.detail),
            pointer: problem.pointer,
            received_at: None,
            skew_ms: None,
        },
    }
}
