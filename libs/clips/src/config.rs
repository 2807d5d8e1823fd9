//! The `[s3]` section.

use std::path::PathBuf;

use porchlight_secrets::{self as secrets, Secret};

/// How the secret is called in refusals.
const SECRET: &str = "s3.secret_access_key";

/// The `[s3]` section of every service's configuration. Every key has its default in the service's `default.toml`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// Where the services reach it, e.g. `https://s3.example.org`.
    pub endpoint: String,
    /// Where cameras and apps reach it: presigned URLs name it. Empty: the same.
    pub public_endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket. It must exist.
    pub bucket: String,
    /// Put before every key. Empty, or ends with `/`.
    pub prefix: String,
    /// `endpoint/bucket/key` and not `bucket.endpoint/key`.
    pub path_style: bool,
    /// The access key.
    pub access_key_id: String,
    /// The secret; or empty: read from the file below.
    pub secret_access_key: String,
    /// A file that holds the secret; white space around it does not count. It is read again while the process runs, so
    /// that a changed one needs no new process. Empty: none.
    pub secret_access_key_file: PathBuf,
    /// PEM certificates to trust besides the system's. Empty: none. Verification is never switched off.
    pub ca_file: PathBuf,
    /// How long one request may take, its one retry included.
    pub timeout_ms: u64,
}

impl std::fmt::Debug for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl S3Config {
    /// Refuses what cannot be, in a sentence that names the key. Reads no file.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.endpoint.is_empty() {
            return Err("s3.endpoint is not set".to_owned());
        }
        check_endpoint("s3.endpoint", &self.endpoint)?;
        if !self.public_endpoint.is_empty() {
            check_endpoint("s3.public_endpoint", &self.public_endpoint)?;
        }
        if self.region.is_empty() {
            return Err("s3.region is not set".to_owned());
        }
        check_bucket(&self.bucket)?;
        check_prefix(&self.prefix)?;
        if self.access_key_id.is_empty() {
            return Err("s3.access_key_id is not set".to_owned());
        }
        secrets::check_given_once(SECRET, &self.in_place(), &self.secret_access_key_file)?;
        if !(100..=60_000).contains(&self.timeout_ms) {
            return Err("s3.timeout_ms must be from 100 to 60000".to_owned());
        }
        Ok(())
    }

    /// The secret, from where it is, as it is now.
    pub(crate) fn secret(&self) -> Result<Secret, String> {
        secrets::reveal(SECRET, &self.in_place(), &self.secret_access_key_file)
    }

    fn in_place(&self) -> Secret {
        Secret::new(&*self.secret_access_key)
    }

    /// The certificates to trust besides the system's, as PEM.
    pub(crate) fn authorities(&self) -> Result<Option<Vec<u8>>, String> {
        if secrets::is_none(&self.ca_file) { Ok(None) } else { secrets::read("s3.ca_file", &self.ca_file).map(Some) }
    }
}

/// A scheme and a host, and nothing that would become part of a key or of a log. The text is not repeated: somebody may
/// have written a password into it.
fn check_endpoint(key: &str, text: &str) -> Result<(), String> {
    let refused = || format!("{key} must be http:// or https://, a host and, if need be, a port, and nothing else");
    let uri: http::Uri = text.parse().map_err(|_| refused())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    let rest = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/") && !text.contains('#');
    if scheme && host && rest { Ok(()) } else { Err(refused()) }
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| edge(Some(c)) || c == '-' || c == '.';
    let named = (3..=63).contains(&bucket.len()) && bucket.chars().all(inner);
    match bucket {
        "" => Err("s3.bucket is not set".to_owned()),
        _ if named && edge(bucket.chars().next()) && edge(bucket.chars().last()) => Ok(()),
        _ => Err("s3.bucket must be 3 to 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends".to_owned()),
    }
}

/// No `.`: a server that keeps objects as files would take `..` for the folder above.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let holds = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '/' | '_' | '-');
    let parts = prefix.is_empty()
        || (prefix.ends_with('/') && prefix.len() <= 256 && !prefix.starts_with('/') && !prefix.contains("//"));
    if parts && prefix.chars().all(holds) {
        Ok(())
    } else {
        Err("s3.prefix must be empty, or folders of a-z, 0-9, '-' and '_', each followed by '/'".to_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Settings of a server that nobody asks.
    pub(crate) fn example() -> S3Config {
        S3Config {
            endpoint: "http://127.0.0.1:9".into(),
            public_endpoint: "https://clips.example.org".into(),
            region: "us-east-1".into(),
            bucket: "porchlight".into(),
            prefix: "one/".into(),
            path_style: true,
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            secret_access_key_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            timeout_ms: 5_000,
        }
    }

    fn refusal(change: impl FnOnce(&mut S3Config)) -> String {
        let mut config = example();
        change(&mut config);
        config.check().unwrap_err()
    }

    #[test]
    fn what_can_be_is_taken() {
        for (endpoint, public, prefix) in [
            ("http://127.0.0.1:9", "", ""),
            ("https://s3.example.org", "https://clips.example.org:8443/", "a/"),
            ("https://[::1]:9000", "http://clips", "a-b/c_9/"),
        ] {
            let config = S3Config {
                endpoint: endpoint.into(),
                public_endpoint: public.into(),
                prefix: prefix.into(),
                ..example()
            };
            assert_eq!(config.check(), Ok(()), "{endpoint} {public} {prefix}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_key() {
        assert_eq!(refusal(|c| c.endpoint.clear()), "s3.endpoint is not set");
        for bad in [
            "s3.example.org",
            "ftp://s3.example.org",
            "https://",
            "https://user:word@s3.example.org",
            "https://s3.example.org/base",
            "https://s3.example.org/?a=b",
            "https://s3.example.org/#a",
            "https://s3 example.org",
        ] {
            let said = refusal(|c| c.endpoint = bad.into());
            assert!(said.starts_with("s3.endpoint must be http:// or https://"), "{bad}: {said}");
            assert!(!said.contains("word"), "{said}");
            assert!(refusal(|c| c.public_endpoint = bad.into()).starts_with("s3.public_endpoint must be"), "{bad}");
        }
        assert_eq!(refusal(|c| c.region.clear()), "s3.region is not set");
        assert_eq!(refusal(|c| c.bucket.clear()), "s3.bucket is not set");
        for bad in ["ab", "Abc", "a/b", "-abc", "abc.", "a b", &"a".repeat(64)] {
            assert!(refusal(|c| c.bucket = bad.into()).starts_with("s3.bucket must be"), "{bad}");
        }
        for bad in ["a", "/", "/a/", "a//", "../", "A/", "a b/", "é/", &format!("{}/", "a".repeat(256))] {
            assert!(refusal(|c| c.prefix = bad.into()).starts_with("s3.prefix must be"), "{bad}");
        }
        assert_eq!(refusal(|c| c.access_key_id.clear()), "s3.access_key_id is not set");
        assert!(refusal(|c| c.secret_access_key.clear()).ends_with("must be set"));
        assert!(refusal(|c| c.secret_access_key_file = "f".into()).ends_with("one is enough"));
        for bad in [0, 99, 60_001, u64::MAX] {
            assert_eq!(refusal(|c| c.timeout_ms = bad), "s3.timeout_ms must be from 100 to 60000");
        }
    }

    #[test]
    fn the_secret_is_read_from_its_file_without_the_end_of_line_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " s3cret\n").unwrap();
        let mut config =
            S3Config { secret_access_key: String::new(), secret_access_key_file: file.path().to_owned(), ..example() };
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.secret().unwrap().expose(), "s3cret");
        std::fs::write(file.path(), "\n").unwrap();
        assert_eq!(config.secret().unwrap_err(), "s3.secret_access_key is empty");
        config.secret_access_key_file = "/nowhere/at/all".into();
        assert!(config.secret().unwrap_err().starts_with("s3.secret_access_key_file cannot be read"));
        assert!(!format!("{:?}", example()).contains("wJalr"));
    }
}
