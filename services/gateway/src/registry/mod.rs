//! The registry write: one mechanism for devices, neighborhoods and homes, whose rows must reach a topic or a copy.
//!
//! Intent → conditional write of the row → projection of the row *as read again*, serially → read again; newer? project
//! again → answer. The row is the truth and the projection is a feed of it. Reading again matters because compaction
//! keeps the last offset, not the highest version: whoever wrote last must also have published last. If this process
//! dies in between, the intent lets any gateway's [`Sweeper`] project the row: doing that again is always harmless.

mod decide;
mod publish;
mod reconcile;
mod row;
mod sweep;
mod sweeper;

use std::{sync::Arc, time::Instant};

use porchlight_bus::ProduceError;
use porchlight_domain::{Clock, Version};
use porchlight_store::{Intent, IntentKind, Read, Registry, StoreError, Written};

pub use decide::{Settled, settle};
pub use publish::Publish;
pub use reconcile::Fed;
pub use row::Row;
pub use sweep::{Due, Sweep};
pub use sweeper::Sweeper;

use crate::{Error, metrics};

/// How often one write may be tried over, or projected again, while others write the same row.
const ROUNDS: usize = 8;

/// Why a registry write is not known to be done.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another version stands there.
    #[error("another version stands there")]
    Conflict,
    /// Others write the same row without end.
    #[error("others write the same row")]
    Contended,
    /// The row may stand, but no delivery report says that it was published. The sweeper finishes it.
    #[error("not published: {0}")]
    Unpublished(ProduceError),
    /// The broker will never take the record.
    #[error("the broker refuses the record: {0}")]
    Refused(String),
    /// The store did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ProduceError> for WriteError {
    fn from(e: ProduceError) -> Self {
        match e {
            ProduceError::QueueFull | ProduceError::TimedOut | ProduceError::Unavailable(_) => Self::Unpublished(e),
            ProduceError::Refused(why) => Self::Refused(why),
        }
    }
}

/// What is to become of a row.
pub enum Change<R> {
    /// It becomes this; the version is set by the mechanism.
    Write(R),
    /// It is as it should be; its projection is made sure of.
    Keep,
}

/// A row after [`Registrar::update`].
pub struct Updated<R> {
    /// As it was written (or kept).
    pub row: R,
    /// Whether there was none before, or only a deleted one.
    pub created: bool,
}

/// Writes rows of the registry. Cheap to clone.
#[derive(Clone)]
pub struct Registrar {
    registry: Arc<dyn Registry>,
    publisher: Arc<dyn Publish>,
    clock: Arc<dyn Clock>,
}

impl Registrar {
    /// Over these.
    pub fn new(registry: Arc<dyn Registry>, publisher: Arc<dyn Publish>, clock: Arc<dyn Clock>) -> Self {
        Self { registry, publisher, clock }
    }

    /// Reads the row, lets `decide` say what becomes of it, and writes that; all over again if another writer came in
    /// between. `decide` is given the living row (a deleted one is none) and judges preconditions itself, so that a
    /// conditional request loses against whoever came first. After `Ok` the row is projected.
    ///
    /// # Errors
    /// What `decide` refuses with, and [`WriteError`].
    pub async fn update<R: Row>(
        &self,
        id: R::Id,
        decide: impl Fn(Option<&R>) -> Result<Change<R>, Error>,
    ) -> Result<Updated<R>, Error> {
        for _ in 0..ROUNDS {
            let stored = R::read(&*self.registry, id, Read::Serial).await?;
            let living = stored.as_ref().filter(|row| !row.deleted());
            let created = living.is_none();
            let decided = decide(living);
            if matches!(decided, Err(Error::NotFound)) && stored.is_some() {
                // It is gone, and its writer may have died before anybody else heard of that: whoever deletes again,
                // because no answer came, relies on being told so.
                self.project::<R>(id, Vec::new()).await?;
            }
            match (decided?, &stored) {
                (Change::Keep, _) => {
                    self.project::<R>(id, Vec::new()).await?;
                    let row = stored.filter(|row| !row.deleted()).ok_or(Error::NotFound)?;
                    return Ok(Updated { row, created });
                }
                (Change::Write(row), stored) => match self.write(row, stored.as_ref()).await {
                    Ok(row) => return Ok(Updated { row, created }),
                    Err(WriteError::Conflict) => {}
                    Err(e) => return Err(e.into()),
                },
            }
        }
        Err(WriteError::Contended.into())
    }

    /// Writes `row` over `stored`.
    async fn write<R: Row>(&self, row: R, stored: Option<&R>) -> Result<R, WriteError> {
        let begun = Instant::now();
        let done = self.write_uncounted(row, stored).await;
        let outcome = match &done {
            Ok(_) => "done",
            Err(WriteError::Conflict) => "conflict",
            Err(WriteError::Unpublished(_) | WriteError::Contended) => "unpublished",
            Err(WriteError::Refused(_) | WriteError::Store(_)) => "failed",
        };
        metrics::write(R::KIND, outcome);
        if done.is_ok() {
            metrics::write_took(begun.elapsed());
        }
        done
    }

    async fn write_uncounted<R: Row>(&self, row: R, stored: Option<&R>) -> Result<R, WriteError> {
        let now = self.clock.now();
        let expected = stored.map(Row::version);
        let row = row.stamped(expected.map_or(Version(1), Version::next), now);
        self.registry.intend(Intent { kind: R::intent(row.id()), at: now }).await?;
        match row.put(&*self.registry, expected).await {
            Ok(Written::Applied) => {}
            Ok(Written::Conflict) => return Err(WriteError::Conflict),
            Err(StoreError::Unknown(why)) => {
                // A serial read finishes or cancels what is in flight: after it the answer is final.
                match settle(&row, R::read(&*self.registry, row.id(), Read::Serial).await?.as_ref()) {
                    Settled::Applied => {}
                    Settled::NotApplied => return Err(StoreError::Unavailable(why).into()),
                    Settled::Overtaken => return Err(WriteError::Conflict),
                }
            }
            Err(e @ (StoreError::Unavailable(_) | StoreError::Corrupt { .. } | StoreError::Refused(_))) => {
                return Err(e.into());
            }
        }
        self.project::<R>(row.id(), stored.cloned().into_iter().chain([row.clone()]).collect()).await?;
        Ok(row)
    }

    /// Projects the row as it is now, until it stands still. `trail`: earlier rows that the caller knows of, so that
    /// what they left behind is cleared. The version that was projected last; `None` if there is no row.
    async fn project<R: Row>(&self, id: R::Id, mut trail: Vec<R>) -> Result<Option<Version>, WriteError> {
        let Some(mut row) = R::read(&*self.registry, id, Read::Serial).await? else { return Ok(None) };
        for _ in 0..ROUNDS {
            row.project(&trail, self).await?;
            match R::read(&*self.registry, id, Read::Serial).await? {
                Some(again) if again.version() > row.version() => trail.push(std::mem::replace(&mut row, again)),
                Some(_) | None => return Ok(Some(row.version())),
            }
        }
        Err(WriteError::Contended)
    }

    /// Projects what an intent is about, unless the row is still at `done`. The version it stands at.
    async fn sweep(&self, kind: IntentKind, done: Option<Version>) -> Result<Option<Version>, WriteError> {
        use porchlight_domain::{Device, Home};
        use porchlight_wire::NeighborhoodRecord;
        match kind {
            IntentKind::Device(id) => self.sweep_row::<Device>(id, done).await,
            IntentKind::Neighborhood(id) => self.sweep_row::<NeighborhoodRecord>(id, done).await,
            IntentKind::Home(id) => self.sweep_row::<Home>(id, done).await,
        }
    }

    async fn sweep_row<R: Row>(&self, id: R::Id, done: Option<Version>) -> Result<Option<Version>, WriteError> {
        let version = R::read(&*self.registry, id, Read::Serial).await?.map(|row| row.version());
        if version.is_none() || version == done {
            return Ok(version);
        }
        metrics::swept(R::KIND);
        self.project::<R>(id, Vec::new()).await
    }
}
