//! A hint as the gate clears it, and a server that keeps what it got and answers as it was told.
#![allow(clippy::unwrap_used, dead_code)]

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use porchlight_domain::{
    Alert, AlertId, Borders, ChosenId, Cleared, Endpoint, EndpointId, EventId, Gate, Hint, HomeId, HouseholdId, ItemId,
    Kind, Label, Lane, NeighborhoodId, NeighborhoodRef, Point, Residence, ResidentId, Timestamp, Transport, Undecided,
    Version, Viewer,
};
use porchlight_push::PushConfig;
use uuid::Uuid;

/// When the tests happen. Push services check VAPID's expiry by their own clock, so it is the present.
pub(crate) fn now() -> Timestamp {
    porchlight_domain::Clock::now(&porchlight_domain::SystemClock)
}

/// The world is one neighborhood.
struct Everywhere;

impl Borders for Everywhere {
    fn is_known(&self, _: NeighborhoodId) -> bool {
        true
    }
    fn current(&self, _: NeighborhoodId) -> Option<Version> {
        Some(Version(1))
    }
    fn holds(&self, _: NeighborhoodRef, _: Point) -> Result<bool, Undecided> {
        Ok(true)
    }
}

/// What the household, or a neighbor, may be told of an alert that expires at `expires_at`.
pub(crate) fn hint(lane: Lane, revision: u32, to_neighbor: bool, expires_at: Timestamp) -> Cleared<Hint> {
    let household = HouseholdId(Uuid::from_u128(1));
    let item = ItemId(Uuid::from_u128(2));
    let labels = [Label::Person].into_iter().collect();
    let alert = Alert {
        id: AlertId::of_item(item),
        item,
        revision,
        event: EventId(uuid::Uuid::nil()),
        shared_revision: revision,
        household,
        neighborhoods: vec![NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(3)), version: Version(1) }],
        lane,
        kind: Kind::Motion,
        labels,
        shared_labels: labels,
        created_at: expires_at.plus_ms(-60_000),
        expires_at,
        stream_only: false,
    };
    let viewer = Viewer {
        resident: ResidentId(Uuid::from_u128(4)),
        household: if to_neighbor { HouseholdId(Uuid::from_u128(5)) } else { household },
        residences: vec![Residence {
            home: HomeId(Uuid::from_u128(6)),
            point: Point { lon_e7: 0, lat_e7: 0 },
            verified: true,
        }],
    };
    Gate(&Everywhere).tell(&viewer, &alert).unwrap().unwrap()
}

pub(crate) fn endpoint(transport: Transport) -> Endpoint {
    Endpoint {
        id: EndpointId(Uuid::from_u128(7)),
        chosen: ChosenId(Uuid::from_u128(8)),
        transport,
        registered_at: Timestamp(0),
    }
}

pub(crate) fn config() -> PushConfig {
    PushConfig {
        vapid_private_key: porchlight_push::mint_vapid_key(),
        vapid_private_key_file: String::new(),
        vapid_subject: "mailto:ops@example.org".to_owned(),
        timeout_ms: 10_000,
        allow_private_addresses: true,
        recorder_url: String::new(),
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16, Vec<(&'static str, String)>),
    Never,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    reply: Arc<Mutex<Reply>>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { seen: Arc::default(), reply: Arc::new(Mutex::new(reply)) };
        let router = Router::new().fallback(keep).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, task }
    }

    pub(crate) fn answer(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    shared.seen.lock().unwrap().push(Seen { method, uri, headers, body });
    let reply = shared.reply.lock().unwrap().clone();
    match reply {
        Reply::Status(code, headers) => {
            let mut response = (StatusCode::from_u16(code).unwrap(), "a body nobody reads").into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Reply::Never => std::future::pending().await,
    }
}
