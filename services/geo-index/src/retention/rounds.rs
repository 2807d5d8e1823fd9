//! Whose turn it is.

use porchlight_clips::sweep::SHARDS;
use tokio::time::Instant;

/// When each shard is to be walked next.
#[derive(Debug)]
pub(super) struct Rounds([Instant; SHARDS as usize]);

impl Rounds {
    /// All of them, now.
    pub(super) fn begin(now: Instant) -> Self {
        Self([now; SHARDS as usize])
    }

    /// The shard that has waited longest, and since or until when.
    pub(super) fn next(&self) -> (u8, Instant) {
        (0..SHARDS).zip(self.0).min_by_key(|(shard, due)| (*due, *shard)).expect("there are shards")
    }

    /// A shard is due then.
    pub(super) fn due(&mut self, shard: u8, at: Instant) {
        self.0[usize::from(shard)] = at;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_shard_has_its_turn_and_one_that_fails_keeps_no_other_from_it() {
        let begun = Instant::now();
        let mut rounds = Rounds::begin(begun);
        let (mut now, mut turns) = (begun, Vec::new());
        for _ in 0..40 {
            let (shard, due) = rounds.next();
            now = now.max(due) + Duration::from_secs(1);
            turns.push(shard);
            rounds.due(shard, now + Duration::from_secs(if shard == 5 { 3 } else { 3_600 }));
        }
        assert_eq!(turns[..16], (0..16).collect::<Vec<u8>>());
        assert!(turns[16..].iter().all(|shard| *shard == 5), "the others only after an hour: {turns:?}");
    }
}
