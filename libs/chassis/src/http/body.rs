//! A request's body: read within its bounds and its time, and decompressed within a bound of its own.

use std::io::{ErrorKind, Read};

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Instant;

use super::Problem;

/// Binary logarithm of the largest zstd window we make room for: 8 MiB, as RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A whole body, decompressed (gzip, zstd) within both bounds of [`crate::config::HttpConfig`]: `body_too_large` (413),
/// `malformed_encoding` (400), `unsupported_encoding` (415), `body_incomplete` (400), `request_timeout` (408).
#[derive(Debug, Clone)]
pub struct Body(pub Bytes);

/// The bounds of one request; the shell puts them into its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    pub(super) decoded_bytes: usize,
    /// When the answer must be there.
    pub(super) deadline: Option<Instant>,
}

impl Default for Limits {
    /// What holds without a shell, as in a test of a bare router.
    fn default() -> Self {
        Self { body_bytes: 1 << 20, decoded_bytes: 4 << 20, deadline: None }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
        let coding = Coding::of(request.headers())?;
        if announced_length(request.headers()).is_some_and(|length| length > limits.body_bytes as u64) {
            return Err(too_large(limits.body_bytes, "as sent"));
        }
        let read = Limited::new(request.into_body(), limits.body_bytes).collect();
        let read = match limits.deadline {
            // The shell's own timer has the same deadline, and asks us first: a client that is slow to send learns
            // that it was the slow one.
            Some(deadline) => tokio::time::timeout_at(deadline, read)
                .await
                .map_err(|_| Problem::new(408, "request_timeout", "the body did not come in time; send it again"))?,
            None => read.await,
        };
        let sent = match read {
            Ok(collected) => collected.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => return Err(too_large(limits.body_bytes, "as sent")),
            Err(_) => return Err(Problem::new(400, "body_incomplete", "the body broke off; send it again")),
        };
        coding.decode(sent, limits.decoded_bytes).map(Self)
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize, when: &str) -> Problem {
    Problem::new(413, "body_too_large", format!("a body here has at most {limit} bytes {when}"))
}

/// `Content-Encoding`: one coding at most, for nobody needs two and each multiplies what a few bytes can become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (values.next(), values.next()) {
            (None, _) => Some(Self::Identity),
            (Some(one), None) => match one.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "" | "identity" => Some(Self::Identity),
                "gzip" | "x-gzip" => Some(Self::Gzip),
                "zstd" => Some(Self::Zstd),
                _ => None,
            },
            (Some(_), Some(_)) => None,
        };
        coding.ok_or_else(|| Problem::new(415, "unsupported_encoding", "a body here is plain, gzip or zstd, once"))
    }

    fn decode(self, sent: Bytes, limit: usize) -> Result<Bytes, Problem> {
        match self {
            Self::Identity if sent.len() > limit => Err(too_large(limit, "when decoded")),
            Self::Identity => Ok(sent),
            Self::Gzip => inflate(flate2::read::MultiGzDecoder::new(&sent[..]), limit),
            Self::Zstd => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(&sent[..]).map_err(|_| malformed())?;
                reader.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| malformed())?;
                inflate(reader, limit)
            }
        }
    }
}

fn malformed() -> Problem {
    Problem::new(400, "malformed_encoding", "the body is not what its Content-Encoding says")
}

/// Reads one byte beyond the limit at most: what a bomb would become is never held.
fn inflate(reader: impl Read, limit: usize) -> Result<Bytes, Problem> {
    let mut decoded = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut decoded).map_err(|e| match e.kind() {
        ErrorKind::OutOfMemory => too_large(limit, "when decoded"),
        _ => malformed(),
    })?;
    if decoded.len() > limit { Err(too_large(limit, "when decoded")) } else { Ok(decoded.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(coding: &str, sent: Vec<u8>, limits: Limits) -> Result<Bytes, Problem> {
        let mut request =
            Request::builder().header(header::CONTENT_ENCODING, coding).body(axum::body::Body::from(sent)).unwrap();
        request.extensions_mut().insert(limits);
        Body::from_request(request, &()).await.map(|Body(bytes)| bytes)
    }

    const SMALL: Limits = Limits { body_bytes: 2_000, decoded_bytes: 3_000, deadline: None };

    #[tokio::test]
    async fn gzip_and_zstd_are_read_as_they_were_written() {
        let text = b"{\"id\":1}".repeat(100);
        assert_eq!(read("gzip", gzip(&text), SMALL).await.unwrap(), text);
        assert_eq!(read("ZSTD", zstd::encode_all(&text[..], 3).unwrap(), SMALL).await.unwrap(), text);
        assert_eq!(read("identity", text.clone(), SMALL).await.unwrap(), text);
    }

    #[tokio::test]
    async fn a_bomb_is_refused_without_being_held() {
        let zeros = vec![0; 64 << 20];
        for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 19).unwrap())] {
            let limits = Limits { body_bytes: 1 << 20, ..SMALL };
            let problem = read(coding, bomb, limits).await.unwrap_err();
            assert_eq!((problem.status, problem.code), (413, "body_too_large"), "{coding}");
        }
        // What is read of an endless stream is the limit and one byte.
        struct Endless(usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0 += buffer.len();
                assert!(self.0 < 100_000, "read on and on");
                buffer.fill(0);
                Ok(buffer.len())
            }
        }
        assert_eq!(inflate(Endless(0), 3_000).unwrap_err().code, "body_too_large");
    }

    #[tokio::test]
    async fn each_bad_body_has_its_code() {
        let code = |r: Result<Bytes, Problem>| r.map_err(|p| (p.status, p.code)).unwrap_err();
        assert_eq!(code(read("identity", vec![0; 2_001], SMALL).await), (413, "body_too_large"));
        assert_eq!(code(read("gzip", b"not gzip".to_vec(), SMALL).await), (400, "malformed_encoding"));
        let whole = gzip(&[1; 500]);
        assert_eq!(code(read("gzip", whole[..whole.len() - 9].to_vec(), SMALL).await), (400, "malformed_encoding"));
        assert_eq!(code(read("br", vec![], SMALL).await), (415, "unsupported_encoding"));
        assert_eq!(code(read("gzip, gzip", vec![], SMALL).await), (415, "unsupported_encoding"));
        let mut request = Request::new(axum::body::Body::new(http_body_util::Full::new(Bytes::new())));
        request.headers_mut().insert(header::CONTENT_LENGTH, 5_000.into());
        request.extensions_mut().insert(SMALL);
        let problem = Body::from_request(request, &()).await.unwrap_err();
        assert_eq!(problem.code, "body_too_large", "refused by what is announced, before it is read");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_the_clients_time_out() {
        let mut request =
            Request::new(axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()));
        let deadline = Some(Instant::now());
        request.extensions_mut().insert(Limits { deadline, ..SMALL });
        let problem = Body::from_request(request, &()).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (408, "request_timeout"));
    }
}
