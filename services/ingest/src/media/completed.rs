//! What was completed lately: so that an upload that is completed twice is one record in the log and gets one answer,
//! and so that what is kept is not judged again by a plan that came later. A courtesy: the log's readers link it once
//! all the same.

use std::collections::{HashMap, VecDeque};

use porchlight_clips::GRANT_MS;
use porchlight_domain::{MediaId, Timestamp};

/// The most media known at once, about 100 bytes each; the first learned go first.
pub(crate) const MAX: usize = 50_000;

/// Media of the last [`GRANT_MS`]: later no grant can complete them again.
#[derive(Debug)]
pub(crate) struct Completed {
    max: usize,
    received_at: HashMap<MediaId, Timestamp>,
    /// The keys of the map, in the order in which they were learned.
    order: VecDeque<MediaId>,
}

impl Completed {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, received_at: HashMap::new(), order: VecDeque::new() }
    }

    /// When it was completed, if that is known: the first time.
    pub(crate) fn get(&self, media: &MediaId, now: Timestamp) -> Option<Timestamp> {
        self.received_at.get(media).copied().filter(|at| fresh(*at, now))
    }

    /// It is in the log.
    pub(crate) fn learn(&mut self, media: MediaId, received_at: Timestamp, now: Timestamp) {
        match self.received_at.get_mut(&media) {
            Some(first) if fresh(*first, now) => *first = received_at.min(*first),
            Some(old) => *old = received_at,
            None => {
                self.received_at.insert(media, received_at);
                self.order.push_back(media);
            }
        }
        while let Some(oldest) = self.order.front() {
            if self.order.len() <= self.max && self.get(oldest, now).is_some() {
                return;
            }
            self.received_at.remove(oldest);
            self.order.pop_front();
        }
    }
}

fn fresh(received_at: Timestamp, now: Timestamp) -> bool {
    now.since(received_at) < GRANT_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn media(n: u8) -> MediaId {
        MediaId(Uuid::from_u128(n.into()))
    }

    #[test]
    fn the_first_completion_is_known_until_no_grant_can_repeat_it() {
        let mut completed = Completed::new(10);
        completed.learn(media(1), NOW.plus_ms(5), NOW);
        completed.learn(media(1), NOW, NOW);
        completed.learn(media(1), NOW.plus_ms(9), NOW);
        assert_eq!(completed.get(&media(1), NOW), Some(NOW));
        assert_eq!(completed.get(&media(2), NOW), None);
        assert_eq!(completed.get(&media(1), NOW.plus_ms(GRANT_MS)), None);
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_makes_nothing_up(
            max in 1_usize..6,
            steps in prop::collection::vec((0_u8..8, 0_i64..GRANT_MS / 3), 0..80),
        ) {
            let (mut completed, mut now, mut learned) = (Completed::new(max), NOW, Vec::new());
            for (n, wait) in steps {
                now = now.plus_ms(wait);
                completed.learn(media(n), now, now);
                learned.push((media(n), now));
                prop_assert!(completed.get(&media(n), now).is_some());
                prop_assert!(completed.order.len() <= max);
                prop_assert_eq!(completed.order.len(), completed.received_at.len());
                for id in 0..8 {
                    if let Some(at) = completed.get(&media(id), now) {
                        prop_assert!(learned.contains(&(media(id), at)));
                    }
                }
            }
        }
    }
}
