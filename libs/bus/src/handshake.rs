//! Why a broker's certificate is not accepted. The client says only that it is not; so the same handshake is made once
//! more, with nothing sent over it, by a library that says which part of it is wrong.

use std::{
    io::ErrorKind,
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use porchlight_secrets as secrets;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::KafkaConfig;

/// How long each step of it may take.
const WITHIN: Duration = Duration::from_secs(3);
const NO_ANSWER: &str = "a broker does not answer a TLS handshake: it may speak no TLS there, and kafka.security_protocol \
                         says otherwise";
const SPEAKS_TLS: &str = "a broker speaks TLS there, and kafka.security_protocol says otherwise";
const NO_TLS: &str = "a broker speaks no TLS there, and kafka.security_protocol says otherwise";

/// How a handshake ended that should not have.
enum Met {
    /// What TLS says.
    Tls(Error),
    /// The other side hung up in the middle of it, or said nothing: a listener without TLS takes our first words for the
    /// length of a request, and waits for the rest.
    NoAnswer,
}

/// Of the broker that the client's words name, or else of the first of the settings; `None` if there is nothing to add to
/// them. Blocks.
pub(crate) fn verdict(config: &KafkaConfig, said: &str) -> Option<String> {
    let first = || config.bootstrap_servers.split(',').map(str::trim).next();
    let address = broker(said).or_else(first)?;
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    if !config.security_protocol.has_tls() {
        // Nobody is trusted: whoever shows a certificate speaks TLS.
        let met = handshake(RootCertStore::empty(), address, host)?;
        return matches!(met, Met::Tls(Error::InvalidCertificate(_))).then(|| SPEAKS_TLS.to_owned());
    }
    let error = match handshake(authorities(config)?, address, host)? {
        Met::Tls(error) => error,
        Met::NoAnswer => return Some(NO_ANSWER.to_owned()),
    };
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("a broker's certificate comes from no authority of kafka.ca_file".to_owned())
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(format!(
            "a broker's certificate does not hold {host}, the name that it is reached by: see kafka.bootstrap_servers \
             and the brokers' advertised.listeners"
        )),
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Some("a broker's certificate is not valid now".to_owned()),
        Error::InvalidMessage(_) => Some(NO_TLS.to_owned()),
        Error::AlertReceived(_) => Some("a broker wants a certificate of us: see kafka.cert_file".to_owned()),
        _ => None,
    }
}

/// `host:port` of words such as `ssl://127.0.0.1:9093/bootstrap: SSL handshake failed: …`.
fn broker(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("://")?;
    rest.split_once('/').map(|(address, _)| address)
}

fn authorities(config: &KafkaConfig) -> Option<RootCertStore> {
    if secrets::is_none(&config.ca_file) {
        return None;
    }
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&config.ca_file).ok()? {
        authorities.add(certificate.ok()?).ok()?;
    }
    Some(authorities)
}

fn handshake(authorities: RootCertStore, address: &str, host: &str) -> Option<Met> {
    // Said, not left to a default: with two providers in one build there is none.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let tls = tls.with_root_certificates(authorities).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(tls), name).ok()?;
    let mut socket = TcpStream::connect_timeout(&address.to_socket_addrs().ok()?.next()?, WITHIN).ok()?;
    socket.set_read_timeout(Some(WITHIN)).ok()?;
    socket.set_write_timeout(Some(WITHIN)).ok()?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            let unanswered = matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::WouldBlock | ErrorKind::TimedOut
            );
            return of_tls(error).map(Met::Tls).or(unanswered.then_some(Met::NoAnswer));
        }
    }
    // A broker that wants a certificate of ours says so after its own part is done; any other waits for us.
    connection.complete_io(&mut socket).err().and_then(of_tls).map(Met::Tls)
}

fn of_tls(error: std::io::Error) -> Option<Error> {
    error.into_inner()?.downcast::<Error>().ok().map(|error| *error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_found_in_the_clients_words() {
        assert_eq!(broker("ssl://127.0.0.1:9093/bootstrap: SSL handshake failed: x"), Some("127.0.0.1:9093"));
        assert_eq!(broker("sasl_ssl://[::1]:9093/2: no"), Some("[::1]:9093"));
        assert_eq!(broker("2/2 brokers are down"), None);
    }
}
