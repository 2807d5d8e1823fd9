//! Clips and thumbnails: who is shown the way to them, for how long, and where it leads.

use std::sync::{Arc, atomic::Ordering};

use http::header;
use porchlight_clips::S3;
use porchlight_domain::{Item, Media, MediaKind, Timestamp, view::Scope};
use porchlight_store::{MediaIndex as _, Timeline as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, NOW, PARK_STREET, QUINCY, World, device_body, home_body, media};

const HOME: Uuid = Uuid::from_u128(0x18f);
const DEVICE: Uuid = Uuid::from_u128(0xde);
const DAY_MS: i64 = 86_400_000;

/// Alice and Bob live in Malden, Quentin in Quincy; Paula waits in Malden for her home to be verified.
async fn people(world: &World) {
    world.draw("Malden", PARK_STREET).await;
    world.draw("Quincy", QUINCY).await;
    world.settle("alice", HOME, PARK_STREET).await;
    world.settle("bob", HOME, (PARK_STREET.0 + 0.002, PARK_STREET.1)).await;
    world.settle("quentin", HOME, QUINCY).await;
    world.put("paula", &format!("/v1/homes/{HOME}"), home_body(PARK_STREET)).await;
}

async fn world() -> World {
    let world = World::new().await;
    people(&world).await;
    world
}

/// A shared item of Alice's at her door, with a shared clip.
async fn shared_clip(world: &World) -> (Item, Media) {
    let mut item = world.happen("alice", PARK_STREET, NOW, true).await;
    let clip = world.film(&mut item, MediaKind::Clip, true).await;
    (item, clip)
}

async fn read(world: &World, who: &str, media: &Media) -> Answer {
    world.get(who, &format!("/v1/media/{}", media.id)).await
}

/// It is refused with the bytes of a media that does not exist, and nothing was signed.
async fn assert_nothing_there(world: &World, who: &str, media: &Media) {
    let (answer, unknown) =
        (read(world, who, media).await, world.get(who, &format!("/v1/media/{}", Uuid::nil())).await);
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{who}");
    assert_eq!((answer.status, &answer.headers, &answer.bytes), (unknown.status, &unknown.headers, &unknown.bytes));
    assert_eq!(world.signer.take(), [], "{who} was made a URL");
}

#[tokio::test]
async fn g1_the_household_is_told_everything_of_its_media_and_the_way_to_it() {
    let world = world().await;
    let mut item = world.happen("alice", PARK_STREET, NOW, false).await;
    let clip = world.film(&mut item, MediaKind::Clip, false).await;
    let answer = read(&world, "alice", &clip).await;
    assert_eq!((answer.status.as_u16(), answer.headers[header::CACHE_CONTROL].as_bytes()), (200, &b"no-store"[..]));
    let url = format!("https://media.example.org/media/{}?signed", clip.id);
    assert_eq!(
        answer.json(),
        json!({"id": clip.id, "scope": "household", "kind": "clip", "content_type": "video/mp4", "bytes": 1_000,
            "sha256": clip.sha256, "item": item.id, "event": clip.event, "received_at": NOW, "url": url,
            "url_expires_at": NOW.plus_ms(60_000)})
    );
    assert_eq!(world.signer.take(), [(clip.id, Scope::Household)]);
    assert_nothing_there(&world, "bob", &clip).await;
}

#[tokio::test]
async fn the_household_gets_a_clip_whose_event_or_item_is_not_there() {
    let world = world().await;
    let lone = media(world.household("alice"), world.device("alice", DEVICE), MediaKind::Clip, NOW);
    world.memory.put(&lone).await.unwrap();
    let answer = read(&world, "alice", &lone).await;
    assert_eq!((answer.status.as_u16(), answer.json().get("item")), (200, None));
    world.signer.take();
    assert_nothing_there(&world, "bob", &lone).await;

    // The item ended, the clip not yet: nothing shows it to neighbors any more.
    let (item, clip) = shared_clip(&world).await;
    assert_eq!(read(&world, "bob", &clip).await.status, 200);
    world.memory.state().items.remove(&item.id);
    assert_eq!(read(&world, "alice", &clip).await.status, 200);
    world.signer.take();
    assert_nothing_there(&world, "bob", &clip).await;
}

#[tokio::test]
async fn g1_a_neighbor_gets_what_was_shared_and_no_more_is_told_of_it() {
    let world = world().await;
    let (mut item, clip) = shared_clip(&world).await;
    let thumbnail = world.film(&mut item, MediaKind::Thumbnail, false).await;
    let answer = read(&world, "bob", &clip).await.json();
    let mut names: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["bytes", "content_type", "id", "item", "kind", "scope", "sha256", "url", "url_expires_at"]);
    assert_eq!((&answer["scope"], &answer["item"]), (&json!("neighborhood"), &json!(item.id)));
    assert_eq!(world.signer.take(), [(clip.id, Scope::Neighborhood)]);
    assert_nothing_there(&world, "bob", &thumbnail).await;
    for stranger in ["quentin", "nobody", "paula"] {
        assert_nothing_there(&world, stranger, &clip).await;
    }

    // A clip that says to be shared, of an item that is not.
    let mut private = world.happen("alice", PARK_STREET, NOW, false).await;
    let clip = world.film(&mut private, MediaKind::Clip, true).await;
    assert_nothing_there(&world, "bob", &clip).await;
}

#[tokio::test]
async fn g1_a_neighbor_who_moves_away_is_shown_nothing_any_more_and_one_who_moves_in_is() {
    let world = world().await;
    let (_, clip) = shared_clip(&world).await;
    assert_eq!(read(&world, "bob", &clip).await.status, 200);
    world.signer.take();
    assert_eq!(world.put("bob", &format!("/v1/homes/{HOME}"), home_body(QUINCY)).await.status, 200);
    assert_nothing_there(&world, "bob", &clip).await;
    let verify = async |who: &str| {
        let path = format!("/v1/operator/homes/{}/verify", world.home(who, HOME));
        assert_eq!(world.post("operator", &path).await.status, 200);
    };
    verify("bob").await;
    assert_nothing_there(&world, "bob", &clip).await;
    assert_nothing_there(&world, "paula", &clip).await;
    verify("paula").await;
    assert_eq!(read(&world, "paula", &clip).await.status, 200);
}

#[tokio::test]
async fn g1_a_device_that_was_given_away_takes_no_clips_along() {
    let world = world().await;
    let (mut item, clip) = shared_clip(&world).await;
    item.household = world.household("bob");
    world.memory.put_item(&item).await.unwrap();
    assert_nothing_there(&world, "bob", &clip).await;
    assert_eq!(read(&world, "alice", &clip).await.status, 200);
}

#[tokio::test]
async fn past_its_own_end_the_household_is_told_so_and_everybody_else_nothing() {
    let world = world().await;
    let (_, clip) = shared_clip(&world).await;
    let end = clip.expires_at();
    world.clock.advance_ms(end.0 - NOW.0 - 1);
    assert_eq!(read(&world, "alice", &clip).await.status, 200);
    assert_eq!(read(&world, "bob", &clip).await.status, 200);
    world.signer.take();
    world.clock.advance_ms(1);
    assert_eq!(read(&world, "alice", &clip).await.refusal(), (410, "media_expired".to_owned(), None));
    for who in ["bob", "quentin", "nobody"] {
        assert_nothing_there(&world, who, &clip).await;
    }
}

#[tokio::test]
async fn a_row_that_was_shortened_ends_then() {
    let world = world().await;
    let (_, clip) = shared_clip(&world).await;
    world.memory.shorten(&clip, NOW.plus_ms(1)).await.unwrap();
    assert_eq!(read(&world, "alice", &clip).await.status, 200);
    world.signer.take();
    world.clock.advance_ms(1);
    assert_eq!(read(&world, "alice", &clip).await.code(), "media_expired");
    assert_nothing_there(&world, "bob", &clip).await;
}

#[tokio::test]
async fn a_shorter_retention_acts_at_once_on_what_is_stored_and_a_longer_one_does_not() {
    let world = world().await;
    let keep = async |days: u16, clips: bool| {
        let mut body = device_body(HOME, PARK_STREET);
        (body["retention_days"], body["clips"]) = (json!(days), json!(clips));
        let answer = world.put("alice", &format!("/v1/devices/{DEVICE}"), body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    };
    keep(30, true).await;
    let mut item = world.happen("alice", PARK_STREET, NOW.plus_ms(-10 * DAY_MS), true).await;
    item.group.device = world.device("alice", DEVICE);
    let clip = world.film(&mut item, MediaKind::Clip, true).await;
    assert_eq!(
        (read(&world, "alice", &clip).await.status, read(&world, "bob", &clip).await.status),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    world.signer.take();
    keep(9, true).await;
    assert_eq!(read(&world, "alice", &clip).await.refusal(), (410, "media_expired".to_owned(), None));
    assert_nothing_there(&world, "bob", &clip).await;
    keep(400, false).await;
    assert_eq!(
        read(&world, "alice", &clip).await.status,
        200,
        "until it is swept; and what stops storing ends nothing"
    );
    world.clock.advance_ms(20 * DAY_MS);
    assert_eq!(read(&world, "alice", &clip).await.code(), "media_expired", "30 days, as it was stored");
    keep(30, true).await;
    assert_eq!(world.delete("alice", &format!("/v1/devices/{DEVICE}")).await.status, 204);
    world.clock.advance_ms(-20 * DAY_MS);
    assert_eq!(read(&world, "alice", &clip).await.status, 200, "the clips of a device that is gone are still theirs");
}

#[tokio::test]
async fn g1_outdated_polygons_show_no_clip_and_do_not_tell_what_exists() {
    let world = world().await;
    let (_, clip) = shared_clip(&world).await;
    let ended = world.film(&mut world.happen("alice", PARK_STREET, NOW, true).await, MediaKind::Clip, true).await;
    world.memory.shorten(&ended, NOW).await.unwrap();
    world.fresh.store(false, Ordering::SeqCst);
    let unknown = world.get("bob", &format!("/v1/media/{}", Uuid::nil())).await;
    for clip in [&clip, &ended] {
        let answer = read(&world, "bob", clip).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "neighborhoods_catching_up"));
        assert_eq!((&answer.headers, &answer.bytes), (&unknown.headers, &unknown.bytes));
    }
    assert_eq!(world.signer.take(), []);
    assert_eq!(read(&world, "alice", &clip).await.status, 200, "the household needs no polygon");
}

#[tokio::test]
async fn an_item_and_the_feed_name_the_media_that_the_reader_may_fetch() {
    let world = world().await;
    let (mut item, clip) = shared_clip(&world).await;
    let thumbnail = world.film(&mut item, MediaKind::Thumbnail, false).await;
    let (shared, kept) = (json!({"id": clip.id, "kind": "clip"}), json!({"id": thumbnail.id, "kind": "thumbnail"}));
    for (who, media) in [("alice", json!([shared, kept])), ("bob", json!([shared]))] {
        let one = world.get(who, &format!("/v1/items/{}", item.id)).await.json();
        assert_eq!(one["media"], media, "{who}");
        assert_eq!(world.get(who, "/v1/feed").await.json()["items"], json!([one]));
        for named in media.as_array().unwrap() {
            let fetched = world.get(who, &format!("/v1/media/{}", named["id"].as_str().unwrap())).await;
            assert_eq!((fetched.status.as_u16(), &fetched.json()["kind"]), (200, &named["kind"]));
        }
    }
}

#[tokio::test]
async fn the_document_describes_what_is_answered() {
    let world = world().await;
    let document = serde_json::to_value(&world.document).unwrap();
    let schemas = &document["components"]["schemas"];
    assert!(schemas["ItemView"]["properties"]["media"]["items"]["$ref"].is_string(), "{}", schemas["ItemView"]);
    assert!(schemas["DeviceBody"]["properties"]["neighborhood_media"].is_object());
    assert!(schemas["DeviceView"]["properties"]["neighborhood_media"].is_object());
    let described = described(&schemas["MediaAnswer"], schemas);
    let (_, clip) = shared_clip(&world).await;
    let answer = read(&world, "alice", &clip).await.json();
    let mut answered: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
    answered.sort_unstable();
    assert_eq!(answered, described);
    let responses = &document["paths"]["/v1/media/{id}"]["get"]["responses"];
    assert!(["200", "401", "404", "410", "503"].iter().all(|status| responses[status].is_object()), "{responses}");
}

/// The names of a schema's properties, those of what it is composed of included.
fn described(schema: &Value, all: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        schema["properties"].as_object().into_iter().flat_map(|of| of.keys().cloned()).collect();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let part = match part["$ref"].as_str() {
            Some(reference) => &all[reference.rsplit('/').next().unwrap()],
            None => part,
        };
        names.extend(described(part, all));
    }
    names.sort_unstable();
    names
}

/// With the real vault: it asks nobody, so that it makes no difference that there is no server.
#[tokio::test]
async fn the_url_names_the_public_endpoint_ids_alone_and_lives_a_minute_at_most() {
    let settings = [
        ("S3__ENDPOINT", "http://127.0.0.1:1"),
        ("S3__PUBLIC_ENDPOINT", "https://media.example.org"),
        ("S3__BUCKET", "clips"),
        ("S3__PREFIX", "town/"),
    ];
    let world = World::over(&settings, |_, config| Arc::new(S3::new(&config.s3).unwrap())).await;
    people(&world).await;
    let (_, clip) = shared_clip(&world).await;
    for who in ["alice", "bob"] {
        let answer = read(&world, who, &clip).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        let url = answer["url"].as_str().unwrap();
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(path, format!("https://media.example.org/clips/town/media/{}", clip.id));
        let lives: u32 =
            query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Expires=")).unwrap().parse().unwrap();
        assert!((1..=60).contains(&lives), "{lives} s");
        let ends: Timestamp = answer["url_expires_at"].as_str().unwrap().parse().unwrap();
        assert!(NOW < ends && ends <= NOW.plus_ms(60_000), "{ends}");
        for secret in [world.household("alice").to_string(), clip.event.to_string(), "secret".to_owned()] {
            assert!(!url.contains(&secret), "{url}");
        }
    }
}
