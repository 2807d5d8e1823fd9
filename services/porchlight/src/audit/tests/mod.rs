//! Whatever single record or row is taken away: the verdict turns, and says which.

mod events;
mod people;

use porchlight_domain::{EventId, Timestamp};
use uuid::Uuid;

use super::{
    events::EventRecord,
    pushes::Planned,
    report::{Equation, Wrong},
};

/// Noon of the day that event ids here carry.
const NOON: Timestamp = Timestamp(19_849 * 86_400_000 + 43_200_000);

fn id(kind: u128, n: usize) -> Uuid {
    Uuid::from_u128(kind << 64 | n as u128)
}

fn event_id(n: usize) -> EventId {
    EventId(Uuid::from_u128((u128::from(NOON.0.unsigned_abs()) << 80) | 0x7000_8000_0000_0000_0000 | n as u128))
}

fn told(sum: &Equation, wrong: Wrong) -> String {
    sum.wrong.get(&wrong).map(|wrongs| wrongs.examples.join("\n")).unwrap_or_default()
}

#[test]
fn a_record_is_held_in_40_bytes_and_a_person_in_64() {
    assert!(size_of::<EventRecord>() <= 40);
    assert!(size_of::<Planned>() <= 64);
}
