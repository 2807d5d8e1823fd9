//! Dead letters as an operator meets them: what is there, what is in them, and putting that back onto its topic.
//!
//! A letter is one record that one stage gave up: its [`Origin`]. A crash before the commit buries it again, under another
//! [`LetterName`]; all of its names lead to it. [`Catalog`] makes letters of records; the rest reads and writes.

mod redrive;

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    fmt,
    str::FromStr,
    sync::Arc,
};

use porchlight_domain::Timestamp;
use porchlight_wire::v1::dead_letter::Redriven as RedrivenMessage;
use prost::Message as _;

use crate::{BusError, DeadLetter, From, KafkaConfig, Reader, Record, Topic, client::Names};

pub use redrive::{RedriveError, Redriver};

/// The most records of the topic that a catalog takes in: some 200 bytes each, and each distinct reason once.
const MAX_RECORDS: usize = 1_000_000;
/// How many records are read between two calls of `progress`.
const TELL_EVERY: u64 = 10_000;

/// What a letter is called: the place of its record in the topic of dead letters, written `partition:offset`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LetterName {
    /// Partition.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
}

/// What could not be read as a [`LetterName`].
#[derive(Debug, thiserror::Error)]
#[error("not the name of a dead letter, which is PARTITION:OFFSET, such as 3:41")]
pub struct LetterNameError;

impl FromStr for LetterName {
    type Err = LetterNameError;
    fn from_str(text: &str) -> Result<Self, LetterNameError> {
        let (partition, offset) = text.split_once(':').ok_or(LetterNameError)?;
        let name = Self {
            partition: partition.parse().map_err(|_| LetterNameError)?,
            offset: offset.parse().map_err(|_| LetterNameError)?,
        };
        if name.partition >= 0 && name.offset >= 0 { Ok(name) } else { Err(LetterNameError) }
    }
}

impl fmt::Display for LetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// A record, and the stage that gave it up: what makes two letters the same one. Written `topic/partition/offset`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Origin {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
    /// The consumer.
    pub stage: Arc<str>,
}

impl Origin {
    /// Which topic of this deployment that is; `None` for one that is none of its own.
    pub fn known_topic(&self, config: &KafkaConfig) -> Option<Topic> {
        Names::of(config).topic(&self.topic)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// That a letter was put back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Redriven {
    /// When.
    pub at: Timestamp,
    /// The partition, of the topic it came from, of the record that holds its bytes now.
    pub partition: i32,
    /// The offset of that record.
    pub offset: i64,
}

/// A dead letter without its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its first name.
    pub name: LetterName,
    /// Its further names, ascending.
    pub repeats: Vec<LetterName>,
    /// What it is about.
    pub origin: Origin,
    /// When it was given up first.
    pub failed_at: Timestamp,
    /// Why, one sentence without personal data.
    pub reason: Arc<str>,
    /// The length of the original value.
    pub bytes: usize,
    /// Whether it was put back, and when first.
    pub redriven: Option<Redriven>,
    /// When its first record was written: by this the topic finds it again.
    pub written_at: Timestamp,
}

impl Letter {
    /// Whether this is one of its names.
    pub fn is_called(&self, name: LetterName) -> bool {
        self.name == name || self.repeats.binary_search(&name).is_ok()
    }
}

/// What the topic of dead letters says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Letters {
    /// Each letter once, oldest failure first.
    pub letters: Vec<Letter>,
    /// Records of the topic that are no dead letters at all.
    pub unreadable: u64,
}

/// Takes records of the topic in, in any order, and makes letters of them.
#[derive(Default)]
struct Catalog {
    letters: HashMap<Origin, Letter>,
    redriven: HashMap<Origin, Redriven>,
    /// Stages, topics and reasons repeat: each is held once.
    words: HashSet<Arc<str>>,
    records: usize,
    unreadable: u64,
}

impl Catalog {
    fn note(&mut self, record: &Record) -> Result<(), BusError> {
        self.records += 1;
        if self.records > MAX_RECORDS {
            return Err(BusError::Config(format!("more than {MAX_RECORDS} dead letters: ask for a shorter time")));
        }
        let Ok(message) = DeadLetter::decode(record.value.as_slice()) else {
            self.unreadable += 1;
            return Ok(());
        };
        let origin = Origin {
            topic: self.word(&message.topic),
            partition: message.partition,
            offset: message.offset,
            stage: self.word(&message.stage),
        };
        if let Some(RedrivenMessage { at_ms, partition, offset }) = message.redriven {
            let redriven = Redriven { at: Timestamp(at_ms), partition, offset };
            let first = self.redriven.entry(origin).or_insert(redriven);
            *first = redriven.min(*first);
            return Ok(());
        }
        let letter = Letter {
            name: LetterName { partition: record.partition, offset: record.offset },
            repeats: Vec::new(),
            failed_at: Timestamp(message.failed_at_ms),
            reason: self.word(&message.reason),
            bytes: message.value.len(),
            redriven: None,
            written_at: Timestamp(record.timestamp_ms),
            origin,
        };
        match self.letters.entry(letter.origin.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(letter)),
            Entry::Occupied(mut known) => merge(known.get_mut(), letter),
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        self.words.insert(Arc::clone(&word));
        word
    }

    fn finish(mut self) -> Letters {
        let mut letters: Vec<Letter> = self.letters.into_values().collect();
        for letter in &mut letters {
            letter.redriven = self.redriven.remove(&letter.origin);
            letter.repeats.sort_unstable();
        }
        letters.sort_unstable_by_key(|letter| (letter.failed_at, letter.name));
        Letters { letters, unreadable: self.unreadable }
    }
}

/// The same letter again: the earlier one is the letter, the other one a name of it.
fn merge(known: &mut Letter, mut again: Letter) {
    if (again.failed_at, again.name) < (known.failed_at, known.name) {
        again.repeats = std::mem::take(&mut known.repeats);
        std::mem::swap(known, &mut again);
    }
    known.repeats.push(again.name);
}

/// The letters whose records were written from `from` on, up to now, each once however often it was buried, without their
/// bytes: which records (topic, partition, offset, stage) were given up, why, and whether they were put back. `progress`
/// hears now and then how many records are read.
///
/// # Errors
/// [`BusError::Kafka`] if the topic or the brokers are not there; [`BusError::Config`] if there are too many to hold.
pub async fn letters(config: &KafkaConfig, from: From, mut progress: impl FnMut(u64)) -> Result<Letters, BusError> {
    let mut reader = Reader::open(config, Topic::DeadLetters, from).await?;
    let (mut catalog, mut read) = (Catalog::default(), 0_u64);
    while let Some(record) = reader.next_existing().await? {
        catalog.note(&record)?;
        read += 1;
        if read.is_multiple_of(TELL_EVERY) {
            progress(read);
        }
    }
    Ok(catalog.finish())
}

/// Reads chosen letters once more, now with their bytes: one at a time, those of one key in the order of their burial.
pub struct Contents {
    reader: Reader,
    wanted: BTreeSet<LetterName>,
}

impl Contents {
    /// Of these letters.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn of(config: &KafkaConfig, letters: &[&Letter]) -> Result<Self, BusError> {
        let from = letters.iter().map(|letter| letter.written_at.0).min().map_or(From::End, From::Time);
        let reader = Reader::open(config, Topic::DeadLetters, from).await?;
        Ok(Self { reader, wanted: letters.iter().map(|letter| letter.name).collect() })
    }

    /// The next one, under its first name. `None` when all were there, or are not there any more.
    ///
    /// # Errors
    /// As [`Reader::next_existing`].
    pub async fn next(&mut self) -> Result<Option<(LetterName, DeadLetter)>, BusError> {
        while !self.wanted.is_empty() {
            let Some(record) = self.reader.next_existing().await? else { break };
            let name = LetterName { partition: record.partition, offset: record.offset };
            if self.wanted.remove(&name)
                && let Ok(letter) = DeadLetter::decode(record.value.as_slice())
            {
                return Ok(Some((name, letter)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
