#![allow(clippy::unwrap_used)]
//! The import against a gateway that is not one: it keeps what it is sent, and refuses when told to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use porchlight_geofence::{Geometry, Point};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

#[derive(Clone, Default)]
struct Gateway(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    kept: HashMap<Uuid, Value>,
    puts: usize,
    queries: Vec<String>,
    /// So many requests are answered with 503 first.
    away: usize,
    /// Refuses this name.
    refuses: Option<&'static str>,
}

impl Gateway {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = get(Self::get).put(Self::put);
        let router = Router::new().route("/v1/neighborhoods/{id}", routes).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn away(&self, headers: &HeaderMap) -> Option<Response> {
        if headers.get("authorization").is_none_or(|given| given != "Bearer operator") {
            return Some((StatusCode::FORBIDDEN, Json(json!({ "code": "operator_only" }))).into_response());
        }
        let mut inner = self.0.lock().unwrap();
        inner.away = inner.away.checked_sub(1)?;
        Some((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response())
    }

    async fn get(State(this): State<Self>, Path(id): Path<Uuid>, headers: HeaderMap) -> Response {
        if let Some(away) = this.away(&headers) {
            return away;
        }
        match this.0.lock().unwrap().kept.get(&id) {
            Some(kept) => Json(kept.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    async fn put(
        State(this): State<Self>,
        Path(id): Path<Uuid>,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
        Json(sent): Json<Value>,
    ) -> Response {
        if let Some(away) = this.away(&headers) {
            return away;
        }
        let mut inner = this.0.lock().unwrap();
        inner.puts += 1;
        inner.queries.extend(query);
        let name = sent["properties"]["name"].clone();
        if name.as_str() == inner.refuses {
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "code": "name_invalid" }))).into_response();
        }
        let is_new = inner.kept.insert(id, json!({ "name": name, "geometry": sent["geometry"] })).is_none();
        if is_new { StatusCode::CREATED } else { StatusCode::OK }.into_response()
    }
}

fn neighborhood(n: i32, name: &str) -> Feature {
    let (west, east) = (n * 10_000_001, (n + 1) * 10_000_001);
    let ring = vec![Point { x: west, y: 0 }, Point { x: east, y: 0 }, Point { x: east, y: 7 }, Point { x: west, y: 7 }];
    let geometry = Geometry { parts: vec![vec![ring]] };
    Feature { id: Uuid::from_u128(n.unsigned_abs().into()), name: name.to_owned(), geometry, notices: Vec::new() }
}

fn client_of(address: SocketAddr, token: &str) -> Client {
    Client::new(&reqwest::Client::new(), &format!("http://{address}"), token)
}

#[tokio::test]
async fn doing_it_twice_is_doing_it_once_and_a_change_is_one_update() {
    let gateway = Gateway::default();
    let client = client_of(gateway.start().await, "operator");
    let mut features: Vec<_> = (0..17).map(|n| neighborhood(n, "Here")).collect();
    let all = |created, updated, unchanged| {
        format!("17 neighborhoods: {created} created, {updated} updated, {unchanged} unchanged, 0 failed\n")
    };
    assert_eq!(send(&client, &features, false).await.unwrap(), all(17, 0, 0));
    assert_eq!(send(&client, &features, false).await.unwrap(), all(0, 0, 17));
    assert_eq!(gateway.0.lock().unwrap().puts, 17);
    features[3].name = "There".to_owned();
    features[4].geometry.parts[0][0][0].y -= 1;
    assert_eq!(send(&client, &features, false).await.unwrap(), all(0, 2, 15));
    assert!(gateway.0.lock().unwrap().queries.is_empty());
    features[5].name = "Elsewhere".to_owned();
    assert_eq!(send(&client, &features, true).await.unwrap(), all(0, 1, 16));
    assert_eq!(gateway.0.lock().unwrap().queries, ["repair=even-odd"]);
}

#[tokio::test]
async fn a_gateway_that_is_away_for_a_moment_is_waited_for_but_not_for_ever() {
    let gateway = Gateway::default();
    let client = client_of(gateway.start().await, "operator");
    gateway.0.lock().unwrap().away = 5;
    assert!(send(&client, &[neighborhood(1, "Here")], false).await.unwrap().contains("1 created"));
    gateway.0.lock().unwrap().away = usize::MAX;
    let told = send(&client, &[neighborhood(1, "Here")], false).await.unwrap_err().to_string();
    assert!(told.contains("1 failed"), "{told}");
}

#[tokio::test]
async fn one_that_is_refused_does_not_stop_the_others() {
    let gateway = Gateway::default();
    let client = client_of(gateway.start().await, "operator");
    gateway.0.lock().unwrap().refuses = Some("Bad");
    let features = [neighborhood(1, "Good"), neighborhood(2, "Bad"), neighborhood(3, "Good")];
    let told = send(&client, &features, false).await.unwrap_err().to_string();
    assert!(told.starts_with("3 neighborhoods: 2 created, 0 updated, 0 unchanged, 1 failed"), "{told}");
}

#[tokio::test]
async fn a_token_that_is_no_operators_stops_it_at_once() {
    let gateway = Gateway::default();
    let client = client_of(gateway.start().await, "somebody");
    let features: Vec<_> = (0..100).map(|n| neighborhood(n, "Here")).collect();
    let told = send(&client, &features, false).await.unwrap_err().to_string();
    assert!(told.contains("operator_only") && told.contains("use an operator's token"), "{told}");
    assert_eq!(gateway.0.lock().unwrap().puts, 0);
}
