//! What rows and objects do not agree on. [`Audit`] compares; the rest asks.

use std::collections::HashSet;

use porchlight_clips::{
    Object, Vault, VaultError,
    sweep::{self, Reason, Record, Records, SHARDS},
};
use porchlight_domain::{Clock as _, MediaId, SystemClock, Timestamp};
use porchlight_store::{MediaIndex, MediaRow};

use super::super::{Failure, output::progress};

/// How many objects or rows are asked for at once.
const PAGE: usize = 500;
/// How many of each kind are told by their keys.
const MAX_TOLD: usize = 20;
/// How many are looked at between two lines of progress.
const TELL_EVERY: u64 = 10_000;

/// Things of one kind: how many, and the first few.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    count: u64,
    told: Vec<String>,
}

impl Findings {
    fn add(&mut self, key: &str) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(key.to_owned());
        }
    }
}

/// The comparison: first all objects with what the rows say of them, then all rows. What it asks to look at again may have
/// changed between the two: only what stands then as well is found.
#[derive(Debug)]
struct Audit {
    orphan_after_ms: i64,
    now: Timestamp,
    objects: u64,
    rows: u64,
    /// The media whose objects were listed: some 30 bytes each.
    there: HashSet<MediaId>,
    open_uploads: u64,
    without_row: Findings,
    past_their_end: Findings,
    without_object: Findings,
}

/// What a comparison of one object or row comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compared {
    Agrees,
    /// An object, that there is no reason to keep.
    Suspect(Reason),
    /// A row, whose object was not listed.
    Missing,
}

impl Audit {
    fn new(orphan_after_ms: i64, now: Timestamp) -> Self {
        Self {
            orphan_after_ms,
            now,
            objects: 0,
            rows: 0,
            there: HashSet::new(),
            open_uploads: 0,
            without_row: Findings::default(),
            past_their_end: Findings::default(),
            without_object: Findings::default(),
        }
    }

    fn object(&mut self, object: &Object, record: Record) -> Compared {
        self.objects += 1;
        self.there.extend(object.media);
        match (sweep::judge(object, record, self.orphan_after_ms, self.now), record) {
            (Some(reason), _) => Compared::Suspect(reason),
            (None, Record::Until { .. }) => Compared::Agrees,
            (None, Record::Absent | Record::Unknown) => {
                self.open_uploads += 1;
                Compared::Agrees
            }
        }
    }

    fn row(&mut self, row: &MediaRow) -> Compared {
        self.rows += 1;
        // The row of what has ended is kept for a while, to tell that it is gone: its object is not.
        if row.ends <= self.now || self.there.contains(&row.media.id) { Compared::Agrees } else { Compared::Missing }
    }

    fn found(&mut self, name: &str, reason: Reason) {
        match reason {
            Reason::Orphan => self.without_row.add(name),
            Reason::Ended => self.past_their_end.add(name),
        }
    }

    fn kinds(&self) -> [(&'static str, &Findings); 3] {
        [
            ("objects that no row names", &self.without_row),
            ("rows whose object is not there", &self.without_object),
            ("objects past their end", &self.past_their_end),
        ]
    }

    fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, findings)| findings.count == 0)
    }

    fn report(&self) -> String {
        let mut text = format!("{} objects, {} rows, {} open uploads\n", self.objects, self.rows, self.open_uploads);
        for (kind, findings) in self.kinds() {
            text += &format!("{kind}: {}\n", findings.count);
            for key in &findings.told {
                text += &format!("  {key}\n");
            }
            let more = findings.count - findings.told.len() as u64;
            if more > 0 {
                text += &format!("  and {more} more\n");
            }
        }
        text
    }
}

pub(super) async fn run(
    vault: &dyn Vault,
    rows: &dyn MediaIndex,
    records: &impl Records,
    orphan_after_ms: i64,
) -> Result<String, Failure> {
    let mut audit = Audit::new(orphan_after_ms, SystemClock.now());
    for shard in 0..SHARDS {
        objects_of(shard, &mut audit, vault, records).await?;
    }
    all_rows(&mut audit, vault, rows, records).await?;
    if audit.is_clean() { Ok(audit.report()) } else { Err(Failure::Found(audit.report())) }
}

async fn objects_of(shard: u8, audit: &mut Audit, vault: &dyn Vault, records: &impl Records) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = vault.list(shard, &after, PAGE).await.map_err(away)?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.name);
        let keys: Vec<MediaId> = page.iter().filter_map(|object| object.media).collect();
        let mut known = records.of(&keys).await.map_err(Failure::Failed)?.into_iter();
        for object in &page {
            // What is no media's has no row.
            let record = object.media.and_then(|_| known.next()).unwrap_or(Record::Absent);
            if let Compared::Suspect(reason) = audit.object(object, record)
                && is_there(object.media, vault).await?
            {
                audit.found(&object.name, reason);
            }
            if audit.objects.is_multiple_of(TELL_EVERY) {
                progress(&format!("{} objects", audit.objects));
            }
        }
    }
}

async fn all_rows(
    audit: &mut Audit,
    vault: &dyn Vault,
    rows: &dyn MediaIndex,
    records: &impl Records,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = rows.all(after, PAGE).await.map_err(|e| Failure::Failed(e.to_string()))?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.media.id);
        for row in &page {
            let key = row.media.id;
            if audit.row(row) == Compared::Missing
                && !has_ended(key, records).await?
                && !is_there(Some(key), vault).await?
            {
                audit.without_object.add(&format!("media/{key}"));
            }
            if audit.rows.is_multiple_of(TELL_EVERY) {
                progress(&format!("{} rows", audit.rows));
            }
        }
    }
}

/// A sweep may have removed it since it was listed; what is no media's is taken as listed.
async fn is_there(key: Option<MediaId>, vault: &dyn Vault) -> Result<bool, Failure> {
    match key {
        Some(key) => Ok(vault.stat(key).await.map_err(away)?.is_some()),
        None => Ok(true),
    }
}

/// By its row as it is now, and by the plan of its device.
async fn has_ended(key: MediaId, records: &impl Records) -> Result<bool, Failure> {
    let now = SystemClock.now();
    let record = records.of(&[key]).await.map_err(Failure::Failed)?;
    Ok(match record.first() {
        Some(Record::Until { ends, .. }) => *ends <= now,
        Some(Record::Absent | Record::Unknown) | None => true,
    })
}

fn away(e: VaultError) -> Failure {
    Failure::Failed(e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use porchlight_domain::{ContentHash, ContentType, DeviceId, EventId, HouseholdId, Media, MediaKind};
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000_000);
    const GRACE_MS: i64 = 1_000;

    fn object(n: u128, age_ms: i64) -> Object {
        let key = MediaId(Uuid::from_u128(n));
        Object { name: format!("object {n}"), media: Some(key), put_at: NOW.plus_ms(-age_ms), bytes: 1 }
    }

    fn until(ms: i64) -> Record {
        Record::Until { ends: NOW.plus_ms(ms), shortened: false }
    }

    fn row(n: u128, ends_in_ms: i64) -> MediaRow {
        let media = Media {
            id: MediaId(Uuid::from_u128(n)),
            device: DeviceId(Uuid::from_u128(1)),
            event: EventId(Uuid::nil()),
            household: HouseholdId(Uuid::nil()),
            kind: MediaKind::Clip,
            content_type: ContentType::Mp4,
            bytes: 1,
            sha256: ContentHash([0; 32]),
            retention_days: 30,
            received_at: NOW,
        };
        MediaRow { media, ends: NOW.plus_ms(ends_in_ms) }
    }

    #[test]
    fn what_agrees_is_no_finding_and_a_young_object_without_a_row_is_an_open_upload() {
        let mut audit = Audit::new(GRACE_MS, NOW);
        assert_eq!(audit.object(&object(1, GRACE_MS * 9), until(1)), Compared::Agrees);
        assert_eq!(audit.object(&object(2, GRACE_MS / 2), Record::Absent), Compared::Agrees);
        assert_eq!(audit.row(&row(1, 1)), Compared::Agrees);
        assert_eq!(audit.row(&row(3, -1)), Compared::Agrees, "it has ended, and tells so");
        assert!(audit.is_clean());
        assert!(audit.report().starts_with("2 objects, 2 rows, 1 open uploads\n"), "{}", audit.report());
    }

    #[test]
    fn each_kind_of_disagreement_is_told_apart() {
        let mut audit = Audit::new(GRACE_MS, NOW);
        let alien = Object { media: None, ..object(9, GRACE_MS * 2) };
        for (object, record, reason) in [
            (object(1, GRACE_MS * 2), Record::Absent, Reason::Orphan),
            (alien, Record::Absent, Reason::Orphan),
            (object(2, 0), until(-1), Reason::Ended),
        ] {
            assert_eq!(audit.object(&object, record), Compared::Suspect(reason));
            audit.found(&object.name, reason);
        }
        assert_eq!(audit.row(&row(4, 1)), Compared::Missing);
        audit.without_object.add("row 4");
        assert!(!audit.is_clean());
        assert_eq!(
            audit.report(),
            "3 objects, 1 rows, 0 open uploads\n\
             objects that no row names: 2\n  object 1\n  object 9\n\
             rows whose object is not there: 1\n  row 4\n\
             objects past their end: 1\n  object 2\n"
        );
    }

    #[test]
    fn only_the_first_few_are_told_by_their_keys() {
        let mut audit = Audit::new(GRACE_MS, NOW);
        (0..25).for_each(|n| audit.found(&n.to_string(), Reason::Ended));
        let report = audit.report();
        assert!(report.contains("past their end: 25\n") && report.ends_with("  19\n  and 5 more\n"), "{report}");
    }
}
