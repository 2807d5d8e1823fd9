//! The shell and the listener over real connections.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use porchlight_chassis::{
    config::{AdminConfig, HttpConfig},
    health::Health,
    http::{Json, Problem, admin, serve, shell},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use utoipa::openapi::OpenApiBuilder;

fn config() -> HttpConfig {
    HttpConfig {
        listen: "127.0.0.1:0".into(),
        address_file: String::new(),
        max_body_bytes: 1_000,
        max_decoded_bytes: 2_000,
        request_timeout_ms: 10_000,
    }
}

struct Server {
    url: String,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

async fn start(config: HttpConfig, router: Router) -> Server {
    let stop = CancellationToken::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    let token = stop.clone();
    let task = tokio::spawn(async move {
        serve(&config, router, OpenApiBuilder::new().build(), |a| tell.send(a).unwrap(), token).await
    });
    let address = told.await.unwrap();
    Server { url: format!("http://{address}"), address, stop, task }
}

async fn code(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    #[derive(serde::Deserialize)]
    struct Anything {}
    async fn post(Json(_): Json<Anything>) -> Problem {
        Problem::not_found()
    }
    async fn panics() {
        panic!("on purpose")
    }
    async fn hangs() {
        std::future::pending::<()>().await;
    }
    let router = Router::new()
        .route("/things/{id}", get(|| async { "yes" }).post(post))
        .route("/panics", get(panics))
        .route("/hangs", get(hangs));
    let server = start(HttpConfig { request_timeout_ms: 300, ..config() }, router).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", server.url);

    assert_eq!(client.get(url("/things/1")).send().await.unwrap().text().await.unwrap(), "yes");
    let unknown = client.get(url("/nothing")).send().await.unwrap();
    assert_eq!(code(unknown).await, (404, "not_found".into()));
    let wrong = client.put(url("/things/1")).send().await.unwrap();
    let allowed: std::collections::BTreeSet<_> =
        wrong.headers()["allow"].to_str().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(allowed, ["GET", "HEAD", "POST"].map(String::from).into());
    assert_eq!(code(wrong).await, (405, "method_not_allowed".into()));
    assert_eq!(code(client.get(url("/panics")).send().await.unwrap()).await, (500, "internal".into()));
    let hung = client.get(url("/hangs")).send().await.unwrap();
    assert_eq!(hung.headers()["retry-after"], "1");
    assert_eq!(code(hung).await, (503, "timeout".into()));
    let json = |body: String| client.post(url("/things/1")).header("content-type", "application/json").body(body);
    assert_eq!(code(json("{".into()).send().await.unwrap()).await, (400, "malformed_json".into()));
    assert_eq!(code(json(" ".repeat(1_001)).send().await.unwrap()).await, (413, "body_too_large".into()));

    // A handler's 404 and the router's own are the same bytes under the same headers.
    let (from_router, from_handler) =
        (client.get(url("/nothing")).send().await.unwrap(), json("{}".into()).send().await.unwrap());
    let headers = |r: &reqwest::Response| {
        let mut names: Vec<_> = r.headers().iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        names.retain(|(name, _)| name != "date");
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names
    };
    assert_eq!(headers(&from_router), headers(&from_handler));
    assert_eq!(from_router.bytes().await.unwrap(), from_handler.bytes().await.unwrap());

    let document = client.get(url("/openapi.json")).send().await.unwrap();
    assert_eq!(document.headers()["content-type"], "application/json");
    assert!(document.text().await.unwrap().contains("\"openapi\":\"3.1"));
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_sends_slowly_gets_408() {
    async fn post(Json(_): Json<serde_json::Value>) {}
    let server =
        start(HttpConfig { request_timeout_ms: 200, ..config() }, Router::new().route("/", axum::routing::post(post)))
            .await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 408"));
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    async fn post(Json(_): Json<serde_json::Value>) {}
    let server = start(config(), Router::new().route("/", axum::routing::post(post))).await;
    let client = reqwest::Client::new();
    let large = bytes::Bytes::from(vec![b' '; 4 << 20]);
    for (path, content_type, expected) in [
        ("/", "application/json", (413, "body_too_large")),
        ("/", "text/plain", (415, "unsupported_media_type")),
        ("/nothing", "application/json", (404, "not_found")),
    ]
    .repeat(10)
    {
        let request = client.post(format!("{}{path}", server.url)).header("content-type", content_type);
        let answer = code(request.body(large.clone()).send().await.unwrap()).await;
        assert_eq!(answer, (expected.0, expected.1.to_owned()));
    }
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_request_in_hand_is_finished_and_no_other_is_taken() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&leave));
    let router = Router::new().route(
        "/",
        get(move || async move {
            inside.notify_one();
            gate.notified().await;
            "finished"
        }),
    );
    let server = start(config(), router).await;
    let idle = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = tokio::spawn(reqwest::get(server.url.clone()));
    entered.notified().await;
    server.stop.cancel();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished(), "it waits for the request");
    leave.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "finished");
    tokio::time::timeout(Duration::from_secs(10), server.task).await.expect("idle ones are closed").unwrap().unwrap();
    drop(idle);
}

/// Sends one request after the other on one connection, until an answer says that it was the last.
async fn sends_until_told(address: SocketAddr) -> Result<usize, String> {
    let mut line = tokio::net::TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    for answered in 0.. {
        let lost = |e: std::io::Error| format!("no answer after {answered}: {e}");
        line.write_all(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n").await.map_err(lost)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"taken") {
            if line.read_buf(&mut answer).await.map_err(lost)? == 0 {
                return Err(format!("no answer after {answered}"));
            }
        }
        if String::from_utf8_lossy(&answer).contains("connection: close") {
            return Ok(answered + 1);
        }
    }
    unreachable!("it ends by being told")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_while_the_server_ends_is_answered_and_told_to_go() {
    const ROUNDS: u32 = 20;
    let (mut answered, mut waited) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let server = start(config(), Router::new().route("/", post(async || "taken"))).await;
        let senders: Vec<_> = (0..8).map(|_| tokio::spawn(sends_until_told(server.address))).collect();
        tokio::time::sleep(Duration::from_millis(5 + u64::from(round))).await;
        server.stop.cancel();
        for sender in senders {
            answered += sender.await.unwrap().unwrap();
        }
        let begun = std::time::Instant::now();
        server.task.await.unwrap().unwrap();
        waited += begun.elapsed();
    }
    assert!(answered > 1_000, "{answered}");
    assert!(waited < ROUNDS * Duration::from_millis(500), "it ends when the last has gone: {waited:?}");
}

#[tokio::test]
async fn the_bound_address_is_written_for_whoever_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingest.addr");
    let server = start(HttpConfig { address_file: file.display().to_string(), ..config() }, Router::new()).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), server.address.to_string());
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
    let taken = start(config(), Router::new()).await;
    let config = HttpConfig { listen: taken.address.to_string(), ..config() };
    let document = OpenApiBuilder::new().build();
    let error = serve(&config, Router::new(), document, |_| (), CancellationToken::new());
    assert!(error.await.unwrap_err().contains("cannot listen on"));
}

#[tokio::test]
async fn metrics_count_by_template_and_never_by_path() {
    let router =
        shell(&config(), Router::new().route("/counted/{id}", get(|| async {})), &OpenApiBuilder::new().build());
    for path in ["/counted/secret-1", "/counted/secret-2", "/uncounted/secret-3"] {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.addr");
    let (health, stop) = (Health::new(), CancellationToken::new());
    let config = AdminConfig { listen: "127.0.0.1:0".into(), address_file: file.display().to_string() };
    let task = tokio::spawn(admin(&config, health.clone(), stop.clone()));
    let address = loop {
        match std::fs::read_to_string(&file) {
            Ok(address) => break address,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let ask = |path: &str| {
        let url = format!("http://{address}{path}");
        async move {
            let response = reqwest::get(url).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    let (_, text) = ask("/metrics").await;
    let counted = r#"porchlight_http_requests_total{method="GET",route="/counted/{id}",status="200"} 2"#;
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains("secret"));
    assert!(text.contains("porchlight_ready 0"));

    assert_eq!(ask("/livez").await.0, 200);
    let starting = r#"{"ready":false,"unmet":[{"condition":"lifecycle","reason":"starting"}]}"#;
    assert_eq!(ask("/readyz").await, (503, starting.into()));
    health.condition("kafka", None).set(Ok(()));
    assert_eq!(ask("/readyz").await, (200, r#"{"ready":true,"unmet":[]}"#.into()));
    health.stopping();
    assert_eq!(ask("/readyz").await.0, 503);
    stop.cancel();
    task.await.unwrap().unwrap();
}
