//! One person at the moment of sending: may they be told, where, and were they already?
//!
//! **The order.** The person and their homes as they are now, then the gate, then each endpoint: ledger, provider, ledger.
//! Between the provider and the ledger a process may die: then the same push (same id, same collapse key) is handed over
//! again, and the phone shows one. The other order would lose pushes.

use futures::{StreamExt as _, future, stream::FuturesUnordered};
use porchlight_bus::Lease;
use porchlight_domain::{
    Alert, ChosenId, Cleared, Endpoint, EndpointId, Gate, Hint, Home, HomeId, Lane, NeighborhoodRef, PushId, PushTask,
    Recipient, Residence, Resident, ResidentId, Viewer,
};
use porchlight_neighborhoods::Snapshot;
use porchlight_push::Sent;
use porchlight_store::{Delivery, DeliveryOutcome, Read, StoreError};
use uuid::Uuid;

use super::{
    Carriers, Sender,
    circuit::{self, Circuit},
    gone::{self, Removal},
};
use crate::{
    metrics,
    wait::{Wait, What},
};

/// How often the ledger is written after a hand-over before the push is given up to a repeat.
const LEDGER_ATTEMPTS: usize = 3;

/// To whom, and as what: what all rows and numbers of one telling share.
#[derive(Clone, Copy)]
struct Telling<'a> {
    alert: &'a Alert,
    resident: ResidentId,
    as_neighbor: bool,
    lease: &'a Lease,
}

/// Whether a verified home lies in one of the neighborhoods now. A second look, before what cannot be taken back: by the
/// index, which finds the polygons of a point, and not by the gate's way, which asks each polygon about the point.
fn lives_there(polygons: &Snapshot, viewer: &Viewer, matched: &[NeighborhoodRef]) -> bool {
    let homes = viewer.residences.iter().filter(|home| home.verified);
    homes.flat_map(|home| polygons.locate(home.point)).any(|here| matched.iter().any(|of| of.id == here.id))
}

impl Telling<'_> {
    /// The revision as this person counts it: neighbors only ever know of the shared ones.
    fn revision(&self) -> u32 {
        if self.as_neighbor { self.alert.shared_revision } else { self.alert.revision }
    }

    fn lane(&self) -> Lane {
        if self.as_neighbor { Lane::Neighborhood } else { self.alert.lane }
    }

    fn push(&self, endpoint: EndpointId) -> PushId {
        PushId::of(self.alert.id, self.revision(), endpoint)
    }

    /// What stands for "no endpoint at all": the person's own, for all people of a bucket share the ledger's rows.
    fn no_push(&self) -> PushId {
        self.push(EndpointId::scoped(self.resident, ChosenId(Uuid::nil())))
    }
}

impl<C: Carriers> Sender<C> {
    /// Tells one person of the task's alert, wherever they can be reached, or records why not.
    pub(super) async fn tell(
        &self,
        task: &PushTask,
        to: &Recipient,
        circuit: &Circuit,
        lease: &Lease,
    ) -> Result<(), Wait> {
        let alert = &task.alert;
        if self.means.stop.is_cancelled() {
            return Err(Wait { what: What::Stop, after: None, reason: "the process is being stopped".into() });
        }
        let Some(resident) = self.means.registry.resident(to.resident).await? else {
            let as_planned = Telling { alert, resident: to.resident, as_neighbor: to.home.is_some(), lease };
            return self.untold(as_planned, DeliveryOutcome::NotAllowed).await;
        };
        let as_neighbor = resident.household != alert.household;
        let telling = Telling { alert, resident: to.resident, as_neighbor, lease };
        if self.is_over(alert) {
            return self.expire(telling, &resident).await;
        }
        let viewer = self.viewer(&resident, alert).await?;
        let polygons = self.means.polygons.deciding(&alert.neighborhoods).await?;
        let hint = match Gate(&*polygons).tell(&viewer, alert) {
            Ok(Some(hint)) => hint,
            Ok(None) => return self.untold(telling, DeliveryOutcome::NotAllowed).await,
            Err(undecided) => return Err(Wait::polygon(undecided.to_string())),
        };
        if as_neighbor && !lives_there(&polygons, &viewer, &alert.neighborhoods) {
            tracing::error!(alert_id = %alert.id, "the gate allowed a push that the index of polygons does not: not sent");
            metrics::isolation_violation();
            return self.untold(telling, DeliveryOutcome::NotAllowed).await;
        }
        if resident.endpoints.is_empty() {
            return self.untold(telling, DeliveryOutcome::NoEndpoint).await;
        }
        // Side by side, so that no endpoint waits behind another between the gate's word and its push.
        let mut sending: FuturesUnordered<_> =
            resident.endpoints.iter().map(|endpoint| self.hand_over(telling, endpoint, &hint, circuit)).collect();
        let mut waits = None;
        while let Some(sent) = sending.next().await {
            waits = waits.or(sent.err());
        }
        waits.map_or(Ok(()), Err)
    }

    /// The person with the homes as they are now. To the alert's own household the homes do not matter.
    async fn viewer(&self, resident: &Resident, alert: &Alert) -> Result<Viewer, StoreError> {
        let mut viewer = Viewer { resident: resident.id, household: resident.household, residences: Vec::new() };
        if resident.household != alert.household {
            let homes = self.means.registry.household(resident.household).await?.homes;
            let homes = future::try_join_all(homes.iter().map(|id| self.home(*id))).await?;
            let own = homes.iter().flatten().filter(|home| home.household == resident.household);
            viewer.residences = own.map(Residence::from).collect();
        }
        Ok(viewer)
    }

    async fn home(&self, id: HomeId) -> Result<Option<Home>, StoreError> {
        self.means.registry.home(id, Read::Quorum).await
    }

    async fn hand_over(
        &self,
        telling: Telling<'_>,
        endpoint: &Endpoint,
        hint: &Cleared<Hint>,
        circuit: &Circuit,
    ) -> Result<(), Wait> {
        if self.was_decided(telling, endpoint).await? {
            metrics::repeat();
            return Ok(());
        }
        if self.is_over(telling.alert) {
            return self.settle(telling, endpoint, DeliveryOutcome::Expired).await;
        }
        let Some(carrier) = self.means.carriers.for_transport(&endpoint.transport) else {
            return self.settle(telling, endpoint, DeliveryOutcome::Refused).await;
        };
        let host = circuit::host(&endpoint.transport);
        if !circuit.admits(host) {
            return Err(Wait { what: What::Provider, after: None, reason: "its provider failed in this round".into() });
        }
        // A process that was stopped for longer than its session goes on right here: another one may be at this record.
        if !telling.lease.is_held() {
            return Err(Wait {
                what: What::Lease,
                after: None,
                reason: "another sender may have this record now".into(),
            });
        }
        let sent = carrier.send(endpoint, hint, self.means.clock.now()).await;
        match sent {
            Sent::Retry { .. } => circuit.failed(host),
            Sent::HandedOver | Sent::EndpointGone | Sent::Refused { .. } => circuit.answered(host),
        }
        match sent {
            Sent::HandedOver => {
                metrics::handed_over(self.means.clock.now().since(telling.alert.created_at));
                tracing::info!(
                    event_id = %telling.alert.event,
                    alert_id = %telling.alert.id,
                    item_id = %telling.alert.item,
                    revision = telling.alert.revision,
                    lane = telling.lane().as_str(),
                    "push handed over"
                );
                self.settle_firmly(telling, endpoint).await
            }
            Sent::EndpointGone => match gone::remove(&*self.means.registry, telling.resident, endpoint).await? {
                Removal::Gone => self.settle(telling, endpoint, DeliveryOutcome::EndpointGone).await,
                // The next round reads the person again and reaches the new registration.
                Removal::Renewed => {
                    Err(Wait { what: What::Provider, after: None, reason: "the endpoint was registered again".into() })
                }
            },
            Sent::Refused { reason } => {
                tracing::warn!(
                    event_id = %telling.alert.event,
                    alert_id = %telling.alert.id,
                    transport = endpoint.transport.as_str(),
                    reason,
                    "a provider refused a push"
                );
                self.settle(telling, endpoint, DeliveryOutcome::Refused).await
            }
            Sent::Retry { after, reason } => Err(Wait { what: What::Provider, after, reason }),
        }
    }

    /// The alert is news no more: what was not decided before is now.
    async fn expire(&self, telling: Telling<'_>, resident: &Resident) -> Result<(), Wait> {
        if resident.endpoints.is_empty() {
            return self.untold(telling, DeliveryOutcome::Expired).await;
        }
        for endpoint in &resident.endpoints {
            if !self.was_decided(telling, endpoint).await? {
                self.settle(telling, endpoint, DeliveryOutcome::Expired).await?;
            }
        }
        Ok(())
    }

    fn is_over(&self, alert: &Alert) -> bool {
        self.means.clock.now() > alert.expires_at
    }

    async fn was_decided(&self, telling: Telling<'_>, endpoint: &Endpoint) -> Result<bool, StoreError> {
        let push = telling.push(endpoint.id);
        let decided = self.means.deliveries.outcome(push, telling.resident, telling.alert.created_at).await?;
        Ok(decided.is_some())
    }

    /// Nothing could go anywhere: one row says why, under the nil endpoint.
    async fn untold(&self, telling: Telling<'_>, outcome: DeliveryOutcome) -> Result<(), Wait> {
        self.record(telling, telling.no_push(), EndpointId(Uuid::nil()), outcome).await
    }

    async fn settle(&self, telling: Telling<'_>, endpoint: &Endpoint, outcome: DeliveryOutcome) -> Result<(), Wait> {
        self.record(telling, telling.push(endpoint.id), endpoint.id, outcome).await
    }

    /// A hand-over cannot be taken back: a ledger that stumbles once must not ring the phone twice.
    async fn settle_firmly(&self, telling: Telling<'_>, endpoint: &Endpoint) -> Result<(), Wait> {
        let mut recorded = Ok(());
        for _ in 0..LEDGER_ATTEMPTS {
            recorded = self.settle(telling, endpoint, DeliveryOutcome::HandedOver).await;
            if recorded.is_ok() {
                break;
            }
        }
        recorded
    }

    async fn record(
        &self,
        telling: Telling<'_>,
        push: PushId,
        endpoint: EndpointId,
        outcome: DeliveryOutcome,
    ) -> Result<(), Wait> {
        let delivery = Delivery {
            push,
            alert: telling.alert.id,
            revision: telling.revision(),
            resident: telling.resident,
            endpoint,
            outcome,
            as_neighbor: telling.as_neighbor,
            alert_created_at: telling.alert.created_at,
            at: self.means.clock.now(),
        };
        self.means.deliveries.record(&delivery).await?;
        metrics::push(outcome, telling.lane());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use porchlight_domain::{HouseholdId, NeighborhoodId, Point, Timestamp, Version};
    use porchlight_neighborhoods::Neighborhoods;
    use porchlight_wire::NeighborhoodRecord;

    use super::*;

    #[test]
    fn g1_the_second_look_finds_a_verified_home_in_a_matched_neighborhood_and_nothing_else() {
        let square = |id: u128, west: i32| {
            let corner = |x: i32, y: i32| Point { lon_e7: west + x, lat_e7: y };
            Arc::new(NeighborhoodRecord {
                id: NeighborhoodId(Uuid::from_u128(id)),
                name: "a square".to_owned(),
                parts: vec![vec![vec![corner(0, 0), corner(100, 0), corner(100, 100), corner(0, 100)]]],
                deleted: false,
                version: Version(1),
                updated_at: Timestamp(0),
            })
        };
        let neighborhoods = Neighborhoods::new();
        neighborhoods.apply(&[square(1, 0), square(2, 1000)]);
        let lives = |lon_e7: i32, verified: bool, matched: u128| {
            let home = Residence { home: HomeId(Uuid::nil()), point: Point { lon_e7, lat_e7: 50 }, verified };
            let (resident, household) = (ResidentId(Uuid::nil()), HouseholdId(Uuid::nil()));
            let viewer = Viewer { resident, household, residences: vec![home] };
            let matched = NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(matched)), version: Version(1) };
            lives_there(&neighborhoods.snapshot(), &viewer, &[matched])
        };
        assert!(lives(50, true, 1) && lives(1050, true, 2));
        assert!(!lives(50, true, 2), "in another one");
        assert!(!lives(50, false, 1), "not verified");
        assert!(!lives(500, true, 1), "in none");
    }
}
