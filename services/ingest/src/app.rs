//! What the handlers share, and how every request begins.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use porchlight_chassis::http::Problem;
use porchlight_clips::{GrantKey, Vault};
use porchlight_domain::{Clock, Credential, Device};

use crate::{
    auth::{self, Devices},
    config::IngestConfig,
    courtesy::Courtesy,
    log::Log,
    shed::{Level, Place, Shed, Thresholds},
};

/// What the API stands on.
pub struct Parts {
    /// Who may speak.
    pub devices: Arc<dyn Devices>,
    /// Where that goes which is acknowledged.
    pub log: Arc<dyn Log>,
    /// Where clips and thumbnails go.
    pub vault: Arc<dyn Vault>,
    /// Signs what devices were allowed to upload; the same on every ingest.
    pub grant_key: GrantKey,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App {
    devices: Arc<dyn Devices>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) grant_key: GrantKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) courtesy: Courtesy,
    shed: Arc<Shed>,
    pub(crate) max_batch_records: usize,
}

impl App {
    /// An API over these parts.
    pub fn new(config: &IngestConfig, parts: Parts) -> Self {
        let IngestConfig {
            shed_motion_above,
            shed_motion_after_ms,
            refuse_above,
            max_batch_records,
            courtesy_max_ids,
            courtesy_tail: _,
        } = *config;
        let shed_motion_after = Duration::from_millis(shed_motion_after_ms);
        let Parts { devices, log, vault, grant_key, clock } = parts;
        Self {
            devices,
            log,
            vault,
            grant_key,
            courtesy: Courtesy::new(courtesy_max_ids, Arc::clone(&clock)),
            clock,
            shed: Shed::new(Thresholds { shed_motion_above, shed_motion_after, refuse_above }),
            max_batch_records,
        }
    }

    /// The beginning of every request: nobody's body is read, and no place is taken, before it is known who speaks.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(Credential, Place), Problem> {
        let credential = auth::credential(headers)?;
        self.prove(&credential)?;
        let place = self.shed.enter(self.log.waiting_for());
        match place.level() {
            Level::Open | Level::DingsOnly => Ok((credential, place)),
            Level::Full => {
                Err(Problem::new(503, "overloaded", "too many requests are in hand; send it again").retry_after(2))
            }
        }
    }

    /// The device of a credential, as it is now: asked again after everything that may have taken its time.
    pub(crate) fn prove(&self, credential: &Credential) -> Result<Arc<Device>, Problem> {
        auth::prove(self.devices.as_ref(), credential)
    }
}
