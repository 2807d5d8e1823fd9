#![allow(clippy::unwrap_used)]
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use porchlight_domain::{Cleared, view::MediaView};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use uuid::Uuid;

use super::*;
use crate::{Grant, Stat, Upload};

const NOW: Timestamp = Timestamp(1_000_000);
const ORPHAN_AFTER_MS: i64 = 1_000;

fn object(name: &str, put_at: i64) -> Object {
    Object { name: name.to_owned(), media: None, put_at: Timestamp(put_at), bytes: 10 }
}

fn records() -> impl Strategy<Value = Record> {
    let until = |(ends, shortened)| Record::Until { ends: Timestamp(ends), shortened };
    prop_oneof![(any::<i64>(), any::<bool>()).prop_map(until), proptest::prelude::Just(Record::Absent)]
}

proptest! {
    #[test]
    fn what_has_a_row_goes_when_it_ends_and_not_before(put in any::<i64>(), ends in any::<i64>(), now in any::<i64>(), shortened in any::<bool>()) {
        let record = Record::Until { ends: Timestamp(ends), shortened };
        let judged = judge(&object("a", put), record, ORPHAN_AFTER_MS, Timestamp(now));
        prop_assert_eq!(judged, (now >= ends).then_some(Reason::Ended));
    }

    #[test]
    fn what_has_no_row_goes_only_when_it_is_older_than_the_bound(put in 0..i64::MAX / 2, age in -1_000_000_000..1_000_000_000_i64, after in 0..1_000_000_000_i64) {
        let judged = judge(&object("a", put), Record::Absent, after, Timestamp(put + age));
        prop_assert_eq!(judged, (age > after).then_some(Reason::Orphan));
    }

    #[test]
    fn what_goes_goes_later_too(put in any::<i64>(), record in records(), after in 0..i64::MAX, now in any::<i64>(), later in 0..i64::MAX) {
        let object = object("a", put);
        if let Some(reason) = judge(&object, record, after, Timestamp(now)) {
            prop_assert_eq!(judge(&object, record, after, Timestamp(now).plus_ms(later)), Some(reason));
        }
    }

    #[test]
    fn a_page_costs_what_its_objects_cost(objects in 0..=1000_usize, per_s in 1..10_000_u32) {
        let pace = Pace { objects_per_s: NonZeroU32::new(per_s).unwrap(), ..pace(10) };
        let exact = objects as f64 / f64::from(per_s);
        prop_assert!((pace.cost(objects).as_secs_f64() - exact).abs() < 0.000_001);
    }
}

fn pace(page: usize) -> Pace {
    Pace { orphan_after_ms: ORPHAN_AFTER_MS, objects_per_s: NonZeroU32::new(1_000_000).unwrap(), page }
}

/// Objects and rows of one shard, in memory.
#[derive(Default)]
struct World {
    objects: Mutex<BTreeMap<String, Object>>,
    rows: Mutex<BTreeMap<MediaId, Record>>,
    judged: Mutex<Vec<MediaId>>,
    listed: Mutex<Vec<String>>,
    shortened: Mutex<Vec<(MediaId, Timestamp)>>,
    removing: Mutex<Vec<String>>,
    cursor: Mutex<String>,
    finished: Mutex<u32>,
    /// Another holds the shard: from the beginning, or after so many pages.
    taken: bool,
    lost_after: Option<usize>,
    /// Asked for to stop after the first page.
    stop: Option<CancellationToken>,
    /// Names that cannot be removed.
    locked: Mutex<BTreeSet<String>>,
    away: Mutex<BTreeSet<String>>,
    no_rows: bool,
    never_ends: bool,
}

#[async_trait]
impl Vault for World {
    async fn upload(&self, _: &Grant, _: Timestamp) -> Result<Upload, VaultError> {
        unreachable!()
    }
    async fn read_url(&self, _: &Cleared<MediaView>, _: Timestamp) -> Result<(String, Timestamp), VaultError> {
        unreachable!()
    }
    async fn stat(&self, _: MediaId) -> Result<Option<Stat>, VaultError> {
        unreachable!()
    }
    async fn remove(&self, name: &str) -> Result<(), VaultError> {
        self.removing.lock().unwrap().push(name.to_owned());
        if self.locked.lock().unwrap().contains(name) {
            return Err(VaultError::Refused("locked".into()));
        }
        if self.away.lock().unwrap().contains(name) {
            return Err(VaultError::Unavailable("away".into()));
        }
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
    async fn remove_media(&self, _: MediaId) -> Result<(), VaultError> {
        unreachable!()
    }
    async fn list(&self, _: u8, after: &str, limit: usize) -> Result<Vec<Object>, VaultError> {
        self.listed.lock().unwrap().push(after.to_owned());
        let after = if self.never_ends { "" } else { after };
        let objects = self.objects.lock().unwrap();
        Ok(objects.values().filter(|o| o.name.as_str() > after).take(limit).cloned().collect())
    }
    async fn ping(&self) -> Result<(), VaultError> {
        unreachable!()
    }
}

#[async_trait]
impl Records for World {
    async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String> {
        if self.no_rows {
            return Err("the rows are away".into());
        }
        self.judged.lock().unwrap().extend(objects);
        let rows = self.rows.lock().unwrap();
        Ok(objects.iter().map(|media| rows.get(media).copied().unwrap_or(Record::Absent)).collect())
    }
    async fn shorten(&self, media: MediaId, ends: Timestamp) -> Result<(), String> {
        self.shortened.lock().unwrap().push((media, ends));
        Ok(())
    }
    async fn take(&self, _: u8) -> Result<Option<String>, String> {
        Ok((!self.taken).then(|| self.cursor.lock().unwrap().clone()))
    }
    async fn keep(&self, _: u8, cursor: &str, finished: bool) -> Result<bool, String> {
        if self.lost_after.is_some_and(|pages| self.listed.lock().unwrap().len() >= pages) {
            return Ok(false);
        }
        if let Some(stop) = &self.stop {
            stop.cancel();
        }
        *self.finished.lock().unwrap() += u32::from(finished);
        cursor.clone_into(&mut self.cursor.lock().unwrap());
        Ok(true)
    }
}

impl World {
    /// An object of media `n`, put when it was judged an orphan long ago, with this row.
    fn with(self, n: u128, record: Record) -> Self {
        let key = MediaId(Uuid::from_u128(n));
        let name = crate::key::name("", key);
        let object = Object { media: Some(key), ..object(&name, 0) };
        self.objects.lock().unwrap().insert(name, object);
        self.rows.lock().unwrap().insert(key, record);
        self
    }

    fn left(&self) -> Vec<u128> {
        self.objects.lock().unwrap().values().filter_map(|o| o.media).map(|media| media.0.as_u128()).collect()
    }

    fn name(n: u128) -> String {
        crate::key::name("", MediaId(Uuid::from_u128(n)))
    }
}

const ENDED: Record = Record::Until { ends: NOW, shortened: false };
const LATER: Record = Record::Until { ends: Timestamp(NOW.0 + 1), shortened: false };

async fn sweep(world: &Arc<World>, pace: Pace, stop: &CancellationToken) -> Result<Option<Swept>, String> {
    let vault: Arc<dyn Vault> = Arc::clone(world) as Arc<dyn Vault>;
    let (world, stop) = (Arc::clone(world), stop.clone());
    // As a service does it: the future must be one that can be sent.
    let walking = async move { walk(0, &vault, world.as_ref(), pace, &|| NOW, &stop).await };
    tokio::spawn(walking).await.unwrap()
}

async fn sweep_all(world: &Arc<World>, page: usize) -> Result<Option<Swept>, String> {
    sweep(world, pace(page), &CancellationToken::new()).await
}

#[tokio::test]
async fn what_ended_and_what_nothing_names_goes_and_the_rest_stays() {
    let shortened = Record::Until { ends: Timestamp(NOW.0 - 5), shortened: true };
    let world =
        World::default().with(1, ENDED).with(2, LATER).with(3, Record::Absent).with(4, shortened).with(5, LATER);
    {
        let mut objects = world.objects.lock().unwrap();
        for (name, put_at) in [("media/0-not-one-of-ours", 0), ("media/0-young", NOW.0 - ORPHAN_AFTER_MS)] {
            objects.insert(name.to_owned(), object(name, put_at));
        }
    }
    let world = Arc::new(world);
    let swept = sweep_all(&world, 2).await.unwrap().unwrap();
    assert_eq!(swept, Swept { judged: 7, ended: 2, orphans: 2, unknown: 0 });
    assert_eq!(world.left(), [2, 5]);
    assert!(world.objects.lock().unwrap().contains_key("media/0-young"));
    assert_eq!(*world.shortened.lock().unwrap(), [(MediaId(Uuid::from_u128(4)), Timestamp(NOW.0 - 5))]);
    assert_eq!((world.cursor.lock().unwrap().as_str(), *world.finished.lock().unwrap()), ("", 1));
}

#[tokio::test]
async fn g6_what_a_lost_database_may_have_named_stays_and_is_counted() {
    let world = World::default().with(1, ENDED).with(2, Record::Unknown).with(3, Record::Unknown);
    let young = World::name(3);
    world.objects.lock().unwrap().get_mut(&young).unwrap().put_at = Timestamp(NOW.0 - ORPHAN_AFTER_MS);
    let world = Arc::new(world);
    let swept = sweep_all(&world, 2).await.unwrap().unwrap();
    assert_eq!(
        swept,
        Swept { judged: 3, ended: 1, orphans: 0, unknown: 1 },
        "an open upload is nothing to worry about"
    );
    assert_eq!(world.left(), [2, 3]);
}

#[tokio::test]
async fn a_walk_that_was_stopped_is_taken_up_and_judges_every_object_once() {
    let stop = CancellationToken::new();
    let mut world = (0..10).fold(World::default(), |world, n| world.with(n, if n % 2 == 0 { ENDED } else { LATER }));
    world.stop = Some(stop.clone());
    let world = Arc::new(world);
    assert_eq!(sweep(&world, pace(3), &stop).await, Ok(Some(Swept { judged: 3, ended: 2, ..Swept::default() })));
    assert_eq!((world.cursor.lock().unwrap().clone(), *world.finished.lock().unwrap()), (World::name(2), 0));

    assert_eq!(sweep(&world, pace(3), &stop).await, Ok(Some(Swept::default())), "it is still to stop");

    let mut again = sweep_all(&world, 3).await;
    while *world.finished.lock().unwrap() == 0 {
        again = sweep_all(&world, 3).await;
    }
    assert!(again.unwrap().is_some());
    let judged: Vec<u128> = world.judged.lock().unwrap().iter().map(|media| media.0.as_u128()).collect();
    assert_eq!(judged, (0..10).collect::<Vec<_>>());
    assert_eq!(world.left(), [1, 3, 5, 7, 9]);
}

#[tokio::test]
async fn a_shard_that_another_has_is_left_alone() {
    let world = Arc::new(World { taken: true, ..World::default().with(1, ENDED) });
    assert_eq!(sweep_all(&world, 10).await, Ok(None));
    assert!(world.listed.lock().unwrap().is_empty());

    let world = World::default().with(1, ENDED).with(2, ENDED).with(3, ENDED);
    let world = Arc::new(World { lost_after: Some(2), ..world });
    assert_eq!(sweep_all(&world, 1).await, Ok(None));
    assert_eq!(world.left(), [3], "after the page in which it was lost, nothing is touched");
}

#[tokio::test]
async fn an_object_that_is_refused_stays_holds_up_no_other_and_is_met_again() {
    let world = Arc::new((0..6).fold(World::default(), |world, n| world.with(n, ENDED)));
    world.locked.lock().unwrap().insert(World::name(1));
    let said = sweep_all(&world, 2).await.unwrap_err();
    assert!(said.starts_with("objects of shard 0 that must go are still there"), "{said}");
    assert_eq!(world.left(), [1]);
    assert_eq!((world.cursor.lock().unwrap().as_str(), *world.finished.lock().unwrap()), ("", 1));

    world.locked.lock().unwrap().clear();
    assert_eq!(sweep_all(&world, 2).await, Ok(Some(Swept { judged: 1, ended: 1, ..Swept::default() })));
    assert_eq!(world.left(), [0_u128; 0]);
}

#[tokio::test]
async fn a_page_that_fails_is_met_again_from_its_beginning() {
    let world = Arc::new((0..6).fold(World::default(), |world, n| world.with(n, ENDED)));
    world.away.lock().unwrap().insert(World::name(3));
    assert!(sweep_all(&world, 2).await.unwrap_err().contains("unavailable"));
    assert_eq!(world.left(), [3, 4, 5]);
    assert_eq!((world.cursor.lock().unwrap().clone(), *world.finished.lock().unwrap()), (World::name(1), 0));

    world.away.lock().unwrap().clear();
    assert_eq!(sweep_all(&world, 2).await, Ok(Some(Swept { judged: 3, ended: 3, ..Swept::default() })));
    assert_eq!(world.left(), [0_u128; 0]);
}

#[tokio::test]
async fn nothing_goes_while_the_rows_are_away() {
    let world = Arc::new(World { no_rows: true, ..World::default().with(1, Record::Absent) });
    assert_eq!(sweep_all(&world, 2).await, Err("the rows are away".to_owned()));
    assert!(world.removing.lock().unwrap().is_empty());
    assert_eq!(*world.cursor.lock().unwrap(), "");
}

#[tokio::test]
async fn a_listing_that_does_not_go_on_is_an_error_and_no_endless_walk() {
    let world = Arc::new(World { never_ends: true, ..World::default().with(1, LATER) });
    assert_eq!(sweep_all(&world, 2).await, Err("the listing of shard 0 does not go on".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_no_faster_than_its_rate_and_a_stop_does_not_wait_for_it() {
    let world = Arc::new((0..10).fold(World::default(), |world, n| world.with(n, LATER)));
    let slow = Pace { objects_per_s: NonZeroU32::new(2).unwrap(), ..pace(4) };
    let began = Instant::now();
    assert_eq!(sweep(&world, slow, &CancellationToken::new()).await.unwrap().unwrap().judged, 10);
    let took = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_millis(5_100)).contains(&took), "{took:?}");

    let stop = CancellationToken::new();
    let world = (0..10).fold(World::default(), |world, n| world.with(n, LATER));
    let world = Arc::new(World { stop: Some(stop.clone()), ..world });
    let began = Instant::now();
    assert_eq!(sweep(&world, slow, &stop).await.unwrap().unwrap().judged, 4);
    assert!(began.elapsed() < Duration::from_secs(1));
}
