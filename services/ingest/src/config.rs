//! Settings, and the pairs of them that would lose or lie.

use std::{io::Read as _, path::PathBuf};

use porchlight_bus::KafkaConfig;
use porchlight_chassis::config::{AdminConfig, HttpConfig, LifecycleConfig, LogConfig};
use porchlight_clips::{GrantKey, S3Config};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The commented file with every key and its default.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// A key file holds 43 characters and perhaps a line end.
const MAX_KEY_FILE_BYTES: u64 = 256;

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
    /// The store of objects.
    pub s3: S3Config,
    /// The grants of uploads.
    pub media: MediaConfig,
    /// The table of devices.
    pub devices: DevicesConfig,
    /// What is particular to this service.
    pub ingest: IngestConfig,
}

/// The `[devices]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicesConfig {
    /// A folder of this process alone for a snapshot of the table. Empty: none.
    pub snapshot_dir: PathBuf,
}

/// The `[ingest]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// With more requests in hand than this, motion and clips are refused (429) and dings pass.
    pub shed_motion_above: usize,
    /// With no append kept for so long although some are on their way, motion is refused, ms.
    pub shed_motion_after_ms: u64,
    /// With more requests in hand than this, everything is refused (503).
    pub refuse_above: usize,
    /// The most events in one body.
    pub max_batch_records: usize,
    /// Whether the last 15 minutes of the log are read at start and followed.
    pub courtesy_tail: bool,
    /// The most event ids known at once.
    pub courtesy_max_ids: usize,
}

/// The `[media]` section.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// The key that signs grants, base64url of 32 bytes; or empty: read from `grant_key_file`.
    pub grant_key: String,
    /// A file that holds the key. Empty: none.
    pub grant_key_file: PathBuf,
}

impl std::fmt::Debug for MediaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaConfig")
            .field("grant_key", &if self.grant_key.is_empty() { "" } else { "(set)" })
            .field("grant_key_file", &self.grant_key_file)
            .finish()
    }
}

impl MediaConfig {
    /// The key, which stands in exactly one of two places.
    ///
    /// # Errors
    /// A sentence that names the setting, without the key.
    pub fn key(&self) -> Result<GrantKey, String> {
        let (name, text) = match (self.grant_key.is_empty(), self.grant_key_file.as_os_str().is_empty()) {
            (true, true) => {
                return Err(
                    "media.grant_key or media.grant_key_file must be set: run `porchlight grant-key new`, and \
                            give every ingest the same"
                        .to_owned(),
                );
            }
            (false, false) => {
                return Err("media.grant_key and media.grant_key_file are both set; one is enough".to_owned());
            }
            (false, true) => ("media.grant_key", self.grant_key.clone()),
            (true, false) => ("media.grant_key_file", self.read_file()?),
        };
        GrantKey::parse(&text).map_err(|sentence| format!("{name}: {sentence}"))
    }

    fn read_file(&self) -> Result<String, String> {
        let mut text = String::new();
        std::fs::File::open(&self.grant_key_file)
            .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
            .map_err(|e| format!("media.grant_key_file {}: {e}", self.grant_key_file.display()))?;
        Ok(text)
    }
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
            ("kafka.produce_wait_ms and s3.timeout_ms", self.kafka.produce_wait_ms.saturating_add(self.s3.timeout_ms)),
            ("http.request_timeout_ms", request),
            "else a request times out before it knows whether its upload is completed",
        )?;
        below(
            ("ingest.shed_motion_after_ms", self.ingest.shed_motion_after_ms),
            ("kafka.produce_wait_ms", self.kafka.produce_wait_ms),
            "else a log that is away refuses dings before it sheds motion",
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
        self.s3.check()?;
        self.media.key().map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SET: [(&str, &str); 3] = [
        ("S3__ACCESS_KEY_ID", "porchlight"),
        ("S3__SECRET_ACCESS_KEY", "the secret"),
        ("MEDIA__GRANT_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"),
    ];

    fn load(vars: &[(&str, &str)]) -> Result<Config, String> {
        let env = SET.iter().chain(vars).map(|(k, v)| (format!("PORCHLIGHT_{k}"), (*v).to_owned()));
        porchlight_chassis::config::load(DEFAULT_TOML, None, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_lack_only_the_s3_key_and_the_grant_key() {
        let config = load(&[]).unwrap();
        assert!(config.ingest.courtesy_tail);
        for (key, sentence) in [
            ("S3__ACCESS_KEY_ID", "s3.access_key_id"),
            ("S3__SECRET_ACCESS_KEY", "s3.secret_access_key"),
            ("MEDIA__GRANT_KEY", "run `porchlight grant-key new`"),
        ] {
            let line = load(&[(key, "")]).unwrap_err();
            assert!(line.contains(sentence) && !line.contains('\n'), "{line}");
        }
        let shown = format!("{config:?}");
        assert!(!shown.contains("AQEB") && !shown.contains("the secret"), "{shown}");
    }

    #[test]
    fn the_grant_key_stands_in_one_place_and_is_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("grant.key");
        let path = file.to_str().unwrap();
        let from_file = || load(&[("MEDIA__GRANT_KEY", ""), ("MEDIA__GRANT_KEY_FILE", path)]);
        assert!(from_file().unwrap_err().contains("media.grant_key_file"));
        std::fs::write(&file, GrantKey::generate() + "\n").unwrap();
        from_file().unwrap().media.key().unwrap();
        assert!(load(&[("MEDIA__GRANT_KEY_FILE", path)]).unwrap_err().contains("both set"));
        let line = load(&[("MEDIA__GRANT_KEY", "not-a-key")]).unwrap_err();
        assert!(line.contains("media.grant_key") && !line.contains("not-a-key"), "{line}");
    }

    #[test]
    fn dangerous_pairs_are_refused_with_a_sentence() {
        for (vars, sentence) in [
            (&[("KAFKA__MESSAGE_TIMEOUT_MS", "6000")][..], "kafka.message_timeout_ms (6000) must be below"),
            (
                &[("HTTP__REQUEST_TIMEOUT_MS", "6000")],
                "kafka.produce_wait_ms (6000) must be below http.request_timeout",
            ),
            (
                &[("S3__TIMEOUT_MS", "2000")],
                "kafka.produce_wait_ms and s3.timeout_ms (8000) must be below http.request_timeout",
            ),
            (&[("LIFECYCLE__DRAIN_MS", "16000")], "twice http.request_timeout_ms (16000) must be below lifecycle"),
            (&[("INGEST__REFUSE_ABOVE", "512")], "ingest.shed_motion_above (512) must be below ingest.refuse_above"),
            (&[("INGEST__SHED_MOTION_AFTER_MS", "6000")], "ingest.shed_motion_after_ms (6000) must be below kafka."),
            (&[("INGEST__COURTESY_MAX_IDS", "0")], "ingest.courtesy_max_ids is 0"),
        ] {
            let line = load(vars).unwrap_err();
            assert!(line.contains(sentence), "{line}");
            assert!(!line.contains('\n'));
        }
    }
}
