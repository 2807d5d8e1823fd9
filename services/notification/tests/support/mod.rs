//! A small town in memory: people, homes, polygons, a ledger, phones; and alerts about it.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test file uses its part

mod rows;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use porchlight_bus::{Lease, ProduceError, Record, Topic};
use porchlight_domain::{
    Alert, AlertId, Cell, ChosenId, Cleared, Endpoint, EndpointId, EventId, Hint, Home, HomeId, HouseholdId, ItemId,
    Kind, Label, Lane, ManualClock, NeighborhoodId, NeighborhoodRef, Point, PushId, PushTask, Resident, ResidentId,
    Timestamp, Transport, Version,
};
use porchlight_neighborhoods::Neighborhoods;
use porchlight_notification::{Means, Planner, Polygons, SendConfig, Sender, plan::PushLog, send::Carriers};
use porchlight_push::{Provider, Sent};
use porchlight_store::{Delivery, DeliveryOutcome, Household, PlacedHome, Registry};
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use rows::Rows;

pub const NOON: Timestamp = Timestamp(1_800_000_000_000);

/// Everything that is outside of the service.
pub struct Town {
    state: Mutex<State>,
    pub neighborhoods: Neighborhoods,
    pub clock: Arc<ManualClock>,
    pub stop: CancellationToken,
}

#[derive(Default)]
struct State {
    residents: HashMap<ResidentId, Resident>,
    households: HashMap<HouseholdId, Household>,
    homes: HashMap<HomeId, Home>,
    placed: BTreeMap<(i32, HomeId), PlacedHome>,
    versions: HashMap<NeighborhoodRef, NeighborhoodRecord>,
    ledger: Vec<Delivery>,
    ledger_stumbles: usize,
    tasks: Vec<PushTask>,
    pages: Vec<usize>,
    answers: HashMap<EndpointId, VecDeque<Sent>>,
    pushes: Vec<Push>,
    before_answer: Option<Happening>,
}

/// What happens while a push is with its provider.
type Happening = Box<dyn FnOnce(&Town) + Send>;

/// What a phone got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Push {
    pub endpoint: EndpointId,
    pub transport: &'static str,
    pub collapse: String,
    pub lane: Lane,
    pub silent: bool,
    pub id: PushId,
}

pub fn resident(n: u128) -> ResidentId {
    ResidentId(Uuid::from_u128(n))
}

pub fn household(n: u128) -> HouseholdId {
    HouseholdId(Uuid::from_u128(0xa000_0000 + n))
}

pub fn home(n: u128) -> HomeId {
    HomeId(Uuid::from_u128(0xb000_0000 + n))
}

pub fn neighborhood(n: u128, version: u64) -> NeighborhoodRef {
    NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(0xc000_0000 + n)), version: Version(version) }
}

/// A place in the middle of the town of that number; each town is a square of 0.1 degree, side by side from west to east.
pub fn in_town(n: i32) -> Point {
    Point { lon_e7: n * 1_000_000 + 500_000, lat_e7: 500_000 }
}

fn square(at: NeighborhoodRef, west: i32, east: i32, deleted: bool) -> NeighborhoodRecord {
    let corner = |lon_e7, lat_e7| Point { lon_e7, lat_e7 };
    let shell = vec![corner(west, 0), corner(east, 0), corner(east, 1_000_000), corner(west, 1_000_000)];
    NeighborhoodRecord {
        id: at.id,
        name: String::new(),
        parts: if deleted { Vec::new() } else { vec![vec![shell]] },
        deleted,
        version: at.version,
        updated_at: NOON,
    }
}

/// Of a person of town 1's first household, shared with the neighborhoods named.
pub fn alert(neighborhoods: &[NeighborhoodRef]) -> Alert {
    let item = ItemId(Uuid::from_u128(77));
    let shared = !neighborhoods.is_empty();
    Alert {
        id: AlertId::of_item(item),
        item,
        revision: 1,
        event: EventId(Uuid::nil()),
        shared_revision: u32::from(shared),
        household: household(1),
        neighborhoods: neighborhoods.to_vec(),
        lane: Lane::Motion,
        kind: Kind::Motion,
        labels: [Label::Person].into_iter().collect(),
        shared_labels: [Label::Person].into_iter().filter(|_| shared).collect(),
        created_at: NOON,
        expires_at: NOON.plus_ms(600_000),
        stream_only: false,
    }
}

pub fn record(topic: Topic, value: Vec<u8>) -> Arc<Record> {
    Arc::new(Record {
        topic,
        partition: 0,
        offset: 0,
        key: None,
        value,
        headers: Vec::new(),
        timestamp_ms: NOON.0,
        lease: Lease::default(),
    })
}

impl Town {
    /// Towns 1 (Malden), 2 (Quincy) as neighborhoods 1 and 2.
    pub fn new() -> Arc<Self> {
        let town = Arc::new(Self {
            state: Mutex::default(),
            neighborhoods: Neighborhoods::new(),
            clock: Arc::new(ManualClock::at(NOON)),
            stop: CancellationToken::new(),
        });
        town.draw(1, 1, 1, 2);
        town.draw(2, 1, 2, 3);
        town
    }

    /// Neighborhood `n` at a version: from the west border of one town to the west border of another.
    pub fn draw(&self, n: u128, version: u64, west: i32, east: i32) {
        let record = self.draw_unpublished(n, version, west, east);
        self.neighborhoods.apply(&[Arc::new(record)]);
    }

    /// In the store, but our copy lags behind.
    pub fn draw_unpublished(&self, n: u128, version: u64, west: i32, east: i32) -> NeighborhoodRecord {
        let record = square(neighborhood(n, version), west * 1_000_000, east * 1_000_000, false);
        self.state().versions.insert(neighborhood(n, version), record.clone());
        record
    }

    pub fn undraw(&self, n: u128, version: u64) {
        let record = square(neighborhood(n, version), 0, 0, true);
        self.state().versions.insert(neighborhood(n, version), record.clone());
        self.neighborhoods.apply(&[Arc::new(record)]);
    }

    /// Person and household `n` with a phone and a verified home in a town.
    pub fn settle(&self, n: u128, town: i32) {
        let chosen = ChosenId(Uuid::from_u128(1));
        let endpoint = Endpoint {
            id: EndpointId::scoped(resident(n), chosen),
            chosen,
            transport: Transport::WebPush {
                url: format!("https://push.example/{n}"),
                p256dh: Vec::new(),
                auth: Vec::new(),
            },
            registered_at: NOON,
        };
        let person =
            Resident { id: resident(n), household: household(n), endpoints: vec![endpoint], version: Version(1) };
        let mut state = self.state();
        state.residents.insert(person.id, person);
        state.households.entry(household(n)).or_default().residents.push(resident(n));
        drop(state);
        self.add_home(n, n, town);
    }

    /// Home `id` of household `n`.
    pub fn add_home(&self, n: u128, id: u128, town: i32) {
        let home = Home {
            id: home(id),
            chosen: ChosenId(Uuid::from_u128(id)),
            household: household(n),
            name: String::new(),
            point: in_town(town),
            verified: true,
            deleted: false,
            since: NOON,
            version: Version(1),
        };
        let mut state = self.state();
        let of = state.households.entry(household(n)).or_default();
        of.homes.push(home.id);
        let residents = of.residents.clone();
        let placed = PlacedHome {
            home: home.id,
            household: home.household,
            point: home.point,
            verified: true,
            residents,
            version: home.version,
        };
        state.placed.insert((Cell::of(home.point).key(), home.id), placed);
        state.homes.insert(home.id, home);
    }

    /// The row alone: the copy by place is late.
    pub fn move_home(&self, id: u128, town: i32) {
        self.state().homes.get_mut(&home(id)).unwrap().point = in_town(town);
    }

    pub fn unverify(&self, id: u128) {
        let mut state = self.state();
        state.homes.get_mut(&home(id)).unwrap().verified = false;
        for placed in state.placed.values_mut().filter(|p| p.home == home(id)) {
            placed.verified = false;
        }
    }

    pub fn edit_person(&self, n: u128, edit: impl FnOnce(&mut Resident)) {
        let mut state = self.state();
        let person = state.residents.get_mut(&resident(n)).unwrap();
        edit(person);
        person.version = person.version.next();
    }

    pub fn person(&self, n: u128) -> Resident {
        self.state().residents[&resident(n)].clone()
    }

    pub fn endpoint(&self, n: u128) -> EndpointId {
        EndpointId::scoped(resident(n), ChosenId(Uuid::from_u128(1)))
    }

    /// What the provider answers to this person's phone, in turn; then it takes everything.
    pub fn answers(&self, n: u128, answers: impl IntoIterator<Item = Sent>) {
        self.state().answers.insert(self.endpoint(n), answers.into_iter().collect());
    }

    /// Happens while the next push is with its provider.
    pub fn before_answer(&self, happens: impl FnOnce(&Town) + Send + 'static) {
        self.state().before_answer = Some(Box::new(happens));
    }

    pub fn ledger_stumbles(&self, times: usize) {
        self.state().ledger_stumbles = times;
    }

    pub fn tasks(&self) -> Vec<PushTask> {
        std::mem::take(&mut self.state().tasks)
    }

    pub fn pages(&self) -> Vec<usize> {
        std::mem::take(&mut self.state().pages)
    }

    pub fn pushes(&self) -> Vec<Push> {
        self.state().pushes.clone()
    }

    /// Who is told what, by row: sorted by person.
    pub fn outcomes(&self) -> Vec<(ResidentId, DeliveryOutcome)> {
        let mut rows: Vec<_> = self.state().ledger.iter().map(|d| (d.resident, d.outcome)).collect();
        rows.sort_by_key(|(resident, outcome)| (*resident, outcome.as_str()));
        rows
    }

    pub fn ledger(&self) -> Vec<Delivery> {
        self.state().ledger.clone()
    }

    pub fn planner(self: &Arc<Self>) -> Planner<Log> {
        Planner::new(self.registry(), self.polygons(), Log(self.clone()), self.clock.clone())
    }

    pub fn sender(self: &Arc<Self>) -> Sender<Phones> {
        self.sender_of(self.sender_means())
    }

    pub fn sender_of(self: &Arc<Self>, means: Means<Phones>) -> Sender<Phones> {
        Sender::new(means, SendConfig { concurrency: 4, retry_within_ms: 60_000 })
    }

    pub fn sender_means(self: &Arc<Self>) -> Means<Phones> {
        Means {
            registry: self.registry(),
            deliveries: Arc::new(Rows(self.clone())),
            polygons: self.polygons(),
            carriers: Phones { webpush: Phone(self.clone(), "webpush"), fcm: Phone(self.clone(), "fcm") },
            clock: self.clock.clone(),
            stop: self.stop.clone(),
        }
    }

    fn registry(self: &Arc<Self>) -> Arc<dyn Registry> {
        Arc::new(Rows(self.clone()))
    }

    fn polygons(self: &Arc<Self>) -> Arc<Polygons> {
        Arc::new(Polygons::new(self.neighborhoods.clone(), self.registry(), Box::new(|| Ok(()))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub fn retry() -> Sent {
    Sent::Retry { after: None, reason: "status 503".into() }
}

pub fn retry_after(seconds: u64) -> Sent {
    Sent::Retry { after: Some(Duration::from_secs(seconds)), reason: "status 429".into() }
}

pub struct Log(Arc<Town>);

impl PushLog for Log {
    async fn put(&self, task: PushTask) -> Result<(), ProduceError> {
        // As it travels: a task that cannot be written and read again is no task.
        let task = PushTask::decode(&task.encode()).unwrap();
        self.0.state().tasks.push(task);
        Ok(())
    }
}

pub struct Phones {
    webpush: Phone,
    fcm: Phone,
}

impl Carriers for Phones {
    fn for_transport(&self, transport: &Transport) -> Option<&dyn Provider> {
        match transport {
            Transport::WebPush { .. } => Some(&self.webpush),
            Transport::Fcm { .. } => Some(&self.fcm),
            Transport::Apns { .. } => None,
        }
    }
}

struct Phone(Arc<Town>, &'static str);

#[async_trait]
impl Provider for Phone {
    fn name(&self) -> &'static str {
        self.1
    }

    async fn send(&self, to: &Endpoint, hint: &Cleared<Hint>, _: Timestamp) -> Sent {
        let happens = self.0.state().before_answer.take();
        if let Some(happens) = happens {
            happens(&self.0);
        }
        let mut state = self.0.state();
        let answer = state.answers.get_mut(&to.id).and_then(VecDeque::pop_front).unwrap_or(Sent::HandedOver);
        if answer == Sent::HandedOver {
            state.pushes.push(Push {
                endpoint: to.id,
                transport: self.1,
                collapse: hint.collapse().to_owned(),
                lane: hint.lane(),
                silent: hint.silent(),
                id: PushId::of(hint.alert(), hint.revision(), to.id),
            });
        }
        answer
    }
}
