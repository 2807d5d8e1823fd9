//! One neighborhood to the gateway, if it is not there as it should be.

use std::time::Duration;

use porchlight_geofence::geojson::{self, Options};
use reqwest::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

use super::file::Feature;
use crate::client::{Answer, Client};

/// How often one request is tried before it counts as failed.
const TRIES: u32 = 6;
/// How long is waited for a gateway that says when to come again, and for one that says nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// There was none.
    Created,
    /// It was another.
    Updated,
    /// It is so already.
    Unchanged,
    /// Why it is not known to be there.
    Failed(String),
    /// The token is no operator's: nothing else will succeed.
    NotAllowed(String),
}

/// Puts it there. Doing it twice is doing it once.
pub(super) async fn upload(client: &Client, feature: &Feature, repair: bool) -> Outcome {
    let path = format!("/v1/neighborhoods/{}", feature.id);
    let known = match ask(client, Method::GET, &path, &Value::Null).await {
        Ok(answer) => answer,
        Err(why) => return Outcome::Failed(why),
    };
    match known.status {
        StatusCode::OK if is_same(&known.body, feature) => return Outcome::Unchanged,
        StatusCode::OK | StatusCode::NOT_FOUND => {}
        _ => return refused(&known),
    }
    let body = json!({
        "type": "Feature",
        "properties": { "name": feature.name },
        "geometry": geojson::write(&feature.geometry),
    });
    let query = if repair { "?repair=even-odd" } else { "" };
    match ask(client, Method::PUT, &format!("{path}{query}"), &body).await {
        Ok(answer) if answer.status == StatusCode::CREATED => Outcome::Created,
        Ok(answer) if answer.status.is_success() => Outcome::Updated,
        Ok(answer) => refused(&answer),
        Err(why) => Outcome::Failed(why),
    }
}

/// Compared as snapped: numbers may be written in more than one way.
fn is_same(known: &Value, feature: &Feature) -> bool {
    let options = Options { repair_even_odd: true, ..Options::default() };
    let geometry = serde_json::to_vec(&known["geometry"]).ok().and_then(|json| geojson::read(&json, options).ok());
    known["name"].as_str() == Some(feature.name.as_str())
        && geometry.is_some_and(|read| read.len() == 1 && read[0].geometry == feature.geometry)
}

/// Both requests may be repeated, so that no answer is as good as "not now".
async fn ask(client: &Client, method: Method, path: &str, body: &Value) -> Result<Answer, String> {
    let mut said = String::new();
    for attempt in 1..=TRIES {
        let wait = match client.call(method.clone(), path, body).await {
            Ok(answer) if !is_passing(answer.status) => return Ok(answer),
            Ok(answer) => {
                said = describe(&answer);
                let seconds = answer.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                seconds.map(Duration::from_secs)
            }
            Err(why) => {
                said = why;
                None
            }
        };
        if attempt < TRIES {
            tokio::time::sleep(wait.unwrap_or(Duration::from_secs(attempt.into())).min(LONGEST_WAIT)).await;
        }
    }
    Err(said)
}

fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn refused(answer: &Answer) -> Outcome {
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::NotAllowed(describe(answer)),
        _ => Outcome::Failed(describe(answer)),
    }
}

fn describe(answer: &Answer) -> String {
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    format!("{} {} {detail}", answer.status.as_u16(), answer.code()).trim_end().to_owned()
}
