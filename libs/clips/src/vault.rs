//! What the services need of the store of objects, as a trait: tests put their own in.

use async_trait::async_trait;
use porchlight_domain::{Cleared, ContentHash, MediaId, Timestamp, view::MediaView};

use crate::Grant;

/// How long an upload may be begun under its URL, ms.
pub const UPLOAD_URL_MS: i64 = 5 * 60_000;
/// How long a URL to read lives, ms.
pub const READ_URL_MS: i64 = 60_000;

/// Why the store of objects could not answer. Never "no such object": that is `None`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// Away or overloaded: the same call may succeed later.
    #[error("the store of objects is unavailable: {0}")]
    Unavailable(String),
    /// It refused: wrong credentials, no such bucket. Trying again cannot help.
    #[error("the store of objects refused: {0}")]
    Refused(String),
}

/// The way to put an object: everything that must be sent, exactly.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where to `PUT` it. Whoever has it can put this one object: it is as secret as a credential, and `Debug` hides it.
    pub url: String,
    /// The headers that must be sent with it: length, type, checksum, and that nothing may be there.
    pub headers: Vec<(String, String)>,
    /// Until when it may be begun.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What is known of an object without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, as the server checked it when it was put; `None` if the server does not say.
    pub sha256: Option<ContentHash>,
    /// When it was put.
    pub put_at: Timestamp,
}

/// An object of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its whole key.
    pub name: String,
    /// Whose it is; `None` if the key is no media's.
    pub media: Option<MediaId>,
    /// When it was put.
    pub put_at: Timestamp,
    /// Its length.
    pub bytes: u64,
}

/// The store of objects.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The way to put what was granted. Asks nobody.
    ///
    /// # Errors
    /// [`VaultError::Refused`] if no URL can be made by these settings.
    async fn upload(&self, grant: &Grant, now: Timestamp) -> Result<Upload, VaultError>;
    /// A URL under which the bytes can be fetched for [`READ_URL_MS`], and when it ends. Only for what the gate cleared.
    /// Asks nobody.
    ///
    /// # Errors
    /// [`VaultError::Refused`] if no URL can be made by these settings.
    async fn read_url(&self, media: &Cleared<MediaView>, now: Timestamp) -> Result<(String, Timestamp), VaultError>;
    /// What is there.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn stat(&self, media: MediaId) -> Result<Option<Stat>, VaultError>;
    /// Removes an object by its whole key (as [`Vault::list`] gives it). None there is no error.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn remove(&self, name: &str) -> Result<(), VaultError>;
    /// Removes a media's object. None there is no error.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn remove_media(&self, media: MediaId) -> Result<(), VaultError>;
    /// The objects of a shard (the first hex digit of the media id, 0 to 15) after a key, in the order of their keys, at
    /// most `limit` (1 to 1000). Fewer say nothing; none: there are no more.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn list(&self, shard: u8, after: &str, limit: usize) -> Result<Vec<Object>, VaultError>;
    /// Answers if the bucket is there and these credentials may use it: for a gauge, never for readiness.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn ping(&self) -> Result<(), VaultError>;
}
