//! One pass over all shards, from their beginnings to their ends.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use porchlight_clips::{
    Vault,
    sweep::{Pace, Record, Records, SHARDS, Swept, walk},
};
use porchlight_domain::{Clock as _, MediaId, SystemClock, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Failure, output::progress};

/// The most objects that are listed at once.
const MAX_PAGE: usize = 500;
/// The longest that judging a page may take: a shard is held for a minute, renewed after each page.
const PAGE_S: usize = 15;
/// How long a shard that a service walks is waited for: longer than a dead one holds it.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries of shards that are held.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Records for walks of whole shards, wherever others came to, that say how far they are.
struct FromTheBeginning<R> {
    records: R,
    judged: Mutex<(u64, Instant)>,
}

#[async_trait]
impl<R: Records> Records for FromTheBeginning<R> {
    async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String> {
        let records = self.records.of(objects).await?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.0 += objects.len() as u64;
        if judged.1.elapsed() >= TELL_EVERY {
            judged.1 = Instant::now();
            progress(&format!("{} objects judged", judged.0));
        }
        Ok(records)
    }

    async fn shorten(&self, media: MediaId, ends: Timestamp) -> Result<(), String> {
        self.records.shorten(media, ends).await
    }

    async fn take(&self, shard: u8) -> Result<Option<String>, String> {
        Ok(self.records.take(shard).await?.map(|_| String::new()))
    }

    async fn keep(&self, shard: u8, cursor: &str, finished: bool) -> Result<bool, String> {
        self.records.keep(shard, cursor, finished).await
    }
}

pub(super) async fn run(
    vault: &Arc<dyn Vault>,
    records: impl Records,
    orphan_after_ms: i64,
    objects_per_s: NonZeroU32,
) -> Result<String, Failure> {
    let page = usize::try_from(objects_per_s.get()).unwrap_or(MAX_PAGE).saturating_mul(PAGE_S).min(MAX_PAGE);
    let pace = Pace { orphan_after_ms, objects_per_s, page };
    let records = FromTheBeginning { records, judged: Mutex::new((0, Instant::now())) };
    let stop = CancellationToken::new();
    let pass = pass(vault, &records, pace, &stop);
    tokio::pin!(pass);
    tokio::select! {
        done = &mut pass => done,
        // The page under way is finished, and how far it came is kept.
        _ = tokio::signal::ctrl_c() => {
            progress("stopping");
            stop.cancel();
            pass.await
        }
    }
}

async fn pass(
    vault: &Arc<dyn Vault>,
    records: &impl Records,
    pace: Pace,
    stop: &CancellationToken,
) -> Result<String, Failure> {
    let mut total = Swept::default();
    let mut left: VecDeque<u8> = (0..SHARDS).collect();
    let until = Instant::now() + PATIENCE;
    let mut held = 0;
    while let Some(shard) = left.pop_front() {
        let walked = walk(shard, vault, records, pace, &|| SystemClock.now(), stop).await;
        let swept = walked.map_err(|e| Failure::Failed(format!("shard {shard}: {e}\nuntil then: {}", tell(total))))?;
        if let Some(swept) = swept {
            total.judged += swept.judged;
            total.ended += swept.ended;
            total.orphans += swept.orphans;
            total.unknown += swept.unknown;
            held = 0;
        } else {
            left.push_back(shard);
            held += 1;
        }
        if stop.is_cancelled() {
            return Err(Failure::Failed(format!("stopped. Until then: {}", tell(total))));
        }
        if held < left.len() || left.is_empty() {
            continue;
        }
        // All that is left is in other hands.
        if Instant::now() > until {
            let left: Vec<String> = left.iter().map(u8::to_string).collect();
            return Err(Failure::Failed(format!(
                "{}\nshards {} are being walked by a service all the time: its walk does the same",
                tell(total),
                left.join(", ")
            )));
        }
        held = 0;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(tell(total) + "\n")
}

fn tell(swept: Swept) -> String {
    let Swept { judged, ended, orphans, unknown } = swept;
    let kept = match unknown {
        0 => String::new(),
        _ => format!(
            "; {unknown} kept that no row names: the database is new, and may replace one that was lost (porchlight media \
             audit lists them)"
        ),
    };
    format!("{judged} objects judged: {ended} removed that had ended, {orphans} removed that nobody completed{kept}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use porchlight_clips::{Grant, Object, Stat, Upload, VaultError};
    use porchlight_domain::{Cleared, view::MediaView};
    use uuid::Uuid;

    /// One object in each shard; whatever else is asked of it is a mistake.
    #[derive(Default)]
    struct OneEach {
        removed: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Vault for OneEach {
        async fn list(&self, shard: u8, after: &str, _: usize) -> Result<Vec<Object>, VaultError> {
            let name = format!("object {shard:x}");
            let key = MediaId(Uuid::nil());
            let object = Object { name, media: Some(key), put_at: Timestamp(0), bytes: 1 };
            Ok(if after < object.name.as_str() { vec![object] } else { Vec::new() })
        }
        async fn remove(&self, name: &str) -> Result<(), VaultError> {
            self.removed.lock().unwrap().push(name.to_owned());
            Ok(())
        }
        async fn upload(&self, _: &Grant, _: Timestamp) -> Result<Upload, VaultError> {
            unreachable!()
        }
        async fn read_url(&self, _: &Cleared<MediaView>, _: Timestamp) -> Result<(String, Timestamp), VaultError> {
            unreachable!()
        }
        async fn stat(&self, _: MediaId) -> Result<Option<Stat>, VaultError> {
            unreachable!()
        }
        async fn remove_media(&self, _: MediaId) -> Result<(), VaultError> {
            unreachable!()
        }
        async fn ping(&self) -> Result<(), VaultError> {
            unreachable!()
        }
    }

    /// No rows. Another has walked every shard beyond its objects, and holds one of them for a moment.
    #[derive(Default)]
    struct Walked {
        asked_for_9: Mutex<u32>,
    }

    #[async_trait]
    impl Records for Walked {
        async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String> {
            Ok(vec![Record::Absent; objects.len()])
        }
        async fn shorten(&self, _: MediaId, _: Timestamp) -> Result<(), String> {
            Ok(())
        }
        async fn take(&self, shard: u8) -> Result<Option<String>, String> {
            let mut asked = self.asked_for_9.lock().unwrap();
            *asked += u32::from(shard == 9);
            Ok((shard != 9 || *asked > 2).then(|| "object ~".to_owned()))
        }
        async fn keep(&self, _: u8, _: &str, _: bool) -> Result<bool, String> {
            Ok(true)
        }
    }

    #[tokio::test]
    async fn a_pass_is_whole_wherever_others_came_to_and_waits_for_a_shard_that_is_held() {
        let removed = Arc::new(OneEach::default());
        let vault: Arc<dyn Vault> = removed.clone();
        let said = run(&vault, Walked::default(), 1_000, NonZeroU32::new(10_000).unwrap()).await.unwrap();
        assert_eq!(said, "16 objects judged: 0 removed that had ended, 16 removed that nobody completed\n");
        let mut names = removed.removed.lock().unwrap().clone();
        assert_eq!(names.pop().as_deref(), Some("object 9"), "last of all");
        assert_eq!(names.len(), 15);
    }
}
