//! Push endpoints: the phones and browsers of a person. Tokens and keys go in and never out.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::StatusCode;
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_domain::{ChosenId, Endpoint, EndpointId, Resident, Timestamp, Transport, home::MAX_ENDPOINTS};
use porchlight_push::check_transport;
use porchlight_store::{StoreError, Written};
use serde::{Deserialize, Serialize};

use crate::{
    App, Error,
    accounts::Caller,
    api::{BadBody, Missing, Refused},
    registry::WriteError,
};

/// How often a change is tried over while others change the same account.
const ROUNDS: usize = 8;

/// Browsers give these with or without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where pushes go. Everything but the transport's word is a secret.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(tag = "transport", rename_all = "lowercase", deny_unknown_fields)]
#[schema(example = json!({
    "transport": "webpush",
    "url": "https://push.example.org/wpush/v2/gAAAAA",
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg"
}))]
pub enum EndpointBody {
    /// Web Push (RFC 8030), UnifiedPush too.
    WebPush {
        /// The push resource.
        url: String,
        /// The receiver's P-256 public key, uncompressed, base64url.
        p256dh: String,
        /// The receiver's authentication secret, 16 bytes, base64url.
        auth: String,
    },
    /// Firebase Cloud Messaging.
    Fcm {
        /// The registration token.
        token: String,
    },
    /// Apple Push Notification service.
    Apns {
        /// The device token, hexadecimal.
        token: String,
        /// Whether the token is of the sandbox environment.
        #[serde(default)]
        sandbox: bool,
    },
}

impl EndpointBody {
    fn into_transport(self) -> Result<Transport, Error> {
        let bytes = |text: String, code, pointer, sentence| {
            BASE64URL.decode(text).map_err(|_| Error::unprocessable(code, pointer, sentence))
        };
        Ok(match self {
            Self::WebPush { url, p256dh, auth } => Transport::WebPush {
                url,
                p256dh: bytes(p256dh, "p256dh_invalid", "/p256dh", "p256dh is base64url")?,
                auth: bytes(auth, "auth_invalid", "/auth", "auth is base64url")?,
            },
            Self::Fcm { token } => Transport::Fcm { token },
            Self::Apns { token, sandbox } => Transport::Apns { token, sandbox },
        })
    }
}

/// A push endpoint as its owner sees it: nothing by which somebody else could send to it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EndpointView {
    /// The id that the app chose.
    id: ChosenId,
    /// The id by which deliveries name it.
    endpoint: EndpointId,
    /// `webpush`, `fcm` or `apns`.
    #[schema(value_type = String)]
    transport: &'static str,
    /// When it was registered last.
    registered_at: Timestamp,
}

impl From<&Endpoint> for EndpointView {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.chosen,
            endpoint: endpoint.id,
            transport: endpoint.transport.as_str(),
            registered_at: endpoint.registered_at,
        }
    }
}

/// Push endpoints.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Endpoints {
    items: Vec<EndpointView>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}

/// The caller's push endpoints
#[utoipa::path(get, path = "/v1/push-endpoints", tag = "push", operation_id = "list_push_endpoints",
    security(("oidc" = [])), responses((status = 200, description = "All of them", body = Endpoints), Refused))]
pub(crate) async fn list(caller: Caller) -> Json<Endpoints> {
    Json(Endpoints { items: caller.resident.endpoints.iter().map(EndpointView::from).collect(), next_cursor: None })
}

/// Registers a push endpoint, again or anew
///
/// Apps do so at every start: a provider's older word that the endpoint is gone does not count afterwards.
#[utoipa::path(put, path = "/v1/push-endpoints/{id}", tag = "push", operation_id = "put_push_endpoint",
    security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "An id of the app's choice")),
    request_body = EndpointBody,
    responses(
        (status = 200, description = "Registered again", body = EndpointView),
        (status = 201, description = "Registered", body = EndpointView),
        (status = 422, description = "`push_url_invalid`, `push_url_not_https`, `push_url_private`, `p256dh_invalid`, \
            `auth_invalid`, `token_invalid`, `transport_not_configured`, `too_many_endpoints`",
            body = Problem, content_type = "application/problem+json"),
        BadBody, Refused))]
pub(crate) async fn put(
    caller: Caller,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
    Json(body): Json<EndpointBody>,
) -> Result<Response, Error> {
    let transport = body.into_transport()?;
    check_transport(&transport, &app.push)
        .map_err(|(code, pointer, sentence)| Error::unprocessable(code, pointer, sentence))?;
    let id = EndpointId::scoped(caller.resident.id, chosen);
    let endpoint = Endpoint { id, chosen, transport, registered_at: app.clock.now() };
    let created = change(&app, &caller.resident, |endpoints| {
        if let Some(known) = endpoints.iter_mut().find(|known| known.id == id) {
            *known = endpoint.clone();
            return Ok(false);
        }
        if endpoints.len() >= MAX_ENDPOINTS {
            let sentence = format!("a person has at most {MAX_ENDPOINTS} push endpoints; delete one first");
            return Err(Error::unprocessable("too_many_endpoints", "", sentence));
        }
        endpoints.push(endpoint.clone());
        Ok(true)
    })
    .await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(EndpointView::from(&endpoint))).into_response())
}

/// Removes a push endpoint
#[utoipa::path(delete, path = "/v1/push-endpoints/{id}", tag = "push", operation_id = "delete_push_endpoint",
    security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The id that the app chose")),
    responses((status = 204, description = "Gone"), Missing, Refused))]
pub(crate) async fn delete(
    caller: Caller,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
) -> Result<StatusCode, Error> {
    let id = EndpointId::scoped(caller.resident.id, chosen);
    change(&app, &caller.resident, |endpoints| {
        let before = endpoints.len();
        endpoints.retain(|endpoint| endpoint.id != id);
        if endpoints.len() < before { Ok(()) } else { Err(Error::NotFound) }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key that browsers subscribe with
#[derive(Serialize, utoipa::ToSchema)]
pub struct VapidKey {
    /// `applicationServerKey` of the Push API: base64url of the uncompressed point (RFC 8292).
    vapid_public_key: String,
}

/// The key that browsers subscribe with
#[utoipa::path(get, path = "/v1/push/vapid-key", tag = "push", operation_id = "get_vapid_key",
    security(("oidc" = [])), responses((status = 200, description = "The key", body = VapidKey), Refused))]
pub(crate) async fn vapid_key(_caller: Caller, State(app): State<App>) -> Json<VapidKey> {
    Json(VapidKey { vapid_public_key: app.vapid_public_key.clone() })
}

/// Changes the account's endpoints. A conditional write without an answer is simply tried over: the change is the same
/// however often it is made.
async fn change<T>(
    app: &App,
    resident: &Resident,
    change: impl Fn(&mut Vec<Endpoint>) -> Result<T, Error>,
) -> Result<T, Error> {
    let registry = &*app.store.registry;
    let mut stored = resident.clone();
    for _ in 0..ROUNDS {
        let mut next = Resident { version: stored.version.next(), ..stored.clone() };
        let changed = change(&mut next.endpoints)?;
        match registry.put_resident(&next, Some(stored.version)).await {
            Ok(Written::Applied) => return Ok(changed),
            Ok(Written::Conflict) | Err(StoreError::Unknown(_)) => {}
            Err(e @ (StoreError::Unavailable(_) | StoreError::Corrupt { .. } | StoreError::Refused(_))) => {
                return Err(e.into());
            }
        }
        stored = registry.resident(resident.id).await?.ok_or(Error::NotFound)?;
    }
    Err(WriteError::Contended.into())
}
