//! Accounts: who a token stands for, made at first sight; who is an operator; and `GET /v1/me`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::extract::{FromRequestParts, State};
use http::{header, request::Parts};
use porchlight_chassis::http::Json;
use porchlight_domain::{
    Clock as _, Home, HouseholdId, NeighborhoodId, Residence, Resident, ResidentId, SystemClock, Version, Viewer,
    gate::Operator,
};
use porchlight_store::{Registry, StoreError, Written};
use serde::Serialize;

use crate::{App, Error, api::Refused, auth::Claims, metrics, owned::living};

/// The person who asks, with an account.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account.
    pub resident: Resident,
    claims: Claims,
}

impl Caller {
    /// How much longer the token holds.
    pub fn token_expires_in(&self) -> Duration {
        self.claims.expires_in(SystemClock.now())
    }

    /// The person, without where they live: enough for what is their own.
    pub fn owner(&self) -> Viewer {
        Viewer { resident: self.resident.id, household: self.resident.household, residences: Vec::new() }
    }

    /// The person, with where their household lives now.
    ///
    /// # Errors
    /// The store is away.
    pub async fn viewer(&self, registry: &dyn Registry) -> Result<Viewer, Error> {
        let homes: Vec<Home> = living(registry, self.resident.household).await?;
        Ok(Viewer { residences: homes.iter().map(Residence::from).collect(), ..self.owner() })
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let claims = claims(parts, app).await?;
        let resident = account(&*app.store.registry, claims.resident()).await?;
        Ok(Self { resident, claims })
    }
}

async fn claims(parts: &Parts, app: &App) -> Result<Claims, Error> {
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = given.and_then(|value| value.split_once(' ')).ok_or(Error::TokenMissing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::TokenMissing);
    }
    app.tokens.verify(token.trim_ascii()).await
}

/// The account; made if this is its first sight.
async fn account(registry: &dyn Registry, id: ResidentId) -> Result<Resident, Error> {
    if let Some(resident) = registry.resident(id).await? {
        return Ok(resident);
    }
    let household = HouseholdId::founded_by(id);
    // The household first: an account that its household does not know would never be told of anything, while a member
    // without an account only has no endpoint yet.
    registry.add_resident(household, id).await?;
    let resident = Resident { id, household, endpoints: Vec::new(), version: Version(1) };
    match registry.put_resident(&resident, None).await {
        Ok(Written::Applied) => {
            metrics::account_created();
            tracing::info!(resident = %id, "an account was made");
            Ok(resident)
        }
        // Somebody with the same token was faster, or it may have been we ourselves.
        Ok(Written::Conflict) | Err(StoreError::Unknown(_)) => registry
            .resident(id)
            .await?
            .ok_or_else(|| StoreError::Unavailable("an account that was just made is not there".to_owned()).into()),
        Err(e @ (StoreError::Unavailable(_) | StoreError::Corrupt { .. } | StoreError::Refused(_))) => Err(e.into()),
    }
}

/// Who is an operator: by the token's scope, or by `porchlight operator create`.
pub(crate) struct Operators {
    registry: Arc<dyn Registry>,
    scope: String,
    remember: Duration,
    known: Mutex<HashMap<ResidentId, (bool, Instant)>>,
}

/// The most accounts whose answer is remembered.
const MAX_KNOWN: usize = 10_000;

impl Operators {
    pub(crate) fn new(registry: Arc<dyn Registry>, scope: String, remember: Duration) -> Self {
        Self { registry, scope, remember, known: Mutex::new(HashMap::new()) }
    }

    async fn is_operator(&self, claims: &Claims) -> Result<bool, StoreError> {
        if claims.grants(&self.scope) {
            return Ok(true);
        }
        let id = claims.resident();
        if let Some(answer) = self.remembered(id) {
            return Ok(answer);
        }
        let answer = self.registry.is_operator(id).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(id, (answer, Instant::now()));
        Ok(answer)
    }

    fn remembered(&self, id: ResidentId) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).filter(|(_, at)| at.elapsed() < self.remember).map(|(answer, _)| *answer)
    }
}

/// Extracts the proof that the caller is an operator; everybody else gets the same 403, whatever they ask for.
#[derive(Clone, Debug)]
pub struct AsOperator(pub Operator);

impl FromRequestParts<App> for AsOperator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let claims = claims(parts, app).await?;
        if app.operators.is_operator(&claims).await? {
            Ok(Self(Operator { account: claims.resident() }))
        } else {
            Err(Error::OperatorOnly)
        }
    }
}

/// The caller's own account.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    /// The account: derived from issuer and subject of the token.
    id: ResidentId,
    household: HouseholdId,
    /// How many homes the household has.
    homes: usize,
    /// The neighborhoods that hold the verified homes now.
    neighborhoods: Vec<MyNeighborhood>,
    /// Whether the caller is an operator of the deployment.
    operator: bool,
}

/// A neighborhood that holds a verified home of the caller.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MyNeighborhood {
    id: NeighborhoodId,
    /// What people call it.
    name: String,
}

/// The caller's own account
///
/// The account is made at first sight, with a household of its own.
#[utoipa::path(get, path = "/v1/me", tag = "account", security(("oidc" = [])),
    responses((status = 200, description = "The account", body = Me), Refused))]
pub(crate) async fn me(caller: Caller, State(app): State<App>) -> Result<Json<Me>, Error> {
    let viewer = caller.viewer(&*app.store.registry).await?;
    let neighborhoods = app.guard.neighborhoods_of(&viewer)?;
    Ok(Json(Me {
        id: viewer.resident,
        household: viewer.household,
        homes: viewer.residences.len(),
        neighborhoods: neighborhoods.into_iter().map(|(at, name)| MyNeighborhood { id: at.id, name }).collect(),
        operator: app.operators.is_operator(&caller.claims).await?,
    }))
}
