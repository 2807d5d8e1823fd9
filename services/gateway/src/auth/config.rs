//! The `[auth]` section.

use std::{net::IpAddr, time::Duration};

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use reqwest::Url;

/// The most that clocks may be allowed to differ: more would make short-lived tokens long-lived.
const MAX_LEEWAY_S: u64 = 300;

/// The `[auth]` section.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// The issuer, exactly as the `iss` claim has it.
    pub issuer: String,
    /// Where its keys are; empty: asked of `<issuer>/.well-known/openid-configuration`.
    pub jwks_url: String,
    /// What the `aud` claim must hold.
    pub audience: String,
    /// The signature algorithms that are accepted (RFC 7518), asymmetric ones only.
    pub algorithms: Vec<String>,
    /// How far the issuer's clock may be off, for `exp` and `nbf`.
    pub leeway_s: u64,
    /// The claim that holds the scopes: a string of words, or a list.
    pub scope_claim: String,
    /// The scope that makes its holder an operator; empty: none does.
    pub operator_scope: String,
    /// How often the keys are fetched.
    pub jwks_refresh_s: u64,
    /// How often they may be fetched because a token names a key that is not known.
    pub jwks_min_refresh_ms: u64,
    /// How long one fetch may take.
    pub jwks_timeout_ms: u64,
    /// The largest document that is read.
    pub jwks_max_bytes: usize,
    /// Lets issuer and `jwks_url` be http on addresses that are not loopback.
    pub allow_http: bool,
}

impl AuthConfig {
    /// Refuses what would let anybody in.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        if self.issuer.is_empty() {
            return Err("auth.issuer must be set: whose tokens are accepted?".to_owned());
        }
        if self.audience.is_empty() {
            return Err("auth.audience must be set: else tokens made for other services open this one".to_owned());
        }
        if self.scope_claim.is_empty() {
            return Err("auth.scope_claim must be set".to_owned());
        }
        self.algorithms()?;
        for (key, url) in [("auth.issuer", &self.issuer), ("auth.jwks_url", &self.jwks_url)] {
            if !url.is_empty() {
                self.check_url(url).map_err(|why| format!("{key}: {why}"))?;
            }
        }
        for (key, value, range) in [
            ("auth.leeway_s", self.leeway_s, 0..=MAX_LEEWAY_S),
            ("auth.jwks_refresh_s", self.jwks_refresh_s, 1..=86_400),
            ("auth.jwks_min_refresh_ms", self.jwks_min_refresh_ms, 100..=60_000),
            ("auth.jwks_timeout_ms", self.jwks_timeout_ms, 1..=60_000),
            ("auth.jwks_max_bytes", self.jwks_max_bytes as u64, 1_024..=4_194_304),
        ] {
            if !range.contains(&value) {
                return Err(format!("{key} is from {} to {}", range.start(), range.end()));
            }
        }
        Ok(())
    }

    /// The allow-list.
    ///
    /// # Errors
    /// A sentence. A symmetric algorithm would make the issuer's public key the secret that signs tokens.
    pub(super) fn algorithms(&self) -> Result<Vec<Algorithm>, String> {
        let read = |name: &String| match name.parse::<Algorithm>() {
            Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => Ok(algorithm),
            Ok(_) | Err(_) => Err(format!("auth.algorithms: {name} is no asymmetric algorithm of RFC 7518")),
        };
        let algorithms = self.algorithms.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() { Err("auth.algorithms names none".to_owned()) } else { Ok(algorithms) }
    }

    /// Whether keys may be read from there: https, or http on loopback or where it is allowed.
    pub(super) fn check_url(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|_| "this is no absolute URL".to_owned())?;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => Ok(url),
            "http" if loopback || self.allow_http => Ok(url),
            "http" => Err("http needs auth.allow_http: whoever can answer there can sign in as anybody".to_owned()),
            _ => Err("the URL is https".to_owned()),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.jwks_timeout_ms)
    }
}
