//! What the operator of a database does to it, and what becomes of it.

use std::{fs::File, io::Write as _, path::PathBuf, process::Command, time::Duration};

use super::Fleet;
use crate::servers::{
    at,
    cache::Source,
    cassandra::Cassandra,
    process,
    server::{Kind, Place},
};

/// As [`Cassandra`], with one more port, the last, for its `nodetool`. Whoever reaches that port may do anything: that is
/// for those who hurt their own servers.
pub(super) struct Administered;

impl Kind for Administered {
    fn name(&self) -> &str {
        Cassandra::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        Cassandra.source()
    }

    fn ports(&self) -> usize {
        Cassandra.ports() + 1
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        Cassandra.answers(port, bound)
    }

    fn prepare(&self, place: &Place, group: &[Place]) -> Result<(), String> {
        Cassandra.prepare(place, group)?;
        let options = place.home.join("jvm.options");
        let append = |line: &str| File::options().append(true).open(&options)?.write_all(line.as_bytes());
        append(&format!("-Dcassandra.jmx.local.port={}\n", tool_port(place)))
            .map_err(|e| at(&options, "cannot be written", &e))
    }

    fn command(&self, place: &Place) -> Command {
        Cassandra.command(place)
    }
}

fn tool_port(place: &Place) -> u16 {
    place.ports[place.ports.len() - 1]
}

impl Fleet {
    /// Runs Cassandra's own `nodetool` on the fleet's Cassandra, and answers what it prints.
    ///
    /// # Errors
    /// There is no Cassandra, or the tool failed: what it said.
    pub fn nodetool(&self, args: &[&str]) -> Result<String, String> {
        let place = self.server(Cassandra::NAME)?.place();
        let mut java = process::java(place);
        java.args(["@modules.options", "-Xmx64M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.args(["-Dlogback.configurationFile=file:logback.xml", "-cp"]).arg(place.cached.join("*"));
        java.args(["org.apache.cassandra.tools.NodeTool", "-h", "127.0.0.1", "-p", &tool_port(place).to_string()]);
        let done = java.args(args).output().map_err(|e| format!("nodetool cannot be started: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        if done.status.success() { Ok(out) } else { Err(format!("nodetool {}: {out}{err}", args.join(" "))) }
    }

    /// Where Cassandra keeps the files of its tables, as `KEYSPACE/TABLE-ID/`.
    ///
    /// # Errors
    /// There is no Cassandra.
    pub fn table_files(&self) -> Result<PathBuf, String> {
        Ok(self.database()?.join("data"))
    }

    /// The disk of the fleet's Cassandra is gone: kills it, and removes all that it had. [`Fleet::launch`] starts an
    /// empty one in its place.
    ///
    /// # Errors
    /// There is no Cassandra, or its data cannot be removed.
    pub fn lose_database(&mut self) -> Result<(), String> {
        self.kill(Cassandra::NAME)?;
        let disk = self.database()?;
        std::fs::remove_dir_all(&disk).map_err(|e| at(&disk, "cannot be removed", &e))
    }

    fn database(&self) -> Result<PathBuf, String> {
        Ok(self.server(Cassandra::NAME)?.place().home.join("data"))
    }
}
