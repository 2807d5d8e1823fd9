//! The way to the bytes of a clip or thumbnail: a URL that lives a minute, for whom the gate lets through.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_domain::{Cleared, DeviceId, EventId, ItemId, MediaId, Timestamp, view::MediaView};
use porchlight_store::Read;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    App, Error,
    accounts::Caller,
    api::{Missing, Refused},
};

/// An event that nobody sends, of the first millisecond there was: asked for in the place of one that is not known.
const NO_EVENT: EventId = EventId(Uuid::from_u128(0x7000_8000_0000_0000_0000));

/// A clip or thumbnail as the caller may see it, and the way to its bytes.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MediaAnswer {
    #[serde(flatten)]
    #[schema(value_type = MediaView, inline)]
    media: Cleared<MediaView>,
    /// Where the bytes are, for a `GET` without a token: whoever has it can fetch them until it ends. Its path names
    /// the media alone.
    url: String,
    /// When the URL ends, a minute from now at most. Ask again for another.
    url_expires_at: Timestamp,
}

/// The way to a clip or thumbnail
///
/// The household may fetch all of its own, while the plan of the device keeps it: by the plan under which it was stored
/// and by the one of this moment, whichever ends first. A neighbor may fetch what was shared with a neighborhood where
/// they live, while its item is there. The URL is made anew for each request and is not to be kept.
#[utoipa::path(get, path = "/v1/media/{id}", tag = "feed", operation_id = "get_media", security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The media, as items name it")),
    responses(
        (status = 200, description = "What it is and where its bytes are; never cached", body = MediaAnswer,
            headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 410, description = "`media_expired`: its time is over. For its household alone; for everybody else it \
            does not exist", body = Problem, content_type = "application/problem+json"),
        Missing, Refused))]
pub(crate) async fn get(caller: Caller, State(app): State<App>, Path(id): Path<MediaId>) -> Result<Response, Error> {
    let (registry, timeline) = (&app.store.registry, &app.store.timeline);
    let viewer = caller.viewer(&**registry).await?;
    let row = app.store.media.get(id).await?;
    // An unknown id goes the whole way too, in the place of the ids that its row would name: the time that a refusal
    // takes must not tell whether there is something.
    let (device, event) = row.as_ref().map_or((DeviceId(id.0), NO_EVENT), |row| (row.media.device, row.media.event));
    let (device, seen) = tokio::try_join!(registry.device(device, Read::Quorum), timeline.first_seen(device, event))?;
    let item = seen.and_then(|seen| seen.item).map_or(ItemId(id.0), |(item, _)| item);
    let item = timeline.item(item).await?;

    let now = app.clock.now();
    let plan = device.map(|device| device.plan);
    let lasting = row.as_ref().filter(|row| now < row.ends.min(row.media.ends(plan)));
    if lasting.is_none() && row.as_ref().is_some_and(|row| row.media.household == viewer.household) {
        return Err(Error::MediaExpired);
    }
    let media = app.guard.media(&viewer, lasting.map(|row| &row.media), item.as_ref()).await?.ok_or(Error::NotFound)?;
    let (url, url_expires_at) = app.vault.read_url(&media, now).await?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(MediaAnswer { media, url, url_expires_at })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_an_unknown_event_can_be_asked_for() {
        assert_eq!(NO_EVENT.day(), Some(0));
    }
}
