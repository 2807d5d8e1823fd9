#![allow(clippy::unwrap_used)]

use porchlight_domain::Device;
use porchlight_wire::Wire as _;
use proptest::prelude::*;

use super::{super::tests::device, *};
use crate::{Topic, consumer::Lease};

const NOW_MS: u64 = 1_700_000_000_000;
const MINUTE_MS: u64 = 60_000;

fn log(ends: &[i64]) -> Log {
    Log { topic: "t-devices.v1".into(), cluster: "cluster".into(), ends: ends.to_vec() }
}

/// A record of a device, or its tombstone.
fn record(offset: usize, key: u128, version: Option<u64>) -> Record {
    Record {
        topic: Topic::Devices,
        partition: 0,
        offset: i64::try_from(offset).unwrap(),
        key: Some(device(key, 0).id.0.as_bytes().to_vec()),
        value: version.map(|version| device(key, version).encode()).unwrap_or_default(),
        headers: Vec::new(),
        timestamp_ms: 7,
        lease: Lease::default(),
    }
}

fn apply(entries: &Entries<Device>, record: &Record) {
    match Device::decode(&record.value) {
        Ok(value) if !record.value.is_empty() => {
            entries.put(Kept::read_from(&record.value, value, record.partition));
        }
        _ => entries.remove(&Device::key_of(record.key.as_deref().unwrap()).unwrap()),
    }
}

fn written(log: &Log, marks: &[Option<Mark>], entries: &Entries<Device>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, log, marks, NOW_MS, entries, &CancellationToken::new()).unwrap();
    bytes
}

/// Ten devices in partition 1 of two, the last record of which is number 9.
fn example() -> (Log, Vec<Option<Mark>>, Vec<u8>) {
    let (log, entries) = (log(&[0, 10]), Entries::new());
    for n in 0..10 {
        entries.put(Kept::new(device(n, 1 + u64::try_from(n).unwrap()), 1));
    }
    let marks = vec![None, Some(Mark::of(&record(9, 9, Some(10))))];
    let bytes = written(&log, &marks, &entries);
    (log, marks, bytes)
}

/// All that is kept, in order.
fn contents(entries: &Entries<Device>) -> Vec<(Device, Vec<u8>, i32)> {
    let kept = entries.parts().flatten();
    let mut all: Vec<_> = kept.map(|k| ((*k.value).clone(), k.bytes().into_owned(), k.partition)).collect();
    all.sort_by_key(|(device, ..)| device.id);
    all
}

fn refused(bytes: &[u8], log: &Log, now_ms: u64) -> String {
    read::<Device>(bytes, log, now_ms).err().expect("not to be trusted")
}

#[test]
fn what_was_written_is_read() {
    let (log, marks, bytes) = example();
    let read = read::<Device>(bytes.as_slice(), &log, NOW_MS + 5).unwrap();
    assert_eq!((read.as_of_ms, &read.marks.0), (NOW_MS, &marks));
    assert_eq!(read.marks.starts(), [None, Some(9)]);
    let all = contents(&read.entries);
    assert_eq!((all.len(), all[3].0.clone(), all[3].2), (10, device(3, 4), 1));
}

#[test]
fn each_kind_of_distrust_has_its_reason() {
    let (log, _, bytes) = example();
    let other = |change: fn(&mut Log)| {
        let mut other = log.clone();
        change(&mut other);
        refused(&bytes, &other, NOW_MS)
    };
    assert_eq!(other(|log| log.cluster = "another".into()), "it is of another cluster than another");
    assert_eq!(other(|log| log.topic = "u-devices.v1".into()), "it is of another topic than u-devices.v1");
    assert_eq!(other(|log| log.ends.push(0)), "it is of 2 partitions, and there are 3");
    assert_eq!(other(|log| log.ends[1] = 9), "partition 1 ends at 9, and it was read up to record 9");
    assert!(read::<Device>(bytes.as_slice(), &log, NOW_MS + MAX_AGE_MS).is_ok());
    assert_eq!(refused(&bytes, &log, NOW_MS + MAX_AGE_MS + 1), "it is 720 min old");
    assert_eq!(refused(&bytes, &log, NOW_MS - 1), "it is of the future: the clock was set back");
    let mut later = bytes.clone();
    later[8] = 2;
    assert_eq!(refused(&later, &log, NOW_MS), "its format is version 2, not 1");
    assert_eq!(refused(b"PORCHTAPxxxx", &log, NOW_MS), "it is no snapshot of a table");
    assert_eq!(refused(&[bytes.as_slice(), b"x"].concat(), &log, NOW_MS), "it is damaged");
    assert_eq!(refused(b"", &log, NOW_MS), "it is damaged");
}

#[test]
fn a_length_that_no_record_has_is_refused_before_it_is_believed() {
    let (log, marks, _) = example();
    let mut bytes = written(&log, &marks, &Entries::new());
    bytes.truncate(bytes.len() - 33);
    bytes.extend([1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(refused(&bytes, &log, NOW_MS), "it is damaged");
}

#[test]
fn writing_ends_when_it_is_told_to() {
    let (log, entries, stop) = (log(&[1]), Entries::new(), CancellationToken::new());
    entries.put(Kept::new(device(1, 1), 0));
    stop.cancel();
    let stopped = write(&mut Vec::new(), &log, &[None], NOW_MS, &entries, &stop);
    assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::Interrupted);
}

#[test]
fn a_mark_is_met_by_its_own_record_only() {
    let marks = || Marks(vec![Some(Mark::of(&record(5, 1, Some(2))))]);
    assert_eq!(marks().met(&record(5, 1, Some(2))), Ok(true));
    let made_again = [record(5, 1, Some(3)), record(5, 2, Some(2)), record(6, 1, Some(2)), record(0, 1, Some(2))];
    for another in made_again.iter().chain([&Record { timestamp_ms: 8, ..record(5, 1, Some(2)) }]) {
        assert!(marks().met(another).unwrap_err().contains("record 5 of partition 0"), "{another:?}");
    }
    assert!(marks().ended(0).is_err(), "it is gone");
    let mut met = marks();
    met.met(&record(5, 1, Some(2))).unwrap();
    assert_eq!((met.met(&record(6, 9, None)), met.ended(0)), (Ok(false), Ok(())));
}

fn whatever_is_in_a_log() -> impl Strategy<Value = Vec<(u128, Option<u64>)>> {
    prop::collection::vec((0..4u128, prop::option::weighted(0.8, 1..5u64)), 1..60)
}

proptest! {
    /// The marks stand at one record, the entries are copied at a later one, and yet whoever resumes has what a reader
    /// of everything has: tombstones, lower and repeated versions and all.
    #[test]
    fn a_fuzzy_snapshot_and_the_rest_of_the_log_make_the_whole(
        records in whatever_is_in_a_log(),
        marked in any::<prop::sample::Index>(),
        copied in any::<prop::sample::Index>(),
    ) {
        let records: Vec<Record> =
            records.into_iter().enumerate().map(|(offset, (key, version))| record(offset, key, version)).collect();
        let marked = marked.index(records.len());
        let copied = marked + copied.index(records.len() - marked);
        let (whole, at_copy) = (Entries::new(), Entries::new());
        records.iter().for_each(|record| apply(&whole, record));
        records[..=copied].iter().for_each(|record| apply(&at_copy, record));
        let log = log(&[i64::try_from(records.len()).unwrap()]);
        let bytes = written(&log, &[Some(Mark::of(&records[marked]))], &at_copy);

        let mut resumed = read::<Device>(bytes.as_slice(), &log, NOW_MS + MINUTE_MS).unwrap();
        let start = usize::try_from(resumed.marks.starts()[0].unwrap()).unwrap();
        for (n, record) in records[start..].iter().enumerate() {
            prop_assert_eq!(resumed.marks.met(record), Ok(n == 0));
            apply(&resumed.entries, record);
        }
        prop_assert_eq!(contents(&resumed.entries), contents(&whole));
    }

    /// Whatever stands in the file costs a full load and no more.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), magic in any::<bool>()) {
        let (log, marks, _) = example();
        let head = written(&log, &marks, &Entries::new());
        // With a true head, the arbitrary part is read as entries.
        let bytes = if magic { [&head[..head.len() - 33], &bytes].concat() } else { bytes };
        prop_assert!(read::<Device>(bytes.as_slice(), &log, NOW_MS).is_err());
    }

    /// One wrong bit, or a missing end, anywhere.
    #[test]
    fn a_damaged_snapshot_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8, torn in any::<bool>()) {
        let (log, _, mut bytes) = example();
        let at = at.index(bytes.len());
        match torn {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << bit,
        }
        prop_assert!(read::<Device>(bytes.as_slice(), &log, NOW_MS + MINUTE_MS).is_err());
    }
}
