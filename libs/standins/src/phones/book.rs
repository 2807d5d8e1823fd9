//! What the phones know: subscriptions, what came, what is shown, and which faults are ordered. Bounded throughout.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ece::EcKeyComponents;
use tokio::sync::watch;
use uuid::Uuid;

use super::Push;

/// A push takes about 500 bytes here: its payload is kept as text, not as a tree.
pub(super) const MAX_LOG: usize = 200_000;
pub(super) const MAX_SUBSCRIPTIONS: usize = 200_000;
const MAX_FAULTS: usize = 1000;

/// All of it.
pub(super) struct Book {
    /// The origin of every push resource.
    pub(super) url: String,
    pages: Mutex<Pages>,
    /// The number that the next push gets.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Pages {
    /// `None`: unsubscribed; the id is remembered so that it is 410 and not 404.
    subscriptions: HashMap<String, Option<Subscription>>,
    log: VecDeque<Kept>,
    next: u64,
    /// By endpoint, then by tag: the number of the push that is shown.
    shown: HashMap<String, HashMap<Tag, u64>>,
    faults: VecDeque<Fault>,
}

/// The phone's side of a subscription.
#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) key: EcKeyComponents,
    pub(super) auth: [u8; 16],
    /// The only sender that may push, as an uncompressed point; `None`: any.
    pub(super) sender: Option<Vec<u8>>,
}

/// What is shown under one tag replaces each other; what has none stands alone.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Tag {
    Named(String),
    Alone(u64),
}

/// A subscription as its app tells the server.
pub(super) struct Made {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) p256dh: String,
    pub(super) auth: String,
}

/// What is known of an id.
pub(super) enum Found {
    Open(Box<Subscription>),
    Gone,
    Unknown,
}

/// A push on its way into the book.
pub(super) struct Incoming {
    pub(super) endpoint: String,
    pub(super) transport: &'static str,
    /// JSON.
    pub(super) payload: String,
    /// The payload's `collapse`.
    pub(super) tag: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) ttl: Option<u64>,
    pub(super) urgency: Option<String>,
}

struct Kept {
    seq: u64,
    push: Incoming,
    received_at_ms: i64,
    replaced: bool,
}

/// An ordered misbehavior.
pub(super) struct Fault {
    /// Whose; `None`: anyone's.
    pub(super) id: Option<String>,
    pub(super) status: u16,
    pub(super) times: u32,
    pub(super) retry_after_s: Option<u64>,
}

impl Book {
    pub(super) fn new(url: String) -> Self {
        Self { url, pages: Mutex::default(), next: watch::Sender::new(0) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a subscription with keys of its own; `None` if there is no more room (or no randomness).
    pub(super) fn subscribe(&self, sender: Option<Vec<u8>>) -> Option<Made> {
        let id = Uuid::new_v4().to_string();
        let (key, auth) = ece::generate_keypair_and_auth_secret().ok()?;
        let key = key.raw_components().ok()?;
        let made = Made {
            url: format!("{}/push/{id}", self.url),
            p256dh: URL_SAFE_NO_PAD.encode(key.public_key()),
            auth: URL_SAFE_NO_PAD.encode(auth),
            id: id.clone(),
        };
        let mut pages = self.pages();
        if pages.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return None;
        }
        pages.subscriptions.insert(id, Some(Subscription { key, auth, sender }));
        Some(made)
    }

    /// Whether there was one to end.
    pub(super) fn unsubscribe(&self, id: &str) -> bool {
        let mut pages = self.pages();
        let ended = pages.subscriptions.get_mut(id).is_some_and(|subscription| subscription.take().is_some());
        if ended {
            pages.shown.remove(id);
        }
        ended
    }

    pub(super) fn find(&self, id: &str) -> Found {
        match self.pages().subscriptions.get(id) {
            Some(Some(subscription)) => Found::Open(Box::new(subscription.clone())),
            Some(None) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// Takes a push, and gives its number.
    pub(super) fn receive(&self, push: Incoming) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let received_at_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let (seq, next) = {
            let mut pages = self.pages();
            (pages.receive(push, received_at_ms, MAX_LOG), pages.next)
        };
        self.next.send_if_modified(|known| {
            let newer = next > *known;
            *known = next.max(*known);
            newer
        });
        seq
    }

    pub(super) fn log(&self, after: u64, limit: usize) -> Vec<Push> {
        let pages = self.pages();
        pages.log.iter().skip(pages.position(after)).take(limit).map(Kept::show).collect()
    }

    /// `None` for an id that is neither a subscription's nor a token that was pushed to.
    pub(super) fn shown(&self, endpoint: &str) -> Option<Vec<Push>> {
        let pages = self.pages();
        let Some(by_tag) = pages.shown.get(endpoint) else {
            return matches!(pages.subscriptions.get(endpoint), Some(Some(_))).then(Vec::new);
        };
        // In order of arrival, whatever the tags are.
        let seqs: BTreeMap<u64, ()> = by_tag.values().map(|&seq| (seq, ())).collect();
        Some(seqs.into_keys().filter_map(|seq| pages.log.get(pages.position(seq))).map(Kept::show).collect())
    }

    /// Returns when `count` pushes stand in the log from `after` on, or `patience` is at its end.
    pub(super) async fn wait_for(&self, after: u64, count: usize, patience: Duration) {
        let until = after.saturating_add(count as u64);
        let mut next = self.next.subscribe();
        // An error of either kind means that there is nothing more to wait for.
        let _ = tokio::time::timeout(patience, next.wait_for(|&next| next >= until)).await;
    }

    /// Whether there was room for the order.
    pub(super) fn order(&self, fault: Fault) -> bool {
        let mut pages = self.pages();
        let room = pages.faults.len() < MAX_FAULTS;
        if room {
            pages.faults.push_back(fault);
        }
        room
    }

    /// The status (and wait) that this push is to be answered with, if one was ordered: the oldest order counts.
    pub(super) fn fault(&self, id: &str) -> Option<(u16, Option<u64>)> {
        let mut pages = self.pages();
        let at = pages.faults.iter().position(|fault| fault.id.as_deref().is_none_or(|of| of == id))?;
        let fault = &mut pages.faults[at];
        let answer = (fault.status, fault.retry_after_s);
        fault.times -= 1;
        if fault.times == 0 {
            pages.faults.remove(at);
        }
        Some(answer)
    }
}

impl Pages {
    fn receive(&mut self, push: Incoming, received_at_ms: i64, most: usize) -> u64 {
        if self.log.len() >= most {
            self.forget_oldest();
        }
        let seq = self.next;
        self.next += 1;
        let tag = tag_of(&push, seq);
        let replaced = self.shown.entry(push.endpoint.clone()).or_default().insert(tag, seq).is_some();
        self.log.push_back(Kept { seq, push, received_at_ms, replaced });
        seq
    }

    /// What is shown must stand in the log: both forget together.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.log.pop_front() else { return };
        let Some(by_tag) = self.shown.get_mut(&oldest.push.endpoint) else { return };
        let tag = tag_of(&oldest.push, oldest.seq);
        if by_tag.get(&tag) == Some(&oldest.seq) {
            by_tag.remove(&tag);
        }
        if by_tag.is_empty() {
            self.shown.remove(&oldest.push.endpoint);
        }
    }

    /// Where in the log a number stands, or the first after it.
    fn position(&self, seq: u64) -> usize {
        let first = self.log.front().map_or(self.next, |kept| kept.seq);
        usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX)
    }
}

fn tag_of(push: &Incoming, seq: u64) -> Tag {
    push.tag.clone().map_or(Tag::Alone(seq), Tag::Named)
}

impl Kept {
    fn show(&self) -> Push {
        Push {
            seq: self.seq,
            endpoint: self.push.endpoint.clone(),
            transport: self.push.transport.to_owned(),
            payload: serde_json::from_str(&self.push.payload).unwrap_or_default(),
            topic: self.push.topic.clone(),
            ttl: self.push.ttl,
            urgency: self.push.urgency.clone(),
            received_at_ms: self.received_at_ms,
            replaced: self.replaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(endpoint: &str, tag: Option<&str>) -> Incoming {
        Incoming {
            endpoint: endpoint.to_owned(),
            transport: "webpush",
            payload: "{}".to_owned(),
            tag: tag.map(str::to_owned),
            topic: None,
            ttl: None,
            urgency: None,
        }
    }

    fn numbers(pushes: &[Push]) -> Vec<u64> {
        pushes.iter().map(|push| push.seq).collect()
    }

    #[test]
    fn a_push_replaces_only_the_same_tag_on_the_same_endpoint() {
        let book = Book::new(String::new());
        for (endpoint, tag) in [("a", Some("x")), ("a", Some("y")), ("b", Some("x")), ("a", None), ("a", None)] {
            book.receive(push(endpoint, tag));
        }
        book.receive(push("a", Some("x")));
        assert_eq!(book.shown("a").map(|shown| numbers(&shown)), Some(vec![1, 3, 4, 5]));
        assert_eq!(book.shown("b").map(|shown| numbers(&shown)), Some(vec![2]));
        let replaced: Vec<bool> = book.log(0, 100).iter().map(|push| push.replaced).collect();
        assert_eq!(replaced, [false, false, false, false, false, true]);
    }

    #[test]
    fn what_the_log_forgets_is_shown_no_more_and_nothing_else_is_lost() {
        let mut pages = Pages::default();
        for (endpoint, tag) in [("a", Some("x")), ("a", Some("y")), ("a", Some("x")), ("b", None)] {
            pages.receive(push(endpoint, tag), 0, 2);
        }
        let kept: Vec<u64> = pages.log.iter().map(|kept| kept.seq).collect();
        assert_eq!(kept, [2, 3]);
        assert_eq!(pages.shown["a"].len(), 1, "y is forgotten; x is shown by its later push");
        pages.receive(push("b", None), 0, 2);
        assert!(!pages.shown.contains_key("a"));
        assert_eq!((pages.position(0), pages.position(4), pages.position(9)), (0, 1, 6));
    }

    #[test]
    fn faults_are_used_up_in_order_and_only_where_they_were_ordered() {
        let book = Book::new(String::new());
        let order = |id: Option<&str>, status, times| {
            assert!(book.order(Fault { id: id.map(str::to_owned), status, times, retry_after_s: None }));
        };
        order(Some("a"), 503, 2);
        order(None, 429, 1);
        let next = |id| book.fault(id).map(|(status, _)| status);
        assert_eq!(
            [next("a"), next("b"), next("b"), next("a"), next("a")],
            [Some(503), Some(429), None, Some(503), None]
        );
    }
}
