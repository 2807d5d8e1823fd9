//! The issuer from outside: a relying party finds its key by discovery and accepts its tokens.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use porchlight_standins::issuer::Issuer;
use serde_json::{Value, json};

async fn issuer(dir: Option<&std::path::Path>) -> Issuer {
    Issuer::start(([127, 0, 0, 1], 0).into(), dir).await.unwrap()
}

async fn get(url: String) -> Value {
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn ask(issuer: &Issuer, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/token", issuer.url())).json(body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// As a relying party does: discovery, then the key by its id, then the claims.
async fn claims(issuer: &Issuer, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let discovery = get(format!("{}/.well-known/openid-configuration", issuer.url())).await;
    assert_eq!(discovery["issuer"], issuer.url());
    let keys: JwkSet = serde_json::from_value(get(discovery["jwks_uri"].as_str().unwrap().to_owned()).await).unwrap();
    let kid = jsonwebtoken::decode_header(token)?.kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("the token's key is published"))?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[Issuer::AUDIENCE]);
    rules.set_issuer(&[issuer.url()]);
    rules.leeway = 0;
    jsonwebtoken::decode::<Value>(token, &key, &rules).map(|data| data.claims)
}

#[tokio::test]
async fn a_relying_party_accepts_what_it_mints() {
    let issuer = issuer(None).await;
    let (status, answer) = ask(&issuer, &json!({"subject": "alice", "scopes": ["operator", "x:y"]})).await;
    assert_eq!((status, &answer["token_type"], &answer["expires_in"]), (200, &json!("Bearer"), &json!(3600)));
    let got = claims(&issuer, answer["access_token"].as_str().unwrap()).await.unwrap();
    assert_eq!((&got["sub"], &got["scope"]), (&json!("alice"), &json!("operator x:y")));
    assert_eq!(got["exp"].as_u64().unwrap() - got["iat"].as_u64().unwrap(), 3600);

    let got = claims(&issuer, &issuer.mint("bob", &[], 60)).await.unwrap();
    assert_eq!((&got["sub"], &got["scope"]), (&json!("bob"), &json!("")));
    let got = claims(&issuer, &issuer.mint("bob", &[], u64::MAX)).await.unwrap();
    assert_eq!(got["exp"].as_u64().unwrap() - got["iat"].as_u64().unwrap(), 86_400);
}

#[tokio::test]
async fn a_life_can_be_asked_for_and_ends() {
    let issuer = issuer(None).await;
    let (status, answer) = ask(&issuer, &json!({"subject": "alice", "ttl_s": 86_400})).await;
    assert_eq!((status, &answer["expires_in"]), (200, &json!(86_400)));
    let jwt = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(issuer.mint("alice", &[], 0)).unwrap();
    assert_eq!(jwt["exp"], jwt["iat"], "a life of nothing is over at once");
}

#[tokio::test]
async fn another_issuers_token_is_not_this_ones() {
    let (mine, other) = (issuer(None).await, issuer(None).await);
    let token = other.mint("alice", &[], 60);
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let keys: JwkSet = serde_json::from_value(get(format!("{}/jwks.json", mine.url())).await).unwrap();
    assert!(keys.find(&kid).is_none());
}

#[tokio::test]
async fn a_request_that_is_not_right_is_refused_as_json() {
    let issuer = issuer(None).await;
    for (body, status, error) in [
        (json!({}), 422, "invalid_request"),
        (json!({"subject": "a", "who": "b"}), 422, "invalid_request"),
        (json!({"subject": ""}), 400, "invalid_request"),
        (json!({"subject": "x".repeat(257)}), 400, "invalid_request"),
        (json!({"subject": "a", "ttl_s": 86_401}), 400, "invalid_request"),
        (json!({"subject": "a", "ttl_s": -1}), 422, "invalid_request"),
        (json!({"subject": "a", "scopes": ["a b"]}), 400, "invalid_scope"),
        (json!({"subject": "a", "scopes": [""]}), 400, "invalid_scope"),
        (json!({"subject": "a", "scopes": vec!["s"; 17]}), 400, "invalid_scope"),
        (json!({"subject": "x".repeat(20_000)}), 413, "invalid_request"),
    ] {
        let (got, answer) = ask(&issuer, &body).await;
        assert_eq!((got, answer["error"].as_str()), (status, Some(error)), "{body}");
        assert!(answer["error_description"].is_string());
    }
    let response = reqwest::get(format!("{}/nowhere", issuer.url())).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await.unwrap()["error"], "not_found");
}

#[tokio::test]
async fn the_key_is_kept_and_only_its_owner_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = issuer(Some(dir.path())).await;
    let keys = get(format!("{}/jwks.json", first.url())).await;
    first.stop().await;
    let again = issuer(Some(dir.path())).await;
    assert_eq!(get(format!("{}/jwks.json", again.url())).await, keys);

    let file = dir.path().join("issuer.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    std::fs::write(&file, "no key").unwrap();
    let error = Issuer::start(([127, 0, 0, 1], 0).into(), Some(dir.path())).await.err().unwrap();
    assert!(error.contains("is no P-256 key"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_said() {
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let error = Issuer::start(taken.local_addr().unwrap(), None).await.err().unwrap();
    assert!(error.contains("cannot be listened on"), "{error}");
}
