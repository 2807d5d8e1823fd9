//! What an event's record means.

use porchlight_domain::{Alert, Item, ItemId, Media, NeighborhoodRef, Outcome, Stamped, Timestamp};
use porchlight_store::{FeedOwner, SeenEvent};

use super::LogPosition;

/// The least time that a decision is kept, however short the event's own retention: longer than the log keeps the
/// record (72 h), so that a record that comes again always meets it.
pub const DECISION_KEPT_MS: i64 = 4 * 86_400_000;

/// What was decided about a record when it was met first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// The item it is part of.
    pub item: ItemId,
    /// The revision it made.
    pub revision: u32,
    /// What became of it. It stands, whatever the clock says when the record comes again.
    pub outcome: Outcome,
    /// Whether neighbors may see its media.
    pub shares_media: bool,
}

/// How a record stands to what is known of its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Course {
    /// Nothing is known: this record is the event. Needs the item that its group last joined.
    New,
    /// This very record was decided before and may be unfinished. Needs the item of the decision.
    Again(Decided),
    /// Another record is the event; this one only repeats or contradicts it.
    Repeated(Outcome),
    /// Decided before, and there was nothing to do.
    Settled,
}

impl Course {
    /// `first`: the first record of the event in offset order that was handled.
    pub fn of(first: Option<&SeenEvent>, at: LogPosition, stamped: &Stamped) -> Self {
        match first {
            None => Self::New,
            Some(seen) if (seen.partition, seen.offset) == (at.partition, at.offset) => match seen.item {
                Some((item, revision)) => {
                    Self::Again(Decided { item, revision, outcome: seen.outcome, shares_media: seen.shares_media })
                }
                None => Self::Settled,
            },
            Some(seen) if seen.digest == stamped.digest => Self::Repeated(Outcome::Duplicate),
            Some(_) => Self::Repeated(Outcome::Conflict),
        }
    }
}

/// What is to be done about a record, in the order of the fields. Each step is durable before the next begins, and
/// doing any of them again changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// What became of the record.
    pub outcome: Outcome,
    /// The decision to record; `None` if it was recorded before.
    pub decision: Option<SeenEvent>,
    /// The item to write; `None` if there is none, or its time is over.
    pub item: Option<Item>,
    /// The feeds to put the item into.
    pub feeds: Vec<FeedOwner>,
    /// What to tell, of every item that is written: at least open streams show it.
    pub alert: Option<Alert>,
}

/// Decides about a record that is the event.
///
/// `open`: the item that its group last joined; `matched`: the neighborhoods that hold the device now; `media`: those of
/// the event that came first.
pub fn first_time(
    at: LogPosition,
    stamped: &Stamped,
    open: Option<Item>,
    matched: &[NeighborhoodRef],
    media: &[Media],
    now: Timestamp,
) -> Work {
    let item = Item::absorb(open, stamped, matched);
    let shares_media = item.shares_media(stamped);
    let (outcome, alert) = item.outcome(stamped, now);
    let decision =
        SeenEvent { item: Some((item.id, item.revision)), shares_media, ..seen_without_item(at, stamped, outcome) };
    let item = gather(item, media, shares_media);
    Work { outcome, decision: Some(decision), ..aftermath(item, outcome, alert, now) }
}

/// Finishes what was decided about this very record; `None` if nothing is left to do.
///
/// `stored`: the item of the decision as it stands; `matched`: the neighborhoods that hold the device now; `media`: as in
/// [`first_time`]. Later ones are not among them while the item is unwritten: this record is finished before theirs.
pub fn once_more(
    decided: Decided,
    stamped: &Stamped,
    stored: Option<Item>,
    matched: &[NeighborhoodRef],
    media: &[Media],
    now: Timestamp,
) -> Option<Work> {
    let again = |before: Option<Item>| {
        let item = Item::absorb(before, stamped, matched_when_decided(decided, stamped, matched));
        gather(item, media, decided.shares_media)
    };
    let item = match stored {
        // A later record moved it on.
        Some(item) if item.revision > decided.revision => return None,
        Some(item) if item.revision == decided.revision => item,
        Some(item) => again(Some(item)),
        None if decided.revision == 1 => again(None),
        // There was an item, for this event joined it: it was erased, or its time is over.
        None => return None,
    };
    // What is news no more by now is not told to phones, nor what was none when it was decided.
    let (_, alert) = item.outcome(stamped, now);
    let alert = Alert { stream_only: alert.stream_only || !decided.outcome.tells(), ..alert };
    Some(Work { outcome: decided.outcome, decision: None, ..aftermath(item, decided.outcome, alert, now) })
}

/// Records that a record repeats or contradicts the event.
pub fn repeated(at: LogPosition, stamped: &Stamped, outcome: Outcome) -> Work {
    let decision = Some(seen_without_item(at, stamped, outcome));
    Work { outcome, decision, item: None, feeds: Vec::new(), alert: None }
}

/// A polygon may have come to hold the device between the decision and now. Where the decision was that no neighbor
/// hears of an event that its owner shares, there was none: it stays so, else outcome and alert would not agree.
fn matched_when_decided<'a>(
    decided: Decided,
    stamped: &Stamped,
    matched: &'a [NeighborhoodRef],
) -> &'a [NeighborhoodRef] {
    let unheld = decided.outcome == Outcome::HouseholdOnly && !stamped.shared_labels().is_empty();
    if unheld { &[] } else { matched }
}

/// The media of another household are none of the item's, whoever's record names its event.
fn gather(item: Item, media: &[Media], shared: bool) -> Item {
    let household = item.household;
    item.gather(media.iter().filter(|m| m.household == household), shared)
}

/// What follows from a decision. An item whose time is over leaves no trace, so a replay lengthens nothing.
fn aftermath(item: Item, outcome: Outcome, alert: Alert, now: Timestamp) -> Work {
    if item.expires_at <= now {
        return Work { outcome, decision: None, item: None, feeds: Vec::new(), alert: None };
    }
    let audience = item.audience();
    let feeds = std::iter::once(FeedOwner::Household(audience.household))
        .chain(audience.neighborhoods.iter().map(|n| FeedOwner::Neighborhood(n.id)))
        .collect();
    Work { outcome, decision: None, item: Some(item), feeds, alert: Some(alert) }
}

fn seen_without_item(at: LogPosition, stamped: &Stamped, outcome: Outcome) -> SeenEvent {
    SeenEvent {
        device: stamped.device,
        event: stamped.event.id,
        partition: at.partition,
        offset: at.offset,
        digest: stamped.digest,
        outcome,
        item: None,
        shares_media: false,
        received_at: stamped.received_at,
        expires_at: stamped.expires_at().max(stamped.received_at.plus_ms(DECISION_KEPT_MS)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{AT, NOON, clip, malden, person};
    use super::*;
    use porchlight_domain::{Digest, HouseholdId, MediaId, item::ALERT_TTL_MS, media::MAX_ITEM_MEDIA};
    use uuid::Uuid;

    fn decided(work: &Work) -> Decided {
        match Course::of(work.decision.as_ref(), AT, &person(true)) {
            Course::Again(decided) => decided,
            other => panic!("a decision is met again as one, not as {other:?}"),
        }
    }

    #[test]
    fn a_record_meets_its_own_decision_and_any_other_record_is_a_repeat() {
        let stamped = person(true);
        assert_eq!(Course::of(None, AT, &stamped), Course::New);
        let work = first_time(AT, &stamped, None, &malden(), &[], NOON);
        let seen = work.decision.as_ref();
        assert!(matches!(Course::of(seen, AT, &stamped), Course::Again(_)));

        let elsewhere = LogPosition { offset: 42, ..AT };
        assert_eq!(Course::of(seen, elsewhere, &stamped), Course::Repeated(Outcome::Duplicate));
        let other = Stamped { digest: Digest([9; 32]), ..stamped.clone() };
        assert_eq!(Course::of(seen, elsewhere, &other), Course::Repeated(Outcome::Conflict));
        let repeat = repeated(elsewhere, &other, Outcome::Conflict);
        assert_eq!(repeat.decision.as_ref().and_then(|s| s.item), None);
        assert_eq!((repeat.item, repeat.alert), (None, None));
    }

    #[test]
    fn g3_feeds_and_alert_follow_the_policy() {
        let work = first_time(AT, &person(false), None, &malden(), &[], NOON);
        assert_eq!(work.outcome, Outcome::HouseholdOnly);
        assert_eq!(work.feeds, [FeedOwner::Household(HouseholdId(Uuid::from_u128(2)))]);
        assert!(work.alert.is_some_and(|a| a.neighborhoods.is_empty()));

        let work = first_time(AT, &person(true), None, &malden(), &[], NOON);
        assert_eq!(work.outcome, Outcome::Alerted);
        assert_eq!(work.feeds.len(), 2);
        assert!(work.alert.is_some_and(|a| a.neighborhoods == malden()));
    }

    #[test]
    fn an_unfinished_decision_is_finished_as_decided() {
        let first = first_time(AT, &person(true), None, &malden(), &[], NOON);
        for stored in [None, first.item.clone()] {
            let again = once_more(decided(&first), &person(true), stored, &malden(), &[], NOON).expect("unfinished");
            assert_eq!(again, Work { decision: None, ..first.clone() });
        }
    }

    #[test]
    fn what_later_records_moved_on_is_finished() {
        let first = first_time(AT, &person(true), None, &malden(), &[], NOON);
        let moved = Item::absorb(first.item.clone(), &person(true), &malden());
        assert_eq!(moved.revision, 2);
        assert_eq!(once_more(decided(&first), &person(true), Some(moved), &malden(), &[], NOON), None);
    }

    #[test]
    fn an_item_that_was_erased_is_not_made_again_by_a_later_event_of_it() {
        let later =
            Decided { item: ItemId(Uuid::from_u128(8)), revision: 2, outcome: Outcome::Alerted, shares_media: true };
        assert_eq!(once_more(later, &person(true), None, &malden(), &[], NOON), None);
    }

    #[test]
    fn the_outcome_stands_and_what_is_news_no_more_is_for_streams_only() {
        let untold = |work: &Work| work.alert.as_ref().is_some_and(|a| a.stream_only);
        let first = first_time(AT, &person(true), None, &malden(), &[], NOON);
        assert!(!untold(&first));
        let late = NOON.plus_ms(ALERT_TTL_MS + 1);
        let again = once_more(decided(&first), &person(true), None, &malden(), &[], late).expect("unfinished");
        assert_eq!((again.outcome, untold(&again)), (Outcome::Alerted, true));
        assert_eq!(again.item, first.item);

        // Decided by a clock that ran ahead: it stays untold.
        let expired = first_time(AT, &person(true), None, &malden(), &[], late);
        assert_eq!((expired.outcome, untold(&expired)), (Outcome::Expired, true));
        let again = once_more(decided(&expired), &person(true), None, &malden(), &[], NOON).expect("unfinished");
        assert_eq!((again.outcome, untold(&again)), (Outcome::Expired, true));
    }

    #[test]
    fn media_that_came_first_join_the_revision_of_their_event_also_when_it_is_finished_later() {
        let mut of_another = clip(3, -1_000);
        of_another.household = HouseholdId(Uuid::from_u128(9));
        let media = [clip(1, -3_000), clip(2, -2_000), of_another];
        for shares in [true, false] {
            let first = first_time(AT, &person(shares), None, &malden(), &media, NOON);
            assert_eq!(first.decision.as_ref().map(|d| d.shares_media), Some(shares));
            let item = first.item.clone().expect("it is there");
            let joined: Vec<(MediaId, bool, u32)> = item.media.iter().map(|m| (m.id, m.shared, m.revision)).collect();
            assert_eq!(joined, [(media[0].id, shares, 1), (media[1].id, shares, 1)], "not another household's");
            for stored in [None, first.item.clone()] {
                let again = once_more(decided(&first), &person(shares), stored, &malden(), &media, NOON);
                assert_eq!(again, Some(Work { decision: None, ..first.clone() }));
            }
        }
    }

    #[test]
    fn g3_media_are_shared_as_decided_and_not_by_a_polygon_drawn_since() {
        let first = first_time(AT, &person(true), None, &[], &[clip(1, -1)], NOON);
        let again = once_more(decided(&first), &person(true), None, &malden(), &[clip(1, -1)], NOON);
        assert!(again.and_then(|work| work.item).is_some_and(|item| !item.media[0].shared));
    }

    #[test]
    fn an_item_that_is_full_takes_events_and_no_media() {
        let mut open = first_time(AT, &person(true), None, &malden(), &[], NOON).item.expect("it is there");
        let many = 0..=u8::try_from(MAX_ITEM_MEDIA).expect("a small number");
        open = open.gather(&many.map(|n| clip(n, 1)).collect::<Vec<_>>(), true);
        let work = first_time(AT, &person(true), Some(open), &malden(), &[clip(200, -1)], NOON);
        assert!(work.item.is_some_and(|item| item.revision == 2 && item.media.len() == MAX_ITEM_MEDIA));
    }

    #[test]
    fn g3_a_polygon_drawn_after_the_decision_does_not_turn_it() {
        let first = first_time(AT, &person(true), None, &[], &[], NOON);
        assert_eq!(first.outcome, Outcome::HouseholdOnly);
        let again = once_more(decided(&first), &person(true), None, &malden(), &[], NOON).expect("unfinished");
        assert!(again.alert.is_some_and(|a| a.neighborhoods.is_empty()));
        assert_eq!(again.item, first.item);
    }

    #[test]
    fn g6_a_replay_after_the_retention_leaves_nothing_but_the_decision() {
        let mut stamped = person(true);
        stamped.plan.retention_days = 1;
        let now = NOON.plus_ms(86_400_000);
        let work = first_time(AT, &stamped, None, &malden(), &[], now);
        assert_eq!((work.outcome, &work.item, work.alert), (Outcome::Expired, &None, None));
        assert!(work.feeds.is_empty());
        let kept_until = work.decision.map(|d| d.expires_at);
        assert!(kept_until > Some(NOON.plus_ms(72 * 3_600_000)), "longer than the log keeps the record");
    }
}
