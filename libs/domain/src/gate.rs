//! The isolation gate (G1): the one place that decides whether a person may see a thing or be told of it.
//!
//! **The rule.** A thing belongs to a household, and its audience may name neighborhoods at the versions that held it.
//! A person of the household may see it. A neighbor may see it if a *verified* home of theirs lies, by its position now,
//! in one of those neighborhoods both as it was matched and as it is now. Everyone else meets what someone meets who
//! asks for a thing that does not exist.
//!
//! **The seal.** [`Cleared`] has no public constructor, and [`crate::Item`], [`crate::Device`], [`crate::Home`] and
//! [`crate::Alert`] do not implement `Serialize`. So a value of another household or neighborhood can leave a service
//! only through a function of this module; `tests/sealed` shows that the compiler refuses the rest.

use serde::Serialize;

use crate::{
    Alert, Device, Hint, Home, HomeId, HouseholdId, Item, Media, NeighborhoodId, NeighborhoodRef, Point, ResidentId,
    Version,
    view::{DeviceView, HomeView, ItemView, MediaView},
};

/// Who may see a thing: a household, and the residents of these neighborhoods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audience {
    /// The household it belongs to.
    pub household: HouseholdId,
    /// Each at the version that held the thing. Empty: the household alone.
    pub neighborhoods: Vec<NeighborhoodRef>,
}

/// A home of the viewer, as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Residence {
    /// Which home.
    pub home: HomeId,
    /// Where it is.
    pub point: Point,
    /// Whether residence there was verified.
    pub verified: bool,
}

impl From<&Home> for Residence {
    fn from(home: &Home) -> Self {
        Self { home: home.id, point: home.point, verified: home.verified && !home.deleted }
    }
}

/// The person who asks, or is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Viewer {
    /// Who.
    pub resident: ResidentId,
    /// Of which household.
    pub household: HouseholdId,
    /// Where the household lives now.
    pub residences: Vec<Residence>,
}

/// What the gate knows of polygons. The implementation is `libs/neighborhoods`.
pub trait Borders {
    /// The version of a neighborhood that counts now; `None` if it is deleted or unknown.
    fn current(&self, id: NeighborhoodId) -> Option<Version>;

    /// Whether anything is known of a neighborhood, be it that it was deleted. One that is not known may be so new that
    /// it has not arrived here: to take it for deleted would leave out everybody who lives there.
    fn is_known(&self, id: NeighborhoodId) -> bool;

    /// Whether the neighborhood, at that version, holds the point.
    fn holds(&self, neighborhood: NeighborhoodRef, point: Point) -> Result<bool, Undecided>;
}

/// The gate cannot answer yet: it has not got this version of a polygon. It is never an answer; the caller fetches the
/// version, or waits, and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {} of neighborhood {} is not here", .0.version.0, .0.id)]
pub struct Undecided(pub NeighborhoodRef);

/// A value that passed the gate. Nothing else makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cleared<T>(T);

impl<T> std::ops::Deref for Cleared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Serialize> Serialize for Cleared<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

/// How a person stands to a thing. Private to the crate: the world outside gets a cleared view or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    Household,
    /// Neighbor, in these neighborhoods.
    Neighbor(Vec<NeighborhoodId>),
    Stranger,
}

/// The gate, over what is known of polygons at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a, B>(pub &'a B);

impl<B: Borders> Gate<'_, B> {
    /// The item as this person may see it, or nothing.
    pub fn show(&self, viewer: &Viewer, item: &Item) -> Result<Option<Cleared<ItemView>>, Undecided> {
        Ok(match self.standing(viewer, &item.audience())? {
            Standing::Household => Some(Cleared(ItemView::for_household(item))),
            Standing::Neighbor(of) => item.shared.map(|shared| Cleared(ItemView::for_neighbor(item, &shared, of))),
            Standing::Stranger => None,
        })
    }

    /// The media as this person may see it, or nothing. `item`: what its event is part of, if that is there. To neighbors
    /// the item must show it: it was shared, and they may see the item.
    pub fn media(
        &self,
        viewer: &Viewer,
        media: &Media,
        item: Option<&Item>,
    ) -> Result<Option<Cleared<MediaView>>, Undecided> {
        if viewer.household == media.household {
            return Ok(Some(Cleared(MediaView::for_household(media, item.map(|item| item.id)))));
        }
        let shared = |item: &&Item| item.shared.is_some() && item.linked(media.id).is_some_and(|m| m.shared);
        let Some(item) = item.filter(shared) else { return Ok(None) };
        Ok(match self.standing(viewer, &item.audience())? {
            Standing::Neighbor(_) => Some(Cleared(MediaView::for_neighbor(media, item.id))),
            // Of the item's household and not of the media's: the device was given away in between.
            Standing::Household | Standing::Stranger => None,
        })
    }

    /// What this person may be told of the alert, or nothing.
    pub fn tell(&self, viewer: &Viewer, alert: &Alert) -> Result<Option<Cleared<Hint>>, Undecided> {
        Ok(match self.standing(viewer, &alert.audience())? {
            Standing::Household => Some(Cleared(Hint::for_household(alert))),
            Standing::Neighbor(_) => Some(Cleared(Hint::for_neighbor(alert))),
            Standing::Stranger => None,
        })
    }

    /// Whether a home, as it is now, lies in one of the neighborhoods as matched and as they are now: the same rule
    /// for a whole fan-out, where viewers are not loaded yet.
    pub fn lives_in(&self, residence: &Residence, neighborhoods: &[NeighborhoodRef]) -> Result<bool, Undecided> {
        Ok(!self.held_by(residence, neighborhoods)?.is_empty())
    }

    fn standing(&self, viewer: &Viewer, audience: &Audience) -> Result<Standing, Undecided> {
        if viewer.household == audience.household {
            return Ok(Standing::Household);
        }
        let mut of = Vec::new();
        for residence in &viewer.residences {
            for id in self.held_by(residence, &audience.neighborhoods)? {
                if !of.contains(&id) {
                    of.push(id);
                }
            }
        }
        Ok(if of.is_empty() { Standing::Stranger } else { Standing::Neighbor(of) })
    }

    fn held_by(
        &self,
        residence: &Residence,
        neighborhoods: &[NeighborhoodRef],
    ) -> Result<Vec<NeighborhoodId>, Undecided> {
        let mut held = Vec::new();
        if !residence.verified {
            return Ok(held);
        }
        for &matched in neighborhoods {
            if !self.0.is_known(matched.id) {
                return Err(Undecided(matched));
            }
            let Some(current) = self.0.current(matched.id) else { continue };
            if current < matched.version {
                // Our copy lags behind the one who matched: any answer would be by a version that counts no more.
                return Err(Undecided(matched));
            }
            let now = NeighborhoodRef { id: matched.id, version: current };
            if self.0.holds(now, residence.point)?
                && (matched == now || self.0.holds(matched, residence.point)?)
                && !held.contains(&matched.id)
            {
                held.push(matched.id);
            }
        }
        Ok(held)
    }
}

/// A person's own home, if it is theirs.
pub fn own_home(viewer: &Viewer, home: &Home) -> Option<Cleared<HomeView>> {
    (home.household == viewer.household && !home.deleted).then(|| Cleared(HomeView::of(home)))
}

/// A person's own device, if it is theirs.
pub fn own_device(viewer: &Viewer, device: &Device) -> Option<Cleared<DeviceView>> {
    (device.household == viewer.household && !device.deleted).then(|| Cleared(DeviceView::of(device)))
}

/// Proof that the caller acts as the operator of this deployment. The gateway makes one from a verified token.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The account, for the log.
    pub account: ResidentId,
}

/// A home for the operator who is to verify it.
pub fn operators_home(_: &Operator, home: &Home) -> Option<Cleared<HomeView>> {
    (!home.deleted).then(|| Cleared(HomeView::of(home)))
}
