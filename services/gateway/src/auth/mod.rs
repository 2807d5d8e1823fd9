//! Who asks: bearer tokens (RFC 6750) that are JWTs (RFC 7519) of one OpenID Connect issuer.
//!
//! The issuer's keys are fetched in the background and when a token names a key that is not known, but then at most once
//! in a few seconds: a made-up key id must not make us hammer the issuer.

mod config;
mod fetch;
mod keys;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use porchlight_chassis::health::Condition;
use porchlight_domain::{ResidentId, Timestamp};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

pub use config::AuthConfig;
pub use keys::TokenError;

use crate::{Error, metrics};
use fetch::Source;
use keys::{Keys, Rules};

/// After a failed fetch the next is tried this soon.
const RETRY: Duration = Duration::from_secs(2);

/// The longest life that is counted for a token: a year. Timers have an end, `exp` has none.
const MAX_LIFE_MS: i64 = 365 * 86_400_000;

/// Fetches the issuer's keys once, as the gateway does at start: how many of them can check signatures.
///
/// # Errors
/// A sentence: a setting that cannot be, an issuer that does not answer, or what it answers.
pub async fn try_issuer(config: &AuthConfig) -> Result<usize, String> {
    config.check()?;
    Ok(Source::new(config)?.fetch().await?.count())
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    issuer: String,
    subject: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
}

impl Claims {
    /// The account that the token stands for.
    pub fn resident(&self) -> ResidentId {
        ResidentId::of_subject(&self.issuer, &self.subject)
    }

    /// How much longer it holds: until requests with it are refused, the leeway for the issuer's clock included.
    pub fn expires_in(&self, now: Timestamp) -> Duration {
        let left_ms = self.expires_at.since(now).clamp(0, MAX_LIFE_MS);
        Duration::from_millis(left_ms.unsigned_abs())
    }

    /// Whether it grants this scope.
    pub fn grants(&self, scope: &str) -> bool {
        !scope.is_empty() && self.scopes.iter().any(|s| s == scope)
    }
}

/// Verifies tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    rules: Rules,
    source: Source,
    refresh_every: Duration,
    min_refresh: Duration,
    keys: RwLock<Option<Arc<Keys>>>,
    /// When the keys were last asked for, and whether that went well. Held while asking: others wait for the answer.
    asked: Mutex<Option<(Instant, bool)>>,
}

impl Tokens {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// A sentence that says which setting is wrong.
    pub fn new(config: &AuthConfig) -> Result<Self, String> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            rules: Rules::of(config)?,
            source: Source::new(config)?,
            refresh_every: Duration::from_secs(config.jwks_refresh_s),
            min_refresh: Duration::from_millis(config.jwks_min_refresh_ms),
            keys: RwLock::new(None),
            asked: Mutex::new(None),
        })))
    }

    /// What the token says.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`]; [`Error::IssuerUnavailable`] if it cannot be told whether it is valid.
    pub async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let verified = self.verify_or_ask(token).await;
        metrics::token(match &verified {
            Ok(_) => "accepted",
            Err(Error::IssuerUnavailable) => "unavailable",
            Err(_) => "refused",
        });
        verified
    }

    async fn verify_or_ask(&self, token: &str) -> Result<Claims, Error> {
        let known = self.keys().map(|keys| keys.verify(token, &self.0.rules));
        match known {
            Some(Err(TokenError::UnknownKey)) | None => {}
            Some(answer) => return answer.map_err(Error::TokenInvalid),
        }
        let asked_well = self.ask_if_due().await;
        match self.keys().map(|keys| keys.verify(token, &self.0.rules)) {
            // With the issuer away, a key that is not known may be a new one: signing people out would be wrong.
            Some(Err(TokenError::UnknownKey)) if !asked_well => Err(Error::IssuerUnavailable),
            None => Err(Error::IssuerUnavailable),
            Some(answer) => answer.map_err(Error::TokenInvalid),
        }
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the keys unless that was done a moment ago; whether the latest asking went well.
    async fn ask_if_due(&self) -> bool {
        let mut asked = self.0.asked.lock().await;
        match *asked {
            Some((at, well)) if at.elapsed() < self.0.min_refresh => well,
            Some(_) | None => {
                let well = self.refresh().await.is_ok();
                *asked = Some((Instant::now(), well));
                well
            }
        }
    }

    /// Fetches the keys. A failure keeps those that are known.
    async fn refresh(&self) -> Result<(), String> {
        let fetched = self.0.source.fetch().await;
        metrics::jwks_fetch(fetched.is_ok());
        let keys = fetched.inspect_err(|why| tracing::warn!(why, "the issuer's keys could not be fetched"))?;
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
        Ok(())
    }

    /// Keeps the keys fresh until `shutdown`. The condition is met once there are any: an issuer that goes away later
    /// keeps nobody out whose key is known.
    pub async fn run(self, condition: Condition, shutdown: CancellationToken) {
        loop {
            let fetched = tokio::select! {
                () = shutdown.cancelled() => return,
                fetched = self.refresh() => fetched,
            };
            let next = if fetched.is_ok() { self.0.refresh_every } else { self.0.refresh_every.min(RETRY) };
            condition.set(match self.keys() {
                Some(_) => Ok(()),
                None => fetched,
            });
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(next) => {}
            }
        }
    }
}
