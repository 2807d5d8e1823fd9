//! Which events are one item, and what is told of it.

use porchlight_domain::{
    ContentHash, ContentType, DeviceId, Event, EventId, HouseholdId, Item, Kind, Label, Media, MediaId, MediaKind,
    NeighborhoodId, NeighborhoodRef, Outcome, Plan, Point, SharingPolicy, Stamped, Timestamp, Version,
    event::BACKLOG_AGE_MS, media::MAX_ITEM_MEDIA,
};
use proptest::prelude::*;
use uuid::Uuid;

const NOON: i64 = 1_800_000_000_000;

fn malden() -> Vec<NeighborhoodRef> {
    vec![NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(3)), version: Version(1) }]
}

/// An event `at` milliseconds after noon, sent and received at once.
fn seen(n: u64, at: i64, label: Label, policy: SharingPolicy) -> Stamped {
    let event = Event {
        id: EventId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_800_000_000 + n, 0))),
        kind: if label == Label::Ding { Kind::Ding } else { Kind::Motion },
        labels: [label].into_iter().filter(|l| *l != Label::Ding).collect(),
        occurred_at: Timestamp(NOON + at),
        ended_at: None,
        familiar: false,
        confidence_permille: None,
        zone: None,
    };
    Stamped {
        digest: event.digest(),
        event,
        device: DeviceId(Uuid::from_u128(1)),
        household: HouseholdId(Uuid::from_u128(2)),
        point: Point { lon_e7: 0, lat_e7: 0 },
        policy,
        plan: Plan::default(),
        sent_at: Timestamp(NOON + at),
        received_at: Timestamp(NOON + at),
    }
}

fn household_only() -> SharingPolicy {
    SharingPolicy::default()
}

fn shares_person() -> SharingPolicy {
    SharingPolicy::sharing([Label::Person])
}

#[test]
fn events_close_in_time_are_one_item_with_revisions() {
    let first = Item::absorb(None, &seen(1, 0, Label::Person, household_only()), &malden());
    let second = Item::absorb(Some(first.clone()), &seen(2, 59_000, Label::Package, household_only()), &malden());
    assert_eq!((second.id, second.revision), (first.id, 2));
    assert!(second.labels.contains(Label::Person) && second.labels.contains(Label::Package));
    let later = Item::absorb(Some(second), &seen(3, 59_000 + 60_001, Label::Person, household_only()), &malden());
    assert_ne!(later.id, first.id);
    assert_eq!(later.revision, 1);
}

#[test]
fn a_happening_does_not_last_for_ever() {
    let mut item = Item::absorb(None, &seen(0, 0, Label::Motion, household_only()), &malden());
    for n in 1..=6 {
        let next = Item::absorb(
            Some(item.clone()),
            &seen(n, i64::try_from(n).expect("small") * 59_000, Label::Motion, household_only()),
            &malden(),
        );
        assert_eq!(next.id == item.id, n <= 5, "after {n} events 59 s apart");
        item = next;
    }
}

#[test]
fn the_backlog_of_a_night_is_not_one_item() {
    let mut first = seen(1, -7_200_000, Label::Person, household_only());
    let mut second = seen(2, -3_600_000, Label::Person, household_only());
    for late in [&mut first, &mut second] {
        (late.sent_at, late.received_at) = (Timestamp(NOON), Timestamp(NOON));
    }
    let item = Item::absorb(None, &first, &malden());
    assert_ne!(Item::absorb(Some(item.clone()), &second, &malden()).id, item.id);
}

#[test]
fn a_ding_is_news_even_right_after_motion() {
    let motion = Item::absorb(None, &seen(1, 0, Label::Person, household_only()), &malden());
    let ding = Item::absorb(Some(motion.clone()), &seen(2, 1_000, Label::Ding, household_only()), &malden());
    assert_ne!(ding.id, motion.id);
}

#[test]
fn g3_the_household_hears_and_neighbors_only_by_policy() {
    let stamped = seen(1, 0, Label::Person, household_only());
    let item = Item::absorb(None, &stamped, &malden());
    let (outcome, alert) = item.outcome(&stamped, stamped.received_at);
    assert_eq!(outcome, Outcome::HouseholdOnly);
    assert!(alert.neighborhoods.is_empty() && !alert.stream_only);

    let stamped = seen(1, 0, Label::Person, shares_person());
    let item = Item::absorb(None, &stamped, &malden());
    let (outcome, alert) = item.outcome(&stamped, stamped.received_at);
    assert_eq!(outcome, Outcome::Alerted);
    assert_eq!(alert.neighborhoods, malden());
}

#[test]
fn g7_a_familiar_visitor_never_reaches_a_neighbor() {
    let mut stamped = seen(1, 0, Label::Person, shares_person());
    stamped.event.familiar = true;
    let item = Item::absorb(None, &stamped, &malden());
    assert!(item.audience().neighborhoods.is_empty());
    assert!(item.outcome(&stamped, stamped.received_at).1.neighborhoods.is_empty());

    let stranger = Item::absorb(None, &seen(2, 0, Label::Person, shares_person()), &malden());
    let joined = Item::absorb(Some(stranger.clone()), &stamped, &malden());
    assert_ne!(joined.id, stranger.id, "nor joins an item that neighbors see");
}

#[test]
fn backlog_is_stored_and_never_told() {
    let mut stamped = seen(1, -BACKLOG_AGE_MS - 1, Label::Person, shares_person());
    (stamped.sent_at, stamped.received_at) = (Timestamp(NOON), Timestamp(NOON));
    let item = Item::absorb(None, &stamped, &malden());
    let (outcome, alert) = item.outcome(&stamped, stamped.received_at);
    assert_eq!((outcome, alert.stream_only), (Outcome::Backlog, true));
}

#[test]
fn what_is_news_no_more_is_not_told() {
    let stamped = seen(1, 0, Label::Person, shares_person());
    let item = Item::absorb(None, &stamped, &malden());
    let (outcome, alert) = item.outcome(&stamped, stamped.received_at.plus_ms(600_001));
    assert_eq!((outcome, alert.stream_only), (Outcome::Expired, true));
}

#[test]
fn a_revision_that_adds_only_what_stays_in_the_house_is_told_only_there() {
    let first = Item::absorb(None, &seen(1, 0, Label::Person, shares_person()), &malden());
    let private = seen(2, 1_000, Label::Vehicle, shares_person());
    let second = Item::absorb(Some(first), &private, &malden());
    let (outcome, alert) = second.outcome(&private, private.received_at);
    assert_eq!(outcome, Outcome::HouseholdOnly);
    assert!(alert.neighborhoods.is_empty() && !alert.shared_labels.contains(Label::Vehicle));
}

fn clip(of: &Stamped, n: u8, at: i64) -> Media {
    let sha256 = ContentHash([n; 32]);
    Media {
        id: MediaId::of(of.device, of.event.id, MediaKind::Clip, &sha256),
        device: of.device,
        event: of.event.id,
        household: of.household,
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 1,
        sha256,
        retention_days: 30,
        received_at: Timestamp(NOON + at),
    }
}

#[test]
fn media_that_came_first_join_the_revision_of_their_event() {
    let stamped = seen(1, 0, Label::Person, shares_person().with_media());
    let item = Item::absorb(None, &stamped, &malden());
    assert!(item.shares_media(&stamped));
    let item = item.gather(&[clip(&stamped, 1, -5), clip(&stamped, 2, -4), clip(&stamped, 1, -3)], true);
    assert_eq!((item.revision, item.media.len(), item.media[0].revision), (1, 2, 1));
}

#[test]
fn a_media_that_comes_later_is_one_revision_and_quiet() {
    let stamped = seen(1, 0, Label::Person, shares_person().with_media());
    let item = Item::absorb(None, &stamped, &malden());
    let media = clip(&stamped, 1, 20_000);
    let linked = item.link(&media, true).expect("there is room");
    assert_eq!((linked.revision, linked.shared.map(|s| s.revision)), (2, Some(2)));
    assert_eq!((linked.updated_at, linked.link(&media, true)), (item.updated_at, None), "twice is once");
    let alert = linked.alert_of_media(&media, Outcome::Alerted, media.received_at);
    assert_eq!((alert.revision, alert.shared_revision, alert.stream_only), (2, 2, false));
    assert_eq!(alert.neighborhoods, malden());

    let late = linked.alert_of_media(&media, Outcome::Alerted, Timestamp(NOON + 600_001));
    assert!(late.stream_only, "a clip that comes when the item is news no more rings nobody up");
    assert!(
        linked.alert_of_media(&media, Outcome::Backlog, media.received_at).stream_only,
        "nor one of an untold event"
    );
}

#[test]
fn g3_a_clip_is_the_households_unless_policy_and_event_share_it() {
    let label_only = seen(1, 0, Label::Person, shares_person());
    assert!(!Item::absorb(None, &label_only, &malden()).shares_media(&label_only));
    let private = seen(1, 0, Label::Vehicle, shares_person().with_media());
    assert!(!Item::absorb(None, &private, &malden()).shares_media(&private));
    let mut familiar = seen(1, 0, Label::Person, shares_person().with_media());
    familiar.event.familiar = true;
    assert!(!Item::absorb(None, &familiar, &malden()).shares_media(&familiar));

    let item = Item::absorb(None, &label_only, &malden());
    let media = clip(&label_only, 1, 1);
    let linked = item.link(&media, false).expect("there is room");
    assert_eq!((linked.revision, linked.shared), (2, item.shared), "neighbors do not learn that there is a clip");
    assert!(linked.alert_of_media(&media, Outcome::Alerted, media.received_at).neighborhoods.is_empty());
}

#[test]
fn an_item_names_so_many_media_and_no_more() {
    let stamped = seen(1, 0, Label::Person, household_only());
    let mut item = Item::absorb(None, &stamped, &[]);
    for n in 0..u8::try_from(MAX_ITEM_MEDIA).expect("small") {
        item = item.link(&clip(&stamped, n, 1), false).expect("there is room");
    }
    assert_eq!(item.link(&clip(&stamped, 255, 1), false), None);
}

proptest! {
    /// Whatever the sequence: revisions count the events, the order in feeds never changes, and what is shared with
    /// neighbors is only ever what a policy named.
    #[test]
    fn an_item_only_grows(steps in prop::collection::vec((0..90_000_i64, 0..6_usize, any::<bool>()), 1..40)) {
        let mut at = 0;
        let mut open: Option<Item> = None;
        for (n, (gap, label, shares)) in steps.into_iter().enumerate() {
            at += gap;
            let policy = if shares { shares_person() } else { household_only() };
            let stamped = seen(n as u64, at, Label::ALL[label], policy);
            let next = Item::absorb(open.clone(), &stamped, &malden());
            match open {
                Some(before) if before.id == next.id => {
                    prop_assert_eq!(next.revision, before.revision + 1);
                    prop_assert_eq!(next.opened_at, before.opened_at);
                    prop_assert!(gap <= 60_000);
                }
                Some(_) | None => prop_assert_eq!(next.revision, 1),
            }
            prop_assert!(next.shared.is_none_or(|s| s.revision <= next.revision && s.since >= next.opened_at));
            prop_assert!(next.shared_labels.iter().all(|l| l == Label::Person));
            prop_assert_eq!(next.shared.is_some(), !next.shared_labels.is_empty());
            open = Some(next);
        }
    }
}
