//! What residents' phones show: one notification for each tag.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use porchlight_domain::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The most notifications that a phone is remembered to show.
pub(super) const MOST_SHOWN: usize = 20;

/// One notification.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    tag: String,
    /// The newest, as the phone decrypted it.
    payload: Value,
    at: Timestamp,
    /// How many the newest has taken the place of.
    replaced: u32,
}

/// The phones of a city. Who lives there is known from the start, so that nobody else's pushes take up room.
#[derive(Debug)]
pub(super) struct Phones(HashMap<String, Mutex<VecDeque<Shown>>>);

impl Phones {
    pub(super) fn of(subjects: impl Iterator<Item = String>) -> Self {
        Self(subjects.map(|subject| (subject, Mutex::default())).collect())
    }

    pub(super) fn knows(&self, subject: &str) -> bool {
        self.0.contains_key(subject)
    }

    /// A push arrived: it takes the place of the one with its tag, or appears.
    pub(super) fn push(&self, subject: &str, payload: &Value, at_ms: i64) {
        let Some(phone) = self.0.get(subject) else { return };
        let tag = payload["collapse"].as_str().unwrap_or_default().to_owned();
        let mut shown = phone.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = shown.iter().position(|other| other.tag == tag).and_then(|place| shown.remove(place));
        if shown.len() >= MOST_SHOWN {
            shown.pop_front();
        }
        let replaced = earlier.map_or(0, |earlier| earlier.replaced + 1);
        shown.push_back(Shown { tag, payload: payload.clone(), at: Timestamp(at_ms), replaced });
    }

    /// What a phone shows, oldest first; `None`: nobody of that name lives here.
    pub(super) fn shown(&self, subject: &str) -> Option<Vec<Shown>> {
        let shown = self.0.get(subject)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shown.iter().cloned().collect())
    }
}
