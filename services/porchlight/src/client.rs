//! A client of Porchlight's HTTP surface, as an app or a camera would have: what the city and the tests talk through.

use std::time::Duration;

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; `Null` if it is empty or no JSON.
    pub body: Value,
}

impl Answer {
    /// The body, if the status says that all went well.
    ///
    /// # Errors
    /// Status and body otherwise.
    pub fn ok(self) -> Result<Value, String> {
        if self.status.is_success() { Ok(self.body) } else { Err(format!("{}: {}", self.status, self.body)) }
    }

    /// The version that a conditional request can name; empty if there is none.
    pub fn etag(&self) -> &str {
        self.headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default()
    }

    /// The stable code of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A clip or thumbnail, as a camera has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaFile {
    /// `clip` or `thumbnail`.
    pub kind: &'static str,
    /// What it is, e.g. `video/mp4`.
    pub content_type: &'static str,
    /// Itself.
    pub bytes: Vec<u8>,
}

impl MediaFile {
    /// SHA-256 of its bytes, hexadecimal.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.bytes)
    }
}

/// SHA-256, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Talks to one base URL with one bearer token.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// `base`: e.g. `http://127.0.0.1:8080`. An empty token sends none.
    pub fn new(http: &reqwest::Client, base: &str, token: &str) -> Self {
        Self { http: http.clone(), base: base.to_owned(), token: token.to_owned() }
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same caller at another base URL.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Any call, with a JSON body unless it is `Null`.
    ///
    /// # Errors
    /// No answer came: nothing is known of what happened.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Answer, String> {
        Self::read(self.request(method, path, body)).await
    }

    fn request(&self, method: Method, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).timeout(Duration::from_secs(20));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        request
    }

    /// A body of any type.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn post_bytes(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, String> {
        let request = self.http.post(format!("{}{path}", self.base)).timeout(Duration::from_secs(20));
        Self::read(request.bearer_auth(&self.token).header("content-type", content_type).body(body)).await
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Answer, String> {
        let answer = request.send().await.map_err(|e| format!("no answer: {e}"))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.map_err(|e| format!("half an answer: {e}"))?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// `GET`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.call(Method::GET, path, &Value::Null).await
    }

    /// `PUT`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.call(Method::PUT, path, body).await
    }

    /// `PUT` if the thing still is at the version that [`Answer::etag`] named (412 if not).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn put_at(&self, path: &str, body: &Value, etag: &str) -> Result<Answer, String> {
        Self::read(self.request(Method::PUT, path, body).header("if-match", etag)).await
    }

    /// `POST`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.call(Method::POST, path, body).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete(&self, path: &str) -> Result<Answer, String> {
        self.call(Method::DELETE, path, &Value::Null).await
    }

    /// A camera asks how it may put a file that belongs to an event.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn grant(&self, event: Uuid, file: &MediaFile) -> Result<Answer, String> {
        let body = json!({
            "kind": file.kind,
            "bytes": file.bytes.len(),
            "sha256": file.sha256(),
            "content_type": file.content_type,
        });
        self.post(&format!("/v1/events/{event}/media"), &body).await
    }

    /// A camera puts a file as the body of a grant says, past the services; the status that the store of objects answers.
    ///
    /// # Errors
    /// The grant says too little, or no answer came.
    pub async fn put_file(&self, grant: &Value, bytes: Vec<u8>) -> Result<StatusCode, String> {
        let upload = &grant["upload"];
        let url = upload["url"].as_str().ok_or("a grant without a URL")?;
        let mut request = self.http.put(url).timeout(Duration::from_secs(60));
        for (name, value) in upload["headers"].as_object().ok_or("a grant without headers")? {
            // That one follows from the body.
            if !name.eq_ignore_ascii_case("content-length") {
                request = request.header(name, value.as_str().unwrap_or_default());
            }
        }
        // Whoever reads an error must not find the URL in it: it is as secret as a credential.
        let answer = request.body(bytes).send().await.map_err(|e| format!("no answer: {}", e.without_url()))?;
        Ok(answer.status())
    }

    /// A camera says that the file of a grant was put.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn complete(&self, grant: &Value) -> Result<Answer, String> {
        let media = grant["media"].as_str().ok_or("a grant without a media")?;
        self.post(&format!("/v1/media/{media}/complete"), &json!({ "grant": grant["grant"] })).await
    }

    /// An app asks for a clip or thumbnail: what it is, and for a short while where.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn media(&self, media: Uuid) -> Result<Answer, String> {
        self.get(&format!("/v1/media/{media}")).await
    }

    /// An app fetches the bytes from where [`Client::media`] said that they are; the token is not sent there.
    ///
    /// # Errors
    /// No answer, or none that succeeds.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let asked = self.http.get(url).timeout(Duration::from_secs(60)).send().await;
        let answer = asked.and_then(reqwest::Response::error_for_status).map_err(|e| e.without_url().to_string())?;
        Ok(answer.bytes().await.map_err(|e| e.without_url().to_string())?.to_vec())
    }

    /// All pages of a list, joined.
    ///
    /// # Errors
    /// A page that could not be had.
    pub async fn pages(&self, path: &str, member: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit=100{cursor}")).await?.ok()?;
            all.extend(page[member].as_array().into_iter().flatten().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }
}

/// A position as the API takes it.
pub fn position(lon_e7: i32, lat_e7: i32) -> Value {
    json!({ "lon": f64::from(lon_e7) / 1e7, "lat": f64::from(lat_e7) / 1e7 })
}
