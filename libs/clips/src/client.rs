//! The S3 clients, made from our settings alone: no environment variable, no profile and no metadata service can change
//! where clips go or who signs for them.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{S3Config, credentials::Fresh};

/// The two clients: they differ in the endpoint.
pub(crate) struct Clients {
    /// For what is asked.
    pub(crate) inner: Client,
    /// For what is signed and given away. It never sends anything.
    pub(crate) public: Client,
}

impl Clients {
    /// # Errors
    /// A setting that cannot be, in a sentence.
    pub(crate) fn new(config: &S3Config) -> Result<Self, String> {
        config.check()?;
        let credentials = Fresh::new(config)?;
        let base = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            // They are asked for at each request: what is kept, and for how long, is decided there.
            .identity_cache(IdentityCache::no_cache())
            .force_path_style(config.path_style)
            // The SDK's own choice of checksums is not understood by every server. We name the one that we want.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .timeout_config(timeouts(config.timeout_ms))
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_max_backoff(Duration::from_millis(200)))
            .http_client(http_client(config)?);
        let public = if config.public_endpoint.is_empty() { &config.endpoint } else { &config.public_endpoint };
        let client =
            |endpoint: &str| Client::from_conf(base.clone().endpoint_url(endpoint.trim_end_matches('/')).build());
        Ok(Self { inner: client(&config.endpoint), public: client(public) })
    }
}

/// The whole in its time; the first attempt in half of it, so that a second one has some left.
fn timeouts(timeout_ms: u64) -> TimeoutConfig {
    let whole = Duration::from_millis(timeout_ms);
    TimeoutConfig::builder()
        .operation_timeout(whole)
        .operation_attempt_timeout(whole / 2)
        .read_timeout(whole / 2)
        .connect_timeout(whole / 4)
        .build()
}

/// The system's authorities are always trusted, and verification cannot be switched off. No proxy is taken from the
/// environment.
fn http_client(config: &S3Config) -> Result<SharedHttpClient, String> {
    let mut trusted = TrustStore::default();
    if let Some(pem) = config.authorities()? {
        check_authorities(&pem)?;
        trusted = trusted.with_pem_certificate(pem);
    }
    if config.endpoint.starts_with("http://") {
        return Ok(Builder::new().build_http());
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|_| "s3.ca_file cannot be used".to_owned())?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

/// The HTTP client takes certificates on trust and panics at the first request over one that is none.
fn check_authorities(pem: &[u8]) -> Result<(), String> {
    let refused = || "s3.ca_file must hold certificates in PEM, and nothing that is none".to_owned();
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate.map_err(|_| refused())?).map_err(|_| refused())?;
    }
    if store.is_empty() { Err(refused()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::tests::example;

    /// It signs nothing but the server of `tests/tls.rs`; its key is thrown away.
    const AUTHORITY: &str = include_str!("../tests/tls/authority.pem");

    fn with_authorities(endpoint: &str, pem: &str) -> Result<Clients, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        Clients::new(&S3Config { endpoint: endpoint.into(), ca_file: file.path().into(), ..example() })
    }

    #[test]
    fn authorities_are_taken_and_what_is_none_is_refused_at_the_start() {
        for endpoint in ["https://127.0.0.1:9", "http://127.0.0.1:9"] {
            assert!(with_authorities(endpoint, AUTHORITY).is_ok());
            assert!(with_authorities(endpoint, &format!("{AUTHORITY}{AUTHORITY}")).is_ok());
            let cut = AUTHORITY.lines().next().unwrap();
            let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            for bad in ["", "no PEM", cut, garbage, &format!("{AUTHORITY}{garbage}")] {
                assert!(with_authorities(endpoint, bad).err().unwrap().starts_with("s3.ca_file must hold"), "{bad}");
            }
        }
        let config = S3Config { ca_file: "/nowhere/at/all".into(), ..example() };
        assert!(Clients::new(&config).err().unwrap().starts_with("s3.ca_file cannot be read"));
    }

    #[test]
    fn a_setting_that_cannot_be_is_refused() {
        assert!(Clients::new(&S3Config { bucket: String::new(), ..example() }).is_err());
    }

    #[test]
    fn every_timeout_is_within_the_whole() {
        let timeouts = timeouts(1_000);
        assert_eq!(timeouts.operation_timeout(), Some(Duration::from_millis(1_000)));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(Duration::from_millis(500)));
        assert_eq!(timeouts.connect_timeout(), Some(Duration::from_millis(250)));
    }
}
