//! `porchlight servers`: Kafka and Cassandra on this machine.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use porchlight_standins::servers::Servers;

use super::{Failure, output::progress};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Start them (those that do not run yet), and print how to reach them.
    ///
    /// The first start fetches them with Maven into a cache outside the tree ($PORCHLIGHT_CACHE, else ~/.cache/porchlight).
    #[command(after_help = "Examples:\n  porchlight servers up\n  eval \"$(porchlight servers up)\"   \
        # and let this shell's commands and tests find them")]
    Up(Dir),
    /// Stop them. Their data stay.
    #[command(after_help = "Example:\n  porchlight servers down && rm -r .dev/run   # and forget their data")]
    Down(Dir),
    /// Whether they run, and where.
    #[command(after_help = "Example:\n  porchlight servers status || porchlight servers up")]
    Status(Dir),
}

#[derive(Args, Debug)]
pub(super) struct Dir {
    /// Holds their data and logs.
    #[arg(long, default_value = ".dev/run")]
    dir: PathBuf,
}

pub(super) fn run(command: Command) -> Result<String, Failure> {
    match command {
        Command::Up(Dir { dir }) => Servers::up(&dir, &progress).and_then(|servers| describe(&dir, &servers)),
        Command::Down(Dir { dir }) => Servers::down(&dir).map(|()| String::new()),
        Command::Status(Dir { dir }) => Servers::attach(&dir).and_then(|servers| describe(&dir, &servers)),
    }
    .map_err(Failure::Failed)
}

/// Lines that a shell can evaluate.
fn describe(dir: &Path, servers: &Servers) -> Result<String, String> {
    let dir = dir.canonicalize().map_err(|e| format!("{}: {e}", dir.display()))?;
    let quoted = |text: String| format!("'{}'", text.replace('\'', r"'\''"));
    Ok(format!(
        "# kafka {}, cassandra {}; data and logs in {}\n\
         export PORCHLIGHT_TEST_SERVERS={}\n\
         export PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS={}\n\
         export PORCHLIGHT_CQL__CONTACT_POINTS={}\n",
        servers.kafka,
        servers.cassandra,
        dir.display(),
        quoted(dir.join("servers.json").display().to_string()),
        quoted(servers.kafka.clone()),
        quoted(format!("[\"{}\"]", servers.cassandra)),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_shell_reads_back_what_is_printed() {
        let dir = tempfile::Builder::new().prefix("it's ").tempdir().unwrap();
        let servers = Servers { kafka: "127.0.0.1:1".into(), cassandra: "127.0.0.1:2".into(), pids: [].into() };
        let script = describe(dir.path(), &servers).unwrap()
            + "echo \"$PORCHLIGHT_TEST_SERVERS|$PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS|$PORCHLIGHT_CQL__CONTACT_POINTS\"";
        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let file = dir.path().canonicalize().unwrap().join("servers.json");
        let expected = format!("{}|127.0.0.1:1|[\"127.0.0.1:2\"]\n", file.display());
        assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
    }
}
