//! Kafka: nodes that are broker and controller at once (KRaft), one alone or a cluster of them.

use std::{
    io::{Error, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use super::{Kind, Place, at, cache::Source, http, process, write_template};

/// Any 16 bytes do: the cluster never meets another.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const FORMAT_TIMEOUT: Duration = Duration::from_secs(120);

/// A node. Its ports: clients', controllers', and, behind a proxy, that of clients who come through it.
pub(crate) struct Broker {
    name: String,
    /// From 1 on, by its place in the group.
    id: u16,
    heap: &'static str,
    /// Where those are sent who came through the proxy: its port.
    proxy: Option<u16>,
    /// Who may ask it over TLS, and the password. Certificates stand in its home.
    secure: Option<(String, String)>,
}

impl Broker {
    /// The name of the one that is alone.
    pub(crate) const ALONE: &str = "kafka";

    /// The only one.
    pub(crate) fn alone() -> Self {
        Self { name: Self::ALONE.into(), id: 1, heap: "256m", proxy: None, secure: None }
    }

    /// The only one, which two more ports lead to: of those with a password, and of those with a certificate. See
    /// [`super::secure`].
    pub(crate) fn secure(user: &str, password: &str) -> Self {
        Self { heap: "192m", secure: Some((user.into(), password.into())), ..Self::alone() }
    }

    /// The `id`th of a cluster, behind a proxy that listens on this port.
    pub(crate) fn nth(id: u16, proxy: u16) -> Self {
        Self { name: Self::name_of(id), id, heap: "192m", proxy: Some(proxy), secure: None }
    }

    /// The name of the `id`th of a cluster.
    pub(crate) fn name_of(id: u16) -> String {
        format!("{}-{id}", Self::ALONE)
    }

    /// Who comes by a listener is sent on by the same: past the proxy, or through it.
    fn listeners(&self, place: &Place) -> (String, String) {
        let mut listens = format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", place.ports[0], place.ports[1]);
        let mut advertises = format!("PLAINTEXT://127.0.0.1:{}", place.ports[0]);
        if let Some(proxy) = self.proxy {
            listens += &format!(",PROXIED://127.0.0.1:{}", self.proxied_port(place));
            advertises += &format!(",PROXIED://127.0.0.1:{proxy}");
        }
        if self.secure.is_some() {
            let more = format!(",SASL_SSL://127.0.0.1:{},SSL://127.0.0.1:{}", place.ports[2], place.ports[3]);
            listens += &more;
            advertises += &more;
        }
        (listens, advertises)
    }
}

impl Kind for Broker {
    fn name(&self) -> &str {
        &self.name
    }

    fn source(&self) -> (&'static str, Source) {
        ("kafka", Source::Jars { pom: include_str!("../../servers/kafka/pom.xml") })
    }

    fn ports(&self) -> usize {
        2 + usize::from(self.proxy.is_some()) + 2 * usize::from(self.secure.is_some())
    }

    fn proxied_port(&self, place: &Place) -> u16 {
        place.ports[if self.proxy.is_some() { 2 } else { 0 }]
    }

    /// Its port opens before it is let into its own cluster, so it is asked who is.
    fn answers(&self, port: u16, bound: Duration) -> bool {
        brokers(port, bound).is_ok_and(|ids| ids.contains(&i32::from(self.id)))
    }

    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
        let data = place.home.join("data");
        std::fs::create_dir_all(&data).map_err(|e| at(&data, "cannot be made", &e))?;
        let voters: Vec<_> =
            group.iter().enumerate().map(|(n, place)| format!("{}@127.0.0.1:{}", n + 1, place.ports[1])).collect();
        let (listens, advertises) = self.listeners(place);
        let secure = if self.secure.is_some() { include_str!("../../servers/kafka/secure.properties") } else { "" };
        // Of three copies, one may be away.
        let (replicas, in_sync) = if group.len() < 3 { (1, 1) } else { (3, 2) };
        write_template(
            &place.home.join("server.properties"),
            &format!("{}{secure}", include_str!("../../servers/kafka/server.properties")),
            &[
                ("id", &self.id),
                ("voters", &voters.join(",")),
                ("listens", &listens),
                ("advertises", &advertises),
                ("replicas", &replicas),
                ("in_sync", &in_sync),
            ],
        )?;
        write_template(
            &place.home.join("log4j2.properties"),
            include_str!("../../servers/kafka/log4j2.properties"),
            &[],
        )?;
        if data.join("meta.properties").exists() {
            return Ok(());
        }
        let mut format = java(place, "64m", "kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", CLUSTER_ID, "--config", "server.properties"]);
        if let Some((user, password)) = &self.secure {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{mechanism}=[name={user},password={password}]")]);
            }
        }
        process::run(format, &place.home.join("format.log"), FORMAT_TIMEOUT)
            .map_err(|e| format!("{}'s data folder cannot be formatted: {e}", self.name))
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = java(place, self.heap, "kafka.Kafka");
        command.arg("server.properties");
        command
    }
}

fn java(place: &Place, heap: &str, main: &str) -> Command {
    let mut java = process::java(place);
    java.arg(format!("-Xmx{heap}")).args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Dlog4j2.configurationFile=log4j2.properties",
        "-cp",
    ]);
    java.arg(place.cached.join(Path::new("*"))).arg(main);
    java
}

/// The nodes that the one at this port takes for alive: its answer to Metadata, version 4, about no topic (Kafka protocol
/// guide, "Metadata").
fn brokers(port: u16, bound: Duration) -> std::io::Result<Vec<i32>> {
    // Key 3, version 4, correlation 1, no client id; an array of no topic, which may not be made.
    const REQUEST: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];
    /// A few brokers and no topic take a few hundred.
    const MOST: usize = 65_536;
    let mut stream = http::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bound)?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= MOST);
    let strange = || Error::new(ErrorKind::InvalidData, "this is no answer of a Kafka broker");
    let mut answer = vec![0; length.ok_or_else(strange)?];
    stream.read_exact(&mut answer)?;
    parse(&answer).ok_or_else(strange)
}

/// After correlation and throttle time: of each broker its id, host, port and rack, if it has one.
fn parse(answer: &[u8]) -> Option<Vec<i32>> {
    let mut rest = answer.get(8..)?;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(i32::from_be_bytes(take(4)?.try_into().ok()?));
        let host = u16::from_be_bytes(take(2)?.try_into().ok()?);
        take(usize::from(host) + 4)?;
        let rack = i16::from_be_bytes(take(2)?.try_into().ok()?);
        take(usize::try_from(rack).unwrap_or(0))?;
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_nodes_and_a_torn_one_none() {
        let broker = |id: u8, rack: &[u8]| [&[0, 0, 0, id, 0, 2, b'h', b'i', 0, 0, 1, 0], rack].concat();
        let brokers = [broker(1, &[0xff, 0xff]), broker(3, &[0, 1, b'r'])].concat();
        let answer = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], &*brokers, b"cluster and topics"].concat();
        assert_eq!(parse(&answer), Some(vec![1, 3]));
        for torn in [7, 10, 20, 30, 38] {
            assert_eq!(parse(&answer[..torn]), None, "{torn}");
        }
    }
}
