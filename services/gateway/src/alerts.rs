//! "Why did I (not) get this?"

use axum::extract::State;
use porchlight_chassis::http::{Json, Path};
use porchlight_domain::{AlertId, EndpointId, Timestamp, view::Scope};
use porchlight_store::{Delivery, DeliveryOutcome};
use serde::Serialize;

use crate::{
    App, Error,
    accounts::Caller,
    api::{Missing, Refused},
};

/// One push to the caller, and what became of it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Why {
    /// Of the alert, as the caller counts them.
    revision: u32,
    /// Where it was to go; null if there was no endpoint.
    endpoint: Option<EndpointId>,
    /// `handed_over`, `not_allowed`, `expired`, `endpoint_gone`, `refused` or `no_endpoint`.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// As what the caller was (not) told.
    r#as: Scope,
    /// When that was decided.
    at: Timestamp,
}

impl From<&Delivery> for Why {
    fn from(delivery: &Delivery) -> Self {
        Self {
            revision: delivery.revision,
            endpoint: (delivery.outcome != DeliveryOutcome::NoEndpoint).then_some(delivery.endpoint),
            outcome: delivery.outcome.as_str(),
            r#as: if delivery.as_neighbor { Scope::Neighborhood } else { Scope::Household },
            at: delivery.at,
        }
    }
}

/// Why the caller was (not) told of an alert
///
/// One entry for each push that was planned for the caller, oldest first. Whoever nothing was planned for learns no more
/// than of an alert that does not exist.
#[utoipa::path(get, path = "/v1/alerts/{id}/why", tag = "push", operation_id = "why", security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The alert")),
    responses((status = 200, description = "The caller's own pushes", body = Vec<Why>), Missing, Refused))]
pub(crate) async fn why(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<AlertId>,
) -> Result<Json<Vec<Why>>, Error> {
    let mut deliveries = app.store.deliveries.of_alert_to(id, caller.resident.id).await?;
    // The adapter gives no other's; what is another's would be a breach, so it is asked here as well.
    deliveries.retain(|delivery| delivery.resident == caller.resident.id);
    if deliveries.is_empty() {
        return Err(Error::NotFound);
    }
    deliveries.sort_by_key(|delivery| (delivery.at, delivery.revision, delivery.push));
    Ok(Json(deliveries.iter().map(Why::from).collect()))
}
