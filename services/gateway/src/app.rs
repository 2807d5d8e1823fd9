//! What every handler shares, and the router.

use std::{sync::Arc, time::Duration};

use axum::Router;
use porchlight_clips::Vault;
use porchlight_domain::Clock;
use porchlight_neighborhoods::Neighborhoods;
use porchlight_push::PushConfig;
use porchlight_store::Store;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::{
    accounts::Operators,
    api,
    auth::Tokens,
    borders::{Fresh, Guard},
    config::Sections,
    registry::{Publish, Registrar},
    stream::Hub,
};

/// What the gateway stands on. Tests put their own in.
pub struct Parts {
    /// The repositories.
    pub store: Store,
    /// Where the bytes of clips and thumbnails are.
    pub vault: Arc<dyn Vault>,
    /// Where the registry's feeds go.
    pub publisher: Arc<dyn Publish>,
    /// The neighborhoods in memory.
    pub neighborhoods: Neighborhoods,
    /// Whether they can be trusted now.
    pub fresh: Fresh,
    /// Who asks.
    pub tokens: Tokens,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What browsers subscribe with.
    pub vapid_public_key: String,
    /// Cancelled when requests are to end: open streams then do.
    pub closing: CancellationToken,
}

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The inside of an [`App`]: this crate's own.
pub struct Inner {
    pub(crate) store: Store,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) registrar: Registrar,
    pub(crate) guard: Guard,
    pub(crate) tokens: Tokens,
    pub(crate) operators: Operators,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) push: PushConfig,
    pub(crate) vapid_public_key: String,
    pub(crate) feed_days: u16,
    pub(crate) max_pending_homes: usize,
    pub(crate) streams: Hub,
    pub(crate) stream_heartbeat: Duration,
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(config: &Sections, parts: Parts) -> Self {
        let Parts { store, vault, publisher, neighborhoods, fresh, tokens, clock, vapid_public_key, closing } = parts;
        let operators = Operators::new(
            store.registry.clone(),
            config.auth.operator_scope.clone(),
            Duration::from_millis(config.gateway.operator_cache_ms),
        );
        Self(Arc::new(Inner {
            streams: Hub::new(&config.gateway, neighborhoods.clone(), closing),
            stream_heartbeat: Duration::from_millis(config.gateway.stream_heartbeat_ms),
            registrar: Registrar::new(store.registry.clone(), publisher, clock.clone()),
            guard: Guard::new(neighborhoods, store.registry.clone(), fresh),
            store,
            vault,
            tokens,
            operators,
            clock,
            push: config.push.clone(),
            vapid_public_key,
            feed_days: config.gateway.feed_days,
            max_pending_homes: config.gateway.max_pending_homes,
        }))
    }

    /// The mechanism by which the registry is written.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// Every operation, and the document that describes them.
    pub fn router(&self) -> (Router, OpenApi) {
        let (router, document) = api::routes().split_for_parts();
        (router.with_state(self.clone()), document)
    }
}
