//! Helps tests of services: does the OpenAPI document say what the router does?

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{Method, StatusCode};
use tower::ServiceExt as _;
use utoipa::openapi::{OpenApi, PathItem};

/// Stands for any parameter of a path.
const ANY_ID: &str = "00000000-0000-7000-8000-000000000000";

/// Asks `router` (as it is before the [`crate::http::shell`]) for every method of every path of the document, without
/// calling a handler: what is documented must be routed, and another method of a documented path must be 405.
///
/// # Errors
/// Each difference, a sentence.
pub async fn openapi_matches(router: Router, openapi: &OpenApi) -> Result<(), Vec<String>> {
    #[derive(Clone)]
    struct Routed;
    async fn instead_of_the_handler(_: Request, _: Next) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.extensions_mut().insert(Routed);
        response
    }
    // The fallback comes after the layer, so that it alone is not covered by it.
    let router = router
        .route_layer(middleware::from_fn(instead_of_the_handler))
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED });

    let mut differences = Vec::new();
    if openapi.paths.paths.is_empty() {
        differences.push("the document has no path".to_owned());
    }
    for (path, item) in &openapi.paths.paths {
        for (method, documented) in operations(item) {
            let mut request = Request::new(axum::body::Body::empty());
            *request.method_mut() = method.clone();
            match filled(path).parse() {
                Ok(uri) => *request.uri_mut() = uri,
                Err(e) => differences.push(format!("{path} is no path: {e}")),
            }
            let response = match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let routed = response.extensions().get::<Routed>().is_some();
            // axum answers HEAD wherever it answers GET.
            let expected = documented || (method == Method::HEAD && item.get.is_some());
            match (expected, routed) {
                (true, true) => {}
                (true, false) => {
                    differences.push(format!("{method} {path} is documented and answers {}", response.status()))
                }
                (false, true) => differences.push(format!("{method} {path} is routed and not documented")),
                (false, false) if response.status() == StatusCode::METHOD_NOT_ALLOWED => {}
                (false, false) => differences.push(format!("{method} {path} answers {}, not 405", response.status())),
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn operations(item: &PathItem) -> [(Method, bool); 7] {
    [
        (Method::GET, item.get.is_some()),
        (Method::HEAD, item.head.is_some()),
        (Method::POST, item.post.is_some()),
        (Method::PUT, item.put.is_some()),
        (Method::PATCH, item.patch.is_some()),
        (Method::DELETE, item.delete.is_some()),
        (Method::OPTIONS, item.options.is_some()),
    ]
}

fn filled(template: &str) -> String {
    let segments = template.split('/').map(|segment| if segment.starts_with('{') { ANY_ID } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::routing::{get, post};
    use utoipa::openapi::{HttpMethod, OpenApiBuilder, PathItem, PathsBuilder, path::Operation};

    fn document(operations: &[(&str, HttpMethod)]) -> OpenApi {
        let mut paths = PathsBuilder::new();
        for (path, method) in operations {
            paths = paths.path(*path, PathItem::new(method.clone(), Operation::new()));
        }
        OpenApiBuilder::new().paths(paths.build()).build()
    }

    #[tokio::test]
    async fn differences_are_found_on_both_sides_and_no_handler_is_called() {
        async fn handler() {
            panic!("called")
        }
        let router = || Router::new().route("/events", post(handler)).route("/items/{id}", get(handler));
        let right = document(&[("/events", HttpMethod::Post), ("/items/{id}", HttpMethod::Get)]);
        assert_eq!(openapi_matches(router(), &right).await, Ok(()));
        let wrong = document(&[("/events", HttpMethod::Put), ("/homes/{id}", HttpMethod::Get)]);
        let differences = openapi_matches(router(), &wrong).await.unwrap_err();
        assert!(differences.contains(&"PUT /events is documented and answers 405 Method Not Allowed".to_owned()));
        assert!(differences.contains(&"POST /events is routed and not documented".to_owned()));
        assert!(differences.contains(&"GET /homes/{id} is documented and answers 404 Not Found".to_owned()));
    }
}
