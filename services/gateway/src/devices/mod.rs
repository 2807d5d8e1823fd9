//! Devices: registered near a home of their household, shared by its policy, known by a credential.

pub mod credentials;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use porchlight_chassis::http::{Json, Path, Problem};
use porchlight_domain::{
    ChosenId, Cleared, Device, DeviceId, Home, HomeId, HouseholdId, Labels, Plan, Point, SharingPolicy, Timestamp,
    Version, device::MAX_DISTANCE_FROM_HOME_M, gate::own_device, place::Degrees, view::DeviceView,
};
use porchlight_store::Read;
use serde::{Deserialize, Serialize};

use crate::{
    App, Error,
    accounts::Caller,
    api::{BadBody, Changed, Missing, Refused},
    checks,
    homes::MAX_NAME,
    owned::{claim, known, living},
    precondition::{ETag, Precondition},
    registry::Change,
};

/// A device as its household writes it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Front door",
    "home": "018f4e5a-0000-7000-8000-000000000000",
    "position": {"lon": -71.0662, "lat": 42.4251},
    "neighborhood_labels": ["person"],
    "neighborhood_media": true,
    "retention_days": 30
}))]
pub struct DeviceBody {
    /// What the household calls it, 1 to 64 characters.
    name: String,
    /// The chosen id of the home that it belongs to.
    home: ChosenId,
    /// Where it stands, within 150 m of that home.
    position: Degrees,
    /// Neighbors hear of events with one of these labels. Empty, the default: the household alone. Needs a home that is
    /// verified.
    #[serde(default)]
    neighborhood_labels: Labels,
    /// Whether neighbors also see the clips and thumbnails of the events that they hear of. Nothing by itself: what is
    /// not heard of is not seen.
    #[serde(default)]
    neighborhood_media: bool,
    /// Days until everything of an event ends, 1 to 400.
    #[serde(default = "default_retention")]
    #[schema(minimum = 1, maximum = 400, default = 30)]
    retention_days: u16,
    /// Whether clips are stored.
    #[serde(default)]
    clips: bool,
}

fn default_retention() -> u16 {
    Plan::default().retention_days
}

/// Devices.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Devices {
    #[schema(value_type = Vec<DeviceView>)]
    items: Vec<Cleared<DeviceView>>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}

/// The household's devices
#[utoipa::path(get, path = "/v1/devices", tag = "devices", operation_id = "list_devices", security(("oidc" = [])),
    responses((status = 200, description = "All of them", body = Devices), Refused))]
pub(crate) async fn list(caller: Caller, State(app): State<App>) -> Result<Json<Devices>, Error> {
    let mut devices: Vec<Device> = living(&*app.store.registry, caller.resident.household).await?;
    devices.sort_by_key(|device| device.chosen);
    let items = devices.iter().filter_map(|device| own_device(&caller.owner(), device)).collect();
    Ok(Json(Devices { items, next_cursor: None }))
}

/// One device
#[utoipa::path(get, path = "/v1/devices/{id}", tag = "devices", operation_id = "get_device", security(("oidc" = [])),
    params(("id" = Uuid, Path, description = "The id that the household chose")),
    responses(
        (status = 200, description = "The device", body = DeviceView, headers(("ETag" = String))), Missing, Refused))]
pub(crate) async fn get(caller: Caller, State(app): State<App>, Path(id): Path<ChosenId>) -> Result<Response, Error> {
    let device = app.store.registry.device(DeviceId::scoped(caller.resident.household, id), Read::Quorum).await?;
    answer(StatusCode::OK, &caller, device.as_ref())
}

/// Registers a device, or changes it
///
/// A change keeps its credential. What neighbors hear of and see takes effect for events that are received afterwards. A
/// shorter retention acts on clips and thumbnails that are stored as well, at once; a longer one does not.
#[utoipa::path(put, path = "/v1/devices/{id}", tag = "devices", operation_id = "put_device", security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "An id of the household's choice"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
    ),
    request_body = DeviceBody,
    responses(
        (status = 200, description = "Changed", body = DeviceView, headers(("ETag" = String))),
        (status = 201, description = "Registered", body = DeviceView, headers(("ETag" = String))),
        (status = 422, description = "`name_invalid`, `position_out_of_range`, `retention_out_of_range`, \
            `home_unknown`, `home_not_verified`, `device_far_from_home`, `too_many_devices`",
            body = Problem, content_type = "application/problem+json"),
        BadBody, Changed, Refused))]
pub(crate) async fn put(
    caller: Caller,
    precondition: Precondition,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
    Json(body): Json<DeviceBody>,
) -> Result<Response, Error> {
    let household = caller.resident.household;
    let home = app.store.registry.home(HomeId::scoped(household, body.home), Read::Serial).await?;
    let wanted = Wanted::of(&body, home.as_ref())?;
    let id = DeviceId::scoped(household, chosen);
    let registry = &*app.store.registry;
    if !known::<Device>(registry, household, id).await? {
        precondition.check(None)?;
        claim::<Device>(registry, household, id).await?;
    }
    let updated = app
        .registrar
        .update(id, |current: Option<&Device>| {
            precondition.check(current.map(|device| device.version))?;
            let credential = current.and_then(|device| device.credential);
            let device = wanted.device(id, chosen, household, credential);
            Ok(match current {
                Some(old)
                    if device == (Device { version: device.version, updated_at: device.updated_at, ..old.clone() }) =>
                {
                    Change::Keep
                }
                Some(_) | None => Change::Write(device),
            })
        })
        .await?;
    let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(status, &caller, Some(&updated.row))
}

/// Removes a device
///
/// Its credential ends with it.
#[utoipa::path(delete, path = "/v1/devices/{id}", tag = "devices", operation_id = "delete_device",
    security(("oidc" = [])),
    params(
        ("id" = Uuid, Path, description = "The id that the household chose"),
        ("If-Match" = Option<String>, Header, description = "The version it must be at"),
    ),
    responses((status = 204, description = "Gone"), Changed, Missing, Refused))]
pub(crate) async fn delete(
    caller: Caller,
    precondition: Precondition,
    State(app): State<App>,
    Path(chosen): Path<ChosenId>,
) -> Result<StatusCode, Error> {
    let id = DeviceId::scoped(caller.resident.household, chosen);
    app.registrar
        .update(id, |current: Option<&Device>| {
            let device = current.ok_or(Error::NotFound)?;
            precondition.check(Some(device.version))?;
            Ok(Change::Write(gone(device)))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(status: StatusCode, caller: &Caller, device: Option<&Device>) -> Result<Response, Error> {
    let view = device.and_then(|device| own_device(&caller.owner(), device)).ok_or(Error::NotFound)?;
    Ok((status, ETag(view.version()), Json(view)).into_response())
}

/// A body that was checked against the home it names.
struct Wanted {
    name: String,
    home: HomeId,
    point: Point,
    policy: SharingPolicy,
    plan: Plan,
}

impl Wanted {
    fn of(body: &DeviceBody, home: Option<&Home>) -> Result<Self, Error> {
        let name = checks::name(&body.name, MAX_NAME, "/name")?;
        let point = checks::position(body.position)?;
        if !(1..=400).contains(&body.retention_days) {
            let sentence = "retention_days is from 1 to 400";
            return Err(Error::unprocessable("retention_out_of_range", "/retention_days", sentence));
        }
        let home = home
            .filter(|home| !home.deleted)
            .ok_or_else(|| Error::unprocessable("home_unknown", "/home", "the household has no such home"))?;
        if home.point.distance_m(point) > MAX_DISTANCE_FROM_HOME_M {
            let sentence = format!("a device stands within {MAX_DISTANCE_FROM_HOME_M} m of its home");
            return Err(Error::unprocessable("device_far_from_home", "/position", sentence));
        }
        // A pending home may stand anywhere: from there anybody could speak to any neighborhood.
        if !body.neighborhood_labels.is_empty() && !home.verified {
            let sentence = "sharing with the neighborhood waits until the home is verified";
            return Err(Error::unprocessable("home_not_verified", "/neighborhood_labels", sentence));
        }
        Ok(Self {
            name,
            home: home.id,
            point,
            policy: SharingPolicy { neighborhood: body.neighborhood_labels, media: body.neighborhood_media },
            plan: Plan { retention_days: body.retention_days, clips: body.clips },
        })
    }

    fn device(&self, id: DeviceId, chosen: ChosenId, household: HouseholdId, credential: Option<[u8; 32]>) -> Device {
        Device {
            id,
            chosen,
            household,
            home: self.home,
            name: self.name.clone(),
            point: self.point,
            policy: self.policy,
            plan: self.plan,
            credential,
            deleted: false,
            version: Version::default(),
            updated_at: Timestamp::default(),
        }
    }
}

/// What stays of a device that is gone: that it is. Neither name nor place.
fn gone(device: &Device) -> Device {
    Device {
        name: String::new(),
        point: Point { lon_e7: 0, lat_e7: 0 },
        policy: SharingPolicy::default(),
        credential: None,
        deleted: true,
        ..device.clone()
    }
}
