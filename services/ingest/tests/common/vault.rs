//! A store of objects that remembers, fails on demand, and waits at a gate if there is one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use porchlight_clips::{Grant, Object, Stat, UPLOAD_URL_MS, Upload, Vault, VaultError};
use porchlight_domain::{Cleared, Clock as _, ContentHash, MediaId, SystemClock, Timestamp, view::MediaView};
use tokio::sync::{Notify, Semaphore};

/// What makes a URL of the fake as secret as a real one.
pub const SIGNATURE: &str = "signature-of-the-upload";

#[derive(Default)]
pub struct FakeVault {
    pub objects: Mutex<HashMap<MediaId, Stat>>,
    pub failure: Mutex<Option<VaultError>>,
    pub removal_failure: Mutex<Option<VaultError>>,
    pub gate: Mutex<Option<Arc<Semaphore>>>,
    pub asked: Notify,
}

impl FakeVault {
    /// As if somebody had put it.
    pub fn put(&self, media: MediaId, bytes: u64, sha256: Option<ContentHash>) {
        self.put_long_ago(media, bytes, sha256, SystemClock.now().max(super::NOW));
    }

    pub fn put_long_ago(&self, media: MediaId, bytes: u64, sha256: Option<ContentHash>, put_at: Timestamp) {
        self.objects.lock().unwrap().insert(media, Stat { bytes, sha256, put_at });
    }

    fn fail(&self) -> Result<(), VaultError> {
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Vault for FakeVault {
    async fn upload(&self, grant: &Grant, now: Timestamp) -> Result<Upload, VaultError> {
        self.fail()?;
        Ok(Upload {
            url: format!("https://clips.invalid/media/{}?{SIGNATURE}", grant.media()),
            headers: vec![
                ("content-length".into(), grant.bytes.to_string()),
                ("content-type".into(), grant.content_type.as_str().into()),
            ],
            expires_at: now.plus_ms(UPLOAD_URL_MS),
        })
    }

    async fn read_url(&self, _: &Cleared<MediaView>, _: Timestamp) -> Result<(String, Timestamp), VaultError> {
        panic!("a device reads nothing")
    }

    async fn stat(&self, media: MediaId) -> Result<Option<Stat>, VaultError> {
        self.asked.notify_one();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.fail()?;
        Ok(self.objects.lock().unwrap().get(&media).copied())
    }

    async fn remove(&self, _: &str) -> Result<(), VaultError> {
        panic!("objects are removed by their media")
    }

    async fn remove_media(&self, media: MediaId) -> Result<(), VaultError> {
        self.removal_failure.lock().unwrap().clone().map_or(Ok(()), Err)?;
        self.objects.lock().unwrap().remove(&media);
        Ok(())
    }

    async fn list(&self, _: u8, _: &str, _: usize) -> Result<Vec<Object>, VaultError> {
        panic!("nothing is listed here")
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.fail()
    }
}
