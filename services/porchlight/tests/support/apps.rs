//! Apps that change things while servers fail: on the version that they read, again when no answer says what became
//! of it.

use std::time::Duration;

use porchlight::client::{Answer, Client};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// How often a change is tried before that is a failure: with what a gateway takes to give up, some minutes.
const TRIES: usize = 60;
const PAUSE: Duration = Duration::from_millis(100);

/// The seed of a run: printed, and taken from `PORCHLIGHT_TEST_SEED` if that is set.
#[allow(clippy::print_stdout)] // whoever sees a failure needs it
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("PORCHLIGHT_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(rand::random);
    println!("{test}: PORCHLIGHT_TEST_SEED={seed}");
    seed
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It was answered, for good or ill.
    Answered(Answer),
    /// It may have been done or not.
    Unknown,
}

/// One call: no answer, and one that says "come again", leave open what was done.
pub async fn once(app: &Client, method: Method, path: &str, body: &Value) -> Fate {
    Fate::of(app.call(method, path, body).await)
}

impl Fate {
    fn of(answer: Result<Answer, String>) -> Self {
        match answer {
            Ok(answer) if !answer.status.is_server_error() && answer.status != StatusCode::TOO_MANY_REQUESTS => {
                Self::Answered(answer)
            }
            Ok(_) | Err(_) => Self::Unknown,
        }
    }
}

/// Calls until there is an answer, each time one of the apps that `app` chooses; whether an earlier call may have been
/// done is said as well.
pub async fn until_answered(
    mut app: impl FnMut() -> Client,
    method: Method,
    path: &str,
    body: &Value,
) -> (Answer, bool) {
    for tried in 0..TRIES {
        if let Fate::Answered(answer) = once(&app(), method.clone(), path, body).await {
            return (answer, tried > 0);
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("no answer to {method} {path}");
}

/// Puts a body with a name of its own where `etag` stands, whatever others write there meanwhile; the version it got.
/// `None`: the thing is gone.
pub async fn put_until_known(
    mut app: impl FnMut() -> Client,
    path: &str,
    body: &Value,
    mut etag: String,
) -> Option<String> {
    for _ in 0..TRIES {
        match Fate::of(app().put_at(path, body, &etag).await) {
            Fate::Answered(answer) if answer.status.is_success() => return Some(answer.etag().to_owned()),
            Fate::Answered(answer) if answer.status == StatusCode::PRECONDITION_FAILED => {
                let (found, _) = until_answered(&mut app, Method::GET, path, &Value::Null).await;
                if found.status == StatusCode::NOT_FOUND {
                    return None;
                }
                etag = found.etag().to_owned();
                // An earlier try, whose answer was lost, has put it.
                if found.body["name"] == body["name"] {
                    return Some(etag);
                }
            }
            Fate::Answered(answer) => panic!("PUT {path}: {:?}", answer.ok()),
            Fate::Unknown => tokio::time::sleep(PAUSE).await,
        }
    }
    panic!("PUT {path} came to no end");
}
