//! Who the brokers are, and who we are: TLS and SASL of the `[kafka]` section, as the client's options.
//!
//! Certificates and host names are always verified; there is no key to switch that off. What is read here is read when a
//! client is made: a changed password or certificate needs a new process.

use porchlight_secrets::{self as secrets, Pem, TlsFiles};
use rdkafka::config::ClientConfig;

use crate::{BusError, KafkaConfig};

/// How a client and the brokers talk (Kafka's own `security.protocol`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// In the clear, and nobody says who they are.
    #[default]
    Plaintext,
    /// Over TLS.
    Ssl,
    /// In the clear, with a password that is proven and not sent. Everything else can be read on the way.
    SaslPlaintext,
    /// Over TLS, with a password.
    SaslSsl,
}

impl SecurityProtocol {
    /// As Kafka calls it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        match self {
            Self::Ssl | Self::SaslSsl => true,
            Self::Plaintext | Self::SaslPlaintext => false,
        }
    }

    fn has_sasl(self) -> bool {
        match self {
            Self::SaslPlaintext | Self::SaslSsl => true,
            Self::Plaintext | Self::Ssl => false,
        }
    }
}

/// How a password is proven (Kafka's own `sasl.mechanism`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    fn kafkas_name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

fn files(config: &KafkaConfig) -> TlsFiles<'_> {
    TlsFiles { section: "kafka", ca: &config.ca_file, cert: &config.cert_file, key: &config.key_file }
}

/// Refuses pairs that mean nothing together, in a sentence. Reads no file.
pub(crate) fn check(config: &KafkaConfig) -> Result<(), BusError> {
    let protocol = config.security_protocol;
    let off = format!("kafka.security_protocol is {}", protocol.name());
    files(config).check((!protocol.has_tls()).then_some(&off)).map_err(BusError::Config)?;
    if protocol.has_sasl() {
        if config.username.is_empty() {
            return Err(BusError::Config(format!("{off}, but kafka.username is not set")));
        }
        return secrets::check_given_once("kafka.password", &config.password, &config.password_file)
            .map_err(BusError::Config);
    }
    for (key, is_set) in [
        ("username", !config.username.is_empty()),
        ("password", !config.password.is_empty()),
        ("password_file", !secrets::is_none(&config.password_file)),
    ] {
        if is_set {
            return Err(BusError::Config(format!(
                "kafka.{key} is set, but {off}: nobody would be told. Set sasl_ssl, or leave it empty"
            )));
        }
    }
    Ok(())
}

/// Tells a client. Reads the files, so that one that is missing or is something else is named by its key.
pub(crate) fn apply(config: &KafkaConfig, client: &mut ClientConfig) -> Result<(), BusError> {
    let protocol = config.security_protocol;
    client.set("security.protocol", protocol.name());
    if protocol.has_tls() {
        client
            .set("enable.ssl.certificate.verification", "true")
            // The name in the certificate is that by which the broker is reached, bootstrap and advertised alike.
            .set("ssl.endpoint.identification.algorithm", "https");
        for (key, option, path, what) in [
            ("kafka.ca_file", "ssl.ca.location", &config.ca_file, Pem::Certificates),
            ("kafka.cert_file", "ssl.certificate.location", &config.cert_file, Pem::Certificates),
            ("kafka.key_file", "ssl.key.location", &config.key_file, Pem::PrivateKey),
        ] {
            if !secrets::is_none(path) {
                secrets::pem(key, path, what).map_err(BusError::Config)?;
                client.set(option, path.display().to_string());
            }
        }
    }
    if protocol.has_sasl() {
        let password = secrets::reveal("kafka.password", &config.password, &config.password_file);
        client
            .set("sasl.mechanisms", config.sasl_mechanism.kafkas_name())
            .set("sasl.username", &config.username)
            .set("sasl.password", password.map_err(BusError::Config)?.expose());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use porchlight_secrets::Secret;

    use super::*;
    use crate::config::tests::valid;

    fn sasl() -> KafkaConfig {
        KafkaConfig {
            security_protocol: SecurityProtocol::SaslSsl,
            username: "porchlight".into(),
            password: Secret::new("s3cret"),
            ..valid()
        }
    }

    fn refused(config: &KafkaConfig) -> String {
        match config.check() {
            Err(BusError::Config(sentence)) => sentence,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn pairs_that_mean_nothing_together_are_refused_by_the_names_of_their_keys() {
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        sasl().check().unwrap();
        KafkaConfig { security_protocol: SaslPlaintext, ..sasl() }.check().unwrap();
        KafkaConfig { security_protocol: Ssl, ca_file: "/ca.pem".into(), ..valid() }.check().unwrap();
        for protocol in [Plaintext, Ssl] {
            let said = refused(&KafkaConfig { security_protocol: protocol, ..sasl() });
            assert!(said.starts_with("kafka.username is set, but kafka.security_protocol is "), "{said}");
            let said = refused(&KafkaConfig { security_protocol: protocol, username: String::new(), ..sasl() });
            assert!(said.starts_with("kafka.password is set, but "), "{said}");
            let said =
                refused(&KafkaConfig { security_protocol: protocol, password_file: "/password".into(), ..valid() });
            assert!(said.starts_with("kafka.password_file is set, but "), "{said}");
        }
        for protocol in [Plaintext, SaslPlaintext] {
            let said = refused(&KafkaConfig { security_protocol: protocol, ca_file: "/ca.pem".into(), ..sasl() });
            assert!(said.starts_with("kafka.ca_file is set, but kafka.security_protocol is "), "{said}");
        }
        let said = refused(&KafkaConfig { username: String::new(), ..sasl() });
        assert!(said.ends_with("kafka.username is not set"), "{said}");
        let said = refused(&KafkaConfig { password: Secret::default(), ..sasl() });
        assert_eq!(said, "kafka.password or kafka.password_file must be set");
        let said = refused(&KafkaConfig { password_file: "/password".into(), ..sasl() });
        assert!(said.ends_with("one is enough"), "{said}");
        let said = refused(&KafkaConfig { security_protocol: SaslSsl, cert_file: "/c.pem".into(), ..sasl() });
        assert_eq!(said, "kafka.cert_file is set without kafka.key_file");
    }

    #[test]
    fn every_client_proves_itself_and_verifies_the_other_side() {
        let config = sasl();
        for client in [
            config.admin_client(),
            config.producer_client(),
            config.group_client("stage"),
            config.reader_client(),
            config.question_client("stage"),
        ] {
            let client = client.unwrap();
            for (option, value) in [
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanisms", "SCRAM-SHA-512"),
                ("sasl.username", "porchlight"),
                ("sasl.password", "s3cret"),
                ("enable.ssl.certificate.verification", "true"),
                ("ssl.endpoint.identification.algorithm", "https"),
            ] {
                assert_eq!(client.get(option), Some(value), "{option}");
            }
            client.create_native_config().unwrap();
            assert!(!format!("{client:?}").contains("s3cret"));
        }
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn the_password_of_a_file_is_that_of_now_and_what_is_not_there_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let config = KafkaConfig { password: Secret::default(), password_file: file.path().into(), ..sasl() };
        assert_eq!(config.admin_client().unwrap().get("sasl.password"), Some("first"));
        std::fs::write(file.path(), "second\n").unwrap();
        assert_eq!(config.admin_client().unwrap().get("sasl.password"), Some("second"));
        let config = KafkaConfig { password_file: "/nowhere/at/all".into(), ..config };
        let said = config.admin_client().unwrap_err().to_string();
        assert!(said.starts_with("kafka.password_file cannot be read"), "{said}");
        let said = KafkaConfig { ca_file: file.path().into(), ..sasl() }.admin_client().unwrap_err().to_string();
        assert_eq!(said, "kafka.ca_file must hold certificates in PEM");
    }

    #[test]
    fn the_names_are_kafkas_own() {
        for (text, protocol) in [
            ("\"plaintext\"", SecurityProtocol::Plaintext),
            ("\"ssl\"", SecurityProtocol::Ssl),
            ("\"sasl_plaintext\"", SecurityProtocol::SaslPlaintext),
            ("\"sasl_ssl\"", SecurityProtocol::SaslSsl),
        ] {
            assert_eq!(serde_json::from_str::<SecurityProtocol>(text).unwrap(), protocol);
            assert_eq!(text.trim_matches('"'), protocol.name());
        }
        for (text, mechanism) in
            [("\"scram-sha-256\"", SaslMechanism::ScramSha256), ("\"scram-sha-512\"", SaslMechanism::ScramSha512)]
        {
            assert_eq!(serde_json::from_str::<SaslMechanism>(text).unwrap(), mechanism);
            assert_eq!(text.trim_matches('"').to_uppercase(), mechanism.kafkas_name());
        }
    }
}
