//! Stands in for FCM and APNs in tests and the city: posts what would be sent to a recorder.

use std::time::Instant;

use async_trait::async_trait;
use porchlight_domain::{Cleared, Endpoint, Hint, Timestamp, Transport};
use reqwest::{Client, Url};
use serde::Serialize;

use crate::{
    Provider, PushConfig, Sent, client, metrics,
    outcome::judge,
    webpush::{ttl_s, urgency},
};

/// Posts to `{recorder_url}/{transport}`.
pub(crate) struct Recorder {
    transport: &'static str,
    url: Url,
    client: Client,
}

/// What the recorder gets.
#[derive(Serialize)]
struct Recorded<'a> {
    token: &'a str,
    payload: &'a Cleared<Hint>,
    collapse: &'a str,
    ttl_s: u64,
    priority: &'static str,
}

impl Recorder {
    pub(crate) fn new(transport: &'static str, config: &PushConfig) -> Result<Self, String> {
        let url = format!("{}/{transport}", config.recorder_url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|_| "push.recorder_url is no URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("push.recorder_url is http or https".to_owned());
        }
        Ok(Self { transport, url, client: client::trusted(config)? })
    }

    async fn hand_over(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Sent {
        let token = match &to.transport {
            Transport::Fcm { token } | Transport::Apns { token, .. } if to.transport.as_str() == self.transport => {
                token
            }
            Transport::WebPush { .. } | Transport::Fcm { .. } | Transport::Apns { .. } => {
                return Sent::refused("the endpoint is of another transport");
            }
        };
        let body = Recorded {
            token,
            payload: hint,
            collapse: hint.collapse(),
            ttl_s: ttl_s(hint, now),
            priority: urgency(hint),
        };
        judge(&client::ask(self.client.post(self.url.clone()).json(&body)).await, now)
    }
}

#[async_trait]
impl Provider for Recorder {
    fn name(&self) -> &'static str {
        self.transport
    }

    async fn send(&self, to: &Endpoint, hint: &Cleared<Hint>, now: Timestamp) -> Sent {
        let started = Instant::now();
        let sent = self.hand_over(to, hint, now).await;
        metrics::record(self.name(), &sent, started.elapsed());
        sent
    }
}
