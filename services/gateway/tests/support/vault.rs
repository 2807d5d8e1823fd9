//! A vault that signs nothing and keeps what it was asked for.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use porchlight_clips::{Grant, Object, READ_URL_MS, Stat, Upload, Vault, VaultError};
use porchlight_domain::{
    Cleared, MediaId, Timestamp,
    view::{MediaView, Scope},
};

/// Keeps what URLs were made for.
#[derive(Clone, Default)]
pub struct Signer(Arc<Mutex<Vec<(MediaId, Scope)>>>);

impl Signer {
    /// What URLs were made for since this was asked last, and whose eyes it was cleared for.
    pub fn take(&self) -> Vec<(MediaId, Scope)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl Vault for Signer {
    async fn read_url(&self, media: &Cleared<MediaView>, now: Timestamp) -> Result<(String, Timestamp), VaultError> {
        self.0.lock().unwrap().push((media.id(), media.scope()));
        let url = format!("https://media.example.org/media/{}?signed", media.id());
        Ok((url, now.plus_ms(READ_URL_MS)))
    }

    async fn upload(&self, _: &Grant, _: Timestamp) -> Result<Upload, VaultError> {
        unreachable!("the gateway takes no uploads")
    }
    async fn stat(&self, _: MediaId) -> Result<Option<Stat>, VaultError> {
        unreachable!("the gateway looks at no objects")
    }
    async fn remove(&self, _: &str) -> Result<(), VaultError> {
        unreachable!("the gateway removes nothing")
    }
    async fn remove_media(&self, _: MediaId) -> Result<(), VaultError> {
        unreachable!("the gateway removes nothing")
    }
    async fn list(&self, _: u8, _: &str, _: usize) -> Result<Vec<Object>, VaultError> {
        unreachable!("the gateway lists nothing")
    }
    async fn ping(&self) -> Result<(), VaultError> {
        unreachable!("the gateway asks the store of objects nothing")
    }
}
