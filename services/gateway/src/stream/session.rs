//! One open stream: what was missed, then what comes, each item judged at the moment it is sent.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::Stream;
use porchlight_domain::{Cleared, Home, Residence, Timestamp, Viewer, view::ItemView};
use tokio::time::Instant;

use super::{
    frames::{self, Ending},
    hub::Seat,
    sent::Sent,
    slot::{Known, Note, Waiting},
};
use crate::{App, Error, metrics, owned::living};

/// How far behind its cursor a stream begins: what was appended earlier may have been met later.
pub(super) const OVERLAP_MS: i64 = 60_000;
/// An item that was loaded longer ago is loaded again: it may have been changed while it waited.
const FRESH: Duration = Duration::from_secs(2);
/// If moves were not looked for within this time, the viewer is read at each sending: a move counts within 5 s.
const LOOKED_WITHIN: Duration = Duration::from_secs(4);
/// Even so the viewer is read now and then: a row may be written long after its intent.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// What cannot be judged is tried again after this,
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// this often: skipping it would be a gap.
const TRIES: u32 = 20;

/// One open stream.
pub(super) struct Session {
    app: App,
    seat: Seat,
    /// Frames that go before everything else.
    frames: VecDeque<Bytes>,
    /// What was missed.
    missed: VecDeque<Note>,
    live: bool,
    sent: Sent,
    heartbeat: Duration,
    next_beat: Instant,
    expires_at: Instant,
    done: bool,
}

impl Session {
    /// Begins `OVERLAP_MS` before `from`, and ends when the token does.
    pub(super) fn new(app: App, seat: Seat, from: Timestamp, expires_in: Duration) -> Self {
        let (now, heartbeat) = (Instant::now(), app.stream_heartbeat);
        let mut session = Self {
            app,
            seat,
            frames: VecDeque::from([frames::OPENING]),
            missed: VecDeque::new(),
            live: false,
            sent: Sent::default(),
            heartbeat,
            next_beat: now + heartbeat,
            expires_at: now + expires_in,
            done: false,
        };
        session.catch_up(from);
        session
    }

    /// The body.
    pub(super) fn frames(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        futures::stream::unfold(Box::new(self), |mut session| async move {
            let frame = session.next().await?;
            Some((Ok(frame), session))
        })
    }

    fn catch_up(&mut self, from: Timestamp) {
        let replay = self.seat.replay(from.plus_ms(-OVERLAP_MS));
        if !replay.whole {
            self.frames.push_back(frames::RESYNC);
        }
        let notes = replay.items.into_iter().map(|(item, log_at)| Note { item, log_at, loaded: None });
        self.missed.extend(notes);
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let (closing, expires_at) = (self.seat.closing().clone(), self.expires_at);
        let frame = tokio::select! {
            biased;
            () = closing.cancelled() => Err(Ending::GoingAway),
            () = tokio::time::sleep_until(expires_at) => Err(Ending::TokenExpired),
            frame = self.produce() => frame,
        };
        self.next_beat = Instant::now() + self.heartbeat;
        Some(frame.unwrap_or_else(|ending| {
            self.done = true;
            self.seat.ended = Some(ending);
            self.seat.slot().end(ending);
            ending.frame()
        }))
    }

    /// The next frame, whenever there is one.
    async fn produce(&mut self) -> Result<Bytes, Ending> {
        loop {
            if let Some(ending) = self.seat.slot().ending() {
                return Err(ending);
            }
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            if let Some(note) = self.missed.pop_front() {
                if let Some(frame) = self.frame(&note).await? {
                    return Ok(frame);
                }
                continue;
            }
            // An idle stream holds no memory of what it missed once.
            self.missed = VecDeque::new();
            if !self.live {
                self.live = true;
                return Ok(frames::LIVE);
            }
            match self.seat.slot().next() {
                Some(Waiting::Moved) => self.catch_up(self.app.clock.now()),
                Some(Waiting::Note(note)) => {
                    if let Some(frame) = self.frame(&note).await? {
                        return Ok(frame);
                    }
                }
                None => tokio::select! {
                    () = self.seat.slot().woken() => {}
                    () = tokio::time::sleep_until(self.next_beat) => return Ok(frames::HEARTBEAT),
                },
            }
        }
    }

    /// The frame of an item, if it may be shown and is news here.
    async fn frame(&mut self, note: &Note) -> Result<Option<Bytes>, Ending> {
        for _ in 0..TRIES {
            match self.show(note).await {
                Ok(None) => {
                    metrics::stream_item("not_shown");
                    return Ok(None);
                }
                Ok(Some(view)) if !self.sent.is_news(view.id(), view.revision()) => {
                    metrics::stream_item("repeated");
                    return Ok(None);
                }
                Ok(Some(view)) => {
                    let frame = frames::item(&view, note.log_at).map_err(|error| {
                        tracing::error!(%error, "an item has no JSON form");
                        Ending::GoingAway
                    })?;
                    self.sent.note(view.id(), view.revision());
                    metrics::stream_item("sent");
                    return Ok(Some(frame));
                }
                Err(error) => tracing::debug!(%error, "an item of a stream cannot be judged now"),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Err(Ending::GoingAway)
    }

    /// The item as this person may see it now.
    async fn show(&self, note: &Note) -> Result<Option<Cleared<ItemView>>, Error> {
        let item = match &note.loaded {
            Some(loaded) if loaded.at.elapsed() <= FRESH => loaded.item.clone(),
            Some(_) | None => self.app.store.timeline.item(note.item).await?.map(Arc::new),
        };
        let Some(item) = item else { return Ok(None) };
        let known = self.known().await?;
        self.app.guard.show(&known.viewer, Some(&item)).await
    }

    /// The viewer as now.
    async fn known(&self) -> Result<Arc<Known>, Error> {
        let known = self.seat.slot().known();
        let young = known.read_at.elapsed();
        if young <= LOOKED_WITHIN || (young <= READ_WITHIN && self.seat.looked_within(LOOKED_WITHIN)) {
            return Ok(known);
        }
        let read_at = Instant::now();
        let homes: Vec<Home> = living(&*self.app.store.registry, known.viewer.household).await?;
        let residences = homes.iter().map(Residence::from).collect();
        self.seat.learn(&Viewer { residences, ..known.viewer.clone() }, read_at);
        Ok(self.seat.slot().known())
    }
}
