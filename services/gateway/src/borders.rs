//! The gate's neighborhoods: held in memory, fed by the topic, and completed from the store when the gate cannot decide.

use std::sync::Arc;

use porchlight_domain::{
    Borders as _, Cleared, Gate, HouseholdId, Item, Media, NeighborhoodRef, Undecided, Viewer,
    view::{ItemView, MediaView},
};
use porchlight_neighborhoods::{Neighborhoods, Snapshot};
use porchlight_store::{Read, Registry};

use crate::{Error, metrics};

/// Whether the neighborhoods in memory can be trusted now; else why not.
pub type Fresh = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How many versions are fetched for one thing before the answer is "come again": more than an item can name.
const MAX_FETCHES: usize = 64;

/// Judges what a person may see.
#[derive(Clone)]
pub struct Guard {
    neighborhoods: Neighborhoods,
    registry: Arc<dyn Registry>,
    fresh: Fresh,
}

impl Guard {
    /// Over these.
    pub fn new(neighborhoods: Neighborhoods, registry: Arc<dyn Registry>, fresh: Fresh) -> Self {
        Self { neighborhoods, registry, fresh }
    }

    /// Refuses to judge by polygons that may be outdated. Asked before a thing is looked for as well as after: a thing
    /// that does not exist must answer as one that may not be seen.
    fn check_fresh(&self, viewer: &Viewer) -> Result<(), Error> {
        if viewer.residences.iter().any(|r| r.verified) { (self.fresh)().map_err(Error::CatchingUp) } else { Ok(()) }
    }

    /// The neighborhoods that hold the verified homes of this person now, by id, each once, with their names.
    ///
    /// # Errors
    /// [`Error::CatchingUp`].
    pub fn neighborhoods_of(&self, viewer: &Viewer) -> Result<Vec<(NeighborhoodRef, String)>, Error> {
        self.check_fresh(viewer)?;
        let snapshot = self.neighborhoods.snapshot();
        let mut of: Vec<NeighborhoodRef> =
            viewer.residences.iter().filter(|r| r.verified).flat_map(|r| snapshot.locate(r.point)).collect();
        of.sort_unstable();
        of.dedup();
        Ok(of.into_iter().map(|at| (at, snapshot.name(at.id).unwrap_or_default().to_owned())).collect())
    }

    /// The item as this person may see it; `None` if it does not exist or is not theirs to see.
    ///
    /// # Errors
    /// [`Error::CatchingUp`], or the store is away.
    pub async fn show(&self, viewer: &Viewer, item: Option<&Item>) -> Result<Option<Cleared<ItemView>>, Error> {
        let ask = |gate: Gate<'_, Snapshot>| item.map_or(Ok(None), |item| gate.show(viewer, item));
        self.judge(viewer, item.map(|item| item.household), ask).await
    }

    /// The media as this person may see it; `None` if it does not exist or is not theirs to see. `item`: what its event
    /// is part of, if that is there.
    ///
    /// # Errors
    /// [`Error::CatchingUp`], or the store is away.
    pub async fn media(
        &self,
        viewer: &Viewer,
        media: Option<&Media>,
        item: Option<&Item>,
    ) -> Result<Option<Cleared<MediaView>>, Error> {
        let ask = |gate: Gate<'_, Snapshot>| media.map_or(Ok(None), |media| gate.media(viewer, media, item));
        self.judge(viewer, media.map(|media| media.household), ask).await
    }

    /// Asks the gate, and brings what it lacks until it can answer. `owner`: whose the thing is; `None`: there is none.
    async fn judge<V>(
        &self,
        viewer: &Viewer,
        owner: Option<HouseholdId>,
        ask: impl Fn(Gate<'_, Snapshot>) -> Result<Option<Cleared<V>>, Undecided>,
    ) -> Result<Option<Cleared<V>>, Error> {
        if owner != Some(viewer.household) {
            self.check_fresh(viewer)?;
        }
        if owner.is_none() {
            return Ok(None);
        }
        for _ in 0..MAX_FETCHES {
            let judged = ask(Gate(&self.neighborhoods.snapshot()));
            match judged {
                Ok(view) => {
                    metrics::gate(if view.is_some() { "shown" } else { "refused" });
                    return Ok(view);
                }
                Err(Undecided(at)) => self.fetch(at).await?,
            }
        }
        metrics::gate("undecided");
        Err(Error::CatchingUp("the gate stays undecided".to_owned()))
    }

    /// Brings the version that the gate lacks. If the topic lags behind the one who matched, the row itself is taken: it
    /// is the truth that the topic only repeats.
    async fn fetch(&self, at: NeighborhoodRef) -> Result<(), Error> {
        let snapshot = self.neighborhoods.snapshot();
        let lags = snapshot.current(at.id).is_some_and(|current| current < at.version);
        if lags || !snapshot.is_known(at.id) {
            let row = self.registry.neighborhood(at.id, Read::Serial).await?;
            if let Some(row) = row.filter(|row| row.version >= at.version) {
                self.neighborhoods.apply(&[Arc::new(row)]);
                return Ok(());
            }
        } else if let Some(row) = self.registry.neighborhood_at(at).await? {
            self.neighborhoods.remember(row);
            return Ok(());
        }
        metrics::gate("undecided");
        Err(Error::CatchingUp(Undecided(at).to_string()))
    }
}
