#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use axum::body::Body;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use porchlight_geofence::Point;
use porchlight_synth::{BOSTON, towns};
use serde_json::json;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;

fn city() -> (Web, Router, Scene) {
    let neighborhoods: Vec<Neighborhood> = (1..)
        .zip(towns(BOSTON))
        .map(|(n, town)| Neighborhood { id: Uuid::from_u128(n), name: town.name, geometry: town.geometry })
        .collect();
    // Roxbury, and the middle of the Atlantic.
    let roxbury = Point { x: -710_900_000, y: 423_150_000 };
    let residents = [("ada", roxbury, true), ("ben", roxbury, false), ("eve", Point { x: -400_000_000, y: 0 }, true)];
    let scene = Scene {
        name: "City".into(),
        seed: 7,
        rate: 10.0,
        cameras: vec![Camera { id: Uuid::from_u128(99), at: roxbury, home: "ada".into() }],
        residents: residents
            .map(|(subject, home, verified)| Resident { subject: subject.into(), home, verified })
            .to_vec(),
        neighborhoods,
    };
    let (web, router) = Web::new();
    web.open(&scene, |subject| format!("token of {subject}"));
    (web, router, scene)
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    (parts.status, parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap())
}

fn get_(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn asking() -> http::request::Builder {
    Request::post("/city/token").header("content-type", "application/json")
}

#[tokio::test]
async fn until_it_is_opened_it_says_so_and_shows_itself_all_the_same() {
    let (web, router) = Web::new();
    for path in ["/city/scene", "/city/phones/ada"] {
        let (status, headers, body) = ask(&router, get_(path)).await;
        assert_eq!(
            (status, &headers["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()),
            "{path}"
        );
        assert!(String::from_utf8_lossy(&body).contains("city_founding"));
    }
    assert_eq!(ask(&router, get_("/")).await.0, StatusCode::OK);
    web.open(&Scene::default(), |_| String::new());
    assert_eq!(ask(&router, get_("/city/scene")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_the_policy_and_is_not_sniffed() {
    let (_, router, _) = city();
    let paths = ["/", "/sw.js", "/page/main.js", "/page/vendor/leaflet.js", "/page/none", "/none", "/city/scene"];
    for path in paths.into_iter().chain(["/city/phones/ada", "/city/phones/nobody", "/city/token"]) {
        let (status, headers, _) = ask(&router, get_(path)).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{path} {status}: {policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_table() {
    let (_, router, _) = city();
    for path in [
        "/page/../Cargo.toml",
        "/page/..%2fCargo.toml",
        "/page/%2e%2e/src/lib.rs",
        "/page//etc/passwd",
        "/page/vendor/../../Cargo.toml",
        "/page/vendor",
        "/page/",
        "/page/package.json",
        "/page/mock/server.mjs",
        "/page/main.js%00",
        "/page/%ff",
        "/index.html",
    ] {
        let (status, _, body) = ask(&router, get_(path)).await;
        assert!(status == 404 || status == 400, "{path}: {status}");
        assert!(body.len() < 300, "{path}");
    }
}

#[tokio::test]
async fn each_file_has_its_type_and_is_sent_once() {
    let (_, router, _) = city();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/sw.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/vendor/uplot.LICENSE.txt", "text/plain; charset=utf-8"),
    ] {
        let (status, headers, body) = ask(&router, get_(path)).await;
        assert_eq!((status.as_u16(), headers["content-type"].to_str().unwrap()), (200, kind), "{path}");
        assert_eq!(headers["cache-control"], "no-cache");
        assert!(!body.is_empty());
        let again = Request::get(path).header("if-none-match", &headers["etag"]).body(Body::empty()).unwrap();
        let (status, _, body) = ask(&router, again).await;
        assert_eq!((status.as_u16(), body.len()), (304, 0), "{path}");
    }
}

#[test]
fn every_file_of_the_page_is_in_the_program() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let mut there = BTreeSet::new();
    for (folder, before) in [(page.clone(), ""), (page.join("vendor"), "vendor/")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let shown = ["html", "js", "css", "svg"].iter().any(|end| name.ends_with(&format!(".{end}")));
            if shown || !before.is_empty() {
                there.insert(format!("{before}{name}"));
            }
        }
    }
    assert_eq!(there, assets::FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[tokio::test]
async fn the_scene_places_verified_homes_in_the_polygons_that_hold_them() {
    let (_, router, scene) = city();
    let (_, _, body) = ask(&router, get_("/city/scene")).await;
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["neighborhoods"]["features"].as_array().unwrap().len(), scene.neighborhoods.len());
    let name_of = |id: &Value| {
        let features = told["neighborhoods"]["features"].as_array().unwrap();
        features.iter().find(|f| f["id"] == *id).map(|f| f["properties"]["name"].clone()).unwrap()
    };
    let [ada, ben, eve] = [0, 1, 2].map(|n| told["residents"][n]["neighborhoods"].as_array().unwrap().clone());
    assert_eq!(ada.iter().map(name_of).collect::<Vec<_>>(), [json!("Roxbury")]);
    assert!(ben.is_empty() && eve.is_empty(), "unverified, and nowhere");
    assert_eq!(told["cameras"][0]["home"], "ada");
    let names: BTreeSet<&str> =
        told["residents"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn a_token_is_for_a_resident_of_the_city_and_for_its_own_page_only() {
    let (_, router, _) = city();
    let body = |subject: &str| Body::from(json!({ "subject": subject }).to_string());
    let (status, headers, answer) = ask(&router, asking().body(body("ada")).unwrap()).await;
    assert_eq!((status.as_u16(), &answer[..]), (200, br#"{"access_token":"token of ada"}"#.as_slice()));
    assert_eq!(headers["cache-control"], "no-store");
    let same = asking().header("sec-fetch-site", "same-origin").body(body("ada")).unwrap();
    assert_eq!(ask(&router, same).await.0, 200);
    for from in ["cross-site", "same-site", "none"] {
        let foreign = asking().header("sec-fetch-site", from).body(body("ada")).unwrap();
        assert_eq!(ask(&router, foreign).await.0, 403, "{from}");
    }
    assert_eq!(ask(&router, asking().body(body("the-operator")).unwrap()).await.0, 404);
    assert_eq!(ask(&router, Request::post("/city/token").body(body("ada")).unwrap()).await.0, 415);
}

/// Else a page from elsewhere would only have to let its name point to this machine.
#[tokio::test]
async fn the_city_answers_to_the_names_of_this_machine_only() {
    let (_, router, _) = city();
    let asked = |path: &str, host: &str| Request::get(path).header("host", host).body(Body::empty()).unwrap();
    for host in ["127.0.0.1:8600", "localhost:8600", "[::1]:8600", "localhost"] {
        assert_eq!(ask(&router, asked("/city/scene", host)).await.0, 200, "{host}");
    }
    for host in ["evil.example:8600", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "a b", ""] {
        for path in ["/city/scene", "/city/phones/ada", "/"] {
            assert_eq!(ask(&router, asked(path, host)).await.0, 403, "{path} {host}");
        }
    }
}

#[tokio::test]
async fn a_phone_shows_one_notification_for_each_tag_and_no_more_than_it_has_room_for() {
    let (web, router, _) = city();
    let hint = |tag: &str, revision: u32| json!({ "collapse": tag, "revision": revision });
    web.push("ada", &hint("a", 1), 0);
    web.push("ada", &hint("b", 1), 1);
    web.push("ada", &hint("a", 2), 2);
    web.push("nobody", &hint("a", 3), 3);
    let shown = |body: Bytes| serde_json::from_slice::<Value>(&body).unwrap();
    let told = shown(ask(&router, get_("/city/phones/ada")).await.2);
    let tags: Vec<_> = told.as_array().unwrap().iter().map(|s| (s["tag"].clone(), s["replaced"].clone())).collect();
    assert_eq!(tags, [(json!("b"), json!(0)), (json!("a"), json!(1))]);
    assert_eq!(told[1]["payload"]["revision"], 2);
    assert_eq!(told[1]["at"], "1970-01-01T00:00:00.002Z");
    for n in 0..50 {
        web.push("ada", &hint(&format!("n{n}"), 1), n);
    }
    let told = shown(ask(&router, get_("/city/phones/ada")).await.2);
    assert_eq!((told.as_array().unwrap().len(), &told[19]["tag"]), (phones::MOST_SHOWN, &json!("n49")));
    assert_eq!(&ask(&router, get_("/city/phones/ben")).await.2[..], b"[]");
    assert_eq!(ask(&router, get_("/city/phones/nobody")).await.0, 404);
}

/// The next frames of a stream, parsed.
async fn frames(body: &mut axum::body::BodyDataStream, count: usize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while found.len() < count {
        let Some(Ok(bytes)) = body.next().await else { break };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        for block in text.split("\n\n").filter(|block| block.starts_with("event: ")) {
            let (event, data) = block["event: ".len()..].split_once("\ndata: ").unwrap();
            found.push((event.to_owned(), serde_json::from_str(data).unwrap()));
        }
    }
    found
}

async fn watch_it(router: &Router) -> axum::body::BodyDataStream {
    let response = router.clone().oneshot(get_("/city/stream")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

fn an_alert() -> Alert {
    let [id, item, n] = [1, 2, 3].map(Uuid::from_u128);
    Alert { id, item, camera: 0, neighborhoods: vec![n], revision: 1 }
}

#[tokio::test(start_paused = true)]
async fn what_happens_within_a_tenth_of_a_second_comes_together() {
    let (web, router, _) = city();
    web.numbers(&Numbers { rate: 4.5, ..Numbers::default() });
    let mut watching = watch_it(&router).await;
    web.event(0, "person", 1_234_567);
    web.event(0, "ding", 1_234_599);
    web.alert(an_alert());
    web.push("ada", &json!({ "collapse": "a" }), 0);
    let stop = CancellationToken::new();
    let beating = tokio::spawn({
        let (web, stop) = (web.clone(), stop.clone());
        async move { web.run(stop).await }
    });
    let got = frames(&mut watching, 3).await;
    assert_eq!((got[0].0.as_str(), &got[0].1["rate"]), ("numbers", &json!(4.5)), "the last numbers come first");
    assert_eq!(got[0].1["p50_ms"], Value::Null);
    let (event, beat) = &got[1];
    assert_eq!(event, "beat");
    assert_eq!(beat["events"], json!([[0, "person", 67], [0, "ding", 99]]));
    assert_eq!((&beat["alerts"][0]["neighborhoods"][0], &beat["pushes"]), (&json!(Uuid::from_u128(3)), &json!(1)));
    assert_eq!((&got[2].1["events"], &got[2].1["pushes"]), (&json!([]), &json!(0)), "and only once");
    stop.cancel();
    beating.await.unwrap();
    while watching.next().await.is_some() {}
    // Who comes then gets a stream that is over.
    let mut late = watch_it(&router).await;
    assert!(frames(&mut late, 9).await.iter().all(|(event, _)| event == "numbers"));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_does_not_read_is_let_go_and_the_others_are_not() {
    let (web, router, _) = city();
    let mut slow = watch_it(&router).await;
    let mut quick = watch_it(&router).await;
    let stop = CancellationToken::new();
    let beating = tokio::spawn({
        let (web, stop) = (web.clone(), stop.clone());
        async move { web.run(stop).await }
    });
    let read = frames(&mut quick, stream::KEPT * 2).await;
    assert!(read.iter().all(|(event, _)| event == "beat"), "who reads gets all of it");
    let all = frames(&mut slow, stream::KEPT * 3).await;
    assert_eq!(all.last().unwrap().0, "lagged");
    assert!(all.len() <= stream::KEPT + 2, "{}", all.len());
    stop.cancel();
    beating.await.unwrap();
}

#[tokio::test]
async fn a_beat_and_the_number_of_browsers_have_bounds() {
    let (web, router, _) = city();
    for n in 0..stream::MOST_OF_A_BEAT + 500 {
        web.event(n, "motion", 0);
        web.alert(an_alert());
    }
    let mut watching = Vec::new();
    for _ in 0..stream::MOST_WATCHERS {
        watching.push(watch_it(&router).await);
    }
    let (status, headers, _) = ask(&router, get_("/city/stream")).await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "5"));
    let stop = CancellationToken::new();
    tokio::spawn({
        let (web, stop) = (web.clone(), stop.clone());
        async move { web.run(stop).await }
    });
    let beat = frames(&mut watching[0], 1).await.remove(0).1;
    stop.cancel();
    assert_eq!(beat["events"].as_array().unwrap().len(), stream::MOST_OF_A_BEAT);
    assert_eq!(beat["alerts"].as_array().unwrap().len(), stream::MOST_OF_A_BEAT);
    watching.clear();
}

#[test]
fn it_merges_into_a_router_with_a_fallback_of_its_own() {
    let (_, router, _) = city();
    let gateway: Router = Router::new().route("/v1/me", get(|| async { "me" })).merge(router);
    let _: Router = gateway.fallback(|| async { Problem::not_found() });
}
