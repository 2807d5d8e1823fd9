//! The grant of an upload.

use std::collections::BTreeMap;

use axum::{
    extract::{FromRequest as _, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_clips::{GRANT_MS, Grant, Upload};
use porchlight_domain::{ContentHash, ContentType, Device, EventId, MediaId, MediaKind, Timestamp};
use utoipa::ToSchema;

use super::refusal::Refusal;
use crate::{
    api::count_refusal,
    app::App,
    metrics::{self, Outcome},
    shed::Level,
};

/// What a device wants to upload. The words are read as text first, so that a wrong one has a code of its own.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MediaRequest)]
pub(crate) struct Wanted {
    /// What it is of its event.
    kind: MediaKind,
    /// How long it is: at most 64 MiB of a clip, 2 MiB of a thumbnail.
    #[schema(minimum = 1, maximum = 67_108_864)]
    bytes: u64,
    /// Of its bytes.
    #[schema(value_type = ContentHash)]
    sha256: String,
    /// What it is: `video/...` of a clip, `image/...` of a thumbnail.
    #[schema(value_type = ContentType)]
    content_type: String,
}

/// The upload that a device may make. Whoever has it can make it: it is as secret as a credential.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = MediaGrant)]
pub(crate) struct Granted {
    /// Under which id the media will be known.
    media: MediaId,
    upload: PutRequest,
    /// To be given back when the upload is completed, within 15 minutes.
    grant: String,
}

/// The request that puts the bytes.
#[derive(serde::Serialize, ToSchema)]
struct PutRequest {
    /// Always `PUT`.
    #[schema(pattern = "^PUT$")]
    method: &'static str,
    /// Where to.
    url: String,
    /// Every one of them must be sent, as it is.
    headers: BTreeMap<String, String>,
    /// Until when it may be begun.
    expires_at: Timestamp,
}

impl From<Upload> for PutRequest {
    fn from(Upload { url, headers, expires_at }: Upload) -> Self {
        Self { method: "PUT", url, headers: headers.into_iter().collect(), expires_at }
    }
}

/// Asks for an upload.
///
/// The event need not have been sent: a clip may come first. The bytes go straight to the store of objects, which takes
/// them once and only if length and SHA-256 are what is said here; then the upload is completed with the grant.
#[utoipa::path(
    post,
    path = "/v1/events/{event}/media",
    operation_id = "grant_upload",
    params(("event" = EventId, Path, description = "The device's event that it shows.")),
    request_body = Wanted,
    responses(
        (status = 201, description = "The upload to make.", body = Granted),
        (status = 400, description = "`malformed_json`, `malformed_encoding`, `unknown_field`, `invalid_field`, `body_incomplete`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`credential_missing`, `credential_invalid`", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "`plan_stores_no_clips`: nor thumbnails.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: the path has no UUID.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`, `media_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`, `unsupported_encoding`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`event_id_not_uuidv7`, `content_type_unsupported`, `sha256_invalid`, `media_empty`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`shedding`: clips wait while dings go first. With Retry-After.", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `registry_stale`, `storage_unavailable`, `timeout`. With Retry-After.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("device" = [])),
)]
pub(crate) async fn grant_upload(
    State(app): State<App>,
    event: Result<Path<EventId>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let granted = app.grant(event, request).await.inspect_err(count_refusal)?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(granted)).into_response())
}

impl App {
    async fn grant(&self, event: Result<Path<EventId>, Problem>, request: Request) -> Result<Granted, Problem> {
        let (credential, place) = self.admit(request.headers())?;
        let Path(event) = event?;
        match place.level() {
            Level::Open => {}
            Level::DingsOnly | Level::Full => return Err(refuse(None, Refusal::Shed)),
        }
        let Json(wanted) = Json::<Wanted>::from_request(request, &()).await?;
        let device = self.prove(&credential)?;
        let (kind, now) = (wanted.kind, self.clock.now());
        let grant = judge(&device, event, &wanted, now).map_err(|refusal| refuse(Some(kind), refusal))?;
        let upload =
            self.vault.upload(&grant, now).await.map_err(|error| refuse(Some(kind), Refusal::Storage(error)))?;
        let media = grant.media();
        metrics::grant(Some(kind), Outcome::Accepted);
        metrics::GRANTED.with_label_values(&[kind.as_str()]).inc_by(grant.bytes);
        tracing::info!(event_id = %event, media_id = %media, device_id = %device.id, "upload granted");
        Ok(Granted { media, upload: upload.into(), grant: self.grant_key.seal(&grant) })
    }
}

fn refuse(kind: Option<MediaKind>, refusal: Refusal) -> Problem {
    let (outcome, problem) = refusal.told();
    metrics::grant(kind, outcome);
    problem
}

/// What is granted to this device now.
fn judge(device: &Device, event: EventId, wanted: &Wanted, now: Timestamp) -> Result<Grant, Refusal> {
    let kind = wanted.kind;
    if event.day().is_none() {
        return Err(Refusal::EventId);
    }
    let content_type = ContentType::parse(&wanted.content_type)
        .filter(|content_type| kind.takes(*content_type))
        .ok_or(Refusal::ContentType(kind))?;
    let sha256 = wanted.sha256.parse().map_err(|_| Refusal::Sha256)?;
    match wanted.bytes {
        0 => return Err(Refusal::Empty),
        bytes if bytes > kind.max_bytes() => return Err(Refusal::TooLarge(kind)),
        _ => {}
    }
    if !device.plan.clips {
        return Err(Refusal::NoClips);
    }
    Ok(Grant {
        device: device.id,
        event,
        kind,
        content_type,
        bytes: wanted.bytes,
        sha256,
        expires_at: now.plus_ms(GRANT_MS),
    })
}
