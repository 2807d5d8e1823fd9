//! Reads a push as a push service (RFC 8030) and then a phone (RFC 8291) do.

use axum::http::{HeaderMap, StatusCode, header};

use super::book::{Incoming, Subscription};
use super::vapid;

/// RFC 8030, section 7.2: a push service takes at least, and the large ones at most, this.
pub(super) const MAX_BODY: usize = 4096;
/// Salt, record size, length of the key id, and a key id that is an uncompressed point (RFC 8188, section 2.1).
const HEADER: usize = 16 + 4 + 1 + 65;
/// The shortest record: a tag and the delimiter.
const MIN_RECORD: usize = 17;

/// A refusal: status, stable code, sentence.
pub(super) type Refusal = (StatusCode, &'static str, &'static str);

/// Reads a push to the subscription `id`.
pub(super) fn read(
    id: String,
    subscription: &Subscription,
    origin: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Incoming, Refusal> {
    let bad = |code, sentence| (StatusCode::BAD_REQUEST, code, sentence);
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());

    let authorization = text(header::AUTHORIZATION.as_str()).ok_or((
        StatusCode::UNAUTHORIZED,
        "vapid_missing",
        "a push says who sends it (RFC 8292)",
    ))?;
    vapid::check(authorization, origin, subscription.sender.as_deref())
        .map_err(|sentence| (StatusCode::FORBIDDEN, "vapid_invalid", sentence))?;

    let ttl = text("ttl")
        .filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|value| value.parse().ok())
        .ok_or(bad("ttl_invalid", "a push has a TTL of whole seconds (RFC 8030, section 5.2)"))?;
    let topic = text("topic").map(str::to_owned);
    if topic.as_deref().is_some_and(|topic| !is_topic(topic)) {
        return Err(bad("topic_invalid", "a topic is 1 to 32 characters of base64url (RFC 8030, section 5.4)"));
    }
    let urgency = text("urgency").map(str::to_owned);
    if urgency.as_deref().is_some_and(|urgency| !matches!(urgency, "very-low" | "low" | "normal" | "high")) {
        return Err(bad("urgency_invalid", "urgency is very-low, low, normal or high (RFC 8030, section 5.3)"));
    }
    if text(header::CONTENT_ENCODING.as_str()) != Some("aes128gcm") {
        return Err(bad("encoding_invalid", "the content encoding is aes128gcm (RFC 8291)"));
    }

    let (payload, tag) = decrypt(subscription, body)
        .ok_or(bad("not_decrypted", "the phone could not decrypt it, or it is no JSON object"))?;
    Ok(Incoming { endpoint: id, transport: "webpush", payload, tag, topic, ttl: Some(ttl), urgency })
}

fn is_topic(topic: &str) -> bool {
    (1..=32).contains(&topic.len()) && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The JSON of a body and the tag in it. A push is one record (RFC 8291, section 4).
fn decrypt(subscription: &Subscription, body: &[u8]) -> Option<(String, Option<String>)> {
    let (header, record) = body.split_at_checked(HEADER)?;
    let record_size = u32::from_be_bytes(header[16..20].try_into().ok()?) as usize;
    if header[20] != 65 || record.len() < MIN_RECORD || record_size <= MIN_RECORD || record.len() > record_size {
        return None;
    }
    let plain = ece::decrypt(&subscription.key, &subscription.auth, body).ok()?;
    payload(&serde_json::from_slice(&plain).ok()?)
}

/// A payload as it is kept, and its tag; `None` if it is no JSON object.
pub(super) fn payload(value: &serde_json::Value) -> Option<(String, Option<String>)> {
    let tag = value.as_object()?.get("collapse").and_then(|tag| tag.as_str()).map(str::to_owned);
    Some((value.to_string(), tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> Subscription {
        let (key, auth) = ece::generate_keypair_and_auth_secret().expect("makes keys");
        Subscription { key: key.raw_components().expect("has both halves"), auth, sender: None }
    }

    fn encrypted(to: &Subscription, plain: &[u8]) -> Vec<u8> {
        ece::encrypt(to.key.public_key(), &to.auth, plain).expect("encrypts")
    }

    #[test]
    fn only_the_phone_it_was_encrypted_for_reads_it() {
        let (mine, other) = (subscription(), subscription());
        let body = encrypted(&mine, br#"{"collapse":"x","n":1}   "#);
        assert_eq!(decrypt(&mine, &body), Some((r#"{"collapse":"x","n":1}"#.to_owned(), Some("x".to_owned()))));
        assert_eq!(decrypt(&other, &body), None);
        let wrong_secret = Subscription { auth: [8; 16], ..mine.clone() };
        assert_eq!(decrypt(&wrong_secret, &body), None);
    }

    /// Whatever comes, nothing panics: each bit turned, each length cut, a record size of zero, more than one record.
    #[test]
    fn what_was_tampered_with_is_not_read() {
        let mine = subscription();
        let body = encrypted(&mine, b"{}");
        assert!(decrypt(&mine, &body).is_some());
        for at in (0..body.len()).filter(|at| !(16..20).contains(at)) {
            let mut bad = body.clone();
            bad[at] ^= 1;
            assert_eq!(decrypt(&mine, &bad), None, "byte {at}");
        }
        for length in 0..body.len() {
            assert_eq!(decrypt(&mine, &body[..length]), None, "length {length}");
        }
        for record_size in [0_u32, 1, 17] {
            let mut bad = body.clone();
            bad[16..20].copy_from_slice(&record_size.to_be_bytes());
            assert_eq!(decrypt(&mine, &bad), None, "record size {record_size}");
        }
        for plain in [&b" "[..], b"no json", b"[]", b"1"] {
            assert_eq!(decrypt(&mine, &encrypted(&mine, plain)), None);
        }
    }

    #[test]
    fn a_topic_has_an_alphabet_and_a_length() {
        assert!(is_topic("Az09-_") && is_topic(&"x".repeat(32)));
        assert!(!is_topic("") && !is_topic(&"x".repeat(33)) && !is_topic("a b") && !is_topic("a/b"));
    }
}
