//! What a stream sent lately, so that nothing is sent twice to no purpose.

use std::collections::VecDeque;

use porchlight_domain::ItemId;

/// How many items a stream remembers; the client recognizes what is sent again after that.
const MAX: usize = 256;

/// The items of one stream, each with the revision that was sent last, as the client counts them.
#[derive(Default)]
pub(super) struct Sent(VecDeque<(ItemId, u32)>);

impl Sent {
    /// Whether this is to be sent: nothing of this revision or a later one was.
    pub(super) fn is_news(&self, item: ItemId, revision: u32) -> bool {
        self.0.iter().all(|(sent, at)| *sent != item || *at < revision)
    }

    /// It was sent.
    pub(super) fn note(&mut self, item: ItemId, revision: u32) {
        self.0.retain(|(sent, _)| *sent != item);
        if self.0.len() >= MAX {
            self.0.pop_front();
        }
        self.0.push_back((item, revision));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_revision_is_news_once_and_the_memory_is_bounded() {
        let item = |n: usize| ItemId(Uuid::from_u128(n as u128));
        let mut sent = Sent::default();
        sent.note(item(0), 2);
        assert!(!sent.is_news(item(0), 2) && !sent.is_news(item(0), 1), "the same, and what it has overtaken");
        assert!(sent.is_news(item(0), 3) && sent.is_news(item(1), 1));
        for n in 1..=MAX {
            sent.note(item(n), 1);
        }
        assert_eq!(sent.0.len(), MAX);
        assert!(sent.is_news(item(0), 2), "forgotten");
    }
}
