//! A stand-in's HTTP server: it ends when its owner lets go of it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long [`Serving::stop`] waits for requests in hand.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// An address that is taken but not served yet: what is served there may need to know it.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Bound {
    /// Takes the address; port 0: any.
    pub(crate) async fn to(listen: SocketAddr) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("{listen} cannot be listened on: {e}");
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let mut address = listener.local_addr().map_err(cannot)?;
        if address.ip().is_unspecified() {
            // Nobody can call 0.0.0.0; whoever listens everywhere is met on loopback.
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self { listener, url: format!("http://{address}") })
    }

    /// Serves until the [`Serving`] is stopped or dropped.
    pub(crate) fn serve(self, router: Router) -> Serving {
        let end = CancellationToken::new();
        let ended = end.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            // An error here is one of accepting, which axum itself waits out: there is none to report.
            let _ = axum::serve(self.listener, router).with_graceful_shutdown(ended).await;
        });
        Serving { url: self.url, end, task }
    }
}

/// A server that runs. Dropping it ends it: no connection is accepted any more, idle ones are closed.
pub(crate) struct Serving {
    pub(crate) url: String,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends it and waits for the requests in hand, within a bound.
    pub(crate) async fn stop(mut self) {
        self.end.cancel();
        if tokio::time::timeout(STOP_WAIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// A refusal as JSON, in the form of RFC 6749, section 5.2.
pub(crate) fn refuse(status: StatusCode, error: &str, description: impl std::fmt::Display) -> Response {
    (status, Json(json!({"error": error, "error_description": description.to_string()}))).into_response()
}

/// What a path that does not exist answers.
pub(crate) async fn nothing_here() -> Response {
    refuse(StatusCode::NOT_FOUND, "not_found", "no such path")
}
