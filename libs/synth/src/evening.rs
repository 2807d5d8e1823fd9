//! What cameras see: an endless evening, event by event.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use uuid::Uuid;

/// One camera sees something.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Which camera, counted over the whole city.
    pub camera: usize,
    /// The event's id, UUIDv7.
    pub id: Uuid,
    /// `motion` or `ding`.
    pub kind: &'static str,
    /// What was recognized.
    pub labels: Vec<&'static str>,
    /// Somebody known.
    pub familiar: bool,
    /// How long ago it happened when it is sent, ms: now and then a camera was offline and sends what it kept.
    pub age_ms: i64,
}

/// The evenings of `cameras` cameras.
#[derive(Debug)]
pub struct Evening {
    rng: StdRng,
    cameras: usize,
}

impl Evening {
    /// The same seed tells the same evening.
    pub fn new(seed: u64, cameras: usize) -> Self {
        Self { rng: StdRng::seed_from_u64(seed ^ 0x0e7e_1119), cameras }
    }

    /// The next sighting; `now_ms` dates its id. `None` in a city without cameras.
    pub fn next(&mut self, now_ms: u64) -> Option<Sighting> {
        if self.cameras == 0 {
            return None;
        }
        let rng = &mut self.rng;
        let ding = rng.random_bool(0.08);
        let labels = match rng.random_range(0..100) {
            0..35 => vec!["person"],
            35..45 => vec!["person", "package"],
            45..65 => vec!["vehicle"],
            65..75 => vec!["animal"],
            75..80 => vec!["package"],
            _ => vec![],
        };
        Some(Sighting {
            camera: rng.random_range(0..self.cameras),
            id: uuid::Builder::from_unix_timestamp_millis(now_ms, &rng.random()).into_uuid(),
            kind: if ding { "ding" } else { "motion" },
            labels,
            familiar: rng.random_bool(0.1),
            age_ms: if rng.random_bool(0.03) {
                rng.random_range(700_000..7_200_000)
            } else {
                rng.random_range(0..1_500)
            },
        })
    }
}

impl Sighting {
    /// The event as the camera sends it. `sent_at_ms`: its clock.
    pub fn body(&self, sent_at_ms: i64, rfc3339: impl Fn(i64) -> String) -> Value {
        let mut event = json!({
            "id": self.id,
            "kind": self.kind,
            "labels": self.labels,
            "occurred_at": rfc3339(sent_at_ms - self.age_ms),
            "sent_at": rfc3339(sent_at_ms),
        });
        if self.familiar {
            event["familiar"] = json!(true);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_evening() {
        let tell = |seed| {
            let mut evening = Evening::new(seed, 5);
            (0..20).filter_map(|n| evening.next(1_000 + n)).map(|s| format!("{s:?}")).collect::<Vec<_>>()
        };
        assert_eq!(tell(7), tell(7));
        assert_ne!(tell(7), tell(8));
        assert!(Evening::new(7, 0).next(0).is_none());
    }
}
