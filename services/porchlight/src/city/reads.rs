//! Looking at pictures: what was stored of late is fetched as its household, a neighbor and a stranger would, and judged.

use std::collections::VecDeque;

use porchlight_domain::{Clock as _, SystemClock, Timestamp};
use rand::{Rng, seq::IteratorRandom as _};
use reqwest::StatusCode;
use uuid::Uuid;

use super::{people::Resident, say, witness::Witness};
use crate::client::sha256_hex;

/// How many pictures are remembered.
const MOST: usize = 1_000;

/// A clip or thumbnail that was stored.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    media: Uuid,
    device: Uuid,
    sha256: String,
    received_at: Timestamp,
}

/// What was stored of late, and how asking for it went.
#[derive(Debug, Default)]
pub(super) struct Album {
    latest: VecDeque<Picture>,
    stored: u64,
    fetched: u64,
    wrong: u64,
}

impl Album {
    pub(super) fn add(&mut self, media: Uuid, device: Uuid, sha256: String, received_at: Timestamp) {
        if self.latest.len() == MOST {
            self.latest.pop_front();
        }
        self.latest.push_back(Picture { media, device, sha256, received_at });
        self.stored += 1;
    }

    /// Stored, fetched, answered wrongly.
    pub(super) fn counts(&self) -> [u64; 3] {
        [self.stored, self.fetched, self.wrong]
    }

    pub(super) fn wrong(&self) -> u64 {
        self.wrong
    }

    /// One that was stored up to `settled`, and at most so long before.
    pub(super) fn choose(&self, settled: Timestamp, within_ms: i64, rng: &mut impl Rng) -> Option<Picture> {
        let known = |p: &&Picture| p.received_at <= settled && settled.since(p.received_at) <= within_ms;
        self.latest.iter().filter(known).choose(rng).cloned()
    }

    /// A resident asks for a picture, fetches it if she may, and both are judged.
    ///
    /// # Errors
    /// No answer came.
    pub(super) async fn fetch(
        &mut self,
        resident: &Resident,
        witness: &Witness,
        picture: &Picture,
    ) -> Result<(), String> {
        let answer = resident.app.media(picture.media).await?;
        if answer.status.is_server_error() {
            // Nothing is known; what cannot be told now is asked for another time.
            return Ok(());
        }
        let now_ms = SystemClock.now().0;
        let shown = answer.status.is_success().then_some(&answer.body);
        let mut wrong = witness.judge_media(&resident.subject, picture.media, shown, now_ms).wrong;
        match shown {
            Some(body) => {
                let bytes = resident.app.fetch(body["url"].as_str().unwrap_or_default()).await;
                if bytes.as_deref().map(sha256_hex).as_ref() != Ok(&picture.sha256) {
                    wrong.push(format!("the media {} is not what was put: {:?}", picture.media, bytes.err()));
                }
                self.fetched += 1;
            }
            None if answer.status != StatusCode::NOT_FOUND => {
                wrong.push(format!("the media {} is answered {}", picture.media, answer.status));
            }
            None => {}
        }
        for sentence in &wrong {
            say(&format!("a wrong media for {}: {sentence}", resident.subject));
        }
        self.wrong += wrong.len() as u64;
        Ok(())
    }
}

/// Its household, a neighbor who may fetch it (if there is one), and somebody who may not.
pub(super) fn audience<'a>(
    residents: &'a [Resident],
    witness: &Witness,
    picture: &Picture,
    rng: &mut impl Rng,
) -> Vec<&'a Resident> {
    let owns = |r: &Resident| r.cameras.iter().any(|camera| camera.device == picture.device);
    let others = || residents.iter().filter(|r| !owns(r));
    let may = |r: &&Resident| witness.may_fetch(&r.subject, picture.media);
    let household = residents.iter().find(|r| owns(r));
    let neighbor = others().filter(may).choose(rng);
    let stranger = others().filter(|r| !may(r)).choose(rng);
    household.into_iter().chain(neighbor).chain(stranger).collect()
}
