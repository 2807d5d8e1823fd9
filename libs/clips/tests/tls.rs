//! TLS to the store of objects: the named authority is trusted besides the system's, and nothing else is.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use porchlight_clips::{S3, S3Config, Vault as _, VaultError};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// The files of `tests/tls`. The server's certificate names 127.0.0.1 and ends in a hundred years.
fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "tls", name].iter().collect()
}

/// Answers every request over TLS with an empty 200, until the process ends.
fn server() -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    // Said, not left to a default: with two providers in one build there is none.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // A client that does not trust us ends the handshake: the next one may.
            let _ = answer(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
        }
    });
    address
}

fn answer(mut tls: ServerConnection, mut socket: TcpStream) -> std::io::Result<()> {
    let mut stream = Stream::new(&mut tls, &mut socket);
    let (mut request, mut some) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&some[..n]),
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    stream.conn.send_close_notify();
    stream.flush()
}

async fn ping(endpoint: String, ca_file: PathBuf) -> Result<(), VaultError> {
    let config = S3Config {
        endpoint,
        public_endpoint: String::new(),
        region: "us-east-1".into(),
        bucket: "porchlight".into(),
        prefix: String::new(),
        path_style: true,
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        secret_access_key_file: PathBuf::new(),
        ca_file,
        timeout_ms: 20_000,
    };
    S3::new(&config).unwrap().ping().await
}

#[tokio::test]
async fn only_a_trusted_authority_and_the_right_name_are_taken() {
    let address = server();
    let endpoint = format!("https://{address}");
    ping(endpoint.clone(), file("authority.pem")).await.unwrap();

    let untrusted = ping(endpoint, PathBuf::new()).await;
    assert!(matches!(untrusted, Err(VaultError::Unavailable(_))), "{untrusted:?}");
    let misnamed = ping(format!("https://localhost:{}", address.port()), file("authority.pem")).await;
    assert!(matches!(misnamed, Err(VaultError::Unavailable(_))), "{misnamed:?}");
}
