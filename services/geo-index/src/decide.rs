//! What a record of `events` means and what has to be done about it: decisions as values, nothing that waits.
//!
//! **Once.** The log decides which record is the event: the first in offset order under its (device, event id). Before
//! anything else is written, that decision is: which record, which outcome, which revision of which item. Everything
//! after it (item, feeds, alert) follows from the decision and can be done again to the same end. So a process may die
//! after any step: the record comes again, meets its own decision, and finishes it.
//!
//! **Why the stored revision says how far it came.** The records of a device are handled one at a time and in order, so
//! an item that stands beyond the decided revision was moved by a later record, which was begun only after this one was
//! finished. That holds because all that moves an item stands in the one log of its device: media are records of
//! `events` too. In a log of their own, a clip could move an item between an event's decision and its finish, and the
//! event, met again, would take the clip's revision for the proof that it was finished.
//!
//! **Which record links a media.** Of the media's and its event's the later one in the log. A media that comes first
//! leaves its rows, and its event gathers them into the revision that it makes anyway. A media that comes later makes a
//! revision of its own; it needs no decision, for the item that names it is one: at that revision the alert may be
//! missing, beyond it a later record was begun. A record that stands before its event moves nothing, also when it comes
//! again: it could do so just between the event's decision and its finish.

mod event;
#[cfg(test)]
mod examples;
mod media;

pub use event::{Course, DECISION_KEPT_MS, Decided, Work, first_time, once_more, repeated};
pub use media::{MediaCourse, Unlinked, media};

/// Where a record stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPosition {
    /// Partition of `events`.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
}
