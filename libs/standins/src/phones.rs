//! Phones: receivers of Web Push that really decrypt (RFC 8291) and check VAPID (RFC 8292), and of recorded fcm/apns
//! pushes. They keep every push and what a phone would *show*: a push replaces the one with the same tag on the same
//! endpoint, no more kindly than phones do.

mod book;
mod message;
mod routes;
mod vapid;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::serving::{Bound, Serving};
use book::Book;

/// A running receiver for any number of endpoints; it ends when it is dropped.
/// - `POST /subscriptions {"vapid_public_key"?}` → 201 `{"id","url","p256dh","auth"}`: the last three are what
///   `PUT /v1/push-endpoints/{id}` wants as `webpush`. With a key, only that sender may push (RFC 8292, section 4).
/// - `DELETE /subscriptions/{id}` → 204: the app is gone; later pushes get 410.
/// - `POST /push/{id}`: as a push service (RFC 8030): 201; 400, 401, 403, 404, 410, 413 where a real one would. One
///   thing it says that a real one cannot: 400 `not_decrypted`.
/// - `POST /recorder/{transport}` (`fcm`, `apns`): what `push.recorder_url` posts. 200.
/// - `GET /log?after=N&limit=M&wait_ms=T`: JSON `{"pushes":[Push],"next":N}`, decrypted, oldest first, from `seq` N on;
///   waits up to T ms (at most 30 000) if there is none yet. `next` is the `after` of the next call.
/// - `GET /shown/{id}`: JSON `{"shown":[Push]}`: what the phone shows now, oldest first.
/// - `POST /faults {"id"?, "status", "times", "retry_after_s"?}`: the next `times` pushes (to that endpoint or token, or
///   to any) are answered so and not received.
///
/// The log keeps the last [`Phones::MAX_LOG`] pushes, and what is shown is what the log still holds: older ones are
/// forgotten together. Errors are JSON: `{"error","error_description"}`.
pub struct Phones {
    book: Arc<Book>,
    serving: Serving,
}

/// One received push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Counts from 0.
    pub seq: u64,
    /// The subscription's id, or the fcm/apns token.
    pub endpoint: String,
    /// `webpush`, `fcm`, `apns`.
    pub transport: String,
    /// Decrypted payload.
    pub payload: serde_json::Value,
    /// RFC 8030 Topic / collapse id.
    pub topic: Option<String>,
    /// Seconds.
    pub ttl: Option<u64>,
    /// RFC 8030 Urgency.
    pub urgency: Option<String>,
    /// When it came, ms since the Unix epoch.
    pub received_at_ms: i64,
    /// Whether it took the place of one that was shown: the payload's `collapse` is the tag. If not, it appeared as a
    /// new notification.
    pub replaced: bool,
}

impl Phones {
    /// How many pushes are kept, about 100 MB of them; older ones are forgotten.
    pub const MAX_LOG: usize = book::MAX_LOG;

    /// Starts the receiver.
    ///
    /// # Errors
    /// A sentence: the address cannot be bound.
    pub async fn start(listen: SocketAddr) -> Result<Self, String> {
        let bound = Bound::to(listen).await?;
        let book = Arc::new(Book::new(bound.url.clone()));
        let serving = bound.serve(routes::router(book.clone()));
        Ok(Self { book, serving })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.serving.url
    }

    /// Makes a subscription without HTTP, open to any sender: (id, url, p256dh base64url, auth base64url).
    ///
    /// # Panics
    /// Above [`Phones::MAX_SUBSCRIPTIONS`].
    pub fn subscribe(&self) -> (String, String, String, String) {
        let made = self.book.subscribe(None).expect("a city has fewer phones than there is room for");
        (made.id, made.url, made.p256dh, made.auth)
    }

    /// How many subscriptions can be made.
    pub const MAX_SUBSCRIPTIONS: usize = book::MAX_SUBSCRIPTIONS;

    /// Ends a subscription: later pushes get 410. Whether there was one.
    pub fn unsubscribe(&self, id: &str) -> bool {
        self.book.unsubscribe(id)
    }

    /// The pushes from `after` on, oldest first.
    pub fn log(&self, after: u64) -> Vec<Push> {
        self.book.log(after, Self::MAX_LOG)
    }

    /// Waits until `count` pushes stand in the log from `after` on, and gives them; what there is after `patience`.
    pub async fn wait_for(&self, after: u64, count: usize, patience: Duration) -> Vec<Push> {
        self.book.wait_for(after, count, patience).await;
        self.log(after)
    }

    /// What the phone of a subscription, or of a token, shows now, oldest first.
    pub fn shown(&self, endpoint: &str) -> Vec<Push> {
        self.book.shown(endpoint).unwrap_or_default()
    }

    /// Stops, and waits for the requests in hand.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}
