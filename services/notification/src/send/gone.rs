//! Taking an endpoint that is gone out of its person's row: never one that was registered again in the meantime.

use porchlight_domain::{Endpoint, ResidentId};
use porchlight_store::{Registry, StoreError, Written};

use crate::{metrics, wait::Wait};

/// How often the row may change under us before we come back later.
const ATTEMPTS: usize = 5;

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    /// It is not there any more.
    Gone,
    /// The app registered it again since: the provider's word was about the old registration.
    Renewed,
}

/// Removes `endpoint`, as it was read, from the row of `resident`.
pub(crate) async fn remove(
    registry: &dyn Registry,
    resident: ResidentId,
    endpoint: &Endpoint,
) -> Result<Removal, Wait> {
    for _ in 0..ATTEMPTS {
        let Some(mut row) = registry.resident(resident).await? else { return Ok(Removal::Gone) };
        let Some(found) = row.endpoints.iter().position(|e| e.id == endpoint.id) else { return Ok(Removal::Gone) };
        if row.endpoints[found].registered_at != endpoint.registered_at {
            return Ok(Removal::Renewed);
        }
        let expected = row.version;
        row.endpoints.remove(found);
        row.version = expected.next();
        match registry.put_resident(&row, Some(expected)).await {
            Ok(Written::Applied) => {
                metrics::endpoint_removed();
                tracing::info!(transport = endpoint.transport.as_str(), "an endpoint that is gone was removed");
                return Ok(Removal::Gone);
            }
            // Another version stands there, or ours may: read it again and see.
            Ok(Written::Conflict) | Err(StoreError::Unknown(_)) => {}
            Err(error @ (StoreError::Unavailable(_) | StoreError::Corrupt { .. } | StoreError::Refused(_))) => {
                return Err(error.into());
            }
        }
    }
    Err(StoreError::Unavailable("a person's row changes all the time".into()).into())
}
