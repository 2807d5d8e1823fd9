//! The completion of an upload.

use axum::extract::{FromRequest as _, Request, State};
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_clips::{Grant, GrantError, Stat};
use porchlight_domain::{Device, DeviceId, EventId, Logged, Media, MediaId, MediaKind, Timestamp};
use porchlight_wire::Wire as _;
use utoipa::ToSchema;

use super::refusal::Refusal;
use crate::{
    api::count_refusal,
    app::App,
    metrics::{self, Outcome},
    shed::Level,
};

/// The oldest object that is completed. The sweep judges an object without a row by its age: one that is completed must be
/// far from that, however long the record then takes to become a row.
const MAX_OBJECT_AGE_MS: i64 = 86_400_000;

/// Says that the bytes were put.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MediaCompletion)]
pub(crate) struct Completion {
    /// The grant, as it was given.
    grant: String,
}

/// A media that is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, ToSchema)]
#[schema(as = CompletedMedia)]
pub(crate) struct Kept {
    /// Its id.
    media: MediaId,
    /// The event that it shows.
    event: EventId,
    /// When it was completed, by our clock: how long it is kept counts from here.
    received_at: Timestamp,
}

/// Completes an upload.
///
/// 200 means that the media is kept. The store of objects is asked what it holds: if that is not what was granted, it is
/// removed. An upload may be completed any number of times.
#[utoipa::path(
    post,
    path = "/v1/media/{media}/complete",
    operation_id = "complete_upload",
    params(("media" = MediaId, Path, description = "As the grant named it.")),
    request_body = Completion,
    responses(
        (status = 200, description = "It is kept.", body = Kept),
        (status = 400, description = "`malformed_json`, `malformed_encoding`, `unknown_field`, `invalid_field`, `body_incomplete`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`credential_missing`, `credential_invalid`", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "`plan_stores_no_clips`: any more. The sweep removes what was put.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`grant_invalid`: no grant of ours, another device's or another media's.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: the path has no UUID.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`upload_missing`; `upload_too_old`: put more than a day ago; `checksum_mismatch`: what was put is removed.", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`grant_expired`: 15 minutes after it was given.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`, `unsupported_encoding`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`shedding`: clips wait while dings go first. With Retry-After.", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `registry_stale`, `storage_unavailable`, `log_full`, `log_timeout`, `log_unavailable`, `timeout`. With Retry-After.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("device" = [])),
)]
pub(crate) async fn complete_upload(
    State(app): State<App>,
    media: Result<Path<MediaId>, Problem>,
    request: Request,
) -> Result<Json<Kept>, Problem> {
    app.complete(media, request).await.map(Json).inspect_err(count_refusal)
}

impl App {
    async fn complete(&self, media: Result<Path<MediaId>, Problem>, request: Request) -> Result<Kept, Problem> {
        let (credential, place) = self.admit(request.headers())?;
        let Path(media) = media?;
        match place.level() {
            Level::Open => {}
            Level::DingsOnly | Level::Full => return Err(refuse(None, Refusal::Shed)),
        }
        let Json(completion) = Json::<Completion>::from_request(request, &()).await?;
        let device = self.prove(&credential)?;
        let grant = self.opened(&completion.grant, device.id, media).map_err(|refusal| refuse(None, refusal))?;
        let kind = Some(grant.kind);
        if let Some(received_at) = self.courtesy.completed_at(&media) {
            metrics::completion(kind, Outcome::Duplicate);
            return Ok(Kept { media, event: grant.event, received_at });
        }
        let found = self.vault.stat(media).await.map_err(|error| refuse(kind, Refusal::Storage(error)))?;
        // The store of objects may have taken its time: what is stamped is what is true of the device now.
        let device = self.prove(&credential)?;
        match self.settle(&grant, &device, found).await {
            Ok(received_at) => {
                metrics::completion(kind, Outcome::Accepted);
                tracing::info!(event_id = %grant.event, media_id = %media, device_id = %device.id, "upload completed");
                Ok(Kept { media, event: grant.event, received_at })
            }
            Err(refusal) => {
                let problem = refuse(kind, refusal);
                let code = problem.code;
                tracing::info!(event_id = %grant.event, media_id = %media, device_id = %device.id, code, "upload not completed");
                Err(problem)
            }
        }
    }

    /// The grant in a token, if it is this device's for this media. Another's is no better than none: a device that
    /// reads along must not complete what it did not put.
    fn opened(&self, token: &str, device: DeviceId, media: MediaId) -> Result<Grant, Refusal> {
        let grant = self.grant_key.open(token, self.clock.now()).map_err(Refusal::Grant)?;
        if grant.device == device && grant.media() == media {
            Ok(grant)
        } else {
            Err(Refusal::Grant(GrantError::Invalid))
        }
    }

    /// Into the log, or out of the store of objects. Cancelling it between the two leaves what the same request again, or
    /// the sweep, brings to its end.
    async fn settle(&self, grant: &Grant, device: &Device, found: Option<Stat>) -> Result<Timestamp, Refusal> {
        match judge(grant, device, found, self.clock.now()) {
            Ok(media) => {
                let received_at = media.received_at;
                let record = Logged::Media(media.clone()).encode();
                self.log.append(device.id, record).await.map_err(Refusal::Log)?;
                self.courtesy.learn_media(&media);
                Ok(received_at)
            }
            Err(refusal) => {
                if refusal.removes_object() {
                    // The refusal says that nothing is left: it is not given before that is so.
                    self.vault.remove_media(grant.media()).await.map_err(Refusal::Storage)?;
                }
                Err(refusal)
            }
        }
    }
}

fn refuse(kind: Option<MediaKind>, refusal: Refusal) -> Problem {
    let (outcome, problem) = refusal.told();
    metrics::completion(kind, outcome);
    problem
}

/// What was granted and put becomes a media, with all that is true of its device now.
fn judge(grant: &Grant, device: &Device, found: Option<Stat>, now: Timestamp) -> Result<Media, Refusal> {
    if !device.plan.clips {
        return Err(Refusal::NoClips);
    }
    let Some(stat) = found else { return Err(Refusal::Missing) };
    if stat.bytes != grant.bytes {
        return Err(Refusal::Mismatch);
    }
    if now.since(stat.put_at) > MAX_OBJECT_AGE_MS {
        return Err(Refusal::TooOld);
    }
    match stat.sha256 {
        Some(sha256) if sha256 == grant.sha256 => {}
        Some(_) => return Err(Refusal::Mismatch),
        None => return Err(Refusal::Unchecked),
    }
    Ok(Media {
        id: grant.media(),
        device: device.id,
        event: grant.event,
        household: device.household,
        kind: grant.kind,
        content_type: grant.content_type,
        bytes: grant.bytes,
        sha256: grant.sha256,
        retention_days: device.plan.retention_days,
        received_at: now,
    })
}
