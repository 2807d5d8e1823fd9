//! Uploads as a device makes them, and what became of them.

use std::sync::{Arc, Mutex};

use porchlight_domain::{ContentHash, Device, Media, MediaId};
use serde_json::{Value, json};

use super::{Answer, Api, event_id};

pub const SHA256: ContentHash = ContentHash([0xab; 32]);
pub const BYTES: u64 = 1_234;

/// An upload to ask for.
pub fn clip() -> Value {
    json!({"kind": "clip", "bytes": BYTES, "sha256": SHA256, "content_type": "video/mp4"})
}

/// What a device got, and gives back.
pub struct Granted {
    pub media: String,
    pub token: String,
}

impl Api {
    pub async fn ask(&self, event: &str, body: &Value) -> Answer {
        self.send(self.request_to(&format!("/v1/events/{event}/media"), "application/json", body.to_string())).await
    }

    pub async fn granted(&self, event: &str, body: &Value) -> Granted {
        let answer = self.ask(event, body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
        Granted { media: text("media"), token: text("grant") }
    }

    pub async fn complete(&self, media: &str, token: &str) -> Answer {
        let body = json!({"grant": token}).to_string();
        self.send(self.request_to(&format!("/v1/media/{media}/complete"), "application/json", body)).await
    }

    pub fn key(&self, granted: &Granted) -> MediaId {
        granted.media.parse().unwrap()
    }

    /// A clip that was granted and put.
    pub async fn put(&self) -> Granted {
        let granted = self.granted(&event_id(), &clip()).await;
        self.vault.put(self.key(&granted), BYTES, Some(SHA256));
        granted
    }

    pub fn change(&self, device: Device) {
        *self.devices.all.lock().unwrap() = vec![Arc::new(device)];
    }

    pub fn stored(&self) -> Vec<Media> {
        self.log.media.lock().unwrap().clone()
    }

    pub fn objects(&self) -> usize {
        self.vault.objects.lock().unwrap().len()
    }
}

/// Where the log of this thread goes.
#[derive(Clone, Default)]
pub struct Captured(pub Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
