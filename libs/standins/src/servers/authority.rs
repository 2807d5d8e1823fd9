//! Certificates for one run: an authority that nobody else trusts, and what it signs.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::at;

/// An authority, whose key ends with this value.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS #8), without a pass phrase.
    pub key: String,
}

impl Authority {
    /// A new one of this name.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(name: &str) -> Result<Self, String> {
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, in PEM: what is trusted.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for these names, each a host name or an address, good for either side of a connection.
    ///
    /// # Errors
    /// A sentence.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> Result<Identity, String> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Identity {
    /// Writes `certificate`, `key`, and both in one file, as servers on Java want them: `NAME.pem`, `NAME.key`,
    /// `NAME-both.pem`.
    ///
    /// # Errors
    /// A sentence.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), String> {
        let both = format!("{}{}", self.key, self.certificate);
        let files = [(".pem", &self.certificate), (".key", &self.key), ("-both.pem", &both)];
        for (ending, text) in files {
            let path = dir.join(format!("{name}{ending}"));
            std::fs::write(&path, text).map_err(|e| at(&path, "cannot be written", &e))?;
        }
        Ok(())
    }
}

fn failed(error: rcgen::Error) -> String {
    format!("no certificate: {error}")
}
