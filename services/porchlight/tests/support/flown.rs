//! What became of every alert, as the log, the ledger, the services' own logs and the phones tell it: what the oracle
//! judges by.

use std::collections::BTreeMap;

use porchlight::{city::witness::observed, deployment::Service};
use porchlight_bus::{From, KafkaConfig, Reader, Topic};
use porchlight_domain::{Alert, AlertId, ResidentId, Timestamp};
use porchlight_oracle::{Between, Flown, ObservedPush};
use porchlight_standins::phones::Push;
use porchlight_store::Store;
use porchlight_wire::Wire as _;
use serde_json::Value;
use uuid::Uuid;

use super::Scene;

/// Who is who.
#[derive(Default)]
pub struct Names {
    by_phone: BTreeMap<String, String>,
    by_id: BTreeMap<ResidentId, String>,
}

impl Names {
    pub fn add(&mut self, issuer: &str, subject: &str, phone: &str) {
        self.by_phone.insert(phone.to_owned(), subject.to_owned());
        self.by_id.insert(ResidentId::of_subject(issuer, subject), subject.to_owned());
    }
}

/// (alert, revision as neighbors count, name).
type Decided = BTreeMap<(Uuid, u64, String), i64>;

/// Every alert of the log with what is known of its way; `None` while one is not planned. `device_of`: which device
/// sent an event, if one did.
pub async fn flown(
    scene: &Scene,
    store: &Store,
    names: &Names,
    pushes: &[Push],
    device_of: impl Fn(Uuid) -> Option<Uuid>,
) -> Option<Vec<Flown>> {
    let alerts = in_the_log(&scene.city.deployment.settings().kafka()).await;
    let planned = planned(scene);
    let mut decided = last_words(pushes, names);
    let mut ids: Vec<AlertId> = alerts.iter().map(|(alert, _)| alert.id).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        for row in store.deliveries.of_alert(id).await.expect("the ledger") {
            let name = names.by_id.get(&row.resident).expect("somebody of ours");
            if row.as_neighbor {
                let at = decided.entry((id.0, u64::from(row.revision), name.clone())).or_insert(i64::MIN);
                *at = row.at.0.max(*at);
            }
        }
    }
    let of = |alert: &Alert| {
        let key = (alert.id.0, u64::from(alert.shared_revision));
        let from = decided.range((key.0, key.1, String::new())..);
        let of_it = from.take_while(|((id, revision, _), _)| (*id, *revision) == key);
        of_it.map(|((.., name), at)| (name.clone(), *at)).collect()
    };
    let flown = alerts.iter().map(|(alert, logged_ms)| {
        Some(Flown {
            alert: alert.id.0,
            revision: alert.revision.into(),
            shared_revision: alert.shared_revision.into(),
            household: alert.household.0,
            device: device_of(alert.event.0),
            matched: alert.neighborhoods.iter().map(|at| (at.id.0, at.version.0)).collect(),
            matching: Between { from_ms: alert.created_at.0, until_ms: *logged_ms },
            planned_ms: *planned.get(&(alert.id.0, alert.revision.into()))?,
            decided_ms: of(alert),
        })
    });
    flown.collect()
}

/// With the moment at which each was sent into the log.
async fn in_the_log(kafka: &KafkaConfig) -> Vec<(Alert, i64)> {
    let mut reader = Reader::open(kafka, Topic::Alerts, From::Beginning).await.expect("the log");
    let mut alerts = Vec::new();
    while let Some(record) = reader.next_existing().await.expect("the log") {
        let alert = Alert::decode(&record.value).expect("an alert");
        if !alert.stream_only {
            alerts.push((alert, record.timestamp_ms));
        }
    }
    alerts
}

/// When the last planning of each revision ended, by the planners' logs.
fn planned(scene: &Scene) -> BTreeMap<(Uuid, u64), i64> {
    let deployment = &scene.city.deployment;
    let planners = deployment.processes().filter(|(service, _)| *service == Service::Notification);
    let mut planned = BTreeMap::new();
    for (service, n) in planners {
        let log = std::fs::read_to_string(deployment.log(service, n)).expect("a log");
        for line in log.lines().filter(|line| line.contains("alert planned")) {
            let said: Value = serde_json::from_str(line).expect("a line of JSON");
            let text = |member: &str| said[member].as_str().unwrap_or_default();
            let at: Timestamp = text("timestamp").parse().expect("a time");
            let alert: Uuid = text("alert_id").parse().expect("an alert");
            let last = planned.entry((alert, said["revision"].as_u64().expect("a revision"))).or_insert(i64::MIN);
            *last = at.0.max(*last);
        }
    }
    planned
}

/// When a neighbor's phone was told last.
fn last_words(pushes: &[Push], names: &Names) -> Decided {
    let mut decided = Decided::new();
    for push in pushes {
        let seen: ObservedPush = observed(push);
        if let (true, Some(name)) = (seen.line.starts_with("neighborhood."), names.by_phone.get(&push.endpoint)) {
            let at = decided.entry((seen.alert, seen.revision, name.clone())).or_insert(i64::MIN);
            *at = push.received_at_ms.max(*at);
        }
    }
    decided
}

/// However often a push was handed over, it appeared once on a phone; later ones took its place.
pub fn shown_once(scene: &Scene) {
    let mut shown: BTreeMap<(String, String), u32> = BTreeMap::new();
    for push in scene.city.phones.log(0) {
        let tag = push.payload["collapse"].as_str().unwrap_or_default().to_owned();
        *shown.entry((push.endpoint.clone(), tag)).or_default() += u32::from(!push.replaced);
    }
    assert!(shown.values().all(|&times| times == 1), "shown twice");
}
