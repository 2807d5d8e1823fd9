//! Clips and thumbnails: a device asks for an upload (`grant`), puts the bytes straight into the store of objects, and
//! says that it did (`complete`). No byte of them passes here, and nothing is kept here: the grant goes with the device.
//!
//! `refusal` says what a device is told instead, `completed` remembers what was completed lately, `probe` watches the
//! store of objects.

mod complete;
pub(crate) mod completed;
mod grant;
mod probe;
mod refusal;

pub(crate) use complete::{__path_complete_upload, complete_upload};
pub(crate) use grant::{__path_grant_upload, grant_upload};
pub(crate) use probe::watch;
