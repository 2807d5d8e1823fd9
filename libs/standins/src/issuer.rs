//! An OIDC issuer that mints any token it is asked for. For the city and tests only: whoever reaches it is whoever they
//! like, an operator too.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::{
    SecretKey,
    elliptic_curve::{rand_core::OsRng, sec1::ToEncodedPoint},
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    kept::kept,
    serving::{Bound, Serving, nothing_here, refuse},
};

/// How long a token holds if nothing else is asked for, seconds.
const DEFAULT_TTL_S: u64 = 3600;
/// The longest that a token may hold, seconds.
const MAX_TTL_S: u64 = 86_400;
/// The longest subject, bytes.
const MAX_SUBJECT: usize = 256;
/// The most scopes of a token, and the longest of them.
const MAX_SCOPES: usize = 16;
const MAX_SCOPE: usize = 64;
const MAX_BODY: usize = 16 * 1024;

/// A running issuer; it ends when it is dropped.
/// - `GET /.well-known/openid-configuration`: OpenID Connect Discovery 1.0.
/// - `GET /jwks.json`: its one key (RFC 7517).
/// - `POST /token {"subject","scopes":[..],"ttl_s"?}` → `{"access_token","token_type","expires_in"}`. `ttl_s` is 3600
///   unless given, at most 86 400; 0 mints a token that has just expired.
///
/// Errors are JSON: `{"error","error_description"}`.
pub struct Issuer {
    inner: Arc<Inner>,
    serving: Serving,
}

struct Inner {
    url: String,
    kid: String,
    jwk: Value,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    scope: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    subject: String,
    #[serde(default)]
    scopes: Vec<String>,
    ttl_s: Option<u64>,
}

impl Issuer {
    /// The audience its tokens carry.
    pub const AUDIENCE: &str = "porchlight";

    /// Starts it with a fresh ES256 key. If `dir` is given, the key in `dir/issuer.pem` (PKCS #8, readable by its owner
    /// only) is used, and made first if there is none: tokens then hold over restarts on the same port.
    ///
    /// # Errors
    /// A sentence: the address cannot be bound, or the key file cannot be read or written.
    pub async fn start(listen: SocketAddr, dir: Option<&Path>) -> Result<Self, String> {
        let secret = match dir {
            Some(dir) => kept_key(&dir.join("issuer.pem"))?,
            None => SecretKey::random(&mut OsRng),
        };
        let bound = Bound::to(listen).await?;
        let inner = Arc::new(Inner::new(bound.url.clone(), &secret)?);
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks.json", get(jwks))
            .route("/token", post(token))
            .fallback(nothing_here)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(inner.clone());
        Ok(Self { inner, serving: bound.serve(router) })
    }

    /// `http://127.0.0.1:port`, also the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Mints without HTTP, with no check of subject or scopes. Claims: iss, sub, aud, iat, exp, scope (space-separated).
    /// A longer life than 24 hours is cut to that.
    pub fn mint(&self, subject: &str, scopes: &[&str], ttl_s: u64) -> String {
        self.inner.mint(subject, scopes.join(" "), ttl_s)
    }

    /// Stops, and waits for the requests in hand.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}

impl Inner {
    fn new(url: String, secret: &SecretKey) -> Result<Self, String> {
        let point = secret.public_key().to_encoded_point(false);
        let bytes = point.as_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&bytes[1..33]), URL_SAFE_NO_PAD.encode(&bytes[33..65]));
        // The thumbprint of RFC 7638: the required members in this order and form.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        let pem = secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| "the issuer's key cannot be written".to_owned())?;
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| format!("the issuer's key is no key: {e}"))?;
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": kid});
        Ok(Self { url, kid, jwk, key })
    }

    fn mint(&self, subject: &str, scope: String, ttl_s: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims {
            iss: &self.url,
            sub: subject,
            aud: Issuer::AUDIENCE,
            iat: now,
            exp: now + ttl_s.min(MAX_TTL_S),
            scope,
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("a P-256 key signs ES256, and the claims are JSON")
    }
}

fn kept_key(path: &Path) -> Result<SecretKey, String> {
    let pem = kept(path, || {
        let secret = SecretKey::random(&mut OsRng);
        let pem = secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| "the issuer's key cannot be written".to_owned())?;
        Ok(pem.to_string())
    })?;
    SecretKey::from_pkcs8_pem(&pem).map_err(|_| format!("{} is no P-256 key", path.display()))
}

async fn configuration(State(issuer): State<Arc<Inner>>) -> Json<Value> {
    let url = &issuer.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks.json"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "scope"],
    }))
}

async fn jwks(State(issuer): State<Arc<Inner>>) -> Json<Value> {
    Json(json!({"keys": [issuer.jwk]}))
}

async fn token(State(issuer): State<Arc<Inner>>, body: Result<Json<TokenRequest>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection.status(), "invalid_request", rejection.body_text()),
    };
    if let Err((error, description)) = check(&request) {
        return refuse(StatusCode::BAD_REQUEST, error, description);
    }
    let ttl_s = request.ttl_s.unwrap_or(DEFAULT_TTL_S);
    let token = issuer.mint(&request.subject, request.scopes.join(" "), ttl_s);
    let answer = Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": ttl_s}));
    ([("cache-control", "no-store")], answer).into_response()
}

fn check(request: &TokenRequest) -> Result<(), (&'static str, &'static str)> {
    if !(1..=MAX_SUBJECT).contains(&request.subject.len()) {
        return Err(("invalid_request", "subject has 1 to 256 bytes"));
    }
    // RFC 6749, section 3.3: visible ASCII without the quote and the backslash.
    let is_scope = |scope: &String| {
        (1..=MAX_SCOPE).contains(&scope.len())
            && scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
    };
    if request.scopes.len() > MAX_SCOPES || !request.scopes.iter().all(is_scope) {
        return Err(("invalid_scope", "scopes are at most 16 words of visible ASCII, each at most 64 bytes"));
    }
    if request.ttl_s.is_some_and(|ttl_s| ttl_s > MAX_TTL_S) {
        return Err(("invalid_request", "ttl_s is at most 86400"));
    }
    Ok(())
}
