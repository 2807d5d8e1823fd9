//! Where accepted events and completed uploads go, as far as this service cares.

use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use porchlight_bus::{Delivered, ProduceError, Producer, Topic};
use porchlight_chassis::http::Problem;
use porchlight_domain::DeviceId;

use crate::metrics::Outcome;

/// The log of what devices have to say: `events.v1`, keyed by device. Events and media stand in it in one order.
pub trait Log: Send + Sync + 'static {
    /// Appends one record ([`porchlight_domain::Logged`]). `Ok` means that it is kept; then, and only then, may it be
    /// acknowledged. Appends are in the order in which the futures are first polled.
    fn append(&self, device: DeviceId, value: Vec<u8>) -> BoxFuture<'static, Result<Delivered, ProduceError>>;

    /// How long appends have been on their way without any of them being kept; zero while it takes what it is given.
    fn waiting_for(&self) -> Duration;
}

impl Log for Producer {
    fn append(&self, device: DeviceId, value: Vec<u8>) -> BoxFuture<'static, Result<Delivered, ProduceError>> {
        let producer = self.clone();
        async move { producer.send(Topic::Events, Some(device.0.as_bytes()), &value, &[]).await }.boxed()
    }

    fn waiting_for(&self) -> Duration {
        Producer::waiting_for(self)
    }
}

/// How it counts, and what a device is told, if the log did not take what it sent.
pub(crate) fn refusal(error: ProduceError) -> (Outcome, Problem) {
    let again = |code, detail, seconds| (Outcome::Unavailable, Problem::new(503, code, detail).retry_after(seconds));
    match error {
        ProduceError::QueueFull => again("log_full", "too much is on its way; send it again", 1),
        ProduceError::TimedOut => again("log_timeout", "it may or may not be kept; send the very same again", 1),
        ProduceError::Unavailable(_) => again("log_unavailable", "nothing can be kept just now", 5),
        ProduceError::Refused(reason) => {
            tracing::error!(reason, "the log refused a record");
            (Outcome::Failed, Problem::internal())
        }
    }
}
