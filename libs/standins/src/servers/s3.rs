//! How the S3 server is reached, and the few signed requests that starting and checking it take.

use std::{fmt, time::Duration};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::http;

/// How long it may take to connect, to read and to write.
const BOUND: Duration = Duration::from_secs(5);
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// An S3 server, reached path-style. One key, for everything in it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct S3Server {
    /// `http://host:port`.
    pub endpoint: String,
    /// It exists.
    pub bucket: String,
    /// Part of what is signed.
    pub region: String,
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
}

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Server")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl S3Server {
    /// One request for the object `key` (of letters, digits, `-`, `.`, `_`, `~` and `/` only) of the bucket, signed with
    /// AWS Signature Version 4: the status and the body of the answer. For checks that want no client library between
    /// themselves and the server; it blocks.
    ///
    /// # Errors
    /// It could not be asked within seconds, or what answers is no HTTP server.
    pub fn send(&self, method: &str, key: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        self.send_within(BOUND, method, key, body)
    }

    /// As [`S3Server::send`]; connecting, reading and writing may take `bound` each.
    pub(super) fn send_within(
        &self,
        bound: Duration,
        method: &str,
        key: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let address = self.endpoint.strip_prefix("http://").unwrap_or(&self.endpoint);
        let path = format!("/{}/{key}", self.bucket);
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let hash = hex(&Sha256::digest(body));
        let authorization = self.authorization(method, &path, address, &time, &hash);
        let headers = [("x-amz-content-sha256", &*hash), ("x-amz-date", &*time), ("authorization", &*authorization)];
        http::send(address, bound, method, &path, &headers, body)
    }

    /// The `authorization` header (AWS, "Create a signed AWS API request").
    fn authorization(&self, method: &str, path: &str, host: &str, time: &str, hash: &str) -> String {
        let request = format!(
            "{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{time}\n\n{SIGNED}\n{hash}"
        );
        let date = time.split('T').next().unwrap_or_default();
        let scope = [date, self.region.as_str(), "s3", "aws4_request"];
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{}\n{}", scope.join("/"), hex(&Sha256::digest(&request)));
        let secret = format!("AWS4{}", self.secret_access_key).into_bytes();
        let key = scope.iter().fold(secret, |key, part| mac(&key, part));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={SIGNED}, Signature={}",
            self.access_key_id,
            scope.join("/"),
            hex(&mac(&key, &to_sign))
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> S3Server {
        S3Server {
            endpoint: "http://127.0.0.1:1".into(),
            bucket: "b".into(),
            region: "us-east-1".into(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", example());
        assert!(shown.contains("AKIAIOSFODNN7EXAMPLE") && !shown.contains("wJalr"), "{shown}");
    }
}
