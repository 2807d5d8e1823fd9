//! The service's configuration. Every key stands in `default.toml` with its default and what it is for.

use std::{path::PathBuf, time::Duration};

use porchlight_bus::{KafkaConfig, TableConfig};
use porchlight_chassis::config::{AdminConfig, LifecycleConfig, LogConfig};
use porchlight_push::PushConfig;
use porchlight_store::CqlConfig;
use serde::Deserialize;

/// Every key of the configuration, with its default and what it is for.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// The most recipients of one task that are told side by side.
const MAX_CONCURRENCY: usize = 500;

/// All sections. A value of this type has passed [`Config::check`]: reading one refuses dangerous pairs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// Health and metrics.
    pub admin: AdminConfig,
    /// The end of the process.
    pub lifecycle: LifecycleConfig,
    /// The polygons in memory.
    pub neighborhoods: NeighborhoodsConfig,
    /// Stage `send`.
    pub send: SendConfig,
    /// The providers.
    pub push: PushConfig,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// ScyllaDB or Cassandra.
    pub cql: CqlConfig,
}

/// The `[neighborhoods]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborhoodsConfig {
    /// How old the last word from the brokers may be before the polygons count as stale, ms.
    pub max_age_ms: u64,
    /// A folder of this process alone for a snapshot of them. Empty: none.
    pub snapshot_dir: PathBuf,
}

impl NeighborhoodsConfig {
    /// How their table is kept.
    pub fn table(&self) -> TableConfig {
        TableConfig { max_age: Duration::from_millis(self.max_age_ms), snapshot_dir: self.snapshot_dir.clone() }
    }
}

/// The `[send]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendConfig {
    /// How many recipients of one task are told side by side.
    pub concurrency: usize,
    /// How long those who cannot be told are tried again before the record is given back, ms.
    pub retry_within_ms: u64,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: serde::Deserializer<'de>>(keys: D) -> Result<Self, D::Error> {
        // Not this function again: `remote` makes the derived one an inherent function of the same name.
        let config = Self::deserialize(keys)?;
        config.check().map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

impl Config {
    /// Refuses pairs that lose work or time.
    ///
    /// # Errors
    /// A sentence that names both keys.
    pub fn check(&self) -> Result<(), String> {
        self.kafka.check().map_err(|e| e.to_string())?;
        self.cql.check()?;
        if self.kafka.drain_ms >= self.lifecycle.drain_ms {
            return Err(
                "kafka.drain_ms must be below lifecycle.drain_ms: the consumers' drain is a part of the whole, and \
                        what they have finished must still be committed"
                    .into(),
            );
        }
        if self.cql.request_timeout_ms >= self.kafka.drain_ms {
            return Err(
                "cql.request_timeout_ms must be below kafka.drain_ms: a record that waits for the store could not \
                        be finished in a drain"
                    .into(),
            );
        }
        if self.push.timeout_ms >= self.kafka.drain_ms {
            return Err(
                "push.timeout_ms must be below kafka.drain_ms: a push would be handed over that nobody records, \
                        and the phone rings twice"
                    .into(),
            );
        }
        if self.send.retry_within_ms < self.push.timeout_ms {
            return Err(
                "send.retry_within_ms must not be below push.timeout_ms: no push would ever be tried again".into()
            );
        }
        if self.kafka.stall_after_ms <= self.send.retry_within_ms.saturating_add(self.push.timeout_ms) {
            return Err(
                "kafka.stall_after_ms must be above send.retry_within_ms and push.timeout_ms together: a record whose \
                        people are still being tried would be taken for one that hangs"
                    .into(),
            );
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.send.concurrency) {
            return Err(format!("send.concurrency must be from 1 to {MAX_CONCURRENCY}"));
        }
        if self.neighborhoods.max_age_ms < 1_000 {
            return Err("neighborhoods.max_age_ms must be at least 1000: the brokers are asked once a second".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let env = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        porchlight_chassis::config::load(DEFAULT_TOML, None, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_a_configuration_that_lets_pushes_go_to_public_addresses_only() {
        let config = with(&[]).unwrap();
        assert!(!config.push.allow_private_addresses);
        assert!(config.push.recorder_url.is_empty());
    }

    #[test]
    fn dangerous_pairs_are_refused_with_a_sentence() {
        for (key, value, named) in [
            ("PORCHLIGHT_LIFECYCLE__DRAIN_MS", "20000", "lifecycle.drain_ms"),
            ("PORCHLIGHT_CQL__REQUEST_TIMEOUT_MS", "20000", "cql.request_timeout_ms"),
            ("PORCHLIGHT_PUSH__TIMEOUT_MS", "20000", "push.timeout_ms"),
            ("PORCHLIGHT_SEND__RETRY_WITHIN_MS", "100", "send.retry_within_ms"),
            ("PORCHLIGHT_KAFKA__STALL_AFTER_MS", "65000", "kafka.stall_after_ms"),
            ("PORCHLIGHT_SEND__CONCURRENCY", "0", "send.concurrency"),
            ("PORCHLIGHT_NEIGHBORHOODS__MAX_AGE_MS", "500", "neighborhoods.max_age_ms"),
            ("PORCHLIGHT_KAFKA__DRAIN_MS", "60000", "max_poll_interval_ms"),
        ] {
            let refusal = with(&[(key, value)]).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(with(&[("PORCHLIGHT_PUSH__TIMEOUT", "1")]).is_err());
    }
}
