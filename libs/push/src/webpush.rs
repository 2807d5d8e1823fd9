//! Web Push: RFC 8030 carries, RFC 8291 encrypts, RFC 8292 says who sends.

use std::time::Instant;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use porchlight_domain::{Cleared, Endpoint, Hint, Lane, Timestamp, Transport};
use reqwest::{Client, RequestBuilder};

use crate::{
    Provider, PushConfig, Sent,
    check::{is_receiver_key, push_url},
    client, metrics,
    outcome::judge,
    vapid::Vapid,
};

/// The largest payload. A push service takes 4096 bytes, encryption adds 103 of them.
const MAX_PAYLOAD_BYTES: usize = 3072;
/// Payloads are filled up with spaces to a multiple of this, so that their length does not tell the push service what
/// was recognized (RFC 8188, section 4.7). Spaces after JSON are JSON.
const PADDED_TO_BYTES: usize = 512;

/// Speaks to any push service.
pub(crate) struct WebPush {
    client: Client,
    vapid: Vapid,
    allow_private: bool,
}

impl WebPush {
    pub(crate) fn new(vapid: Vapid, config: &PushConfig) -> Result<Self, String> {
        Ok(Self { client: client::guarded(config)?, vapid, allow_private: config.allow_private_addresses })
    }

    async fn hand_over(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Sent {
        match self.request(to, hint, now) {
            Ok(request) => judge(&client::ask(request).await, now),
            Err(reason) => Sent::refused(reason),
        }
    }

    /// The request, or why there can be none.
    fn request(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Result<RequestBuilder, &'static str> {
        let (url, p256dh, auth) = match &to.transport {
            Transport::WebPush { url, p256dh, auth } => (url, p256dh, auth),
            Transport::Fcm { .. } | Transport::Apns { .. } => return Err("the endpoint is of another transport"),
        };
        let url = push_url(url, self.allow_private).map_err(|(code, _)| code)?;
        if !is_receiver_key(p256dh) {
            return Err("p256dh_invalid");
        }
        let auth: &[u8; 16] = auth.as_slice().try_into().map_err(|_| "auth_invalid")?;
        let body = ece::encrypt(p256dh, auth, &payload(hint)?).map_err(|_| "the payload could not be encrypted")?;
        Ok(self
            .client
            .post(url.clone())
            .header(AUTHORIZATION, self.vapid.authorization(&url, now))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("ttl", ttl_s(hint, now))
            .header("urgency", urgency(hint))
            .header("topic", hint.collapse())
            .body(body))
    }
}

/// The hint as JSON, filled up.
fn payload(hint: &Cleared<Hint>) -> Result<Vec<u8>, &'static str> {
    let mut json = serde_json::to_vec(hint).map_err(|_| "the payload is no JSON")?;
    json.resize(json.len().next_multiple_of(PADDED_TO_BYTES), b' ');
    if json.len() > MAX_PAYLOAD_BYTES { Err("the payload is too long") } else { Ok(json) }
}

/// Whole seconds until the hint is news no more: a push service drops it then (RFC 8030, section 5.2).
pub(crate) fn ttl_s(hint: &Hint, now: Timestamp) -> u64 {
    u64::try_from(hint.expires_at().since(now) / 1000).unwrap_or(0)
}

/// RFC 8030, section 5.3. What only replaces may wait for power or Wi-Fi; everything else is told at once, and what
/// somebody waits at the door for, or officials say, even on a low battery.
pub(crate) fn urgency(hint: &Hint) -> &'static str {
    match (hint.silent(), hint.lane()) {
        (true, _) => "low",
        (false, Lane::Ding | Lane::Official) => "high",
        (false, Lane::Neighborhood | Lane::Motion) => "normal",
    }
}

#[async_trait]
impl Provider for WebPush {
    fn name(&self) -> &'static str {
        "webpush"
    }

    async fn send(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Sent {
        let started = Instant::now();
        let sent = self.hand_over(to, hint, now).await;
        metrics::record(self.name(), &sent, started.elapsed());
        sent
    }
}
