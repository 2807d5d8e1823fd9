//! Pushes: the ledger, and the same by alert.

use std::sync::Arc;

use async_trait::async_trait;
use porchlight_domain::{AlertId, PushId, ResidentId, Timestamp};

use super::{
    core::Core,
    key::{Key, Span, Table},
    registry::by_id,
    row::Row,
};
use crate::{
    Deliveries, Delivery, DeliveryOutcome, MAX_DELIVERIES_READ, StoreError,
    deliveries::ends_at,
    rows::{DeliveryRow, corrupt, decode, delivery_outcome, encode, written_at},
};

pub(super) struct EmbeddedDeliveries(pub(super) Arc<Core>);

fn ledger(push: PushId, resident: ResidentId) -> Key {
    by_id(Table::PushLedger, push.0).uuid(resident.0)
}

impl EmbeddedDeliveries {
    async fn read(&self, of: Key) -> Result<Vec<Delivery>, StoreError> {
        let span = Span::of(Table::PushesByAlert, of);
        self.0
            .read(Table::PushesByAlert, move |view| {
                view.all(&span, MAX_DELIVERIES_READ, |_, row| {
                    Delivery::try_from(decode::<DeliveryRow>(&row.body.unwrap_or_default(), "pushes_by_alert")?)
                })
            })
            .await
    }
}

#[async_trait]
impl Deliveries for EmbeddedDeliveries {
    async fn outcome(
        &self,
        push: PushId,
        resident: ResidentId,
        _: Timestamp,
    ) -> Result<Option<DeliveryOutcome>, StoreError> {
        let read = self.0.read(Table::PushLedger, move |view| {
            let Some(row) = view.row(&ledger(push, resident))? else { return Ok(None) };
            let word =
                String::from_utf8(row.body.unwrap_or_default()).map_err(|_| corrupt("push_ledger", "outcome"))?;
            delivery_outcome(&word, "push_ledger").map(Some)
        });
        read.await
    }

    async fn record(&self, d: &Delivery) -> Result<(), StoreError> {
        let (at, ends) = (written_at(d.at), ends_at(d.alert_created_at));
        let by_alert =
            by_id(Table::PushesByAlert, d.alert.0).uuid(d.resident.0).i64(d.revision.into()).uuid(d.endpoint.0);
        let whole = Row::new(at, ends, encode(&DeliveryRow::new(d), "pushes_by_alert")?);
        let (key, outcome) = (ledger(d.push, d.resident), Row::new(at, ends, d.outcome.as_str().into()));
        self.0
            .write(Table::PushLedger, move |change| {
                change.write(by_alert, whole)?;
                change.write(key, outcome)
            })
            .await
    }

    async fn of_alert(&self, alert: AlertId) -> Result<Vec<Delivery>, StoreError> {
        self.read(by_id(Table::PushesByAlert, alert.0)).await
    }

    async fn of_alert_to(&self, alert: AlertId, resident: ResidentId) -> Result<Vec<Delivery>, StoreError> {
        self.read(by_id(Table::PushesByAlert, alert.0).uuid(resident.0)).await
    }
}
