//! JSON in and out, strict, with problems that point at the field.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::{Body, Problem};

/// A sentence that quotes what was sent is cut here.
const MAX_DETAIL: usize = 300;

/// Like `axum::Json`, but strict (content type, unknown fields) and answering with problems that point at the field:
/// `malformed_json`, `unknown_field`, `invalid_field` (400), `unsupported_media_type` (415), and those of [`Body`].
///
/// What is unknown is known to the type: it says `deny_unknown_fields`.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(415, "unsupported_media_type", "the body here is application/json"));
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        from_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer has no JSON form");
                Problem::internal().into_response()
            }
        }
    }
}

/// `application/json` or any `application/...+json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// Reads one JSON document as strictly as [`Json`] does.
///
/// # Errors
/// `malformed_json`, `unknown_field`, `invalid_field` (400), with a pointer where there is one.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| refuse(pointer(e.path()), e.inner()))?;
    reader.end().map_err(|e| refuse(String::new(), &e))?;
    Ok(value)
}

fn refuse(pointer: String, e: &serde_json::Error) -> Problem {
    let mut detail = e.to_string();
    if let Some((cut, _)) = detail.char_indices().nth(MAX_DETAIL) {
        detail.truncate(cut);
    }
    match e.classify() {
        Category::Syntax | Category::Eof | Category::Io => Problem::new(400, "malformed_json", detail),
        Category::Data => match unknown_field(&detail) {
            Some(field) => {
                let pointer =
                    if pointer.ends_with(&format!("/{field}")) { pointer } else { format!("{pointer}/{field}") };
                Problem::new(400, "unknown_field", detail).at(pointer)
            }
            None => Problem::new(400, "invalid_field", detail).at(pointer),
        },
    }
}

/// The field in serde's own sentence for it; there is no other way to tell.
fn unknown_field(sentence: &str) -> Option<String> {
    let (field, _) = sentence.strip_prefix("unknown field `")?.split_once('`')?;
    Some(escape(field))
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Event {
        #[allow(dead_code)]
        id: u32,
        #[serde(default)]
        #[allow(dead_code)]
        zones: Vec<Zone>,
    }
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Zone {
        #[allow(dead_code)]
        name: String,
    }

    fn refusal(text: &str) -> (&'static str, Option<String>) {
        let problem = from_json::<Event>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.status, 400);
        (problem.code, problem.pointer)
    }

    #[test]
    fn each_fault_has_its_code_and_points_at_its_field() {
        assert!(from_json::<Event>(br#" {"id": 1, "zones": [{"name": "a"}]} "#).is_ok());
        assert_eq!(refusal("{\"id\": 1"), ("malformed_json", None));
        assert_eq!(refusal("{\"id\": 1} x"), ("malformed_json", None));
        assert_eq!(refusal(""), ("malformed_json", None));
        assert_eq!(refusal("{\"id\": \"x\"}"), ("invalid_field", Some("/id".into())));
        assert_eq!(refusal("{}"), ("invalid_field", Some(String::new())));
        assert_eq!(refusal("{\"id\":1,\"face/x\":2}"), ("unknown_field", Some("/face~1x".into())));
        assert_eq!(
            refusal("{\"id\":1,\"zones\":[{\"name\":\"a\"},{\"name\":\"b\",\"plate\":1}]}"),
            ("unknown_field", Some("/zones/1/plate".into()))
        );
        assert_eq!(refusal("{\"id\":1,\"zones\":[{\"name\":7}]}"), ("invalid_field", Some("/zones/0/name".into())));
    }

    #[test]
    fn what_is_quoted_is_cut() {
        let problem = from_json::<Event>(format!("{{\"id\":\"{}\"}}", "ü".repeat(9_000)).as_bytes()).unwrap_err();
        assert!(problem.detail.chars().count() <= MAX_DETAIL);
    }

    #[tokio::test]
    async fn the_content_type_says_json() {
        let answer = |content_type: Option<&str>| {
            let mut request = Request::new(axum::body::Body::from("{\"id\":1}"));
            if let Some(value) = content_type {
                request.headers_mut().insert(header::CONTENT_TYPE, value.parse().unwrap());
            }
            async { Json::<Event>::from_request(request, &()).await.map(|_| ()).map_err(|p| p.code) }
        };
        for good in ["application/json", "application/json; charset=utf-8", "application/geo+json"] {
            assert_eq!(answer(Some(good)).await, Ok(()), "{good}");
        }
        for bad in [None, Some("text/plain"), Some("application/jsonp"), Some("text/json")] {
            assert_eq!(answer(bad).await, Err("unsupported_media_type"), "{bad:?}");
        }
    }
}
