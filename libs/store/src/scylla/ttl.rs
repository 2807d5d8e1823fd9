//! Times to live. The database takes whole seconds, counted from the second in which it writes.

use porchlight_domain::Timestamp;

/// CQL's longest time to live, 20 years in seconds.
const MAX_TTL_S: i64 = 630_720_000;

/// Whole seconds until `expires_at`, rounded up, and one more; `None` if that is past: such a row is not written.
///
/// The database counts from the whole second in which it writes, so the seconds left alone would end a row up to a second
/// early. Late is harmless: what is past its expiry is absent on read.
#[allow(clippy::cast_possible_truncation)] // at most MAX_TTL_S
pub(super) fn ttl_s(expires_at: Timestamp, now: Timestamp) -> Option<i32> {
    let left_ms = expires_at.since(now);
    (left_ms > 0).then(|| ((left_ms - 1) / 1000 + 2).min(MAX_TTL_S) as i32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        /// A replay computes the end of a row anew: it must not fall later than the first time, bar the whole second's fraction.
        #[test]
        fn g6_what_is_left_ends_when_it_should(now in 0_i64..4_000_000_000_000, left in 1_i64..40_000_000_000) {
            let expires_at = Timestamp(now + left);
            let ttl = i64::from(ttl_s(expires_at, Timestamp(now)).unwrap());
            let over = now + ttl * 1000 - expires_at.0;
            prop_assert_eq!((1000..2000).contains(&over), true, "{} ms over", over);
        }
    }

    #[test]
    fn g6_a_row_past_its_end_is_not_written() {
        assert_eq!(ttl_s(Timestamp(1000), Timestamp(1000)), None);
        assert_eq!(ttl_s(Timestamp(1000), Timestamp(5000)), None);
        assert_eq!(ttl_s(Timestamp(i64::MAX), Timestamp(0)), Some(630_720_000));
    }
}
