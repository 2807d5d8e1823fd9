//! Cassandra: one node. It stands in for ScyllaDB, which has no package to start a process from; the CQL we use is what
//! both keep.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use super::{Kind, Place, at, cache::Source, process, write_template};

pub(super) const KIND: Kind = Kind {
    name: "cassandra",
    source: Source::Jars { pom: include_str!("../../servers/cassandra/pom.xml") },
    ports: 2,
    answers: |_, port| asks(port).is_ok_and(|answered| answered),
    prepare,
    command,
};

fn prepare(place: &Place) -> Result<(), String> {
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

fn command(place: &Place) -> Command {
    let mut java = process::java(&place.home);
    java.args(["@modules.options", "@jvm.options", "-cp"]);
    java.arg(place.cached.join("*")).arg("org.apache.cassandra.service.CassandraDaemon");
    java
}

/// Sends OPTIONS, which any client may ask first, and looks for SUPPORTED (CQL native protocol v4, sections 2 and 4).
fn asks(port: u16) -> std::io::Result<bool> {
    const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
    const SUPPORTED: u8 = 0x06;
    let bound = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bound)?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    stream.write_all(&OPTIONS)?;
    let mut header = [0; OPTIONS.len()];
    stream.read_exact(&mut header)?;
    Ok(header[4] == SUPPORTED)
}
