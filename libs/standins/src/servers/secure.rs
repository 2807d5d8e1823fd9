//! Servers that want to know who asks, and prove who they are: one each of those of [`super::Servers`], with TLS, for the
//! tests of connections. They end with the value that started them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

pub use super::authority::{Authority, Identity};
use super::{
    Kind, Place, S3Server, Server, Start, at, cache,
    cache::Source,
    canonical,
    cassandra::Cassandra,
    http,
    kafka::Broker,
    seaweedfs::{self, SeaweedFs},
    start,
};

/// Where each of these servers is: what its certificate holds.
const ADDRESS: &str = "127.0.0.1";
/// A name that each certificate holds besides.
pub const NAME: &str = "server.porchlight.test";
/// Who may ask Kafka.
pub const KAFKA_USER: &str = "porchlight";
/// Who may ask Cassandra: whom it makes at its first start, and that one's password.
pub const CASSANDRA_USER: &str = "cassandra";

/// A Kafka that asks for a password (SCRAM) over TLS, or for a certificate.
pub struct SecureKafka(Server);

impl SecureKafka {
    /// Starts one in `dir`, with a certificate of this authority, which is also the one whose certificates it takes.
    ///
    /// # Errors
    /// A sentence, with the end of the server's log.
    pub fn up(dir: &Path, authority: &Authority, password: &str) -> Result<Self, String> {
        up(dir, authority, Broker::secure(KAFKA_USER, password)).map(Self)
    }

    /// `host:port` that speaks `sasl_ssl`.
    pub fn sasl_ssl(&self) -> String {
        self.at(2)
    }

    /// `host:port` that speaks `ssl`, and wants a certificate of its client.
    pub fn ssl(&self) -> String {
        self.at(3)
    }

    /// `host:port` that speaks `plaintext`: for those who look past all this.
    pub fn plaintext(&self) -> String {
        self.at(0)
    }

    fn at(&self, port: usize) -> String {
        format!("{ADDRESS}:{}", self.0.place().ports[port])
    }
}

/// A Cassandra that asks for a password over TLS.
pub struct SecureCassandra(Server);

impl SecureCassandra {
    /// Starts one in `dir`, with a certificate of this authority. Its user is [`CASSANDRA_USER`], and so is the password.
    ///
    /// # Errors
    /// A sentence, with the end of the server's log.
    pub fn up(dir: &Path, authority: &Authority) -> Result<Self, String> {
        up(dir, authority, CassandraKind).map(Self)
    }

    /// Its `host:port`.
    pub fn address(&self) -> String {
        format!("{ADDRESS}:{}", self.0.port())
    }
}

/// An S3 server over TLS.
pub struct SecureS3(Server);

impl SecureS3 {
    /// Starts one in `dir`, with a certificate of this authority.
    ///
    /// # Errors
    /// A sentence, with the end of the server's log.
    pub fn up(dir: &Path, authority: &Authority) -> Result<Self, String> {
        up(dir, authority, S3Kind).map(Self)
    }

    /// How its clients reach it: `https`.
    pub fn client(&self) -> S3Server {
        let ports = &self.0.place().ports;
        let endpoint = format!("https://{ADDRESS}:{}", ports[ports.len() - 1]);
        S3Server { endpoint, ..seaweedfs::client(self.0.port()) }
    }
}

fn up(dir: &Path, authority: &Authority, kind: impl Kind + 'static) -> Result<Server, String> {
    let home = dir.join(kind.name());
    std::fs::create_dir_all(&home).map_err(|e| at(&home, "cannot be made", &e))?;
    let dir = canonical(dir)?;
    authority.sign("server", &[ADDRESS, NAME])?.write(&home, "server")?;
    let trusted = home.join("ca.pem");
    std::fs::write(&trusted, authority.certificate()).map_err(|e| at(&trusted, "cannot be written", &e))?;
    let cached = cache::folder_of(&cache::root(|name| std::env::var_os(name))?, &kind, &|_| ())?;
    let mut starts = [Start::launch(vec![(Box::new(kind), cached)], &dir, None, &|_| ())?];
    start::wait(&mut starts, &|_| ())?;
    let [start] = starts;
    start.into_servers().pop().ok_or_else(|| "nothing was started".to_owned())
}

/// As [`Cassandra`], but for who may ask.
struct CassandraKind;

impl Kind for CassandraKind {
    fn name(&self) -> &str {
        Cassandra::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        Cassandra.source()
    }

    fn ports(&self) -> usize {
        Cassandra.ports()
    }

    /// It opens its port when it serves, and says nothing in the clear.
    fn answers(&self, port: u16, bound: Duration) -> bool {
        http::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bound).is_ok()
    }

    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
        Cassandra.prepare(place, group)?;
        let secure = include_str!("../../servers/cassandra/secure.yaml");
        change(&place.home.join("cassandra.yaml"), |text| {
            text.replace("AllowAllAuthenticator", "PasswordAuthenticator")
                .replace("AllowAllAuthorizer", "CassandraAuthorizer")
                + secure
        })?;
        change(&place.home.join("jvm.options"), |text| text.replace("-Xmx1024M", "-Xmx384M"))
    }

    fn command(&self, place: &Place) -> Command {
        Cassandra.command(place)
    }
}

/// As [`SeaweedFs`], with one more port, the last, that speaks TLS.
struct S3Kind;

impl Kind for S3Kind {
    fn name(&self) -> &str {
        SeaweedFs::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        SeaweedFs.source()
    }

    fn ports(&self) -> usize {
        SeaweedFs.ports() + 1
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        SeaweedFs.answers(port, bound)
    }

    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
        SeaweedFs.prepare(place, group)
    }

    fn command(&self, place: &Place) -> Command {
        let plain = SeaweedFs.command(place);
        let mut weed = Command::new(plain.get_program());
        weed.current_dir(&place.home).env_clear();
        let https = format!("-s3.port.https={}", place.ports[place.ports.len() - 1]);
        // What stands behind the two dashes it does not look at.
        for argument in plain.get_args() {
            if argument == "--" {
                weed.args([&https, "-s3.cert.file=server.pem", "-s3.key.file=server.key"]);
            }
            weed.arg(argument);
        }
        weed
    }
}

fn change(path: &Path, how: impl FnOnce(String) -> String) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| at(path, "cannot be read", &e))?;
    std::fs::write(path, how(text)).map_err(|e| at(path, "cannot be written", &e))
}
