//! The tables of pushes: `schema/0003_deliveries.cql`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use porchlight_domain::{AlertId, Clock, PushId, ResidentId, SystemClock, Timestamp};
use uuid::Uuid;

use super::{
    client::{Cql, statements},
    ttl::ttl_s,
};
use crate::{
    Deliveries, Delivery, DeliveryOutcome, MAX_DELIVERIES_READ, StoreError,
    deliveries::ends_at,
    rows::{DeliveryRow, delivery_outcome, ts, written_at},
};

/// Into so many partitions the pushes of one alert are spread.
const SALTS: u8 = 16;
/// How many of them are read at once.
const SALTS_AT_ONCE: usize = 4;

statements! {
    /// The ledger and its reading by alert.
    DeliveryStatements {
        outcome: Read "push_ledger"
            "SELECT outcome FROM push_ledger WHERE bucket = ? AND ten_minutes = ? AND push = ? AND resident = ?";
        record: Write "push_ledger"
            "INSERT INTO push_ledger (bucket, ten_minutes, push, resident, outcome) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ? AND TTL ?";
        of_alert: Read "pushes_by_alert"
            "SELECT alert, resident, revision, endpoint, push, outcome, as_neighbor, alert_created_at, at
            FROM pushes_by_alert WHERE alert = ? AND salt = ?";
        of_alert_to: Read "pushes_by_alert"
            "SELECT alert, resident, revision, endpoint, push, outcome, as_neighbor, alert_created_at, at
            FROM pushes_by_alert WHERE alert = ? AND salt = ? AND resident = ?";
        record_by_alert: Write "pushes_by_alert"
            "INSERT INTO pushes_by_alert (alert, salt, resident, revision, endpoint, push, outcome, as_neighbor,
            alert_created_at, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    }
}

pub(super) struct ScyllaDeliveries {
    cql: Arc<Cql>,
    statements: DeliveryStatements,
}

/// The ledger's partition: the resident's bucket, and ten minutes.
fn ledger_key(resident: ResidentId, alert_created_at: Timestamp) -> (i32, i32) {
    let ten_minutes = alert_created_at.0.div_euclid(600_000);
    (resident.bucket().into(), i32::try_from(ten_minutes).unwrap_or(i32::MAX))
}

fn salt_of(resident: ResidentId) -> i32 {
    (resident.bucket() % SALTS).into()
}

fn read(rows: Vec<DeliveryRow>) -> Result<Vec<Delivery>, StoreError> {
    let now = SystemClock.now();
    let deliveries = rows.into_iter().map(Delivery::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(deliveries.into_iter().filter(|d| ends_at(d.alert_created_at) > now).collect())
}

impl ScyllaDeliveries {
    pub(super) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { statements: DeliveryStatements::prepare(&cql).await?, cql })
    }
}

#[async_trait]
impl Deliveries for ScyllaDeliveries {
    async fn outcome(
        &self,
        push: PushId,
        resident: ResidentId,
        alert_created_at: Timestamp,
    ) -> Result<Option<DeliveryOutcome>, StoreError> {
        if ends_at(alert_created_at) <= SystemClock.now() {
            return Ok(None);
        }
        let (bucket, ten_minutes) = ledger_key(resident, alert_created_at);
        let values = (bucket, ten_minutes, push.0, resident.0);
        let row: Option<(String,)> = self.cql.one(&self.statements.outcome, values).await?;
        row.map(|(word,)| delivery_outcome(&word, "push_ledger")).transpose()
    }

    async fn record(&self, d: &Delivery) -> Result<(), StoreError> {
        let Some(ttl) = ttl_s(ends_at(d.alert_created_at), SystemClock.now()) else { return Ok(()) };
        let (resident, outcome, at) = (d.resident.0, d.outcome.as_str(), written_at(d.at));
        // The ledger last: what stands in it is not done again, so all else must be done by then.
        let values = (
            d.alert.0,
            salt_of(d.resident),
            resident,
            i64::from(d.revision),
            d.endpoint.0,
            d.push.0,
            outcome,
            d.as_neighbor,
            ts(d.alert_created_at),
            ts(d.at),
            at,
            ttl,
        );
        self.cql.write(&self.statements.record_by_alert, values).await?;
        let (bucket, ten_minutes) = ledger_key(d.resident, d.alert_created_at);
        let values = (bucket, ten_minutes, d.push.0, resident, outcome, at, ttl);
        self.cql.write(&self.statements.record, values).await
    }

    async fn of_alert(&self, alert: AlertId) -> Result<Vec<Delivery>, StoreError> {
        let salts = stream::iter(0..i32::from(SALTS)).map(|salt| {
            let most = MAX_DELIVERIES_READ / usize::from(SALTS);
            self.cql.rows::<DeliveryRow>(&self.statements.of_alert, (alert.0, salt), most)
        });
        let rows: Vec<Vec<DeliveryRow>> = salts.buffered(SALTS_AT_ONCE).try_collect().await?;
        read(rows.into_iter().flatten().collect())
    }

    async fn of_alert_to(&self, alert: AlertId, resident: ResidentId) -> Result<Vec<Delivery>, StoreError> {
        let values: (Uuid, i32, Uuid) = (alert.0, salt_of(resident), resident.0);
        read(self.cql.rows(&self.statements.of_alert_to, values, MAX_DELIVERIES_READ).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repeat_of_a_push_meets_the_same_partition() {
        let resident = ResidentId(Uuid::from_u128(77));
        assert_eq!(ledger_key(resident, Timestamp(1_200_000)), (13, 2));
        assert_eq!(ledger_key(resident, Timestamp(1_799_999)), (13, 2));
        assert_eq!(ledger_key(resident, Timestamp(1_800_000)), (13, 3));
        assert_eq!(salt_of(resident), 13);
    }
}
