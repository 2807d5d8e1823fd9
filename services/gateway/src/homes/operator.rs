//! Verifying residence.

use axum::{extract::State, response::Response};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use porchlight_chassis::http::{Json, Path, Query};
use porchlight_domain::{Home, HomeId, Point, gate::operators_home, view::HomeView};
use porchlight_store::Read;
use serde::Deserialize;

use super::{Homes, answer};
use crate::{
    App, Error,
    accounts::AsOperator,
    api::{self, BadQuery, Changed, Forbidden, Missing, Refused},
    precondition::Precondition,
    registry::Change,
};

/// How many homes are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// Which homes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HomesQuery {
    /// Those in this state.
    #[param(inline)]
    state: Standing,
    /// How many at most; the deployment sets the highest, 100 by default.
    #[param(required = false)]
    limit: Option<u32>,
}

/// What homes can be listed by.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// They wait to be verified.
    Pending,
}

/// Homes that wait to be verified
///
/// In no order that matters; those that are verified leave the list.
#[utoipa::path(get, path = "/v1/operator/homes", tag = "operator", operation_id = "list_pending_homes",
    security(("oidc" = [])), params(HomesQuery),
    responses((status = 200, description = "Some of them", body = Homes), BadQuery, Forbidden, Refused))]
pub(crate) async fn list(
    AsOperator(operator): AsOperator,
    State(app): State<App>,
    Query(query): Query<HomesQuery>,
) -> Result<Json<Homes>, Error> {
    let limit = api::limit(query.limit, app.max_pending_homes)?;
    let Standing::Pending = query.state;
    let registry = &*app.store.registry;
    let homes: Vec<Option<Home>> = stream::iter(registry.pending_homes(limit).await?)
        .map(|id| registry.home(id, Read::Quorum))
        .buffered(SIDE_BY_SIDE)
        .try_collect()
        .await?;
    // The list of what is pending may lag behind the rows.
    let pending = homes.into_iter().flatten().filter(|home| !home.verified);
    Ok(Homes::of(pending.filter_map(|home| operators_home(&operator, &home))))
}

/// Verifies residence
///
/// What is verified is the place at which the home stands: `If-Match` with the version that was looked at makes sure
/// that it has not moved since.
#[utoipa::path(post, path = "/v1/operator/homes/{home}/verify", tag = "operator", operation_id = "verify_home",
    security(("oidc" = [])),
    params(
        ("home" = Uuid, Path, description = "The `home` of its view"),
        ("If-Match" = Option<String>, Header, description = "The version that was looked at"),
    ),
    responses(
        (status = 200, description = "Verified", body = HomeView, headers(("ETag" = String))),
        Changed, Forbidden, Missing, Refused))]
pub(crate) async fn verify(
    AsOperator(operator): AsOperator,
    precondition: Precondition,
    State(app): State<App>,
    Path(id): Path<HomeId>,
) -> Result<Response, Error> {
    let looked_at = app.store.registry.home(id, Read::Serial).await?.ok_or(Error::NotFound)?.point;
    let now = app.clock.now();
    let updated = app
        .registrar
        .update(id, |current: Option<&Home>| {
            let home = current.ok_or(Error::NotFound)?;
            precondition.check(Some(home.version))?;
            verified(home, looked_at).map(|verified| match verified {
                Some(home) => Change::Write(Home { since: now, ..home }),
                None => Change::Keep,
            })
        })
        .await?;
    tracing::info!(operator = %operator.account, "residence was verified");
    answer(StatusCode::OK, operators_home(&operator, &updated.row))
}

/// The home, verified at the place that was looked at; `None` if it is so already.
fn verified(home: &Home, looked_at: Point) -> Result<Option<Home>, Error> {
    if home.point != looked_at {
        return Err(Error::VersionConflict);
    }
    Ok((!home.verified).then(|| Home { verified: true, ..home.clone() }))
}
