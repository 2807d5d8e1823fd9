//! What is sent twice is kept once, and answered alike.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::{Arc, atomic::Ordering};

use common::{api, event, event_id, gzip, with_token};
use porchlight_bus::ProduceError;
use serde_json::json;
use tokio::sync::Semaphore;

#[tokio::test]
async fn the_same_event_again_gets_the_same_answer_and_a_changed_one_409() {
    let api = api();
    let id = event_id();
    let first = api.post(&event(&id)).await;
    api.clock.advance_ms(60_000);
    let mut again = event(&id);
    again["sent_at"] = json!("2026-05-01T17:04:01Z");
    assert_eq!(api.post(&again).await, first, "when it is sent is no part of what it is");
    let mut changed = event(&id);
    changed["kind"] = json!("ding");
    assert_eq!(api.post(&changed).await.code(), (409, "id_conflict"));
    let gzipped = {
        let mut request = api.request("application/json", gzip(event(&id).to_string().as_bytes()));
        request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        api.send(request).await
    };
    assert_eq!(gzipped, first);
    assert_eq!(api.log.ids(), std::slice::from_ref(&id));

    // Another device's event of that id is another event.
    let (other, token) = with_token();
    api.devices.all.lock().unwrap().push(Arc::new(other));
    let mut request = api.request("application/json", changed.to_string());
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(api.send(request).await.status, 202);

    // After the window the log decides, not we.
    api.clock.advance_ms(15 * 60_000);
    assert_eq!(api.post(&changed).await.status, 202);
    assert_eq!(api.log.ids(), vec![id; 3]);
}

#[tokio::test]
async fn duplicates_at_one_moment_are_one_record_and_one_answer() {
    let api = api();
    let gate = Arc::new(Semaphore::new(0));
    *api.log.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let id = event_id();
    let mut changed = event(&id);
    changed["labels"] = json!([]);
    let same = event(&id);
    let (first, second, conflict, ()) = tokio::join!(api.post(&same), api.post(&same), api.post(&changed), async {
        api.log.asked.notified().await;
        assert_eq!(api.log.ids(), Vec::<String>::new(), "none is answered before the log has it");
        gate.add_permits(1);
    });
    assert_eq!(first.status, 202);
    assert_eq!(first, second);
    assert_eq!(conflict.code(), (409, "id_conflict"));
    assert_eq!(api.log.ids(), [id]);
}

#[tokio::test]
async fn a_changed_event_is_no_conflict_with_one_that_was_not_kept() {
    let api = api();
    let gate = Arc::new(Semaphore::new(0));
    *api.log.gate.lock().unwrap() = Some(Arc::clone(&gate));
    *api.log.failure.lock().unwrap() = Some(ProduceError::QueueFull);
    let id = event_id();
    let mut changed = event(&id);
    changed["labels"] = json!([]);
    let original = event(&id);
    let (first, second, ()) = tokio::join!(api.post(&original), api.post(&changed), async {
        api.log.asked.notified().await;
        *api.log.failure.lock().unwrap() = None;
        gate.add_permits(2);
    });
    assert_eq!(first.code(), (503, "log_full"));
    assert_eq!(second.status, 202);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_the_delivery() {
    let api = api();
    let gate = Arc::new(Semaphore::new(0));
    *api.log.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let id = event_id();
    let original = event(&id);
    tokio::select! {
        _ = api.post(&original) => panic!("the gate is closed"),
        () = api.log.asked.notified() => {}
    }
    let (again, ()) = tokio::join!(api.post(&original), async { gate.add_permits(2) });
    assert_eq!(again.status, 202);
    assert_eq!(api.log.ids(), [id]);
    assert_eq!(api.log.appends.load(Ordering::SeqCst), 1, "it shared the first one's delivery");
}
