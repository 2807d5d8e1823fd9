//! Where the feeds go.

use async_trait::async_trait;
use porchlight_bus::{ProduceError, Producer, Topic};

/// Publishes records of the registry's topics.
#[async_trait]
pub trait Publish: Send + Sync + 'static {
    /// Returns after the delivery report.
    ///
    /// # Errors
    /// [`ProduceError`]: the record is not, or not known to be, in the log.
    async fn publish(&self, topic: Topic, key: &[u8], value: &[u8]) -> Result<(), ProduceError>;
}

#[async_trait]
impl Publish for Producer {
    async fn publish(&self, topic: Topic, key: &[u8], value: &[u8]) -> Result<(), ProduceError> {
        self.send(topic, Some(key), value, &[]).await.map(|_| ())
    }
}
