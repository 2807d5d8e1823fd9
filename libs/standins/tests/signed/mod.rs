//! A client of an S3 server that is written down here: presigned URLs, plain HTTP, and requests by hand where an HTTP
//! library would tidy the path.
#![allow(clippy::unwrap_used, dead_code)]

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use porchlight_standins::{s3::EmbeddedS3, servers::S3Server};
use reqwest::{Method, Response};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// A server in a folder of its own, and a client with its key.
pub(crate) async fn start(folder: &Path) -> (EmbeddedS3, Client) {
    let embedded = EmbeddedS3::start(folder, ([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let client = Client::of(embedded.server());
    (embedded, client)
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) server: S3Server,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn of(server: &S3Server) -> Self {
        Self { server: server.clone(), http: reqwest::Client::new() }
    }

    pub(crate) fn address(&self) -> &str {
        self.server.endpoint.strip_prefix("http://").unwrap()
    }

    /// Path and query of a request that is signed now and holds for a minute.
    pub(crate) fn target(&self, method: &str, key: &str, query: Headers<'_>, headers: Headers<'_>) -> String {
        self.target_at(jiff::Timestamp::now(), method, key, query, headers)
    }

    /// AWS, "Authenticating Requests: Using Query Parameters".
    pub(crate) fn target_at(
        &self,
        at: jiff::Timestamp,
        method: &str,
        key: &str,
        query: Headers<'_>,
        headers: Headers<'_>,
    ) -> String {
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.server.region);
        let headers: BTreeMap<&str, &str> = headers.iter().copied().chain([("host", self.address())]).collect();
        let names = headers.keys().copied().collect::<Vec<_>>().join(";");
        let credential = format!("{}/{scope}", self.server.access_key_id);
        let signed = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", "60"),
            ("X-Amz-SignedHeaders", &names),
        ];
        let mut pairs: Vec<String> = query
            .iter()
            .chain(&signed)
            .map(|(name, value)| format!("{}={}", encode(name, ""), encode(value, "")))
            .collect();
        pairs.sort();
        let (path, query) = (format!("/{}/{}", self.server.bucket, encode(key, "/")), pairs.join("&"));
        let headers: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\nUNSIGNED-PAYLOAD");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.server.secret_access_key).into_bytes();
        let key = scope.split('/').fold(secret, |key, part| mac(&key, part));
        format!("{path}?{query}&X-Amz-Signature={}", hex(&mac(&key, &to_sign)))
    }

    /// A request whose headers are signed.
    pub(crate) async fn send(
        &self,
        method: &str,
        key: &str,
        query: Headers<'_>,
        headers: Headers<'_>,
        body: &[u8],
    ) -> Response {
        let url = format!("{}{}", self.server.endpoint, self.target(method, key, query, headers));
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_vec()).send().await.unwrap()
    }

    /// Puts with the checksum of these bytes: the status.
    pub(crate) async fn put(&self, key: &str, bytes: &[u8]) -> u16 {
        self.send("PUT", key, &[], &[("x-amz-checksum-sha256", &sha256(bytes))], bytes).await.status().as_u16()
    }

    /// Puts where nothing may be, or anything: the status, if there is an answer.
    pub(crate) async fn try_put(&self, key: &str, bytes: Vec<u8>, new: bool) -> Option<u16> {
        let sum = sha256(&bytes);
        let headers = [("x-amz-checksum-sha256", &*sum), ("if-none-match", "*")];
        let headers = &headers[..if new { 2 } else { 1 }];
        let url = format!("{}{}", self.server.endpoint, self.target("PUT", key, &[], headers));
        let request = headers.iter().fold(self.http.put(url), |request, (name, value)| request.header(*name, *value));
        request.body(bytes).send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// The bytes, if there are any; they have the checksum that the server gives.
    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.send("GET", key, &[], &[("x-amz-checksum-mode", "ENABLED")], b"").await;
        match answer.status().as_u16() {
            404 => None,
            200 => {
                let checksum = answer.headers()["x-amz-checksum-sha256"].to_str().unwrap().to_owned();
                let bytes = answer.bytes().await.unwrap().to_vec();
                assert_eq!(sha256(&bytes), checksum, "{key}: the bytes are those of the checksum");
                Some(bytes)
            }
            status => panic!("{key}: {status}"),
        }
    }

    /// The keys (URL-encoded) and common prefixes of all pages, and how many pages there were.
    pub(crate) async fn list(&self, query: Headers<'_>) -> (Vec<String>, Vec<String>, usize) {
        let (mut keys, mut prefixes, mut pages, mut token) = (Vec::new(), Vec::new(), 0, None);
        loop {
            let mut query = [query, &[("list-type", "2"), ("encoding-type", "url")]].concat();
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            let answer = self.send("GET", "", &query, &[], b"").await;
            assert_eq!(answer.status(), 200);
            let text = answer.text().await.unwrap();
            keys.extend(tags(&text, "Key"));
            prefixes.extend(tags(&text, "CommonPrefixes").iter().flat_map(|inner| tags(inner, "Prefix")));
            pages += 1;
            token = tags(&text, "NextContinuationToken").pop();
            assert_eq!(tags(&text, "IsTruncated"), [token.is_some().to_string()]);
            if token.is_none() {
                return (keys, prefixes, pages);
            }
        }
    }

    /// A request by hand: the status and everything that was answered. Of the body, only this is sent.
    pub(crate) async fn raw(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let head =
            format!("{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", self.address());
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }
}

/// What stands between these tags.
pub(crate) fn tags(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

/// Percent-encoded, but for what SigV4 leaves, and these.
pub(crate) fn encode(text: &str, but: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c) || but.contains(c);
    text.bytes().map(|b| if kept(b.into()) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file below a folder, by its path in there, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
