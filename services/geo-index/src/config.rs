//! The service's configuration. Every key stands in `default.toml` with its default and what it is for.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use porchlight_bus::{KafkaConfig, TableConfig};
use porchlight_chassis::config::{AdminConfig, LifecycleConfig, LogConfig};
use porchlight_clips::{S3Config, sweep::Pace};
use porchlight_store::CqlConfig;
use serde::Deserialize;

use crate::retention::LEASE_MS;

/// Every key of the configuration, with its default and what it is for.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

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
    /// The end of clips and thumbnails.
    pub retention: RetentionConfig,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// ScyllaDB or Cassandra.
    pub cql: CqlConfig,
    /// The store of objects.
    pub s3: S3Config,
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

/// The `[retention]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// How often each shard of the stored objects is walked, ms.
    pub every_ms: u64,
    /// How many objects are judged in a second, at most.
    pub objects_per_s: NonZeroU32,
    /// How old an object that no row names must be to count as abandoned, ms.
    pub orphan_after_ms: i64,
    /// How many objects are listed at once, 1 to 1000.
    pub page: usize,
}

impl RetentionConfig {
    /// Refuses what destroys clips or loses a shard.
    ///
    /// # Errors
    /// A sentence that names the keys.
    pub fn check(&self) -> Result<(), String> {
        if self.every_ms < 100 {
            return Err("retention.every_ms must be at least 100".into());
        }
        if self.orphan_after_ms < 1_000 {
            return Err("retention.orphan_after_ms must be at least 1000: an upload is an orphan until its record is \
                        handled"
                .into());
        }
        if !(1..=1_000).contains(&self.page) {
            return Err("retention.page must be from 1 to 1000: what one listing holds".into());
        }
        // Half of the lease: a page may be slow.
        if self.page as u64 * 2_000 / u64::from(self.objects_per_s.get()) > LEASE_MS.unsigned_abs() {
            return Err(
                "retention.page must be at most 30 times retention.objects_per_s: a shard is this process's for \
                        60 s, renewed after each page"
                    .into(),
            );
        }
        Ok(())
    }

    /// How a walk goes.
    pub fn pace(&self) -> Pace {
        Pace { orphan_after_ms: self.orphan_after_ms, objects_per_s: self.objects_per_s, page: self.page }
    }
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
        self.s3.check()?;
        self.retention.check()?;
        if self.kafka.drain_ms >= self.lifecycle.drain_ms {
            return Err(
                "kafka.drain_ms must be below lifecycle.drain_ms: the consumer's drain is a part of the whole, and \
                        what it has finished must still be committed"
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
        let credentials =
            [("PORCHLIGHT_S3__ACCESS_KEY_ID", "porchlight"), ("PORCHLIGHT_S3__SECRET_ACCESS_KEY", "not a secret")];
        let env = credentials.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        porchlight_chassis::config::load(DEFAULT_TOML, None, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_lack_only_the_credentials_of_s3() {
        let config = with(&[]).unwrap();
        assert_eq!(config.cql.keyspace, "porchlight");
        assert!(config.retention.orphan_after_ms > 73 * 3_600_000, "longer than the log keeps a completion");
        assert!(with(&[("PORCHLIGHT_S3__ACCESS_KEY_ID", "")]).unwrap_err().contains("s3.access_key_id"));
        assert!(with(&[("PORCHLIGHT_S3__SECRET_ACCESS_KEY", "")]).unwrap_err().contains("s3.secret_access_key"));
    }

    #[test]
    fn dangerous_pairs_are_refused_with_a_sentence() {
        for (key, value, named) in [
            ("PORCHLIGHT_LIFECYCLE__DRAIN_MS", "20000", "lifecycle.drain_ms"),
            ("PORCHLIGHT_CQL__REQUEST_TIMEOUT_MS", "20000", "cql.request_timeout_ms"),
            ("PORCHLIGHT_NEIGHBORHOODS__MAX_AGE_MS", "500", "neighborhoods.max_age_ms"),
            ("PORCHLIGHT_RETENTION__EVERY_MS", "99", "retention.every_ms"),
            ("PORCHLIGHT_RETENTION__ORPHAN_AFTER_MS", "999", "retention.orphan_after_ms"),
            ("PORCHLIGHT_RETENTION__PAGE", "0", "retention.page"),
            ("PORCHLIGHT_RETENTION__PAGE", "1001", "retention.page"),
            ("PORCHLIGHT_RETENTION__OBJECTS_PER_S", "16", "retention.objects_per_s"),
            ("PORCHLIGHT_RETENTION__OBJECTS_PER_S", "0", "nonzero"),
            ("PORCHLIGHT_KAFKA__PRODUCE_WAIT_MS", "1000", "produce_wait_ms"),
        ] {
            let refusal = with(&[(key, value)]).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(with(&[("PORCHLIGHT_CQL__KEYSPCE", "x")]).is_err());
    }
}
