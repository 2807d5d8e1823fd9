//! Every operation in one place, and what the document says of all of them alike.

use std::collections::BTreeMap;

use porchlight_chassis::http::Problem;
use utoipa::{
    IntoResponses, Modify, OpenApi, PartialSchema as _,
    openapi::{
        ContentBuilder, OpenApi as Document, RefOr, Response, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, Error, accounts, alerts, devices, endpoints, feed, homes, items, media, neighborhoods, stream};

/// The largest page.
pub(crate) const MAX_PAGE: usize = 100;
/// The page that is given if none is asked for.
pub(crate) const DEFAULT_PAGE: usize = 50;

/// Every route.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(accounts::me))
        .routes(routes!(homes::own::list))
        .routes(routes!(homes::own::get, homes::own::put, homes::own::delete))
        .routes(routes!(homes::operator::list))
        .routes(routes!(homes::operator::verify))
        .routes(routes!(devices::list))
        .routes(routes!(devices::get, devices::put, devices::delete))
        .routes(routes!(devices::credentials::issue, devices::credentials::revoke))
        .routes(routes!(endpoints::list))
        .routes(routes!(endpoints::put, endpoints::delete))
        .routes(routes!(endpoints::vapid_key))
        .routes(routes!(feed::read))
        .routes(routes!(stream::open))
        .routes(routes!(items::get))
        .routes(routes!(media::get))
        .routes(routes!(alerts::why))
        .routes(routes!(neighborhoods::list))
        .routes(routes!(neighborhoods::get, neighborhoods::put, neighborhoods::delete))
        .routes(routes!(neighborhoods::at_version))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Porchlight gateway",
        description = "What people and operators talk to. JSON in and out; every refusal is a problem (RFC 9457) with a \
            stable `code`. Unknown fields are refused. What does not exist and what the caller may not see answer alike."
    ),
    tags(
        (name = "account", description = "The caller's account"),
        (name = "homes", description = "Where the caller's household lives"),
        (name = "devices", description = "The household's cameras and doorbells"),
        (name = "push", description = "Where the caller's pushes go, and what became of them"),
        (name = "feed", description = "What happened at home and, where neighbors share it, around it"),
        (name = "operator", description = "For operators of the deployment"),
    ),
    modifiers(&Security)
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An access token of the configured OpenID Connect issuer"))
            .build();
        document.components.get_or_insert_default().add_security_scheme("oidc", SecurityScheme::Http(bearer));
    }
}

/// The query of a page.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many, 1 to 100; 50 if absent.
    #[param(minimum = 1, maximum = 100, required = false)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before. Opaque.
    #[param(required = false)]
    pub(crate) cursor: Option<String>,
}

impl PageQuery {
    /// How many are asked for.
    ///
    /// # Errors
    /// 400 `limit_invalid`.
    pub(crate) fn limit(&self) -> Result<usize, Error> {
        limit(self.limit, MAX_PAGE)
    }
}

/// How many are asked for, at most `max`.
///
/// # Errors
/// 400 `limit_invalid`.
pub(crate) fn limit(asked: Option<u32>, max: usize) -> Result<usize, Error> {
    let asked = asked.map_or(DEFAULT_PAGE.min(max), |asked| usize::try_from(asked).unwrap_or(usize::MAX));
    if (1..=max).contains(&asked) {
        Ok(asked)
    } else {
        Err(Error::bad_request("limit_invalid", format!("limit is from 1 to {max}")))
    }
}

/// A cursor that was not ours.
pub(crate) fn cursor_invalid() -> Error {
    Error::bad_request("cursor_invalid", "cursor is the next_cursor of a page, as it was given")
}

fn problem(description: &str) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Problem::schema())).build();
    RefOr::T(ResponseBuilder::new().description(description).content("application/problem+json", content).build())
}

/// Documents refusals that many operations share.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($status:literal: $description:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status.to_owned(), problem($description))),+].into()
            }
        }
    )+};
}

refusals! {
    /// By every operation.
    Refused {
        "401": "`token_invalid`: no token, or one that does not hold",
        "500": "`internal`",
        "503": "`store_unavailable`, `issuer_unavailable`, `neighborhoods_catching_up`, `timeout`: see Retry-After",
    }
    /// By those that name one thing.
    Missing { "404": "`not_found`: it does not exist, or it is not yours to see" }
    /// By those that are for operators.
    Forbidden { "403": "`operator_only`" }
    /// By those that read a query.
    BadQuery { "400": "`invalid_query`, `limit_invalid`, `cursor_invalid`" }
    /// By those that change something conditionally.
    Changed { "412": "`version_conflict`: If-Match or If-None-Match does not hold" }
    /// By those that read a body.
    BadBody {
        "400": "`malformed_json`, `unknown_field`, `invalid_field`, `malformed_encoding`, `body_incomplete`",
        "413": "`body_too_large`",
        "415": "`unsupported_media_type`, `unsupported_encoding`",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limit(None, 100).unwrap(), 50);
        assert_eq!(limit(None, 10).unwrap(), 10);
        assert_eq!(limit(Some(100), 100).unwrap(), 100);
        assert!(limit(Some(0), 100).is_err() && limit(Some(101), 100).is_err() && limit(Some(u32::MAX), 100).is_err());
    }

    #[test]
    fn every_operation_has_a_tag_a_summary_and_wants_a_token() {
        let (_, document) = routes().split_for_parts();
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(json["openapi"], "3.1.0");
        for (path, operations) in json["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let complete = operation["tags"][0].is_string()
                    && operation["summary"].is_string()
                    && operation["security"][0]["oidc"].is_array()
                    && operation["responses"]["401"].is_object();
                assert!(complete, "{method} {path}: {operation}");
                let operator = operation["tags"][0] == "operator";
                assert_eq!(operation["responses"]["403"].is_object(), operator, "{method} {path}");
                assert!(!path.contains('{') || operation["responses"]["404"].is_object() || method == "put", "{path}");
            }
        }
    }
}
