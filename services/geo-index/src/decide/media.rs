//! What a media's record means, after its rows are written.

use porchlight_domain::{Alert, Item, Media, Timestamp};
use porchlight_store::SeenEvent;

use super::LogPosition;

/// What a media's record comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediaCourse {
    /// Its event has not come: it will find the rows.
    Waiting,
    /// Nothing is left to do: its event took it along, or a later record moved the item on.
    Settled,
    /// It came later than its event, and is a revision of its own.
    Linked {
        /// The item to write.
        item: Box<Item>,
        /// What to tell when that is durable.
        alert: Alert,
        /// It was linked before by this record, or by one that says the same, and its alert may be missing.
        again: bool,
    },
    /// It has rows and is in no item.
    Unlinked(Unlinked),
}

/// Why a media is in no item.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unlinked {
    /// Its event is in no item (any more), or its own time or the item's is over.
    Gone,
    /// The item is another household's.
    Foreign,
    /// The item names as many media as it may.
    Full,
}

/// Decides about a media's record.
///
/// `first`: the first record of its event in offset order that was handled; `item`: the item of that, as it stands.
pub fn media(
    at: LogPosition,
    media: &Media,
    first: Option<&SeenEvent>,
    item: Option<Item>,
    now: Timestamp,
) -> MediaCourse {
    let Some(seen) = first else { return MediaCourse::Waiting };
    let Some((_, event_made)) = seen.item else { return MediaCourse::Unlinked(Unlinked::Gone) };
    // Whether it is in the item or not was for its event to say, which may be unfinished.
    if at.partition == seen.partition && at.offset < seen.offset {
        return MediaCourse::Settled;
    }
    let Some(item) = item.filter(|item| item.expires_at > now) else { return MediaCourse::Unlinked(Unlinked::Gone) };
    if item.household != media.household {
        return MediaCourse::Unlinked(Unlinked::Foreign);
    }
    let (item, again) = match item.linked(media.id) {
        // Completed twice, once before its event: the event took it along and told of it.
        Some(linked) if linked.revision <= event_made => return MediaCourse::Settled,
        Some(linked) if linked.revision < item.revision => return MediaCourse::Settled,
        Some(_) => (item, true),
        None if media.expires_at() <= now => return MediaCourse::Unlinked(Unlinked::Gone),
        None => match item.link(media, seen.shares_media) {
            Some(item) => (item, false),
            None => return MediaCourse::Unlinked(Unlinked::Full),
        },
    };
    let alert = item.alert_of_media(media, seen.outcome, now);
    MediaCourse::Linked { item: Box::new(item), alert, again }
}

#[cfg(test)]
mod tests {
    use super::super::{
        examples::{AT, NOON, clip, malden, person},
        first_time,
    };
    use super::*;
    use porchlight_domain::{HouseholdId, Outcome, item::ALERT_TTL_MS, media::MAX_ITEM_MEDIA};
    use uuid::Uuid;

    const BEFORE: LogPosition = LogPosition { offset: AT.offset - 1, ..AT };
    const AFTER: LogPosition = LogPosition { offset: AT.offset + 1, ..AT };

    /// The decision about [`person`] and the item it made, which its early media joined.
    fn seen(shares: bool, early: &[Media]) -> (SeenEvent, Item) {
        let work = first_time(AT, &person(shares), None, &malden(), early, NOON);
        (work.decision.expect("decided"), work.item.expect("it is there"))
    }

    fn linked(course: MediaCourse) -> (Item, Alert, bool) {
        match course {
            MediaCourse::Linked { item, alert, again } => (*item, alert, again),
            other => panic!("not linked: {other:?}"),
        }
    }

    #[test]
    fn before_its_event_it_waits() {
        assert_eq!(media(BEFORE, &clip(1, 0), None, None, NOON), MediaCourse::Waiting);
    }

    #[test]
    fn after_its_event_it_is_a_revision_that_is_told() {
        for shares in [true, false] {
            let (seen, item) = seen(shares, &[]);
            let (with_clip, alert, again) = linked(media(AFTER, &clip(1, 9), Some(&seen), Some(item.clone()), NOON));
            assert!(!again);
            assert_eq!(Some(&with_clip), item.link(&clip(1, 9), shares).as_ref());
            assert_eq!((alert.revision, alert.stream_only), (2, false));
            assert_eq!(alert.neighborhoods.is_empty(), !shares, "neighbors hear of what they may see");
        }
    }

    #[test]
    fn met_again_it_is_finished_and_after_a_later_record_it_is_settled() {
        let (seen, item) = seen(true, &[]);
        let (item, alert, _) = linked(media(AFTER, &clip(1, 9), Some(&seen), Some(item), NOON));
        let again = media(AFTER, &clip(1, 9), Some(&seen), Some(item.clone()), NOON);
        assert_eq!(again, MediaCourse::Linked { item: Box::new(item.clone()), alert, again: true });
        let moved = item.link(&clip(2, 10), true);
        assert_eq!(media(AFTER, &clip(1, 9), Some(&seen), moved, NOON), MediaCourse::Settled);
    }

    /// Else it could move the item between the event's decision and its finish.
    #[test]
    fn g2_a_record_before_its_event_moves_nothing_whether_it_was_gathered_or_not() {
        for gathered in [&[clip(1, -1)][..], &[]] {
            let (seen, item) = seen(true, gathered);
            for stored in [Some(item), None] {
                assert_eq!(media(BEFORE, &clip(1, -1), Some(&seen), stored, NOON), MediaCourse::Settled);
            }
        }
    }

    #[test]
    fn completed_before_its_event_and_once_more_after_it_is_one_media() {
        let (seen, item) = seen(true, &[clip(1, -1)]);
        assert_eq!(media(AFTER, &clip(1, 9), Some(&seen), Some(item), NOON), MediaCourse::Settled);
    }

    #[test]
    fn g8_a_clip_of_what_is_no_news_is_for_streams_only() {
        let (fresh, item) = seen(true, &[]);
        let later = NOON.plus_ms(ALERT_TTL_MS + 1);
        let (_, alert, _) = linked(media(AFTER, &clip(1, 9), Some(&fresh), Some(item.clone()), later));
        assert!(alert.stream_only);
        let backlog = SeenEvent { outcome: Outcome::Backlog, ..fresh };
        let (_, alert, _) = linked(media(AFTER, &clip(1, 9), Some(&backlog), Some(item), NOON));
        assert!(alert.stream_only);
    }

    #[test]
    fn g6_what_is_gone_foreign_or_full_keeps_its_rows_and_nothing_more() {
        let (seen, item) = seen(true, &[]);
        let unlinked =
            |m: &Media, seen: &SeenEvent, item: Option<Item>, now| match media(AFTER, m, Some(seen), item, now) {
                MediaCourse::Unlinked(why) => why,
                other => panic!("{other:?}"),
            };
        let one = clip(1, 9);
        assert_eq!(unlinked(&one, &seen, None, NOON), Unlinked::Gone);
        assert_eq!(unlinked(&one, &seen, Some(item.clone()), item.expires_at), Unlinked::Gone);
        let short = Media { retention_days: 1, ..one.clone() };
        assert_eq!(unlinked(&short, &seen, Some(item.clone()), short.expires_at()), Unlinked::Gone);
        let itemless = SeenEvent { item: None, ..seen.clone() };
        assert_eq!(unlinked(&one, &itemless, Some(item.clone()), NOON), Unlinked::Gone);

        let foreign = Media { household: HouseholdId(Uuid::from_u128(9)), ..one };
        assert_eq!(unlinked(&foreign, &seen, Some(item.clone()), NOON), Unlinked::Foreign);

        let many = 0..u8::try_from(MAX_ITEM_MEDIA).expect("a small number");
        let full = item.gather(&many.map(|n| clip(n, 1)).collect::<Vec<_>>(), true);
        assert_eq!(unlinked(&clip(200, 9), &seen, Some(full), NOON), Unlinked::Full);
    }
}
