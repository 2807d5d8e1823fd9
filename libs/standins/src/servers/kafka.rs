//! Kafka: one node that is broker and controller at once (KRaft).

use std::{path::Path, process::Command, time::Duration};

use super::{Kind, Place, at, cache::Source, process, write_template};

/// Any 16 bytes do: the cluster never meets another.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const FORMAT_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) const KIND: Kind = Kind {
    name: "kafka",
    source: Source::Jars { pom: include_str!("../../servers/kafka/pom.xml") },
    ports: 2,
    // Its port opens before it is let into its own cluster; this line comes after.
    answers: |log, _| log.contains("Kafka Server started"),
    prepare,
    command,
};

fn prepare(place: &Place) -> Result<(), String> {
    let data = place.home.join("data");
    std::fs::create_dir_all(&data).map_err(|e| at(&data, "cannot be made", &e))?;
    write_template(
        &place.home.join("server.properties"),
        include_str!("../../servers/kafka/server.properties"),
        &[("port", &place.ports[0]), ("controller_port", &place.ports[1])],
    )?;
    write_template(&place.home.join("log4j2.properties"), include_str!("../../servers/kafka/log4j2.properties"), &[])?;
    if data.join("meta.properties").exists() {
        return Ok(());
    }
    let mut format = java(place, "64m", "kafka.tools.StorageTool");
    format.args(["format", "--cluster-id", CLUSTER_ID, "--config", "server.properties"]);
    process::run(format, &place.home.join("format.log"), FORMAT_TIMEOUT)
        .map_err(|e| format!("kafka's data folder cannot be formatted: {e}"))
}

fn command(place: &Place) -> Command {
    let mut command = java(place, "256m", "kafka.Kafka");
    command.arg("server.properties");
    command
}

fn java(place: &Place, heap: &str, main: &str) -> Command {
    let mut java = process::java(&place.home);
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
