//! Problem details (RFC 9457): the one form of every refusal.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};

/// RFC 9457 problem details: `{"type","title","status","code","detail","pointer"?}` as `application/problem+json`.
/// `code` is stable; `detail` is for people; nothing in it tells of things the caller may not see.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code, snake_case.
    pub code: &'static str,
    /// For people: what is wrong and what to do.
    pub detail: String,
    /// JSON pointer (RFC 6901) to the field.
    pub pointer: Option<String>,
    /// Seconds, sent as `Retry-After`.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with a status, code and sentence.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), pointer: None, retry_after_s: None }
    }

    /// At this field.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// Come again then.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The one 404: for what does not exist and for what the caller may not see, the same bytes.
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "there is nothing here for you to see")
    }

    /// The one 500: what went wrong is for the log, not for the caller.
    pub fn internal() -> Self {
        Self::new(500, "internal", "something broke on our side; it is logged")
    }

    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The body. `type` is `about:blank`, for which `title` is the status' own phrase (RFC 9457, 4.2.1): what a client
/// branches on is `code`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
struct Body<'a> {
    /// Always `about:blank`.
    r#type: &'a str,
    /// The status' phrase.
    title: &'a str,
    /// HTTP status.
    status: u16,
    /// Stable code, snake_case: what a client branches on.
    code: &'a str,
    /// For people: what is wrong and what to do.
    detail: &'a str,
    /// JSON pointer (RFC 6901) to the field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Body {
            r#type: "about:blank",
            title: self.status_code().canonical_reason().unwrap_or("Unknown"),
            status: self.status,
            code: self.code,
            detail: &self.detail,
            pointer: self.pointer.as_deref(),
        }
        .serialize(s)
    }
}

impl utoipa::PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        <Body<'static> as utoipa::PartialSchema>::schema()
    }
}
impl utoipa::ToSchema for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status_code(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // A 404 may be cached by default (RFC 9110, 15.1), and who may see a thing changes.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn bytes(problem: Problem) -> String {
        let body = axum::body::to_bytes(problem.into_response().into_body(), 4096).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_ours() {
        let problem = Problem::new(422, "zone_invalid", "no").at("/zone");
        assert_eq!(
            bytes(problem).await,
            r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"zone_invalid","detail":"no","pointer":"/zone"}"#
        );
        let response = Problem::new(503, "away", "later").retry_after(2).into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(Problem::new(401, "x", "y").into_response().headers()[header::WWW_AUTHENTICATE], "Bearer");
    }

    /// Pinned: a stranger's id and an unknown id answer with these very bytes.
    #[tokio::test]
    async fn g1_the_one_404_is_pinned() {
        assert_eq!(
            bytes(Problem::not_found()).await,
            r#"{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","detail":"there is nothing here for you to see"}"#
        );
    }
}
