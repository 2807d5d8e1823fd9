//! Everything that a request can be refused with, and the one place that turns it into status, code and log line.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use porchlight_chassis::http::Problem;
use porchlight_clips::VaultError;
use porchlight_store::StoreError;

use crate::{auth::TokenError, registry::WriteError};

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bearer token.
    #[error("no bearer token")]
    TokenMissing,
    /// The token does not hold.
    #[error("a token was refused: {0}")]
    TokenInvalid(TokenError),
    /// Whether the token holds cannot be told.
    #[error("the issuer's keys are not here")]
    IssuerUnavailable,
    /// For operators only: the same for every id.
    #[error("not an operator")]
    OperatorOnly,
    /// Nothing there, or nothing that the caller may see: the same bytes.
    #[error("not found")]
    NotFound,
    /// A media of the caller's household whose time is over; everybody else meets [`Error::NotFound`].
    #[error("the media has expired")]
    MediaExpired,
    /// The body, path, query or headers are wrong.
    #[error("refused: {}", .0.code)]
    Refused(Problem),
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("a precondition failed")]
    VersionConflict,
    /// The gate cannot decide yet.
    #[error("the neighborhoods in memory lag behind: {0}")]
    CatchingUp(String),
    /// The write is not (known to be) done and published.
    #[error("registry write: {0}")]
    Write(#[from] WriteError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No URL to a media could be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Error {
    /// 400: what was sent means nothing.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Refused(Problem::new(400, code, detail))
    }

    /// 422: it is understood and cannot be; `pointer` is the field's.
    pub fn unprocessable(code: &'static str, pointer: &str, detail: impl Into<String>) -> Self {
        let problem = Problem::new(422, code, detail);
        Self::Refused(if pointer.is_empty() { problem } else { problem.at(pointer) })
    }

    /// 409: not while other things are as they are.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Refused(Problem::new(409, code, detail))
    }

    /// What the caller is told.
    pub fn problem(&self) -> Problem {
        match self {
            Self::TokenMissing => {
                Problem::new(401, "token_invalid", "send Authorization: Bearer with a token of the issuer")
            }
            Self::TokenInvalid(_) => Problem::new(401, "token_invalid", "the token does not hold; get a new one"),
            Self::IssuerUnavailable => {
                Problem::new(503, "issuer_unavailable", "tokens cannot be checked at the moment").retry_after(2)
            }
            Self::OperatorOnly => Problem::new(403, "operator_only", "this is for operators of the deployment"),
            Self::NotFound => Problem::not_found(),
            Self::MediaExpired => {
                Problem::new(410, "media_expired", "it is gone: the device's plan keeps clips and thumbnails no longer")
            }
            Self::Refused(problem) => problem.clone(),
            Self::VersionConflict | Self::Write(WriteError::Conflict) => {
                Problem::new(412, "version_conflict", "it is not at the version you expect; read it again")
            }
            Self::CatchingUp(_) => {
                Problem::new(503, "neighborhoods_catching_up", "neighborhoods are being loaded").retry_after(1)
            }
            Self::Write(WriteError::Unpublished(_) | WriteError::Contended) => Problem::new(
                503,
                "registry_unavailable",
                "the change may or may not be made; it is safe to send it again",
            )
            .retry_after(2),
            Self::Write(WriteError::Store(e)) | Self::Store(e) => store_problem(e),
            Self::Vault(VaultError::Unavailable(_)) => {
                Problem::new(503, "storage_unavailable", "the store of clips does not answer at the moment")
                    .retry_after(1)
            }
            Self::Write(WriteError::Refused(_)) | Self::Vault(VaultError::Refused(_)) => Problem::internal(),
        }
    }

    fn log(&self) {
        match self {
            Self::TokenMissing
            | Self::OperatorOnly
            | Self::NotFound
            | Self::MediaExpired
            | Self::Refused(_)
            | Self::VersionConflict
            | Self::Write(WriteError::Conflict) => {}
            Self::TokenInvalid(why) => tracing::debug!(%why, "a token was refused"),
            Self::IssuerUnavailable
            | Self::CatchingUp(_)
            | Self::Write(WriteError::Unpublished(_) | WriteError::Contended)
            | Self::Write(WriteError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_)))
            | Self::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))
            | Self::Vault(VaultError::Unavailable(_)) => {
                tracing::warn!(why = %self, "a request could not be answered");
            }
            Self::Write(WriteError::Refused(_))
            | Self::Write(WriteError::Store(StoreError::Corrupt { .. } | StoreError::Refused(_)))
            | Self::Store(StoreError::Corrupt { .. } | StoreError::Refused(_))
            | Self::Vault(VaultError::Refused(_)) => {
                tracing::error!(why = %self, "a request broke");
            }
        }
    }
}

fn store_problem(e: &StoreError) -> Problem {
    match e {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => {
            Problem::new(503, "store_unavailable", "the store does not answer at the moment").retry_after(1)
        }
        StoreError::Corrupt { .. } | StoreError::Refused(_) => Problem::internal(),
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let mut response = self.problem().into_response();
        if let Self::TokenInvalid(_) = self {
            // RFC 6750, section 3.1: the error is named only to who sent a token.
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
