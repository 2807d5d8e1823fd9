//! Homes: where a household lives. Pending until an operator verifies residence; a home that moves is pending again.

pub mod operator;
pub mod own;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use porchlight_chassis::http::Json;
use porchlight_domain::{Cleared, view::HomeView};
use serde::Serialize;

use crate::{Error, precondition::ETag};

/// The longest name of a home or device, in characters.
pub(crate) const MAX_NAME: usize = 64;

/// Homes.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Homes {
    #[schema(value_type = Vec<HomeView>)]
    items: Vec<Cleared<HomeView>>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}

impl Homes {
    fn of(items: impl IntoIterator<Item = Cleared<HomeView>>) -> Json<Self> {
        Json(Self { items: items.into_iter().collect(), next_cursor: None })
    }
}

/// A home as the answer, with its version as entity tag.
fn answer(status: StatusCode, view: Option<Cleared<HomeView>>) -> Result<Response, Error> {
    let view = view.ok_or(Error::NotFound)?;
    Ok((status, ETag(view.version()), Json(view)).into_response())
}
