//! Cassandra: one node. It stands in for ScyllaDB, which has no package to start a process from; the CQL we use is what
//! both keep.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use super::{Kind, Place, at, cache::Source, http, process, write_template};

pub(crate) struct Cassandra;

impl Cassandra {
    pub(crate) const NAME: &str = "cassandra";
}

impl Kind for Cassandra {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        ("cassandra", Source::Jars { pom: include_str!("../../servers/cassandra/pom.xml") })
    }

    fn ports(&self) -> usize {
        2
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        asks(port, bound).is_ok_and(|answered| answered)
    }

    fn prepare(&self, place: &Place, _: &[Place]) -> Result<(), String> {
        std::fs::create_dir_all(&place.home).map_err(|e| at(&place.home, "cannot be made", &e))?;
        write_template(
            &place.home.join("cassandra.yaml"),
            include_str!("../../servers/cassandra/cassandra.yaml"),
            &[("port", &place.ports[0]), ("storage_port", &place.ports[1])],
        )?;
        for (name, text) in [
            ("logback.xml", include_str!("../../servers/cassandra/logback.xml")),
            ("jvm.options", include_str!("../../servers/cassandra/jvm.options")),
            ("modules.options", include_str!("../../servers/cassandra/modules.options")),
        ] {
            write_template(&place.home.join(name), text, &[])?;
        }
        Ok(())
    }

    fn command(&self, place: &Place) -> Command {
        let mut java = process::java(place);
        java.args(["@modules.options", "@jvm.options", "-cp"]);
        java.arg(place.cached.join("*")).arg("org.apache.cassandra.service.CassandraDaemon");
        java
    }
}

/// Sends OPTIONS, which any client may ask first, and looks for SUPPORTED (CQL native protocol v4, sections 2 and 4).
fn asks(port: u16, bound: Duration) -> std::io::Result<bool> {
    const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
    const SUPPORTED: u8 = 0x06;
    let mut stream = http::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bound)?;
    stream.write_all(&OPTIONS)?;
    let mut header = [0; OPTIONS.len()];
    stream.read_exact(&mut header)?;
    Ok(header[4] == SUPPORTED)
}
