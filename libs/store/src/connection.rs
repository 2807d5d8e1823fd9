//! A store that may be away when the process starts: tried again in the background until it answers.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{CqlConfig, Store};

/// The first wait between two attempts; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The store once it is connected, or why it is not yet.
#[derive(Clone)]
pub struct Connection(watch::Receiver<Result<Store, String>>);

/// Connects, and keeps trying until it succeeds: a schema that is missing may be applied at any time. The future runs
/// until `stop`.
pub fn keep_connecting(cql: CqlConfig, stop: CancellationToken) -> (Connection, impl Future<Output = ()> + Send) {
    let (sender, receiver) = watch::channel(Err("connecting".to_owned()));
    let attempts = async move {
        let mut wait = FIRST_WAIT;
        loop {
            match Store::connect(&cql).await {
                Ok(store) => {
                    let _ = sender.send_replace(Ok(store));
                    return;
                }
                // Said by the probe, whose condition is logged when it changes.
                Err(error) => _ = sender.send_replace(Err(error.to_string())),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    };
    let running = async move {
        // Whoever waits for the store sees the sender go with this future, and gives up too.
        let _ = stop.run_until_cancelled(attempts).await;
        stop.cancelled().await;
    };
    (Connection(receiver), running)
}

impl Connection {
    /// The store, as soon as it is there; `None` if the process stops before.
    pub async fn established(&self, stop: &CancellationToken) -> Option<Store> {
        let mut receiver = self.0.clone();
        let store = stop.run_until_cancelled(receiver.wait_for(Result::is_ok)).await?.ok()?;
        store.as_ref().ok().cloned()
    }

    /// Whether the store is connected and answers, for `/readyz`.
    pub async fn probe(&self) -> Result<(), String> {
        let store = self.0.borrow().clone()?;
        store.ping().await.map_err(|e| e.to_string())
    }
}
