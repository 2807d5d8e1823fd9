//! The way of one event to the log, doing twice what is asked twice only once: duplicates await the same delivery.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use futures::{FutureExt as _, future::BoxFuture};
use porchlight_bus::ProduceError;
use porchlight_domain::{Clock, Media, MediaId, Stamped, Timestamp};
use porchlight_wire::Wire as _;
use tokio::sync::watch;

use crate::{
    log::Log,
    media::completed::{self, Completed},
    metrics,
    recent::{Key, Known, Receipt, Recent, Verdict},
};

/// How an event came to be in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// By this request.
    Now(Receipt),
    /// By an earlier one, or one at the same time.
    Already(Receipt),
}

/// Why an event is not in the log, or not known to be.
#[derive(Clone, Debug)]
pub(crate) enum NotKept {
    /// Another event has its id.
    Conflict,
    /// The log's own reason.
    Log(ProduceError),
}

/// `None` while it is under way.
type Delivery = watch::Receiver<Option<Result<Receipt, NotKept>>>;

/// What came lately, shared by all requests and the tail.
#[derive(Clone)]
pub(crate) struct Courtesy {
    recent: Arc<Mutex<Recent<Delivery>>>,
    completed: Arc<Mutex<Completed>>,
    clock: Arc<dyn Clock>,
}

impl Courtesy {
    pub(crate) fn new(max_ids: usize, clock: Arc<dyn Clock>) -> Self {
        let completed = Arc::new(Mutex::new(Completed::new(completed::MAX)));
        Self { recent: Arc::new(Mutex::new(Recent::new(max_ids))), completed, clock }
    }

    /// A record of the log that some process appended.
    pub(crate) fn learn(&self, event: &Stamped, partition: i32, offset: i64) {
        let mut recent = self.lock();
        recent.learn((event.device, event.event.id), known(event, partition, offset), self.clock.now());
        metrics::RECENT.set(i64::try_from(recent.len()).unwrap_or(i64::MAX));
    }

    /// A completed media that stands in the log, whoever appended it.
    pub(crate) fn learn_media(&self, media: &Media) {
        self.completed_media().learn(media.id, media.received_at, self.clock.now());
    }

    /// When a media was completed, if that was lately.
    pub(crate) fn completed_at(&self, media: &MediaId) -> Option<Timestamp> {
        self.completed_media().get(media, self.clock.now())
    }

    /// Keeps the event, unless it is kept. Cancelling the request does not cancel the delivery: the device will ask
    /// again, and then shares it.
    pub(crate) async fn keep(&self, log: &dyn Log, event: &Stamped) -> Result<Kept, NotKept> {
        let key = (event.device, event.event.id);
        loop {
            let mut report = None;
            let verdict = self.lock().ask(key, event.digest.short(), self.clock.now(), || {
                let (sender, delivery) = watch::channel(None);
                report = Some(sender);
                delivery
            });
            match (verdict, report) {
                (Verdict::Append, Some(report)) => {
                    let ticket = Ticket { courtesy: self.clone(), key, report: Some(report) };
                    let append = log.append(event.device, event.encode());
                    return Unstoppable::new(ticket.deliver(append, event.clone())).await.map(Kept::Now);
                }
                // `ask` makes a report exactly when it says Append; if it did not, asking again is sound.
                (Verdict::Append, None) => self.lock().failed(&key),
                (Verdict::Duplicate(receipt), _) => return Ok(Kept::Already(receipt)),
                (Verdict::Conflict, _) => return Err(NotKept::Conflict),
                (Verdict::Await { mut delivery, same }, _) => {
                    let outcome = delivery.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                    match (outcome, same) {
                        (Some(Ok(receipt)), true) => return Ok(Kept::Already(receipt)),
                        (Some(Err(NotKept::Log(e))), true) => return Err(NotKept::Log(e)),
                        // It is known now what is in the log under this id, or that nothing is: judge again.
                        (Some(Ok(_) | Err(_)), _) | (None, _) => {}
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Delivery>> {
        // A panic inside would leave at worst an id too few: no reason to stop taking events.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn completed_media(&self) -> MutexGuard<'_, Completed> {
        self.completed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(event: &Stamped, partition: i32, offset: i64) -> Known {
    let receipt = Receipt { received_at: event.received_at, skew_ms: event.skew_ms() };
    Known { digest: event.digest.short(), partition, offset, receipt }
}

/// The duty to say how a delivery ended. Dropped without a word (a panic), the id is free again.
struct Ticket {
    courtesy: Courtesy,
    key: Key,
    report: Option<watch::Sender<Option<Result<Receipt, NotKept>>>>,
}

impl Ticket {
    async fn deliver(
        mut self,
        append: BoxFuture<'static, Result<porchlight_bus::Delivered, ProduceError>>,
        event: Stamped,
    ) -> Result<Receipt, NotKept> {
        let begun = Instant::now();
        let outcome = append.await;
        let outcome = match outcome {
            Ok(at) => {
                metrics::APPEND.observe(begun.elapsed().as_secs_f64());
                let ours = known(&event, at.partition, at.offset);
                let mut recent = self.courtesy.lock();
                let first = recent.delivered(self.key, ours, self.courtesy.clock.now());
                metrics::RECENT.set(i64::try_from(recent.len()).unwrap_or(i64::MAX));
                if first.digest == ours.digest { Ok(first.receipt) } else { Err(NotKept::Conflict) }
            }
            Err(e) => {
                self.courtesy.lock().failed(&self.key);
                Err(NotKept::Log(e))
            }
        };
        if let Some(report) = self.report.take() {
            report.send_replace(Some(outcome.clone()));
        }
        outcome
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.report.is_some() {
            self.courtesy.lock().failed(&self.key);
        }
    }
}

/// A future that goes on by itself when nobody waits for it any more. (Spawning at once would lose the order of a
/// batch's appends.)
struct Unstoppable<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Unstoppable<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(future.boxed()))
    }
}

impl<T: Send + 'static> Future for Unstoppable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = self.0.as_mut() else { return Poll::Pending };
        let output = std::task::ready!(future.poll_unpin(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Unstoppable<T> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(future);
        }
    }
}
