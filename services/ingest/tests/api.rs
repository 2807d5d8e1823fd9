//! The device API over HTTP, with a log that remembers: what is refused never reaches it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::{Arc, atomic::Ordering};

use axum::{body::Body, http::Request};
use common::{api, api_with, event, event_id, gzip, load, settings, with_token};
use porchlight_bus::ProduceError;
use porchlight_domain::{Device, Label, Secret, Timestamp};
use porchlight_wire::{SentEvent, Wire as _};
use serde_json::json;

#[tokio::test]
async fn an_accepted_event_is_in_the_log_with_all_that_is_true_of_its_device() {
    let api = api();
    let id = event_id();
    let answer = api.post(&event(&id)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body, json!({"id": id, "received_at": "2026-05-01T17:03:02.000Z", "skew_ms": 500}));
    assert_eq!(answer.headers["content-type"], "application/json");
    let records = api.log.records.lock().unwrap();
    let [record] = &records[..] else { panic!("one record") };
    assert_eq!(record.event.id.to_string(), id);
    assert_eq!(record.device, api.device.id);
    assert_eq!(
        (record.household, record.point, record.plan),
        (api.device.household, api.device.point, api.device.plan)
    );
    assert!(record.policy.neighborhood.contains(Label::Person));
    assert_eq!(record.digest, record.event.digest());
    assert_eq!((record.received_at, record.skew_ms(), record.age_ms()), (common::NOW, 500, 1_500));
}

#[tokio::test]
async fn g2_nothing_is_acknowledged_that_the_log_did_not_take() {
    let api = api();
    for (failure, expected, wait) in [
        (ProduceError::QueueFull, (503, "log_full"), Some("1")),
        (ProduceError::TimedOut, (503, "log_timeout"), Some("1")),
        (ProduceError::Unavailable("away".into()), (503, "log_unavailable"), Some("5")),
        (ProduceError::Refused("too large".into()), (500, "internal"), None),
    ] {
        *api.log.failure.lock().unwrap() = Some(failure);
        let id = event_id();
        let answer = api.post(&event(&id)).await;
        assert_eq!(answer.code(), expected);
        assert_eq!(answer.headers.get("retry-after").map(|v| v.to_str().unwrap()), wait);
        *api.log.failure.lock().unwrap() = None;
        assert_eq!(api.post(&event(&id)).await.status, 202, "a failure is not remembered as success");
    }
    assert_eq!(api.log.ids().len(), 4);
}

#[tokio::test]
async fn every_refused_body_has_its_code_and_nothing_reaches_the_log() {
    let api = api();
    let id = event_id();
    let good = event(&id);
    let with = |field: &str, value: serde_json::Value| {
        let mut e = good.clone();
        e[field] = value;
        Body::from(e.to_string())
    };
    let without = |field: &str| {
        let mut e = good.clone();
        e.as_object_mut().unwrap().remove(field);
        Body::from(e.to_string())
    };
    for (body, expected) in [
        (Body::from("{\"id\""), (400, "malformed_json")),
        (Body::empty(), (400, "malformed_json")),
        (with("position", json!({"lon": 1, "lat": 2})), (400, "unknown_field")),
        (with("face", json!("x")), (400, "unknown_field")),
        (with("familiar", json!("yes")), (400, "invalid_field")),
        (without("kind"), (400, "invalid_field")),
        (without("sent_at"), (400, "sent_at_missing")),
        (with("id", json!("7")), (422, "event_id_invalid")),
        (with("id", json!(uuid::Uuid::new_v4())), (422, "event_id_not_uuidv7")),
        (with("kind", json!("rang")), (422, "kind_invalid")),
        (with("labels", json!(["jane"])), (422, "label_invalid")),
        (with("occurred_at", json!("yesterday")), (422, "time_invalid")),
        (with("occurred_at", json!("2024-05-01T17:03:00Z")), (422, "event_too_old")),
        (with("occurred_at", json!("2026-05-01T18:03:00Z")), (422, "event_from_the_future")),
        (with("ended_at", json!("2026-05-01T17:02:00Z")), (422, "event_span_invalid")),
        (with("confidence", json!(1.5)), (422, "confidence_out_of_range")),
        (with("zone", json!("Jane Doe")), (422, "zone_invalid")),
        (with("zone", json!("z".repeat(11_000))), (413, "body_too_large")),
    ] {
        let answer = api.send(api.request("application/json", body)).await;
        assert_eq!(answer.code(), expected, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["status"], expected.0);
    }

    for content_type in ["text/plain", "application/json-seq", "multipart/form-data"] {
        let answer = api.send(api.request(content_type, good.to_string())).await;
        assert_eq!(answer.code(), (415, "unsupported_media_type"), "{content_type}");
    }
    let encoded = |coding: &str, body: Vec<u8>| {
        let mut request = api.request("application/json", body);
        request.headers_mut().insert("content-encoding", coding.parse().unwrap());
        request
    };
    let bomb = gzip(&vec![b' '; 4 << 20]);
    assert!(bomb.len() < 10_000, "it fits as sent");
    assert_eq!(api.send(encoded("gzip", bomb)).await.code(), (413, "body_too_large"));
    let bomb = zstd::encode_all(&vec![b' '; 4 << 20][..], 3).unwrap();
    assert_eq!(api.send(encoded("zstd", bomb)).await.code(), (413, "body_too_large"));
    assert_eq!(api.send(encoded("gzip", vec![1, 2])).await.code(), (400, "malformed_encoding"));
    assert_eq!(api.send(encoded("br", vec![1, 2])).await.code(), (415, "unsupported_encoding"));
    let mut request = api.request("application/json", good.to_string());
    request.headers_mut().insert("porchlight-sent-at", "now".parse().unwrap());
    assert_eq!(api.send(request).await.code(), (422, "time_invalid"));
    assert_eq!(api.post_lines(&[]).await.code(), (400, "empty_batch"));
    assert_eq!(api.post_lines(&vec!["{}".into(); 21]).await.code(), (413, "too_many_records"));

    assert_eq!(api.log.ids(), Vec::<String>::new());
    assert_eq!(api.post(&good).await.status, 202, "a refusal does not use up the id");
}

#[tokio::test]
async fn unknown_revoked_deleted_and_wrong_secret_get_the_same_bytes() {
    let api = api();
    let (stranger, _) = with_token();
    let token_of =
        |device: &Device, secret: Secret| porchlight_domain::Credential { device: device.id, secret }.reveal();
    let (revoked, revoked_token) = with_token();
    let (deleted, deleted_token) = with_token();
    api.devices
        .all
        .lock()
        .unwrap()
        .extend([Arc::new(Device { credential: None, ..revoked }), Arc::new(Device { deleted: true, ..deleted })]);
    let mut answers = Vec::new();
    for token in [
        token_of(&stranger, Secret::mint()),
        token_of(&api.device, Secret::mint()),
        revoked_token,
        deleted_token,
        "nonsense".into(),
    ] {
        let mut request = api.request("application/json", event(&event_id()).to_string());
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = api.send(request).await;
        assert_eq!(answer.code(), (401, "credential_invalid"));
        assert!(!String::from_utf8(answer.bytes.clone()).unwrap().contains(&token));
        answers.push(answer);
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0], "status, headers and body");
    }
    let mut request = api.request("application/json", event(&event_id()).to_string());
    request.headers_mut().remove("authorization");
    let answer = api.send(request).await;
    assert_eq!(answer.code(), (401, "credential_missing"));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert_eq!(api.log.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_cannot_tell_lets_nobody_in() {
    let api = api();
    api.devices.stale.store(true, Ordering::SeqCst);
    let answer = api.post(&event(&event_id())).await;
    assert_eq!(answer.code(), (503, "registry_stale"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(api.log.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn a_credential_revoked_while_the_body_comes_is_refused() {
    let api = api();
    let (mut sender, body) = futures::channel::mpsc::channel::<Result<axum::body::Bytes, std::io::Error>>(1);
    let text = event(&event_id()).to_string();
    let request = api.request("application/json", Body::from_stream(body));
    let (answer, ()) = tokio::join!(api.send(request), async {
        use futures::SinkExt as _;
        sender.send(Ok(axum::body::Bytes::from(text[..10].to_owned()))).await.unwrap();
        let revoked = Device { credential: None, ..(*api.device).clone() };
        *api.devices.all.lock().unwrap() = vec![Arc::new(revoked)];
        sender.send(Ok(axum::body::Bytes::from(text[10..].to_owned()))).await.unwrap();
        drop(sender);
    });
    assert_eq!(answer.code(), (401, "credential_invalid"));
    assert_eq!(api.log.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn a_batch_answers_for_each_and_keeps_the_order() {
    let api = api();
    let ids: Vec<String> = (0..12).map(|_| event_id()).collect();
    let lines: Vec<String> = ids.iter().map(|id| event(id).to_string()).collect();
    let answer = api.post_lines(&lines).await;
    assert_eq!(answer.status, 202);
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 12);
    assert_eq!(
        results[3],
        json!({"index": 3, "id": ids[3], "status": 202, "received_at": "2026-05-01T17:03:02.000Z", "skew_ms": 500})
    );
    assert_eq!(api.log.ids(), ids, "the log has the order of the body");
}

#[tokio::test]
async fn one_bad_line_does_not_spoil_the_rest() {
    let api = api();
    let (first, second, spoiled) = (event_id(), event_id(), event_id());
    let mut bad = event(&spoiled);
    bad["zone"] = json!("Jane Doe");
    let mut changed = event(&first);
    changed["kind"] = json!("ding");
    let lines = [
        event(&first).to_string(),
        "{\"id\":".into(),
        String::new(),
        bad.to_string(),
        event(&first).to_string(),
        changed.to_string(),
        event(&second).to_string(),
    ];
    let answer = api.post_lines(&lines).await;
    assert_eq!(answer.status, 207);
    let seen: Vec<_> = answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["id"].as_str(), r["status"].as_u64().unwrap(), r["code"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Some(first.as_str()), 202, None),
            (1, None, 400, Some("malformed_json")),
            (2, Some(spoiled.as_str()), 422, Some("zone_invalid")),
            (3, Some(first.as_str()), 202, None),
            (4, Some(first.as_str()), 409, Some("id_conflict")),
            (5, Some(second.as_str()), 202, None),
        ]
    );
    assert_eq!(answer.body["results"][2]["pointer"], "/zone");
    assert_eq!(api.log.ids(), [first, second]);
}

#[tokio::test]
async fn a_batch_that_the_log_does_not_take_says_when_to_come_again() {
    let api = api();
    *api.log.failure.lock().unwrap() = Some(ProduceError::Unavailable("away".into()));
    let answer = api.post_lines(&[event(&event_id()).to_string(), "{".into()]).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.body["results"][0]["code"], "log_unavailable");
}

#[tokio::test]
async fn json_ndjson_zstd_and_protobuf_of_one_event_are_one_event() {
    let api = api();
    let id = event_id();
    let first = api.post(&event(&id)).await;
    let line = format!("{}\n", event(&id));
    let mut request = api.request("application/x-ndjson", zstd::encode_all(line.as_bytes(), 3).unwrap());
    request.headers_mut().insert("content-encoding", "zstd".parse().unwrap());
    let as_line = api.send(request).await;
    assert_eq!(as_line.body["results"][0]["received_at"], first.body["received_at"]);

    let kept = api.log.records.lock().unwrap()[0].clone();
    let message = SentEvent { event: kept.event, sent_at: Timestamp(0) }.encode();
    let mut body = Vec::new();
    prost::encoding::encode_varint(message.len() as u64, &mut body);
    body.extend(message);
    let mut request = api.request("application/x-protobuf", body);
    request.headers_mut().insert("porchlight-sent-at", "2026-05-01T17:03:01.5Z".parse().unwrap());
    let as_message = api.send(request).await;
    assert_eq!(as_message.status, 202);
    assert_eq!(as_message.body["results"][0]["received_at"], first.body["received_at"]);
    assert_eq!(api.log.ids(), [id]);
}

/// Brokers that take nothing: whoever can wait is told so at once, and does not stand in the way of a ding.
#[tokio::test]
async fn g2_a_log_that_keeps_nothing_sheds_motion_before_dings() {
    let api = api();
    *api.log.waiting_for.lock().unwrap() = std::time::Duration::from_millis(1_001);
    let motion = event(&event_id());
    let shed = api.post(&motion).await;
    assert_eq!((shed.code(), &shed.headers["retry-after"]), ((429, "shedding"), &"2".parse().unwrap()));
    let mut ding = event(&event_id());
    ding["kind"] = json!("ding");
    assert_eq!(api.post(&ding).await.status, 202);
    *api.log.waiting_for.lock().unwrap() = std::time::Duration::ZERO;
    assert_eq!(api.post(&motion).await.status, 202);
}

#[tokio::test]
async fn motion_is_shed_first_and_dings_pass_until_nothing_does() {
    let api = api_with(&porchlight_ingest::IngestConfig { shed_motion_above: 2, refuse_above: 4, ..settings() });
    let (first_gate, mut waiting) = load(&api, 2).await;
    let motion = event(&event_id());
    let shed = api.post(&motion).await;
    assert_eq!(shed.code(), (429, "shedding"));
    assert_eq!(shed.headers["retry-after"], "2");
    let ding = |id: &str| {
        let mut ding = event(id);
        ding["kind"] = json!("ding");
        ding
    };
    let passed = event_id();
    assert_eq!(api.post(&ding(&passed)).await.status, 202);
    let (shed, mixed) = (event_id(), event_id());
    let answer = api.post_lines(&[event(&shed).to_string(), ding(&mixed).to_string()]).await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (207, &"2".parse().unwrap()));
    assert_eq!(answer.body["results"][0]["status"], 429);
    assert_eq!(answer.body["results"][1]["status"], 202);

    let (second_gate, more) = load(&api, 2).await;
    waiting.extend(more);
    let full = api.post(&ding(&event_id())).await;
    assert_eq!(full.code(), (503, "overloaded"));
    assert_eq!(full.headers["retry-after"], "2");
    first_gate.add_permits(2);
    second_gate.add_permits(2);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 202);
    }
    assert_eq!(api.post(&motion).await.status, 202, "a shed event may come again");
    assert_eq!(api.log.ids().len(), 7);
}

#[tokio::test]
async fn the_document_says_what_the_router_does() {
    let parts = porchlight_ingest::Parts {
        devices: Arc::new(common::FakeDevices::default()),
        log: Arc::new(common::FakeLog::default()),
        vault: Arc::new(common::FakeVault::default()),
        grant_key: porchlight_clips::GrantKey::parse(&porchlight_clips::GrantKey::generate()).unwrap(),
        clock: Arc::new(porchlight_domain::SystemClock),
    };
    let app = porchlight_ingest::App::new(&settings(), parts);
    let (router, document) = porchlight_ingest::router(app);
    porchlight_chassis::testing::openapi_matches(router, &document).await.unwrap();

    let served = api().send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let operation = &served["paths"]["/v1/events"]["post"];
    let types: Vec<_> = operation["requestBody"]["content"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(types, ["application/json", "application/x-ndjson", "application/x-protobuf"]);
    let paths = served["paths"].as_object().unwrap();
    let names: Vec<&String> = paths.keys().collect();
    assert_eq!(names, ["/v1/events", "/v1/events/{event}/media", "/v1/media/{media}/complete"]);
    assert!(paths.values().all(|path| path["post"]["security"] == json!([{"device": []}])));
    // G7: there is no field for a face, a plate, a name or a position.
    let mut fields: Vec<_> =
        served["components"]["schemas"]["Event"]["properties"].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["confidence", "ended_at", "familiar", "id", "kind", "labels", "occurred_at", "sent_at", "zone"]
    );
    assert_eq!(served["components"]["schemas"]["Event"]["additionalProperties"], false);
}
