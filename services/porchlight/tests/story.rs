//! The story (`docs/PROMISES.md`), over real Kafka, real Cassandra and separate processes: Park Street in Malden, two days
//! in a row.

mod support;

use porchlight::{city::people::Camera, client::Answer, deployment::Service};
use porchlight_domain::{Clock, SystemClock};
use serde_json::{Value, json};
use support::{Scene, event, eventually, household};
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;

/// Replaces the camera's credential, and waits until every ingest takes the new one: then each knows the device as it is
/// registered now.
async fn rotate(scene: &Scene, owner: &porchlight::client::Client, camera: &Camera) -> Camera {
    let path = format!("/v1/devices/{}/credentials", camera.chosen);
    let issued = owner.post(&path, &Value::Null).await.and_then(Answer::ok).expect("issued");
    let credential = issued["credential"].as_str().expect("shown once");
    let http = reqwest::Client::new();
    let mut line = None;
    for n in 0..2 {
        let api = scene.city.deployment.api(Service::Ingest, n);
        let client = porchlight::client::Client::new(&http, &api, credential);
        eventually("the new credential is taken", || async {
            // Malformed on purpose: it asks only whether the credential is known.
            let answer = client.post("/v1/events", &json!({})).await.ok()?;
            (answer.status != 401 && answer.status != 503).then_some(())
        })
        .await;
        line = Some(client);
    }
    Camera { line: line.expect("two ingests"), ..camera.clone() }
}

fn replicas(service: Service) -> usize {
    match service {
        Service::Ingest => 2,
        Service::GeoIndex | Service::Notification | Service::Gateway => 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_g3_two_days_at_park_street() {
    let mut scene = Scene::new("story", &["Malden", "Quincy", "Boston", "Medford"], replicas).await;
    let park_street = household("owner", "Malden", -71.0662, 42.4251, Some(&[]));
    let owner = scene.settle(&park_street).await;
    let mut residents = vec![owner.clone()];
    for (n, (town, lon, lat)) in [
        ("Malden", -71.0650, 42.4300),
        ("Malden", -71.0560, 42.4270),
        ("Malden", -71.0700, 42.4280),
        ("Malden", -71.0480, 42.4350),
        ("Quincy", -71.0023, 42.2529),
        ("Quincy", -71.0100, 42.2600),
        ("Boston", -71.0589, 42.3601),
        ("Boston", -71.0700, 42.3500),
        ("Medford", -71.1061, 42.4184),
    ]
    .into_iter()
    .enumerate()
    {
        residents.push(scene.settle(&household(&format!("resident {n}"), town, lon, lat, None)).await);
    }
    // In Malden, but not verified; and verified, but without a phone.
    let newcomer = household("newcomer", "Malden", -71.0655, 42.4290, None);
    let mut pending = scene.city.hall.arrive("newcomer", newcomer.home, newcomer.at).await.expect("arrived");
    scene.city.hall.give_phone(&mut pending, newcomer.endpoint).await.expect("a phone");
    scene.witness.resident(&pending);
    residents.push(pending);
    let quiet = household("quiet", "Malden", -71.0645, 42.4260, None);
    let mut without_phone = scene.city.hall.arrive("quiet", quiet.home, quiet.at).await.expect("arrived");
    scene.city.hall.verify(&mut without_phone, quiet.home).await.expect("verified");
    scene.witness.resident(&without_phone);
    residents.push(without_phone);

    // Two days in a row (by the camera's clock) somebody looks into the mailbox.
    let camera = rotate(&scene, &owner.app, &owner.cameras[0]).await;
    let (first, second) = (SystemClock.now().plus_ms(-2 * DAY_MS), SystemClock.now().plus_ms(-DAY_MS));
    scene.send(&camera, &event("motion", &["person"], first)).await;
    scene.send(&camera, &event("motion", &["person"], second)).await;
    scene.all_arrived().await;
    let phone = owner.phone.clone().expect("a phone");
    assert_eq!(scene.witness.reached(&phone).count(), 2, "two pushes to the household");
    assert_eq!(scene.witness.observed(), 2, "and none to neighbors");
    judge_everybody(&scene, &residents).await;

    // The policy shares `person` now.
    let path = format!("/v1/devices/{}", camera.chosen);
    let device = owner.app.get(&path).await.expect("an answer");
    let etag = device.headers.get("etag").cloned();
    assert!(etag.is_some(), "a device has a version");
    let body = json!({
        "name": "Front door",
        "home": park_street.home,
        "position": device.body["position"],
        "neighborhood_labels": ["person"],
    });
    owner.app.put(&path, &body).await.and_then(Answer::ok).expect("shared");
    let mut sharing = owner.clone();
    sharing.cameras[0].shares = vec!["person".into()];
    scene.witness.resident(&sharing);
    let camera = rotate(&scene, &owner.app, &camera).await;
    let third = event("motion", &["person"], SystemClock.now());
    scene.send(&camera, &third).await;
    scene.all_arrived().await;
    let malden: Vec<_> = residents.iter().filter(|r| r.verified && r.phone.is_some()).take(5).collect();
    for resident in &malden {
        let phone = resident.phone.clone().expect("a phone");
        let due = if resident.subject == "owner" { 3 } else { 1 };
        assert_eq!(scene.witness.reached(&phone).count(), due, "{}", resident.subject);
    }
    assert_eq!(scene.witness.observed(), 3 + 4, "every verified resident of Malden with a phone, and nobody else");
    judge_everybody(&scene, &residents).await;

    // A stranger's item and one that does not exist: the same bytes.
    let id = third["id"].as_str().and_then(|s| s.parse().ok()).expect("an id");
    let item = scene.witness.world().item_of(camera.device, id).expect("it happened");
    for resident in &residents {
        let asked = resident.app.get(&format!("/v1/items/{item}")).await.expect("an answer");
        let shown = asked.status.is_success().then_some(&asked.body);
        let verdict = scene.witness.world().judge_item(&resident.subject, item, shown);
        assert!(verdict.wrong.is_empty(), "{}: {verdict:?}", resident.subject);
        if shown.is_none() {
            let unknown = resident.app.get(&format!("/v1/items/{}", Uuid::new_v4())).await.expect("an answer");
            assert_eq!((asked.status, &asked.body), (unknown.status, &unknown.body), "{}", resident.subject);
        }
    }

    // Revoked: refused by every ingest within 5 s.
    let path = format!("/v1/devices/{}/credentials", camera.chosen);
    assert!(owner.app.delete(&path).await.expect("an answer").status.is_success());
    let revoked_at = SystemClock.now();
    for n in 0..2 {
        let client = camera.line.at(&scene.city.deployment.api(Service::Ingest, n));
        eventually("the revoked credential is refused", || async {
            let answer = client.post("/v1/events", &json!({})).await.ok()?;
            (answer.status == 401).then_some(())
        })
        .await;
    }
    assert!(SystemClock.now().since(revoked_at) < 5_000, "within 5 s");

    logs_follow_the_event_and_hold_nothing_personal(&scene, &third, &[&camera], &residents);
    scene.end().await;
}

/// One event id leads through the logs of every service on its way, and no log holds a place, a token or a key.
fn logs_follow_the_event_and_hold_nothing_personal(
    scene: &Scene,
    event: &Value,
    cameras: &[&Camera],
    residents: &[porchlight::city::people::Resident],
) {
    let id = event["id"].as_str().expect("an id");
    let mut all = String::new();
    for service in [Service::Ingest, Service::GeoIndex, Service::Notification, Service::Gateway] {
        let running = scene.city.deployment.processes().filter(|(s, _)| *s == service);
        let logs: String =
            running.map(|(s, n)| std::fs::read_to_string(scene.city.deployment.log(s, n)).expect("a log")).collect();
        assert!(service == Service::Gateway || logs.contains(id), "{} does not name the event", service.name());
        all += &logs;
    }
    let mut personal: Vec<String> = residents.iter().filter_map(|r| r.phone.clone()).collect();
    for at in residents.iter().map(|r| r.home).chain(cameras.iter().map(|c| c.at)) {
        for e7 in [at.x, at.y] {
            personal.extend([e7.to_string(), format!("{:.4}", f64::from(e7) / 1e7)]);
        }
    }
    personal.extend(residents.iter().map(|r| r.app.token().to_owned()));
    personal.extend(cameras.iter().filter_map(|c| c.line.token().split_once('.').map(|(_, secret)| secret.to_owned())));
    for secret in personal {
        let found = all.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "a log holds {secret}: {found:?}");
    }
}

async fn judge_everybody(scene: &Scene, residents: &[porchlight::city::people::Resident]) {
    for resident in residents {
        let items = resident.app.pages("/v1/feed", "items").await.expect("a feed");
        let verdict = scene.witness.judge_feed(&resident.subject, &items, 0, i64::MAX);
        assert!(verdict.wrong.is_empty(), "{}: {verdict:?}", resident.subject);
    }
}
