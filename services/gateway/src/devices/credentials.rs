//! A device's credential: shown once, kept as a hash, replaced or revoked everywhere at once.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use porchlight_chassis::http::{Json, Path};
use porchlight_domain::{ChosenId, Credential, Device, DeviceId, Secret};
use serde::Serialize;

use crate::{
    App, Error,
    accounts::Caller,
    api::{Missing, Refused},
    registry::Change,
};

/// A new credential.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Issued {
    /// What the device sends as its bearer token. It is shown this once.
    credential: String,
}

/// Issues a credential
///
/// It replaces the one before, which every ingest refuses within 5 s.
#[utoipa::path(post, path = "/v1/devices/{id}/credentials", tag = "devices", operation_id = "issue_credential",
    security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The id that the household chose")),
    responses((status = 201, description = "Shown once", body = Issued), Missing, Refused))]
pub(crate) async fn issue(
    caller: Caller,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
) -> Result<Response, Error> {
    let credential = Credential { device: DeviceId::scoped(caller.resident.household, chosen), secret: Secret::mint() };
    change(&app, credential.device, Some(credential.secret.hash())).await?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(Issued { credential: credential.reveal() })).into_response())
}

/// Revokes the credential
///
/// Answered once the revocation is published: every ingest refuses the credential within 5 s.
#[utoipa::path(delete, path = "/v1/devices/{id}/credentials", tag = "devices", operation_id = "revoke_credential",
    security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The id that the household chose")),
    responses((status = 204, description = "Revoked, or there was none"), Missing, Refused))]
pub(crate) async fn revoke(
    caller: Caller,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
) -> Result<StatusCode, Error> {
    change(&app, DeviceId::scoped(caller.resident.household, chosen), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change(app: &App, id: DeviceId, credential: Option<[u8; 32]>) -> Result<(), Error> {
    app.registrar
        .update(id, |current: Option<&Device>| {
            let device = current.ok_or(Error::NotFound)?;
            Ok(if device.credential == credential {
                Change::Keep
            } else {
                Change::Write(Device { credential, ..device.clone() })
            })
        })
        .await?;
    Ok(())
}
