//! The vault over S3.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use async_trait::async_trait;
use aws_sdk_s3::{
    presigning::{PresignedRequest, PresigningConfig},
    types::ChecksumMode,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use porchlight_domain::{Cleared, ContentHash, MediaId, Timestamp, view::MediaView};

use crate::{
    Grant, Object, READ_URL_MS, S3Config, Stat, UPLOAD_URL_MS, Upload, Vault, VaultError,
    client::Clients,
    key,
    metrics::{self, Operation},
    outcome::Failure,
};

/// What an upload must send as it was granted. A signature that leaves one out would let other bytes in.
const BOUND: [&str; 4] = ["content-length", "content-type", "if-none-match", "x-amz-checksum-sha256"];
/// How often a listing that goes on and shows nothing is asked further.
const MAX_EMPTY_PAGES: usize = 16;

/// An S3-compatible store of objects. Cheap to clone.
#[derive(Clone)]
pub struct S3(Arc<Place>);

struct Place {
    clients: Clients,
    bucket: String,
    prefix: String,
}

impl S3 {
    /// Connects lazily: nothing is asked yet. Reads the files that the settings name.
    ///
    /// # Errors
    /// A setting that cannot be, in a sentence.
    pub fn new(config: &S3Config) -> Result<Self, String> {
        let (bucket, prefix) = (config.bucket.clone(), config.prefix.clone());
        Ok(Self(Arc::new(Place { clients: Clients::new(config)?, bucket, prefix })))
    }

    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        let sent = self.0.clients.inner.delete_object().bucket(&self.0.bucket).key(name).send();
        observed(Operation::Remove, async {
            match sent.await.map_err(Failure::from) {
                Ok(_) | Err(Failure::Missing) => Ok(()),
                Err(failure @ (Failure::Unavailable(_) | Failure::Refused(_))) => Err(failure.into()),
            }
        })
        .await
    }
}

#[async_trait]
impl Vault for S3 {
    async fn upload(&self, grant: &Grant, now: Timestamp) -> Result<Upload, VaultError> {
        let name = key::name(&self.0.prefix, grant.media());
        let (signing, expires_at) = signing(now, UPLOAD_URL_MS)?;
        let put = self.0.clients.public.put_object().bucket(&self.0.bucket).key(name);
        let request = put
            .content_length(i64::try_from(grant.bytes).map_err(|_| no_url())?)
            .content_type(grant.content_type.as_str())
            .checksum_sha256(STANDARD.encode(grant.sha256.0))
            .if_none_match("*")
            .presigned(signing)
            .await
            .map_err(|_| no_url())?;
        // SDKs have dropped headers from the signature in silence. Such a URL is never given away.
        if !BOUND.iter().all(|header| signed(&request).any(|signed| signed == *header)) {
            return Err(no_url());
        }
        let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Upload { url: request.uri().to_owned(), headers, expires_at })
    }

    async fn read_url(&self, media: &Cleared<MediaView>, now: Timestamp) -> Result<(String, Timestamp), VaultError> {
        let name = key::name(&self.0.prefix, media.id());
        let (signing, expires_at) = signing(now, READ_URL_MS)?;
        let get = self.0.clients.public.get_object().bucket(&self.0.bucket).key(name);
        // What is shown to one person is kept by nobody on the way.
        let get = get.response_cache_control("private, max-age=60");
        let request = get.presigned(signing).await.map_err(|_| no_url())?;
        Ok((request.uri().to_owned(), expires_at))
    }

    async fn stat(&self, media: MediaId) -> Result<Option<Stat>, VaultError> {
        let head = self.0.clients.inner.head_object().bucket(&self.0.bucket).key(key::name(&self.0.prefix, media));
        let sent = head.checksum_mode(ChecksumMode::Enabled).send();
        observed(Operation::Stat, async {
            match sent.await.map_err(Failure::from) {
                Ok(head) => {
                    let bytes = head.content_length().and_then(|n| u64::try_from(n).ok());
                    let bytes = bytes.ok_or_else(|| unreadable("an object without a length"))?;
                    let put_at = head.last_modified().and_then(|at| at.to_millis().ok()).map(Timestamp);
                    let put_at = put_at.ok_or_else(|| unreadable("an object without a time"))?;
                    Ok(Some(Stat { bytes, sha256: head.checksum_sha256().and_then(hash), put_at }))
                }
                Err(Failure::Missing) => Ok(None),
                Err(failure @ (Failure::Unavailable(_) | Failure::Refused(_))) => Err(failure.into()),
            }
        })
        .await
    }

    async fn remove(&self, name: &str) -> Result<(), VaultError> {
        if !key::is_ours(&self.0.prefix, name) {
            return Err(VaultError::Refused("this is no object of ours".to_owned()));
        }
        self.delete(name).await
    }

    async fn remove_media(&self, media: MediaId) -> Result<(), VaultError> {
        self.delete(&key::name(&self.0.prefix, media)).await
    }

    async fn list(&self, shard: u8, after: &str, limit: usize) -> Result<Vec<Object>, VaultError> {
        let folder = key::shard(&self.0.prefix, shard);
        let folder = folder.ok_or_else(|| VaultError::Refused("there is no such shard".to_owned()))?;
        let limit = i32::try_from(limit.clamp(1, 1000)).unwrap_or(1000);
        let list = self.0.clients.inner.list_objects_v2().bucket(&self.0.bucket).prefix(folder).max_keys(limit);
        let mut next = list.clone().set_start_after((!after.is_empty()).then(|| after.to_owned()));
        for _ in 0..MAX_EMPTY_PAGES {
            let sent = next.send();
            let page = observed(Operation::List, async { sent.await.map_err(|e| Failure::from(e).into()) }).await?;
            let further = page.next_continuation_token().filter(|_| page.is_truncated() == Some(true));
            match further {
                // A page may be empty without being the last: only the last one may be told as the end.
                Some(token) if page.contents().is_empty() => next = list.clone().continuation_token(token),
                Some(_) | None => return page.contents().iter().map(|listed| self.object(listed)).collect(),
            }
        }
        Err(unreadable("a listing that shows nothing and does not end"))
    }

    async fn ping(&self) -> Result<(), VaultError> {
        let sent = self.0.clients.inner.head_bucket().bucket(&self.0.bucket).send();
        let answer = observed(Operation::Ping, async { sent.await.map_err(|e| Failure::from(e).into()) }).await;
        metrics::up(answer.is_ok());
        answer.map(|_| ())
    }
}

impl S3 {
    /// An object of a listing. One whose age is not told is an error: it could be taken for old.
    fn object(&self, listed: &aws_sdk_s3::types::Object) -> Result<Object, VaultError> {
        let put_at = listed.last_modified().and_then(|at| at.to_millis().ok()).map(Timestamp);
        let (Some(name), Some(put_at)) = (listed.key(), put_at) else {
            return Err(unreadable("a listing without names or times"));
        };
        let bytes = listed.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Ok(Object { name: name.to_owned(), media: key::read(&self.0.prefix, name), put_at, bytes })
    }
}

/// Does it, and counts it.
async fn observed<T>(
    operation: Operation,
    request: impl Future<Output = Result<T, VaultError>>,
) -> Result<T, VaultError> {
    let began = Instant::now();
    let answer = request.await;
    metrics::requested(operation, answer.as_ref().err(), began.elapsed());
    answer
}

/// A signature's times are whole seconds: it begins with the second that `now` is in, so that it never ends later than
/// `now` and its life.
fn signing(now: Timestamp, life_ms: i64) -> Result<(PresigningConfig, Timestamp), VaultError> {
    let begin = Timestamp(now.0.div_euclid(1000) * 1000);
    let since = Duration::from_millis(u64::try_from(begin.0).map_err(|_| no_url())?);
    let life = Duration::from_millis(u64::try_from(life_ms).map_err(|_| no_url())?);
    let start = UNIX_EPOCH.checked_add(since).ok_or_else(no_url)?;
    let config = PresigningConfig::builder().start_time(start).expires_in(life).build().map_err(|_| no_url())?;
    Ok((config, begin.plus_ms(life_ms)))
}

/// The names of the headers that a presigned URL binds.
fn signed(request: &PresignedRequest) -> impl Iterator<Item = &str> {
    let query = request.uri().split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders=")).unwrap_or("");
    names.split("%3B").flat_map(|names| names.split(';'))
}

fn hash(text: &str) -> Option<ContentHash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(ContentHash)
}

fn no_url() -> VaultError {
    VaultError::Refused("no URL can be made by these settings".to_owned())
}

fn unreadable(what: &str) -> VaultError {
    VaultError::Unavailable(format!("the answer is {what}"))
}

#[cfg(test)]
mod tests;
