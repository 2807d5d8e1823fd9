//! Clips and thumbnails, and the walks over their objects.

use std::collections::{BTreeMap, BTreeSet};

use porchlight_domain::{
    ContentHash, ContentType, DeviceId, EventId, HouseholdId, Media, MediaId, MediaKind, Timestamp,
    media::MAX_EVENT_MEDIA,
};
use porchlight_store::{GONE_KEPT_MS, MediaIndex, MediaRow, Store, Sweep};
use uuid::Uuid;

use super::{DAY_MS, HOUR_MS, id, now};

const RETENTION_DAYS: u16 = 30;

/// A media of the event, received then, kept for 30 days.
pub(crate) fn media(device: DeviceId, event: EventId, received_at: Timestamp) -> Media {
    Media {
        id: MediaId(id()),
        device,
        event,
        household: HouseholdId(id()),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 5_000_000_000,
        sha256: ContentHash([200; 32]),
        retention_days: RETENTION_DAYS,
        received_at,
    }
}

fn any_media(received_at: Timestamp) -> Media {
    media(DeviceId(id()), EventId(Uuid::now_v7()), received_at)
}

async fn ends(index: &dyn MediaIndex, media: &Media) -> Option<Timestamp> {
    index.get(media.id).await.unwrap().map(|row| {
        assert_eq!(&row.media, media);
        row.ends
    })
}

async fn of_event(index: &dyn MediaIndex, media: &Media) -> Vec<Media> {
    index.of_event(media.device, media.event).await.unwrap()
}

pub(super) async fn a_media_is_found_by_its_id_and_by_its_event(store: Store) {
    for (kind, content_type) in [(MediaKind::Clip, ContentType::Webm), (MediaKind::Thumbnail, ContentType::Jpeg)] {
        let media = Media { kind, content_type, ..any_media(now()) };
        assert_eq!(store.media.get(media.id).await.unwrap(), None);
        assert_eq!(of_event(&*store.media, &media).await, []);
        for _ in 0..2 {
            store.media.put(&media).await.unwrap();
            let row = MediaRow { ends: media.expires_at(), media: media.clone() };
            assert_eq!(store.media.get(media.id).await.unwrap(), Some(row));
            assert_eq!(of_event(&*store.media, &media).await, std::slice::from_ref(&media));
        }
        let (other_device, other_event) = (DeviceId(id()), EventId(Uuid::now_v7()));
        assert_eq!(store.media.of_event(other_device, media.event).await.unwrap(), [], "an event is its device's own");
        assert_eq!(store.media.of_event(media.device, other_event).await.unwrap(), []);
    }
}

/// An upload that is completed again is the one that it was: neither twice of its event, nor kept for longer.
pub(super) async fn g6_a_second_completion_moves_no_end(store: Store) {
    let first = any_media(now().plus_ms(-HOUR_MS));
    let again = Media { received_at: now(), retention_days: 2 * RETENTION_DAYS, ..first.clone() };
    for media in [&first, &again, &first] {
        store.media.put(media).await.unwrap();
        assert_eq!(ends(&*store.media, &first).await, Some(first.expires_at()));
        assert_eq!(of_event(&*store.media, &first).await, std::slice::from_ref(&first));
    }
    // Also not one that was shortened, while it lasts.
    let sooner = now().plus_ms(HOUR_MS);
    store.media.shorten(&first, sooner).await.unwrap();
    store.media.put(&again).await.unwrap();
    assert_eq!(ends(&*store.media, &first).await, Some(sooner));
    // What ended may come again. What is left in the log of its first time does not cover it.
    store.media.shorten(&first, now().plus_ms(-1)).await.unwrap();
    let again = Media { received_at: now(), ..again };
    for media in [&again, &first] {
        store.media.put(media).await.unwrap();
        assert_eq!(ends(&*store.media, &again).await, Some(again.expires_at()));
        assert_eq!(of_event(&*store.media, &again).await, std::slice::from_ref(&again));
    }
    // And what is found of its first time does not end it.
    store.media.shorten(&first, now().plus_ms(-1)).await.unwrap();
    assert_eq!(ends(&*store.media, &again).await, Some(again.expires_at()));
}

pub(super) async fn the_media_of_an_event_come_in_the_order_of_their_receipt(store: Store) {
    let (device, event, start) = (DeviceId(id()), EventId(Uuid::now_v7()), now().plus_ms(-HOUR_MS));
    // Two of each instant; those that have ended stand first and take no place.
    let ended = [-31, -32, -33].map(|days| media(device, event, now().plus_ms(days * DAY_MS)));
    let count = i64::try_from(MAX_EVENT_MEDIA).unwrap() + 3;
    let mut all: Vec<Media> = (0..count).map(|n| media(device, event, start.plus_ms(n / 2))).collect();
    for media in all.iter().rev().chain(&ended) {
        store.media.put(media).await.unwrap();
    }
    all.sort_by_key(|media| (media.received_at, media.id));
    assert_eq!(store.media.of_event(device, event).await.unwrap(), all[..MAX_EVENT_MEDIA]);
    store.media.shorten(&all[1], now().plus_ms(-1)).await.unwrap();
    let rest = [&all[..1], &all[2..=MAX_EVENT_MEDIA]].concat();
    assert_eq!(store.media.of_event(device, event).await.unwrap(), rest);
}

/// Its household is told that it is gone, for a while.
pub(super) async fn g6_what_ended_is_no_event_s_and_still_has_a_row(store: Store) {
    let kept_ms = i64::from(RETENTION_DAYS) * DAY_MS;
    let ended = any_media(now().plus_ms(-kept_ms - HOUR_MS));
    store.media.put(&ended).await.unwrap();
    assert_eq!(ends(&*store.media, &ended).await, Some(ended.expires_at()));
    assert_eq!(of_event(&*store.media, &ended).await, []);

    let gone = any_media(now().plus_ms(-kept_ms - GONE_KEPT_MS - 1));
    store.media.put(&gone).await.unwrap();
    assert_eq!(ends(&*store.media, &gone).await, None, "what would have ended is not written");
}

/// Each answer is either from before the end, or empty: there is no moment of grace.
pub(super) async fn g6_a_row_is_absent_when_its_time_is_over(store: Store) {
    let kept_ms = i64::from(RETENTION_DAYS) * DAY_MS;
    let until = now().plus_ms(1500);
    let media = any_media(until.plus_ms(-kept_ms - GONE_KEPT_MS));
    store.media.put(&media).await.unwrap();
    let mut was_there = false;
    loop {
        let asked = now();
        let found = ends(&*store.media, &media).await.is_some();
        if asked >= until {
            assert!(!found);
            break;
        }
        if now() < until {
            assert!(found);
            was_there = true;
        }
    }
    assert!(was_there);
}

pub(super) async fn g6_a_shorter_end_stays_whatever_is_written_later(store: Store) {
    let media = any_media(now().plus_ms(-HOUR_MS));
    store.media.put(&media).await.unwrap();
    let (sooner, soonest) = (now().plus_ms(2 * HOUR_MS), now().plus_ms(HOUR_MS));
    // Not later than its own end.
    store.media.shorten(&media, media.expires_at().plus_ms(1)).await.unwrap();
    assert_eq!(ends(&*store.media, &media).await, Some(media.expires_at()));
    for (asked, stands) in [(sooner, sooner), (soonest, soonest), (sooner, soonest)] {
        store.media.shorten(&media, asked).await.unwrap();
        assert_eq!(ends(&*store.media, &media).await, Some(stands));
        store.media.put(&media).await.unwrap();
        assert_eq!(ends(&*store.media, &media).await, Some(stands), "a replay lengthens nothing");
        assert_eq!(of_event(&*store.media, &media).await, std::slice::from_ref(&media));
    }
    let past = now().plus_ms(-1);
    store.media.shorten(&media, past).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ends(&*store.media, &media).await, Some(past));
        assert_eq!(of_event(&*store.media, &media).await, []);
        store.media.put(&media).await.unwrap();
    }
    // So long ago that its row would have ended too.
    store.media.shorten(&media, now().plus_ms(-GONE_KEPT_MS - 1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ends(&*store.media, &media).await, None);
        assert_eq!(of_event(&*store.media, &media).await, []);
        store.media.put(&media).await.unwrap();
    }
    // There is nothing to shorten: nothing is made.
    let unknown = any_media(now());
    store.media.shorten(&unknown, now().plus_ms(HOUR_MS)).await.unwrap();
    assert_eq!(ends(&*store.media, &unknown).await, None);
    assert_eq!(of_event(&*store.media, &unknown).await, []);
}

pub(super) async fn all_media_are_walked_in_pages(store: Store) {
    // Those that have ended, too.
    let all: Vec<Media> = (0..9).map(|n| any_media(now().plus_ms(-n * 4 * DAY_MS))).collect();
    for media in &all {
        store.media.put(media).await.unwrap();
    }
    let expected: BTreeMap<MediaId, Timestamp> = all.iter().map(|media| (media.id, media.expires_at())).collect();
    for limit in [1, 4, 1000] {
        let (mut found, mut met, mut after) = (BTreeMap::new(), BTreeSet::new(), None);
        loop {
            let page = store.media.all(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            for row in &page {
                assert!(met.insert(row.media.id), "twice, by {limit}");
                if expected.contains_key(&row.media.id) {
                    found.insert(row.media.id, row.ends);
                }
            }
            after = page.last().map(|row| row.media.id);
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(found, expected, "by {limit}");
    }
    assert_eq!(store.media.all(None, 0).await.unwrap(), []);
}

fn walked(cursor: &str, passes: u64) -> Sweep {
    Sweep { cursor: cursor.into(), passes }
}

/// Tables were made for this test; a folder without them has nothing that could be older.
pub(super) async fn the_rows_say_since_when_they_are_kept(store: Store) {
    let since = store.media.since().await.unwrap();
    assert!(since.is_none_or(|since| since <= now() && since > now().plus_ms(-HOUR_MS)), "{since:?}");
}

pub(super) async fn a_sweep_is_taken_up_where_it_was_left(store: Store) {
    const SHARD: u8 = 200;
    let (mine, other) = (id(), id());
    assert!(!store.media.keep_sweep(SHARD, mine, &walked("a", 0)).await.unwrap(), "nobody's");
    let later = |n| now().plus_ms(n * HOUR_MS);
    assert_eq!(store.media.take_sweep(SHARD, mine, later(1)).await.unwrap(), Some(walked("", 0)));
    assert!(store.media.keep_sweep(SHARD, mine, &walked("media/a", 0)).await.unwrap());
    assert_eq!(store.media.take_sweep(SHARD, mine, later(2)).await.unwrap(), Some(walked("media/a", 0)), "further");
    assert_eq!(store.media.take_sweep(SHARD, other, later(3)).await.unwrap(), None);
    assert!(!store.media.keep_sweep(SHARD, other, &walked("media/z", 7)).await.unwrap());
    assert!(store.media.keep_sweep(SHARD, mine, &walked("", 1)).await.unwrap());
    // Given back: its time is over at once.
    assert_eq!(store.media.take_sweep(SHARD, mine, now()).await.unwrap(), Some(walked("", 1)));
    assert_eq!(store.media.take_sweep(SHARD, other, later(1)).await.unwrap(), Some(walked("", 1)));
    assert!(!store.media.keep_sweep(SHARD, mine, &walked("media/b", 1)).await.unwrap(), "a former holder");
    assert_eq!(store.media.take_sweep(SHARD, mine, later(1)).await.unwrap(), None);
    assert_eq!(store.media.take_sweep(SHARD, other, later(2)).await.unwrap(), Some(walked("", 1)));
    // Each shard is its own.
    assert_eq!(store.media.take_sweep(SHARD + 1, mine, later(1)).await.unwrap(), Some(walked("", 0)));
}

/// The holder has died: each answer is either from before the end of its time, or takes the walk over.
pub(super) async fn a_sweep_is_another_s_only_when_its_time_is_over(store: Store) {
    const SHARD: u8 = 210;
    let (mine, other) = (id(), id());
    let until = now().plus_ms(1500);
    assert!(store.media.take_sweep(SHARD, mine, until).await.unwrap().is_some());
    assert!(store.media.keep_sweep(SHARD, mine, &walked("media/k", 4)).await.unwrap());
    let mut was_refused = false;
    loop {
        let asked = now();
        let taken = store.media.take_sweep(SHARD, other, until.plus_ms(HOUR_MS)).await.unwrap();
        match taken {
            None => {
                assert!(asked < until);
                was_refused = true;
            }
            Some(sweep) => {
                assert!(now() >= until);
                assert_eq!(sweep, walked("media/k", 4));
                break;
            }
        }
    }
    assert!(was_refused);
    assert!(!store.media.keep_sweep(SHARD, mine, &walked("media/l", 4)).await.unwrap());
}

pub(super) async fn of_many_who_take_a_sweep_one_has_it(store: Store) {
    const SHARD: u8 = 220;
    for round in 0..3 {
        let until = now().plus_ms(HOUR_MS);
        let takers: Vec<_> = (0..6)
            .map(|_| {
                let (store, holder) = (store.clone(), id());
                tokio::spawn(async move { (holder, store.media.take_sweep(SHARD, holder, until).await) })
            })
            .collect();
        let mut holders = Vec::new();
        for taker in takers {
            match taker.await.unwrap() {
                (holder, Ok(Some(sweep))) => holders.push((holder, sweep)),
                // Where many write at once, one may have no answer: it has not got it.
                (_, Ok(None) | Err(_)) => {}
            }
        }
        assert_eq!(holders.len(), 1, "round {round}");
        assert_eq!(holders[0].1.passes, round);
        assert!(store.media.keep_sweep(SHARD, holders[0].0, &walked("", round + 1)).await.unwrap());
        assert!(store.media.take_sweep(SHARD, holders[0].0, now()).await.unwrap().is_some());
    }
}
