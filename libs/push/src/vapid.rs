//! VAPID (RFC 8292): how a push service knows who sends. A token per audience, signed once and used for hours.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer},
    elliptic_curve::{rand_core::OsRng, sec1::ToEncodedPoint},
};
use porchlight_domain::Timestamp;
use reqwest::Url;
use serde_json::json;

use crate::PushConfig;

/// How long a token holds; RFC 8292 allows 24 hours.
const VALID_MS: i64 = 12 * 3_600_000;
/// A token that holds less than this is signed anew: no push meets the end of one on its way.
const MARGIN_MS: i64 = 3_600_000;
/// Users choose the audiences: what is kept of them is bounded. A signature costs less than a millisecond, so that a
/// full cache is simply emptied.
const MAX_AUDIENCES: usize = 1024;
/// A key file holds 43 characters and perhaps a line end.
const MAX_KEY_FILE_BYTES: u64 = 256;

/// Makes a VAPID private key: base64url, without padding, of the 32 bytes of a P-256 scalar.
pub fn mint_vapid_key() -> String {
    URL_SAFE_NO_PAD.encode(SecretKey::random(&mut OsRng).to_bytes())
}

/// Signs who we are for each push service.
pub(crate) struct Vapid {
    key: SigningKey,
    /// base64url of the uncompressed point.
    public: String,
    subject: String,
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    header: HeaderValue,
    signed_at: Timestamp,
}

impl Vapid {
    /// Reads the key, which stands in exactly one of two places.
    pub(crate) fn from_config(config: &PushConfig) -> Result<Self, String> {
        let text = match (config.vapid_private_key.as_str(), config.vapid_private_key_file.as_str()) {
            ("", "") => return Err("push.vapid_private_key or push.vapid_private_key_file must be set".to_owned()),
            ("", file) => read_key_file(file)?,
            (value, "") => value.to_owned(),
            (_, _) => {
                return Err("push.vapid_private_key and push.vapid_private_key_file are both set; one is enough".into());
            }
        };
        let key = URL_SAFE_NO_PAD
            .decode(text.trim().trim_end_matches('='))
            .ok()
            .filter(|bytes| bytes.len() == 32)
            .and_then(|bytes| SecretKey::from_slice(&bytes).ok())
            .ok_or("the VAPID private key is not base64url of the 32 bytes of a P-256 key")?;
        let subject = &config.vapid_subject;
        let has_form = subject.strip_prefix("mailto:").is_some_and(|address| address.contains('@'))
            || (subject.starts_with("https://") && Url::parse(subject).is_ok());
        if !has_form || subject.len() > 256 {
            return Err("push.vapid_subject is a mailto: or https: URL of the operator, at most 256 bytes".to_owned());
        }
        Ok(Self::new(&key, subject.clone()))
    }

    fn new(key: &SecretKey, subject: String) -> Self {
        let public = URL_SAFE_NO_PAD.encode(key.public_key().to_encoded_point(false).as_bytes());
        Self { key: SigningKey::from(key), public, subject, tokens: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn public_key(&self) -> &str {
        &self.public
    }

    /// The `Authorization` for a push resource. Its audience is the origin with the port, if that is not the scheme's own.
    pub(crate) fn authorization(&self, resource: &Url, now: Timestamp) -> HeaderValue {
        let audience = resource.origin().ascii_serialization();
        // A panic elsewhere cannot leave a half-made token behind: a poisoned lock is as good as any.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(&audience)
            && (0..VALID_MS - MARGIN_MS).contains(&now.since(token.signed_at))
        {
            return token.header.clone();
        }
        if tokens.len() >= MAX_AUDIENCES {
            tokens.clear();
        }
        let header = self.sign(&audience, now);
        tokens.insert(audience, Token { header: header.clone(), signed_at: now });
        header
    }

    fn sign(&self, audience: &str, now: Timestamp) -> HeaderValue {
        let header = json!({"typ": "JWT", "alg": "ES256"}).to_string();
        let claims = json!({"aud": audience, "exp": now.plus_ms(VALID_MS).0 / 1000, "sub": self.subject}).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        let mut value = HeaderValue::try_from(format!("vapid t={signed}.{signature}, k={}", self.public))
            .expect("base64url and a few ASCII letters make a header value");
        value.set_sensitive(true);
        value
    }
}

fn read_key_file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
        .map_err(|e| format!("push.vapid_private_key_file cannot be read: {e}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn vapid() -> Vapid {
        Vapid::new(&SecretKey::random(&mut OsRng), "mailto:ops@example.org".to_owned())
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn claims(header: &HeaderValue) -> serde_json::Value {
        let token = header.to_str().unwrap().strip_prefix("vapid t=").unwrap().split(',').next().unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_audience_is_the_origin() {
        let vapid = vapid();
        for (resource, audience) in [
            ("https://push.example.org/a/b?c", "https://push.example.org"),
            ("https://push.example.org:443/", "https://push.example.org"),
            ("https://PUSH.example.org:8443/", "https://push.example.org:8443"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ] {
            let claims = claims(&vapid.authorization(&url(resource), NOW));
            assert_eq!(claims["aud"], audience);
            assert_eq!(claims["sub"], "mailto:ops@example.org");
            assert_eq!(claims["exp"], NOW.0 / 1000 + 12 * 3600);
        }
    }

    #[test]
    fn a_token_serves_for_hours_and_never_to_its_end() {
        let vapid = vapid();
        let at = |resource: &str, ms: i64| vapid.authorization(&url(resource), NOW.plus_ms(ms));
        let first = at("https://a.example/1", 0);
        assert_eq!(first, at("https://a.example/2", 10 * 3_600_000), "one audience, one token");
        assert_ne!(first, at("https://b.example/1", 0));
        let renewed = at("https://a.example/1", 11 * 3_600_000);
        assert_ne!(first, renewed);
        assert_eq!(claims(&renewed)["exp"], NOW.0 / 1000 + 23 * 3600);
        // A clock set back: the token would hold longer than any service allows.
        assert_eq!(claims(&at("https://a.example/1", -48 * 3_600_000))["exp"], NOW.0 / 1000 - 36 * 3600);
    }

    #[test]
    fn what_is_kept_of_audiences_is_bounded() {
        let vapid = vapid();
        for n in 0..=MAX_AUDIENCES {
            vapid.authorization(&url(&format!("https://h{n}.example/")), NOW);
        }
        assert_eq!(vapid.tokens.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_minted_key_is_one_that_can_be_read() {
        let (a, b) = (mint_vapid_key(), mint_vapid_key());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
        assert!(SecretKey::from_slice(&URL_SAFE_NO_PAD.decode(a).unwrap()).is_ok());
    }
}
