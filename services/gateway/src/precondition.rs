//! Conditional requests (RFC 9110, section 13) on rows with versions: the entity tag is the version in quotes.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use porchlight_domain::Version;

use crate::Error;

/// The `ETag` of a row.
#[derive(Clone, Copy, Debug)]
pub struct ETag(pub Version);

impl IntoResponseParts for ETag {
    type Error = Infallible;
    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        // Digits in quotes are always a header's value.
        if let Ok(value) = HeaderValue::try_from(format!("\"{}\"", self.0.0)) {
            response.headers_mut().insert(header::ETAG, value);
        }
        Ok(response)
    }
}

impl IntoResponse for ETag {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// `If-Match` and `If-None-Match` of a request that changes something.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Precondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Those that can be ours; others match nothing, and so do weak ones.
    These(Vec<Version>),
}

impl Tags {
    fn read(headers: &HeaderMap, name: header::HeaderName) -> Option<Self> {
        let mut given = headers.get_all(name).iter().peekable();
        given.peek()?;
        let mut versions = Vec::new();
        for tag in given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim) {
            if tag == "*" {
                return Some(Self::Any);
            }
            let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            versions.extend(digits.and_then(|digits| digits.parse().ok()).map(Version));
        }
        Some(Self::These(versions))
    }

    fn matches(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(versions), Some(current)) => versions.contains(&current),
        }
    }
}

impl Precondition {
    fn read(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::read(headers, header::IF_MATCH),
            if_none_match: Tags::read(headers, header::IF_NONE_MATCH),
        }
    }

    /// Whether it may go on, the thing being at this version (`None`: there is none).
    ///
    /// # Errors
    /// [`Error::VersionConflict`].
    pub fn check(&self, current: Option<Version>) -> Result<(), Error> {
        let expected = self.if_match.as_ref().is_none_or(|tags| tags.matches(current));
        let unexpected = self.if_none_match.as_ref().is_some_and(|tags| tags.matches(current));
        if expected && !unexpected { Ok(()) } else { Err(Error::VersionConflict) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holds(headers: &[(header::HeaderName, &str)], current: Option<u64>) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Precondition::read(&headers).check(current.map(Version)).is_ok()
    }

    #[test]
    fn without_a_precondition_everything_goes_on() {
        assert!(holds(&[], None) && holds(&[], Some(3)));
    }

    #[test]
    fn if_match_wants_one_of_its_tags() {
        for (value, none, third, fourth) in [
            ("\"3\"", false, true, false),
            ("\"2\", \"3\"", false, true, false),
            ("*", false, true, true),
            ("W/\"3\"", false, false, false),
            ("3", false, false, false),
            ("\"x\"", false, false, false),
            ("", false, false, false),
        ] {
            let with = |current| holds(&[(header::IF_MATCH, value)], current);
            assert_eq!((with(None), with(Some(3)), with(Some(4))), (none, third, fourth), "{value}");
        }
    }

    #[test]
    fn if_none_match_wants_none_of_its_tags() {
        for (value, none, third, fourth) in
            [("*", true, false, false), ("\"3\"", true, false, true), ("\"x\"", true, true, true)]
        {
            let with = |current| holds(&[(header::IF_NONE_MATCH, value)], current);
            assert_eq!((with(None), with(Some(3)), with(Some(4))), (none, third, fourth), "{value}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        assert!(holds(&[(header::IF_MATCH, "\"1\""), (header::IF_MATCH, "\"3\"")], Some(3)));
    }
}
