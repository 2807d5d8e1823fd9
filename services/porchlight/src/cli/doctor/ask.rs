//! Asking: each question ends within its time, and an answer that is none is a finding like any other.

use std::time::Duration;

use porchlight_bus::KafkaConfig;
use porchlight_clips::{Grant, S3, S3Config, Vault as _};
use porchlight_domain::{Clock as _, ContentHash, ContentType, DeviceId, EventId, MediaKind, SystemClock};
use porchlight_gateway::auth::AuthConfig;
use porchlight_store::CqlConfig;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    cql,
    finding::Finding,
    kafka,
    objects::{self, Trial},
};

/// How long one of the four may take in all.
const WITHIN: Duration = Duration::from_secs(60);
/// How long brokers may take to be reached.
const REACH: Duration = Duration::from_secs(15);
/// How long an upload may take.
const UPLOAD: Duration = Duration::from_secs(15);
/// What is uploaded, and removed again.
const BODY: &[u8] = b"porchlight doctor";

/// Kafka, and each of our topics.
pub(super) async fn kafka(config: &KafkaConfig) -> Vec<Finding> {
    bounded("kafka", async {
        let answer = porchlight_bus::reach(config, REACH).await.map_err(|e| e.to_string());
        let mut all = vec![kafka::reached(&answer)];
        if let Ok(brokers) = answer {
            match porchlight_bus::inspect_topics(config).await {
                Ok(states) => all.extend(kafka::topics(brokers, &states)),
                Err(e) => all.push(Finding::fail("topics", format!("they cannot be looked at: {e}"))),
            }
        }
        all
    })
    .await
}

/// The database, its schema, and one conditional write.
pub(super) async fn cql(config: &CqlConfig) -> Vec<Finding> {
    if let Some(folder) = config.embedded() {
        let sentence = format!("the store is embedded, in {}: one disk, for trying only", folder.display());
        return vec![Finding::warn("cql", sentence)];
    }
    bounded("cql", async {
        let answer = porchlight_store::examine(config).await.map_err(|e| {
            let nodes = config.contact_points.join(", ");
            format!("{e} (cql.contact_points: {nodes})")
        });
        cql::findings(&config.keyspace, &answer)
    })
    .await
}

/// The store of objects, and one upload as a camera makes it.
pub(super) async fn objects(config: &S3Config) -> Vec<Finding> {
    let s3 = match S3::new(config) {
        Ok(s3) => s3,
        Err(sentence) => return vec![Finding::fail("s3", sentence)],
    };
    bounded("s3", async {
        let answer = s3.ping().await.map_err(|e| e.to_string());
        let is_own = !config.public_endpoint.is_empty();
        let public = if is_own { &config.public_endpoint } else { &config.endpoint };
        let mut all = vec![objects::bucket(&config.bucket, &config.endpoint, &answer)];
        if answer.is_ok() {
            all.push(objects::upload(public, is_own, &upload(&s3, config).await));
        }
        all
    })
    .await
}

/// The issuer of tokens, and its keys.
pub(super) async fn issuer(config: &AuthConfig) -> Vec<Finding> {
    bounded("issuer", async {
        vec![match porchlight_gateway::auth::try_issuer(config).await {
            Ok(keys) => Finding::ok("issuer", format!("{} gives {keys} keys that check signatures", config.issuer)),
            Err(sentence) => Finding::fail("issuer", format!("{sentence} (auth.issuer: {})", config.issuer)),
        }]
    })
    .await
}

async fn bounded(what: &str, asked: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| {
        let sentence =
            format!("no answer within {} s: something between here and there swallows what is sent", WITHIN.as_secs());
        vec![Finding::fail(what, sentence)]
    })
}

async fn upload(s3: &S3, config: &S3Config) -> Trial {
    let now = SystemClock.now();
    let grant = Grant {
        device: DeviceId(Uuid::new_v4()),
        event: EventId(Uuid::now_v7()),
        kind: MediaKind::Thumbnail,
        content_type: ContentType::Jpeg,
        bytes: BODY.len() as u64,
        sha256: ContentHash(Sha256::digest(BODY).into()),
        expires_at: now.plus_ms(60_000),
    };
    let (upload, camera) = match (s3.upload(&grant, now).await, camera(config)) {
        (Ok(upload), Ok(camera)) => (upload, camera),
        (Err(e), _) => return Trial::NoUrl(e.to_string()),
        (_, Err(sentence)) => return Trial::NoUrl(sentence),
    };
    let put = upload.headers.iter().fold(camera.put(&upload.url), |put, (name, value)| put.header(name, value));
    let answer = match put.body(BODY).send().await {
        Ok(answer) => answer,
        // Its own text would hold the URL, which is a way in for as long as it lasts.
        Err(e) => return Trial::Away(innermost(&e.without_url())),
    };
    let status = answer.status();
    if !status.is_success() {
        let document = answer.text().await.unwrap_or_default();
        return Trial::Refused(status.as_u16(), objects::code(&document));
    }
    let stat = s3.stat(grant.media()).await;
    let removed = s3.remove_media(grant.media()).await;
    match (stat, removed) {
        (Ok(Some(stat)), Ok(())) if stat.bytes == grant.bytes && stat.sha256.is_none_or(|h| h == grant.sha256) => {
            Trial::Taken
        }
        (Ok(Some(_)), Ok(())) => Trial::TakenBut("what stands there is something else than was sent".to_owned()),
        (Ok(None), _) => Trial::TakenBut("s3.endpoint does not have it: the two lead to different stores".to_owned()),
        (Err(e), _) => Trial::TakenBut(format!("it cannot be looked at: {e}")),
        (_, Err(e)) => Trial::TakenBut(format!("it cannot be removed: {e}")),
    }
}

/// It trusts whom the services trust, and follows nobody: a camera does not either.
fn camera(config: &S3Config) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder().timeout(UPLOAD).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if !config.ca_file.as_os_str().is_empty() {
        let pem = std::fs::read(&config.ca_file).map_err(|e| format!("s3.ca_file cannot be read: {e}"))?;
        let trusted = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| "s3.ca_file holds no certificates")?;
        builder = trusted.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build().map_err(|e| format!("no HTTP client: {e}"))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
