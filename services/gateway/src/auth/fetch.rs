//! Fetching the issuer's keys: bounded in time and size, never redirected.

use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;

use super::{AuthConfig, keys::Keys};

/// Where the keys come from.
pub(super) struct Source {
    config: AuthConfig,
    client: Client,
}

impl Source {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(config.timeout())
            .timeout(config.timeout())
            // A redirect could lead from https to anywhere.
            .redirect(redirect::Policy::none())
            .user_agent("porchlight-gateway")
            .build()
            .map_err(|e| format!("no HTTP client: {e}"))?;
        Ok(Self { config: config.clone(), client })
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(super) async fn fetch(&self) -> Result<Keys, String> {
        let url = match self.config.jwks_url.as_str() {
            "" => self.discover().await?,
            url => url.to_owned(),
        };
        let url = self.config.check_url(&url).map_err(|why| format!("the key set's address: {why}"))?;
        Keys::read(&self.get(url).await?)
    }

    /// OpenID Connect Discovery 1.0, section 4.
    async fn discover(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let document = self.get(self.config.check_url(&url)?).await?;
        let metadata: Metadata = serde_json::from_slice(&document)
            .map_err(|_| "the issuer's metadata name no issuer and keys".to_owned())?;
        if metadata.issuer != self.config.issuer {
            return Err("the metadata are of another issuer than auth.issuer".to_owned());
        }
        Ok(metadata.jwks_uri)
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, String> {
        let mut response =
            self.client.get(url).send().await.map_err(|e| format!("the issuer does not answer: {}", cause(&e)))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the issuer answers {}", response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|e| format!("the issuer's answer broke off: {}", cause(&e)))?
        {
            if document.len() + chunk.len() > self.config.jwks_max_bytes {
                return Err(format!("the issuer's answer is larger than {} bytes", self.config.jwks_max_bytes));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

/// The innermost reason: the outer ones only repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
