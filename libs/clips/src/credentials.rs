//! Who signs: the access key, and its secret as it is now. A secret in a file is read again while the process runs, so that
//! a new one needs no restart. The old one is good for a moment after the file has changed: let both be valid meanwhile.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::Credentials;
use porchlight_secrets::Secret;

use crate::S3Config;

/// How old what was read may be.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The credentials as they are.
pub(crate) struct Fresh {
    config: S3Config,
    read_every: Duration,
    last: Mutex<Last>,
}

struct Last {
    secret: Secret,
    at: Instant,
}

impl Fresh {
    /// # Errors
    /// A sentence: there is no secret now.
    pub(crate) fn new(config: &S3Config) -> Result<Self, String> {
        let last = Last { secret: config.secret()?, at: Instant::now() };
        Ok(Self { config: config.clone(), read_every: READ_EVERY, last: Mutex::new(last) })
    }

    /// A file that is gone or empty for a moment, as when it is being replaced, changes nothing.
    fn now(&self) -> Credentials {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() >= self.read_every {
            last.at = Instant::now();
            match self.config.secret() {
                Ok(secret) if secret == last.secret => {}
                Ok(secret) => {
                    tracing::info!("s3.secret_access_key has changed");
                    last.secret = secret;
                }
                Err(error) => tracing::warn!(error, "the secret of before is used on"),
            }
        }
        Credentials::new(&self.config.access_key_id, last.secret.expose(), None, None, "porchlight")
    }
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fresh").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ProvideCredentials for Fresh {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(self.now()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::tests::example;

    #[test]
    fn a_new_secret_is_taken_and_a_file_that_is_gone_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let config =
            S3Config { secret_access_key: String::new(), secret_access_key_file: file.path().into(), ..example() };
        let mut fresh = Fresh { read_every: Duration::ZERO, ..Fresh::new(&config).unwrap() };
        let secret = |fresh: &Fresh| fresh.now().secret_access_key().to_owned();
        assert_eq!(secret(&fresh), "first");
        std::fs::write(file.path(), "second\n").unwrap();
        assert_eq!(secret(&fresh), "second");
        for gone in ["", "\n"] {
            std::fs::write(file.path(), gone).unwrap();
            assert_eq!(secret(&fresh), "second");
        }
        fresh.read_every = READ_EVERY;
        std::fs::write(file.path(), "third\n").unwrap();
        assert_eq!(secret(&fresh), "second", "not read at every request");
        assert!(!format!("{fresh:?}").contains("second"));
    }
}
