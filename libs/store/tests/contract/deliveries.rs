//! The ledger of pushes.

use porchlight_domain::{AlertId, EndpointId, PushId, ResidentId};
use porchlight_store::{Deliveries, Delivery, DeliveryOutcome, LEDGER_MS, Store};
use uuid::Uuid;

use super::{DAY_MS, id, now};

fn delivery(alert: AlertId, resident: ResidentId, outcome: DeliveryOutcome) -> Delivery {
    let endpoint = EndpointId(if outcome == DeliveryOutcome::NoEndpoint { Uuid::nil() } else { id() });
    Delivery {
        push: PushId::of(alert, 1, endpoint),
        alert,
        revision: 1,
        resident,
        endpoint,
        outcome,
        as_neighbor: true,
        alert_created_at: now().plus_ms(-3000),
        at: now(),
    }
}

async fn outcome(deliveries: &dyn Deliveries, of: &Delivery) -> Option<DeliveryOutcome> {
    deliveries.outcome(of.push, of.resident, of.alert_created_at).await.unwrap()
}

pub(super) async fn what_became_of_a_push_is_remembered(store: Store) {
    for expected in DeliveryOutcome::ALL {
        let delivery = delivery(AlertId(id()), ResidentId(id()), expected);
        assert_eq!(outcome(&*store.deliveries, &delivery).await, None);
        for _ in 0..2 {
            store.deliveries.record(&delivery).await.unwrap();
            assert_eq!(outcome(&*store.deliveries, &delivery).await, Some(expected));
        }
        assert_eq!(store.deliveries.of_alert(delivery.alert).await.unwrap(), [delivery]);
    }
}

/// Two people without an endpoint have one push id between them.
pub(super) async fn pushes_of_two_people_do_not_meet(store: Store) {
    let alert = AlertId(id());
    let same_bucket = |n: u8| {
        let mut bytes = id().into_bytes();
        bytes[15] = n;
        ResidentId(Uuid::from_bytes(bytes))
    };
    let (mine, theirs) = (same_bucket(5), same_bucket(5));
    let mine = delivery(alert, mine, DeliveryOutcome::NoEndpoint);
    let theirs = Delivery { resident: theirs, ..mine.clone() };
    store.deliveries.record(&mine).await.unwrap();
    assert_eq!(outcome(&*store.deliveries, &mine).await, Some(DeliveryOutcome::NoEndpoint));
    assert_eq!(outcome(&*store.deliveries, &theirs).await, None);
}

pub(super) async fn why_did_i_not_get_this(store: Store) {
    let alert = AlertId(id());
    let mut all: Vec<Delivery> = (0..40)
        .map(|n| delivery(alert, ResidentId(id()), DeliveryOutcome::ALL[n % DeliveryOutcome::ALL.len()]))
        .collect();
    // One of them has two phones, and was told twice.
    let mine = all[0].resident;
    all.push(delivery(alert, mine, DeliveryOutcome::EndpointGone));
    all.push(Delivery { revision: 2, push: PushId(id()), as_neighbor: false, ..all[0].clone() });
    for delivery in &all {
        store.deliveries.record(delivery).await.unwrap();
    }
    store.deliveries.record(&delivery(AlertId(id()), mine, DeliveryOutcome::Refused)).await.unwrap();

    let sorted = |mut deliveries: Vec<Delivery>| {
        deliveries.sort_by_key(|d| (d.resident, d.revision, d.endpoint));
        deliveries
    };
    let found = store.deliveries.of_alert(alert).await.unwrap();
    assert_eq!(sorted(found), sorted(all.clone()));
    let found = store.deliveries.of_alert_to(alert, mine).await.unwrap();
    let expected: Vec<Delivery> = all.into_iter().filter(|d| d.resident == mine).collect();
    assert_eq!(sorted(found), sorted(expected));
    assert_eq!(store.deliveries.of_alert_to(alert, ResidentId(id())).await.unwrap(), []);
}

pub(super) async fn a_week_later_it_is_forgotten(store: Store) {
    let alert = AlertId(id());
    let mut delivery = delivery(alert, ResidentId(id()), DeliveryOutcome::HandedOver);
    delivery.alert_created_at = now().plus_ms(-LEDGER_MS);
    store.deliveries.record(&delivery).await.unwrap();
    assert_eq!(outcome(&*store.deliveries, &delivery).await, None);
    assert_eq!(store.deliveries.of_alert(alert).await.unwrap(), []);
    delivery.alert_created_at = now().plus_ms(DAY_MS - LEDGER_MS);
    store.deliveries.record(&delivery).await.unwrap();
    assert_eq!(outcome(&*store.deliveries, &delivery).await, Some(DeliveryOutcome::HandedOver));
}
