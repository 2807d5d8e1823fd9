//! Handing a push to whoever carries it to the phone. One trait, one outcome taxonomy; Web Push is real (RFC 8030,
//! 8291, 8292), fcm and apns go to a recorder. `DESIGN.md` says why an address is refused and what each answer means.

mod address;
mod check;
mod client;
pub mod metrics;
mod outcome;
mod recorder;
mod vapid;
mod webpush;

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{Cleared, Endpoint, Hint, Timestamp, Transport};

pub use address::is_public;
pub use check::check_transport;
pub use outcome::Sent;
pub use vapid::mint_vapid_key;

/// Carries pushes to one kind of endpoint. It takes only what the gate has cleared.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The transport's word: `webpush`, `fcm`, `apns`.
    fn name(&self) -> &'static str;

    /// Hands one push over. Never panics, never hangs beyond the configured time-out.
    async fn send(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Sent;
}

/// The `[push]` section of the notification and gateway services.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The VAPID private key (P-256), base64url of 32 bytes; or empty: read from `vapid_private_key_file`.
    pub vapid_private_key: String,
    /// A file that holds it; empty: none.
    pub vapid_private_key_file: String,
    /// `mailto:` or `https:` of the operator, for push services that want to complain (RFC 8292 `sub`).
    pub vapid_subject: String,
    /// How long one hand-over may take, 1 to 60 000.
    pub timeout_ms: u64,
    /// For tests and the city only: lets endpoints lie on loopback and private addresses, and use http.
    pub allow_private_addresses: bool,
    /// For tests and the city only: fcm and apns pushes are POSTed as JSON to this recorder. Empty: those transports are
    /// not configured, and the gateway refuses such endpoints.
    pub recorder_url: String,
}

/// The key is a secret: it is never printed.
impl std::fmt::Debug for PushConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConfig")
            .field("vapid_private_key", &if self.vapid_private_key.is_empty() { "" } else { "(set)" })
            .field("vapid_private_key_file", &self.vapid_private_key_file)
            .field("vapid_subject", &self.vapid_subject)
            .field("timeout_ms", &self.timeout_ms)
            .field("allow_private_addresses", &self.allow_private_addresses)
            .field("recorder_url", &self.recorder_url)
            .finish()
    }
}

/// The providers that are configured. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    inner: Arc<Inner>,
}

struct Inner {
    webpush: webpush::WebPush,
    fcm: Option<recorder::Recorder>,
    apns: Option<recorder::Recorder>,
    vapid_public_key: String,
}

impl Providers {
    /// Reads the VAPID key and builds the HTTP clients; nothing is sent.
    ///
    /// # Errors
    /// A sentence that says which setting is wrong.
    pub fn new(config: &PushConfig) -> Result<Self, String> {
        if !(1..=60_000).contains(&config.timeout_ms) {
            return Err("push.timeout_ms is from 1 to 60000".to_owned());
        }
        let vapid = vapid::Vapid::from_config(config)?;
        let vapid_public_key = vapid.public_key().to_owned();
        let recorder = |transport| match config.recorder_url.as_str() {
            "" => Ok(None),
            _ => recorder::Recorder::new(transport, config).map(Some),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                fcm: recorder("fcm")?,
                apns: recorder("apns")?,
                webpush: webpush::WebPush::new(vapid, config)?,
                vapid_public_key,
            }),
        })
    }

    /// The provider for a transport; `None` if it is not configured.
    pub fn for_transport(&self, transport: &Transport) -> Option<&dyn Provider> {
        fn provider(recorder: Option<&recorder::Recorder>) -> Option<&dyn Provider> {
            recorder.map(|r| r as &dyn Provider)
        }
        match transport {
            Transport::WebPush { .. } => Some(&self.inner.webpush),
            Transport::Fcm { .. } => provider(self.inner.fcm.as_ref()),
            Transport::Apns { .. } => provider(self.inner.apns.as_ref()),
        }
    }

    /// The VAPID public key that apps subscribe with: base64url of the uncompressed point (65 bytes).
    pub fn vapid_public_key(&self) -> &str {
        &self.inner.vapid_public_key
    }
}
