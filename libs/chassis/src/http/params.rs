//! What stands in a request's path and query, refused with problems.

use axum::extract::{FromRequestParts, rejection::PathRejection};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::Problem;

/// Like `axum::extract::Path`; an id that is no id names nothing, so it is the same 404 as any other that is unknown.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::MissingPathParams(error)) => {
                tracing::error!(%error, "a route has no such parameter");
                Err(Problem::internal())
            }
            Err(_) => Err(Problem::not_found()),
        }
    }
}

/// Like `axum::extract::Query`; what it cannot read is 400 `invalid_query`. The type says `deny_unknown_fields`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(value)| Self(value)).map_err(|e| {
            // axum's sentence begins with its own general one.
            let detail = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            Problem::new(400, "invalid_query", detail.chars().take(300).collect::<String>())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::{Router, routing::get};
    use http::{Request, StatusCode};
    use tower::ServiceExt as _;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: u8,
    }

    #[tokio::test]
    async fn a_bad_id_is_unknown_and_a_bad_query_is_told() {
        let router = Router::new()
            .route("/items/{id}", get(|Path(id): Path<uuid::Uuid>| async move { id.to_string() }))
            .route("/items", get(|Query(page): Query<Page>| async move { page.limit.to_string() }));
        let ask = |uri: &str| {
            let request = Request::get(uri).body(axum::body::Body::empty()).unwrap();
            let router = router.clone();
            async move {
                let response = router.oneshot(request).await.unwrap();
                let status = response.status();
                let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
                (status, String::from_utf8(body.to_vec()).unwrap())
            }
        };
        assert_eq!(ask("/items/018f4e5a-0000-7000-8000-000000000000").await.0, StatusCode::OK);
        let (status, body) = ask("/items/nonsense").await;
        assert_eq!((status, body), (StatusCode::NOT_FOUND, serde_json::to_string(&Problem::not_found()).unwrap()));
        assert_eq!(ask("/items?limit=7").await.1, "7");
        for bad in ["/items?limit=x", "/items", "/items?limit=7&more=1"] {
            let (status, body) = ask(bad).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(body.contains("invalid_query"), "{body}");
        }
    }
}
