//! Who the nodes are, and who we are: TLS and the password of the `[cql]` section, as the driver takes them, and what is
//! said when either is not as it should be.
//!
//! Certificates are read when a session is opened: changed ones need a new process. The password is read for each new
//! connection.

use std::sync::Arc;

use ::scylla::{
    authentication::{AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator},
    client::session_builder::SessionBuilder,
    errors::{ConnectionError, ConnectionSetupRequestErrorKind, DbError},
};
use porchlight_secrets::{self as secrets, Pem};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::{CqlConfig, StoreError};

/// Tells a session. Reads the files of certificates.
pub(super) fn apply(config: &CqlConfig, mut builder: SessionBuilder) -> Result<SessionBuilder, StoreError> {
    if config.tls {
        builder = builder.tls_context(Some(Arc::new(tls(config).map_err(StoreError::Refused)?)));
    }
    if !config.username.is_empty() {
        builder = builder.authenticator_provider(Arc::new(Password(config.clone())));
    }
    Ok(builder)
}

fn tls(config: &CqlConfig) -> Result<ClientConfig, String> {
    // Said, not left to a default: with two providers in one build there is none.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut authorities = RootCertStore::empty();
    for certificate in certificates("cql.ca_file", &config.ca_file)? {
        authorities.add(certificate).map_err(|e| format!("cql.ca_file holds what is no authority: {e}"))?;
    }
    let web_pki = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider)).build();
    let web_pki = web_pki.map_err(|e| format!("cql.ca_file cannot be used: {e}"))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| format!("TLS cannot be used: {e}"))?;
    let builder = if config.server_name.is_empty() {
        builder.with_webpki_verifier(web_pki)
    } else {
        let name = ServerName::try_from(config.server_name.clone());
        let name = name.map_err(|_| "cql.server_name is no DNS name".to_owned())?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(OneName { web_pki, name }))
    };
    if secrets::is_none(&config.cert_file) {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates("cql.cert_file", &config.cert_file)?;
    let key = secrets::pem("cql.key_file", &config.key_file, Pem::PrivateKey)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "cql.key_file must hold a private key in PEM")?;
    builder.with_client_auth_cert(chain, key).map_err(|e| format!("cql.cert_file and cql.key_file: {e}"))
}

fn certificates(key: &str, path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = secrets::pem(key, path, Pem::Certificates)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{key} must hold certificates in PEM, and nothing that is none"))
}

/// Verifies as everybody does, but for the name: the driver knows a node by its address, and this asks for the one name
/// of the settings instead.
#[derive(Debug)]
struct OneName {
    web_pki: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for OneName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.web_pki.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web_pki.supported_verify_schemes()
    }
}

/// The password as it is when a connection asks for it.
struct Password(CqlConfig);

#[async_trait::async_trait]
impl AuthenticatorProvider for Password {
    async fn start_authentication_session(
        &self,
        authenticator_name: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        let Self(config) = self;
        let password = secrets::reveal("cql.password", &config.password, &config.password_file)?;
        PlainTextAuthenticator::new(config.username.clone(), password.expose().to_owned())
            .start_authentication_session(authenticator_name)
            .await
    }
}

/// Why a connection could not be made, if who is who is the reason: a sentence that names the key.
pub(super) fn sentence(error: &ConnectionError, config: &CqlConfig) -> Option<String> {
    match error {
        ConnectionError::IoError(io) => io.get_ref()?.downcast_ref::<Error>().map(|e| of_tls(e, config)),
        ConnectionError::ConnectionSetupRequestError(setup) => match &setup.error {
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, text) => {
                Some(format!("the database refuses cql.username and cql.password: {text}"))
            }
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                Some("the database asks who we are: set cql.username and cql.password_file".to_owned())
            }
            ConnectionSetupRequestErrorKind::StartAuthSessionError(text) => Some(text.clone()),
            ConnectionSetupRequestErrorKind::BrokenConnection(_) if !config.tls => {
                Some("what answers there does not speak CQL in the clear: if it speaks TLS, set cql.tls".to_owned())
            }
            _ => None,
        },
        ConnectionError::BrokenConnection(_) if !config.tls => {
            Some("what answers there does not speak CQL in the clear: if it speaks TLS, set cql.tls".to_owned())
        }
        _ => None,
    }
}

fn of_tls(error: &Error, config: &CqlConfig) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "a node's certificate comes from no authority of cql.ca_file".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => match config.server_name.as_str() {
            "" => "a node's certificate does not hold the address that it is reached at: if it holds a DNS name, set \
                   cql.server_name"
                .to_owned(),
            name => format!("a node's certificate does not hold the name {name} (cql.server_name)"),
        },
        Error::InvalidMessage(_) => "what answers there does not speak TLS, and cql.tls is true".to_owned(),
        Error::AlertReceived(alert) => format!("a node refuses our side of TLS: {alert:?} (cql.cert_file?)"),
        other => format!("TLS with a node failed: {other}"),
    }
}
