//! What is removed from disk, and when: the walks over rows and objects in memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use porchlight_clips::{
    Vault,
    sweep::{Record, Records as _, walk},
};
use porchlight_domain::{Clock as _, DeviceId, Label, ManualClock, Media, MediaKind, SystemClock, Timestamp};
use porchlight_geo_index::{
    RetentionConfig,
    retention::{self, StoreRecords},
};
use porchlight_store::{MediaIndex as _, Sweep};
use support::{
    NOON, World, media,
    objects::{Devices, Objects},
    seen,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;
const HOLDER: Uuid = Uuid::from_u128(1);

#[derive(Default)]
struct Scene {
    world: Arc<World>,
    devices: Arc<Devices>,
    objects: Arc<Objects>,
}

impl Scene {
    fn records(&self, holder: Uuid) -> StoreRecords {
        StoreRecords::new(self.world.clone(), self.devices.clone(), holder, config().orphan_after_ms)
    }

    /// The `n`-th clip of a device, kept for 30 days, with its row and its object.
    async fn stored(&self, device: u128, n: u8) -> Media {
        let clip = clip(device, n);
        self.world.put(&clip).await.unwrap();
        self.objects.put(&clip, clip.received_at);
        clip
    }

    async fn walked(&self, shard: u8, after_ms: i64) {
        let vault: Arc<dyn Vault> = self.objects.clone();
        let now = move || Timestamp(NOON + after_ms);
        let stop = CancellationToken::new();
        let swept = walk(shard, &vault, &self.records(HOLDER), config().pace(), &now, &stop).await.unwrap();
        assert!(swept.is_some());
    }
}

fn config() -> RetentionConfig {
    let objects_per_s = NonZeroU32::new(100_000).unwrap();
    RetentionConfig { every_ms: 100, objects_per_s, orphan_after_ms: 4 * DAY_MS, page: 2 }
}

fn clip(device: u128, n: u8) -> Media {
    media(&seen(device, 1, 0, Label::Person, true), MediaKind::Clip, n, 0)
}

/// A device whose objects are in that shard.
fn device(shard: u8, n: u128) -> u128 {
    (u128::from(shard) << 124) + n
}

fn id(device: u128) -> DeviceId {
    DeviceId(Uuid::from_u128(device))
}

#[tokio::test]
async fn g6_a_shorter_plan_removes_the_object_and_shortens_its_row() {
    let scene = Scene::default();
    let [short, long] = [device(3, 1), device(3, 2)];
    scene.devices.set(id(short), 7, false);
    scene.devices.set(id(long), 400, false);
    let (shortened, kept) = (scene.stored(short, 1).await, scene.stored(long, 1).await);
    scene.walked(3, 7 * DAY_MS - 1).await;
    assert!(scene.objects.has(&shortened), "not before its time");
    scene.walked(3, 7 * DAY_MS + 1).await;
    assert!(!scene.objects.has(&shortened) && scene.objects.has(&kept));
    let ends = |m: &Media| scene.world.rows().media[&m.id].ends;
    assert_eq!(ends(&shortened), Timestamp(NOON + 7 * DAY_MS));
    assert_eq!(ends(&kept), kept.expires_at());
    scene.walked(3, 30 * DAY_MS + 1).await;
    assert!(!scene.objects.has(&kept), "a longer plan lengthens nothing");
}

#[tokio::test]
async fn g6_what_nobody_completed_goes_after_its_bound_and_not_before() {
    let scene = Scene::default();
    let abandoned = clip(device(15, 1), 1);
    scene.objects.put(&abandoned, Timestamp(NOON));
    scene.walked(15, 4 * DAY_MS - 1).await;
    assert!(scene.objects.has(&abandoned));
    scene.walked(15, 4 * DAY_MS + 1).await;
    assert!(!scene.objects.has(&abandoned));
}

/// A database that replaces one that was lost knows no row of what is stored. Until its rows have been kept for as long as an
/// orphan must be old, their lack says nothing.
#[tokio::test]
async fn g6_a_new_database_calls_nothing_abandoned() {
    let scene = Scene::default();
    let clip = clip(device(15, 1), 1);
    scene.objects.put(&clip, Timestamp(NOON));
    let ago = |ms: i64| SystemClock.now().plus_ms(-ms);
    for (since, stays) in [(ago(0), true), (ago(4 * DAY_MS - 3_600_000), true), (ago(4 * DAY_MS + 1), false)] {
        scene.world.begun(since);
        scene.walked(15, 40 * DAY_MS).await;
        assert_eq!(scene.objects.has(&clip), stays, "{since:?}");
    }
}

/// What the rows say, in the order of the objects; one question for a plan in a page.
#[tokio::test]
async fn each_object_has_its_own_record_and_a_device_is_asked_for_once() {
    let scene = Scene::default();
    let [ours, deleted, unknown] = [device(1, 1), device(1, 2), device(1, 3)];
    scene.devices.set(id(ours), 7, false);
    scene.devices.set(id(deleted), 7, true);
    let mut keys = Vec::new();
    for device in [ours, deleted, unknown] {
        for n in 0..20 {
            keys.push(scene.stored(device, n).await.id);
        }
    }
    keys.push(clip(ours, 99).id);
    let records = scene.records(HOLDER).of(&keys).await.unwrap();
    let until = |days: i64, shortened| Record::Until { ends: Timestamp(NOON + days * DAY_MS), shortened };
    assert_eq!(records[..20], [until(7, true); 20]);
    assert_eq!(records[20..60], [until(30, false); 40], "of devices that are gone: as it was stored");
    assert_eq!(records[60..], [Record::Absent], "no row");
    assert_eq!(scene.devices.asked(), 3);

    // A row that was shortened is not lengthened by the plan.
    let first = scene.world.rows().media[&keys[0]].media.clone();
    scene.world.shorten(&first, Timestamp(NOON + DAY_MS)).await.unwrap();
    assert_eq!(scene.records(HOLDER).of(&keys[..1]).await.unwrap(), [until(1, false)]);
    assert_eq!(scene.records(HOLDER).shorten(clip(ours, 99).id, Timestamp(NOON)).await, Ok(()), "no row, no error");
}

#[tokio::test]
async fn a_shard_is_one_holders_and_the_next_walk_begins_where_the_last_came_to() {
    let scene = Scene::default();
    let (one, other) = (scene.records(HOLDER), scene.records(Uuid::from_u128(2)));
    assert_eq!(one.take(4).await, Ok(Some(String::new())));
    assert_eq!(other.take(4).await, Ok(None));
    assert_eq!(other.keep(4, "media/4", false).await, Ok(false));
    assert_eq!(one.keep(4, "media/4", false).await, Ok(true));
    assert_eq!(scene.records(HOLDER).take(4).await, Ok(Some("media/4".into())));
    assert_eq!(one.keep(4, "media/4f", true).await, Ok(true));
    assert_eq!(scene.world.sweep(4), Some(Sweep { cursor: String::new(), passes: 1 }));
    assert_eq!(one.take(4).await, Ok(Some(String::new())));
    assert_eq!(one.keep(4, "media/4", true).await, Ok(true));
    assert_eq!(scene.world.sweep(4).map(|s| s.passes), Some(2));
}

/// The component: round robin over all shards, through an outage, until it is stopped.
#[tokio::test(start_paused = true)]
async fn g6_every_shard_is_walked_again_and_again_whatever_fails_in_between() {
    let scene = Scene::default();
    let clock = ManualClock::at(Timestamp(NOON + 31 * DAY_MS));
    let stop = CancellationToken::new();
    let vault: Arc<dyn Vault> = scene.objects.clone();
    let (records, config) = (scene.records(HOLDER), config());
    let runs = retention::run(&vault, &records, &config, &clock, &stop);
    let story = async {
        for round in 0..3_u8 {
            scene.objects.away(true);
            let mut stored = Vec::new();
            for shard in 0..16 {
                stored.push(scene.stored(device(shard, 1), round).await);
            }
            tokio::time::sleep(Duration::from_secs(90)).await;
            assert!(stored.iter().all(|clip| scene.objects.has(clip)));
            scene.objects.away(false);
            tokio::time::sleep(Duration::from_secs(90)).await;
            assert!(!stored.iter().any(|clip| scene.objects.has(clip)), "round {round}");
        }
        stop.cancel();
    };
    tokio::join!(runs, story);
}
