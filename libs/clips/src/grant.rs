//! The grant of an upload: what a device was allowed to put, as a token that it brings back. Nothing is stored of it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use porchlight_domain::{ContentHash, ContentType, DeviceId, EventId, MediaId, MediaKind, Timestamp};
use rand::{TryRngCore as _, rngs::OsRng};
use sha2::Sha256;
use uuid::Uuid;

/// How long a grant may be completed, ms: longer than its URL lives, for an upload that began in time takes its own.
pub const GRANT_MS: i64 = 15 * 60_000;

/// The first byte of a payload. A token of another version is none of ours: grants live for minutes.
const VERSION: u8 = 1;
/// Version, device, event, kind, type, length, SHA-256, end; all numbers big-endian.
const PAYLOAD_BYTES: usize = 1 + 16 + 16 + 1 + 1 + 8 + 32 + 8;
const MAC_BYTES: usize = 32;

/// What a device may put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Who.
    pub device: DeviceId,
    /// Of which event.
    pub event: EventId,
    /// Clip or thumbnail.
    pub kind: MediaKind,
    /// What it is.
    pub content_type: ContentType,
    /// Exactly this long.
    pub bytes: u64,
    /// Exactly these bytes.
    pub sha256: ContentHash,
    /// Until when it may be completed.
    pub expires_at: Timestamp,
}

impl Grant {
    /// The media that it becomes.
    pub fn media(&self) -> MediaId {
        MediaId::of(self.device, self.event, self.kind, &self.sha256)
    }

    fn write(&self) -> [u8; PAYLOAD_BYTES] {
        let mut payload = [0; PAYLOAD_BYTES];
        let mut rest = payload.as_mut_slice();
        for field in [
            [VERSION].as_slice(),
            self.device.0.as_bytes(),
            self.event.0.as_bytes(),
            &[kind_code(self.kind), type_code(self.content_type)],
            &self.bytes.to_be_bytes(),
            &self.sha256.0,
            &self.expires_at.0.to_be_bytes(),
        ] {
            let (into, after) = rest.split_at_mut(field.len());
            into.copy_from_slice(field);
            rest = after;
        }
        payload
    }

    fn read(payload: &[u8; PAYLOAD_BYTES]) -> Option<Self> {
        let mut rest = payload.as_slice();
        let [version] = take(&mut rest)?;
        let device = DeviceId(Uuid::from_bytes(take(&mut rest)?));
        let event = EventId(Uuid::from_bytes(take(&mut rest)?));
        let [kind, content_type] = take(&mut rest)?;
        let grant = Self {
            device,
            event,
            kind: MediaKind::ALL.into_iter().find(|k| kind_code(*k) == kind)?,
            content_type: ContentType::ALL.into_iter().find(|t| type_code(*t) == content_type)?,
            bytes: u64::from_be_bytes(take(&mut rest)?),
            sha256: ContentHash(take(&mut rest)?),
            expires_at: Timestamp(i64::from_be_bytes(take(&mut rest)?)),
        };
        (version == VERSION && rest.is_empty()).then_some(grant)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*field)
}

fn kind_code(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Clip => 1,
        MediaKind::Thumbnail => 2,
    }
}

fn type_code(content_type: ContentType) -> u8 {
    match content_type {
        ContentType::Mp4 => 1,
        ContentType::Webm => 2,
        ContentType::Jpeg => 3,
        ContentType::Png => 4,
        ContentType::Webp => 5,
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not one of ours.
    #[error("not a grant of ours")]
    Invalid,
    /// Ours, and too old.
    #[error("the grant has expired")]
    Expired,
}

/// The key that signs grants (HMAC-SHA256), 256 bits. Never printed.
#[derive(Clone)]
pub struct GrantKey([u8; 32]);

impl std::fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrantKey(..)")
    }
}

impl GrantKey {
    /// Reads a key: base64url of 32 bytes, without padding; white space around it does not count.
    ///
    /// # Errors
    /// A sentence, without the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        decode(text.trim()).map(Self).ok_or_else(|| "a grant key is base64url of 32 bytes, without padding".to_owned())
    }

    /// A new one, as text.
    ///
    /// # Panics
    /// The operating system has no randomness to give.
    pub fn generate() -> String {
        let mut key = [0; 32];
        OsRng.try_fill_bytes(&mut key).expect("the operating system gives randomness, or no key may be made");
        URL_SAFE_NO_PAD.encode(key)
    }

    /// The token of a grant: `base64url(payload).base64url(mac)`.
    pub fn seal(&self, grant: &Grant) -> String {
        let payload = grant.write();
        let mac = self.mac(&payload).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac))
    }

    /// Reads a token. The MAC is verified (in constant time) before anything of the payload is looked at.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn open(&self, token: &str, now: Timestamp) -> Result<Grant, GrantError> {
        let (payload, mac) = token.split_once('.').ok_or(GrantError::Invalid)?;
        let payload: [u8; PAYLOAD_BYTES] = decode(payload).ok_or(GrantError::Invalid)?;
        let mac: [u8; MAC_BYTES] = decode(mac).ok_or(GrantError::Invalid)?;
        self.mac(&payload).verify_slice(&mac).map_err(|_| GrantError::Invalid)?;
        let grant = Grant::read(&payload).ok_or(GrantError::Invalid)?;
        if now < grant.expires_at { Ok(grant) } else { Err(GrantError::Expired) }
    }

    fn mac(&self, payload: &[u8; PAYLOAD_BYTES]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(payload);
        mac
    }
}

/// Exactly `N` bytes of base64url: one text for each value, for the decoder refuses stray bits at the end.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Looked at first: nothing of a text of another length is worth decoding.
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::{
        prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest},
        sample,
    };

    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn key() -> GrantKey {
        GrantKey::parse(&URL_SAFE_NO_PAD.encode([7; 32])).unwrap()
    }

    fn example() -> Grant {
        Grant {
            device: DeviceId(Uuid::from_u128(1)),
            event: EventId(Uuid::from_u128(2)),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 1_234_567,
            sha256: ContentHash([9; 32]),
            expires_at: NOW.plus_ms(GRANT_MS),
        }
    }

    fn grants() -> impl Strategy<Value = Grant> {
        let ids = (any::<u128>(), any::<u128>());
        let words = (sample::select(MediaKind::ALL.as_slice()), sample::select(ContentType::ALL.as_slice()));
        (ids, words, any::<(u64, [u8; 32], i64)>()).prop_map(
            |((device, event), (kind, content_type), (bytes, sha256, end))| Grant {
                device: DeviceId(Uuid::from_u128(device)),
                event: EventId(Uuid::from_u128(event)),
                kind,
                content_type,
                bytes,
                sha256: ContentHash(sha256),
                expires_at: Timestamp(end),
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(grant in grants()) {
            let token = key().seal(&grant);
            let before = grant.expires_at.plus_ms(-1);
            if before < grant.expires_at {
                prop_assert_eq!(key().open(&token, before), Ok(grant.clone()));
            }
            prop_assert_eq!(key().open(&token, grant.expires_at), Err(GrantError::Expired));
        }

        #[test]
        fn any_text_at_all_is_refused_and_nothing_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(key().open(&text, NOW), Err(GrantError::Invalid));
            prop_assert_eq!(key().open(&String::from_utf8_lossy(&bytes), NOW), Err(GrantError::Invalid));
            prop_assert!(GrantKey::parse(&text).is_err() || text.trim().len() == 43);
        }

        /// Bytes of the right shape are no grant without our MAC; with it they are exactly what they say, or none.
        #[test]
        fn only_a_payload_with_its_mac_is_a_grant(
            body in sample::subsequence((0..=u8::MAX).collect::<Vec<_>>(), PAYLOAD_BYTES),
            version in 0..3_u8,
            kind in 0..4_u8,
            content_type in 0..7_u8,
            mac in any::<[u8; MAC_BYTES]>(),
        ) {
            let mut payload: [u8; PAYLOAD_BYTES] = body.try_into().unwrap();
            payload[0] = version;
            payload[33..35].copy_from_slice(&[kind, content_type]);
            let token = |mac: &[u8]| format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac));
            prop_assert_eq!(key().open(&token(&mac), NOW), Err(GrantError::Invalid));

            let opened = key().open(&token(&key().mac(&payload).finalize().into_bytes()), Timestamp(i64::MIN));
            let known = version == VERSION && (1..=2).contains(&kind) && (1..=5).contains(&content_type);
            match opened {
                Ok(grant) => prop_assert!(known && grant.write() == payload),
                Err(why) => prop_assert!(why == GrantError::Invalid && !known),
            }
        }
    }

    #[test]
    fn a_token_with_any_bit_altered_is_invalid() {
        let token = key().seal(&example());
        assert_eq!(key().open(&token, NOW), Ok(example()));
        for at in 0..token.len() {
            for bit in 0..8 {
                let mut altered = token.clone().into_bytes();
                altered[at] ^= 1 << bit;
                let altered = String::from_utf8_lossy(&altered).into_owned();
                assert_eq!(key().open(&altered, NOW), Err(GrantError::Invalid), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_token_that_is_cut_or_longer_or_of_another_key_is_invalid() {
        let token = key().seal(&example());
        for cut in 0..token.len() {
            assert_eq!(key().open(&token[..cut], NOW), Err(GrantError::Invalid), "{cut}");
        }
        for longer in [format!("{token}="), format!("{token}A"), format!("{token}."), format!(" {token}")] {
            assert_eq!(key().open(&longer, NOW), Err(GrantError::Invalid));
        }
        let other = GrantKey::parse(&GrantKey::generate()).unwrap();
        assert_eq!(other.open(&token, NOW), Err(GrantError::Invalid));
        assert_eq!(other.open(&token, example().expires_at), Err(GrantError::Invalid), "forged, not expired");
    }

    /// Pinned: during an upgrade one version seals and another opens.
    #[test]
    fn the_token_is_pinned() {
        assert_eq!(PAYLOAD_BYTES, 83);
        let payload = example().write();
        assert_eq!(payload[0], VERSION);
        assert_eq!(payload[33..35], [1, 1]);
        assert_eq!(MediaKind::ALL.map(kind_code), [1, 2]);
        assert_eq!(ContentType::ALL.map(type_code), [1, 2, 3, 4, 5]);
        assert_eq!(key().seal(&example()).len(), 111 + 1 + 43);
        let mut next = payload;
        next[0] = VERSION + 1;
        assert_eq!(Grant::read(&next), None);
    }

    #[test]
    fn a_key_is_32_bytes_and_is_not_shown() {
        let text = GrantKey::generate();
        assert_eq!(text.len(), 43);
        assert_ne!(text, GrantKey::generate());
        let key = GrantKey::parse(&format!("{text}\n")).unwrap();
        assert_eq!(format!("{key:?}"), "GrantKey(..)");
        for bad in ["", &text[1..], &format!("{text}="), &"+".repeat(43)] {
            let said = GrantKey::parse(bad).unwrap_err();
            assert_eq!(said, "a grant key is base64url of 32 bytes, without padding");
        }
    }
}
