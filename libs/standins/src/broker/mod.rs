//! A broker in this process that speaks Kafka's protocol and keeps its data in one folder: for one process that is a
//! whole deployment. It stands behind nothing but its address; what a client must know besides is in [`limits`].
//! `DESIGN.md` says what it is made of, and why.

mod fetch;
mod groups;
pub mod limits;
mod log;
mod offsets;
mod place;
mod produce;
mod routes;
mod topics;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime,
    sync::oneshot,
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use groups::Groups;
use log::Log;
use place::Place;
use routes::Broker;
use topics::Node;

/// How long a start may take until a request is answered.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a stop may take.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// How much of what was acknowledged a power cut may take.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often records past their retention are removed, and older ones of a key in compacted topics.
const TIDY_EVERY: Duration = Duration::from_secs(300);

/// A running broker; it ends when it is dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    bootstrap: String,
    end: CancellationToken,
    /// Closed when all is closed.
    ended: oneshot::Receiver<()>,
}

impl EmbeddedBroker {
    /// Starts it on loopback, with its data in `folder` (made if it is not there; no other broker may have it), and
    /// returns once a request is answered. Port 0: any.
    ///
    /// # Errors
    /// A sentence: the folder cannot be used, the port is taken, or nothing is answered in time.
    pub async fn start(folder: &Path, port: u16) -> Result<Self, String> {
        let place = Place::take(folder)?;
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let cannot = |e: std::io::Error| format!("{asked} cannot be listened on: {e}");
        let listener = std::net::TcpListener::bind(asked).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let failed = |e: &dyn std::fmt::Display| format!("the broker in {} does not start: {e}", folder.display());

        let log = place.log.clone();
        // Reading what is there may take a while, and others are not to wait behind it.
        let opened = spawn_blocking(move || Log::open(&log)).await;
        let log = opened.map_err(std::io::Error::from).flatten().map_err(|e| failed(&e))?;
        let node = Node { cluster: place.cluster.clone(), address };
        let asked = Broker { node, log, groups: Groups::default() };

        let end = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let serving = run(listener, asked, place, end.clone());
        // A client with records to send spins while it waits for an answer: if the answers stood in a row behind all else
        // that the process does, both would only get slower.
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        let thread = thread::Builder::new().name("embedded-broker".to_owned());
        let serve = move || {
            let _tell = tell;
            runtime.block_on(serving);
        };
        thread.spawn(serve).map_err(|e| failed(&e))?;
        let broker = Self { bootstrap: address.to_string(), end, ended };
        match timeout(READY_WITHIN, answers(address)).await {
            Ok(Ok(())) => Ok(broker),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"no request was answered in time")),
        }
    }

    /// `127.0.0.1:port`: what clients call their bootstrap servers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Ends it: no connection is left, what was acknowledged is on disk, and the folder and the port are free.
    pub async fn stop(mut self) {
        self.end.cancel();
        if timeout(STOP_WAIT, &mut self.ended).await.is_err() {
            tracing::warn!("the embedded broker does not end");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Serves until the end.
async fn run(listener: std::net::TcpListener, broker: Broker, place: Place, end: CancellationToken) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the embedded broker cannot listen"),
    };
    let mut connections = JoinSet::new();
    tokio::select! {
        () = serve(&listener, &broker, &mut connections) => {}
        () = keep(&broker.log) => {}
        () = end.cancelled() => {}
    }
    drop(listener);
    connections.shutdown().await;
    sync(&broker.log).await;
    // Only now is the folder another's.
    drop((broker, place));
}

/// Takes connections.
async fn serve(listener: &TcpListener, broker: &Broker, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let broker = broker.clone();
                    connections.spawn(async move {
                        if let Err(error) = wire::serve(&broker, stream).await {
                            tracing::debug!(%peer, %error, "a connection to the embedded broker ends");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "the embedded broker cannot take a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Looks after the log.
async fn keep(log: &Log) {
    let (mut syncs, mut tidies) = (interval(SYNC_EVERY), interval(TIDY_EVERY));
    for ticks in [&mut syncs, &mut tidies] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = syncs.tick() => sync(log).await,
            _ = tidies.tick() => {
                let log = log.clone();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
                let _ = spawn_blocking(move || log.tidy(now_ms)).await;
            }
        }
    }
}

async fn sync(log: &Log) {
    let log = log.clone();
    if let Err(error) = spawn_blocking(move || log.sync()).await.map_err(std::io::Error::from).flatten() {
        tracing::error!(%error, "the embedded broker cannot bring to the disk what it has acknowledged");
    }
}

/// Asks for all topics, as a client would.
async fn answers(address: SocketAddr) -> std::io::Result<()> {
    const CORRELATION: [u8; 4] = *b"here";
    let mut request = vec![0, 0, 0, 0];
    for part in [&[0, 3][..], &[0, 1], &CORRELATION, &[0xff, 0xff], &[0xff; 4]] {
        request.extend_from_slice(part); // Metadata, version 1; no client id; all topics.
    }
    request[3] = u8::try_from(request.len() - 4).unwrap_or_default();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request).await?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    if head[4..] != CORRELATION {
        return Err(std::io::Error::other("it answers something that was not asked"));
    }
    Ok(())
}
