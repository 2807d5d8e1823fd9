//! The operations: what `libs/clips` asks of a store of objects. The others are `NotImplemented`, and so is whatever of
//! these would be understood half: it is refused, never left out in silence.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt as _, stream};
use s3s::{
    S3, S3Error, S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, EncodingType, GetObjectInput, GetObjectOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
        Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    },
    s3_error,
    stream::ByteStream as _,
};

use super::{
    MAX_OBJECT,
    listing::{Query, Row, after},
    object::{About, Said},
    store::{Bucket, Store},
};

/// How much is written or read at once.
const PIECE: usize = 256 * 1024;
/// The most keys of one request.
const MAX_KEYS: usize = 1000;

/// The operations over a folder.
pub(super) struct Ops(pub(super) Arc<Store>);

impl Ops {
    fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        self.0.bucket(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    async fn read(&self, bucket: &str, key: String, version: Option<&str>) -> S3Result<(File, About)> {
        let bucket = self.bucket(bucket)?;
        refuse_if(version.is_some(), "versions")?;
        blocking(move || bucket.read(&key)).await?.ok_or_else(|| s3_error!(NoSuchKey))
    }
}

#[async_trait]
impl S3 for Ops {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let (store, name) = (self.0.clone(), req.input.bucket);
        let location = Some(format!("/{name}"));
        match blocking(move || store.make_bucket(&name)).await? {
            true => Ok(S3Response::new(CreateBucketOutput { location })),
            false => Err(s3_error!(BucketAlreadyOwnedByYou)),
        }
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let asked = req.input;
        let bucket = self.bucket(&asked.bucket)?;
        let other_checksum = asked.checksum_crc32.is_some()
            || asked.checksum_crc32c.is_some()
            || asked.checksum_crc64nvme.is_some()
            || asked.checksum_sha1.is_some()
            || asked.content_md5.is_some()
            || req.headers.contains_key("x-amz-trailer");
        refuse_if(other_checksum, "checksums other than x-amz-checksum-sha256")?;
        let encrypted = asked.server_side_encryption.is_some() || asked.sse_customer_algorithm.is_some();
        refuse_if(encrypted, "encryption")?;
        refuse_if(asked.object_lock_mode.is_some() || asked.object_lock_legal_hold_status.is_some(), "locks")?;
        refuse_if(asked.write_offset_bytes.is_some(), "appending")?;
        let new = match (asked.if_none_match, asked.if_match) {
            (None, None) => false,
            (Some(ETagCondition::Any), None) => true,
            _ => return refuse("conditions other than If-None-Match: *"),
        };
        check_key(&asked.key)?;
        let mut body = asked.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let length = match (asked.content_length, body.remaining_length().exact()) {
            (Some(length), _) => u64::try_from(length).map_err(|_| s3_error!(InvalidArgument))?,
            (None, Some(0)) => 0,
            (None, _) => return Err(s3_error!(MissingContentLength)),
        };
        if length > MAX_OBJECT {
            return Err(s3_error!(EntityTooLarge));
        }
        let said = Said {
            content_type: asked.content_type,
            cache_control: asked.cache_control,
            metadata: asked.metadata.unwrap_or_default().into_iter().collect(),
        };

        let beginning = bucket.clone();
        let (mut upload, mut received) = (blocking(move || beginning.begin()).await?, 0);
        loop {
            let (piece, over) = take(&mut body).await?;
            received += piece.len() as u64;
            if received > length {
                return Err(s3_error!(IncompleteBody, "The body is longer than was said"));
            }
            upload = blocking(move || upload.write(&piece).map(|()| upload)).await?;
            if over {
                break;
            }
        }
        if received < length {
            return Err(s3_error!(IncompleteBody, "The body is shorter than was said"));
        }
        if asked.checksum_sha256.is_some_and(|said| said != upload.sha256()) {
            return Err(s3_error!(BadDigest, "The bytes do not have the SHA-256 that was said"));
        }
        let put = blocking(move || bucket.put(upload, asked.key, said, new)).await?;
        let about = put.ok_or_else(|| s3_error!(PreconditionFailed))?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(etag(&about.sha256)),
            checksum_sha256: Some(about.sha256),
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let asked = req.input;
        let (mut file, about) = self.read(&asked.bucket, asked.key, asked.version_id.as_deref()).await?;
        check_conditions(asked.if_match.as_ref(), asked.if_none_match.as_ref(), &about)?;
        let range = asked.range.map(|range| range.check(about.bytes)).transpose()?;
        if range.as_ref().is_some_and(|range| range.is_empty()) {
            return Err(s3_error!(InvalidRange));
        }
        let content_range = range.as_ref().map(|r| format!("bytes {}-{}/{}", r.start, r.end - 1, about.bytes));
        let whole = range.is_none();
        let range = range.unwrap_or(0..about.bytes);
        file.seek(SeekFrom::Start(range.start)).map_err(|e| failed(&e))?;
        let length = range.end - range.start;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(pieces(file, length)),
            content_length: i64::try_from(length).ok(),
            content_range,
            cache_control: about.said.cache_control,
            // It is that of the whole.
            checksum_sha256: Some(about.sha256.clone()).filter(|_| whole && asked.checksum_mode.is_some()),
            content_type: about.said.content_type,
            e_tag: Some(etag(&about.sha256)),
            last_modified: Some(time(about.put_at)),
            metadata: Some(about.said.metadata.into_iter().collect()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let asked = req.input;
        let (_, about) = self.read(&asked.bucket, asked.key, asked.version_id.as_deref()).await?;
        check_conditions(asked.if_match.as_ref(), asked.if_none_match.as_ref(), &about)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: about.said.cache_control,
            checksum_sha256: Some(about.sha256.clone()).filter(|_| asked.checksum_mode.is_some()),
            content_length: i64::try_from(about.bytes).ok(),
            content_type: about.said.content_type,
            e_tag: Some(etag(&about.sha256)),
            last_modified: Some(time(about.put_at)),
            metadata: Some(about.said.metadata.into_iter().collect()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let asked = req.input;
        let bucket = self.bucket(&asked.bucket)?;
        let condition =
            asked.if_match.is_some() || asked.if_match_size.is_some() || asked.if_match_last_modified_time.is_some();
        refuse_if(condition, "conditions")?;
        refuse_if(asked.version_id.is_some(), "versions")?;
        blocking(move || bucket.remove(&[asked.key])).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let (bucket, asked) = (self.bucket(&req.input.bucket)?, req.input.delete);
        if asked.objects.len() > MAX_KEYS {
            return Err(s3_error!(MalformedXML, "At most 1000 keys at once"));
        }
        let other = |o: &s3s::dto::ObjectIdentifier| o.version_id.is_some() || o.e_tag.is_some() || o.size.is_some();
        refuse_if(asked.objects.iter().any(other), "versions and conditions")?;
        let keys: Vec<String> = asked.objects.into_iter().map(|object| object.key).collect();
        let gone = keys.clone();
        blocking(move || bucket.remove(&keys)).await?;
        let told = gone.into_iter().map(|key| DeletedObject { key: Some(key), ..DeletedObject::default() });
        let deleted = Some(told.collect()).filter(|_| asked.quiet != Some(true));
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let asked = req.input;
        let bucket = self.bucket(&asked.bucket)?;
        let limit = usize::try_from(asked.max_keys.unwrap_or(1000)).map_err(|_| s3_error!(InvalidArgument))?;
        let from = match (&asked.continuation_token, &asked.start_after) {
            (Some(token), _) => URL_SAFE_NO_PAD.decode(token).map_err(|_| s3_error!(InvalidArgument))?,
            (None, Some(key)) if !key.is_empty() => after(key.as_bytes()),
            (None, _) => Vec::new(),
        };
        let (rows, next) = bucket.list(&Query {
            prefix: asked.prefix.as_deref().unwrap_or_default(),
            delimiter: asked.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            from,
            limit: limit.min(MAX_KEYS),
        });
        let url = asked.encoding_type.as_ref().is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
        let named = |name: String| if url { encoded(&name) } else { name };
        let (key_count, mut contents, mut prefixes) = (i32::try_from(rows.len()).ok(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                Row::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(named(prefix)) }),
                Row::Object(key, listed) => contents.push(Object {
                    key: Some(named(key)),
                    e_tag: Some(etag(&listed.etag)),
                    last_modified: Some(time(listed.put_at)),
                    size: i64::try_from(listed.bytes).ok(),
                    ..Object::default()
                }),
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(asked.bucket),
            prefix: asked.prefix.map(named),
            delimiter: asked.delimiter.map(named),
            start_after: asked.start_after.map(named),
            max_keys: asked.max_keys.or(Some(1000)),
            key_count,
            is_truncated: Some(next.is_some()),
            next_continuation_token: next.map(|next| URL_SAFE_NO_PAD.encode(next)),
            continuation_token: asked.continuation_token,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: asked.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }
}

/// The next bytes of a body, at least a piece unless it is over; and whether it is.
async fn take(body: &mut StreamingBlob) -> S3Result<(Vec<u8>, bool)> {
    let mut piece = Vec::new();
    while piece.len() < PIECE {
        match body.next().await {
            Some(Ok(bytes)) => piece.extend_from_slice(&bytes),
            // The connection broke, or the payload is not the one that was signed.
            Some(Err(_)) => return Err(s3_error!(IncompleteBody, "The body ended early, or is not what was signed")),
            None => return Ok((piece, true)),
        }
    }
    Ok((piece, false))
}

/// The next `length` bytes of a file, piece by piece. A file that ends early breaks the answer off.
fn pieces(file: File, length: u64) -> StreamingBlob {
    StreamingBlob::wrap(stream::try_unfold((file, length), |(mut file, left)| async move {
        let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if length == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            file.read_exact(&mut piece).map(|()| (file, piece))
        });
        let (file, piece) = read.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(Some((Bytes::from(piece), (file, left - length as u64))))
    }))
}

/// Work with the disk, off the threads that talk. What fails is logged here: the answer says no more than that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> S3Result<T> {
    let logged = || work().inspect_err(|e| tracing::warn!(error = %e, "the folder of objects cannot be used"));
    tokio::task::spawn_blocking(logged).await.map_err(io::Error::other).flatten().map_err(|e| failed(&e))
}

fn failed(error: &io::Error) -> S3Error {
    s3_error!(InternalError, "The folder of objects cannot be used: {}", error.kind())
}

fn refuse<T>(what: &str) -> S3Result<T> {
    Err(s3_error!(NotImplemented, "This server knows no {what}"))
}

fn refuse_if(asked: bool, what: &str) -> S3Result<()> {
    if asked { refuse(what) } else { Ok(()) }
}

/// A listing is XML, which cannot hold these.
fn check_key(key: &str) -> S3Result<()> {
    if key.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err(s3_error!(InvalidArgument, "A key holds no control characters"));
    }
    Ok(())
}

/// RFC 9110, section 13.2.2.
fn check_conditions(is: Option<&ETagCondition>, is_not: Option<&ETagCondition>, about: &About) -> S3Result<()> {
    let holds = |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == about.sha256);
    if is.is_some_and(|condition| !holds(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if is_not.is_some_and(holds) { Err(s3_error!(NotModified)) } else { Ok(()) }
}

fn etag(sha256: &str) -> ETag {
    ETag::Strong(sha256.to_owned())
}

fn time(ms: i64) -> Timestamp {
    (UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default())).into()
}

/// As `encoding-type=url` has it.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}
