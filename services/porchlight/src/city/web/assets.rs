//! The files of the page, in the program itself.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use porchlight_chassis::http::Problem;
use sha2::{Digest as _, Sha256};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Each file by its name in `page/`.
        pub(super) const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/", $name)))),+];
    };
}

files![
    "api.js",
    "blink.js",
    "frames.js",
    "icon.svg",
    "icons.svg",
    "index.html",
    "lists.js",
    "main.js",
    "map.js",
    "numbers.js",
    "page.css",
    "phone.css",
    "phone.js",
    "push-sample.html",
    "push-sample.js",
    "scene.js",
    "sw.js",
    "theme.js",
    "vendor/leaflet.LICENSE.txt",
    "vendor/leaflet.css",
    "vendor/leaflet.js",
    "vendor/uplot.LICENSE.txt",
    "vendor/uplot.css",
    "vendor/uplot.js",
    "wave.js",
    "words.js",
];

/// A file with what its answer says of it.
struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    etag: HeaderValue,
}

static TABLE: LazyLock<BTreeMap<&str, File>> = LazyLock::new(|| {
    let file = |&(name, bytes): &(&'static str, &'static [u8])| {
        let hash: String = Sha256::digest(bytes).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hex in quotes is a header");
        (name, File { bytes, content_type: content_type(name), etag })
    };
    FILES.iter().map(file).collect()
});

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// The page at `/`, its files under `/page/`. A service worker rules over what is below it, so that stands at the root.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file("index.html", &headers) }))
        .route("/push-sample.html", get(|headers: HeaderMap| async move { file("push-sample.html", &headers) }))
        .route("/sw.js", get(|headers: HeaderMap| async move { file("sw.js", &headers) }))
        .route(
            "/page/{*name}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { file(&name, &headers) }),
        )
}

/// A name is looked up in the table and nowhere else: no path leads out of it.
fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = TABLE.get(name) else { return Problem::not_found().into_response() };
    let about = [
        (header::ETAG, file.etag.clone()),
        // Asked each time, sent only if it has changed: a newer program shows its own page at once.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_TYPE, HeaderValue::from_static(file.content_type)),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&file.etag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, file.bytes).into_response()
}
