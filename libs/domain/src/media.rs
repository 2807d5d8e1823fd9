//! Media: the clip and the thumbnail of an event. What they show is the household's; neighbors see what was shared.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, EventId, HouseholdId, MediaId, Plan, Timestamp};

/// The most bytes of a clip: one upload.
pub const MAX_CLIP_BYTES: u64 = 64 * 1024 * 1024;
/// The most bytes of a thumbnail.
pub const MAX_THUMBNAIL_BYTES: u64 = 2 * 1024 * 1024;
/// The most media that are found for one event: its clip and thumbnail, and a few that were encoded again.
pub const MAX_EVENT_MEDIA: usize = 8;
/// The most media that an item names; further ones are kept, and not shown with it.
pub const MAX_ITEM_MEDIA: usize = 64;

/// What a media is of its event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Moving pictures.
    Clip,
    /// One picture.
    Thumbnail,
}

impl MediaKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Clip, Self::Thumbnail];

    /// The word that stands for it in JSON, in rows and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Thumbnail => "thumbnail",
        }
    }

    /// The kind that a stored word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The most bytes of one.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Clip => MAX_CLIP_BYTES,
            Self::Thumbnail => MAX_THUMBNAIL_BYTES,
        }
    }

    /// Whether one may be of this type.
    pub fn takes(self, content_type: ContentType) -> bool {
        match content_type {
            ContentType::Mp4 | ContentType::Webm => self == Self::Clip,
            ContentType::Jpeg | ContentType::Png | ContentType::Webp => self == Self::Thumbnail,
        }
    }
}

/// The types that are stored. A closed list: whoever fetches one is told what it is, and never gets a page or a script.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub enum ContentType {
    /// MPEG-4.
    #[serde(rename = "video/mp4")]
    Mp4,
    /// `WebM`.
    #[serde(rename = "video/webm")]
    Webm,
    /// JPEG.
    #[serde(rename = "image/jpeg")]
    Jpeg,
    /// PNG.
    #[serde(rename = "image/png")]
    Png,
    /// `WebP`.
    #[serde(rename = "image/webp")]
    Webp,
}

impl ContentType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::Mp4, Self::Webm, Self::Jpeg, Self::Png, Self::Webp];

    /// The media type (RFC 6838).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// The type that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }
}

/// SHA-256 of a media's bytes, as its device said and the store of objects checked. In JSON: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

/// What is no SHA-256 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 in 64 hexadecimal digits")]
pub struct HashError;

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentHash({self})")
    }
}
impl std::str::FromStr for ContentHash {
    type Err = HashError;
    fn from_str(s: &str) -> Result<Self, HashError> {
        let digits = s.as_bytes();
        if digits.len() != 64 {
            return Err(HashError);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
            *byte = nibble(pair[0]).zip(nibble(pair[1])).map(|(high, low)| high << 4 | low).ok_or(HashError)?;
        }
        Ok(Self(hash))
    }
}
impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl utoipa::PartialSchema for ContentHash {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-fA-F]{64}$"))
            .description(Some("SHA-256, hexadecimal"))
            .into()
    }
}
impl utoipa::ToSchema for ContentHash {}

/// A media whose upload was completed, with what was true of its device then. It never leaves a service as it is: see
/// [`crate::view::MediaView`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// Derived from device, event, kind and content.
    pub id: MediaId,
    /// Whose camera.
    pub device: DeviceId,
    /// Of which event; it may not have arrived yet, or never come.
    pub event: EventId,
    /// Whose it is.
    pub household: HouseholdId,
    /// Clip or thumbnail.
    pub kind: MediaKind,
    /// What it is.
    pub content_type: ContentType,
    /// How long it is.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: ContentHash,
    /// Days that it is kept, by the device's plan when it was completed.
    pub retention_days: u16,
    /// When it was completed, by our clock.
    pub received_at: Timestamp,
}

impl Media {
    /// When it ends by the plan under which it was stored.
    pub fn expires_at(&self) -> Timestamp {
        self.received_at.plus_ms(Plan { retention_days: self.retention_days, clips: true }.retention_ms())
    }

    /// When it ends by the device's plan as it is now: a shorter retention acts on what is stored, a longer one does not.
    /// A plan that stores no clips any more ends none that is there.
    pub fn ends(&self, now: Option<Plan>) -> Timestamp {
        let by_now = now.map_or(Timestamp(i64::MAX), |plan| self.received_at.plus_ms(plan.retention_ms()));
        self.expires_at().min(by_now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_hash_is_64_hexadecimal_digits_and_nothing_else() {
        let text = "00ff".repeat(16);
        let hash: ContentHash = text.parse().unwrap();
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        for bad in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32), &format!("+{}", "0".repeat(63))] {
            assert_eq!(bad.parse::<ContentHash>(), Err(HashError), "{bad}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        assert!(MediaKind::ALL.iter().all(|kind| MediaKind::parse(kind.as_str()) == Some(*kind)));
        assert!(ContentType::ALL.iter().all(|t| ContentType::parse(t.as_str()) == Some(*t)));
        assert_eq!(ContentType::parse("text/html"), None);
        assert!(MediaKind::Clip.takes(ContentType::Mp4) && !MediaKind::Clip.takes(ContentType::Png));
    }

    #[test]
    fn a_shorter_retention_acts_on_what_is_stored_and_a_longer_one_does_not() {
        let media = Media {
            id: MediaId(Uuid::nil()),
            device: DeviceId(Uuid::nil()),
            event: EventId(Uuid::nil()),
            household: HouseholdId(Uuid::nil()),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 1,
            sha256: ContentHash([0; 32]),
            retention_days: 30,
            received_at: Timestamp(0),
        };
        let day = 86_400_000;
        let plan = |retention_days, clips| Some(Plan { retention_days, clips });
        assert_eq!(media.ends(None), Timestamp(30 * day));
        assert_eq!(media.ends(plan(7, true)), Timestamp(7 * day));
        assert_eq!(media.ends(plan(60, true)), Timestamp(30 * day));
        assert_eq!(media.ends(plan(30, false)), Timestamp(30 * day));
    }
}
