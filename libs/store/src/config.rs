//! The `[cql]` section.

use std::path::{Path, PathBuf};

use porchlight_secrets::{self as secrets, Secret, TlsFiles};

/// The `[cql]` section of every service's configuration. Every key has its default in the service's `default.toml`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqlConfig {
    /// `host:port` of some nodes.
    pub contact_points: Vec<String>,
    /// Over TLS. A node's certificate must come from an authority of `ca_file` and hold the IP address that the node is
    /// reached at, or `server_name` if that is set. It is always verified.
    pub tls: bool,
    /// The DNS name that the certificate of *every* node must hold, where certificates hold no addresses: the driver
    /// knows nodes by address only. Empty: the address.
    pub server_name: String,
    /// PEM certificates of the authorities to trust. Nobody else is: a database's authority is its operator's own.
    pub ca_file: PathBuf,
    /// Our own certificate with its chain, in PEM, for nodes that ask for one. Empty: none.
    pub cert_file: PathBuf,
    /// Its private key, in PEM without a pass phrase.
    pub key_file: PathBuf,
    /// Who we are. Empty: nobody asks.
    pub username: String,
    /// The password; or empty: read from the file below.
    pub password: Secret,
    /// A file that holds the password; white space around it does not count. It is read again for each new connection,
    /// so that a changed one needs no new process. Empty: none.
    pub password_file: PathBuf,
    /// The keyspace.
    pub keyspace: String,
    /// The data centre to prefer.
    pub datacenter: String,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// The folder of the embedded store, which all services of this process share: then no server is asked, and the keys
    /// above mean nothing. Empty: ScyllaDB or Cassandra.
    pub folder: PathBuf,
}

impl CqlConfig {
    /// The folder of the embedded store, if it is that.
    pub fn embedded(&self) -> Option<&Path> {
        (!self.folder.as_os_str().is_empty()).then_some(self.folder.as_path())
    }

    /// Refuses what cannot be, in a sentence that names the key. Reads no file.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        self.check_names()?;
        let files = TlsFiles { section: "cql", ca: &self.ca_file, cert: &self.cert_file, key: &self.key_file };
        files.check((!self.tls).then_some("cql.tls is false"))?;
        if self.tls && secrets::is_none(&self.ca_file) {
            return Err("cql.tls is true, but cql.ca_file is not set: no certificate could be verified".to_owned());
        }
        if !self.tls && !self.server_name.is_empty() {
            return Err("cql.server_name is set, but cql.tls is false: nothing would look at it".to_owned());
        }
        if self.username.is_empty() {
            if !self.password.is_empty() || !secrets::is_none(&self.password_file) {
                return Err("cql.password is set without cql.username: nobody would be told".to_owned());
            }
            return Ok(());
        }
        secrets::check_given_once("cql.password", &self.password, &self.password_file)
    }

    /// Both names stand unquoted in statements.
    fn check_names(&self) -> Result<(), String> {
        let word = |s: &str, more: &[u8]| {
            (1..=48).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        if !word(&self.keyspace, b"_")
            || !self.keyspace.starts_with(|c: char| c.is_ascii_lowercase())
            || self.keyspace.contains(|c: char| c.is_ascii_uppercase())
        {
            return Err("cql.keyspace is 1 to 48 of a-z, 0-9 and _, a letter first".to_owned());
        }
        if !word(&self.datacenter, b"_-.") {
            return Err("cql.datacenter is 1 to 48 of a-z, A-Z, 0-9, _, - and .".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Settings of a database that nobody asks.
    pub(crate) fn example() -> CqlConfig {
        CqlConfig {
            contact_points: vec!["127.0.0.1:9".into()],
            keyspace: "porchlight".into(),
            datacenter: "datacenter1".into(),
            request_timeout_ms: 1,
            ..CqlConfig::default()
        }
    }

    #[test]
    fn names_that_would_break_a_statement_are_refused() {
        let config = |keyspace: &str, datacenter: &str| CqlConfig {
            keyspace: keyspace.into(),
            datacenter: datacenter.into(),
            ..example()
        };
        assert!(config("porchlight", "datacenter1").check().is_ok());
        for keyspace in ["", "a-b", "a b", "A", "1a", "a;", "a'", &"a".repeat(49)] {
            assert!(config(keyspace, "dc1").check().is_err(), "{keyspace}");
        }
        for datacenter in ["", "dc'1", "dc 1"] {
            assert!(config("a", datacenter).check().is_err(), "{datacenter}");
        }
    }

    #[test]
    fn pairs_that_mean_nothing_together_are_refused_by_the_names_of_their_keys() {
        let secure = || CqlConfig {
            tls: true,
            ca_file: "/ca.pem".into(),
            username: "porchlight".into(),
            password: Secret::new("s3cret"),
            ..example()
        };
        let refused = |config: CqlConfig| config.check().unwrap_err();
        secure().check().unwrap();
        CqlConfig { tls: false, ca_file: PathBuf::new(), ..secure() }.check().unwrap();
        assert!(!format!("{:?}", secure()).contains("s3cret"));
        let said = refused(CqlConfig { tls: false, ..secure() });
        assert_eq!(said, "cql.ca_file is set, but cql.tls is false: nothing would look at it");
        let said = refused(CqlConfig { ca_file: PathBuf::new(), ..secure() });
        assert!(said.contains("cql.ca_file is not set"), "{said}");
        let said = refused(CqlConfig { server_name: "db".into(), ..example() });
        assert!(said.starts_with("cql.server_name is set"), "{said}");
        let said = refused(CqlConfig { cert_file: "/c.pem".into(), ..secure() });
        assert_eq!(said, "cql.cert_file is set without cql.key_file");
        let said = refused(CqlConfig { username: String::new(), ..secure() });
        assert!(said.starts_with("cql.password is set without cql.username"), "{said}");
        let said = refused(CqlConfig { password: Secret::default(), ..secure() });
        assert_eq!(said, "cql.password or cql.password_file must be set");
        let said = refused(CqlConfig { password_file: "/p".into(), ..secure() });
        assert!(said.ends_with("one is enough"), "{said}");
    }
}
