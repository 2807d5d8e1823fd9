//! Settings, and the pairs of them that would lose or lie.

use porchlight_bus::KafkaConfig;
use porchlight_chassis::config::{AdminConfig, HttpConfig, LifecycleConfig, LogConfig};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The commented file with every key and its default.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// The whole configuration. Reading one refuses dangerous pairs with a sentence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// The drain.
    pub lifecycle: LifecycleConfig,
    /// The second port.
    pub admin: AdminConfig,
    /// The device API.
    pub http: HttpConfig,
    /// The log of events.
    pub kafka: KafkaConfig,
    /// What is particular to this service.
    pub ingest: IngestConfig,
}

/// The `[ingest]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// With more requests in hand than this, motion is refused (429) and dings pass.
    pub shed_motion_above: usize,
    /// With more requests in hand than this, everything is refused (503).
    pub refuse_above: usize,
    /// The most events in one body.
    pub max_batch_records: usize,
    /// Whether the last 15 minutes of the log are read at start and followed.
    pub courtesy_tail: bool,
    /// The most event ids known at once.
    pub courtesy_max_ids: usize,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // The inherent function that `remote = "Self"` makes of the derive.
        let config = Self::deserialize(d)?;
        config.check().map_err(D::Error::custom)?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        self.kafka.check().map_err(|e| e.to_string())?;
        let below = |small: (&str, u64), large: (&str, u64), otherwise: &str| {
            if small.1 < large.1 {
                Ok(())
            } else {
                Err(format!("{} ({}) must be below {} ({}): {otherwise}", small.0, small.1, large.0, large.1))
            }
        };
        let request = self.http.request_timeout_ms;
        below(
            ("kafka.produce_wait_ms", self.kafka.produce_wait_ms),
            ("http.request_timeout_ms", request),
            "else a request times out before it knows whether its event is kept",
        )?;
        below(
            ("twice http.request_timeout_ms", request.saturating_mul(2)),
            ("lifecycle.drain_ms", self.lifecycle.drain_ms),
            "else a drain cuts requests that are in hand",
        )?;
        below(
            ("ingest.shed_motion_above", self.ingest.shed_motion_above as u64),
            ("ingest.refuse_above", self.ingest.refuse_above as u64),
            "else dings are refused together with motion",
        )?;
        for (key, value) in [
            ("ingest.max_batch_records", self.ingest.max_batch_records),
            ("ingest.courtesy_max_ids", self.ingest.courtesy_max_ids),
            ("http.max_body_bytes", self.http.max_body_bytes),
            ("http.max_decoded_bytes", self.http.max_decoded_bytes),
        ] {
            if value == 0 {
                return Err(format!("{key} is 0: nothing would be accepted"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(vars: &[(&str, &str)]) -> Result<Config, String> {
        let env = vars.iter().map(|(k, v)| (format!("PORCHLIGHT_{k}"), (*v).to_owned()));
        porchlight_chassis::config::load(DEFAULT_TOML, None, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_whole_and_sound() {
        let config = load(&[]).unwrap();
        assert!(config.ingest.courtesy_tail);
    }

    #[test]
    fn dangerous_pairs_are_refused_with_a_sentence() {
        for (vars, sentence) in [
            (&[("KAFKA__MESSAGE_TIMEOUT_MS", "6000")][..], "kafka.message_timeout_ms (6000) must be below"),
            (
                &[("HTTP__REQUEST_TIMEOUT_MS", "6000")],
                "kafka.produce_wait_ms (6000) must be below http.request_timeout",
            ),
            (&[("LIFECYCLE__DRAIN_MS", "16000")], "twice http.request_timeout_ms (16000) must be below lifecycle"),
            (&[("INGEST__REFUSE_ABOVE", "512")], "ingest.shed_motion_above (512) must be below ingest.refuse_above"),
            (&[("INGEST__COURTESY_MAX_IDS", "0")], "ingest.courtesy_max_ids is 0"),
        ] {
            let line = load(vars).unwrap_err();
            assert!(line.contains(sentence), "{line}");
            assert!(!line.contains('\n'));
        }
    }
}
