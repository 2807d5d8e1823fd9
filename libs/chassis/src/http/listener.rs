//! Connections: HTTP/1.1 and HTTP/2 without TLS, bounded in number and in idleness, ended with grace.

use std::{net::SocketAddr, path::Path, pin::pin, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use http::{HeaderValue, Request, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::stall::Impatient;
use crate::metrics;

/// Open connections of one server; who comes later waits in the system's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a head may take, and how long a connection may idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a peer of HTTP/2 is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long a peer may read nothing of what there is for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long, at the end, a connection may wait for the request with whose answer it is told to go.
const FAREWELL: Duration = Duration::from_secs(1);
const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: u32 = 32 << 10;
const MAX_STREAMS: u32 = 256;

pub(super) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds, says so in the log, and writes the address to `address_file` if that is not empty.
    pub(super) async fn bind(server: &'static str, listen: &str, address_file: &str) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("{server}: cannot listen on {listen}: {e}");
        let tcp = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = tcp.local_addr().map_err(cannot)?;
        if !address_file.is_empty() {
            write_whole(Path::new(address_file), &address.to_string())
                .map_err(|e| format!("{server}: cannot write the address to {address_file}: {e}"))?;
        }
        tracing::info!(server, %address, "listening");
        Ok(Self { tcp, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Until `shutdown`, and on until nobody is left: every answer tells its client then to send no more on its
    /// connection (`connection: close`). A connection on which nothing comes for [`FAREWELL`] is closed without a word, and
    /// no other is taken; what is in hand is finished. Whoever sends at the moment at which a connection is closed never
    /// learns what became of the request, so none is closed while it is in use.
    pub(super) async fn run(self, router: Router, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        let silent = CancellationToken::new();
        let mut farewell = pin!(async {
            shutdown.cancelled().await;
            connections.close();
            let _ = tokio::time::timeout(FAREWELL, connections.wait()).await;
        });
        loop {
            let accepted = tokio::select! {
                () = &mut farewell => break,
                accepted = async {
                    let place = Arc::clone(&places).acquire_owned().await;
                    self.tcp.accept().await.map(|(stream, _)| (stream, place))
                } => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (router, shutdown, silent) = (router.clone(), shutdown.clone(), silent.clone());
                    connections.spawn(async move {
                        metrics::CONNECTIONS.inc();
                        connection(stream, router, shutdown, silent).await;
                        metrics::CONNECTIONS.dec();
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: trying at once would only spin.
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.tcp);
        silent.cancel();
        connections.wait().await;
    }
}

/// Serves it until its client goes, until an answer after `last` has told the client to go, or until `silent` ends it
/// between two requests.
async fn connection(stream: TcpStream, router: Router, last: CancellationToken, silent: CancellationToken) {
    // A failure here only means that the peer is gone; reading says so as well.
    let _ = stream.set_nodelay(true);
    // hyper's own timer begins with the first byte.
    tokio::select! {
        () = silent.cancelled() => return,
        first = tokio::time::timeout(HEAD_TIMEOUT, stream.readable()) => if !matches!(first, Ok(Ok(()))) { return },
    }
    let service = router
        .map_request(|request: Request<hyper::body::Incoming>| request.map(axum::body::Body::new))
        .map_response(move |mut response: Response| {
            // In HTTP/2 there is no such header, and hyper takes it out: there a client is told by a frame of its own.
            if last.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES);
    let mut serving = pin!(
        builder
            .serve_connection(TokioIo::new(Impatient::new(stream, STALL_TIMEOUT)), TowerToHyperService::new(service))
    );
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = silent.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection broke");
    }
}

/// Nobody reads half an address: it is written beside the file and moved into its place.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    // After the whole name: a process writes several files whose names differ in their ends only, at the same time.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_in_their_ends_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = folder.path().join(name);
            for n in 0..2_000 {
                write_whole(&path, &n.to_string()).expect(name);
            }
        };
        std::thread::scope(|scope| ["ingest.api", "ingest.admin"].map(|name| drop(scope.spawn(move || write(name)))));
    }
}
