//! The ground on which the registry's writes are hurt: services, a Kafka of their own behind a proxy, and what the rows
//! say.

use std::collections::BTreeMap;

use porchlight::{
    city::{founding::City, people::Resident},
    deployment::{Service, Settings, unique_name},
};
use porchlight_bus::{From, KafkaConfig, Reader, Topic};
use porchlight_domain::DeviceId;
use porchlight_standins::fleet::{Fleet, Layout};
use porchlight_store::{Read, Store};
use porchlight_synth::Household;
use porchlight_wire::Wire as _;
use uuid::Uuid;

use super::{
    eventually, household,
    revocations::{Gadget, Word},
    servers,
};

const BROKER: &str = "kafka-1";

/// Services, a Kafka of their own behind a proxy, and the database that is everybody's.
pub struct Ground {
    pub city: City,
    pub store: Store,
    // Dropped after those who use it.
    fleet: Fleet,
    pub dir: tempfile::TempDir,
}

impl Ground {
    /// `through`: the service that reaches Kafka through the proxy; everybody else goes past it.
    pub async fn prepare(stem: &str, replicas: fn(Service) -> usize, through: Service, gateway: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout { brokers: 1, shared: Some(servers()), ..Layout::default() };
        let fleet = tokio::task::block_in_place(|| Fleet::up(&dir.path().join("servers"), layout, &|_| ()));
        let fleet = fleet.expect("a broker");
        let proxied = fleet.proxied();
        let adapt = |settings: &mut Settings| {
            settings.reach.insert(through, proxied);
            settings.gateway = gateway.to_owned();
        };
        let (folder, name) = (dir.path().join("city"), unique_name(stem));
        let city = City::found_with(&folder, &name, fleet.direct(), replicas, adapt, &|_| ()).await.expect("a city");
        let store = Store::connect(&city.deployment.settings().cql()).await.expect("the store");
        Self { city, store, fleet, dir }
    }

    pub fn kafka(&self) -> KafkaConfig {
        self.city.deployment.settings().kafka()
    }

    /// Households of which each has so many devices.
    pub async fn settle(&self, households: usize, devices: usize) -> Vec<Gadget> {
        let homes: Vec<Household> = (0..households).map(|n| home_with(devices, n)).collect();
        let owners: Vec<Resident> = self.city.hall.settle_all(&homes, |_| ()).await.expect("settled");
        let of = |(owner, home): (&Resident, &Household)| {
            owner.cameras.iter().map(|camera| Gadget::new(owner, home, camera)).collect::<Vec<_>>()
        };
        owners.iter().zip(&homes).flat_map(of).collect()
    }

    pub fn cut(&self) {
        tokio::task::block_in_place(|| self.fleet.cut(BROKER)).expect("cut");
    }

    pub fn mend(&self) {
        tokio::task::block_in_place(|| self.fleet.mend(BROKER)).expect("mended");
    }

    /// What an ingest has to say to each credential that was ever issued, by the rows as they are.
    pub async fn due(&self, gadgets: &[Gadget]) -> Vec<(Gadget, String, Word)> {
        let mut due = Vec::new();
        for gadget in gadgets {
            let row = self.store.registry.device(DeviceId(gadget.device), Read::Serial).await.expect("the store");
            let held = row.expect("a row").credential;
            due.extend(gadget.dead.iter().map(|dead| (gadget.clone(), dead.clone(), Word::Refused)));
            if let Some(current) = &gadget.current {
                let word = if held.is_some() && held == gadget.hash() { Word::Known } else { Word::Refused };
                due.push((gadget.clone(), current.clone(), word));
            }
        }
        due
    }

    /// Which rows a reader that begins at the beginning does not end with.
    pub async fn differing(&self) -> Vec<Uuid> {
        let (devices, neighborhoods) = (
            last_records(&self.kafka(), Topic::Devices).await,
            last_records(&self.kafka(), Topic::Neighborhoods).await,
        );
        let registry = &self.store.registry;
        let (mut rows, mut differing) = (0, Vec::new());
        for id in registry.device_ids(None, 10_000).await.expect("the store") {
            let Some(row) = registry.device(id, Read::Serial).await.expect("the store") else { continue };
            rows += 1;
            differing.extend((devices.get(id.0.as_bytes().as_slice()) != Some(&row.encode())).then_some(id.0));
        }
        assert!(rows >= devices.len(), "a record without a row");
        for id in registry.neighborhood_ids(None, 10_000).await.expect("the store") {
            let row = registry.neighborhood(id, Read::Serial).await.expect("the store").expect("a row");
            differing.extend((neighborhoods.get(id.0.as_bytes().as_slice()) != Some(&row.encode())).then_some(id.0));
        }
        differing
    }
}

/// The last record of each key, which is what compaction leaves of it. Empty: a tombstone.
async fn last_records(kafka: &KafkaConfig, topic: Topic) -> BTreeMap<Vec<u8>, Vec<u8>> {
    // One that was made just now has no leader yet.
    let mut reader =
        eventually("the topic can be read", || async { Reader::open(kafka, topic, From::Beginning).await.ok() }).await;
    let mut last = BTreeMap::new();
    while let Some(record) = reader.next_existing().await.expect("the topic") {
        last.insert(record.key.expect("a key"), record.value);
    }
    last
}

fn home_with(devices: usize, n: usize) -> Household {
    let mut home = household(&format!("owner {n}"), "", -71.06 + 0.001 * n as f64, 42.42, Some(&[]));
    let camera = home.cameras[0].clone();
    home.cameras.extend((1..devices).map(|_| porchlight_synth::Camera { id: Uuid::new_v4(), ..camera.clone() }));
    home
}
