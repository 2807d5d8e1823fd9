//! The issuer's keys, and what they say of a token. Nothing here talks to anybody.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use porchlight_domain::Timestamp;
use serde_json::{Map, Value};

use super::{AuthConfig, Claims};

/// The most keys of one document; issuers have two or three.
const MAX_KEYS: usize = 32;
/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The longest subject (OpenID Connect Core, section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// Why a token was refused. For the log: the caller learns only that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url and JSON, or too long.
    #[error("it is no JWT")]
    Malformed,
    /// The algorithm is not on the allow-list.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// It demands an extension that must be understood (RFC 7515, section 4.1.11).
    #[error("it demands an extension")]
    Critical,
    /// It names no key that is known.
    #[error("its key is not known")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// `exp` is past or missing.
    #[error("it has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("it is not valid yet")]
    TooEarly,
    /// Another issuer, or none.
    #[error("it is of another issuer")]
    Issuer,
    /// Another audience, or none.
    #[error("it is for another audience")]
    Audience,
    /// `sub` is missing, empty or too long.
    #[error("its subject is missing or too long")]
    Subject,
}

/// What tokens must be like.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    leeway_s: u64,
    scope_claim: String,
}

impl Rules {
    pub(super) fn of(config: &AuthConfig) -> Result<Self, String> {
        Ok(Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            algorithms: config.algorithms()?,
            leeway_s: config.leeway_s,
            scope_claim: config.scope_claim.clone(),
        })
    }
}

struct Key {
    id: Option<String>,
    /// What the issuer says the key is for; `None`: whatever its type can do.
    algorithm: Option<KeyAlgorithm>,
    family: AlgorithmFamily,
    curve: Option<EllipticCurve>,
    decoding: DecodingKey,
}

impl Key {
    /// `None` for keys that sign nothing we accept: they are the issuer's business.
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        match jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => {}
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => return None,
        }
        let (family, curve) = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key) => (AlgorithmFamily::Ec, Some(key.curve.clone())),
            AlgorithmParameters::RSA(_) => (AlgorithmFamily::Rsa, None),
            AlgorithmParameters::OctetKeyPair(key) => (AlgorithmFamily::Ed, Some(key.curve.clone())),
            // A symmetric key in a public document is no secret.
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm: jwk.common.key_algorithm, family, curve, decoding })
    }

    fn can_check(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        let curve = match algorithm {
            Algorithm::ES256 => self.curve == Some(EllipticCurve::P256),
            Algorithm::ES384 => self.curve == Some(EllipticCurve::P384),
            _ => true,
        };
        kid.is_none_or(|kid| self.id.as_deref() == Some(kid))
            && self.family == algorithm.family()
            && curve
            && self.algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm))
    }
}

/// The keys of one document (RFC 7517).
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads a key set. Keys of kinds we do not know are skipped, as RFC 7517 wants; a set without any is no set.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document).map_err(|_| "this is no JSON Web Key Set")?;
        let keys: Vec<Key> = document.keys.iter().take(MAX_KEYS).filter_map(Key::read).collect();
        if keys.is_empty() {
            Err("the key set holds no key that can check signatures".to_owned())
        } else {
            Ok(Self(keys))
        }
    }

    /// How many there are; at least one.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What the token says, if all of it holds.
    pub(super) fn verify(&self, token: &str, rules: &Rules) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if !rules.algorithms.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        // Only the token's own algorithm: the library wants those of one family.
        let mut validation = Validation::new(header.alg);
        validation.leeway = rules.leeway_s;
        validation.validate_nbf = true;
        validation.set_issuer(&[&rules.issuer]);
        validation.set_audience(&[&rules.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);

        let mut refusal = TokenError::UnknownKey;
        for key in self.0.iter().filter(|key| key.can_check(header.kid.as_deref(), header.alg)) {
            match decode::<Map<String, Value>>(token, &key.decoding, &validation) {
                Ok(token) => return claims(token.claims, rules),
                Err(e) => refusal = reason(&e),
            }
            // Several keys are tried only if the token names none; only another signature can be right then.
            if refusal != TokenError::Signature {
                break;
            }
        }
        Err(refusal)
    }
}

fn reason(e: &Error) -> TokenError {
    match e.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::TooEarly,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidSubject => TokenError::Subject,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            "sub" => TokenError::Subject,
            _ => TokenError::Expired,
        },
        _ => TokenError::Malformed,
    }
}

fn claims(mut claims: Map<String, Value>, rules: &Rules) -> Result<Claims, TokenError> {
    let subject = match claims.remove("sub") {
        Some(Value::String(subject)) if (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) => subject,
        Some(_) | None => return Err(TokenError::Subject),
    };
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let scopes = match claims.get(&rules.scope_claim) {
        Some(Value::String(scopes)) => words(scopes),
        Some(Value::Array(scopes)) => scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    };
    let expires_at = claims.get("exp").and_then(|exp| expiry(exp, rules.leeway_s)).ok_or(TokenError::Expired)?;
    Ok(Claims { issuer: rules.issuer.clone(), subject, scopes, expires_at })
}

/// When a token with this `exp` (seconds since the Unix epoch, maybe with a fraction: RFC 7519, section 2) is refused.
fn expiry(exp: &Value, leeway_s: u64) -> Option<Timestamp> {
    let exp = match exp.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(exp.as_f64()?).ok()?,
    };
    let ms = exp.saturating_add(Duration::from_secs(leeway_s)).as_millis();
    Some(Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_ends_when_requests_with_it_are_refused() {
        assert_eq!(expiry(&json!(1_000), 30), Some(Timestamp(1_030_000)));
        assert_eq!(expiry(&json!(1_000.5), 0), Some(Timestamp(1_000_500)));
        assert_eq!(expiry(&json!(u64::MAX), 30), Some(Timestamp(i64::MAX)), "it never ends");
        assert_eq!(expiry(&json!(1e300), 0), None);
        assert_eq!(expiry(&json!("soon"), 0), None);
    }
}
