//! What a Service of Kubernetes is to its clients: one address, and each new connection goes to one of the pods behind it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running one; it ends when it is dropped.
pub struct Balancer {
    url: String,
    pods: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Balancer {
    /// With nobody behind it yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let pods = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let task = tokio::spawn(serve(listener, pods.clone()));
        Self { url, pods, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// New connections go to this pod too. `url`: of its API.
    pub fn add(&self, url: &str) {
        self.pods.lock().expect("nobody panics with it").push(address(url));
    }

    /// No new connection goes to this pod; those that it has stay.
    pub fn remove(&self, url: &str) {
        self.pods.lock().expect("nobody panics with it").retain(|pod| *pod != address(url));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

async fn serve(listener: TcpListener, pods: Arc<Mutex<Vec<SocketAddr>>>) {
    let turn = AtomicUsize::new(0);
    while let Ok((mut client, _)) = listener.accept().await {
        let pod = {
            let pods = pods.lock().expect("nobody panics with it");
            (!pods.is_empty()).then(|| pods[turn.fetch_add(1, Ordering::Relaxed) % pods.len()])
        };
        tokio::spawn(async move {
            // Nobody there, or nobody any more: the client sees its connection end.
            let Some(pod) = pod else { return };
            let Ok(mut server) = TcpStream::connect(pod).await else { return };
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
