//! Uploads over HTTP, with a log and a store of objects that remember: what is refused reaches neither.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use common::{
    SIGNATURE, api, api_with, event_id, load, settings,
    upload::{BYTES, Captured, Granted, SHA256, clip},
    with_token,
};
use porchlight_bus::ProduceError;
use porchlight_clips::{GRANT_MS, GrantKey, VaultError};
use porchlight_domain::{
    ContentHash, ContentType, Credential, Device, EventId, Media, MediaId, MediaKind, Plan, Secret,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_completed_upload_is_in_the_log_with_all_that_is_true_of_its_device() {
    let api = api();
    let event: EventId = event_id().parse().unwrap();
    let answer = api.ask(&event.to_string(), &clip()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let media = MediaId::of(api.device.id, event, MediaKind::Clip, &SHA256);
    assert_eq!(
        answer.body,
        json!({
            "media": media,
            "upload": {
                "method": "PUT",
                "url": format!("https://clips.invalid/media/{media}?{SIGNATURE}"),
                "headers": {"content-length": "1234", "content-type": "video/mp4"},
                "expires_at": "2026-05-01T17:08:02.000Z",
            },
            "grant": answer.body["grant"],
        })
    );
    let granted = Granted { media: media.to_string(), token: answer.body["grant"].as_str().unwrap().to_owned() };
    assert_eq!(api.stored(), [], "nothing is kept of a grant");

    api.vault.put(api.key(&granted), BYTES, Some(SHA256));
    api.clock.advance_ms(60_000);
    // As of the completion, not of the grant.
    let plan = Plan { retention_days: 30, clips: true };
    api.change(Device { plan, ..(*api.device).clone() });
    let answer = api.complete(&granted.media, &granted.token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body, json!({"media": media, "event": event, "received_at": "2026-05-01T17:04:02.000Z"}));
    let expected = Media {
        id: media,
        device: api.device.id,
        event,
        household: api.device.household,
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: BYTES,
        sha256: SHA256,
        retention_days: 30,
        received_at: common::NOW.plus_ms(60_000),
    };
    assert_eq!(api.stored(), [expected]);
    assert_eq!(api.objects(), 1);
}

#[tokio::test]
async fn an_upload_that_is_completed_again_gets_the_same_answer() {
    let api = api();
    let granted = api.put().await;
    let first = api.complete(&granted.media, &granted.token).await;
    assert_eq!(first.status, 200);
    api.clock.advance_ms(60_000);
    // What is kept is not judged again: neither by a plan that came later nor by a store of objects that is away.
    api.change(Device { plan: Plan { retention_days: 7, clips: false }, ..(*api.device).clone() });
    *api.vault.failure.lock().unwrap() = Some(VaultError::Unavailable("away".into()));
    assert_eq!(api.complete(&granted.media, &granted.token).await, first);
    assert_eq!((api.stored().len(), api.objects()), (1, 1));
}

#[tokio::test]
async fn an_upload_may_be_granted_again_and_either_grant_completes_it() {
    let api = api();
    let event = event_id();
    let first = api.granted(&event, &clip()).await;
    api.clock.advance_ms(GRANT_MS - 1);
    let second = api.granted(&event, &clip()).await;
    assert_eq!(first.media, second.media);
    api.vault.put(api.key(&first), BYTES, Some(SHA256));
    assert_eq!(api.complete(&first.media, &first.token).await.status, 200);
    assert_eq!(api.complete(&second.media, &second.token).await.status, 200);
    let mut other = clip();
    other["sha256"] = json!(ContentHash([1; 32]));
    assert_ne!(api.granted(&event, &other).await.media, first.media, "another content is another media");
}

#[tokio::test]
async fn every_refused_request_for_an_upload_has_its_code() {
    let api = api();
    let event = event_id();
    let with = |field: &str, value: Value| {
        let mut body = clip();
        body[field] = value;
        body
    };
    let thumbnail = |bytes: u64, content_type: &str| json!({"kind": "thumbnail", "bytes": bytes, "sha256": SHA256, "content_type": content_type});
    for (body, expected, pointer) in [
        (with("name", json!("x")), (400, "unknown_field"), "/name"),
        (with("kind", json!("film")), (400, "invalid_field"), "/kind"),
        (with("bytes", json!(-1)), (400, "invalid_field"), "/bytes"),
        (with("bytes", json!(0)), (422, "media_empty"), "/bytes"),
        (with("bytes", json!(64 * 1024 * 1024 + 1)), (413, "media_too_large"), "/bytes"),
        (with("bytes", json!(u64::MAX)), (413, "media_too_large"), "/bytes"),
        (thumbnail(2 * 1024 * 1024 + 1, "image/jpeg"), (413, "media_too_large"), "/bytes"),
        (with("content_type", json!("text/html")), (422, "content_type_unsupported"), "/content_type"),
        (with("content_type", json!("video/mp4; x=y")), (422, "content_type_unsupported"), "/content_type"),
        (with("content_type", json!("image/jpeg")), (422, "content_type_unsupported"), "/content_type"),
        (thumbnail(9, "video/mp4"), (422, "content_type_unsupported"), "/content_type"),
        (with("sha256", json!("ab")), (422, "sha256_invalid"), "/sha256"),
        (with("sha256", json!("g".repeat(64))), (422, "sha256_invalid"), "/sha256"),
    ] {
        let answer = api.ask(&event, &body).await;
        assert_eq!(answer.code(), expected, "{}", answer.body);
        assert_eq!(answer.body["pointer"], pointer);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    assert_eq!(api.ask(&uuid::Uuid::new_v4().to_string(), &clip()).await.code(), (422, "event_id_not_uuidv7"));
    assert_eq!(api.ask("7", &clip()).await.code(), (404, "not_found"));
    let path = format!("/v1/events/{event}/media");
    let send = |content_type: &'static str, body: Body| api.send(api.request_to(&path, content_type, body));
    assert_eq!(send("application/json", Body::from("{")).await.code(), (400, "malformed_json"));
    assert_eq!(send("text/plain", Body::from("{}")).await.code(), (415, "unsupported_media_type"));
    assert_eq!(send("application/json", Body::from(vec![b' '; 10_001])).await.code(), (413, "body_too_large"));

    for body in [with("bytes", json!(64 * 1024 * 1024)), thumbnail(2 * 1024 * 1024, "image/webp")] {
        api.granted(&event, &body).await;
    }
}

#[tokio::test]
async fn a_plan_without_clips_grants_neither_kind() {
    let api = api();
    api.change(Device { plan: Plan { retention_days: 7, clips: false }, ..(*api.device).clone() });
    let thumbnail = json!({"kind": "thumbnail", "bytes": 9, "sha256": SHA256, "content_type": "image/png"});
    for body in [clip(), thumbnail] {
        assert_eq!(api.ask(&event_id(), &body).await.code(), (402, "plan_stores_no_clips"));
    }
}

#[tokio::test]
async fn a_grant_is_good_for_its_device_its_media_and_its_time_only() {
    let api = api();
    let granted = api.put().await;
    let (other, other_token) = with_token();
    api.devices.all.lock().unwrap().push(Arc::new(other.clone()));
    // Another device's, even if it put the same bytes for the same event.
    let forged = GrantKey::parse(&GrantKey::generate()).unwrap();
    let opened = api.grant_key.open(&granted.token, common::NOW).unwrap();
    let foreign = api.grant_key.seal(&porchlight_clips::Grant { device: other.id, ..opened.clone() });
    let foreign_media = MediaId::of(other.id, opened.event, MediaKind::Clip, &SHA256).to_string();
    let second = api.granted(&event_id(), &clip()).await;
    for (media, token) in [
        (granted.media.as_str(), "nonsense".to_owned()),
        (&granted.media, String::new()),
        (&granted.media, forged.seal(&opened)),
        (&granted.media, second.token.clone()),
        (&second.media, granted.token.clone()),
        (&granted.media, foreign.clone()),
        (&foreign_media, foreign),
        (&event_id(), granted.token.clone()),
    ] {
        let answer = api.complete(media, &token).await;
        assert_eq!(answer.code(), (403, "grant_invalid"), "{}", answer.body);
    }
    let body = json!({"grant": granted.token}).to_string();
    let mut request = api.request_to(&format!("/v1/media/{}/complete", granted.media), "application/json", body);
    request.headers_mut().insert("authorization", format!("Bearer {other_token}").parse().unwrap());
    assert_eq!(api.send(request).await.code(), (403, "grant_invalid"), "whoever reads along cannot complete it");
    assert_eq!(api.complete("7", &granted.token).await.code(), (404, "not_found"));

    api.clock.advance_ms(GRANT_MS);
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (410, "grant_expired"));
    assert_eq!((api.stored(), api.objects()), (vec![], 1));
}

#[tokio::test]
async fn what_was_not_put_as_granted_is_never_a_media() {
    let api = api();
    let granted = api.granted(&event_id(), &clip()).await;
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (409, "upload_missing"));
    for (bytes, sha256) in [(BYTES, Some(ContentHash([0; 32]))), (BYTES + 1, Some(SHA256)), (BYTES - 1, None)] {
        api.vault.put(api.key(&granted), bytes, sha256);
        assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (409, "checksum_mismatch"));
        assert_eq!(api.objects(), 0, "it is removed");
    }
    // The refusal says that it is removed: while it is not, the device is to ask again.
    api.vault.put(api.key(&granted), BYTES + 1, Some(SHA256));
    *api.vault.removal_failure.lock().unwrap() = Some(VaultError::Unavailable("away".into()));
    let answer = api.complete(&granted.media, &granted.token).await;
    assert_eq!((answer.code(), &answer.headers["retry-after"]), ((503, "storage_unavailable"), &"5".parse().unwrap()));
    *api.vault.removal_failure.lock().unwrap() = None;
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (409, "checksum_mismatch"));
    // A server that does not say what it checked is not believed, and what it holds is not its device's fault.
    api.vault.put(api.key(&granted), BYTES, None);
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (503, "storage_unavailable"));
    assert_eq!((api.stored(), api.objects()), (vec![], 1));
    api.vault.put(api.key(&granted), BYTES, Some(SHA256));
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200, "no refusal is remembered");
}

#[tokio::test]
async fn an_object_that_lay_there_for_more_than_a_day_is_not_completed() {
    let api = api();
    let granted = api.put().await;
    let put_at = |age_ms: i64| common::NOW.plus_ms(-age_ms);
    api.vault.put_long_ago(api.key(&granted), BYTES, Some(SHA256), put_at(86_400_001));
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (409, "upload_too_old"));
    // The sweep removes it; it may have been completed before, at another process.
    assert_eq!((api.stored(), api.objects()), (vec![], 1));
    api.vault.put_long_ago(api.key(&granted), BYTES, Some(SHA256), put_at(86_400_000));
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200);
}

#[tokio::test]
async fn a_plan_that_has_come_to_store_no_clips_completes_none_and_leaves_the_object_to_the_sweep() {
    let api = api();
    let granted = api.put().await;
    api.change(Device { plan: Plan { retention_days: 7, clips: false }, ..(*api.device).clone() });
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (402, "plan_stores_no_clips"));
    // It may have been completed before, at another process.
    assert_eq!((api.stored(), api.objects()), (vec![], 1));
}

#[tokio::test]
async fn a_store_of_objects_that_is_away_or_refuses_is_told_as_come_again() {
    let api = api();
    let granted = api.put().await;
    for failure in [VaultError::Unavailable("away".into()), VaultError::Refused("no such bucket".into())] {
        *api.vault.failure.lock().unwrap() = Some(failure);
        for answer in [api.ask(&event_id(), &clip()).await, api.complete(&granted.media, &granted.token).await] {
            assert_eq!(answer.code(), (503, "storage_unavailable"));
            assert_eq!(answer.headers["retry-after"], "5");
            assert!(!answer.body["detail"].as_str().unwrap().contains("bucket"), "that is for the log");
        }
    }
    *api.vault.failure.lock().unwrap() = None;
    assert_eq!(api.stored(), []);
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200);
}

#[tokio::test]
async fn g2_no_upload_is_acknowledged_that_the_log_did_not_take() {
    let api = api();
    let granted = api.put().await;
    for (failure, expected, wait) in [
        (ProduceError::QueueFull, (503, "log_full"), Some("1")),
        (ProduceError::TimedOut, (503, "log_timeout"), Some("1")),
        (ProduceError::Unavailable("away".into()), (503, "log_unavailable"), Some("5")),
        (ProduceError::Refused("too large".into()), (500, "internal"), None),
    ] {
        *api.log.failure.lock().unwrap() = Some(failure);
        let answer = api.complete(&granted.media, &granted.token).await;
        assert_eq!(answer.code(), expected);
        assert_eq!(answer.headers.get("retry-after").map(|v| v.to_str().unwrap()), wait);
    }
    *api.log.failure.lock().unwrap() = None;
    assert_eq!((api.stored(), api.objects()), (vec![], 1), "what was put waits for its completion");

    let gate = Arc::new(Semaphore::new(0));
    *api.log.gate.lock().unwrap() = Some(Arc::clone(&gate));
    tokio::select! {
        biased;
        _ = api.complete(&granted.media, &granted.token) => panic!("answered before the log had it"),
        () = async { while api.log.appends.load(Ordering::SeqCst) < 5 { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(api.stored(), []);
    gate.add_permits(2);
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200);
}

#[tokio::test]
async fn a_device_revoked_between_grant_and_completion_is_refused() {
    let api = api();
    let granted = api.put().await;
    api.change(Device { credential: None, ..(*api.device).clone() });
    assert_eq!(api.complete(&granted.media, &granted.token).await.code(), (401, "credential_invalid"));
    assert_eq!(api.ask(&event_id(), &clip()).await.code(), (401, "credential_invalid"));
    assert_eq!(api.stored(), []);
}

#[tokio::test]
async fn a_device_revoked_while_it_completes_is_refused() {
    let api = api();
    let granted = api.put().await;
    let gate = Arc::new(Semaphore::new(0));
    *api.vault.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let (answer, ()) = tokio::join!(api.complete(&granted.media, &granted.token), async {
        api.vault.asked.notified().await;
        api.change(Device { credential: None, ..(*api.device).clone() });
        gate.add_permits(1);
    });
    assert_eq!(answer.code(), (401, "credential_invalid"));
    assert_eq!(api.stored(), []);
}

#[tokio::test]
async fn a_credential_revoked_while_the_body_comes_is_refused() {
    let api = api();
    // Completed already: an answer from memory is for the proven alone, too.
    let granted = api.put().await;
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200);
    let paths = [
        (format!("/v1/events/{}/media", event_id()), clip().to_string()),
        (format!("/v1/media/{}/complete", granted.media), json!({"grant": granted.token}).to_string()),
    ];
    for (path, text) in paths {
        api.change((*api.device).clone());
        let (mut sender, body) = futures::channel::mpsc::channel::<Result<axum::body::Bytes, std::io::Error>>(1);
        let request = api.request_to(&path, "application/json", Body::from_stream(body));
        let (answer, ()) = tokio::join!(api.send(request), async {
            use futures::SinkExt as _;
            sender.send(Ok(axum::body::Bytes::from(text[..5].to_owned()))).await.unwrap();
            api.change(Device { credential: None, ..(*api.device).clone() });
            sender.send(Ok(axum::body::Bytes::from(text[5..].to_owned()))).await.unwrap();
            drop(sender);
        });
        assert_eq!(answer.code(), (401, "credential_invalid"));
    }
    assert_eq!(api.stored().len(), 1);
}

#[tokio::test]
async fn nobody_unproven_is_told_anything_of_uploads() {
    let api = api();
    let granted = api.put().await;
    let wrong = Credential { device: api.device.id, secret: Secret::mint() }.reveal();
    for path in [format!("/v1/events/{}/media", event_id()), format!("/v1/media/{}/complete", granted.media)] {
        for (authorization, code) in [(Some(&wrong), "credential_invalid"), (None, "credential_missing")] {
            let mut request = api.request_to(&path, "application/json", "{");
            match authorization {
                Some(token) => {
                    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
                }
                None => drop(request.headers_mut().remove("authorization")),
            }
            assert_eq!(api.send(request).await.code(), (401, code), "{path}");
        }
        api.devices.stale.store(true, Ordering::SeqCst);
        let answer = api.send(api.request_to(&path, "application/json", "{")).await;
        assert_eq!(answer.code(), (503, "registry_stale"));
        api.devices.stale.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn clips_wait_while_dings_go_first() {
    let api = api_with(&porchlight_ingest::IngestConfig { shed_motion_above: 2, refuse_above: 3, ..settings() });
    let granted = api.put().await;
    let (first, mut waiting) = load(&api, 2).await;
    for answer in [api.ask(&event_id(), &clip()).await, api.complete(&granted.media, &granted.token).await] {
        assert_eq!((answer.code(), &answer.headers["retry-after"]), ((429, "shedding"), &"2".parse().unwrap()));
    }
    let (second, more) = load(&api, 1).await;
    waiting.extend(more);
    for answer in [api.ask(&event_id(), &clip()).await, api.complete(&granted.media, &granted.token).await] {
        assert_eq!((answer.code(), &answer.headers["retry-after"]), ((503, "overloaded"), &"2".parse().unwrap()));
    }
    first.add_permits(2);
    second.add_permits(1);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 202);
    }
    assert_eq!(api.stored(), []);
    assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200, "what was shed may come again");
}

#[tokio::test]
async fn no_url_no_grant_and_no_credential_is_ever_logged() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let api = api();
    let granted = {
        let _here = tracing::subscriber::set_default(subscriber);
        let granted = api.put().await;
        *api.vault.failure.lock().unwrap() = Some(VaultError::Unavailable("away".into()));
        api.complete(&granted.media, &granted.token).await;
        *api.vault.failure.lock().unwrap() = None;
        api.vault.put(api.key(&granted), BYTES, Some(ContentHash([0; 32])));
        api.complete(&granted.media, &granted.token).await;
        api.vault.put(api.key(&granted), BYTES, Some(SHA256));
        assert_eq!(api.complete(&granted.media, &granted.token).await.status, 200);
        api.complete(&event_id(), &granted.token).await;
        granted
    };
    let said = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for word in ["upload granted", "an upload is put off", "upload not completed", "upload completed", &granted.media] {
        assert!(said.contains(word), "{word}: {said}");
    }
    for secret in [SIGNATURE, &granted.token, &granted.token[..20], &api.token, &SHA256.to_string()] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn grants_completions_and_refusals_are_counted() {
    let api = api();
    let granted = api.granted(&event_id(), &clip()).await;
    api.complete(&granted.media, &granted.token).await;
    api.complete(&granted.media, "nonsense").await;
    api.vault.put(api.key(&granted), BYTES, Some(SHA256));
    api.complete(&granted.media, &granted.token).await;
    api.complete(&granted.media, &granted.token).await;
    let text = prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap();
    for counted in [
        "porchlight_ingest_grants_total{kind=\"clip\",outcome=\"accepted\"}",
        "porchlight_ingest_granted_bytes_total{kind=\"clip\"}",
        "porchlight_ingest_completions_total{kind=\"clip\",outcome=\"refused\"}",
        "porchlight_ingest_completions_total{kind=\"unread\",outcome=\"refused\"}",
        "porchlight_ingest_completions_total{kind=\"clip\",outcome=\"accepted\"}",
        "porchlight_ingest_completions_total{kind=\"clip\",outcome=\"duplicate\"}",
        "porchlight_ingest_refusals_total{code=\"upload_missing\"}",
        "porchlight_ingest_refusals_total{code=\"grant_invalid\"}",
    ] {
        assert!(text.contains(counted), "{counted}: {text}");
    }
}
