//! Checks who sends (RFC 8292), as a push service does: with nothing of the sender's code.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// RFC 8292, section 2: `exp` is at most 24 hours away.
const MAX_LIFE_S: u64 = 86_400;

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    sub: Option<String>,
}

/// Whether the value of `Authorization` is a valid VAPID identification to the push service at `origin`, and of `sender`
/// if that is given (an uncompressed point).
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(authorization: &str, origin: &str, sender: Option<&[u8]>) -> Result<(), &'static str> {
    let (scheme, parameters) = authorization.split_once(' ').ok_or("the scheme stands alone")?;
    if !scheme.eq_ignore_ascii_case("vapid") {
        return Err("the scheme is not vapid");
    }
    let parameter = |name: &str| {
        parameters
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .find_map(|(key, value)| (key.trim() == name).then_some(value.trim().trim_matches('"')))
    };
    let token = parameter("t").ok_or("there is no t")?;
    let key = URL_SAFE_NO_PAD.decode(parameter("k").ok_or("there is no k")?).map_err(|_| "k is not base64url")?;
    if key.len() != 65 || key[0] != 4 {
        return Err("k is not an uncompressed point");
    }
    if sender.is_some_and(|sender| sender != key) {
        return Err("the subscription is for another sender");
    }
    let (x, y) = (URL_SAFE_NO_PAD.encode(&key[1..33]), URL_SAFE_NO_PAD.encode(&key[33..]));
    let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|_| "k is no key")?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[origin]);
    rules.set_required_spec_claims(&["aud", "exp"]);
    rules.leeway = 0;
    let claims = jsonwebtoken::decode::<Claims>(token, &decoding, &rules)
        .map_err(|_| "the token is not signed by k for this origin, or has expired")?
        .claims;
    if claims.exp > jsonwebtoken::get_current_timestamp() + MAX_LIFE_S {
        return Err("the token holds for more than 24 hours");
    }
    if claims.sub.is_some_and(|sub| !sub.starts_with("mailto:") && !sub.starts_with("https:")) {
        return Err("sub is neither mailto: nor https:");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use p256::{
        SecretKey,
        elliptic_curve::{rand_core::OsRng, sec1::ToEncodedPoint},
        pkcs8::{EncodePrivateKey, LineEnding},
    };
    use serde_json::{Value, json};

    use super::*;

    const ORIGIN: &str = "http://127.0.0.1:1";

    struct Sender {
        pem: String,
        point: Vec<u8>,
    }

    impl Sender {
        fn new() -> Self {
            let key = SecretKey::random(&mut OsRng);
            Self {
                pem: key.to_pkcs8_pem(LineEnding::LF).expect("a key").to_string(),
                point: key.public_key().to_encoded_point(false).as_bytes().to_vec(),
            }
        }

        fn says(&self, claims: &Value) -> String {
            let key = jsonwebtoken::EncodingKey::from_ec_pem(self.pem.as_bytes()).expect("a key");
            let token =
                jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::ES256), claims, &key).expect("signs");
            format!("vapid t={token}, k={}", URL_SAFE_NO_PAD.encode(&self.point))
        }
    }

    fn claims(aud: &str, lives_s: i64) -> Value {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp()).expect("before the year 2^63");
        json!({"aud": aud, "exp": now + lives_s, "sub": "mailto:ops@example.org"})
    }

    #[test]
    fn a_sender_that_says_who_it_is_may_push() {
        let sender = Sender::new();
        let header = sender.says(&claims(ORIGIN, 3600));
        assert_eq!(check(&header, ORIGIN, None), Ok(()));
        assert_eq!(check(&header, ORIGIN, Some(&sender.point)), Ok(()));
        let (t, k) = header.strip_prefix("vapid ").and_then(|rest| rest.split_once(", ")).expect("two parameters");
        assert_eq!(check(&format!("VAPID {k},{t}"), ORIGIN, None), Ok(()), "in any order");
    }

    #[test]
    fn every_other_may_not() {
        let (sender, other) = (Sender::new(), Sender::new());
        let good = sender.says(&claims(ORIGIN, 3600));
        assert!(check(&good, ORIGIN, Some(&other.point)).is_err(), "a subscription for another");
        assert!(check(&good, "http://127.0.0.1:2", None).is_err(), "an audience of another");
        let forged = good.replace(&URL_SAFE_NO_PAD.encode(&sender.point), &URL_SAFE_NO_PAD.encode(&other.point));
        assert!(check(&forged, ORIGIN, None).is_err(), "a signature of another");
        for wrong in [
            claims(ORIGIN, -1),
            claims(ORIGIN, 90_000),
            claims("http://127.0.0.1", 3600),
            json!({"aud": ORIGIN}),
            json!({"exp": claims(ORIGIN, 60)["exp"]}),
            json!({"aud": ORIGIN, "exp": claims(ORIGIN, 60)["exp"], "sub": "ops"}),
        ] {
            assert!(check(&sender.says(&wrong), ORIGIN, None).is_err(), "{wrong}");
        }
        let unsigned = format!("vapid t=e30.e30., k={}", URL_SAFE_NO_PAD.encode(&sender.point));
        for wrong in ["", "vapid", "vapid ", "vapid t=x", "vapid k=x", "Bearer x", "vapid t=x, k=!", &unsigned] {
            assert!(check(wrong, ORIGIN, None).is_err(), "{wrong}");
        }
    }
}
