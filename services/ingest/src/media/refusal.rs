//! Why an upload is not granted or not completed, and what the device is told.

use porchlight_bus::ProduceError;
use porchlight_chassis::http::Problem;
use porchlight_clips::{GrantError, VaultError};
use porchlight_domain::{ContentType, MediaKind};

use crate::{log, metrics::Outcome};

/// Why not.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Dings go first.
    Shed,
    /// The event's id is no UUIDv7.
    EventId,
    /// This kind is never of this type.
    ContentType(MediaKind),
    /// No SHA-256.
    Sha256,
    /// Of no bytes.
    Empty,
    /// Of too many bytes for its kind.
    TooLarge(MediaKind),
    /// The device's plan stores none.
    NoClips,
    /// The token.
    Grant(GrantError),
    /// Nothing was put.
    Missing,
    /// It was put so long ago that the sweep may be about to take it for abandoned.
    TooOld,
    /// Something else was put.
    Mismatch,
    /// The store of objects does not say what it holds: nothing that it holds can be trusted.
    Unchecked,
    /// The store of objects does not answer, or not us.
    Storage(VaultError),
    /// The log did not take it.
    Log(ProduceError),
}

impl Refusal {
    /// Whether what was put must go: it is no media, and must never become one. Under a plan that stores no clips (any
    /// more) it may be one: completed before, at another process that we have not heard of. The sweep knows.
    pub(super) fn removes_object(&self) -> bool {
        match self {
            Self::Mismatch => true,
            Self::NoClips
            | Self::Shed
            | Self::EventId
            | Self::ContentType(_)
            | Self::Sha256
            | Self::Empty
            | Self::TooLarge(_)
            | Self::Grant(_)
            | Self::Missing
            | Self::TooOld
            | Self::Unchecked
            | Self::Storage(_)
            | Self::Log(_) => false,
        }
    }

    /// How it counts, and what the device is told. What is for the operator goes into the log here.
    pub(super) fn told(self) -> (Outcome, Problem) {
        let refused = |status, code, detail: &str| (Outcome::Refused, Problem::new(status, code, detail));
        let at = |(outcome, problem): (Outcome, Problem), pointer: &str| (outcome, problem.at(pointer));
        match self {
            Self::Shed => (
                Outcome::Shed,
                Problem::new(429, "shedding", "clips wait while dings go first; send it again").retry_after(2),
            ),
            Self::EventId => refused(422, "event_id_not_uuidv7", "an event's id is a UUIDv7"),
            Self::ContentType(kind) => {
                let detail = format!("a {} here is {}", kind.as_str(), types(kind));
                at(refused(422, "content_type_unsupported", &detail), "/content_type")
            }
            Self::Sha256 => at(refused(422, "sha256_invalid", "the SHA-256 in 64 hexadecimal digits"), "/sha256"),
            Self::Empty => at(refused(422, "media_empty", "there is nothing to upload"), "/bytes"),
            Self::TooLarge(kind) => {
                let detail = format!("a {} here has at most {} bytes", kind.as_str(), kind.max_bytes());
                at(refused(413, "media_too_large", &detail), "/bytes")
            }
            Self::NoClips => {
                refused(402, "plan_stores_no_clips", "the plan of this device stores neither clips nor thumbnails")
            }
            Self::Grant(GrantError::Invalid) => at(
                refused(403, "grant_invalid", "the grant as it was given, by its own device, for its own media"),
                "/grant",
            ),
            Self::Grant(GrantError::Expired) => {
                at(refused(410, "grant_expired", "this grant is too old; ask for the upload again"), "/grant")
            }
            Self::Missing => refused(409, "upload_missing", "nothing was put yet under this grant"),
            Self::TooOld => refused(
                409,
                "upload_too_old",
                "what was put lay uncompleted for more than a day; it is removed within days, then put it again",
            ),
            Self::Mismatch => refused(
                409,
                "checksum_mismatch",
                "what was put is not what was granted, and is removed; ask for the upload again",
            ),
            Self::Unchecked => {
                tracing::error!("the store of objects gives no SHA-256 of what it holds: no upload can be completed");
                unavailable()
            }
            Self::Storage(error @ VaultError::Unavailable(_)) => {
                tracing::warn!(%error, "an upload is put off");
                unavailable()
            }
            Self::Storage(error @ VaultError::Refused(_)) => {
                tracing::error!(%error, "an upload is put off");
                unavailable()
            }
            Self::Log(error) => log::refusal(error),
        }
    }
}

/// What is wrong there is the operator's to mend; the device has its clip still, and asks again.
fn unavailable() -> (Outcome, Problem) {
    let problem = Problem::new(503, "storage_unavailable", "clips cannot be stored just now; send it again");
    (Outcome::Unavailable, problem.retry_after(5))
}

fn types(kind: MediaKind) -> String {
    let taken = ContentType::ALL.into_iter().filter(|t| kind.takes(*t)).map(ContentType::as_str);
    taken.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_would_be_taken() {
        let detail = |refusal: Refusal| refusal.told().1.detail;
        assert_eq!(detail(Refusal::ContentType(MediaKind::Clip)), "a clip here is video/mp4 or video/webm");
        assert_eq!(detail(Refusal::TooLarge(MediaKind::Thumbnail)), "a thumbnail here has at most 2097152 bytes");
    }

    #[test]
    fn only_what_is_no_media_is_removed() {
        assert!(Refusal::Mismatch.removes_object());
        let kept = [
            Refusal::NoClips,
            Refusal::Grant(GrantError::Invalid),
            Refusal::Grant(GrantError::Expired),
            Refusal::Unchecked,
            Refusal::TooOld,
            Refusal::Storage(VaultError::Unavailable(String::new())),
            Refusal::Log(ProduceError::TimedOut),
        ];
        assert!(kept.iter().all(|refusal| !refusal.removes_object()), "it may be a media, or become one");
    }
}
