//! An OpenID Connect issuer on loopback that mints any token, with keys that can be changed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, response::IntoResponse as _, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp, jwk::Jwk};
use p256::{SecretKey, pkcs8::EncodePrivateKey as _};
use serde_json::{Value, json};

/// A signing key.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub signing: EncodingKey,
}

impl Key {
    /// The n-th key: tests need no randomness.
    pub fn nth(n: u8) -> Self {
        let pem = SecretKey::from_slice(&[n; 32]).unwrap().to_pkcs8_pem(Default::default()).unwrap();
        Self { id: format!("key-{n}"), signing: EncodingKey::from_ec_pem(pem.as_bytes()).unwrap() }
    }

    pub fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.signing).unwrap()
    }
}

#[derive(Default)]
struct State {
    document: Mutex<Option<Value>>,
    fetches: AtomicUsize,
}

/// A running issuer.
pub struct Issuer {
    url: String,
    pub key: Key,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::nth(1);
        let state = Arc::new(State::default());
        *state.document.lock().unwrap() = Some(json!({"keys": [key.public()]}));
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/jwks.json")}).to_string();
        let keys = state.clone();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(move || std::future::ready(metadata.clone())))
            .route(
                "/jwks.json",
                get(move || {
                    keys.fetches.fetch_add(1, Ordering::SeqCst);
                    let document = keys.document.lock().unwrap().clone();
                    std::future::ready(match document {
                        Some(document) => document.to_string().into_response(),
                        None => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                    })
                }),
            );
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, key, state, serving }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often the keys were fetched.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// What is served as the key set from now on; `None`: an error.
    pub fn serve(&self, document: Option<Value>) {
        *self.state.document.lock().unwrap() = document;
    }

    /// The claims of a good token.
    pub fn claims(&self, subject: &str, scope: &str) -> Value {
        let now = get_current_timestamp();
        json!({"iss": self.url, "sub": subject, "aud": "porchlight", "iat": now, "exp": now + 600, "scope": scope})
    }

    pub fn mint(&self, subject: &str, scope: &str) -> String {
        self.key.sign(&self.claims(subject, scope))
    }
}
