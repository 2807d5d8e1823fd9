//! Clips and thumbnails, over real Kafka, Cassandra, S3 and separate processes: put straight into the store of objects,
//! linked to their event in any order, read by those who may, and gone when they must be.

mod support;

use porchlight::{client::Answer, deployment::Service};
use porchlight_clips::{Grant, S3, Vault};
use porchlight_domain::{
    Clock, ContentType, DeviceId, EventId, HouseholdId, Media, MediaId, MediaKind, SystemClock, Timestamp,
};
use porchlight_store::Store;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{
    Scene, event, eventually, household,
    operator::{Said, porchlight},
    uploads::{self, complete, curl, grant, id_of, put},
};
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;

/// Everybody of these tests: an owner whose camera shares `person` with its media, a neighbor, a stranger.
struct Cast {
    owner: porchlight::city::people::Resident,
    neighbor: porchlight::city::people::Resident,
    stranger: porchlight::city::people::Resident,
    home: Uuid,
}

async fn cast(scene: &mut Scene) -> Cast {
    let mut at_home = household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]));
    at_home.cameras[0].clips = true;
    at_home.cameras[0].shares_media = true;
    let owner = scene.settle(&at_home).await;
    let neighbor = scene.settle(&household("neighbor", "Malden", -71.0560, 42.4270, None)).await;
    let stranger = scene.settle(&household("stranger", "Quincy", -71.0023, 42.2529, None)).await;
    Cast { owner, neighbor, stranger, home: at_home.home }
}

async fn item(scene: &Scene, resident: &porchlight::city::people::Resident, id: Uuid) -> Value {
    let answer = resident.app.get(&format!("/v1/items/{id}")).await.expect("an answer");
    let shown = answer.status.is_success().then_some(&answer.body);
    let verdict = scene.witness.world().judge_item(&resident.subject, id, shown);
    assert!(verdict.wrong.is_empty(), "{}: {verdict:?}", resident.subject);
    answer.body
}

/// Waits until an item shows so many media to a person.
async fn shows(resident: &porchlight::city::people::Resident, item: Uuid, count: usize) {
    eventually("the item shows its media", || async {
        let answer = resident.app.get(&format!("/v1/items/{item}")).await.ok()?;
        (answer.body["media"].as_array().map_or(0, Vec::len) == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_thumbnail_and_clip_come_in_any_order_and_a_real_mp4_comes_back_as_it_was() {
    let mut scene = Scene::new("media", &["Malden", "Quincy"], |_| 1).await;
    let cast = cast(&mut scene).await;
    let camera = cast.owner.cameras[0].clone();
    let (clip, thumbnail) = (uploads::clip(1), uploads::thumbnail(1));
    assert!(clip.bytes.len() > 1_000 && clip.bytes[4..8] == *b"ftyp", "a real MP4");

    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        // Each happening is one of its own: another hour by the camera's clock would be backlog, another kind is not.
        let labels: &[&str] = &["person"];
        let happened = event(if order[0] == 0 { "motion" } else { "ding" }, labels, SystemClock.now());
        let id = id_of(&happened);
        let mut media = Vec::new();
        for step in order {
            match step {
                0 => drop(scene.send(&camera, &happened).await),
                1 => media.push(scene.store(&camera, id, &thumbnail).await),
                _ => media.push(scene.store(&camera, id, &clip).await),
            }
        }
        scene.all_arrived().await;
        let item_id = scene.witness.world().item_of(camera.device, id).expect("it happened");
        for resident in [&cast.owner, &cast.neighbor] {
            eventually("the item names both", || async {
                let answer = resident.app.get(&format!("/v1/items/{item_id}")).await.ok()?;
                let named = answer.body["media"].as_array().cloned().unwrap_or_default();
                media.iter().all(|id| named.iter().any(|m| m["id"] == id.to_string())).then_some(())
            })
            .await;
            item(&scene, resident, item_id).await;
        }
        item(&scene, &cast.stranger, item_id).await;

        // Fetched with curl by those who may, and the same bytes.
        let url_of = |answer: Answer| answer.ok().expect("shown")["url"].as_str().expect("a URL").to_owned();
        for (id, file) in media.iter().zip(if order.iter().position(|s| *s == 1) < order.iter().position(|s| *s == 2) {
            [&thumbnail, &clip]
        } else {
            [&clip, &thumbnail]
        }) {
            for resident in [&cast.owner, &cast.neighbor] {
                let url = url_of(scene.ask_media(resident, *id).await);
                assert_eq!(curl(&url, scene.dir.path()), (200, file.bytes.clone()), "{}", resident.subject);
            }
            let refused = scene.ask_media(&cast.stranger, *id).await;
            let unknown = scene.ask_media(&cast.stranger, Uuid::new_v4()).await;
            assert_eq!((refused.status, &refused.body), (StatusCode::NOT_FOUND, &unknown.body), "the same bytes");
        }
    }
    // What replaced a push on a phone did so quietly and in place: the oracle has judged every one.
    let phone = cast.neighbor.phone.clone().expect("a phone");
    let tags: std::collections::BTreeSet<_> =
        scene.witness.reached(&phone).map(|p| p.payload["collapse"].to_string()).collect();
    let shown = scene.witness.reached(&phone).filter(|p| !p.replaced).count();
    assert_eq!(shown, tags.len(), "each happening is shown once");
    assert!(scene.witness.reached(&phone).any(|p| p.replaced), "and a clip that came later replaced it");
    judge_feeds(&scene, &cast).await;
    scene.end().await;
}

async fn judge_feeds(scene: &Scene, cast: &Cast) {
    for resident in [&cast.owner, &cast.neighbor, &cast.stranger] {
        let items = resident.app.pages("/v1/feed", "items").await.expect("a feed");
        let verdict = scene.witness.judge_feed(&resident.subject, &items, 0, i64::MAX);
        assert!(verdict.wrong.is_empty(), "{}: {verdict:?}", resident.subject);
    }
}

/// `porchlight media ...` on this scene's deployment: the exit code, and what it said.
async fn media_command(scene: &Scene, args: &[&str]) -> (Option<i32>, String) {
    let Said { code, out, err } = porchlight(scene.city.deployment.settings(), &[&["media"], args].concat()).await;
    (code, out + &err)
}

async fn objects(vault: &S3) -> Vec<String> {
    let mut names = Vec::new();
    for shard in 0..porchlight_clips::sweep::SHARDS {
        names.extend(vault.list(shard, "", 1_000).await.expect("a listing").into_iter().map(|o| o.name));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_upload_is_refused_with_its_code_and_leaves_no_object() {
    let mut scene = Scene::new("uploads", &["Malden", "Quincy"], |_| 1).await;
    let cast = cast(&mut scene).await;
    let camera = cast.owner.cameras[0].clone();
    let vault = S3::new(&scene.city.deployment.settings().s3()).expect("a vault");
    let happened = event("motion", &["person"], SystemClock.now());
    let id = id_of(&happened);
    scene.send(&camera, &happened).await;
    let clip = uploads::clip(2);
    let granted = grant(&camera, id, &clip).await.ok().expect("granted");

    // By the store of objects itself.
    let mut wrong = clip.bytes.clone();
    wrong[100] ^= 1;
    assert!(put(&granted, wrong, |_| {}).await.is_client_error(), "wrong bytes of the same length");
    assert!(put(&granted, clip.bytes[1..].to_vec(), |_| {}).await.is_client_error(), "another length");
    let without = |name: &'static str| move |h: &mut Vec<(String, String)>| h.retain(|(n, _)| n != name);
    let status = put(&granted, clip.bytes.clone(), without("x-amz-checksum-sha256")).await;
    assert!(status.is_client_error(), "no checksum: {status}");
    let status = put(&granted, clip.bytes.clone(), without("if-none-match")).await;
    assert!(status.is_client_error(), "it could overwrite: {status}");
    assert_eq!(complete(&camera, &granted).await.code(), "upload_missing");
    assert_eq!(objects(&vault).await, Vec::<String>::new(), "no refused upload left anything");

    // An URL whose time is over: signed as six minutes ago.
    let device = DeviceId(camera.device);
    let late = Grant {
        device,
        event: EventId(id),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: clip.bytes.len() as u64,
        sha256: clip.sha256().parse().expect("hexadecimal"),
        expires_at: SystemClock.now().plus_ms(60_000),
    };
    let upload = vault.upload(&late, SystemClock.now().plus_ms(-6 * 60_000)).await.expect("signed");
    let headers: serde_json::Map<String, Value> = upload.headers.into_iter().map(|(n, v)| (n, v.into())).collect();
    let expired = json!({ "upload": { "url": upload.url, "headers": headers } });
    assert_eq!(put(&expired, clip.bytes.clone(), |_| {}).await, StatusCode::FORBIDDEN, "an expired URL");

    // By ingest.
    let code = |answer: Answer| (answer.status.as_u16(), answer.code().to_owned());
    let big =
        json!({"kind": "clip", "bytes": 64 * 1024 * 1024 + 1, "sha256": clip.sha256(), "content_type": "video/mp4"});
    let asked = camera.line.post(&format!("/v1/events/{id}/media"), &big).await.expect("an answer");
    assert_eq!(code(asked), (413, "media_too_large".into()));
    let mut forged = granted.clone();
    let token = granted["grant"].as_str().expect("a token");
    forged["grant"] = format!("{}A{token}", if token.starts_with('A') { "B" } else { "" }).into();
    assert_eq!(code(complete(&camera, &forged).await), (403, "grant_invalid".into()));
    let no_clips = household("no clips", "Malden", -71.0600, 42.4280, Some(&["person"]));
    let other = scene.settle(&no_clips).await.cameras[0].clone();
    let answer = grant(&other, id, &clip).await;
    assert_eq!(code(answer), (402, "plan_stores_no_clips".into()));
    assert_eq!(code(complete(&other, &granted).await), (403, "grant_invalid".into()), "another device's grant");

    // Completed: it stays as it is, whoever has the URL; done twice it is done once.
    assert_eq!(put(&granted, clip.bytes.clone(), |_| {}).await, StatusCode::OK);
    let completed = complete(&camera, &granted).await.ok().expect("completed");
    let at: Timestamp = completed["received_at"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    scene.witness.stored(camera.device, id, "clip", &clip.sha256(), clip.bytes.len() as u64, at.0);
    let again = put(&granted, clip.bytes.clone(), |_| {}).await;
    assert_eq!(again, StatusCode::PRECONDITION_FAILED, "an overwrite after completion");
    assert_eq!(complete(&camera, &granted).await.status, 200);
    scene.all_arrived().await;
    let item_id = scene.witness.world().item_of(camera.device, id).expect("it happened");
    shows(&cast.owner, item_id, 1).await;
    item(&scene, &cast.owner, item_id).await;

    // Abandoned, and revoked between grant and completion.
    let abandoned = uploads::clip(3);
    let left = grant(&camera, id, &abandoned).await.ok().expect("granted");
    assert_eq!(put(&left, abandoned.bytes.clone(), |_| {}).await, StatusCode::OK);
    let path = format!("/v1/devices/{}/credentials", camera.chosen);
    assert!(cast.owner.app.delete(&path).await.expect("an answer").status.is_success());
    eventually("the revoked credential is refused", || async {
        // Malformed on purpose: it asks only whether the credential is known.
        let answer = camera.line.post("/v1/events", &json!({})).await.ok()?;
        (answer.status == 401).then_some(())
    })
    .await;
    assert_eq!(code(complete(&camera, &left).await), (401, "credential_invalid".into()));

    assert_eq!(objects(&vault).await.len(), 2);
    let (exit, said) = media_command(&scene, &["sweep", "--orphan-after-ms", "1"]).await;
    assert_eq!(exit, Some(0), "{said}");
    let kept = granted["media"].as_str().expect("an id");
    let left_over = objects(&vault).await;
    assert!(left_over.len() == 1 && left_over[0].ends_with(kept), "{left_over:?}\n{said}");
    let (exit, said) = media_command(&scene, &["audit"]).await;
    assert_eq!(exit, Some(0), "{said}");
    judge_feeds(&scene, &cast).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g6_a_shorter_retention_acts_on_clips_that_are_there_at_once_and_on_disk() {
    let mut scene = Scene::new("retention", &["Malden", "Quincy"], |_| 1).await;
    let cast = cast(&mut scene).await;
    let camera = cast.owner.cameras[0].clone();
    let settings = scene.city.deployment.settings();
    let (vault, store) =
        (S3::new(&settings.s3()).expect("a vault"), Store::connect(&settings.cql()).await.expect("the store"));

    // A clip of two days ago: put and recorded as it was then.
    let (clip, fresh) = (uploads::clip(4), uploads::clip(5));
    let event_id = EventId(Uuid::now_v7());
    let sha256 = clip.sha256().parse().expect("hexadecimal");
    let device = DeviceId(camera.device);
    let media = Media {
        id: MediaId::of(device, event_id, MediaKind::Clip, &sha256),
        device,
        event: event_id,
        household: HouseholdId(cast.owner.household),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: clip.bytes.len() as u64,
        sha256,
        retention_days: 30,
        received_at: SystemClock.now().plus_ms(-2 * DAY_MS),
    };
    let grant = Grant {
        device,
        event: event_id,
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: media.bytes,
        sha256,
        expires_at: SystemClock.now().plus_ms(60_000),
    };
    let upload = vault.upload(&grant, SystemClock.now()).await.expect("signed");
    let headers: serde_json::Map<String, Value> = upload.headers.into_iter().map(|(n, v)| (n, v.into())).collect();
    let put_as = json!({ "upload": { "url": upload.url, "headers": headers } });
    assert_eq!(put(&put_as, clip.bytes.clone(), |_| {}).await, StatusCode::OK);
    store.media.put(&media).await.expect("recorded");
    let happened = event("motion", &["person"], SystemClock.now());
    scene.send(&camera, &happened).await;
    let kept = scene.store(&camera, id_of(&happened), &fresh).await;
    scene.all_arrived().await;

    let old = format!("/v1/media/{}", media.id);
    let url = cast.owner.app.get(&old).await.and_then(Answer::ok).expect("still kept")["url"].clone();
    assert_eq!(curl(url.as_str().expect("a URL"), scene.dir.path()), (200, clip.bytes.clone()));

    let body = json!({
        "name": "Front door", "home": cast.home,
        "position": { "lon": f64::from(camera.at.x) / 1e7, "lat": f64::from(camera.at.y) / 1e7 },
        "neighborhood_labels": ["person"], "neighborhood_media": true, "clips": true, "retention_days": 1,
    });
    let path = format!("/v1/devices/{}", camera.chosen);
    cast.owner.app.put(&path, &body).await.and_then(Answer::ok).expect("shortened");
    let gone = cast.owner.app.get(&old).await.expect("an answer");
    assert_eq!((gone.status.as_u16(), gone.code()), (410, "media_expired"), "at once");
    for other in [&cast.neighbor, &cast.stranger] {
        let answer = other.app.get(&old).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "not_found"), "{}", other.subject);
    }
    assert_eq!(scene.ask_media(&cast.owner, kept).await.status, 200, "what is younger stays");

    assert_eq!(objects(&vault).await.len(), 2);
    let (exit, said) = media_command(&scene, &["audit"]).await;
    assert_eq!(exit, Some(1), "an object past its end: {said}");
    let (exit, said) = media_command(&scene, &["sweep"]).await;
    assert_eq!(exit, Some(0), "{said}");
    let left = objects(&vault).await;
    assert!(left.len() == 1 && left[0].ends_with(&kept.to_string()), "{left:?}\n{said}");
    let (exit, said) = media_command(&scene, &["audit"]).await;
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(cast.owner.app.get(&old).await.expect("an answer").status, 410, "and it is still told");
    scene.end().await;
}

/// The sweep of the running service, without anybody's command.
#[tokio::test(flavor = "multi_thread")]
async fn g6_an_abandoned_upload_is_gone_within_its_bound() {
    let mut scene = Scene::with(
        "abandoned",
        &["Malden"],
        |_| 1,
        |settings| {
            settings.retention = "every_ms = 1000\norphan_after_ms = 10000\n".to_owned();
        },
    )
    .await;
    let mut at_home = household("owner", "Malden", -71.0662, 42.4251, Some(&[]));
    at_home.cameras[0].clips = true;
    let owner = scene.settle(&at_home).await;
    let camera = owner.cameras[0].clone();
    let vault = S3::new(&scene.city.deployment.settings().s3()).expect("a vault");
    let happened = event("motion", &["person"], SystemClock.now());
    scene.send(&camera, &happened).await;
    let kept = scene.store(&camera, id_of(&happened), &uploads::clip(6)).await;
    let abandoned = uploads::clip(7);
    let granted = grant(&camera, id_of(&happened), &abandoned).await.ok().expect("granted");
    assert_eq!(put(&granted, abandoned.bytes, |_| {}).await, StatusCode::OK);
    assert_eq!(objects(&vault).await.len(), 2);
    eventually("the sweep removes it", || async {
        let left = objects(&vault).await;
        (left.len() == 1 && left[0].ends_with(&kept.to_string())).then_some(())
    })
    .await;
    scene.city.deployment.kill(Service::GeoIndex, 0);
    scene.city.deployment.spawn(Service::GeoIndex, 0).expect("started again");
    scene.city.deployment.ready(support::PATIENCE).await.expect("ready again");
    assert_eq!(scene.ask_media(&owner, kept).await.status, 200);
    scene.end().await;
}
