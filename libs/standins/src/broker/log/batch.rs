//! What stands at the head of a batch of records, as it is sent and as it is kept (Kafka's format 2): big-endian numbers
//! at fixed places, <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use tansu_sans_io::record::deflated::Batch;

/// How long a head is, bytes.
pub(super) const HEAD: usize = 61;
/// How much of it is not counted in the length that stands in it.
const BEFORE_LENGTH: usize = 12;
/// Where that begins over which the checksum is.
const CHECKED_FROM: usize = 21;

/// The head of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// The offset of its first record, and of its last. In a compacted topic neither need be there any more.
    pub(super) first: i64,
    pub(super) last: i64,
    /// All of it, bytes.
    pub(super) length: usize,
    /// The time of its youngest record, ms since the Unix epoch.
    pub(super) newest_ms: i64,
    /// Below 0: it is none of an idempotent producer.
    pub(super) producer: i64,
    pub(super) epoch: i16,
    /// The number that the producer gave to the first record.
    pub(super) sequence: i32,
    checksum: u32,
}

impl Head {
    /// Of bytes that begin with a head; `None`: they do not.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let i32_at = |at: usize| Some(i32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let i64_at = |at: usize| Some(i64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let (first, more) = (i64_at(0)?, i64::from(i32_at(23)?));
        let length = usize::try_from(i32_at(8)?).ok()? + BEFORE_LENGTH;
        (first >= 0 && more >= 0 && length >= HEAD && head[16] == 2).then_some(Self {
            first,
            last: first.checked_add(more)?,
            length,
            newest_ms: i64_at(35)?,
            producer: i64_at(43)?,
            epoch: i16::from_be_bytes(head.get(51..53)?.try_into().ok()?),
            sequence: i32_at(53)?,
            checksum: u32::from_be_bytes(head.get(17..21)?.try_into().ok()?),
        })
    }

    /// Whether these bytes are all of the batch, as it was sent.
    pub(super) fn is_whole(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.length
            && crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[CHECKED_FROM..]) == u64::from(self.checksum)
    }

    /// The number that the producer gave to the last record; after the highest comes 0.
    pub(super) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.sequence) + (self.last - self.first);
        i32::try_from(last % (i64::from(i32::MAX) + 1)).unwrap_or_default()
    }
}

/// A batch as it stands in the log from an offset on. Its checksum leaves the offset out.
pub(super) fn placed(mut batch: Batch, first: i64) -> Bytes {
    (batch.base_offset, batch.partition_leader_epoch) = (first, 0);
    batch.into()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use tansu_sans_io::record::{Record, inflated};

    use super::*;

    /// A batch of one record for each (key, value, ms), of a producer (`(-1, -1, -1)`: of none).
    pub(in super::super) fn batch(records: &[(&str, &str, i64)], (id, epoch, sequence): (i64, i16, i32)) -> Batch {
        let base = records[0].2;
        let mut made = inflated::Batch::builder().attributes(0).base_timestamp(base);
        for (n, (key, value, ms)) in (0..).zip(records) {
            let bytes = |text: &str| (!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()));
            let record = Record::builder().key(bytes(key)).value(bytes(value));
            made = made.record(record.offset_delta(n).timestamp_delta(ms - base));
        }
        let newest = records.iter().map(|record| record.2).max().unwrap();
        let last = i32::try_from(records.len()).unwrap() - 1;
        let made = made.last_offset_delta(last).max_timestamp(newest);
        let made = made.producer_id(id).producer_epoch(epoch).base_sequence(sequence);
        Batch::try_from(made.build().unwrap()).unwrap()
    }

    #[test]
    fn a_head_is_read_where_it_stands_and_a_batch_is_whole_or_not() {
        let bytes = placed(batch(&[("a", "1", 5), ("b", "2", 9)], (7, 1, 3)), 40);
        let head = Head::read(&bytes).unwrap();
        assert_eq!((head.first, head.last, head.length, head.newest_ms), (40, 41, bytes.len(), 9));
        assert_eq!((head.producer, head.epoch, head.sequence, head.last_sequence()), (7, 1, 3, 4));
        assert!(head.is_whole(&bytes));
        assert!(!head.is_whole(&bytes[..bytes.len() - 1]), "cut off");
        let mut turned = bytes.to_vec();
        turned[70] ^= 1;
        assert!(!head.is_whole(&turned), "one bit");
        assert_eq!(Head::read(&bytes[..HEAD - 1]), None);
        assert_eq!(Head::read(&[0; 100]), None, "zeros are no batch");
    }

    #[test]
    fn after_the_highest_number_of_a_producer_comes_zero() {
        let head = Head::read(&placed(batch(&[("a", "1", 5), ("b", "2", 9)], (7, 1, i32::MAX)), 40)).unwrap();
        assert_eq!(head.last_sequence(), 0);
    }
}
