//! Secrets and certificates of the configuration. A secret is given in place (in a file of settings or by a variable of
//! the environment) or in a file of its own, is read when it is needed, and is never shown. Every refusal is a sentence
//! that names the key.

use std::{fmt, io::Read as _, path::Path};

/// No secret and no bundle of certificates is longer.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What nobody may see, not even in a log. Empty: none.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes it as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself, for whoever proves something with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { "(secret)" })
    }
}

/// Refuses a secret that is given twice, or not at all. `key`: the name of the one in place; that of the file has `_file`
/// behind it. Reads no file.
///
/// # Errors
/// The sentence.
pub fn check_given_once(key: &str, in_place: &Secret, file: &Path) -> Result<(), String> {
    match (in_place.is_empty(), is_none(file)) {
        (true, true) => Err(format!("{key} or {key}_file must be set")),
        (false, false) => Err(format!("{key} and {key}_file are both set; one is enough")),
        (true, false) | (false, true) => Ok(()),
    }
}

/// The secret, from where it is; white space around it does not count. `key` as in [`check_given_once`].
///
/// # Errors
/// A sentence that does not hold it: the file cannot be read, or there is nothing in it.
pub fn reveal(key: &str, in_place: &Secret, file: &Path) -> Result<Secret, String> {
    let text = if in_place.is_empty() {
        let key = format!("{key}_file");
        String::from_utf8(read(&key, file)?).map_err(|_| format!("{key} holds no text"))?
    } else {
        in_place.0.clone()
    };
    match text.trim() {
        "" => Err(format!("{key} is empty")),
        secret => Ok(Secret::new(secret)),
    }
}

/// What a file holds, at most a mebibyte of it.
///
/// # Errors
/// The sentence.
pub fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|e| format!("{key} cannot be read: {e}"))?;
    Ok(bytes)
}

/// What is kept in PEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pem {
    /// Certificates.
    Certificates,
    /// A private key.
    PrivateKey,
}

/// A file in PEM that holds at least one of `what`. Whether it can be used, its reader finds out.
///
/// # Errors
/// The sentence, without what is in the file.
pub fn pem(key: &str, path: &Path, what: Pem) -> Result<Vec<u8>, String> {
    let bytes = read(key, path)?;
    let text = String::from_utf8_lossy(&bytes);
    let begins = |kind: &str| text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(kind));
    let (found, named) = match what {
        Pem::Certificates => (begins("CERTIFICATE-----"), "certificates"),
        Pem::PrivateKey => (begins("PRIVATE KEY-----"), "a private key"),
    };
    if found { Ok(bytes) } else { Err(format!("{key} must hold {named} in PEM")) }
}

/// The three files by which a client and a server know each other, as settings name them. Empty: none.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// The section, e.g. `kafka`.
    pub section: &'static str,
    /// Authorities to trust.
    pub ca: &'a Path,
    /// The client's own certificate.
    pub cert: &'a Path,
    /// Its private key.
    pub key: &'a Path,
}

impl TlsFiles<'_> {
    /// Refuses half a client certificate, and any file where nothing is encrypted. `off`: why nothing is, if so.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self, off: Option<&str>) -> Result<(), String> {
        let section = self.section;
        if let Some(off) = off {
            for (name, path) in [("ca_file", self.ca), ("cert_file", self.cert), ("key_file", self.key)] {
                if !is_none(path) {
                    return Err(format!("{section}.{name} is set, but {off}: nothing would look at it"));
                }
            }
        }
        match (is_none(self.cert), is_none(self.key)) {
            (false, true) => Err(format!("{section}.cert_file is set without {section}.key_file")),
            (true, false) => Err(format!("{section}.key_file is set without {section}.cert_file")),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// Whether a path is not set.
pub fn is_none(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?} {:?}", Secret::new("s3cret"), Secret::default()), "(secret) (none)");
    }

    #[test]
    fn a_secret_is_given_once() {
        let (secret, none, at) = (Secret::new("s3cret"), Secret::default(), Path::new("/somewhere"));
        let nowhere = Path::new("");
        assert_eq!(check_given_once("a.b", &secret, nowhere), Ok(()));
        assert_eq!(check_given_once("a.b", &none, at), Ok(()));
        assert_eq!(check_given_once("a.b", &none, nowhere).unwrap_err(), "a.b or a.b_file must be set");
        let twice = check_given_once("a.b", &secret, at).unwrap_err();
        assert_eq!(twice, "a.b and a.b_file are both set; one is enough");
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_end_of_line_and_again_when_it_has_changed() {
        let file = file(" s3cret\n");
        let revealed = || reveal("a.b", &Secret::default(), file.path());
        assert_eq!(revealed().unwrap().expose(), "s3cret");
        std::fs::write(file.path(), "another\n").unwrap();
        assert_eq!(revealed().unwrap().expose(), "another");
        std::fs::write(file.path(), "\n").unwrap();
        assert_eq!(revealed().unwrap_err(), "a.b is empty");
        std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert_eq!(revealed().unwrap_err(), "a.b_file holds no text");
        let gone = reveal("a.b", &Secret::default(), Path::new("/nowhere/at/all")).unwrap_err();
        assert!(gone.starts_with("a.b_file cannot be read: "), "{gone}");
        assert_eq!(reveal("a.b", &Secret::new(" in place "), Path::new("")).unwrap().expose(), "in place");
    }

    #[test]
    fn a_key_is_no_certificate_and_neither_is_shown() {
        let key = file("-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n");
        let certificate = file("made by hand\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        assert!(pem("a.ca_file", certificate.path(), Pem::Certificates).is_ok());
        assert!(pem("a.key_file", key.path(), Pem::PrivateKey).is_ok());
        let said = pem("a.ca_file", key.path(), Pem::Certificates).unwrap_err();
        assert_eq!(said, "a.ca_file must hold certificates in PEM");
        let said = pem("a.key_file", certificate.path(), Pem::PrivateKey).unwrap_err();
        assert_eq!(said, "a.key_file must hold a private key in PEM");
    }

    #[test]
    fn half_a_client_certificate_and_files_that_nobody_would_look_at_are_refused() {
        let (none, some) = (Path::new(""), Path::new("/x.pem"));
        let check = |ca, cert, key, off| TlsFiles { section: "a", ca, cert, key }.check(off);
        assert_eq!(check(some, some, some, None), Ok(()));
        assert_eq!(check(none, none, none, Some("a.tls is off")), Ok(()));
        assert_eq!(check(none, some, none, None).unwrap_err(), "a.cert_file is set without a.key_file");
        assert_eq!(check(none, none, some, None).unwrap_err(), "a.key_file is set without a.cert_file");
        let said = check(some, none, none, Some("a.tls is off")).unwrap_err();
        assert_eq!(said, "a.ca_file is set, but a.tls is off: nothing would look at it");
    }
}
