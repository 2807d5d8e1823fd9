//! A household's own homes.

use axum::{extract::State, response::Response};
use http::StatusCode;
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_domain::{
    ChosenId, Device, Home, HomeId, HouseholdId, Point, Timestamp, Version, device::MAX_DISTANCE_FROM_HOME_M,
    gate::own_home, place::Degrees, view::HomeView,
};
use porchlight_store::Read;
use serde::Deserialize;

use super::{Homes, MAX_NAME, answer};
use crate::{
    App, Error,
    accounts::Caller,
    api::{BadBody, Changed, Missing, Refused},
    checks,
    owned::{claim, known, living},
    precondition::Precondition,
    registry::Change,
};

/// A home as its household writes it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Park Street", "position": {"lon": -71.0662, "lat": 42.4251}}))]
pub struct HomeBody {
    /// What the household calls it, 1 to 64 characters.
    name: String,
    /// Where it is. Another position makes the home pending again.
    position: Degrees,
}

/// The household's homes
#[utoipa::path(get, path = "/v1/homes", tag = "homes", operation_id = "list_homes", security(("oidc" = [])),
    responses((status = 200, description = "All of them", body = Homes), Refused))]
pub(crate) async fn list(caller: Caller, State(app): State<App>) -> Result<Json<Homes>, Error> {
    let registry = &*app.store.registry;
    let mut homes: Vec<Home> = living(registry, caller.resident.household).await?;
    homes.sort_by_key(|home| home.chosen);
    Ok(Homes::of(homes.iter().filter_map(|home| own_home(&caller.owner(), home))))
}

/// One home
#[utoipa::path(get, path = "/v1/homes/{id}", tag = "homes", operation_id = "get_home", security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The id that the household chose")),
    responses((status = 200, description = "The home", body = HomeView, headers(("ETag" = String))), Missing, Refused))]
pub(crate) async fn get(caller: Caller, State(app): State<App>, Path(id): Path<ChosenId>) -> Result<Response, Error> {
    let home = app.store.registry.home(HomeId::scoped(caller.resident.household, id), Read::Quorum).await?;
    answer(StatusCode::OK, home.and_then(|home| own_home(&caller.owner(), &home)))
}

/// Makes a home, or changes it
///
/// A new home is pending until an operator has verified residence: a pending home sees and gets nothing of a
/// neighborhood. So is one that has moved.
#[utoipa::path(put, path = "/v1/homes/{id}", tag = "homes", operation_id = "put_home", security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "An id of the household's choice"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
    ),
    request_body = HomeBody,
    responses(
        (status = 200, description = "Changed", body = HomeView, headers(("ETag" = String))),
        (status = 201, description = "Made", body = HomeView, headers(("ETag" = String))),
        (status = 409, description = "`home_has_devices`: they would stand too far from it",
            body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`name_invalid`, `position_out_of_range`, `too_many_homes`",
            body = Problem, content_type = "application/problem+json"),
        BadBody, Changed, Refused))]
pub(crate) async fn put(
    caller: Caller,
    precondition: Precondition,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
    Json(body): Json<HomeBody>,
) -> Result<Response, Error> {
    let name = checks::name(&body.name, MAX_NAME, "/name")?;
    let point = checks::position(body.position)?;
    let household = caller.resident.household;
    let id = HomeId::scoped(household, chosen);
    let registry = &*app.store.registry;
    let devices = if known::<Home>(registry, household, id).await? {
        devices_at(&app, household, id).await?
    } else {
        precondition.check(None)?;
        claim::<Home>(registry, household, id).await?;
        Vec::new()
    };
    let now = app.clock.now();
    let updated = app
        .registrar
        .update(id, |current| {
            precondition.check(current.map(|home: &Home| home.version))?;
            match current {
                None => Ok(Change::Write(moved_in(id, chosen, household, &name, point, now))),
                Some(home) => rewritten(home, &name, point, &devices, now),
            }
        })
        .await?;
    let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(status, own_home(&caller.owner(), &updated.row))
}

/// Moves out
#[utoipa::path(delete, path = "/v1/homes/{id}", tag = "homes", operation_id = "delete_home", security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "The id that the household chose"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 409, description = "`home_has_devices`", body = Problem, content_type = "application/problem+json"),
        Changed, Missing, Refused))]
pub(crate) async fn delete(
    caller: Caller,
    precondition: Precondition,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
) -> Result<StatusCode, Error> {
    let household = caller.resident.household;
    let id = HomeId::scoped(household, chosen);
    let devices = devices_at(&app, household, id).await?;
    let now = app.clock.now();
    app.registrar
        .update(id, |current: Option<&Home>| {
            let home = current.ok_or(Error::NotFound)?;
            precondition.check(Some(home.version))?;
            if !devices.is_empty() {
                return Err(has_devices());
            }
            // The point stays: by it the copy by place is found and removed, whoever finishes the write.
            let gone = Home { name: String::new(), verified: false, deleted: true, since: now, ..home.clone() };
            Ok(Change::Write(gone))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn devices_at(app: &App, household: HouseholdId, id: HomeId) -> Result<Vec<Device>, Error> {
    let mut devices: Vec<Device> = living(&*app.store.registry, household).await?;
    devices.retain(|device| device.home == id);
    Ok(devices)
}

fn has_devices() -> Error {
    Error::conflict("home_has_devices", "move or delete the devices of this home first")
}

fn moved_in(id: HomeId, chosen: ChosenId, household: HouseholdId, name: &str, point: Point, now: Timestamp) -> Home {
    Home {
        id,
        chosen,
        household,
        name: name.to_owned(),
        point,
        verified: false,
        deleted: false,
        since: now,
        version: Version::default(),
    }
}

fn rewritten(home: &Home, name: &str, point: Point, devices: &[Device], now: Timestamp) -> Result<Change<Home>, Error> {
    if home.point == point {
        let same = home.name == name;
        return Ok(if same { Change::Keep } else { Change::Write(Home { name: name.to_owned(), ..home.clone() }) });
    }
    // A device may not stay behind: from there its household would go on speaking to a neighborhood it has left.
    if devices.iter().any(|device| device.point.distance_m(point) > MAX_DISTANCE_FROM_HOME_M) {
        return Err(has_devices());
    }
    Ok(Change::Write(Home { name: name.to_owned(), point, verified: false, since: now, ..home.clone() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    fn at(lon_e7: i32) -> Point {
        Point { lon_e7, lat_e7: 424_251_000 }
    }

    fn verified_home() -> Home {
        let (id, chosen, household) = (HomeId(Uuid::nil()), ChosenId(Uuid::nil()), HouseholdId(Uuid::nil()));
        Home { verified: true, ..moved_in(id, chosen, household, "Park Street", at(0), Timestamp(1)) }
    }

    #[test]
    fn g1_a_home_that_moves_is_pending_again_and_one_that_is_renamed_is_not() {
        let home = verified_home();
        let Change::Write(renamed) = rewritten(&home, "Home", at(0), &[], Timestamp(9)).unwrap() else { panic!() };
        assert_eq!((renamed.verified, renamed.since), (true, Timestamp(1)));
        let Change::Write(moved) = rewritten(&home, "Park Street", at(1), &[], Timestamp(9)).unwrap() else { panic!() };
        assert_eq!((moved.verified, moved.since), (false, Timestamp(9)), "by a centimetre already");
        assert!(matches!(rewritten(&home, "Park Street", at(0), &[], Timestamp(9)), Ok(Change::Keep)));
    }
}
