//! Tokens: what is accepted, what is refused, and how often the issuer is asked.

use http::header;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use crate::support::{Answer, World, issuer::Key};

async fn me(world: &World, token: &str) -> Answer {
    let request = http::Request::get("/v1/me").header(header::AUTHORIZATION, format!("Bearer {token}"));
    world.send(request.body(axum::body::Body::empty()).unwrap()).await
}

fn with(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = world.issuer.claims("alice", "");
    change(&mut claims);
    world.issuer.key.sign(&claims)
}

#[tokio::test]
async fn a_good_token_makes_an_account_once() {
    let world = World::new().await;
    let answer = world.get("alice", "/v1/me").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["id"], world.resident("alice").to_string());
    assert_eq!(answer.json()["household"], world.household("alice").to_string());
    assert_eq!(answer.json()["operator"], false);
    assert_eq!(world.get("alice", "/v1/me").await.bytes, answer.bytes);
    let state = world.memory.state();
    assert_eq!(state.residents.len(), 1);
    assert_eq!(state.households[&world.household("alice")].residents, [world.resident("alice")]);
}

#[tokio::test]
async fn what_does_not_hold_is_refused() {
    let world = World::new().await;
    let now = get_current_timestamp();
    let other_key = Key { id: world.issuer.key.id.clone(), ..Key::nth(9) };
    let good = world.issuer.mint("alice", "");
    let (front, signature) = good.rsplit_once('.').unwrap();
    let none = {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        format!("{header}.{}.", front.split_once('.').unwrap().1)
    };
    let confused = encode(
        &Header { kid: Some(world.issuer.key.id.clone()), ..Header::new(Algorithm::HS256) },
        &world.issuer.claims("alice", ""),
        &EncodingKey::from_secret(world.issuer.key.public().to_string().as_bytes()),
    )
    .unwrap();
    let critical = Header {
        kid: Some(world.issuer.key.id.clone()),
        crit: Some(vec!["b64".to_owned()]),
        ..Header::new(Algorithm::ES256)
    };
    let bad = [
        ("no JWT", "x".to_owned()),
        ("an empty one", String::new()),
        ("a cut signature", format!("{front}.{}", &signature[..10])),
        ("no algorithm", none),
        ("the public key as a secret", confused),
        ("another's key", other_key.sign(&world.issuer.claims("alice", ""))),
        ("an unknown key", Key::nth(9).sign(&world.issuer.claims("alice", ""))),
        ("an extension", encode(&critical, &world.issuer.claims("alice", ""), &world.issuer.key.signing).unwrap()),
        ("expired", with(&world, |c| c["exp"] = json!(now - 31))),
        ("without an end", with(&world, |c| drop(c.as_object_mut().unwrap().remove("exp")))),
        ("not yet valid", with(&world, |c| c["nbf"] = json!(now + 60))),
        ("another issuer", with(&world, |c| c["iss"] = json!("https://elsewhere.example"))),
        ("without an issuer", with(&world, |c| drop(c.as_object_mut().unwrap().remove("iss")))),
        ("another audience", with(&world, |c| c["aud"] = json!("elsewhere"))),
        ("without an audience", with(&world, |c| drop(c.as_object_mut().unwrap().remove("aud")))),
        ("without a subject", with(&world, |c| drop(c.as_object_mut().unwrap().remove("sub")))),
        ("an empty subject", with(&world, |c| c["sub"] = json!(""))),
        ("a subject without end", with(&world, |c| c["sub"] = json!("x".repeat(256)))),
        ("a number as subject", with(&world, |c| c["sub"] = json!(7))),
    ];
    for (what, token) in bad {
        let answer = me(&world, &token).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_invalid"), "{what}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"", "{what}");
    }
    assert!(world.memory.state().residents.is_empty(), "a bad token makes no account");
    assert_eq!(me(&world, &with(&world, |c| c["exp"] = json!(now - 5))).await.status, 200, "clocks differ a little");
    assert_eq!(me(&world, &with(&world, |c| c["aud"] = json!(["x", "porchlight"]))).await.status, 200);
}

#[tokio::test]
async fn without_a_token_every_operation_is_refused_alike() {
    let world = World::new().await;
    for path in
        ["/v1/me", "/v1/feed", "/v1/feed/stream", "/v1/items/018f4e5a-0000-7000-8000-000000000000", "/v1/neighborhoods"]
    {
        for authorization in [None, Some("Basic YTpi"), Some("Bearer")] {
            let mut request = http::Request::get(path);
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_invalid"), "{path}");
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer", "no error is named (RFC 6750)");
        }
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_but_not_for_every_made_up_name() {
    let world = World::with(&[("AUTH__JWKS_MIN_REFRESH_MS", "60000")]).await;
    assert_eq!(me(&world, &world.issuer.mint("alice", "")).await.status, 200);
    assert_eq!(world.issuer.fetches(), 1);
    for n in 20..40 {
        assert_eq!(me(&world, &Key::nth(n).sign(&world.issuer.claims("alice", ""))).await.status, 401);
    }
    assert_eq!(world.issuer.fetches(), 1, "a made-up key does not make us ask again within a minute");

    let world = World::with(&[("AUTH__JWKS_MIN_REFRESH_MS", "100")]).await;
    assert_eq!(me(&world, &world.issuer.mint("alice", "")).await.status, 200);
    let new = Key::nth(2);
    world.issuer.serve(Some(json!({"keys": [new.public()]})));
    let token = new.sign(&world.issuer.claims("alice", ""));
    let begun = std::time::Instant::now();
    while me(&world, &token).await.status != 200 {
        assert!(begun.elapsed().as_secs() < 10, "the rotated key is never fetched");
        tokio::task::yield_now().await;
    }
    assert_eq!(me(&world, &world.issuer.mint("alice", "")).await.status, 401, "the old key went");
}

#[tokio::test]
async fn without_the_issuers_keys_nobody_is_signed_out_and_nobody_gets_in() {
    let world = World::new().await;
    world.issuer.serve(None);
    let answer = me(&world, &world.issuer.mint("alice", "")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "issuer_unavailable"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert!(world.memory.state().residents.is_empty());
}

#[tokio::test]
async fn keys_that_cannot_sign_are_skipped_and_a_hostile_document_is_bounded() {
    let world = World::with(&[("AUTH__JWKS_MAX_BYTES", "4096"), ("AUTH__JWKS_MIN_REFRESH_MS", "100")]).await;
    let mut encryption = Key::nth(3).public();
    encryption["use"] = json!("enc");
    encryption["kid"] = json!("key-1");
    world.issuer.serve(Some(json!({"keys": [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "key-1"}, {"kty": "new"}, encryption, world.issuer.key.public()
    ]})));
    assert_eq!(me(&world, &world.issuer.mint("alice", "")).await.status, 200);

    let world = World::with(&[("AUTH__JWKS_MAX_BYTES", "4096")]).await;
    world.issuer.serve(Some(json!({"keys": [world.issuer.key.public()], "padding": "x".repeat(5000)})));
    assert_eq!(me(&world, &world.issuer.mint("alice", "")).await.code(), "issuer_unavailable");
}

#[tokio::test]
async fn scopes_are_a_string_or_a_list_under_the_configured_name() {
    let world =
        World::with(&[("AUTH__SCOPE_CLAIM", "permissions"), ("AUTH__OPERATOR_SCOPE", "porchlight:operate")]).await;
    for (claim, operator) in [
        (json!("read porchlight:operate"), true),
        (json!(["read", "porchlight:operate"]), true),
        (json!("porchlight:operate2"), false),
        (json!("operator"), false),
        (json!({"porchlight:operate": true}), false),
    ] {
        let token = with(&world, |c| c["permissions"] = claim.clone());
        assert_eq!(me(&world, &token).await.json()["operator"], operator, "{claim}");
    }
}

#[tokio::test]
async fn an_operator_by_the_command_line_needs_no_scope() {
    let world = World::new().await;
    assert_eq!(world.get("alice", "/v1/neighborhoods").await.refusal(), (403, "operator_only".to_owned(), None));
    world.memory.state().operators.insert(world.resident("alice"));
    assert_eq!(world.get("alice", "/v1/neighborhoods").await.status, 200);
    assert!(world.memory.state().residents.is_empty(), "an operator needs no home");
}
