//! The document says what the router does.

use porchlight_chassis::testing::openapi_matches;

use crate::support::World;

#[tokio::test]
async fn the_document_and_the_router_agree() {
    let world = World::new().await;
    let (router, document) = world.app.router();
    assert_eq!(openapi_matches(router, &document).await, Ok(()));
}

#[tokio::test]
async fn the_document_is_served_and_every_reference_in_it_leads_somewhere() {
    let world = World::new().await;
    let request = http::Request::get("/openapi.json").body(axum::body::Body::empty()).unwrap();
    let document = world.send(request).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["oidc"]["scheme"], "bearer");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &serde_json::Value, references: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member.as_str()) {
                    ("$ref", Some(reference)) => references.push(reference.to_owned()),
                    _ => collect(member, references),
                }
            }
        }
        serde_json::Value::Array(members) => members.iter().for_each(|member| collect(member, references)),
        _ => {}
    }
}
