//! What Porchlight decides, and nothing else: identity, events, sharing policies, grouping, alerts and the isolation
//! gate. No I/O, no async, no client library; everything here is a value or a pure function of values.
//!
//! A reader who wants to know *why* a person may see a thing reads [`gate`]; *what an event is* reads [`event`];
//! *which alert it becomes* reads [`item`].

pub mod alert;
pub mod device;
pub mod event;
pub mod gate;
pub mod home;
pub mod ids;
pub mod item;
pub mod media;
pub mod neighborhood;
pub mod place;
pub mod time;
pub mod view;

pub use alert::{Alert, Hint, Lane, PushTask, Recipient};
pub use device::{Credential, Device, Plan, Secret, SharingPolicy};
pub use event::{Digest, Event, EventError, Kind, Label, Labels, Logged, Stamped};
pub use gate::{Audience, Borders, Cleared, Gate, Residence, Undecided, Viewer};
pub use home::{Endpoint, Home, Resident, Transport};
pub use ids::*;
pub use item::{Item, Outcome};
pub use media::{ContentHash, ContentType, Media, MediaKind};
pub use neighborhood::{NeighborhoodRef, Version};
pub use place::{Cell, Point};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
