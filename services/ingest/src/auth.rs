//! Who speaks: a bearer credential against the table of devices.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use porchlight_bus::{Lookup, Table};
use porchlight_chassis::http::Problem;
use porchlight_domain::{Credential, Device, DeviceId, Secret};
use subtle::ConstantTimeEq as _;

/// The devices, as far as this service cares.
pub trait Devices: Send + Sync + 'static {
    /// Looks one up.
    fn get(&self, id: &DeviceId) -> Lookup<Device>;
}

impl Devices for Table<Device> {
    fn get(&self, id: &DeviceId) -> Lookup<Device> {
        Table::get(self, id)
    }
}

/// Reads the credential of a request.
pub(crate) fn credential(headers: &HeaderMap) -> Result<Credential, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::new(401, "credential_missing", "send Authorization: Bearer and the device's credential"));
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| Credential::parse(token.trim()))
        .ok_or_else(invalid)
}

/// The device that a credential proves, as it is now. A device that is unknown, one that is revoked and a wrong secret
/// get the same answer in the same time.
pub(crate) fn prove(devices: &dyn Devices, credential: &Credential) -> Result<Arc<Device>, Problem> {
    match devices.get(&credential.device) {
        Lookup::Found(device) if device.credential.is_some() && !device.deleted => {
            if device.accepts(&credential.secret) { Ok(device) } else { Err(invalid()) }
        }
        Lookup::Found(_) | Lookup::Absent => {
            in_vain(&credential.secret);
            Err(invalid())
        }
        // Whether it was revoked cannot be known now, and a revoked one must not get in (G2 keeps what was accepted; the
        // device sends again).
        Lookup::Stale => {
            Err(Problem::new(503, "registry_stale", "credentials cannot be checked just now; send again")
                .retry_after(1))
        }
    }
}

fn invalid() -> Problem {
    Problem::new(401, "credential_invalid", "this credential is not valid; the device's owner can issue another")
}

/// What a comparison costs, where there is nothing to compare with.
fn in_vain(secret: &Secret) {
    std::hint::black_box(secret.hash().ct_eq(&[0; 32]));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_bearer_token_of_the_right_form_is_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            credential(&headers).map(|c| c.device).map_err(|p| (p.status, p.code))
        };
        assert_eq!(credential(&HeaderMap::new()).unwrap_err().code, "credential_missing");
        let device = DeviceId(uuid::Uuid::from_u128(5));
        let token = Credential { device, secret: Secret::mint() }.reveal();
        assert_eq!(read(&format!("Bearer {token}")), Ok(device));
        assert_eq!(read(&format!("bearer  {token}")), Ok(device));
        for bad in [token.as_str(), "Bearer", "Bearer x", &format!("Basic {token}"), &format!("Bearer {token}x")] {
            assert_eq!(read(bad), Err((401, "credential_invalid")), "{bad}");
        }
    }
}
