//! The hub: what is told, and who listens. It holds no connection; [`super::follow`] feeds it and [`super::moves`] keeps
//! it right about where people live.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use porchlight_chassis::http::Problem;
use porchlight_domain::{Alert, HouseholdId, NeighborhoodId, Residence, ResidentId, Timestamp, Viewer};
use porchlight_neighborhoods::{Neighborhoods, Snapshot};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    frames::Ending,
    ring::{Entry, Replay, Ring},
    routes::{Routes, StreamId},
    slot::{Known, Note, Slot},
};
use crate::{Error, config::GatewayConfig, metrics};

/// The most items that are replayed at once; who missed more reads the feed.
const MAX_REPLAY: usize = 1_000;
/// How long a request waits until what was told lately is known here, after a start.
const WAIT_TO_CATCH_UP: Duration = Duration::from_secs(5);

/// What is told, and who listens. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    max_streams: usize,
    max_per_resident: usize,
    neighborhoods: Neighborhoods,
    closing: CancellationToken,
    state: Mutex<State>,
    /// Whether what was told in the last minutes is in the ring.
    caught_up: watch::Sender<bool>,
    /// When the last look at moves began that went well.
    looked_at: Mutex<Option<Instant>>,
}

/// Ring and routes change under one lock: a stream that is opened finds each alert either in the ring or in its queue.
struct State {
    ring: Ring,
    routes: Routes,
    open: HashMap<StreamId, (ResidentId, Arc<Slot>)>,
    by_resident: HashMap<ResidentId, usize>,
    /// Of routes that were made by neighborhoods as they were before, there are none.
    drawn_by: Arc<Snapshot>,
    next: u64,
}

impl State {
    /// Makes the route of a viewer anew; who looks at more than before is told so.
    fn route(&mut self, id: StreamId, slot: &Slot, viewer: &Viewer, snapshot: &Snapshot) {
        if self.routes.put(id, viewer.household, &around(snapshot, viewer)) {
            slot.moved();
        }
    }
}

/// The neighborhoods that hold the verified homes.
fn around(snapshot: &Snapshot, viewer: &Viewer) -> Vec<NeighborhoodId> {
    let homes = viewer.residences.iter().filter(|residence| residence.verified);
    let mut ids: Vec<_> = homes.flat_map(|residence| snapshot.locate(residence.point)).map(|at| at.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// An open stream's place in the hub; given up when it is dropped.
pub(super) struct Seat {
    hub: Hub,
    id: StreamId,
    slot: Arc<Slot>,
    /// Why the stream ended, if it was told its client.
    pub(super) ended: Option<Ending>,
}

impl Hub {
    /// Nothing told yet, nobody listening. Streams end when `closing` is cancelled.
    pub fn new(config: &GatewayConfig, neighborhoods: Neighborhoods, closing: CancellationToken) -> Self {
        let state = State {
            ring: Ring::new(config.stream_ring_max),
            routes: Routes::default(),
            open: HashMap::new(),
            by_resident: HashMap::new(),
            drawn_by: neighborhoods.snapshot(),
            next: 0,
        };
        Self(Arc::new(Inner {
            max_streams: config.max_streams,
            max_per_resident: config.max_streams_per_resident,
            neighborhoods,
            closing,
            state: Mutex::new(state),
            caught_up: watch::Sender::new(false),
            looked_at: Mutex::new(None),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a stream of this person.
    ///
    /// # Errors
    /// 503 and 429 `too_many_streams`; 503 `stream_catching_up`.
    pub(super) async fn open(&self, known: Known) -> Result<Seat, Error> {
        let mut caught_up = self.0.caught_up.subscribe();
        if tokio::time::timeout(WAIT_TO_CATCH_UP, caught_up.wait_for(|so| *so)).await.is_err() {
            metrics::stream_refused("catching_up");
            let detail = "what was told lately is not known here yet";
            return Err(Problem::new(503, "stream_catching_up", detail).retry_after(1).into());
        }
        let resident = known.viewer.resident;
        let mut state = self.state();
        if state.open.len() >= self.0.max_streams {
            metrics::stream_refused("gateway_full");
            let detail = "this gateway holds as many streams as it may; come again";
            return Err(Problem::new(503, "too_many_streams", detail).retry_after(5).into());
        }
        if state.by_resident.get(&resident).is_some_and(|open| *open >= self.0.max_per_resident) {
            metrics::stream_refused("resident_full");
            let detail = format!("you have {} open streams; close one first", self.0.max_per_resident);
            return Err(Problem::new(429, "too_many_streams", detail).retry_after(5).into());
        }
        let id = StreamId(state.next);
        state.next += 1;
        // Not by those of the last turn: a replay that looks at too little is a gap.
        let around = around(&self.0.neighborhoods.snapshot(), &known.viewer);
        state.routes.put(id, known.viewer.household, &around);
        let slot = Arc::new(Slot::new(known));
        state.open.insert(id, (resident, Arc::clone(&slot)));
        *state.by_resident.entry(resident).or_default() += 1;
        metrics::streams(state.open.len());
        Ok(Seat { hub: self.clone(), id, slot, ended: None })
    }

    fn leave(&self, id: StreamId) {
        let mut state = self.state();
        state.routes.remove(id);
        if let Some((resident, _)) = state.open.remove(&id)
            && let Some(open) = state.by_resident.get_mut(&resident)
        {
            *open -= 1;
            if *open == 0 {
                state.by_resident.remove(&resident);
            }
        }
        metrics::streams(state.open.len());
    }

    /// The log is read from `from` on; `gap`: something before it may never have been met. Who listens may have missed
    /// it, and comes again to be told so.
    pub(super) fn reads_from(&self, from: Timestamp, gap: bool) {
        if gap {
            let mut state = self.state();
            state.ring.begins(from);
            state.open.values().for_each(|(_, slot)| slot.end(Ending::GoingAway));
        }
    }

    /// What was told in the last minutes is in the ring.
    pub(super) fn catches_up(&self) {
        self.0.caught_up.send_if_modified(|so| !std::mem::replace(so, true));
    }

    /// Takes an alert. The streams it concerns; none if it was met before.
    pub(super) fn meet(&self, alert: &Alert, log_at: Timestamp, now: Timestamp) -> Vec<StreamId> {
        let neighborhoods: Box<[NeighborhoodId]> = alert.neighborhoods.iter().map(|at| at.id).collect();
        let entry = Entry {
            item: alert.item,
            revision: alert.revision,
            household: alert.household,
            neighborhoods: neighborhoods.clone(),
            log_at,
        };
        // After a start all of the last minutes comes at once: then the log knows better when it was told.
        let met_at = if *self.0.caught_up.borrow() { now } else { log_at.min(now) };
        let mut state = self.state();
        let news = state.ring.push(entry, met_at);
        metrics::stream_ring(state.ring.len());
        if news { state.routes.concerned(alert.household, &neighborhoods) } else { Vec::new() }
    }

    /// Puts news into the queues of streams. One that does not keep up is closed, and no more is put there.
    pub(super) fn deliver(&self, streams: &[StreamId], note: &Note) {
        let mut state = self.state();
        for id in streams {
            if state.open.get(id).is_some_and(|(_, slot)| !slot.push(note.clone())) {
                state.routes.remove(*id);
            }
        }
    }

    /// Makes the routes anew if neighborhoods were drawn since, and forgets what is kept no longer.
    pub(super) fn tidy(&self, now: Timestamp) {
        let snapshot = self.0.neighborhoods.snapshot();
        let mut state = self.state();
        state.ring.trim(now);
        metrics::stream_ring(state.ring.len());
        if Arc::ptr_eq(&snapshot, &state.drawn_by) {
            return;
        }
        state.drawn_by = Arc::clone(&snapshot);
        let open: Vec<_> = state.open.iter().map(|(id, (_, slot))| (*id, Arc::clone(slot))).collect();
        for (id, slot) in open.into_iter().filter(|(_, slot)| slot.ending().is_none()) {
            state.route(id, &slot, &slot.known().viewer, &snapshot);
        }
    }

    /// The households with open streams.
    pub(super) fn households(&self) -> HashSet<HouseholdId> {
        self.state().routes.households().collect()
    }

    /// Where a household lives, as read at `read_at`.
    pub(super) fn lives_at(&self, household: HouseholdId, residences: &[Residence], read_at: Instant) {
        let snapshot = self.0.neighborhoods.snapshot();
        let mut state = self.state();
        for id in state.routes.of_household(household) {
            let Some((resident, slot)) = state.open.get(&id).map(|(r, slot)| (*r, Arc::clone(slot))) else { continue };
            let viewer = Viewer { resident, household, residences: residences.to_vec() };
            if slot.learn(Known { viewer: viewer.clone(), read_at }) {
                state.route(id, &slot, &viewer, &snapshot);
            }
        }
    }

    /// A look at moves that began then went well.
    pub(super) fn looked(&self, began: Instant) {
        *self.0.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
    }
}

impl Seat {
    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Cancelled when streams are to end.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.hub.0.closing
    }

    /// Whether moves were looked at within this time, and well.
    pub(super) fn looked_within(&self, age: Duration) -> bool {
        let looked_at = *self.hub.0.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.is_some_and(|began| began.elapsed() <= age)
    }

    /// What was told since `from` and may concern this stream.
    pub(super) fn replay(&self, from: Timestamp) -> Replay {
        let state = self.hub.state();
        let route = state.routes.of(self.id);
        route.map_or_else(Replay::default, |(household, around)| state.ring.replay(from, household, around, MAX_REPLAY))
    }

    /// The viewer was read again by the stream itself.
    pub(super) fn learn(&self, viewer: &Viewer, read_at: Instant) {
        if self.slot.learn(Known { viewer: viewer.clone(), read_at }) && self.slot.ending().is_none() {
            let snapshot = self.hub.0.neighborhoods.snapshot();
            self.hub.state().route(self.id, &self.slot, viewer, &snapshot);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(self.id);
        metrics::stream_ended(self.ended.map_or("client_gone", Ending::as_str));
    }
}
