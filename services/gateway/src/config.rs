//! Settings: every key stands with its default and a comment in `default.toml`. Dangerous pairs are refused when the
//! configuration is read.

use std::{path::PathBuf, time::Duration};

use porchlight_bus::{KafkaConfig, TableConfig};
use porchlight_chassis::config::{AdminConfig, HttpConfig, LifecycleConfig, LogConfig};
use porchlight_clips::S3Config;
use porchlight_push::{Providers, PushConfig};
use porchlight_store::CqlConfig;

use crate::auth::AuthConfig;

/// Every key, its default and a comment.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// The configuration of the gateway, checked.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(try_from = "Sections")]
pub struct Config(Sections);

impl std::ops::Deref for Config {
    type Target = Sections;
    fn deref(&self) -> &Sections {
        &self.0
    }
}

/// The sections as they are read.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    /// `[log]`.
    pub log: LogConfig,
    /// `[lifecycle]`.
    pub lifecycle: LifecycleConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[cql]`.
    pub cql: CqlConfig,
    /// `[s3]`.
    pub s3: S3Config,
    /// `[push]`.
    pub push: PushConfig,
    /// `[auth]`.
    pub auth: AuthConfig,
    /// `[gateway]`.
    pub gateway: GatewayConfig,
}

/// The `[gateway]` section.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// How far back feeds reach, days.
    pub feed_days: u16,
    /// How long the neighborhoods in memory count as current after their topic was last confirmed caught up.
    pub neighborhoods_max_age_ms: u64,
    /// A folder of this process alone for a snapshot of them. Empty: none.
    pub neighborhoods_snapshot_dir: PathBuf,
    /// How often unfinished registry writes are looked for.
    pub sweep_every_ms: u64,
    /// How often topics are compared with rows.
    pub reconcile_every_ms: u64,
    /// How long it is remembered whether an account is an operator by the command line.
    pub operator_cache_ms: u64,
    /// How many homes that wait for verification are listed at once, at most.
    pub max_pending_homes: usize,
    /// How many streams may be open, at most.
    pub max_streams: usize,
    /// How many streams of one resident may be open, at most.
    pub max_streams_per_resident: usize,
    /// How often an idle stream says that it is there.
    pub stream_heartbeat_ms: u64,
    /// How many alerts of the last 15 minutes are kept for streams that resume, at most.
    pub stream_ring_max: usize,
}

impl GatewayConfig {
    /// How the table of neighborhoods is kept.
    pub fn table(&self) -> TableConfig {
        TableConfig {
            max_age: Duration::from_millis(self.neighborhoods_max_age_ms),
            snapshot_dir: self.neighborhoods_snapshot_dir.clone(),
        }
    }
}

impl TryFrom<Sections> for Config {
    type Error = String;

    fn try_from(c: Sections) -> Result<Self, String> {
        c.kafka.check().map_err(|e| e.to_string())?;
        c.cql.check()?;
        c.s3.check()?;
        c.auth.check()?;
        Providers::new(&c.push)?;
        for (smaller, small, larger, large, else_) in [
            (
                "kafka.produce_wait_ms",
                c.kafka.produce_wait_ms,
                "http.request_timeout_ms",
                c.http.request_timeout_ms,
                "else a request is given up while its record is still delivered",
            ),
            (
                "cql.request_timeout_ms",
                c.cql.request_timeout_ms,
                "http.request_timeout_ms",
                c.http.request_timeout_ms,
                "else a request is given up while the store still works on it",
            ),
            (
                "http.request_timeout_ms",
                c.http.request_timeout_ms,
                "lifecycle.drain_ms",
                c.lifecycle.drain_ms,
                "else a drain cuts requests in hand",
            ),
        ] {
            if small >= large {
                return Err(format!("{smaller} ({small}) must be below {larger} ({large}): {else_}"));
            }
        }
        if c.http.max_body_bytes > c.http.max_decoded_bytes {
            return Err(
                "http.max_body_bytes must not be above http.max_decoded_bytes: a plain body is its own decoding"
                    .to_owned(),
            );
        }
        for (key, value, range) in [
            ("gateway.feed_days", u64::from(c.gateway.feed_days), 1..=400),
            ("gateway.neighborhoods_max_age_ms", c.gateway.neighborhoods_max_age_ms, 2_000..=60_000),
            ("gateway.sweep_every_ms", c.gateway.sweep_every_ms, 100..=60_000),
            ("gateway.reconcile_every_ms", c.gateway.reconcile_every_ms, 1_000..=86_400_000),
            ("gateway.operator_cache_ms", c.gateway.operator_cache_ms, 0..=60_000),
            ("gateway.max_pending_homes", c.gateway.max_pending_homes as u64, 1..=1_000),
            ("gateway.max_streams", c.gateway.max_streams as u64, 1..=100_000),
            ("gateway.max_streams_per_resident", c.gateway.max_streams_per_resident as u64, 1..=1_000),
            ("gateway.stream_heartbeat_ms", c.gateway.stream_heartbeat_ms, 100..=60_000),
            ("gateway.stream_ring_max", c.gateway.stream_ring_max as u64, 100..=10_000_000),
            ("cql.request_timeout_ms", c.cql.request_timeout_ms, 1..=60_000),
        ] {
            if !range.contains(&value) {
                return Err(format!("{key} is from {} to {}", range.start(), range.end()));
            }
        }
        Ok(Self(c))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let mut env = vec![
            ("PORCHLIGHT_AUTH__ISSUER".to_owned(), "https://issuer.example".to_owned()),
            ("PORCHLIGHT_S3__ACCESS_KEY_ID".to_owned(), "porchlight".to_owned()),
            ("PORCHLIGHT_S3__SECRET_ACCESS_KEY".to_owned(), "not a secret".to_owned()),
            ("PORCHLIGHT_PUSH__VAPID_PRIVATE_KEY".to_owned(), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE".to_owned()),
            ("PORCHLIGHT_PUSH__VAPID_SUBJECT".to_owned(), "mailto:operator@example.org".to_owned()),
        ];
        env.extend(pairs.iter().map(|(k, v)| (format!("PORCHLIGHT_{k}"), (*v).to_owned())));
        porchlight_chassis::config::load(DEFAULT_TOML, None, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_lack_only_the_issuer_the_vapid_key_and_the_credentials_of_s3() {
        let config = load(&[]).unwrap();
        assert_eq!(config.auth.audience, "porchlight");
        assert!(load(&[("AUTH__ISSUER", "")]).unwrap_err().contains("auth.issuer"));
        assert!(load(&[("PUSH__VAPID_PRIVATE_KEY", "")]).unwrap_err().contains("push.vapid_private_key"));
        assert!(load(&[("S3__ACCESS_KEY_ID", "")]).unwrap_err().contains("s3.access_key_id"));
        assert!(load(&[("S3__SECRET_ACCESS_KEY", "")]).unwrap_err().contains("s3.secret_access_key"));
    }

    #[test]
    fn dangerous_pairs_are_refused_with_both_keys_named() {
        for (key, value, names) in [
            ("KAFKA__PRODUCE_WAIT_MS", "15000", ["kafka.produce_wait_ms", "http.request_timeout_ms"]),
            ("KAFKA__MESSAGE_TIMEOUT_MS", "5000", ["kafka.message_timeout_ms", "kafka.produce_wait_ms"]),
            ("CQL__REQUEST_TIMEOUT_MS", "20000", ["cql.request_timeout_ms", "http.request_timeout_ms"]),
            ("LIFECYCLE__DRAIN_MS", "9000", ["http.request_timeout_ms", "lifecycle.drain_ms"]),
            ("HTTP__MAX_DECODED_BYTES", "1000", ["http.max_body_bytes", "http.max_decoded_bytes"]),
        ] {
            let line = load(&[(key, value)]).unwrap_err();
            assert!(names.iter().all(|name| line.contains(name)), "{key}: {line}");
        }
    }

    #[test]
    fn what_would_let_anybody_in_is_refused() {
        for (key, value, part) in [
            ("AUTH__ALGORITHMS", "[\"HS256\"]", "HS256"),
            ("AUTH__ALGORITHMS", "[\"none\"]", "none"),
            ("AUTH__ALGORITHMS", "[]", "auth.algorithms"),
            ("AUTH__AUDIENCE", "", "auth.audience"),
            ("AUTH__ISSUER", "http://issuer.example", "auth.allow_http"),
            ("AUTH__JWKS_URL", "http://issuer.example/keys", "auth.allow_http"),
            ("AUTH__LEEWAY_S", "3600", "auth.leeway_s"),
        ] {
            let line = load(&[(key, value)]).unwrap_err();
            assert!(line.contains(part), "{key}: {line}");
        }
        assert!(load(&[("AUTH__ISSUER", "http://127.0.0.1:8080")]).is_ok(), "loopback is the machine itself");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(load(&[("GATEWAY__FEED_WEEKS", "1")]).unwrap_err().contains("feed_weeks"));
    }
}
