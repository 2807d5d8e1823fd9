//! Stage `plan`: who may hear of an alert, as push tasks. What it plans is a superset; the gate decides again at sending.
//!
//! Planning twice is planning once: every push is known by (alert, revision, endpoint), and the ledger drops repeats.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use porchlight_bus::{Handler, Outcome, ProduceError, Producer, Record, Topic};
use porchlight_domain::{Alert, AlertId, Cell, Clock, Gate, Lane, PushTask, Residence};
use porchlight_neighborhoods::Snapshot;
use porchlight_store::{PlacedHome, Registry};
use porchlight_wire::Wire as _;

use crate::{
    metrics::{self, Stage},
    polygons::Polygons,
    wait::{Failures, Wait},
};

pub mod chunks;

use chunks::Chunks;

/// How many homes are read at once from a cell.
pub const PAGE: usize = 500;
/// How many cells are read ahead.
const CELLS_AHEAD: usize = 8;
/// How many tasks of one alert are on their way into the log at once.
const TASKS_IN_FLIGHT: usize = 16;

/// Where push tasks go.
pub trait PushLog: Send + Sync + 'static {
    /// Puts a task into the log, under its bucket; `Ok` only once it is there for good.
    fn put(&self, task: PushTask) -> impl Future<Output = Result<(), ProduceError>> + Send;
}

impl PushLog for Producer {
    async fn put(&self, task: PushTask) -> Result<(), ProduceError> {
        self.send(Topic::Pushes, Some(&[task.bucket]), &task.encode(), &[]).await?;
        Ok(())
    }
}

/// Handles the records of `alerts`.
pub struct Planner<P> {
    registry: Arc<dyn Registry>,
    polygons: Arc<Polygons>,
    pushes: P,
    clock: Arc<dyn Clock>,
    failures: Failures,
    half_planned: HalfPlanned,
}

/// How many people were planned.
#[derive(Clone, Copy, Debug)]
struct Planned {
    household: u64,
    neighbors: u64,
}

impl<P: PushLog> Planner<P> {
    /// `pushes` takes the tasks.
    pub fn new(registry: Arc<dyn Registry>, polygons: Arc<Polygons>, pushes: P, clock: Arc<dyn Clock>) -> Self {
        metrics::register();
        Self { registry, polygons, pushes, clock, failures: Failures::default(), half_planned: HalfPlanned::default() }
    }

    async fn plan(&self, alert: &Alert) -> Result<Planned, Wait> {
        let mut tasks = Tasks { log: &self.pushes, in_flight: FuturesUnordered::new() };
        // The household first: its own news waits for nobody. When the neighbors had to wait, it comes here once more.
        let household = match self.half_planned.count(alert) {
            Some(count) => count,
            None => self.plan_household(alert, &mut tasks).await?,
        };
        self.half_planned.keep(alert, household);

        let mut neighbors = Chunks::new(alert.clone(), Lane::Neighborhood);
        if !alert.neighborhoods.is_empty() {
            self.plan_neighbors(alert, &mut neighbors, &mut tasks).await?;
        }
        let planned = Planned { household, neighbors: neighbors.count() };
        tasks.put_all(neighbors.rest()).await?;
        tasks.landed().await?;
        self.half_planned.forget(alert);
        Ok(planned)
    }

    async fn plan_household(&self, alert: &Alert, tasks: &mut Tasks<'_, P>) -> Result<u64, Wait> {
        let mut household = Chunks::new(alert.clone(), alert.lane);
        for resident in self.registry.household(alert.household).await?.residents {
            tasks.put_some(household.add(resident, None)).await?;
        }
        let count = household.count();
        tasks.put_all(household.rest()).await?;
        tasks.landed().await?;
        Ok(count)
    }

    async fn plan_neighbors(&self, alert: &Alert, into: &mut Chunks, tasks: &mut Tasks<'_, P>) -> Result<(), Wait> {
        let polygons = self.polygons.deciding(&alert.neighborhoods).await?;
        // A home must lie in the current polygon too, so its cells are enough. Overlapping neighborhoods share cells:
        // each is read once.
        let cells: BTreeSet<Cell> = alert.neighborhoods.iter().flat_map(|n| polygons.cells(n.id)).collect();
        let mut pages = stream::iter(cells)
            .map(|cell| async move { Ok::<_, Wait>((cell, self.registry.homes_in(cell, None, PAGE).await?)) })
            .buffered(CELLS_AHEAD);
        while let Some((cell, mut page)) = pages.try_next().await? {
            loop {
                for home in &page {
                    if lives_there(&polygons, home, alert)? {
                        for &resident in &home.residents {
                            tasks.put_some(into.add(resident, Some(home.home))).await?;
                        }
                    }
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => {
                        page = self.registry.homes_in(cell, Some(last.home), PAGE).await?;
                    }
                    Some(_) | None => break,
                }
            }
        }
        Ok(())
    }
}

/// The household is told as such, and never as a neighbor of itself.
fn lives_there(polygons: &Snapshot, home: &PlacedHome, alert: &Alert) -> Result<bool, Wait> {
    if home.household == alert.household {
        return Ok(false);
    }
    let residence = Residence { home: home.home, point: home.point, verified: home.verified };
    // Undecided: a polygon was edited between the fetch of its versions and here.
    Gate(polygons).lives_in(&residence, &alert.neighborhoods).map_err(|e| Wait::polygon(e.to_string()))
}

/// The alerts whose household is planned and whose neighbors wait, with the number of the household's people: a polygon
/// that is long in coming does not plan the household again five times a second. It may forget; the ledger does not.
#[derive(Default)]
struct HalfPlanned(Mutex<HashMap<(AlertId, u32), u64>>);

impl HalfPlanned {
    /// The most that are kept; more are only left behind by partitions that went to another planner.
    const MOST: usize = 10_000;

    fn count(&self, alert: &Alert) -> Option<u64> {
        self.lock().get(&(alert.id, alert.revision)).copied()
    }

    fn keep(&self, alert: &Alert, household: u64) {
        let mut kept = self.lock();
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert((alert.id, alert.revision), household);
    }

    fn forget(&self, alert: &Alert) {
        self.lock().remove(&(alert.id, alert.revision));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AlertId, u32), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tasks on their way into the log: some side by side, all awaited.
struct Tasks<'a, P> {
    log: &'a P,
    in_flight: FuturesUnordered<BoxFuture<'a, Result<(), ProduceError>>>,
}

impl<P: PushLog> Tasks<'_, P> {
    async fn put_some(&mut self, task: Option<PushTask>) -> Result<(), Wait> {
        let Some(task) = task else { return Ok(()) };
        if self.in_flight.len() >= TASKS_IN_FLIGHT {
            self.in_flight.next().await.transpose()?;
        }
        self.in_flight.push(Box::pin(self.log.put(task)));
        Ok(())
    }

    async fn put_all(&mut self, tasks: impl Iterator<Item = PushTask>) -> Result<(), Wait> {
        for task in tasks {
            self.put_some(Some(task)).await?;
        }
        Ok(())
    }

    async fn landed(&mut self) -> Result<(), Wait> {
        while self.in_flight.next().await.transpose()?.is_some() {}
        Ok(())
    }
}

impl<P: PushLog> Handler for Planner<P> {
    async fn handle(&self, record: Arc<Record>) -> Outcome {
        let alert = match Alert::decode(&record.value) {
            Ok(alert) => alert,
            Err(error) => {
                metrics::unreadable(Stage::Plan);
                return Outcome::Fatal { reason: error.to_string() };
            }
        };
        // For open streams only: it becomes no task, so no sender ever meets one.
        if alert.stream_only {
            metrics::alert_for_streams();
            return Outcome::Done;
        }
        if self.clock.now() > alert.expires_at {
            metrics::alert_expired();
            return Outcome::Done;
        }
        match self.plan(&alert).await {
            Ok(planned) => {
                self.failures.none();
                metrics::alert_planned(self.clock.now().since(alert.created_at));
                metrics::recipients(alert.lane, planned.household);
                metrics::recipients(Lane::Neighborhood, planned.neighbors);
                tracing::info!(
                    event_id = %alert.event,
                    alert_id = %alert.id,
                    item_id = %alert.item,
                    revision = alert.revision,
                    lane = alert.lane.as_str(),
                    household = planned.household,
                    neighbors = planned.neighbors,
                    "alert planned"
                );
                Outcome::Done
            }
            Err(wait) => {
                metrics::waited(Stage::Plan, wait.what);
                Outcome::Retry { after: self.failures.another(&wait), reason: wait.reason }
            }
        }
    }
}
