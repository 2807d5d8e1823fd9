//! The registry write under faults: what is answered, and what is made good later.

use std::sync::atomic::Ordering;

use porchlight_gateway::registry::Sweeper;
use uuid::Uuid;

use crate::support::{PARK_STREET, World, device_body, memory::Fault};

const HOME: Uuid = Uuid::from_u128(1);
const DEVICE: Uuid = Uuid::from_u128(2);

async fn world() -> (World, String) {
    let world = World::new().await;
    world.settle("alice", HOME, PARK_STREET).await;
    (world, format!("/v1/devices/{DEVICE}"))
}

#[tokio::test]
async fn an_intent_is_written_before_the_row_and_never_removed() {
    let (world, path) = world().await;
    world.memory.state().intents.clear();
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let intents = world.memory.state().intents.clone();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].kind, porchlight_store::IntentKind::Device(world.device("alice", DEVICE)));
    world.memory.state().fault = Some(Fault::LostUnknown);
    let mut renamed = device_body(HOME, PARK_STREET);
    renamed["name"] = "Back door".into();
    world.put("alice", &path, renamed).await;
    assert_eq!(world.memory.state().intents.len(), 2, "of a write that failed too");
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_row() {
    let (world, path) = world().await;
    world.memory.state().fault = Some(Fault::AppliedUnknown);
    let answer = world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    assert_eq!((answer.status.as_u16(), answer.etag()), (201, "\"1\""));
    assert_eq!(world.recorder.devices().len(), 1);

    let mut renamed = device_body(HOME, PARK_STREET);
    renamed["name"] = "Back door".into();
    world.memory.state().fault = Some(Fault::LostUnknown);
    let answer = world.put("alice", &path, renamed.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store_unavailable"));
    assert_eq!(world.recorder.devices().len(), 1, "what was not written is not published");
    assert_eq!(world.put("alice", &path, renamed).await.etag(), "\"2\"");
}

/// Compaction keeps the last offset, not the highest version: whoever published an older row late must publish again.
#[tokio::test]
async fn a_row_that_is_overtaken_while_it_is_published_is_published_again() {
    let (world, path) = world().await;
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let (memory, id) = (world.memory.clone(), world.device("alice", DEVICE));
    *world.recorder.then.lock().unwrap() = Some(Box::new(move || {
        let mut state = memory.state();
        let device = state.devices.get_mut(&id).unwrap();
        device.version = device.version.next();
        device.name = "Overtaken".to_owned();
    }));
    let mut renamed = device_body(HOME, PARK_STREET);
    renamed["name"] = "Back door".into();
    let answer = world.put("alice", &path, renamed).await;
    assert_eq!((answer.status.as_u16(), answer.etag()), (200, "\"2\""), "its own version, and it was published");
    let names: Vec<String> = world.recorder.devices().into_iter().map(|device| device.name).collect();
    assert_eq!(names, ["Front door", "Back door", "Overtaken"]);
}

#[tokio::test]
async fn a_broker_that_is_away_is_said_and_the_sweeper_finishes_the_write() {
    let (world, path) = world().await;
    world.recorder.away.store(true, Ordering::SeqCst);
    let answer = world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "registry_unavailable"));
    assert_eq!(world.memory.state().devices.len(), 1, "the row stands");
    let mut sweeper = Sweeper::new(world.app.registrar().clone());
    world.clock.advance_ms(2_000);
    assert!(sweeper.turn().await.is_err(), "the broker is away still");
    world.recorder.away.store(false, Ordering::SeqCst);
    sweeper.turn().await.unwrap();
    assert_eq!(world.recorder.devices().len(), 1);
    for _ in 0..600 {
        world.clock.advance_ms(1_000);
        sweeper.turn().await.unwrap();
    }
    assert_eq!(world.recorder.devices().len(), 1, "once for each version");
}

/// A row that is gone may be gone for its writer alone: who deletes again because no answer came relies on the 404.
#[tokio::test]
async fn that_something_is_gone_is_said_only_after_it_is_published() {
    let (world, path) = world().await;
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let delete = async || world.delete("alice", &path).await.status.as_u16();
    world.recorder.away.store(true, Ordering::SeqCst);
    assert_eq!([delete().await, delete().await], [503, 503], "the row says so, and nobody has heard of it");
    world.recorder.away.store(false, Ordering::SeqCst);
    assert_eq!(delete().await, 404);
    assert!(world.recorder.devices().last().unwrap().deleted);
    let unknown = world.delete("alice", &format!("/v1/devices/{}", Uuid::max())).await;
    assert_eq!(
        (unknown.status.as_u16(), world.recorder.devices().len()),
        (404, 2),
        "of what never was there is no record"
    );
}

/// The row is written long after its intent: its writer was stopped and resumed, and then died.
#[tokio::test]
async fn a_row_that_comes_late_is_published_too() {
    let (world, path) = world().await;
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let mut sweeper = Sweeper::new(world.app.registrar().clone());
    world.clock.advance_ms(2_000);
    sweeper.turn().await.unwrap();
    let id = world.device("alice", DEVICE);
    {
        let mut state = world.memory.state();
        let device = state.devices.get_mut(&id).unwrap();
        device.version = device.version.next();
        device.name = "Late".to_owned();
    }
    for _ in 0..70 {
        world.clock.advance_ms(1_000);
        sweeper.turn().await.unwrap();
    }
    let published = world.recorder.devices();
    assert_eq!(published.last().unwrap().name, "Late");
    assert_eq!(published.iter().filter(|d| d.name == "Late").count(), 1);
}

#[tokio::test]
async fn of_two_conditional_writers_one_wins() {
    let (world, path) = world().await;
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let put = |name: &'static str| {
        let (world, path) = (&world, &path);
        async move {
            let mut body = device_body(HOME, PARK_STREET);
            body["name"] = name.into();
            world.ask_with("alice", "PUT", path, Some(body), &[("if-match", "\"1\"")]).await.status.as_u16()
        }
    };
    let (a, b, c) = tokio::join!(put("a"), put("b"), put("c"));
    let mut statuses = [a, b, c];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412]);
}

#[tokio::test]
async fn a_store_that_is_away_is_said() {
    let (world, path) = world().await;
    world.memory.state().away = true;
    let answer = world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store_unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
}

/// The last net: a topic that is behind of a row (a paused writer's late record) is found and mended.
#[tokio::test]
async fn what_a_topic_is_behind_of_is_published_again() {
    use porchlight_domain::{Device, Version};
    let (world, path) = world().await;
    world.put("alice", &path, device_body(HOME, PARK_STREET)).await;
    let id = world.device("alice", DEVICE);
    let registrar = world.app.registrar();
    let drift = |fed: Vec<(porchlight_domain::DeviceId, Version)>| async move {
        registrar.reconcile::<Device>(&fed.into_iter().collect()).await.unwrap()
    };
    assert_eq!(drift(vec![(id, Version(1))]).await, 0);
    assert_eq!(world.recorder.devices().len(), 1, "what agrees is left alone");
    assert_eq!(drift(vec![(id, Version(0))]).await, 1, "the topic ends with an older version");
    assert_eq!(drift(vec![]).await, 1, "the topic never had it");
    assert_eq!(world.recorder.devices().len(), 3);
}
