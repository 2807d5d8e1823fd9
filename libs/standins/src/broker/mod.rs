//! A broker in this process that speaks Kafka's protocol and keeps its data in one folder: for one process that is a
//! whole deployment. It stands behind nothing but its address; what a client must know besides is in [`limits`].
//! `DESIGN.md` says what it is made of, and why.

mod engine;
mod fetch;
mod groups;
pub mod limits;
mod place;
mod routes;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};

use rama::{Context, Service as _};
use tansu_storage::Storage as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use engine::{Engine, Opening};
use place::Place;
use routes::Connection;

/// Its only node, the same for ever.
const NODE: i32 = 1;
/// How long a start may take until a request is answered.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long the engine may take to close its files.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the engine lives.
const MEND_EVERY: Duration = Duration::from_secs(1);
/// How often records past their retention are removed, and older ones of a key in compacted topics.
const TIDY_EVERY: Duration = Duration::from_secs(300);

/// A running broker; it ends when it is dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    bootstrap: String,
    end: CancellationToken,
    task: JoinHandle<()>,
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
        let listener = TcpListener::bind(asked).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let failed = |e: &dyn std::fmt::Display| format!("the broker in {} does not start: {e}", folder.display());

        let url = Url::parse(&format!("tcp://{address}")).map_err(|e| failed(&e))?;
        let (cluster, storage) = (place.cluster.clone(), place.storage.clone());
        let opening = Opening { cluster: cluster.clone(), node: NODE, address: url, storage };
        let engine = Engine::open(opening).await.map_err(|e| failed(&e))?;
        let connection = routes::connection(&cluster, &engine).map_err(|e| failed(&e))?;

        let end = CancellationToken::new();
        let task = tokio::spawn(run(listener, connection, engine, place, end.clone()));
        let broker = Self { bootstrap: address.to_string(), end, task };
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
        if timeout(STOP_WAIT * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Serves until the end, and then until all is closed.
async fn run(listener: TcpListener, connection: Connection, engine: Engine, place: Place, end: CancellationToken) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = serve(&listener, &connection, &mut connections) => {}
        () = keep(&engine) => {}
        () = end.cancelled() => {}
    }
    drop((listener, connection));
    connections.shutdown().await;
    // Nobody else asks the engine now, and it takes one request after the other: with this one all are done.
    if let Err(error) = engine.ping().await {
        tracing::debug!(%error, "the embedded broker's engine ended before its broker");
    }
    drop(engine);
    // It closes its files on its way out, and the next broker could not open them before.
    let closed = async {
        while place.is_open() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(STOP_WAIT, closed).await.is_err() {
        tracing::warn!("the embedded broker's engine does not close its files");
    }
}

/// Takes connections.
async fn serve(listener: &TcpListener, connection: &Connection, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let connection = connection.clone();
                    connections.spawn(async move {
                        if let Err(error) = connection.serve(Context::default(), stream).await {
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

/// Looks after the engine.
async fn keep(engine: &Engine) {
    let (mut mend, mut tidy) = (interval(MEND_EVERY), interval(TIDY_EVERY));
    for ticks in [&mut mend, &mut tidy] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = mend.tick() => engine.mend().await,
            _ = tidy.tick() => if let Err(error) = engine.maintain(SystemTime::now()).await {
                tracing::warn!(%error, "the embedded broker could not tidy up");
            },
        }
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
