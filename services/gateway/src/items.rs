//! One item.

use axum::extract::State;
use porchlight_chassis::http::{Json, Path};
use porchlight_domain::{Cleared, ItemId, view::ItemView};

use crate::{
    App, Error,
    accounts::Caller,
    api::{Missing, Refused},
};

/// One item
///
/// What is seen depends on who asks: the household sees everything, a neighbor what is shared and a coarse place.
#[utoipa::path(get, path = "/v1/items/{id}", tag = "feed", operation_id = "get_item", security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The item")),
    responses((status = 200, description = "The item", body = ItemView), Missing, Refused))]
pub(crate) async fn get(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<ItemId>,
) -> Result<Json<Cleared<ItemView>>, Error> {
    let viewer = caller.viewer(&*app.store.registry).await?;
    let item = app.store.timeline.item(id).await?;
    app.guard.show(&viewer, item.as_ref()).await?.map(Json).ok_or(Error::NotFound)
}
