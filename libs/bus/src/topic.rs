//! The topics, in one place: names, partitions, retention. [`crate::apply_topics`] makes them so.

const HOUR_MS: u64 = 3_600_000;

/// A topic of the contract. Its full name is the configured prefix and [`Topic::name`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Accepted events.
    Events,
    /// Registered devices.
    Devices,
    /// Neighborhood polygons.
    Neighborhoods,
    /// Alerts.
    Alerts,
    /// Push tasks.
    Pushes,
    /// Dead letters.
    DeadLetters,
}

/// How long a topic keeps a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keeps {
    /// Every record, for this long.
    For {
        /// Milliseconds.
        ms: u64,
    },
    /// The newest record of each key; older ones at most this long.
    Newest {
        /// Milliseconds until an older record of a key is surely gone.
        older_gone_after_ms: u64,
    },
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::Devices, Self::Neighborhoods, Self::Alerts, Self::Pushes, Self::DeadLetters];

    /// Name with schema version, without prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events.v1",
            Self::Devices => "devices.v1",
            Self::Neighborhoods => "neighborhoods.v1",
            Self::Alerts => "alerts.v1",
            Self::Pushes => "pushes.v1",
            Self::DeadLetters => "dead-letters.v1",
        }
    }

    /// What is kept, and for how long.
    pub(crate) fn keeps(self) -> Keeps {
        match self {
            Self::Events | Self::Alerts => Keeps::For { ms: 72 * HOUR_MS },
            Self::Pushes => Keeps::For { ms: 24 * HOUR_MS },
            Self::DeadLetters => Keeps::For { ms: 14 * 24 * HOUR_MS },
            Self::Devices | Self::Neighborhoods => Keeps::Newest { older_gone_after_ms: 24 * HOUR_MS },
        }
    }

    /// The most bytes of one record: key, value and headers. A larger one is refused before it is queued.
    ///
    /// A dead letter wraps the largest record of any other topic, so its bound is larger: a record that cannot be
    /// handled must always find a place, or it would hold up its partition for ever.
    pub(crate) fn max_record_bytes(self) -> usize {
        match self {
            Self::Events | Self::Devices | Self::Neighborhoods | Self::Alerts | Self::Pushes => 1_000_000,
            Self::DeadLetters => 1_500_000,
        }
    }

    /// The broker's bound on a batch of records, with room for the framing of a batch of one.
    pub(crate) fn max_batch_bytes(self) -> usize {
        self.max_record_bytes() + 48_576
    }

    /// How many partitions this topic gets in a deployment whose delete-policy topics have `partitions`.
    pub(crate) fn partitions(self, partitions: i32) -> i32 {
        let partitions = partitions.max(1);
        match self {
            Self::Events | Self::Alerts | Self::DeadLetters => partitions,
            Self::Devices | Self::Neighborhoods => (partitions / 4).max(1),
            // There are 64 buckets for ever; only a divisor gives each partition the same number of them.
            Self::Pushes => [64, 32, 16, 8, 4, 2, 1].into_iter().find(|d| *d <= partitions).unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_get_a_divisor_of_64_and_tables_a_quarter() {
        for n in -1..200 {
            assert_eq!(64 % Topic::Pushes.partitions(n), 0);
            assert!(Topic::Pushes.partitions(n) <= n.max(1));
            assert!(Topic::ALL.into_iter().all(|t| t.partitions(n) >= 1));
        }
        assert_eq!(Topic::Pushes.partitions(24), 16);
        assert_eq!(Topic::Devices.partitions(12), 3);
        assert_eq!(Topic::Devices.partitions(3), 1);
    }

    #[test]
    fn a_dead_letter_has_room_for_the_largest_record_and_its_envelope() {
        let largest = Topic::ALL.into_iter().filter(|t| *t != Topic::DeadLetters).map(Topic::max_record_bytes).max();
        assert!(Topic::DeadLetters.max_record_bytes() > largest.unwrap_or_default() + 100_000);
    }
}
