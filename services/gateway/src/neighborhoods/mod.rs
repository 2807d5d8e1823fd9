//! Neighborhoods: polygons with names, written by operators, kept at every version.

mod body;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use porchlight_chassis::http::{Body, Json, Path, Problem, Query};
use porchlight_domain::{NeighborhoodId, NeighborhoodRef, Version};
use porchlight_geofence::geojson::{self, Finding};
use porchlight_store::Read;
use porchlight_wire::NeighborhoodRecord;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    App, Error,
    accounts::AsOperator,
    api::{BadBody, BadQuery, Changed, Forbidden, Missing, PageQuery, Refused, cursor_invalid},
    precondition::{ETag, Precondition},
    registry::Change,
};
use body::{Drawn, Refusal};

/// How many rows are read side by side for a list: each may hold a megabyte.
const SIDE_BY_SIDE: usize = 4;

/// A neighborhood in a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NeighborhoodSummary {
    id: NeighborhoodId,
    name: String,
    version: Version,
}

/// A page of neighborhoods.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NeighborhoodPage {
    items: Vec<NeighborhoodSummary>,
    /// For the page after this one; null at the end.
    next_cursor: Option<String>,
}

/// A neighborhood at one version.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Neighborhood {
    id: NeighborhoodId,
    name: String,
    version: Version,
    /// A GeoJSON MultiPolygon, as snapped to 1e-7 degree: what is shown is what is matched.
    #[schema(value_type = Object)]
    geometry: serde_json::Value,
    /// What was changed or left out when it was read.
    notices: Vec<FindingView>,
}

/// Something that was found in a GeoJSON document.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FindingView {
    /// Stable code.
    #[schema(value_type = String)]
    code: &'static str,
    /// JSON pointer (RFC 6901) into the document.
    pointer: String,
    /// One sentence.
    message: String,
    /// Longitude and latitude, if it has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<[f64; 2]>,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { code, pointer, message, at } = finding;
        Self { code, pointer, message, at: at.map(|(lon, lat)| [lon, lat]) }
    }
}

/// How a neighborhood is to be read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PutQuery {
    /// What people call it, 1 to 128 characters; else `properties.name` of the Feature.
    #[param(required = false)]
    name: Option<String>,
    /// Accept rings that cross themselves or each other, by even-odd.
    #[param(required = false, inline)]
    repair: Option<Repair>,
}

/// What may be repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, utoipa::ToSchema)]
pub(crate) enum Repair {
    /// Crossing rings, by even-odd.
    #[serde(rename = "even-odd")]
    EvenOdd,
}

/// The neighborhoods
#[utoipa::path(get, path = "/v1/neighborhoods", tag = "operator", operation_id = "list_neighborhoods",
    security(("oidc" = [])), params(PageQuery),
    responses((status = 200, description = "A page, in no order that matters", body = NeighborhoodPage),
        BadQuery, Forbidden, Refused))]
pub(crate) async fn list(
    _operator: AsOperator,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<NeighborhoodPage>, Error> {
    let limit = query.limit()?;
    let mut after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let registry = &*app.store.registry;
    let mut items = Vec::new();
    // Ids of deleted ones are among them: a page is filled all the same.
    loop {
        let ids = registry.neighborhood_ids(after, limit).await?;
        let ended = ids.len() < limit;
        let rows: Vec<Option<NeighborhoodRecord>> = stream::iter(ids.clone())
            .map(|id| registry.neighborhood(id, Read::Quorum))
            .buffered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        for (id, row) in ids.into_iter().zip(rows) {
            if items.len() == limit {
                return Ok(Json(NeighborhoodPage { items, next_cursor: after.map(write_cursor) }));
            }
            after = Some(id);
            items.extend(row.filter(|row| !row.deleted).map(|row| NeighborhoodSummary {
                id: row.id,
                name: row.name,
                version: row.version,
            }));
        }
        if ended {
            return Ok(Json(NeighborhoodPage { items, next_cursor: None }));
        }
    }
}

/// One neighborhood
#[utoipa::path(get, path = "/v1/neighborhoods/{id}", tag = "operator", operation_id = "get_neighborhood",
    security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The neighborhood")),
    responses((status = 200, description = "As it is now", body = Neighborhood, headers(("ETag" = String))),
        Forbidden, Missing, Refused))]
pub(crate) async fn get(
    _operator: AsOperator,
    State(app): State<App>,
    Path(id): Path<NeighborhoodId>,
) -> Result<Response, Error> {
    let row = app.store.registry.neighborhood(id, Read::Quorum).await?;
    answer(StatusCode::OK, row.filter(|row| !row.deleted), Vec::new())
}

/// One neighborhood at an earlier version
#[utoipa::path(get, path = "/v1/neighborhoods/{id}/versions/{version}", tag = "operator",
    operation_id = "get_neighborhood_version", security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "The neighborhood"),
        ("version" = u64, Path, description = "The version"),
    ),
    responses((status = 200, description = "As it was", body = Neighborhood, headers(("ETag" = String))),
        Forbidden, Missing, Refused))]
pub(crate) async fn at_version(
    _operator: AsOperator,
    State(app): State<App>,
    Path((id, version)): Path<(NeighborhoodId, u64)>,
) -> Result<Response, Error> {
    let row = app.store.registry.neighborhood_at(NeighborhoodRef { id, version: Version(version) }).await?;
    answer(StatusCode::OK, row.filter(|row| !row.deleted), Vec::new())
}

/// Draws a neighborhood, or redraws it
///
/// Events that are on their way are judged by the version that matched them and by the one that is current when somebody
/// reads: a home must lie in both.
#[utoipa::path(put, path = "/v1/neighborhoods/{id}", tag = "operator", operation_id = "put_neighborhood",
    security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "An id of the operator's choice, unique in the deployment"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
        PutQuery,
    ),
    request_body(content = Object, content_type = "application/geo+json",
        description = "A GeoJSON Feature, Polygon or MultiPolygon (RFC 7946)",
        example = json!({"type": "Feature", "properties": {"name": "Park Street"}, "geometry": {"type": "Polygon",
            "coordinates": [[[-71.07, 42.42], [-71.06, 42.42], [-71.06, 42.43], [-71.07, 42.43], [-71.07, 42.42]]]}})),
    responses(
        (status = 200, description = "Redrawn", body = Neighborhood, headers(("ETag" = String))),
        (status = 201, description = "Drawn", body = Neighborhood, headers(("ETag" = String))),
        (status = 422, description = "`name_invalid`, `one_feature_expected`, `too_many_vertices`, or the code of the \
            first of `findings`, which the problem holds as an extension",
            body = Problem, content_type = "application/problem+json"),
        BadBody, Changed, Forbidden, Refused))]
pub(crate) async fn put(
    _operator: AsOperator,
    precondition: Precondition,
    State(app): State<App>,
    Path(id): Path<NeighborhoodId>,
    Query(query): Query<PutQuery>,
    headers: HeaderMap,
    Body(document): Body,
) -> Result<Response, Refusal> {
    // Sixty thousand vertices keep a processor busy for a while: others' requests are not to wait behind them.
    let read = move || Drawn::read(&headers, &document, query.name.as_deref(), query.repair == Some(Repair::EvenOdd));
    let drawn = tokio::task::spawn_blocking(read).await.map_err(|e| {
        tracing::error!(%e, "a neighborhood could not be read");
        Problem::internal()
    })??;
    let updated = app
        .registrar
        .update(id, |current: Option<&NeighborhoodRecord>| {
            precondition.check(current.map(|row| row.version))?;
            Ok(match current {
                Some(row) if row.name == drawn.name && row.parts == drawn.parts => Change::Keep,
                Some(_) | None => Change::Write(drawn.record(id)),
            })
        })
        .await?;
    let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(status, Some(updated.row), drawn.notices)?)
}

/// Removes a neighborhood
///
/// From then on nobody lives in it. Its versions stay readable.
#[utoipa::path(delete, path = "/v1/neighborhoods/{id}", tag = "operator", operation_id = "delete_neighborhood",
    security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "The neighborhood"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
    ),
    responses((status = 204, description = "Gone"), Changed, Forbidden, Missing, Refused))]
pub(crate) async fn delete(
    _operator: AsOperator,
    precondition: Precondition,
    State(app): State<App>,
    Path(id): Path<NeighborhoodId>,
) -> Result<StatusCode, Error> {
    app.registrar
        .update(id, |current: Option<&NeighborhoodRecord>| {
            let row = current.ok_or(Error::NotFound)?;
            precondition.check(Some(row.version))?;
            Ok(Change::Write(NeighborhoodRecord { parts: Vec::new(), deleted: true, ..row.clone() }))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(status: StatusCode, row: Option<NeighborhoodRecord>, notices: Vec<Finding>) -> Result<Response, Error> {
    let row = row.ok_or(Error::NotFound)?;
    let neighborhood = Neighborhood {
        geometry: geojson::write(&body::geometry(&row.parts)),
        id: row.id,
        name: row.name,
        version: row.version,
        notices: notices.into_iter().map(FindingView::from).collect(),
    };
    Ok((status, ETag(neighborhood.version), Json(neighborhood)).into_response())
}

fn write_cursor(after: NeighborhoodId) -> String {
    URL_SAFE_NO_PAD.encode(after.0.as_bytes())
}

fn read_cursor(cursor: &str) -> Result<NeighborhoodId, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| cursor_invalid())?;
    Uuid::from_slice(&bytes).map(NeighborhoodId).map_err(|_| cursor_invalid())
}
