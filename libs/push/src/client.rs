//! The HTTP clients: what every hand-over has in common.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, RequestBuilder, Response, redirect};

use crate::{
    PushConfig,
    address::{Blocked, PublicOnly},
    outcome::Answer,
};

/// How much of an answer's body is read, so that a connection can be used again. Nobody looks at it.
const MAX_ANSWER_BYTES: usize = 4096;
const MAX_ANSWER_HEADERS: usize = 64;

/// For URLs that users choose: public addresses and https only, unless the test setting says otherwise.
pub(crate) fn guarded(config: &PushConfig) -> Result<Client, String> {
    let builder = base(config).https_only(!config.allow_private_addresses);
    build(if config.allow_private_addresses { builder } else { builder.dns_resolver(PublicOnly) })
}

/// For URLs that the operator chooses.
pub(crate) fn trusted(config: &PushConfig) -> Result<Client, String> {
    build(base(config))
}

fn base(config: &PushConfig) -> ClientBuilder {
    let timeout = Duration::from_millis(config.timeout_ms);
    Client::builder()
        .user_agent(concat!("porchlight/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout)
        // A redirect leads where nothing was judged, and a proxy would resolve names by itself.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_max_headers(MAX_ANSWER_HEADERS)
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(32)
}

fn build(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|e| format!("the push client cannot be built: {e}"))
}

/// Sends, and reads of the answer what decides: the status and `Retry-After`.
pub(crate) async fn ask(request: RequestBuilder) -> Answer {
    match request.send().await {
        Ok(response) => {
            let answer = Answer::Status {
                code: response.status().as_u16(),
                retry_after: response
                    .headers()
                    .get(http::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
            };
            drain(response).await;
            answer
        }
        Err(error) => classify(&error),
    }
}

/// Reads the rest within the bound; the request's time-out still runs. What goes wrong here changes nothing: the
/// provider has spoken.
async fn drain(mut response: Response) {
    let mut read = 0;
    while read < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

fn classify(error: &reqwest::Error) -> Answer {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if e.is::<Blocked>() {
            return Answer::Blocked;
        }
        cause = e.source();
    }
    if error.is_timeout() {
        Answer::TimedOut
    } else if error.is_connect() {
        Answer::NotConnected
    } else if error.is_builder() {
        Answer::Unsendable
    } else {
        Answer::Broken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(allow_private_addresses: bool) -> PushConfig {
        PushConfig {
            vapid_private_key: String::new(),
            vapid_private_key_file: String::new(),
            vapid_subject: String::new(),
            timeout_ms: 10_000,
            allow_private_addresses,
            recorder_url: String::new(),
        }
    }

    /// What a name that looks public and resolves to a private address meets: the form of the URL is not asked here.
    #[tokio::test]
    async fn a_name_that_leads_inside_is_blocked_when_connecting() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        assert_eq!(ask(guarded(&config(false)).unwrap().post(&url)).await, Answer::Blocked);
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");

        // The control: without the guard the same name is connected to (and no TLS is spoken there).
        let task = tokio::task::spawn_blocking(move || {
            listener.set_nonblocking(false).unwrap();
            drop(listener.accept().unwrap());
        });
        assert_eq!(ask(guarded(&config(true)).unwrap().post(&url)).await, Answer::NotConnected);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn plain_http_never_leaves_a_guarded_client() {
        assert_eq!(ask(guarded(&config(false)).unwrap().post("http://1.1.1.1/")).await, Answer::Unsendable);
    }
}
