//! A stranger's id and an id that does not exist answer alike: on every operation of the document, whatever the method.

use http::{HeaderMap, StatusCode};
use porchlight_domain::{EndpointId, MediaKind, PushId};
use porchlight_store::{Deliveries as _, Delivery, DeliveryOutcome, MediaIndex as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{NOW, PARK_STREET, QUINCY, World, alert_of, device_body, home_body, media, square};

const HOME: Uuid = Uuid::from_u128(0x18f_0001);
const DEVICE: Uuid = Uuid::from_u128(0x18f_0002);
const PHONE: Uuid = Uuid::from_u128(0x18f_0003);

/// What Alice of Malden has, of each kind that has ids: as a stranger would know them.
struct Alices {
    world: World,
    /// (a name in paths, the id).
    ids: Vec<(&'static str, Uuid)>,
}

async fn alices() -> Alices {
    let world = World::new().await;
    let malden = world.draw("Malden", PARK_STREET).await;
    world.draw("Quincy", QUINCY).await;
    world.settle("alice", HOME, PARK_STREET).await;
    world.settle("quentin", Uuid::from_u128(0x18f_0009), QUINCY).await;
    world.put("alice", &format!("/v1/devices/{DEVICE}"), device_body(HOME, PARK_STREET)).await;
    world.post("alice", &format!("/v1/devices/{DEVICE}/credentials")).await;
    let phone = json!({"transport": "webpush", "url": "https://push.example.org/x", "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"});
    assert_eq!(world.put("alice", &format!("/v1/push-endpoints/{PHONE}"), phone).await.status, 201);
    let mut private = world.happen("alice", PARK_STREET, NOW, false).await;
    let mut shared = world.happen("alice", PARK_STREET, NOW, true).await;
    let private_clip = world.film(&mut private, MediaKind::Clip, false).await;
    let shared_clip = world.film(&mut shared, MediaKind::Clip, true).await;
    let ended_clip = world.film(&mut shared, MediaKind::Thumbnail, true).await;
    world.memory.shorten(&ended_clip, NOW).await.unwrap();
    let lone_clip = media(world.household("alice"), world.device("alice", DEVICE), MediaKind::Clip, NOW);
    world.memory.put(&lone_clip).await.unwrap();
    for (clip, status) in [(&private_clip, 200), (&shared_clip, 200), (&lone_clip, 200), (&ended_clip, 410)] {
        assert_eq!(world.get("alice", &format!("/v1/media/{}", clip.id)).await.status, status, "they are there");
    }
    world.signer.take();
    for item in [&private, &shared] {
        let delivery = Delivery {
            push: PushId::of(alert_of(item), 1, EndpointId(Uuid::nil())),
            alert: alert_of(item),
            revision: 1,
            resident: world.resident("alice"),
            endpoint: EndpointId(Uuid::nil()),
            outcome: DeliveryOutcome::HandedOver,
            as_neighbor: false,
            alert_created_at: NOW,
            at: NOW,
        };
        world.memory.record(&delivery).await.unwrap();
    }
    let ids = vec![
        ("home as chosen", HOME),
        ("home", world.home("alice", HOME).0),
        ("device as chosen", DEVICE),
        ("device", world.device("alice", DEVICE).0),
        ("endpoint as chosen", PHONE),
        ("endpoint", EndpointId::scoped(world.resident("alice"), porchlight_domain::ChosenId(PHONE)).0),
        ("private item", private.id.0),
        ("shared item", shared.id.0),
        ("private alert", alert_of(&private).0),
        ("shared alert", alert_of(&shared).0),
        ("private clip", private_clip.id.0),
        ("shared clip", shared_clip.id.0),
        ("ended clip", ended_clip.id.0),
        ("clip without an event", lone_clip.id.0),
        ("neighborhood", malden.0),
        ("account", world.resident("alice").0),
        ("household", world.household("alice").0),
    ];
    Alices { world, ids }
}

/// A body that the operation would take, so that the answer depends on nothing but the id.
fn body(path: &str, method: &str) -> Option<Value> {
    match (path, method) {
        ("/v1/homes/{id}", "PUT") => Some(home_body(QUINCY)),
        ("/v1/devices/{id}", "PUT") => Some(device_body(Uuid::from_u128(0x18f_0009), QUINCY)),
        ("/v1/push-endpoints/{id}", "PUT") => Some(json!({"transport": "webpush", "url": "https://push.example.org/q",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"})),
        ("/v1/neighborhoods/{id}", "PUT") => Some(square("Mine", QUINCY)),
        _ => None,
    }
}

/// What an answer says, with the ids that the caller gave, and those derived from them, put aside.
fn normalized(world: &World, id: Uuid, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> (u16, String, String) {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let own = porchlight_domain::ChosenId(id);
    for given in [
        id,
        world.home("quentin", id).0,
        world.device("quentin", id).0,
        EndpointId::scoped(world.resident("quentin"), own).0,
    ] {
        text = text.replace(&given.to_string(), "ID");
    }
    let mut headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (status.as_u16(), headers.join("\n"), text)
}

#[tokio::test]
async fn g1_a_stranger_and_an_unknown_id_get_the_same_bytes() {
    let document = serde_json::to_value(World::new().await.document).unwrap();
    let templates: Vec<String> =
        document["paths"].as_object().unwrap().keys().filter(|path| path.contains('{')).cloned().collect();
    assert!(templates.len() >= 8, "{templates:?}");
    let mut compared = 0;
    for template in &templates {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            // A world for each: a stranger's request may make something of the stranger's own.
            let Alices { world, ids } = alices().await;
            for conditions in [&[][..], &[("if-match", "\"1\"")], &[("if-none-match", "*")]] {
                let ask = |id: Uuid| {
                    let path = template.replace("{version}", "1").replace("{id}", &id.to_string());
                    let path = path.replace("{home}", &id.to_string());
                    assert!(!path.contains('{'), "{path}");
                    let (world, body) = (&world, body(template, method));
                    async move {
                        let answer = world.ask_with("quentin", method, &path, body, conditions).await;
                        // What a PUT made must not count against the bound of the next.
                        if method == "PUT" {
                            world.delete("quentin", &path).await;
                        }
                        normalized(world, id, answer.status, &answer.headers, &answer.bytes)
                    }
                };
                let unknown = ask(Uuid::from_u128(0xdead)).await;
                if body(template, method).is_some() && conditions.is_empty() && !template.contains("neighborhoods") {
                    assert_eq!(unknown.0, 201, "the body is good, so that only the id is judged: {unknown:?}");
                }
                for (what, id) in &ids {
                    assert_eq!(ask(*id).await, unknown, "{method} {template} with Alice's {what}");
                    compared += 1;
                }
            }
            assert!(world.signer.take().is_empty(), "{method} {template} made a way to Alice's clips");
            let state = world.memory.state();
            assert!(!state.devices[&world.device("alice", DEVICE)].deleted, "{method} {template} touched Alice's");
            assert!(state.devices[&world.device("alice", DEVICE)].credential.is_some());
            assert!(state.homes[&world.home("alice", HOME)].verified);
            assert_eq!(state.residents[&world.resident("alice")].endpoints.len(), 1);
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[tokio::test]
async fn g1_lists_and_counts_of_a_stranger_do_not_change_with_what_others_have() {
    let lonely = World::new().await;
    lonely.draw("Malden", PARK_STREET).await;
    lonely.draw("Quincy", QUINCY).await;
    lonely.settle("quentin", Uuid::from_u128(0x18f_0009), QUINCY).await;
    let Alices { world, .. } = alices().await;
    let document = serde_json::to_value(&world.document).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut compared = 0;
    for (path, _) in paths.iter().filter(|(path, item)| !path.contains('{') && item.get("get").is_some()) {
        let path = if path == "/v1/operator/homes" { format!("{path}?state=pending") } else { path.clone() };
        for method in ["GET", "HEAD"] {
            let (alone, among) =
                (lonely.ask("quentin", method, &path, None).await, world.ask("quentin", method, &path, None).await);
            let text = |world: &World, answer: &crate::support::Answer| {
                // The two worlds have issuers of their own, so accounts differ, and nothing else may.
                let mut text = String::from_utf8_lossy(&answer.bytes).into_owned();
                let home = world.home("quentin", Uuid::from_u128(0x18f_0009));
                for id in [world.resident("quentin").0, world.household("quentin").0, home.0] {
                    text = text.replace(&id.to_string(), "ID");
                }
                (answer.status, answer.headers.clone(), text)
            };
            assert_eq!(text(&lonely, &alone), text(&world, &among), "{method} {path}");
            compared += 1;
        }
    }
    assert!(compared >= 14, "{compared}");
}

#[tokio::test]
async fn g1_operators_paths_answer_everybody_else_alike() {
    let Alices { world, ids } = alices().await;
    let document = serde_json::to_value(&world.document).unwrap();
    let mut answers = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"][0] != "operator" {
                continue;
            }
            for id in ids.iter().map(|(_, id)| id.to_string()).chain(["nonsense".to_owned()]) {
                let path = path.replace("{id}", &id).replace("{home}", &id).replace("{version}", "1");
                let answer = world.ask("quentin", &method.to_uppercase(), &path, Some(json!({"x": 1}))).await;
                assert_eq!(answer.status, 403, "{method} {path}");
                answers.push((answer.headers, answer.bytes));
            }
        }
    }
    assert!(answers.len() > 50 && answers.windows(2).all(|pair| pair[0] == pair[1]));
}
