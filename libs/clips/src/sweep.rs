//! What is removed when: the walk over all objects of a shard, judged by what the rows say. Pure where it decides
//! ([`judge`]), thin where it talks ([`walk`]).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use porchlight_domain::{MediaId, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Object, Vault, VaultError, metrics};

/// How many shards there are.
pub const SHARDS: u8 = 16;
/// How many objects are removed at once.
const REMOVALS: usize = 8;

/// What the rows say of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// There is a row, and it ends then (by the row, and by the device's plan as it is now).
    Until {
        /// When.
        ends: Timestamp,
        /// Whether the row itself says a later end: it must be shortened when the object goes.
        shortened: bool,
    },
    /// There is none.
    Absent,
    /// There is none, and there may have been one: the rows themselves are not older than an orphan must be. A database that
    /// was lost and made anew says so of all that it had.
    Unknown,
}

/// Why an object goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Its time is over.
    Ended,
    /// Nobody completed its upload, or its row is gone.
    Orphan,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Ended, Self::Orphan];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Orphan => "orphan",
        }
    }
}

/// Whether an object goes. `orphan_after_ms`: how old an object without a row must be.
pub fn judge(object: &Object, record: Record, orphan_after_ms: i64, now: Timestamp) -> Option<Reason> {
    match record {
        Record::Until { ends, .. } => (ends <= now).then_some(Reason::Ended),
        Record::Unknown => None,
        Record::Absent => (now.since(object.put_at) > orphan_after_ms).then_some(Reason::Orphan),
    }
}

/// What the rows say, for the walk. The geo-index implements it over the store.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// What is known of each of these objects, in their order, as of the last [`Self::take`].
    async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String>;
    /// Shortens the row of a media whose object goes before the row's own end.
    async fn shorten(&self, media: MediaId, ends: Timestamp) -> Result<(), String>;
    /// Takes the walk of a shard, or takes it further: the key it came to, or `None` if another has it.
    async fn take(&self, shard: u8) -> Result<Option<String>, String>;
    /// Keeps how far it came (`finished`: the walk was done, the next begins anew); `false`: the shard is another's now.
    /// Asked once a page: a lease must last longer than a page takes, `page / objects_per_s` seconds and its requests.
    async fn keep(&self, shard: u8, cursor: &str, finished: bool) -> Result<bool, String>;
}

/// How a walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How old an object without a row must be to be an orphan, ms.
    pub orphan_after_ms: i64,
    /// How many objects are judged in a second, at most.
    pub objects_per_s: NonZeroU32,
    /// How many objects are listed at once, 1 to 1000.
    pub page: usize,
}

impl Pace {
    /// How long so many objects must take.
    fn cost(&self, objects: usize) -> Duration {
        Duration::from_secs(1) * u32::try_from(objects).unwrap_or(u32::MAX) / self.objects_per_s.get()
    }
}

/// What a walk did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Swept {
    /// Objects looked at.
    pub judged: u64,
    /// Removed because their time is over.
    pub ended: u64,
    /// Removed because nothing names them.
    pub orphans: u64,
    /// Old enough to be removed, named by nothing, and kept because the rows are too new to tell ([`Record::Unknown`]).
    pub unknown: u64,
}

impl Swept {
    fn count(&mut self, reason: Reason) {
        match reason {
            Reason::Ended => self.ended += 1,
            Reason::Orphan => self.orphans += 1,
        }
    }
}

/// Walks one shard from where its last walk came to, to its end. `None`: another has the shard. Stops between two pages
/// when `stop` says so, and can be taken up there.
///
/// A page whose rows or objects are away is an error at once, and is met again from its beginning. An object that the
/// server refuses to remove holds up no other: the walk goes to its end, says so, and the next one meets it again.
///
/// # Errors
/// The store of objects or the rows are away, or objects were not removed, in a sentence; what was done is kept.
pub async fn walk(
    shard: u8,
    vault: &Arc<dyn Vault>,
    records: &dyn Records,
    pace: Pace,
    now: &(dyn Fn() -> Timestamp + Send + Sync),
    stop: &CancellationToken,
) -> Result<Option<Swept>, String> {
    let Some(mut cursor) = records.take(shard).await? else { return Ok(None) };
    let mut swept = Swept::default();
    let mut refused = None;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let page = vault.list(shard, &cursor, pace.page.clamp(1, 1000)).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last().map(|object| object.name.clone()) else {
            if !records.keep(shard, "", true).await? {
                return Ok(None);
            }
            if let Some(why) = refused {
                return Err(format!("objects of shard {shard:x} that must go are still there: {why}"));
            }
            metrics::finished(shard, now());
            return Ok(Some(swept));
        };
        if last <= cursor {
            return Err(format!("the listing of shard {shard:x} does not go on"));
        }
        let cost = pace.cost(page.len());
        refused = clear(page, vault, records, pace, now(), &mut swept).await?.or(refused);
        if !records.keep(shard, &last, false).await? {
            return Ok(None);
        }
        cursor = last;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(began + cost) => {}
        }
    }
    Ok(Some(swept))
}

/// Judges a page and removes what goes. Some words, if the server refused to remove something.
async fn clear(
    page: Vec<Object>,
    vault: &Arc<dyn Vault>,
    records: &dyn Records,
    pace: Pace,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<Option<String>, String> {
    let media: Vec<MediaId> = page.iter().filter_map(|object| object.media).collect();
    let known = if media.is_empty() { Vec::new() } else { records.of(&media).await? };
    if known.len() != media.len() {
        return Err("the rows say nothing of some objects".to_owned());
    }
    let judged = u64::try_from(page.len()).unwrap_or(u64::MAX);
    swept.judged += judged;
    metrics::judged(judged);

    let mut known = known.into_iter();
    let mut going = Vec::new();
    for object in page {
        // What has no media's name has no row.
        let record = if object.media.is_some() { known.next().unwrap_or(Record::Absent) } else { Record::Absent };
        if let Some(reason) = judge(&object, record, pace.orphan_after_ms, now) {
            let vault = Arc::clone(vault);
            going.push(async move { (reason, object.bytes, remove(object, record, vault, records).await) });
        } else if record == Record::Unknown {
            let would_go = judge(&object, Record::Absent, pace.orphan_after_ms, now).is_some();
            swept.unknown += u64::from(would_go);
        }
    }
    let mut removals = stream::iter(going).buffer_unordered(REMOVALS);
    let (mut away, mut refused) = (None, None);
    while let Some((reason, bytes, removed)) = removals.next().await {
        match removed {
            Ok(()) => {
                swept.count(reason);
                metrics::removed(reason, bytes);
            }
            Err(Failed::Away(why)) => away = Some(why),
            Err(Failed::Refused(why)) => refused = Some(why),
        }
    }
    away.map_or(Ok(refused), Err)
}

enum Failed {
    /// The walk cannot go on.
    Away(String),
    /// This one object stays.
    Refused(String),
}

/// The row first: an object without its row's end would be a row that promises bytes which are gone.
async fn remove(object: Object, record: Record, vault: Arc<dyn Vault>, records: &dyn Records) -> Result<(), Failed> {
    if let (Some(media), Record::Until { ends, shortened: true }) = (object.media, record) {
        records.shorten(media, ends).await.map_err(Failed::Away)?;
    }
    vault.remove(&object.name).await.map_err(|e| match e {
        VaultError::Unavailable(_) => Failed::Away(e.to_string()),
        VaultError::Refused(_) => Failed::Refused(e.to_string()),
    })
}

#[cfg(test)]
mod tests;
