//! Neighborhoods.

use http::header;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, PARK_STREET, QUINCY, World, home_body, square};

const MALDEN: Uuid = Uuid::from_u128(0x3a1);

fn path(id: Uuid) -> String {
    format!("/v1/neighborhoods/{id}")
}

#[tokio::test]
async fn a_neighborhood_is_drawn_redrawn_read_at_each_version_and_removed() {
    let world = World::new().await;
    let drawn = world.put("operator", &path(MALDEN), square("Malden", PARK_STREET)).await;
    assert_eq!((drawn.status.as_u16(), drawn.etag()), (201, "\"1\""), "{drawn:?}");
    let json = drawn.json();
    assert_eq!((json["id"].as_str(), json["name"].as_str()), (Some(&*MALDEN.to_string()), Some("Malden")));
    assert_eq!(json["geometry"]["type"], "MultiPolygon");
    assert_eq!(json["notices"], json!([]));
    assert_eq!(world.get("operator", &path(MALDEN)).await.bytes, drawn.bytes);

    let same = world.put("operator", &path(MALDEN), square("Malden", PARK_STREET)).await;
    assert_eq!((same.status.as_u16(), same.etag()), (200, "\"1\""));
    let stale = ("if-match", "\"3\"");
    let stale = world.ask_with("operator", "PUT", &path(MALDEN), Some(square("Malden", QUINCY)), &[stale]).await;
    assert_eq!(stale.code(), "version_conflict");
    let redrawn = world.put("operator", &path(MALDEN), square("Malden", QUINCY)).await;
    assert_eq!((redrawn.status.as_u16(), redrawn.etag()), (200, "\"2\""));

    let at = |version: u64| format!("{}/versions/{version}", path(MALDEN));
    assert_eq!(world.get("operator", &at(1)).await.json()["geometry"], json["geometry"]);
    assert_eq!(world.get("operator", &at(2)).await.json()["geometry"], redrawn.json()["geometry"]);
    assert_eq!(world.get("operator", &at(3)).await.status, 404);
    assert_eq!(world.get("operator", &format!("{}/versions/x", path(MALDEN))).await.status, 404);

    assert_eq!(world.delete("operator", &path(MALDEN)).await.status, 204);
    assert_eq!(world.get("operator", &path(MALDEN)).await.status, 404);
    assert_eq!(world.delete("operator", &path(MALDEN)).await.status, 404);
    assert_eq!(world.get("operator", &at(1)).await.status, 200, "versions stay");
    assert_eq!(world.get("operator", "/v1/neighborhoods").await.json(), json!({"items": [], "next_cursor": null}));
    assert!(world.recorder.neighborhoods.snapshot().is_empty(), "published as gone");
}

#[tokio::test]
async fn the_name_comes_from_the_query_or_the_feature() {
    let world = World::new().await;
    let geometry = square("x", PARK_STREET)["geometry"].clone();
    let unnamed = world.put("operator", &path(MALDEN), geometry.clone()).await;
    assert_eq!(unnamed.refusal(), (422, "name_invalid".to_owned(), Some("/properties/name".to_owned())));
    let named = world.put("operator", &format!("{}?name=Malden%20Center", path(MALDEN)), geometry).await;
    assert_eq!(named.json()["name"], "Malden Center");
    let both = world.put("operator", &format!("{}?name=Malden", path(MALDEN)), square("Feature", PARK_STREET)).await;
    assert_eq!(both.json()["name"], "Malden");
}

#[tokio::test]
async fn what_is_no_polygon_is_refused_with_every_finding() {
    let world = World::new().await;
    let bowtie = json!({"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 1], [0, 0]]]});
    let named = format!("{}?name=x", path(MALDEN));
    let refused = world.put("operator", &named, bowtie.clone()).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "ring_crosses_itself"));
    let problem = refused.json();
    assert_eq!(refused.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(problem["findings"][0]["code"], problem["code"]);
    assert_eq!(problem["findings"][0]["pointer"], problem["pointer"]);
    assert_eq!((problem["status"].as_u64(), problem["type"].as_str()), (Some(422), Some("about:blank")));
    let repaired = world.put("operator", &format!("{named}&repair=even-odd"), bowtie).await;
    assert_eq!(repaired.status, 201);
    assert_eq!(repaired.json()["notices"][0]["code"], "repaired_even_odd");

    let two = json!({"type": "FeatureCollection", "features": [square("a", PARK_STREET), square("b", QUINCY)]});
    for (body, code) in [
        (json!({"type": "Point", "coordinates": [0, 0]}), "geojson_type"),
        (json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1]]]}), "ring_short"),
        (json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1], [1, 1]]]}), "ring_open"),
        (json!({"type": "Polygon", "coordinates": [[[0, 0], [181, 0], [0, 1], [0, 0]]]}), "position_out_of_range"),
        (two, "one_feature_expected"),
    ] {
        let answer = world.put("operator", &named, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, code.to_owned()), "{body}");
    }
    assert_eq!(world.memory.state().versions.len(), 1, "the repaired one");
}

/// A ring of `n` vertices whose differences take as many bytes as they can.
fn zigzag(n: i32) -> Value {
    let (near, far): (Vec<_>, Vec<_>) = (0..n / 2)
        .map(|i| {
            let x = f64::from(i) * 160.0 / f64::from(n);
            (json!([x, if i % 2 == 0 { -80.0 } else { -10.0 }]), json!([x, if i % 2 == 0 { 10.0 } else { 80.0 }]))
        })
        .unzip();
    let mut ring = near;
    ring.extend(far.into_iter().rev());
    ring.push(ring[0].clone());
    json!({"type": "Polygon", "coordinates": [ring]})
}

#[tokio::test]
async fn a_record_stays_under_a_megabyte() {
    let world = World::new().await;
    let named = format!("{}?name=x", path(MALDEN));
    let most = world.put("operator", &named, zigzag(59_000)).await;
    assert_eq!(most.status, 201, "{}", most.code());
    let largest = world.recorder.records.lock().unwrap().iter().map(|(_, _, value)| value.len()).max().unwrap();
    assert!(largest <= 1_000_000, "{largest}");
    let too_many = world.put("operator", &named, zigzag(70_000)).await;
    assert_eq!((too_many.status.as_u16(), too_many.code().as_str()), (422, "too_many_vertices"));
}

#[tokio::test]
async fn the_body_says_that_it_is_geojson() {
    let world = World::new().await;
    let put = |content_type: Option<&'static str>, body: &'static [u8]| {
        let world = &world;
        async move {
            let mut request = http::Request::put(path(MALDEN))
                .header(header::AUTHORIZATION, format!("Bearer {}", world.token("operator")));
            if let Some(content_type) = content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            let answer: Answer = world.send(request.body(body.into()).unwrap()).await;
            (answer.status.as_u16(), answer.code())
        }
    };
    assert_eq!(put(None, b"{}").await, (415, "unsupported_media_type".to_owned()));
    assert_eq!(put(Some("text/plain"), b"{}").await, (415, "unsupported_media_type".to_owned()));
    assert_eq!(put(Some("application/geo+json"), b"{").await, (422, "json_malformed".to_owned()));
    assert_eq!(put(Some("application/geo+json; charset=utf-8"), b"{}").await, (422, "geojson_type".to_owned()));
}

#[tokio::test]
async fn pages_are_full_though_some_are_gone() {
    let world = World::new().await;
    for n in 0..9_u128 {
        let id = Uuid::from_u128(n);
        world.put("operator", &path(id), square(&format!("n{n}"), PARK_STREET)).await;
        if n % 3 == 0 {
            world.delete("operator", &path(id)).await;
        }
    }
    let (mut names, mut cursor, mut pages) = (Vec::new(), None::<String>, Vec::new());
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = world.get("operator", &format!("/v1/neighborhoods?limit=4{more}")).await.json();
        pages.push(page["items"].as_array().unwrap().len());
        names.extend(page["items"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["n1", "n2", "n4", "n5", "n7", "n8"]);
    assert_eq!(pages, [4, 2]);
    for (query, code) in [("?limit=0", "limit_invalid"), ("?cursor=x", "cursor_invalid"), ("?page=2", "invalid_query")]
    {
        assert_eq!(world.get("operator", &format!("/v1/neighborhoods{query}")).await.code(), code);
    }
}

#[tokio::test]
async fn g1_only_verified_homes_make_a_person_a_resident_of_a_neighborhood() {
    let world = World::new().await;
    let malden = world.draw("Malden", PARK_STREET).await;
    let home = Uuid::from_u128(1);
    world.put("alice", &format!("/v1/homes/{home}"), home_body(PARK_STREET)).await;
    let me = world.get("alice", "/v1/me").await.json();
    assert_eq!((me["homes"].clone(), me["neighborhoods"].clone()), (json!(1), json!([])));
    world.post("operator", &format!("/v1/operator/homes/{}/verify", world.home("alice", home))).await;
    let me = world.get("alice", "/v1/me").await.json();
    assert_eq!(me["neighborhoods"], json!([{"id": malden, "name": "Malden"}]));
    world.put("operator", &path(malden.0), square("Malden", QUINCY)).await;
    assert_eq!(world.get("alice", "/v1/me").await.json()["neighborhoods"], json!([]), "the polygon left her");
}
