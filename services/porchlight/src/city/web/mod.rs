//! The page of the city: a live map, and beside it one resident's phone.
//!
//! What stands under `/city/` is the operator's view and exists in a city alone; the phone on the page talks to the ordinary
//! API with a token of its resident. The city tells what happens ([`Web::event`], [`Web::alert`], [`Web::push`],
//! [`Web::numbers`]); all that is slow about browsers stays here ([`stream`]).

mod assets;
mod phones;
mod scene;
mod stream;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use porchlight_chassis::http::{Json, Path, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use phones::{Phones, Shown};
use stream::Stream;

pub use scene::{Camera, Neighborhood, Resident, Scene};
pub use stream::{Alert, Lag, Numbers};

/// The one policy of every answer; the page's own development server reads the same file.
const POLICY: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/csp.txt"));

/// What the city tells its page. Clones tell the same page.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    /// Nothing until the city is founded: its gateway serves the page before that.
    opened: OnceLock<Opened>,
    stream: Arc<Stream>,
}

struct Opened {
    scene: Bytes,
    phones: Phones,
    mint: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl Web {
    /// A page that waits to be opened. The router is to be merged into the gateway's, so that page and API have one origin.
    pub fn new() -> (Self, Router) {
        let web = Self(Arc::new(Inner { opened: OnceLock::new(), stream: Arc::default() }));
        let router = assets::routes()
            .route("/city/scene", get(read_scene))
            .route("/city/stream", get(watch))
            .route("/city/token", post(token))
            .route("/city/phones/{subject}", get(phone))
            .with_state(web.clone())
            .layer(from_fn(here))
            .layer(map_response(secured));
        (web, router)
    }

    /// Shows a scene, once. `mint` makes a token of the city's issuer for a subject; it is asked for residents of the scene
    /// only.
    pub fn open(&self, scene: &Scene, mint: impl Fn(&str) -> String + Send + Sync + 'static) {
        let phones = Phones::of(scene.residents.iter().map(|resident| resident.subject.clone()));
        // A second scene is not shown: whoever looks has the first.
        let _ = self.0.opened.set(Opened { scene: scene.json(), phones, mint: Box::new(mint) });
    }

    fn opened(&self) -> Result<&Opened, Problem> {
        let founding = || Problem::new(503, "city_founding", "its people still move in").retry_after(1);
        self.0.opened.get().ok_or_else(founding)
    }

    /// Beats until `stop`; streams end with it.
    pub async fn run(&self, stop: CancellationToken) {
        self.0.stream.beat(stop).await;
    }

    /// A camera (its place in the scene's list) got an event accepted: `what` is `ding` or its foremost label.
    pub fn event(&self, camera: usize, what: &'static str, at_ms: i64) {
        self.0.stream.event(camera, what, at_ms);
    }

    /// A revision of an alert was made.
    pub fn alert(&self, alert: Alert) {
        self.0.stream.alert(alert);
    }

    /// A resident's phone got a push. A subject that is not of the scene has no phone here.
    pub fn push(&self, subject: &str, payload: &Value, at_ms: i64) {
        if let Some(opened) = self.0.opened.get() {
            opened.phones.push(subject, payload, at_ms);
        }
        self.0.stream.pushed();
    }

    /// The numbers of this second.
    pub fn numbers(&self, numbers: &Numbers) {
        self.0.stream.numbers(numbers);
    }
}

async fn read_scene(State(web): State<Web>) -> Result<Response, Problem> {
    let json = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((json, web.opened()?.scene.clone()).into_response())
}

async fn watch(State(web): State<Web>) -> Result<Response, Problem> {
    web.0.stream.open().ok_or_else(|| {
        Problem::new(503, "too_many_watchers", "as many browsers as may watch this city do; close one").retry_after(5)
    })
}

/// Whose token is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    subject: String,
}

/// A token for one resident.
#[derive(Serialize)]
struct Token {
    access_token: String,
}

async fn token(
    State(web): State<Web>,
    headers: HeaderMap,
    Json(Whose { subject }): Json<Whose>,
) -> Result<Response, Problem> {
    // A browser says where a request comes from: no other page gets a token out of this one.
    let from = headers.get(HeaderName::from_static("sec-fetch-site"));
    if from.is_some_and(|from| from != "same-origin") {
        return Err(Problem::new(403, "cross_site", "only the city's own page asks for its residents' tokens"));
    }
    let opened = web.opened()?;
    if !opened.phones.knows(&subject) {
        return Err(Problem::not_found());
    }
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(Token { access_token: (opened.mint)(&subject) })).into_response())
}

async fn phone(State(web): State<Web>, Path(subject): Path<String>) -> Result<Json<Vec<Shown>>, Problem> {
    web.opened()?.phones.shown(&subject).map(Json).ok_or_else(Problem::not_found)
}

/// Answers those who call this machine by its own name. A page from elsewhere can have its name point to this machine, and
/// would be of the same origin then.
async fn here(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default().to_owned());
    let is_here = |host: &str| {
        let name =
            host.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned()).unwrap_or_default();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    if host.is_some_and(|host| !is_here(&host)) {
        let why = "the city's page is at 127.0.0.1 or localhost, and under no other name";
        return Problem::new(403, "foreign_host", why).into_response();
    }
    next.run(request).await
}

/// What stands on every answer of the page, whatever it is.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY.trim_ascii()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
