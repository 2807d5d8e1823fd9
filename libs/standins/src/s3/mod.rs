//! An S3 server over a folder, inside this process: for a city that is one process. `DESIGN.md` says what it promises.

mod credentials;
mod listing;
mod object;
mod ops;
mod store;

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
pub use credentials::Credentials;
use s3s::{
    S3Error,
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use tracing::{Dispatch, instrument::WithSubscriber as _};

use crate::{
    servers::S3Server,
    serving::{Bound, Serving},
};
use ops::Ops;
use store::Store;

/// The longest object: the longest clip (64 MiB), and some.
const MAX_OBJECT: u64 = 65 * 1024 * 1024;
/// The longest body that is no object: 1000 keys to delete.
const MAX_XML: usize = 2 * 1024 * 1024;
/// Any is signed for alike.
const REGION: &str = "us-east-1";

/// A running S3 server; it ends when it is dropped. Path-style, AWS Signature Version 4 in headers and in URLs.
///
/// It does what `libs/clips` asks: put (at most 65 MiB; `If-None-Match: *`, `x-amz-checksum-sha256`), get (ranges), head,
/// delete one or many, list (version 2), make and look at buckets. Whatever else S3 knows is 501 `NotImplemented`. Pages of
/// any origin may read what they have a URL for.
pub struct EmbeddedS3 {
    server: S3Server,
    serving: Serving,
}

impl EmbeddedS3 {
    /// The bucket that is there from the start.
    pub const BUCKET: &str = "porchlight";

    /// Serves the objects of `folder`, which is this one's alone. Without `credentials`, those of
    /// [`Credentials::kept_in`] the folder.
    ///
    /// # Errors
    /// A sentence: another process has the folder, it cannot be used, or the address cannot be bound.
    pub async fn start(folder: &Path, listen: SocketAddr, credentials: Option<Credentials>) -> Result<Self, String> {
        let folder = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&folder)?;
            store.make_bucket(Self::BUCKET).map_err(|e| format!("the bucket cannot be made: {e}"))?;
            let credentials = credentials.map_or_else(|| Credentials::kept_in(&folder), Ok)?;
            Ok::<_, String>((store, credentials))
        });
        let (store, credentials) =
            opened.await.map_err(|e| format!("the folder of objects cannot be opened: {e}"))??;
        let bound = Bound::to(listen).await?;
        let server = S3Server {
            endpoint: bound.url.clone(),
            bucket: Self::BUCKET.to_owned(),
            region: REGION.to_owned(),
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
        };
        let router = Router::new().fallback(answer).with_state(service(store, &server));
        Ok(Self { server, serving: bound.serve(router) })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> &str {
        &self.serving.url
    }

    /// How it is reached, with its key.
    pub fn server(&self) -> &S3Server {
        &self.server
    }

    /// Stops, and waits for the requests in hand.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}

fn service(store: Store, server: &S3Server) -> S3Service {
    let mut config = S3Config::default();
    config.xml_max_body_size = MAX_XML;
    let mut builder = S3ServiceBuilder::new(Ops(Arc::new(store)));
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(SimpleAuth::from_single(&*server.access_key_id, &*server.secret_access_key));
    builder.build()
}

async fn answer(State(service): State<S3Service>, request: Request) -> Response {
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return preflight().into_response();
    }
    let mut response = if is_foreign(&request) {
        refusal(s3_error!(NotImplemented, "Signature Version 4 is taken, and no forms"))
    } else {
        // s3s logs each refusal as an error, and with what it was signed. Nobody is told of either.
        let answered = service.call(request.map(s3s::Body::http_body_unsync)).with_subscriber(Dispatch::none()).await;
        answered.map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), |response| response.map(Body::new))
    };
    if matches!(method, Method::GET | Method::HEAD) {
        // A URL is all that it takes to read: where the page that has it came from says nothing more.
        open_to_any_origin(response.headers_mut());
    }
    response
}

/// What s3s takes besides, and nobody here sends: forms, which it reads into memory before it asks who sends them, and
/// signatures of Version 2, which bind less.
fn is_foreign(request: &Request) -> bool {
    let starts = |name, with: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with)))
    };
    let form = request.method() == Method::POST && starts(header::CONTENT_TYPE, "multipart/");
    let query = request.uri().query().unwrap_or_default();
    form || starts(header::AUTHORIZATION, "AWS ") || query.split('&').any(|pair| pair.starts_with("Signature="))
}

fn refusal(error: S3Error) -> Response {
    let response = error.to_http_response();
    response.map_or_else(|_| StatusCode::NOT_IMPLEMENTED.into_response(), |response| response.map(Body::new))
}

/// Before a page's script reads with headers of its own.
fn preflight() -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    open_to_any_origin(&mut headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("range, if-match, if-none-match"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    (StatusCode::NO_CONTENT, headers)
}

fn open_to_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let readable = HeaderValue::from_static("accept-ranges, content-length, content-range, etag");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
}
