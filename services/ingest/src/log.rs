//! Where accepted events go, as far as this service cares.

use futures::{FutureExt as _, future::BoxFuture};
use porchlight_bus::{Delivered, ProduceError, Producer, Topic};
use porchlight_domain::DeviceId;

/// The log of events: `events.v1`, keyed by device.
pub trait Log: Send + Sync + 'static {
    /// Appends one accepted event. `Ok` means that it is kept; then, and only then, may it be acknowledged. Appends are
    /// in the order in which the futures are first polled.
    fn append(&self, device: DeviceId, value: Vec<u8>) -> BoxFuture<'static, Result<Delivered, ProduceError>>;
}

impl Log for Producer {
    fn append(&self, device: DeviceId, value: Vec<u8>) -> BoxFuture<'static, Result<Delivered, ProduceError>> {
        let producer = self.clone();
        async move { producer.send(Topic::Events, Some(device.0.as_bytes()), &value, &[]).await }.boxed()
    }
}
